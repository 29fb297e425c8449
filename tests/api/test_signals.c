/* test_signals.c: signals that ask the process to end, and the ends that it chooses itself, seen from outside. Each scene plays in a child. */
#define _GNU_SOURCE
#include "support.h"

#include <signal.h>
#include <sys/mman.h>

#include "memguard/process.h"

/* Scenes end with secrets alive: what LeakSanitizer calls leaks. */
__attribute__((visibility("default"))) int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void) { return 1; }

/* What children tell their parent. */
struct told {
    atomic_int fn_ran, fn_signal, used_in_fn, was_stale, was_released, at_exit, at_exit_status, handler_ran;
};
static struct told *told;
static memguard_vault *vault;
static memguard_secret secret;

static int exited_with(int status, int code) { return WIFEXITED(status) && WEXITSTATUS(status) == code; }
static int killed_by(int status, int number) { return WIFSIGNALED(status) && WTERMSIG(status) == number; }

static int play(int (*scene)(void *), void *arg) {
    memset(told, 0, sizeof *told);
    return check_child(scene, arg);
}

static void sleep_for_ever(void) {
    for (;;) sleep_ms(1000);
}

static void set_scene(void) {
    alarm(60);
    vault = vault_make();
    secret = secret_make(vault, 32, MEMGUARD_SEALED, 1);
}

static void note(int number, void *arg) {
    (void)arg;
    atomic_store(&told->used_in_fn, holds_pattern(secret, 32, 1));
    atomic_store(&told->fn_signal, number);
    atomic_store(&told->fn_ran, 1);
}

static void catch_with(int number, memguard_signal_fn *fn, uint32_t code, uint32_t wait_ms) {
    memguard_signal_options options = MEMGUARD_SIGNAL_OPTIONS_INIT;
    options.exit_code = code;
    options.wait_ms = wait_ms;
    CHECK_STATUS(memguard_catch_signal(&number, 1, fn, NULL, &options), MEMGUARD_OK);
}

static void note_exit(void) { atomic_fetch_add(&told->at_exit, 1); }

/* ---- caught signals ---- */

static int holder_gives_back(void *unused) {
    (void)unused;
    set_scene();
    atexit(note_exit);
    catch_with(SIGTERM, note, 0, 30000);
    memguard_view view = borrow(secret, MEMGUARD_READ);
    raise(SIGTERM);
    while (life(secret) == MEMGUARD_OK) sleep_ms(1);
    atomic_store(&told->was_stale, 1);
    atomic_store(&told->was_released, is_pattern(view.data, 32, 1) && memguard_view_release(&view) == MEMGUARD_OK);
    sleep_for_ever();
    return 0;
}

TEST(a_caught_signal_runs_the_function_then_purges_then_exits_with_1) {
    CHECK(exited_with(play(holder_gives_back, NULL), 1));
    CHECK(atomic_load(&told->fn_ran) && atomic_load(&told->fn_signal) == SIGTERM);
    CHECK(atomic_load(&told->used_in_fn)); /* the purge comes after it */
    CHECK(atomic_load(&told->was_stale) && atomic_load(&told->was_released));
    CHECK(atomic_load(&told->at_exit) == 0);
}

/* A race by intention: the page is taken away under our hands. */
__attribute__((no_sanitize("thread"))) static int first_byte_is_right(const void *bytes) {
    return *(const volatile unsigned char *)bytes == pattern_byte(1, 0);
}

static int holder_keeps(void *unused) {
    (void)unused;
    set_scene();
    catch_with(SIGTERM, NULL, 0, 20);
    memguard_view view = borrow(secret, MEMGUARD_READ);
    raise(SIGTERM);
    while (first_byte_is_right(view.data)) sleep_ms(1);
    return 3; /* computes on half-wiped bytes */
}

