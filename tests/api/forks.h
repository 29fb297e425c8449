/* forks.h: what the tests of MEMGUARD_FORK_COPY share: a process for each test, children, a vault with secrets of every rest. Include
 * it first. */
#ifndef MEMGUARD_TESTS_API_FORKS_H
#define MEMGUARD_TESTS_API_FORKS_H

#include "api/support.h"

#define UNDER_TSAN CHECK_TSAN
#if UNDER_TSAN
/* The tests fork while threads run. Children cannot start threads under this sanitizer: so no vault has a housekeeper there. */
__attribute__((visibility("default"))) const char *__tsan_default_options(void);
const char *__tsan_default_options(void) { return "die_after_fork=0"; }
#endif

enum { SIZE = 200, SEED = 5, OTHER_SEED = 6, LONG_SIZE = 9000 };

static uint32_t possible(uint32_t flags) { return flags | (UNDER_TSAN ? (uint32_t)MEMGUARD_NO_THREAD : 0); }
static inline memguard_vault *refusing_vault(void) { return vault_with_flags(possible(0)); }

static inline memguard_vault *vault_of_policy(uint32_t policy, uint32_t backend, uint32_t flags) {
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    memguard_vault *vault = NULL;
    options.fork_policy = policy;
    options.backend = backend;
    options.flags = possible(flags);
    CHECK_STATUS(memguard_vault_create(&options, &vault), MEMGUARD_OK);
    if (UNDER_TSAN) CHECK_STATUS(memguard_vault_tick(vault, NULL), MEMGUARD_OK);
    return vault;
}
static inline memguard_vault *copied_vault(void) { return vault_of_policy(MEMGUARD_FORK_COPY, 0, 0); }

/* ---- processes ------------------------------------------------------------------------------------------- */

static inline pid_t start_child(int (*fn)(void *), void *arg) {
    fflush(stdout);
    pid_t child = fork();
    if (child != 0) return child;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(60);
    atomic_store(&check_bad, 0);
    int code = fn(arg);
    fflush(stdout);
    _exit(code == 0 && atomic_load(&check_bad) != 0 ? 99 : code);
}

static inline int end_of(pid_t child) {
    int status = -1;
    return child > 0 && waitpid(child, &status, 0) == child ? status : -1;
}

#define FORKED(call) CHECK_STATUS(call, MEMGUARD_ERR_FORKED)
#define IN_CHILD(fn, arg) CHECK(check_exited(end_of(start_child(fn, arg)), 0))

/* ALONE(name) { ... } RUN(name): the body runs in a process of its own. */
static inline int run_body(void *body) {
    (*(void (**)(void))body)();
    return 0;
}
#define ALONE(name) ALONE_UNLESS(name, 0, "")
#define ALONE_UNLESS(name, ...) ALONE_UNLESS_(name, __VA_ARGS__)
#define ALONE_UNLESS_(name, impossible, why)                                                                           \
    static void alone_##name(void);                                                                                    \
    TEST(name) {                                                                                                       \
        void (*body)(void) = alone_##name;                                                                             \
        if (impossible) SKIP(why);                                                                                     \
        IN_CHILD(run_body, &body);                                                                                     \
    }                                                                                                                  \
    static void alone_##name(void)

/* A word between two threads or processes. */
static inline void say(int end) { CHECK(write(end, "x", 1) == 1); }
static inline void hear(int end) {
    char word = 0;
    CHECK(read(end, &word, 1) == 1 && word == 'x');
}

/* ---- an estate ----------------------------------------------------------------------- */

typedef struct estate {
    memguard_vault *vault;
    memguard_secret secrets[RESTS], longer[RESTS];
    uint32_t seed; /* of their bytes */
    int to_child[2], to_parent[2];
    memguard_view view;
    atomic_int flag;
    const unsigned char *shown;
    memguard_status status;
} estate;

static inline void estate_fill(estate *e) {
    e->seed = SEED;
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        e->secrets[rest] = secret_make(e->vault, SIZE, rest, SEED);
        e->longer[rest] = secret_make(e->vault, LONG_SIZE, rest, SEED);
    }
    CHECK(pipe(e->to_child) == 0 && pipe(e->to_parent) == 0);
}
static inline estate *estate_make_with(uint32_t flags) {
    estate *e = calloc(1, sizeof *e);
    if (e == NULL) abort();
    e->vault = vault_of_policy(MEMGUARD_FORK_COPY, 0, flags);
    estate_fill(e);
    return e;
}
static inline estate *estate_make(void) { return estate_make_with(0); }

static inline int all_hold(const estate *e, uint32_t seed) {
    int good = 1;
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        good &= CHECK(holds_pattern(e->secrets[rest], SIZE, seed));
        good &= CHECK(holds_pattern(e->longer[rest], LONG_SIZE, seed));
    }
    return good;
}

static inline void change_all(estate *e, uint32_t seed) {
    unsigned char bytes[LONG_SIZE];
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        fill(bytes, SIZE, seed);
        CHECK_STATUS(memguard_secret_replace(e->secrets[rest], bytes, SIZE), MEMGUARD_OK);
        memguard_view view = borrow(e->longer[rest], MEMGUARD_WRITE);
        fill(view.data, LONG_SIZE, seed);
        give_back(&view);
    }
}

static inline void live(estate *e) {
    CHECK(all_hold(e, SEED));
    change_all(e, OTHER_SEED);
    CHECK(all_hold(e, OTHER_SEED));
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        memguard_secret fresh = secret_make(e->vault, SIZE, rest, 9);
        CHECK(holds_pattern(fresh, SIZE, 9));
        CHECK_STATUS(memguard_secret_rest(fresh, (rest + 1) % RESTS), MEMGUARD_OK);
        CHECK_STATUS(memguard_secret_destroy(&fresh), MEMGUARD_OK);
    }
    CHECK_STATUS(memguard_vault_prepare(e->vault, 8 * page_bytes(), 3), MEMGUARD_OK);
    CHECK_STATUS(memguard_vault_lock(e->vault, right_kek), MEMGUARD_OK);
    CHECK_STATUS(memguard_vault_unlock(e->vault, right_kek), MEMGUARD_OK);
    CHECK(all_hold(e, OTHER_SEED));
}

static inline int live_and_end(void *arg) {
    estate *e = arg;
    live(e);
    vault_end(e->vault);
    return 0;
}

/* A function for `use` that stays until the flag is 2. */
static inline int stay(const void *bytes, size_t size, void *arg) {
    estate *e = arg;
    (void)size;
    e->shown = bytes;
    atomic_store(&e->flag, 1);
    CHECK(wait_for(&e->flag, 2));
    return 0;
}

#endif
