/* test_fork_copy.c: MEMGUARD_FORK_COPY: a child of fork goes on with a copy of its own; what either does never shows in the
 * other; what cannot be right is refused. Each test has a process of its own; its first one makes the vaults. */
#define _GNU_SOURCE
#include <sched.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "api/support.h"

#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN 1
/* The tests fork while threads run, and children start threads. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void) { return "die_after_fork=0"; }
#else
#define UNDER_TSAN 0
#endif

enum { SIZE = 200, SEED = 5, OTHER_SEED = 6, LONG_SIZE = 9000 };

static memguard_vault *vault_of_policy(uint32_t policy, uint32_t backend, uint32_t flags) {
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    memguard_vault *vault = NULL;
    options.fork_policy = policy;
    options.backend = backend;
    options.flags = flags;
    CHECK_STATUS(memguard_vault_create(&options, &vault), MEMGUARD_OK);
    return vault;
}
static memguard_vault *copied_vault(void) { return vault_of_policy(MEMGUARD_FORK_COPY, 0, 0); }

/* ---- processes ------------------------------------------------------------------------------------------- */

static pid_t start_child(int (*fn)(void *), void *arg) {
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

static int end_of(pid_t child) {
    int status = -1;
    return child > 0 && waitpid(child, &status, 0) == child ? status : -1;
}

#define IN_CHILD(fn, arg) CHECK(check_exited(end_of(start_child(fn, arg)), 0))

/* ALONE(name) { ... } RUN(name): the body runs in a process of its own. */
static int run_body(void *body) {
    (*(void (**)(void))body)();
    return 0;
}
#define ALONE(name)                                                                                                    \
    static void alone_##name(void);                                                                                    \
    TEST(name) {                                                                                                       \
        void (*body)(void) = alone_##name;                                                                             \
        IN_CHILD(run_body, &body);                                                                                     \
    }                                                                                                                  \
    static void alone_##name(void)

/* A word between two threads or processes. */
static void say(int end) { CHECK(write(end, "x", 1) == 1); }
static void hear(int end) {
    char word = 0;
    CHECK(read(end, &word, 1) == 1 && word == 'x');
}

/* ---- options --------------------------------------------------------------------------------------------- */

static void refuse(uint32_t backend, uint32_t require) {
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    memguard_vault *vault = NULL;
    options.fork_policy = MEMGUARD_FORK_COPY;
    options.backend = backend;
    options.require = require;
    CHECK_STATUS(memguard_vault_create(&options, &vault), MEMGUARD_ERR_ARGUMENT);
    CHECK(vault == NULL);
}

ALONE(what_cannot_be_copied_is_refused) {
    refuse(MEMGUARD_BACKEND_SECRETMEM, 0);
    refuse(MEMGUARD_BACKEND_AUTO, MEMGUARD_PROTECT_HIDDEN);
    refuse(MEMGUARD_BACKEND_LOCKED, MEMGUARD_PROTECT_NOFORK);
}

ALONE(the_report_does_not_claim_nofork) {
    for (uint32_t backend = MEMGUARD_BACKEND_LOCKED; backend <= MEMGUARD_BACKEND_PLAIN; backend++) {
        memguard_vault *vault = vault_of_policy(MEMGUARD_FORK_COPY, backend, 0);
        memguard_report report = report_of(vault);
        CHECK((report.protections & (MEMGUARD_PROTECT_NOFORK | MEMGUARD_PROTECT_HIDDEN)) == 0);
        CHECK((report.protections & MEMGUARD_PROTECT_NODUMP) != 0 && report.backend == backend);
        vault_end(vault);
    }
}

ALONE(auto_and_the_environment_come_to_locked_pages) {
    CHECK(setenv("MEMGUARD_BACKEND", "secretmem", 1) == 0);
    memguard_vault *vault = copied_vault();
    CHECK(report_of(vault).backend == MEMGUARD_BACKEND_LOCKED);
    CHECK(unsetenv("MEMGUARD_BACKEND") == 0);
    vault_end(vault);
}

/* ---- a copy is complete, and apart ----------------------------------------------------------------------- */

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

static void estate_fill(estate *e) {
    e->seed = SEED;
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        e->secrets[rest] = secret_make(e->vault, SIZE, rest, SEED);
        e->longer[rest] = secret_make(e->vault, LONG_SIZE, rest, SEED);
    }
    CHECK(pipe(e->to_child) == 0 && pipe(e->to_parent) == 0);
}
static estate *estate_make(void) {
    estate *e = calloc(1, sizeof *e);
    if (e == NULL) abort();
    e->vault = copied_vault();
    estate_fill(e);
    return e;
}

static int all_hold(const estate *e, uint32_t seed) {
    int good = 1;
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        good &= CHECK(holds_pattern(e->secrets[rest], SIZE, seed));
        good &= CHECK(holds_pattern(e->longer[rest], LONG_SIZE, seed));
    }
    return good;
}

static void change_all(estate *e, uint32_t seed) {
    unsigned char bytes[LONG_SIZE];
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        fill(bytes, SIZE, seed);
        CHECK_STATUS(memguard_secret_replace(e->secrets[rest], bytes, SIZE), MEMGUARD_OK);
        memguard_view view = borrow(e->longer[rest], MEMGUARD_WRITE);
        fill(view.data, LONG_SIZE, seed);
        give_back(&view);
    }
}