TEST(a_borrow_that_is_not_given_back_is_taken_away_and_the_exit_code_stays) {
    for (int i = 0; i < 5; i++) CHECK(exited_with(play(holder_keeps, NULL), 1));
}

static int asks_for_code(void *code) {
    set_scene();
    catch_with(SIGHUP, NULL, *(uint32_t *)code, 0);
    raise(SIGHUP);
    sleep_for_ever();
    return 0;
}

TEST(the_exit_code_is_the_one_asked_for) {
    uint32_t seven = 7, most = 255, none = MEMGUARD_EXIT_ZERO;
    CHECK(exited_with(play(asks_for_code, &seven), 7));
    CHECK(exited_with(play(asks_for_code, &most), 255));
    CHECK(exited_with(play(asks_for_code, &none), 0));
}

static void block(int number, void *arg) {
    note(number, arg);
    sleep_for_ever();
}

static int second_signal(void *unused) {
    (void)unused;
    set_scene();
    catch_with(SIGTERM, block, 5, 0);
    catch_with(SIGHUP, NULL, 6, 0);
    raise(SIGTERM);
    if (!wait_for(&told->fn_ran, 1)) return 3;
    raise(SIGHUP);
    return 4;
}

TEST(a_second_signal_while_the_function_blocks_ends_with_the_code_of_the_first) {
    CHECK(exited_with(play(second_signal, NULL), 5));
    CHECK(atomic_load(&told->fn_signal) == SIGTERM);
}

static int second_signal_in_purge(void *unused) {
    (void)unused;
    set_scene();
    catch_with(SIGTERM, note, 0, 600000);
    memguard_view view = borrow(secret, MEMGUARD_READ);
    raise(SIGTERM);
    while (life(secret) == MEMGUARD_OK) sleep_ms(1);
    CHECK(view.data != NULL);
    raise(SIGTERM);
    return 4;
}

TEST(a_second_signal_while_the_purge_waits_ends_at_once) {
    CHECK(exited_with(play(second_signal_in_purge, NULL), 1));
}

static void *hammer(void *unused) {
    (void)unused;
    for (;;) ignore(memguard_secret_use(secret, show_nothing, NULL, NULL));
    return NULL;
}

static int flood(void *unused) {
    (void)unused;
    pthread_t thread;
    set_scene();
    for (int i = 0; i < 3; i++) CHECK(pthread_create(&thread, NULL, hammer, NULL) == 0);
    catch_with(SIGTERM, NULL, 0, 0);
    for (;;) kill(getpid(), SIGTERM);
    return 0;
}

TEST(a_flood_of_signals_while_threads_borrow_always_ends_with_1) {
    for (int i = 0; i < (CHECK_SANITIZED ? 3 : 30); i++)
        if (!CHECK(exited_with(play(flood, NULL), 1))) break;
}

/* ---- the thread that ends the process cannot go on ---- */

static memguard_secret shown;

/* The pages that are wiped last are those that were made first: time enough to tell. */
static void *watch_byte(void *unused) {
    (void)unused;
    memguard_view view = borrow(shown, MEMGUARD_READ);
    atomic_store(&told->used_in_fn, 1);
    while (first_byte_is_right(view.data)) {
    }
    atomic_store(&told->was_stale, 1);
    return NULL;
}

static void crash_when_told(const memguard_lost *lost, void *unused) {
    (void)lost, (void)unused;
    atomic_store(&told->fn_ran, 1);
    raise(SIGSEGV);
}

static int function_crashes_in_purge(void *unused) {
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    pthread_t thread;
    (void)unused;
    alarm(60);
    options.backend = MEMGUARD_BACKEND_PLAIN;
    CHECK_STATUS(memguard_vault_create(&options, &vault), MEMGUARD_OK);
    secret = secret_make(vault, 64 << 20, MEMGUARD_MAPPED, 2);
    shown = secret_make(vault, 3 * page_bytes(), MEMGUARD_MAPPED, 1);
    CHECK(pthread_create(&thread, NULL, watch_byte, NULL) == 0 && pthread_detach(thread) == 0);
    wait_for(&told->used_in_fn, 1);
    CHECK_STATUS(memguard_lost_watch(crash_when_told, NULL), MEMGUARD_OK);
    catch_with(SIGTERM, NULL, 7, 10000);
    raise(SIGTERM);
    sleep_for_ever();
    return 0;
}

