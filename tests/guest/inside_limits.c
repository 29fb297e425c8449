/* inside_limits: kernels that charge secret memory when a page is first touched, to all processes of a user together, and answer with
 * SIGBUS over the limit (Linux 6.1.192 of Debian does; mmap(2) succeeds there). The library must answer with a status. */
#include "api/support.h"

#include <sys/mman.h>

enum { LIMIT = 64 << 10, USER = 1000, MEMFD_SECRET = 447 };

static int become_plain(void) { return drop_memlock(LIMIT) == 0 && setuid(USER) == 0; }

/* Touches secret pages from the kernel's side, which yields an error and no signal, until one is refused; how many went. */
static int touch_pages(int most) {
    const int file = (int)syscall(MEMFD_SECRET, 0);
    const size_t page = page_bytes();
    int touched = 0;
    if (file < 0 || ftruncate(file, (off_t)((size_t)most * page)) != 0) return -1;
    char *pages = mmap(NULL, (size_t)most * page, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (pages == MAP_FAILED) return 0; /* refused as a whole: such kernels have no such trap */
    while (touched < most && syscall(SYS_clock_gettime, CLOCK_MONOTONIC, pages + (size_t)touched * page) == 0)
        touched++;
    return touched;
}

/* All that the limit allows, and more: 0 when the library said so in the end. */
static int take_all(void *unused) {
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    memguard_vault *vault = NULL;
    memguard_secret secret = {0};
    (void)unused;
    options.backend = MEMGUARD_BACKEND_SECRETMEM;
    if (getuid() == 0 && !CHECK(become_plain())) return 1;
    memguard_status status = memguard_vault_create(&options, &vault);
    int made = 0;
    for (; status == MEMGUARD_OK && made < 1000; made++)
        status = memguard_secret_create(vault, 100, MEMGUARD_MAPPED, &secret);
    printf("%d secrets, then %s\n", made, memguard_status_name(status));
    fflush(stdout);
    CHECK_STATUS(status, MEMGUARD_ERR_LOCK_LIMIT);
    return 0;
}

TEST(the_limit_is_an_error_and_no_signal) { CHECK(check_exited(check_child(take_all, NULL), 0)); }

/* Another process of the same user has all of it already. */
TEST(what_others_of_the_user_took_is_an_error_and_no_signal) {
    int ends[2], touched = 0;
    if (!CHECK(pipe(ends) == 0)) return;
    const pid_t other = fork();
    if (other == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        touched = become_plain() ? touch_pages(64) : -1;
        if (write(ends[1], &touched, sizeof touched) == (ssize_t)sizeof touched) pause();
        _exit(1);
    }
    CHECK(other > 0 && read(ends[0], &touched, sizeof touched) == (ssize_t)sizeof touched && touched >= 0);
    printf("%d pages touched by another process\n", touched);
    CHECK(check_exited(check_child(take_all, NULL), 0));
    kill(other, SIGKILL);
    CHECK(waitpid(other, NULL, 0) == other);
}

int main(void) {
    RUN(the_limit_is_an_error_and_no_signal);
    RUN(what_others_of_the_user_took_is_an_error_and_no_signal);
    return check_end();
}