static void live(estate *e) {
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

static int live_and_end(void *arg) {
    estate *e = arg;
    live(e);
    vault_end(e->vault);
    return 0;
}

ALONE(a_child_does_with_its_copy_all_that_its_parent_does_and_the_parent_sees_nothing_of_it) {
    estate *e = estate_make();
    IN_CHILD(live_and_end, e);
    CHECK(all_hold(e, SEED));
    IN_CHILD(live_and_end, e);
    live(e);
    vault_end(e->vault);
}

static const uint32_t kinds_of_vaults[][2] = {
    {MEMGUARD_BACKEND_LOCKED, MEMGUARD_STRICT},
    {MEMGUARD_BACKEND_LOCKED, MEMGUARD_NO_THREAD},
    {MEMGUARD_BACKEND_PLAIN, 0},
    {MEMGUARD_BACKEND_PLAIN, MEMGUARD_STRICT | MEMGUARD_STRICT_SIGNALS},
};

ALONE(every_kind_of_vault_is_copied) {
    for (size_t i = 0; i < sizeof kinds_of_vaults / sizeof kinds_of_vaults[0]; i++) {
        estate *e = calloc(1, sizeof *e);
        if (!CHECK(e != NULL)) return;
        e->vault = vault_of_policy(MEMGUARD_FORK_COPY, kinds_of_vaults[i][0], kinds_of_vaults[i][1]);
        estate_fill(e);
        IN_CHILD(live_and_end, e);
        live(e);
        vault_end(e->vault);
    }
}

/* Both change the same secrets turn by turn; each sees its own changes alone. */
static int take_turns(void *arg) {
    estate *e = arg;
    for (uint32_t turn = 0; turn < 5; turn++) {
        hear(e->to_child[0]);
        CHECK(all_hold(e, turn == 0 ? (uint32_t)SEED : 99 + turn));
        change_all(e, 100 + turn);
        say(e->to_parent[1]);
    }
    return 0;
}

ALONE(changes_on_either_side_never_show_on_the_other) {
    estate *e = estate_make();
    pid_t child = start_child(take_turns, e);
    for (uint32_t turn = 0; turn < 5; turn++) {
        say(e->to_child[1]);
        change_all(e, 200 + turn);
        hear(e->to_parent[0]);
        CHECK(all_hold(e, 200 + turn));
    }
    CHECK(check_exited(end_of(child), 0));
    vault_end(e->vault);
}

static int destroy_half(void *arg) {
    estate *e = arg;
    hear(e->to_child[0]); /* by now the parent has destroyed the other half */
    CHECK(all_hold(e, SEED));
    for (uint32_t rest = 0; rest < RESTS; rest++) CHECK_STATUS(memguard_secret_destroy(&e->longer[rest]), MEMGUARD_OK);
    return 0;
}

ALONE(what_one_destroys_the_other_keeps) {
    estate *e = estate_make();
    memguard_secret kept[RESTS];
    memcpy(kept, e->longer, sizeof kept);
    pid_t child = start_child(destroy_half, e);
    for (uint32_t rest = 0; rest < RESTS; rest++) CHECK_STATUS(memguard_secret_destroy(&e->secrets[rest]), MEMGUARD_OK);
    say(e->to_child[1]);
    CHECK(check_exited(end_of(child), 0));
    for (uint32_t rest = 0; rest < RESTS; rest++) CHECK(holds_pattern(kept[rest], LONG_SIZE, SEED));
    vault_end(e->vault);
}

/* ---- children of children -------------------------------------------------------------------------------- */

static int fork_on(void *arg) {
    estate *e = arg;
    if (e->seed++ < SEED + 3) IN_CHILD(fork_on, e); /* before a first call */
    CHECK(all_hold(e, SEED));
    if (e->seed++ < SEED + 5) IN_CHILD(fork_on, e); /* after it */
    live(e);
    return 0;
}

ALONE(children_of_settled_and_of_unsettled_children_go_on) {
    estate *e = estate_make();
    IN_CHILD(fork_on, e);
    CHECK(all_hold(e, SEED));
    vault_end(e->vault);
}

/* ---- forks inside of use --------------------------------------------------------------------------------- */

typedef struct forking {
    estate *e;
    pid_t child;
    int calls;
} forking;

static int fork_here(const void *bytes, size_t size, void *arg) {
    forking *f = arg;
    CHECK(is_pattern(bytes, size, SEED));
    fflush(stdout);
    f->child = fork();
    if (f->child == 0) atomic_store(&check_bad, 0);
    CHECK(is_pattern(bytes, size, SEED));
    if (f->child == 0 && f->calls) CHECK(holds_pattern(f->e->secrets[0], SIZE, SEED));
    CHECK(is_pattern(bytes, size, SEED));
    return 3;
}

static int nest(const void *bytes, size_t size, void *arg) {
    forking *f = arg;
    int result = 0;
    CHECK_STATUS(memguard_secret_use(f->e->secrets[1], fork_here, f, &result), MEMGUARD_OK);
    CHECK(is_pattern(bytes, size, SEED));
    return result;
}

static void fork_in(estate *e, memguard_secret secret, memguard_fn *fn, int calls) {
    forking f = {e, -1, calls};
    int result = 0;
    memguard_info info = MEMGUARD_INFO_INIT;
    CHECK_STATUS(memguard_secret_use(secret, fn, &f, &result), MEMGUARD_OK);
    CHECK(result == 3);
    CHECK_STATUS(memguard_secret_info(secret, &info), MEMGUARD_OK);
    CHECK(info.borrows == 0);
    if (f.child == 0) {
        live(e);
        vault_end(e->vault);
        fflush(stdout);
        _exit(atomic_load(&check_bad) != 0 ? 99 : 0);
    }
    CHECK(check_exited(end_of(f.child), 0));
}

ALONE(a_use_in_which_the_host_forks_ends_well_in_both) {
    estate *e = estate_make();
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        for (int calls = 0; calls < 2; calls++) {
            fork_in(e, e->secrets[rest], fork_here, calls);
            fork_in(e, e->longer[rest], fork_here, calls);
            fork_in(e, e->longer[rest], nest, calls);
        }
    }
    vault_end(e->vault);
}

static int fork_without_look(const void *bytes, size_t size, void *arg) {
    (void)bytes, (void)size;
    *(pid_t *)arg = fork();
    return 0;
}

static void fork_in_use_of(memguard_secret secret) {
    pid_t child = -1;
    const memguard_status status = memguard_secret_use(secret, fork_without_look, &child, NULL);
    if (child == 0) _exit(status == MEMGUARD_ERR_FORKED ? 0 : 1);
    CHECK_STATUS(status, MEMGUARD_OK);
    CHECK(check_exited(end_of(child), 0));
}

ALONE(a_use_of_a_secret_that_stays_behind_ends_with_forked) {
    memguard_vault *refused = vault_of_policy(MEMGUARD_FORK_REFUSE, 0, 0);
    memguard_secret secret = secret_make(refused, SIZE, 0, SEED), closed = secret_make(refused, SIZE, MEMGUARD_CLOSED, SEED);
    fork_in_use_of(secret);
    fork_in_use_of(closed);
    memguard_vault *copied = copied_vault();
    fork_in_use_of(secret);
    fork_in_use_of(closed);
    vault_end(copied);
    vault_end(refused);
}

/* ---- what other threads were at -------------------------------------------------------------------------- */

static int stay(const void *bytes, size_t size, void *arg) {
    estate *e = arg;
    (void)size;
    e->shown = bytes;
    atomic_store(&e->flag, 1);
    CHECK(wait_for(&e->flag, 2));
    return 0;
}

static void *use_and_stay(void *arg) {
    estate *e = arg;
    CHECK_STATUS(memguard_secret_use(e->secrets[e->seed], stay, e, NULL), MEMGUARD_OK);
    return NULL;
}