TEST(a_crash_in_the_purge_wipes_and_the_exit_code_stays) {
    CHECK(exited_with(play(function_crashes_in_purge, NULL), 7));
    CHECK(atomic_load(&told->fn_ran) == 1 && atomic_load(&told->used_in_fn) == 1);
    CHECK(atomic_load(&told->was_stale) == 1);
}

static void leave(int number, void *arg) {
    (void)number;
    exit(*(int *)arg);
}

static int function_exits(void *unused) {
    static int code = 9;
    const int number = SIGTERM;
    (void)unused;
    set_scene();
    atexit(note_exit);
    CHECK_STATUS(memguard_catch_signal(&number, 1, leave, &code, NULL), MEMGUARD_OK);
    raise(SIGTERM);
    sleep_for_ever();
    return 0;
}

TEST(the_function_may_end_the_process_itself) {
    CHECK(exited_with(play(function_exits, NULL), 9));
    CHECK(atomic_load(&told->at_exit) == 1);
}

/* ---- what else there is stays as it is ---- */

static void on_host(int number) {
    (void)number;
    atomic_fetch_add(&told->handler_ran, 1);
}

static void host_handler(int number, int flags) {
    struct sigaction host;
    memset(&host, 0, sizeof host);
    host.sa_handler = on_host;
    host.sa_flags = flags;
    sigaddset(&host.sa_mask, SIGWINCH);
    CHECK(sigaction(number, &host, NULL) == 0);
}

enum { LAST = 64 };
static void look(struct sigaction *all) {
    for (int number = 1; number <= LAST; number++)
        if (number < 32 || number >= SIGRTMIN) CHECK(sigaction(number, NULL, &all[number]) == 0);
}

/* The C library's own flag, which comes with every change. */
enum { RESTORER = 0x04000000 };

/* How many differ, the one excepted. */
static int differing(const struct sigaction *a, const struct sigaction *b, int except) {
    int count = 0;
    for (int number = 1; number <= LAST; number++) {
        if (number == except || (number >= 32 && number < SIGRTMIN)) continue;
        int same_mask = 1;
        for (int i = 1; i <= LAST; i++) same_mask &= sigismember(&a[number].sa_mask, i) == sigismember(&b[number].sa_mask, i);
        count += a[number].sa_handler != b[number].sa_handler || ((a[number].sa_flags ^ b[number].sa_flags) & ~RESTORER) != 0 || !same_mask;
    }
    return count;
}

static int handlers_stay(void *unused) {
    static struct sigaction before[LAST + 1], during[LAST + 1], after[LAST + 1];
    const int threads = task_count();
    (void)unused;
    host_handler(SIGUSR1, SA_RESTART);
    host_handler(SIGTERM, SA_NODEFER | SA_ONSTACK);
    look(before);
    catch_with(SIGTERM, NULL, 0, 0);
    look(during);
    CHECK(differing(before, during, SIGTERM) == 0 && differing(before, during, 0) == 1);
    raise(SIGUSR1);
    CHECK(atomic_load(&told->handler_ran) == 1);
    CHECK_STATUS(memguard_release_signals(), MEMGUARD_OK);
    look(after);
    CHECK(differing(before, after, 0) == 0);
    if (!CHECK_SANITIZED) CHECK(task_count() == threads); /* the thread has ended */
    raise(SIGTERM);
    CHECK(atomic_load(&told->handler_ran) == 2);
    CHECK_STATUS(memguard_release_signals(), MEMGUARD_OK); /* nothing caught */
    catch_with(SIGTERM, NULL, 0, 0);                       /* and again */
    raise(SIGTERM);
    sleep_for_ever();
    return 0;
}

