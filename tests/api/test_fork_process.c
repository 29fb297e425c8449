/* test_fork_process.c: what memguard/process.h does where others are at work: in children that go on with copies, beside forks, purges
 * and sweeps. */
#define _GNU_SOURCE
#include "api/forks.h"

#include "memguard/process.h"

enum { BYTES_WIPED = 40, BYTES_THERE = 41, HOST_HANDLER = 42, ROUNDS = 5 };

static memguard_vault *vault;
static memguard_secret secret;
static memguard_view view;
static const int end_signal = SIGTERM;

static void sleep_for_ever(void) {
    for (;;)
        sleep_ms(1000);
}

static void no_core(void) {
    const struct rlimit none = {0, 0};
    CHECK(setrlimit(RLIMIT_CORE, &none) == 0);
}

/* The host's: comes after ours. */
static void tell_bytes(int number) {
    (void)number;
    _exit(is_pattern(view.data, SIZE, SEED) ? BYTES_THERE : BYTES_WIPED);
}
static void tell_that_it_ran(int number) {
    (void)number;
    _exit(HOST_HANDLER);
}

static void set_scene(void) {
    alarm(60);
    no_core();
    CHECK(signal(SIGSEGV, tell_bytes) != SIG_ERR && signal(end_signal, tell_that_it_ran) != SIG_ERR);
    vault = copied_vault();
    secret = secret_make(vault, SIZE, MEMGUARD_MAPPED, SEED);
    view = borrow(secret, MEMGUARD_READ);
    CHECK_STATUS(memguard_catch_crash(0), MEMGUARD_OK);
}

static void catch_end(uint32_t code) {
    memguard_signal_options options = MEMGUARD_SIGNAL_OPTIONS_INIT;
    options.exit_code = code;
    options.wait_ms = 100;
    CHECK_STATUS(memguard_catch_signal(&end_signal, 1, NULL, NULL, &options), MEMGUARD_OK);
}

/* ---- children ---- */

static int crashes(void *unused) {
    (void)unused;
    raise(SIGSEGV);
    return 0;
}

static int settles_and_crashes(void *unused) {
    CHECK_STATUS(life(secret), MEMGUARD_OK);
    return crashes(unused);
}

ALONE(a_crash_in_a_child_is_the_hosts_until_the_child_settles_then_it_wipes_the_copies) {
    set_scene();
    CHECK(check_exited(end_of(start_child(crashes, NULL)), BYTES_THERE));
    CHECK(check_exited(end_of(start_child(settles_and_crashes, NULL)), BYTES_WIPED));
    CHECK(is_pattern(view.data, SIZE, SEED));
    give_back(&view);
    vault_end(vault);
}

static int raises_end(void *settles) {
    if (settles != NULL) CHECK_STATUS(life(secret), MEMGUARD_OK);
    raise(end_signal);
    return 0;
}

static int catches_anew(void *unused) {
    (void)unused;
    catch_end(5);
    raise(end_signal);
    sleep_for_ever();
    return 0;
}

static int releases(void *unused) {
    (void)unused;
    CHECK_STATUS(memguard_release_signals(), MEMGUARD_OK);
    raise(end_signal);
    return 0;
}

ALONE_UNLESS(a_child_has_the_former_handlers_and_may_catch_anew, UNDER_TSAN, "no threads in children") {
    int yes = 1;
    set_scene();
    catch_end(6);
    CHECK(check_exited(end_of(start_child(raises_end, NULL)), HOST_HANDLER));
    CHECK(check_exited(end_of(start_child(raises_end, &yes)), HOST_HANDLER));
    CHECK(check_exited(end_of(start_child(releases, NULL)), HOST_HANDLER));
    CHECK(check_exited(end_of(start_child(catches_anew, NULL)), 5));
    CHECK(is_pattern(view.data, SIZE, SEED));
    CHECK_STATUS(memguard_release_signals(), MEMGUARD_OK);
    give_back(&view);
    vault_end(vault);
}

static int sweeps(void *unused) {
    (void)unused;
    CHECK_STATUS(memguard_lost_sweep(vault, NULL, NULL), MEMGUARD_OK);
    return 0;
}

ALONE_UNLESS(the_thread_that_waits_for_signals_does_not_keep_sweeps_from_ending, UNDER_TSAN, "handlers come late") {
    set_scene();
    catch_end(6);
    sweeps(NULL);
    IN_CHILD(sweeps, NULL);
    CHECK_STATUS(memguard_release_signals(), MEMGUARD_OK);
    sweeps(NULL);
    give_back(&view);
    vault_end(vault);
}

/* ---- beside others at work ---- */

static void *sweeps_for_ever(void *unused) {
    (void)unused;
    for (;;)
        ignore(memguard_lost_sweep(vault, NULL, NULL));
    return NULL;
}

static void *purges_for_ever(void *unused) {
    (void)unused;
    for (uint32_t rest = 0;; rest = (rest + 1) % RESTS) {
        memguard_secret made = {0};
        ignore(memguard_secret_random(vault, SIZE, rest, &made));
        ignore(memguard_vault_purge(vault, 0));
    }
    return NULL;
}

static void *forks_for_ever(void *unused) {
    (void)unused;
    for (;;) {
        const pid_t child = fork();
        if (child == 0) _exit((int)life(secret));
        if (child > 0) waitpid(child, NULL, 0);
    }
    return NULL;
}

static void *(*const others[])(void *) = {sweeps_for_ever, purges_for_ever, forks_for_ever};
enum { OTHERS = 3 };

static void start(void *(*other)(void *)) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, other, NULL) == 0);
    sleep_ms(20);
}

static int ends_beside(void *which) {
    set_scene();
    catch_end(7);
    start(others[*(int *)which]);
    kill(getpid(), end_signal);
    sleep_for_ever();
    return 0;
}

static int crashes_beside(void *which) {
    set_scene();
    signal(SIGSEGV, SIG_DFL);
    CHECK_STATUS(memguard_release_crash(), MEMGUARD_OK);
    signal(SIGSEGV, SIG_DFL);
    CHECK_STATUS(memguard_catch_crash(MEMGUARD_CRASH_CORE), MEMGUARD_OK);
    start(others[*(int *)which]);
    raise(SIGSEGV);
    return 0;
}

static void all_beside(int (*scene)(void *), int code, int number) {
    for (int which = 0; which < OTHERS; which++)
        for (int i = 0; i < ROUNDS; i++) {
            const int status = end_of(start_child(scene, &which));
            if (CHECK(number != 0 ? check_killed(status, number) : check_exited(status, code))) continue;
            printf("beside %d: status 0x%x\n", which, (unsigned)status);
            return;
        }
}

TEST(a_caught_signal_ends_the_process_beside_sweeps_purges_and_forks) {
    if (CHECK_SANITIZED) SKIP("sanitizers have handlers and locks of their own");
    all_beside(ends_beside, 7, 0);
}
TEST(a_crash_ends_the_process_beside_sweeps_purges_and_forks) {
    if (CHECK_SANITIZED) SKIP("sanitizers have handlers and locks of their own");
    all_beside(crashes_beside, 0, SIGSEGV);
}

int main(void) {
    RUN(a_crash_in_a_child_is_the_hosts_until_the_child_settles_then_it_wipes_the_copies);
    RUN(a_child_has_the_former_handlers_and_may_catch_anew);
    RUN(the_thread_that_waits_for_signals_does_not_keep_sweeps_from_ending);
    RUN(a_caught_signal_ends_the_process_beside_sweeps_purges_and_forks);
    RUN(a_crash_ends_the_process_beside_sweeps_purges_and_forks);
    return check_end();
}