static int find_it_ended(void *arg) {
    estate *e = arg;
    memguard_secret secret = e->secrets[e->seed];
    memguard_info info = MEMGUARD_INFO_INIT;
    CHECK(can_read(e->shown) == 1 && is_pattern(e->shown, SIZE, SEED)); /* the control: nothing was done yet */
    CHECK_STATUS(memguard_secret_info(secret, &info), MEMGUARD_OK);
    CHECK(info.borrows == 0 && info.writing == 0);
    const int gone = can_read(e->shown) != 1 || !is_pattern(e->shown, SIZE, SEED);
    CHECK(gone || e->seed == MEMGUARD_MAPPED);
    memguard_view view = borrow(secret, MEMGUARD_WRITE);
    CHECK(is_pattern(view.data, SIZE, SEED));
    give_back(&view);
    e->seed = SEED;
    live(e);
    vault_end(e->vault);
    return 0;
}

ALONE(uses_of_other_threads_end_in_the_child_and_what_they_saw_is_wiped) {
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        pthread_t thread;
        estate *e = estate_make();
        e->seed = rest;
        CHECK(pthread_create(&thread, NULL, use_and_stay, e) == 0);
        CHECK(wait_for(&e->flag, 1));
        IN_CHILD(find_it_ended, e);
        atomic_store(&e->flag, 2);
        CHECK(pthread_join(thread, NULL) == 0);
        CHECK(all_hold(e, SEED));
        vault_end(e->vault);
    }
}

static void *open_scope_and_stay(void *arg) {
    estate *e = arg;
    memguard_scope scope = {0};
    CHECK_STATUS(memguard_scope_create(e->vault, &scope), MEMGUARD_OK);
    e->secrets[0] = secret_make(e->vault, SIZE, 0, SEED);
    e->secrets[1] = secret_make(e->vault, SIZE, MEMGUARD_KEEP, SEED);
    atomic_store(&e->flag, 1);
    CHECK(wait_for(&e->flag, 2));
    CHECK(holds_pattern(e->secrets[0], SIZE, SEED));
    CHECK_STATUS(memguard_scope_destroy(&scope), MEMGUARD_OK);
    return NULL;
}

static int find_scope_closed(void *arg) {
    estate *e = arg;
    CHECK_STATUS(life(e->secrets[0]), MEMGUARD_ERR_STALE);
    CHECK(holds_pattern(e->secrets[1], SIZE, SEED));
    return 0;
}

ALONE(scopes_of_other_threads_close_in_the_child) {
    pthread_t thread;
    estate *e = estate_make();
    CHECK(pthread_create(&thread, NULL, open_scope_and_stay, e) == 0);
    CHECK(wait_for(&e->flag, 1));
    IN_CHILD(find_scope_closed, e);
    atomic_store(&e->flag, 2);
    CHECK(pthread_join(thread, NULL) == 0);
    vault_end(e->vault);
}

/* ---- views ----------------------------------------------------------------------------------------------- */

typedef struct views {
    estate *e;
    memguard_view read[RESTS], write[RESTS];
} views;

static int end_views(void *arg) {
    views *v = arg;
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        memguard_view copy = v->read[rest];
        CHECK(is_pattern(v->read[rest].data, SIZE, SEED));
        give_back(&v->read[rest]);
        CHECK_STATUS(memguard_view_release(&copy), MEMGUARD_ERR_STALE);
        fill(v->write[rest].data, LONG_SIZE, 77);
        give_back(&v->write[rest]);
        CHECK(holds_pattern(v->e->longer[rest], LONG_SIZE, 77));
        CHECK(holds_pattern(v->e->secrets[rest], SIZE, SEED));
    }
    vault_end(v->e->vault);
    return 0;
}

static void *take_views(void *arg) {
    views *v = arg;
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        v->read[rest] = borrow(v->e->secrets[rest], MEMGUARD_READ);
        v->write[rest] = borrow(v->e->longer[rest], MEMGUARD_WRITE);
        CHECK(is_pattern(v->write[rest].data, LONG_SIZE, SEED));
    }
    return NULL;
}

static void views_across_a_fork(int by_other_thread) {
    pthread_t thread;
    views v = {.e = estate_make()};
    if (by_other_thread) {
        CHECK(pthread_create(&thread, NULL, take_views, &v) == 0);
        CHECK(pthread_join(thread, NULL) == 0);
    } else {
        take_views(&v);
    }
    IN_CHILD(end_views, &v);
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        CHECK(is_pattern(v.read[rest].data, SIZE, SEED) && is_pattern(v.write[rest].data, LONG_SIZE, SEED));
        give_back(&v.read[rest]);
        give_back(&v.write[rest]);
    }
    CHECK(all_hold(v.e, SEED));
    vault_end(v.e->vault);
}

ALONE(views_are_valid_in_the_child_until_released_there) { views_across_a_fork(0); }
ALONE(views_of_other_threads_can_be_released_in_the_child) { views_across_a_fork(1); }

static int purge_lost_views(void *arg) {
    estate *e = arg;
    memguard_vault *vault = e->vault;
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_ERR_BUSY);
    CHECK_STATUS(memguard_vault_purge(e->vault, 0), MEMGUARD_ERR_REVOKED);
    CHECK(can_read(e->view.data) == 0);
    vault_end(e->vault);
    return 0;
}

static void *take_view(void *arg) {
    estate *e = arg;
    e->view = borrow(e->secrets[0], MEMGUARD_READ);
    return NULL;
}