TEST(other_handlers_stay_and_release_puts_everything_back) { CHECK(exited_with(play(handlers_stay, NULL), 1)); }

static int changed_by_host(void *unused) {
    struct sigaction now;
    (void)unused;
    catch_with(SIGTERM, NULL, 0, 0);
    host_handler(SIGTERM, 0);
    CHECK_STATUS(memguard_release_signals(), MEMGUARD_OK);
    CHECK(sigaction(SIGTERM, NULL, &now) == 0 && now.sa_handler == on_host);
    return 0;
}

TEST(a_handler_that_the_host_installed_later_stays) { CHECK(exited_with(play(changed_by_host, NULL), 0)); }

static int bad_arguments(void *unused) {
    static struct sigaction before[LAST + 1], after[LAST + 1];
    static const int refused[] = {0, -1, 65, 33, SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE, SIGSYS, SIGTRAP};
    const int threads = task_count(), good = SIGTERM;
    memguard_signal_options options = MEMGUARD_SIGNAL_OPTIONS_INIT;
    (void)unused;
    look(before);
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        const int set[] = {SIGTERM, refused[i]};
        CHECK_STATUS(memguard_catch_signal(set, 2, NULL, NULL, NULL), MEMGUARD_ERR_ARGUMENT);
    }
    CHECK_STATUS(memguard_catch_signal(NULL, 1, NULL, NULL, NULL), MEMGUARD_ERR_ARGUMENT);
    CHECK_STATUS(memguard_catch_signal(&good, 0, NULL, NULL, NULL), MEMGUARD_ERR_ARGUMENT);
    options.exit_code = 257;
    CHECK_STATUS(memguard_catch_signal(&good, 1, NULL, NULL, &options), MEMGUARD_ERR_ARGUMENT);
    options.exit_code = 0, options.flags = 2;
    CHECK_STATUS(memguard_catch_signal(&good, 1, NULL, NULL, &options), MEMGUARD_ERR_ARGUMENT);
    options.flags = 0, options.reserved = 1;
    CHECK_STATUS(memguard_catch_signal(&good, 1, NULL, NULL, &options), MEMGUARD_ERR_ARGUMENT);
    options.reserved = 0, options.size = 1;
    CHECK_STATUS(memguard_catch_signal(&good, 1, NULL, NULL, &options), MEMGUARD_ERR_ARGUMENT);
    CHECK_STATUS(memguard_catch_crash(2), MEMGUARD_ERR_ARGUMENT);
    look(after);
    CHECK(differing(before, after, 0) == 0);
    CHECK(task_count() == threads);
    return 0;
}

TEST(signals_that_are_none_and_those_of_crashes_are_refused_and_nothing_changes) {
    CHECK(exited_with(play(bad_arguments, NULL), 0));
}

static int twice(void *unused) {
    const int set[] = {SIGHUP, SIGTERM};
    (void)unused;
    catch_with(SIGTERM, NULL, 3, 0);
    CHECK_STATUS(memguard_catch_signal(set, 2, NULL, NULL, NULL), MEMGUARD_ERR_STATE);
    catch_with(SIGHUP, NULL, 4, 0);
    raise(SIGHUP);
    sleep_for_ever();
    return 0;
}

TEST(a_signal_is_caught_once_and_further_ones_may_be_added) { CHECK(exited_with(play(twice, NULL), 4)); }

static int ignored(void *unused) {
    struct sigaction now;
    (void)unused;
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    CHECK_STATUS(memguard_catch_interrupt(NULL, NULL), MEMGUARD_OK);
    CHECK(sigaction(SIGINT, NULL, &now) == 0 && now.sa_handler == SIG_IGN);
    raise(SIGINT);
    catch_with(SIGHUP, NULL, 4, 0);
    raise(SIGHUP);
    sleep_for_ever();
    return 0;
}

