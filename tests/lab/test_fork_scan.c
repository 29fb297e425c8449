/* test_fork_scan.c: what a child of fork with MEMGUARD_FORK_COPY has in its memory: before its first call the copies (the control), after
 * it nothing that other threads of the parent had been shown, and after it has destroyed or purged everything no plaintext and no key,
 * while the parent keeps all. */
#define _GNU_SOURCE
#include "lab/subject.h"

#include <string.h>
#include <sys/prctl.h>

enum { BYTES = 64 };

static memguard_vault *vault;
static memguard_secret sealed, mapped;
static struct keys keys;
static const unsigned char *shown;
static atomic_int stage;

static memguard_vault *make_copied_vault(void) {
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    memguard_vault *made = NULL;
    options.fork_policy = MEMGUARD_FORK_COPY;
    options.lease_us = 1000000;
    options.rekey_ms = 3600000;
    options.flags = MEMGUARD_NO_THREAD; /* the test says when shares change */
    CHECK_STATUS(memguard_vault_create(&options, &made), MEMGUARD_OK);
    CHECK_STATUS(memguard_vault_tick(made, NULL), MEMGUARD_OK);
    return made;
}

static memguard_secret make_secret(uint32_t rest, int *needle) {
    memguard_secret secret = {0};
    unsigned char *source = malloc(BYTES);
    if (!CHECK(source != NULL)) return secret;
    *needle = scan_draw(SCAN_P, BYTES, SCAN_ALL_FORMS, source);
    CHECK_STATUS(memguard_secret_take(vault, source, BYTES, rest, &secret), MEMGUARD_OK);
    free(source);
    return secret;
}

static void begin(void) {
    int plain = 0, other = 0;
    scan_begin(60000);
    vault = make_copied_vault();
    sealed = make_secret(MEMGUARD_SEALED, &plain);
    mapped = make_secret(MEMGUARD_MAPPED, &other);
    keys = find_keys(vault, sealed, plain, NULL);
}

static unsigned runs_of(const struct scan_result *result, enum scan_column column) {
    return scan_runs_outside(result, column, SCAN_NOWHERE);
}

/* Plaintext as often as expected; the shares where they are kept, or nowhere; nothing derived from them anywhere. */
static void look(const char *state, unsigned plain, int shares) {
    static struct scan_result result;
    static const enum scan_column never[] = {SCAN_K, SCAN_HX, SCAN_KS, SCAN_S, SCAN_STREAM};
    int good = 1;
    scan_memory(&result);
    good &= CHECK(runs_of(&result, SCAN_P) == plain);
    for (size_t i = 0; i < sizeof never / sizeof never[0]; i++)
        good &= CHECK(runs_of(&result, never[i]) == 0);
    good &= CHECK((runs_of(&result, SCAN_X) != 0) == (shares != 0) && (runs_of(&result, SCAN_Y) != 0) == (shares != 0));
    if (!good) {
        printf("that was: %s, %u runs of plaintext\n", state, runs_of(&result, SCAN_P));
        scan_print_hits(&result, state);
    }
}

/* The scanner's descriptors are the parent's: it must look at this process. */
static void become_child(void) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(60);
    atomic_store(&check_bad, 0);
    CHECK(close(memory_descriptor) == 0 && close(pagemap_descriptor) == 0);
    memory_descriptor = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
    pagemap_descriptor = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    CHECK(memory_descriptor >= 0 && pagemap_descriptor >= 0);
}

static void in_child(void (*body)(void)) {
    int status = -1;
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        become_child();
        body();
        fflush(stdout);
        _exit(atomic_load(&check_bad) != 0 ? 99 : 0);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child && check_exited(status, 0));
}

static void destroy_everything(void) {
    look("child, before its first call (control)", 1, 1);
    CHECK_STATUS(memguard_secret_use(sealed, touch_bytes, NULL, NULL), MEMGUARD_OK);
    look("child, after its first call", 1, 1);
    CHECK_STATUS(memguard_secret_destroy(&mapped), MEMGUARD_OK);
    look("child, open secret destroyed", 0, 1);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
    look("child, vault destroyed", 0, 0);
}

static void purge_everything(void) {
    look("child, before its first call (control)", 1, 1);
    CHECK_STATUS(memguard_vault_purge(vault, 0), MEMGUARD_OK);
    look("child, vault purged", 0, 0);
}

static void wipe_everything(void) {
    look("child, before its first call (control)", 1, 1);
    memguard_emergency_wipe();
    look("child, wiped before its first call", 0, 0);
}

static void rekey(void) {
    CHECK_STATUS(memguard_vault_tick(vault, NULL), MEMGUARD_OK);
    look("child, after its first tick: shares of its own", 1, 0);
}

TEST(a_child_that_destroyed_purged_or_wiped_everything_has_nothing_left) {
    begin();
    look("parent", 1, 1);
    in_child(destroy_everything);
    in_child(purge_everything);
    in_child(wipe_everything);
    in_child(rekey);
    look("parent, after its children", 1, 1);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
    look("parent, vault destroyed", 0, 0);
}

static int stay(const void *bytes, size_t size, void *arg) {
    (void)size, (void)arg;
    shown = bytes;
    atomic_store(&stage, 1);
    while (atomic_load(&stage) == 1)
        usleep(1000);
    return 0;
}
static void *use_and_stay(void *arg) {
    (void)arg;
    CHECK_STATUS(memguard_secret_use(sealed, stay, NULL, NULL), MEMGUARD_OK);
    return NULL;
}

static void end_what_others_saw(void) {
    look("child, another thread's use was under way (control)", 2, 1);
    memguard_info info = MEMGUARD_INFO_INIT;
    CHECK_STATUS(memguard_secret_info(sealed, &info), MEMGUARD_OK);
    look("child, after its first call: that use has ended", 1, 1);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
    look("child, vault destroyed", 0, 0);
}

TEST(what_other_threads_were_shown_is_wiped_by_the_first_call) {
    pthread_t thread;
    begin();
    atomic_store(&stage, 0);
    CHECK(pthread_create(&thread, NULL, use_and_stay, NULL) == 0);
    while (atomic_load(&stage) == 0)
        usleep(1000);
    in_child(end_what_others_saw);
    atomic_store(&stage, 2);
    CHECK(pthread_join(thread, NULL) == 0);
    look("parent, use ended", 1, 1);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

static const char *why_not;
TEST(scanner_can_work_here) { SKIP(why_not); }

int main(void) {
    setvbuf(stdout, NULL, _IOLBF, 4096);
    why_not = CHECK_SANITIZED ? "under a sanitizer: its shadow, quarantine and fake stacks keep copies of their own"
                              : scan_start();
    if (why_not != NULL) {
        RUN(scanner_can_work_here);
        return check_end();
    }
    RUN(a_child_that_destroyed_purged_or_wiped_everything_has_nothing_left);
    RUN(what_other_threads_were_shown_is_wiped_by_the_first_call);
    return check_end();
}