ALONE(a_view_that_nobody_can_release_in_the_child_ends_by_a_purge) {
    pthread_t thread;
    estate *e = estate_make();
    CHECK(pthread_create(&thread, NULL, take_view, e) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    IN_CHILD(purge_lost_views, e);
    CHECK(is_pattern(e->view.data, SIZE, SEED));
    give_back(&e->view);
    vault_end(e->vault);
}

/* ---- purge and lock -------------------------------------------------------------------------------------- */

static int outlive_the_purge(void *arg) {
    estate *e = arg;
    hear(e->to_child[0]);
    live(e);
    return 0;
}

ALONE(a_purge_in_the_parent_leaves_the_child_what_it_has) {
    estate *e = estate_make();
    pid_t child = start_child(outlive_the_purge, e);
    CHECK_STATUS(memguard_vault_purge(e->vault, 0), MEMGUARD_OK);
    say(e->to_child[1]);
    CHECK(check_exited(end_of(child), 0));
    CHECK_STATUS(life(e->secrets[0]), MEMGUARD_ERR_STALE);
    vault_end(e->vault);
}

static int purge_all_here(void *arg) {
    estate *e = arg;
    CHECK_STATUS(memguard_purge_all(0), MEMGUARD_OK);
    for (uint32_t rest = 0; rest < RESTS; rest++) CHECK_STATUS(life(e->secrets[rest]), MEMGUARD_ERR_STALE);
    CHECK(holds_pattern(secret_make(e->vault, SIZE, 0, 1), SIZE, 1));
    return 0;
}

ALONE(a_purge_in_the_child_leaves_the_parent_what_it_has) {
    estate *e = estate_make();
    memguard_vault *refused = vault_make();
    memguard_secret kept = secret_make(refused, SIZE, 0, SEED);
    IN_CHILD(purge_all_here, e);
    CHECK(all_hold(e, SEED));
    CHECK(holds_pattern(kept, SIZE, SEED));
    vault_end(refused);
    vault_end(e->vault);
}

static void *purge_patiently(void *arg) {
    estate *e = arg;
    atomic_store(&e->flag, 1);
    e->status = memguard_vault_purge(e->vault, 50000);
    return NULL;
}

static void wait_for_purge(const estate *e) {
    for (uint64_t end = now_ms() + 10000; life(e->secrets[0]) != MEMGUARD_ERR_STALE && now_ms() < end;) sleep_ms(1);
}

/* The thread that forked has a view of its own: it may look at it, and its release ends the purge. */
static int finish_the_purge(void *arg) {
    estate *e = arg;
    memguard_secret fresh = {0};
    CHECK_STATUS(memguard_secret_create(e->vault, 8, 0, &fresh), MEMGUARD_ERR_STALE);
    CHECK(is_pattern(e->view.data, SIZE, SEED));
    give_back(&e->view);
    CHECK(report_of(e->vault).purges == 1);
    CHECK(holds_pattern(secret_make(e->vault, SIZE, 0, 1), SIZE, 1));
    vault_end(e->vault);
    return 0;
}

/* The view belongs to somebody who is not here: it is revoked at once. */
static void *fork_and_find_it_done(void *arg) {
    estate *e = arg;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        alarm(20);
        atomic_store(&check_bad, 0);
        memguard_secret fresh = secret_make(e->vault, SIZE, 0, 1);
        CHECK(holds_pattern(fresh, SIZE, 1));
        CHECK(report_of(e->vault).purges == 1 && report_of(e->vault).revoked == 1);
        CHECK(can_read(e->view.data) == 0);
        CHECK_STATUS(memguard_view_release(&e->view), MEMGUARD_ERR_REVOKED);
        vault_end(e->vault);
        fflush(stdout);
        _exit(atomic_load(&check_bad) != 0 ? 99 : 0);
    }
    CHECK(check_exited(end_of(child), 0));
    return NULL;
}

ALONE(a_purge_that_was_waiting_at_the_fork_is_completed_in_the_child) {
    pthread_t purger, forker;
    estate *e = estate_make();
    e->view = borrow(e->secrets[2], MEMGUARD_READ);
    CHECK(pthread_create(&purger, NULL, purge_patiently, e) == 0);
    CHECK(wait_for(&e->flag, 1));
    wait_for_purge(e);
    IN_CHILD(finish_the_purge, e);
    CHECK(pthread_create(&forker, NULL, fork_and_find_it_done, e) == 0);
    CHECK(pthread_join(forker, NULL) == 0);
    give_back(&e->view);
    CHECK(pthread_join(purger, NULL) == 0);
    CHECK_STATUS(e->status, MEMGUARD_OK);
    vault_end(e->vault);
}

static int unlock_here(void *arg) {
    estate *e = arg;
    CHECK_STATUS(memguard_secret_use(e->secrets[0], show_nothing, NULL, NULL), MEMGUARD_ERR_LOCKED);
    CHECK_STATUS(memguard_vault_unlock(e->vault, wrong_kek), MEMGUARD_ERR_AUTH);
    CHECK_STATUS(memguard_vault_unlock(e->vault, right_kek), MEMGUARD_OK);
    live(e);
    return 0;
}

ALONE(a_locked_vault_is_locked_in_the_child_and_unlocked_there_alone) {
    estate *e = estate_make();
    CHECK_STATUS(memguard_vault_lock(e->vault, right_kek), MEMGUARD_OK);
    IN_CHILD(unlock_here, e);
    CHECK(report_of(e->vault).locked == 1);
    CHECK_STATUS(memguard_secret_use(e->secrets[0], show_nothing, NULL, NULL), MEMGUARD_ERR_LOCKED);
    CHECK_STATUS(memguard_vault_unlock(e->vault, right_kek), MEMGUARD_OK);
    CHECK(all_hold(e, SEED));
    vault_end(e->vault);
}

/* ---- both policies --------------------------------------------------------------------------------------- */

typedef struct mixed {
    estate *copied;
    memguard_vault *refused;
    memguard_secret secrets[RESTS], frozen;
    memguard_view view, writing;
    memguard_scope scope;
} mixed;

#define FORKED(call) CHECK_STATUS(call, MEMGUARD_ERR_FORKED)

static void try_refused_secret(memguard_secret secret) {
    unsigned char bytes[SIZE] = {1};
    memguard_view view = {0};
    memguard_limits limits = MEMGUARD_LIMITS_INIT;
    FORKED(memguard_secret_use(secret, show_nothing, NULL, NULL));
    FORKED(memguard_secret_acquire(secret, MEMGUARD_READ, &view));
    FORKED(memguard_secret_acquire(secret, MEMGUARD_WRITE, &view));
    FORKED(memguard_secret_equal(secret, bytes, SIZE));
    FORKED(memguard_secret_rest(secret, MEMGUARD_CLOSED));
    FORKED(memguard_secret_freeze(secret));
    FORKED(memguard_secret_resize(secret, 8));
    FORKED(memguard_secret_copy_at(secret, 0, bytes, 1));
    FORKED(memguard_secret_scramble(secret));
    FORKED(memguard_secret_limit(secret, &limits));
    FORKED(life(secret));
    FORKED(memguard_secret_replace(secret, bytes, SIZE));
    CHECK(is_zero(bytes, SIZE));
    FORKED(memguard_secret_destroy(&secret));
}

static void try_refused_vault(mixed *m) {
    memguard_vault *vault = m->refused;
    memguard_secret secret = {42};
    memguard_scope scope = {0};
    memguard_report report = {0};
    report.size = sizeof report;
    FORKED(memguard_vault_purge(vault, 0));
    FORKED(memguard_vault_report(vault, &report));
    FORKED(memguard_vault_prepare(vault, 1, 1));
    FORKED(memguard_vault_tick(vault, NULL));
    FORKED(memguard_vault_lock(vault, right_kek));
    FORKED(memguard_vault_unlock(vault, right_kek));
    FORKED(memguard_secret_create(vault, 8, 0, &secret));
    CHECK(secret.id == 0);
    FORKED(memguard_scope_create(vault, &scope));
    FORKED(memguard_view_release(&m->view));
    FORKED(memguard_view_release(&m->writing));
    FORKED(memguard_vault_destroy(&vault));
}