static int interrupted(void *unused) {
    (void)unused;
    CHECK_STATUS(memguard_catch_interrupt(note, NULL), MEMGUARD_OK);
    raise(SIGINT);
    sleep_for_ever();
    return 0;
}

TEST(an_interrupt_is_caught_unless_it_was_ignored) {
    CHECK(exited_with(play(ignored, NULL), 4));
    CHECK(exited_with(play(interrupted, NULL), 1));
    CHECK(atomic_load(&told->fn_signal) == SIGINT);
}

static int waits_in_read(void *unused) {
    int ends[2];
    char byte;
    (void)unused;
    catch_with(SIGTERM, note, 0, 0);
    if (pipe(ends) != 0) return 3;
    const pid_t killer = fork();
    if (killer == 0) {
        sleep_ms(20);
        kill(getppid(), SIGTERM);
        _exit(0);
    }
    return read(ends[0], &byte, 1) < 0 ? 4 : 5; /* SA_RESTART: it never comes back */
}

TEST(a_thread_in_a_system_call_is_not_disturbed) {
#if CHECK_TSAN
    SKIP("ThreadSanitizer keeps a signal that comes just before the call until the call returns");
#endif
    CHECK(exited_with(play(waits_in_read, NULL), 1));
}

/* ---- fork ---- */

static int wait_status(pid_t child) {
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child);
    return status;
}

static int children(void *unused) {
    (void)unused;
    host_handler(SIGHUP, 0);
    set_scene();
    catch_with(SIGTERM, note, 0, 0);
    catch_with(SIGHUP, note, 0, 0);
    pid_t child = fork();
    if (child == 0) {
        raise(SIGHUP); /* the host's own; ThreadSanitizer lets it run a little later */
        for (int i = 0; i < 2000 && atomic_load(&told->handler_ran) == 0; i++) sleep_ms(1);
        if (atomic_load(&told->handler_ran) != 1) _exit(3);
        if (memguard_release_signals() != MEMGUARD_ERR_FORKED || memguard_catch_crash(0) != MEMGUARD_ERR_FORKED) _exit(4);
        raise(SIGTERM); /* the default */
        _exit(5);
    }
    CHECK(killed_by(wait_status(child), SIGTERM));
    CHECK(atomic_load(&told->fn_ran) == 0);
    CHECK(holds_pattern(secret, 32, 1));
    raise(SIGTERM);
    sleep_for_ever();
    return 0;
}

TEST(a_forked_child_has_the_former_handlers_and_its_parent_stays_caught) {
    CHECK(exited_with(play(children, NULL), 1));
    CHECK(atomic_load(&told->fn_ran) == 1);
}

/* ---- ends of one's own ---- */

static void look_at_exit(void) {
    note_exit();
    atomic_store(&told->at_exit_status, memguard_secret_use(secret, show_nothing, NULL, NULL));
}

static int exit_in_use(const void *bytes, size_t size, void *unused) {
    (void)bytes, (void)size, (void)unused;
    memguard_safe_exit(11);
    return 0;
}

static int exits(void *how) {
    set_scene();
    atexit(look_at_exit);
    if (*(int *)how == 1) ignore(memguard_secret_use(secret, exit_in_use, NULL, NULL));
    if (*(int *)how == 2) ignore(memguard_secret_use(secret_make(vault, 9000, MEMGUARD_MAPPED, 2), exit_in_use, NULL, NULL));
    memguard_safe_exit(11);
}

TEST(safe_exit_purges_then_runs_what_was_registered_also_from_inside_a_borrow) {
    for (int how = 0; how < 3; how++) {
        CHECK(exited_with(play(exits, &how), 11));
        CHECK(atomic_load(&told->at_exit) == 1);
        CHECK(atomic_load(&told->at_exit_status) == MEMGUARD_ERR_STALE);
    }
}