static int live_beside_what_stayed(void *arg) {
    mixed *m = arg;
    for (uint32_t rest = 0; rest < RESTS; rest++) try_refused_secret(m->secrets[rest]);
    try_refused_secret(m->frozen);
    try_refused_vault(m);
    CHECK_STATUS(memguard_scope_destroy(&m->scope), MEMGUARD_OK); /* it has nothing of this process in it */
    memguard_vault *fresh = vault_make(), *copied = copied_vault();
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        CHECK(holds_pattern(secret_make(fresh, SIZE, rest, 1), SIZE, 1));
        CHECK(holds_pattern(secret_make(fresh, LONG_SIZE, rest, 1), LONG_SIZE, 1));
        CHECK(holds_pattern(secret_make(copied, SIZE, rest, 1), SIZE, 1));
    }
    CHECK_STATUS(memguard_purge_all(0), MEMGUARD_OK);
    vault_end(fresh);
    vault_end(copied);
    for (uint32_t rest = 0; rest < RESTS; rest++) try_refused_secret(m->secrets[rest]);
    vault_end(m->copied->vault);
    return 0;
}

static int live_beside_and_fork(void *arg) {
    mixed *m = arg;
    CHECK(all_hold(m->copied, SEED));
    memguard_vault *mine = vault_make();
    memguard_secret secret = secret_make(mine, SIZE, 0, 1);
    IN_CHILD(live_beside_what_stayed, m);
    CHECK(holds_pattern(secret, SIZE, 1));
    vault_end(mine);
    return live_beside_what_stayed(m);
}

ALONE(vaults_that_refuse_stay_behind_where_others_are_copied) {
    mixed m = {.refused = vault_make()};
    for (uint32_t rest = 0; rest < RESTS; rest++) m.secrets[rest] = secret_make(m.refused, SIZE, rest, SEED);
    m.frozen = secret_make(m.refused, SIZE, MEMGUARD_FROZEN, SEED);
    m.copied = estate_make();
    m.view = borrow(m.secrets[0], MEMGUARD_READ);
    m.writing = borrow(m.secrets[1], MEMGUARD_WRITE);
    CHECK_STATUS(memguard_scope_create(m.refused, &m.scope), MEMGUARD_OK);
    memguard_secret scoped = secret_make(m.refused, SIZE, 0, SEED);
    IN_CHILD(live_beside_what_stayed, &m);
    IN_CHILD(live_beside_and_fork, &m);
    CHECK(holds_pattern(scoped, SIZE, SEED));
    CHECK_STATUS(memguard_scope_destroy(&m.scope), MEMGUARD_OK);
    give_back(&m.view);
    give_back(&m.writing);
    for (uint32_t rest = 0; rest < RESTS; rest++) CHECK(holds_pattern(m.secrets[rest], SIZE, SEED));
    vault_end(m.copied->vault);
    vault_end(m.refused);
}

static int be_refused(void *arg) {
    mixed *m = arg;
    memguard_vault *vault = NULL;
    FORKED(life(m->secrets[0]));
    FORKED(memguard_vault_create(NULL, &vault));
    return 0;
}

ALONE(a_child_has_no_copy_when_no_vault_to_copy_lives) {
    mixed m = {.refused = vault_make()};
    m.secrets[0] = secret_make(m.refused, SIZE, 0, SEED);
    IN_CHILD(be_refused, &m);
    memguard_vault *copied = copied_vault();
    vault_end(copied);
    IN_CHILD(be_refused, &m);
    vault_end(m.refused);
}

/* ---- lockable memory ------------------------------------------------------------------------------------- */

static int set_soft_memlock(rlim_t bytes) {
    struct rlimit limit = {0, 0};
    if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0) return -1;
    limit.rlim_cur = bytes;
    return setrlimit(RLIMIT_MEMLOCK, &limit);
}

static int have_too_little(void *arg) {
    estate *e = arg;
    memguard_error error = MEMGUARD_ERROR_INIT;
    memguard_vault *vault = e->vault;
    CHECK(drop_memlock(8 << 20) == 0 && set_soft_memlock(page_bytes()) == 0);
    CHECK_STATUS(memguard_secret_use(e->secrets[0], show_nothing, NULL, NULL), MEMGUARD_ERR_LOCK_LIMIT);
    CHECK_STATUS(memguard_last_error(&error), MEMGUARD_OK);
    CHECK(error.allowed_bytes == page_bytes() && error.needed_bytes > page_bytes());
    CHECK_STATUS(life(e->secrets[0]), MEMGUARD_ERR_LOCK_LIMIT);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_ERR_LOCK_LIMIT);
    /* A child of such a child is in the same state; and with enough of it both go on. */
    CHECK(set_soft_memlock(8 << 20) == 0);
    IN_CHILD(live_and_end, e);
    if (!CHECK_SANITIZED) CHECK(status_bytes("VmLck:") <= page_bytes());
    live(e);
    if (!CHECK_SANITIZED) CHECK(status_bytes("VmLck:") == report_of(e->vault).lock_in_use_bytes);
    vault_end(e->vault);
    return 0;
}

ALONE(without_enough_lockable_memory_a_child_is_told_so_until_it_has_it) {
    estate *e = estate_make();
    IN_CHILD(have_too_little, e);
    CHECK(all_hold(e, SEED));
    vault_end(e->vault);
}

static int be_locked(void *arg) {
    estate *e = arg;
    CHECK(status_bytes("VmLck:") == 0); /* locks are not inherited */
    CHECK_STATUS(life(e->secrets[0]), MEMGUARD_OK);
    CHECK(status_bytes("VmLck:") == report_of(e->vault).lock_in_use_bytes);
    CHECK(report_of(e->vault).lock_in_use_bytes != 0);
    return 0;
}

ALONE(the_pages_of_a_settled_child_are_locked) {
    if (CHECK_SANITIZED) return; /* they make mlock a call that does nothing */
    estate *e = estate_make();
    memguard_vault *refused = vault_make(); /* its pages do not count in the child */
    IN_CHILD(be_locked, e);
    vault_end(refused);
    vault_end(e->vault);
}

/* Free pages do not keep a child from settling. */
static int live_on_less(void *arg) {
    estate *e = arg;
    CHECK(drop_memlock(report_of(e->vault).lock_in_use_bytes) == 0);
    CHECK(holds_pattern(e->secrets[0], SIZE, SEED));
    return 0;
}
static int settle_on_less(void *arg) {
    estate *e = arg;
    CHECK(drop_memlock(1 << 20) == 0);
    CHECK(holds_pattern(e->secrets[0], SIZE, SEED));
    CHECK(report_of(e->vault).lock_in_use_bytes <= 1 << 20);
    return 0;
}

ALONE(free_pages_are_let_go_where_a_child_may_lock_less) {
    memguard_secret many[400];
    estate *e = estate_make();
    for (int i = 0; i < 400; i++) many[i] = secret_make(e->vault, SIZE, MEMGUARD_CLOSED, 1);
    for (int i = 0; i < 400; i++) CHECK_STATUS(memguard_secret_destroy(&many[i]), MEMGUARD_OK);
    CHECK(report_of(e->vault).lock_in_use_bytes > 1 << 20);
    IN_CHILD(settle_on_less, e);
    IN_CHILD(live_on_less, e);
    vault_end(e->vault);
}