static void ask_a_live_vault(void) {
    memguard_secret made = {0};
    atomic_store(&told->at_exit_status, memguard_secret_create(vault, 8, 0, &made));
}

static int exits_and_asks(void *unused) {
    (void)unused;
    set_scene();
    atexit(ask_a_live_vault);
    memguard_safe_exit(0);
}

TEST(after_safe_exit_a_vault_has_no_key) {
    CHECK(exited_with(play(exits_and_asks, NULL), 0));
    CHECK(atomic_load(&told->at_exit_status) == MEMGUARD_ERR_STATE);
}

static int exits_in_child(void *unused) {
    (void)unused;
    set_scene();
    pid_t child = fork();
    if (child == 0) memguard_safe_exit(12);
    CHECK(exited_with(wait_status(child), 12));
    CHECK(holds_pattern(secret, 32, 1));
    return 0;
}

TEST(safe_exit_in_a_forked_child_leaves_the_parent_alone) { CHECK(exited_with(play(exits_in_child, NULL), 0)); }

static char panic_words[256];

static int panics(void *to) {
    const struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    set_scene();
    memguard_view view = borrow(secret, MEMGUARD_WRITE);
    CHECK(view.data != NULL);
    dup2(*(int *)to, STDERR_FILENO);
    memguard_safe_panic("%d keys too many", 3);
}

TEST(safe_panic_says_why_and_aborts) {
    int ends[2];
    if (!CHECK(pipe(ends) == 0)) return;
    CHECK(killed_by(play(panics, &ends[1]), SIGABRT));
    CHECK(read(ends[0], panic_words, sizeof panic_words - 1) > 0);
    CHECK(strcmp(panic_words, "memguard: panic: 3 keys too many\n") == 0);
    close(ends[0]);
    close(ends[1]);
}

static int wipes_in_emergency(void *unused) {
    (void)unused;
    set_scene();
    memguard_emergency_wipe();
    CHECK_STATUS(memguard_secret_use(secret, show_nothing, NULL, NULL), MEMGUARD_ERR_STATE);
    _exit(atomic_load(&check_bad) != 0);
}

TEST(an_emergency_wipe_closes_all_gates) { CHECK(exited_with(play(wipes_in_emergency, NULL), 0)); }

/* ---- crashes: what tests/death cannot see ---- */

static int crash_handlers_go(void *unused) {
    static struct sigaction before[LAST + 1], during[LAST + 1], after[LAST + 1];
    stack_t stack_before, stack_during, stack_after;
    (void)unused;
    host_handler(SIGABRT, (int)SA_RESETHAND);
    look(before);
    sigaltstack(NULL, &stack_before);
    CHECK_STATUS(memguard_release_crash(), MEMGUARD_OK); /* not in force */
    CHECK_STATUS(memguard_catch_crash(0), MEMGUARD_OK);
    CHECK_STATUS(memguard_catch_crash(MEMGUARD_CRASH_CORE), MEMGUARD_OK);
    CHECK_STATUS(memguard_crash_stack(), MEMGUARD_OK);
    look(during);
    sigaltstack(NULL, &stack_during);
    CHECK(differing(before, during, 0) == 7);
    CHECK(!(stack_during.ss_flags & SS_DISABLE));
    CHECK_STATUS(memguard_release_crash(), MEMGUARD_OK);
    look(after);
    sigaltstack(NULL, &stack_after);
#if !CHECK_TSAN /* its sigaction adds flags and a mask to a default action that is set again */
    CHECK(differing(before, after, 0) == 0);
#endif
    CHECK(stack_before.ss_flags == stack_after.ss_flags);
    return 0;
}

TEST(release_crash_puts_seven_handlers_and_the_stack_back) { CHECK(exited_with(play(crash_handlers_go, NULL), 0)); }