/* Where pages are short, `use` waits for one that another thread's `use` has: such a call lets a fork by. */
static void *use_compact(void *arg) {
    estate *e = arg;
    CHECK(holds_pattern(e->secrets[MEMGUARD_COMPACT], SIZE, SEED));
    return NULL;
}
static void *stay_in_use(void *arg) {
    estate *e = arg;
    CHECK_STATUS(memguard_secret_use(e->secrets[0], stay, e, NULL), MEMGUARD_OK);
    return NULL;
}
static int use_compact_here(void *arg) {
    use_compact(arg);
    return 0;
}

ALONE(a_use_that_waits_for_a_page_does_not_hold_a_fork) {
    pthread_t users[64], waiter;
    int count = 0;
    CHECK(drop_memlock(96 * 1024) == 0);
    estate *e = calloc(1, sizeof *e);
    if (!CHECK(e != NULL)) return;
    e->vault = copied_vault();
    e->secrets[0] = secret_make(e->vault, SIZE, 0, SEED);
    e->secrets[MEMGUARD_COMPACT] = secret_make(e->vault, SIZE, MEMGUARD_COMPACT, SEED);
    /* Users come until one more has to wait. */
    for (uint64_t end = now_ms() + 10000; count < 64 && now_ms() < end && report_of(e->vault).use_waits == 0;) {
        atomic_store(&e->flag, 0);
        CHECK(pthread_create(&users[count++], NULL, stay_in_use, e) == 0);
        CHECK(wait_for(&e->flag, 1) || report_of(e->vault).use_waits != 0);
        if (count % 2 == 0 && pthread_create(&waiter, NULL, use_compact, e) == 0) {
            for (int i = 0; i < 20 && report_of(e->vault).use_waits == 0; i++) sleep_ms(1);
            if (report_of(e->vault).use_waits != 0) break;
            CHECK(pthread_join(waiter, NULL) == 0);
        }
    }
    CHECK(report_of(e->vault).use_waits != 0);
    IN_CHILD(use_compact_here, e); /* and the child is not refused */
    atomic_store(&e->flag, 2);
    CHECK(pthread_join(waiter, NULL) == 0);
    for (int i = 0; i < count; i++) CHECK(pthread_join(users[i], NULL) == 0);
    vault_end(e->vault);
}

/* ---- other ways to make processes ------------------------------------------------------------------------ */

static int be_a_clone(void *arg) {
    estate *e = arg;
    memguard_view view = {0};
    memguard_vault *vault = e->vault;
    FORKED(memguard_secret_use(e->secrets[0], show_nothing, NULL, NULL));
    FORKED(memguard_secret_acquire(e->secrets[1], MEMGUARD_READ, &view));
    FORKED(memguard_vault_destroy(&vault));
    CHECK(is_pattern(e->shown, SIZE, SEED)); /* stated, not wished: the copies are there */
    memguard_emergency_wipe();
    CHECK(!is_pattern(e->shown, SIZE, SEED));
    return 0;
}

static int be_a_child_of_a_clone(void *arg) {
    IN_CHILD(be_a_clone, arg);
    return be_a_clone(arg);
}

static void by_raw_clone(int (*fn)(void *), void *arg) {
    fflush(stdout);
    const pid_t child = (pid_t)syscall(SYS_clone, (long)SIGCHLD, 0L, 0L, 0L, 0L);
    if (child == 0) {
        alarm(20);
        atomic_store(&check_bad, 0);
        fn(arg);
        fflush(stdout);
        _exit(atomic_load(&check_bad) != 0 ? 99 : 0);
    }
    CHECK(check_exited(end_of(child), 0));
}

ALONE(a_raw_clone_is_refused_and_can_wipe_what_it_has) {
    estate *e = estate_make();
    memguard_view view = borrow(e->secrets[MEMGUARD_MAPPED], MEMGUARD_READ);
    e->shown = view.data;
    by_raw_clone(be_a_clone, e);
    by_raw_clone(be_a_child_of_a_clone, e);
    CHECK(is_pattern(view.data, SIZE, SEED));
    give_back(&view);
    CHECK(all_hold(e, SEED));
    vault_end(e->vault);
}

static int work_in_shared_memory(void *arg) {
    estate *e = arg;
    e->seed = (uint32_t)holds_pattern(e->secrets[0], SIZE, SEED);
    unsigned char bytes[SIZE];
    fill(bytes, SIZE, OTHER_SEED);
    e->status = memguard_secret_replace(e->secrets[0], bytes, SIZE);
    return 0;
}

ALONE(a_clone_in_the_same_memory_is_as_the_calling_thread) {
    static _Alignas(16) unsigned char stack[256 * 1024];
    estate *e = estate_make();
    if (UNDER_TSAN) {
        printf("not under this sanitizer: it keeps its own books about threads\n");
    } else {
        for (int i = 0; i < 3; i++) {
            const pid_t child = clone(work_in_shared_memory, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, e);
            CHECK(check_exited(end_of(child), 0));
            CHECK(e->seed == (i == 0));
            CHECK_STATUS(e->status, MEMGUARD_OK);
            CHECK(holds_pattern(e->secrets[0], SIZE, OTHER_SEED));
        }
        IN_CHILD(be_locked, e);
    }
    vault_end(e->vault);
}

static void *use_all_the_time(void *arg) {
    estate *e = arg;
    while (atomic_load(&e->flag) == 0)
        for (uint32_t rest = 0; rest < RESTS; rest++) CHECK(holds_pattern(e->secrets[rest], SIZE, SEED));
    return NULL;
}

static void run_true(int way) {
    char program[] = "true";
    char *arguments[] = {program, NULL};
    pid_t child = -1;
    if (way == 0) CHECK(posix_spawnp(&child, "true", NULL, NULL, arguments, environ) == 0);
    if (way == 1) child = vfork();
    if (way == 2) child = fork();
    if (child == 0) {
        execvp("true", arguments);
        _exit(1);
    }
    CHECK(check_exited(end_of(child), 0));
}

ALONE(programs_are_started_as_ever) {
    pthread_t thread;
    estate *e = estate_make();
    CHECK(pthread_create(&thread, NULL, use_all_the_time, e) == 0);
    for (int i = 0; i < 30; i++)
        if (i % 3 != 1 || !CHECK_SANITIZED) run_true(i % 3); /* vfork and sanitizers: their stacks are shared, too */
    atomic_store(&e->flag, 1);
    CHECK(pthread_join(thread, NULL) == 0);
    vault_end(e->vault);
}

/* ---- handlers of the host -------------------------------------------------------------------------------- */

static estate *handled;
static atomic_int handlers_ran, refused_in_child;

static void call_from_handler(void) {
    memguard_secret secret = secret_make(handled->vault, LONG_SIZE, MEMGUARD_CLOSED, 3);
    CHECK(holds_pattern(secret, LONG_SIZE, 3));
    CHECK_STATUS(memguard_secret_destroy(&secret), MEMGUARD_OK);
    CHECK(all_hold(handled, SEED));
    atomic_fetch_add(&handlers_ran, 1);
}
static void call_early_in_child(void) {
    if (life(handled->secrets[0]) == MEMGUARD_ERR_FORKED) atomic_fetch_add(&refused_in_child, 1);
}

static int count_handlers(void *arg) {
    CHECK(atomic_load(&handlers_ran) == 3 && atomic_load(&refused_in_child) == 1);
    live(arg);
    return 0;
}

ALONE(fork_handlers_of_the_host_may_call) {
    CHECK(pthread_atfork(call_from_handler, call_from_handler, call_early_in_child) == 0); /* before the first vault */
    handled = NULL;
    estate *e = calloc(1, sizeof *e);
    if (!CHECK(e != NULL)) return;
    memguard_vault *hidden = vault_make(); /* secretmem in handlers, too */
    e->vault = copied_vault();
    estate_fill(e);
    handled = e;
    CHECK(pthread_atfork(call_from_handler, call_from_handler, call_from_handler) == 0);
    pid_t child = start_child(count_handlers, e); /* two before, one in the child */
    CHECK(check_exited(end_of(child), 0));
    CHECK(atomic_load(&handlers_ran) == 4);
    vault_end(e->vault);
    vault_end(hidden);
}

/* ---- forks in the midst of things ------------------------------------------------------------------------ */

enum { BUSY_THREADS = 8 };
static estate *busy;
static memguard_vault *busy_refused;
static atomic_int busy_over;

static void be_busy_once(uint32_t number, uint32_t round) {
    const uint32_t rest = (number + round) % RESTS;
    CHECK(holds_pattern(busy->secrets[rest], SIZE, SEED));
    memguard_secret mine = secret_make(round % 4 == 0 ? busy_refused : busy->vault, SIZE, rest, number);
    memguard_view view = borrow(mine, round % 2 ? MEMGUARD_READ : MEMGUARD_WRITE);
    CHECK(is_pattern(view.data, SIZE, number));
    give_back(&view);
    CHECK_STATUS(memguard_secret_rest(mine, (rest + round) % RESTS), MEMGUARD_OK);
    CHECK(holds_pattern(mine, SIZE, number));
    if (memguard_secret_acquire(busy->longer[rest], MEMGUARD_READ, &view) == MEMGUARD_OK) {
        CHECK(is_pattern(view.data, LONG_SIZE, SEED));
        give_back(&view);
    }
    CHECK_STATUS(memguard_secret_destroy(&mine), MEMGUARD_OK);
}

static void *be_busy(void *number) {
    for (uint32_t round = 0; !atomic_load(&busy_over); round++) be_busy_once((uint32_t)(uintptr_t)number, round);
    return NULL;
}

static int live_after_a_busy_fork(void *arg) {
    estate *e = arg;
    CHECK(all_hold(e, SEED));
    memguard_secret fresh = secret_make(e->vault, SIZE, MEMGUARD_COMPACT, 1);
    CHECK(holds_pattern(fresh, SIZE, 1));
    be_busy_once(3, 1);
    CHECK_AMONG(memguard_vault_purge(e->vault, 0), ANY_OF(OK) | ANY_OF(ERR_REVOKED)); /* views of threads that are not here */
    CHECK_STATUS(life(e->secrets[0]), MEMGUARD_ERR_STALE);
    CHECK(holds_pattern(secret_make(e->vault, SIZE, MEMGUARD_CLOSED, 1), SIZE, 1));
    vault_end(e->vault);
    return 0;
}

static int fork_often(estate *e, int forks) {
    for (int i = 0; i < forks; i++)
        if (!IN_CHILD(live_after_a_busy_fork, e)) return 0;
    return 1;
}

static void *fork_often_too(void *arg) {
    fork_often(arg, CHECK_SANITIZED ? 5 : 50);
    return NULL;
}