static void *with_stack(void *unused) {
    stack_t stack;
    (void)unused;
    if (memguard_crash_stack() != MEMGUARD_OK || memguard_crash_stack() != MEMGUARD_OK) return (void *)1;
    sigaltstack(NULL, &stack);
    return !(stack.ss_flags & SS_DISABLE) && (CHECK_SANITIZED || stack.ss_size >= 65536) ? NULL : (void *)2;
}

static uint64_t mapped_bytes(void) { return status_bytes("VmSize:"); }

static int stacks_go_with_threads(void *unused) {
    uint64_t before = 0;
    (void)unused;
    for (int i = 0; i < 200; i++) {
        pthread_t thread;
        void *bad = NULL;
        if (!CHECK(pthread_create(&thread, NULL, with_stack, NULL) == 0 && pthread_join(thread, &bad) == 0)) break;
        CHECK(bad == NULL);
        if (i == 20) before = mapped_bytes();
    }
    CHECK(CHECK_SANITIZED || mapped_bytes() <= before + 4 * 65536);
    return 0;
}

TEST(an_alternate_stack_goes_with_its_thread) { CHECK(exited_with(play(stacks_go_with_threads, NULL), 0)); }

static int stack_of_host_stays(void *unused) {
    static unsigned char space[65536];
    stack_t host = {.ss_sp = space, .ss_size = sizeof space}, now;
    (void)unused;
    CHECK(sigaltstack(&host, NULL) == 0);
    CHECK_STATUS(memguard_catch_crash(0), MEMGUARD_OK);
    CHECK(sigaltstack(NULL, &now) == 0 && now.ss_sp == space);
    CHECK_STATUS(memguard_release_crash(), MEMGUARD_OK);
    CHECK(sigaltstack(NULL, &now) == 0 && now.ss_sp == space && !(now.ss_flags & SS_DISABLE));
    return 0;
}

TEST(a_stack_of_the_hosts_is_respected) { CHECK(exited_with(play(stack_of_host_stays, NULL), 0)); }

int main(void) {
    setvbuf(stdout, NULL, _IOLBF, 4096);
    told = mmap(NULL, sizeof *told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (told == MAP_FAILED) return 1;
    RUN(a_caught_signal_runs_the_function_then_purges_then_exits_with_1);
    RUN(a_borrow_that_is_not_given_back_is_taken_away_and_the_exit_code_stays);
    RUN(the_exit_code_is_the_one_asked_for);
    RUN(a_second_signal_while_the_function_blocks_ends_with_the_code_of_the_first);
    RUN(a_second_signal_while_the_purge_waits_ends_at_once);
    RUN(a_flood_of_signals_while_threads_borrow_always_ends_with_1);
    RUN(a_crash_in_the_purge_wipes_and_the_exit_code_stays);
    RUN(the_function_may_end_the_process_itself);
    RUN(other_handlers_stay_and_release_puts_everything_back);
    RUN(a_handler_that_the_host_installed_later_stays);
    RUN(signals_that_are_none_and_those_of_crashes_are_refused_and_nothing_changes);
    RUN(a_signal_is_caught_once_and_further_ones_may_be_added);
    RUN(an_interrupt_is_caught_unless_it_was_ignored);
    RUN(a_thread_in_a_system_call_is_not_disturbed);
    RUN(a_forked_child_has_the_former_handlers_and_its_parent_stays_caught);
    RUN(safe_exit_purges_then_runs_what_was_registered_also_from_inside_a_borrow);
    RUN(after_safe_exit_a_vault_has_no_key);
    RUN(safe_exit_in_a_forked_child_leaves_the_parent_alone);
    RUN(safe_panic_says_why_and_aborts);
    RUN(an_emergency_wipe_closes_all_gates);
    RUN(release_crash_puts_seven_handlers_and_the_stack_back);
    RUN(an_alternate_stack_goes_with_its_thread);
    RUN(a_stack_of_the_hosts_is_respected);
    return check_end();
}