ALONE(two_hundred_forks_among_eight_busy_threads_give_whole_children) {
    pthread_t threads[BUSY_THREADS], forker;
    busy = estate_make();
    busy_refused = vault_make();
    for (uintptr_t i = 0; i < BUSY_THREADS; i++) CHECK(pthread_create(&threads[i], NULL, be_busy, (void *)i) == 0);
    CHECK(pthread_create(&forker, NULL, fork_often_too, busy) == 0); /* two forks at a time */
    fork_often(busy, CHECK_SANITIZED ? 10 : 150);
    CHECK(pthread_join(forker, NULL) == 0);
    atomic_store(&busy_over, 1);
    for (int i = 0; i < BUSY_THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(all_hold(busy, SEED));
    vault_end(busy->vault);
    vault_end(busy_refused);
}

/* Threads that make their first call, and vaults that come and go, while forks happen. */
static void *come_and_go(void *arg) {
    (void)arg;
    for (uint32_t round = 0; !atomic_load(&busy_over); round++) {
        memguard_vault *vault = round % 2 ? vault_make() : copied_vault();
        memguard_scope scope = {0};
        CHECK_STATUS(memguard_scope_create(vault, &scope), MEMGUARD_OK);
        CHECK(holds_pattern(secret_make(vault, SIZE, round % RESTS, 2), SIZE, 2));
        if (round % 3 == 0) CHECK_STATUS(memguard_vault_purge(vault, 0), MEMGUARD_OK);
        CHECK_STATUS(memguard_scope_destroy(&scope), MEMGUARD_OK);
        vault_end(vault);
    }
    return NULL;
}

static void *visit_once(void *arg) {
    (void)arg;
    be_busy_once(5, 1);
    return NULL;
}

static void *visit(void *arg) {
    (void)arg;
    while (!atomic_load(&busy_over)) {
        pthread_t thread;
        if (CHECK(pthread_create(&thread, NULL, visit_once, NULL) == 0)) CHECK(pthread_join(thread, NULL) == 0);
    }
    return NULL;
}

static int check_alone(void *arg) {
    estate *e = arg;
    CHECK(all_hold(e, SEED));
    CHECK_AMONG(memguard_vault_purge(e->vault, 0), ANY_OF(OK) | ANY_OF(ERR_REVOKED)); /* views of threads that are not here */
    vault_end(e->vault);
    return 0;
}

ALONE(forks_while_threads_and_vaults_come_and_go) {
    pthread_t comer, visitor;
    busy = estate_make();
    busy_refused = vault_make();
    CHECK(pthread_create(&comer, NULL, come_and_go, NULL) == 0);
    CHECK(pthread_create(&visitor, NULL, visit, NULL) == 0);
    for (int i = 0; i < (CHECK_SANITIZED ? 10 : 100); i++)
        if (!IN_CHILD(check_alone, busy)) break;
    atomic_store(&busy_over, 1);
    CHECK(pthread_join(comer, NULL) == 0);
    CHECK(pthread_join(visitor, NULL) == 0);
    vault_end(busy->vault);
    vault_end(busy_refused);
}

/* ---- a server that forks its workers --------------------------------------------------------------------- */

enum { WORKERS = 8, REQUESTS = 1000, KEY_BYTES = 32 };

typedef struct signing {
    uint64_t message, mac;
} signing;

/* In the shape of HMAC, with a toy for the hash: keyed twice, inside and out. */
static uint64_t toy_hash(uint64_t state, const unsigned char *bytes, size_t size, unsigned char pad) {
    for (size_t i = 0; i < size; i++) state = (state ^ (bytes[i] ^ pad)) * 1099511628211U;
    return state;
}
static int sign(const void *key, size_t size, void *arg) {
    signing *s = arg;
    uint64_t inner = toy_hash(14695981039346656037U, key, size, 0x36);
    inner = toy_hash(inner, (const unsigned char *)&s->message, sizeof s->message, 0);
    s->mac = toy_hash(14695981039346656037U, key, size, 0x5C);
    s->mac = toy_hash(s->mac, (const unsigned char *)&inner, sizeof inner, 0);
    return 0;
}

typedef struct server {
    memguard_vault *vault;
    memguard_secret key;
    int ends[WORKERS][2];
    int worker;
} server;

static void keep_session(server *s, memguard_secret sessions[16], uint64_t request) {
    memguard_secret *session = &sessions[request % 16];
    if (session->id != 0) {
        CHECK(holds_pattern(*session, SIZE, (uint32_t)request - 16));
        CHECK_STATUS(memguard_secret_destroy(session), MEMGUARD_OK);
    }
    *session = secret_make(s->vault, SIZE, request % RESTS, (uint32_t)request);
}

static int serve(void *arg) {
    server *s = arg;
    memguard_secret sessions[16] = {{0}};
    const int end = s->ends[s->worker][1];
    signing request = {0, 0};
    uint64_t served = 0;
    for (; read(end, &request.message, sizeof request.message) == sizeof request.message; served++) {
        CHECK_STATUS(memguard_secret_use(s->key, sign, &request, NULL), MEMGUARD_OK);
        keep_session(s, sessions, served);
        if (!CHECK(write(end, &request.mac, sizeof request.mac) == sizeof request.mac)) break;
    }
    CHECK(served == REQUESTS);
    vault_end(s->vault);
    return 0;
}

static void ask_all(server *s, uint64_t number) {
    for (int i = 0; i < WORKERS; i++) {
        const uint64_t message = number * WORKERS + (uint64_t)i;
        CHECK(write(s->ends[i][0], &message, sizeof message) == sizeof message);
    }
    for (int i = 0; i < WORKERS; i++) {
        signing mine = {number * WORKERS + (uint64_t)i, 0};
        uint64_t mac = 0;
        CHECK(read(s->ends[i][0], &mac, sizeof mac) == sizeof mac);
        CHECK_STATUS(memguard_secret_use(s->key, sign, &mine, NULL), MEMGUARD_OK);
        CHECK(mac == mine.mac && mac != 0);
    }
}

ALONE(a_server_with_eight_forked_workers_signs_and_keeps_sessions) {
    server s = {.vault = copied_vault()};
    pid_t workers[WORKERS];
    CHECK_STATUS(memguard_secret_random(s.vault, KEY_BYTES, 0, &s.key), MEMGUARD_OK);
    for (s.worker = 0; s.worker < WORKERS; s.worker++) {
        CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s.ends[s.worker]) == 0);
        workers[s.worker] = start_child(serve, &s);
        close(s.ends[s.worker][1]);
    }
    for (uint64_t i = 0; i < REQUESTS && atomic_load(&check_bad) == 0; i++) ask_all(&s, i);
    for (int i = 0; i < WORKERS; i++) CHECK(shutdown(s.ends[i][0], SHUT_RDWR) == 0);
    for (int i = 0; i < WORKERS; i++) CHECK(check_exited(end_of(workers[i]), 0));
    vault_end(s.vault);
}

int main(void) {
    RUN(what_cannot_be_copied_is_refused);
    RUN(the_report_does_not_claim_nofork);
    RUN(auto_and_the_environment_come_to_locked_pages);
    RUN(a_child_does_with_its_copy_all_that_its_parent_does_and_the_parent_sees_nothing_of_it);
    RUN(every_kind_of_vault_is_copied);
    RUN(changes_on_either_side_never_show_on_the_other);
    RUN(what_one_destroys_the_other_keeps);
    RUN(children_of_settled_and_of_unsettled_children_go_on);
    RUN(a_use_in_which_the_host_forks_ends_well_in_both);
    RUN(a_use_of_a_secret_that_stays_behind_ends_with_forked);
    RUN(uses_of_other_threads_end_in_the_child_and_what_they_saw_is_wiped);
    RUN(scopes_of_other_threads_close_in_the_child);
    RUN(views_are_valid_in_the_child_until_released_there);
    RUN(views_of_other_threads_can_be_released_in_the_child);
    RUN(a_view_that_nobody_can_release_in_the_child_ends_by_a_purge);
    RUN(a_purge_in_the_parent_leaves_the_child_what_it_has);
    RUN(a_purge_in_the_child_leaves_the_parent_what_it_has);
    RUN(a_purge_that_was_waiting_at_the_fork_is_completed_in_the_child);
    RUN(a_locked_vault_is_locked_in_the_child_and_unlocked_there_alone);
    RUN(vaults_that_refuse_stay_behind_where_others_are_copied);
    RUN(a_child_has_no_copy_when_no_vault_to_copy_lives);
    RUN(without_enough_lockable_memory_a_child_is_told_so_until_it_has_it);
    RUN(the_pages_of_a_settled_child_are_locked);
    RUN(free_pages_are_let_go_where_a_child_may_lock_less);
    RUN(a_use_that_waits_for_a_page_does_not_hold_a_fork);
    RUN(a_raw_clone_is_refused_and_can_wipe_what_it_has);
    RUN(a_clone_in_the_same_memory_is_as_the_calling_thread);
    RUN(programs_are_started_as_ever);
    RUN(fork_handlers_of_the_host_may_call);
    RUN(two_hundred_forks_among_eight_busy_threads_give_whole_children);
    RUN(forks_while_threads_and_vaults_come_and_go);
    RUN(a_server_with_eight_forked_workers_signs_and_keeps_sessions);
    return check_end();
}
