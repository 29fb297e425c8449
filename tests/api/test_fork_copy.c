/* test_fork_copy.c: MEMGUARD_FORK_COPY: a child of fork goes on with a copy of its own; what either does never shows in the
 * other; what other threads had begun ends; vaults that refuse stay behind. Each test has a process of its own; its first call makes
 * the vaults. */
#define _GNU_SOURCE
#include <sys/mman.h>

#include "api/forks.h"

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

/* ---- a copy is complete, and apart ---- */

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
    for (uint32_t rest = 0; rest < RESTS; rest++)
        CHECK_STATUS(memguard_secret_destroy(&e->longer[rest]), MEMGUARD_OK);
    return 0;
}

ALONE(what_one_destroys_the_other_keeps) {
    estate *e = estate_make();
    memguard_secret kept[RESTS];
    memcpy(kept, e->longer, sizeof kept);
    pid_t child = start_child(destroy_half, e);
    for (uint32_t rest = 0; rest < RESTS; rest++)
        CHECK_STATUS(memguard_secret_destroy(&e->secrets[rest]), MEMGUARD_OK);
    say(e->to_child[1]);
    CHECK(check_exited(end_of(child), 0));
    for (uint32_t rest = 0; rest < RESTS; rest++)
        CHECK(holds_pattern(kept[rest], LONG_SIZE, SEED));
    vault_end(e->vault);
}

/* ---- access ---------------------------------------------------------------------------------------------- */

static const unsigned char *address_of(memguard_secret secret) {
    memguard_view view = borrow(secret, MEMGUARD_READ);
    const unsigned char *address = view.data;
    give_back(&view);
    return address;
}

typedef struct addresses {
    estate *e;
    const unsigned char *closed, *mapped, *freed;
} addresses;

static int find_access_as_it_was(void *arg) {
    addresses *a = arg;
    CHECK_STATUS(life(a->e->secrets[0]), MEMGUARD_OK);
    CHECK(can_read(a->closed) == 0 && can_read(a->freed) == 0);
    CHECK(can_read(a->mapped) == 1 && can_write((void *)(uintptr_t)a->mapped) == 0);
    CHECK(is_pattern(a->e->view.data, SIZE, SEED) && can_write(a->e->view.data) == 0);
    CHECK(ends_at_guard(a->e->view.data, SIZE));
    return 0;
}

ALONE(pages_of_a_settled_child_have_the_access_that_they_had) {
    addresses a = {.e = estate_make()};
    a.closed = address_of(a.e->secrets[MEMGUARD_CLOSED]);
    a.mapped = address_of(a.e->secrets[MEMGUARD_MAPPED]);
    memguard_secret brief = secret_make(a.e->vault, SIZE, MEMGUARD_CLOSED, 1);
    a.freed = address_of(brief);
    CHECK_STATUS(memguard_secret_destroy(&brief), MEMGUARD_OK);
    a.e->view = borrow(a.e->secrets[0], MEMGUARD_READ);
    IN_CHILD(find_access_as_it_was, &a);
    give_back(&a.e->view);
    vault_end(a.e->vault);
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
    memguard_secret secret = secret_make(refused, SIZE, 0, SEED),
                    closed = secret_make(refused, SIZE, MEMGUARD_CLOSED, SEED);
    fork_in_use_of(secret);
    fork_in_use_of(closed);
    memguard_vault *copied = copied_vault();
    fork_in_use_of(secret);
    fork_in_use_of(closed);
    vault_end(copied);
    vault_end(refused);
}

/* ---- what other threads were at -------------------------------------------------------------------------- */

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
    for (uint32_t rest = 0; rest < RESTS; rest++)
        CHECK_STATUS(life(e->secrets[rest]), MEMGUARD_ERR_STALE);
    CHECK(holds_pattern(secret_make(e->vault, SIZE, 0, 1), SIZE, 1));
    return 0;
}

ALONE(a_purge_in_the_child_leaves_the_parent_what_it_has) {
    estate *e = estate_make();
    memguard_vault *refused = refusing_vault();
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
    for (uint64_t end = now_ms() + 10000; life(e->secrets[0]) != MEMGUARD_ERR_STALE && now_ms() < end;)
        sleep_ms(1);
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

/* Asked for from inside of a borrow: in the child that borrow has ended with its thread. */
static int purge_here(const void *bytes, size_t size, void *arg) {
    estate *e = arg;
    CHECK_STATUS(memguard_vault_purge(e->vault, 0), MEMGUARD_OK);
    return stay(bytes, size, arg);
}
static void *purge_in_use(void *arg) {
    estate *e = arg;
    e->status = memguard_secret_use(e->secrets[0], purge_here, e, NULL);
    return NULL;
}
static int find_it_purged(void *arg) {
    estate *e = arg;
    CHECK(holds_pattern(secret_make(e->vault, SIZE, 0, 1), SIZE, 1));
    CHECK(report_of(e->vault).purges == 1);
    vault_end(e->vault);
    return 0;
}

ALONE(a_purge_that_waited_for_its_own_borrow_is_completed_in_the_child) {
    pthread_t purger;
    estate *e = estate_make();
    CHECK(pthread_create(&purger, NULL, purge_in_use, e) == 0);
    CHECK(wait_for(&e->flag, 1));
    IN_CHILD(find_it_purged, e);
    CHECK(report_of(e->vault).purges == 0);
    atomic_store(&e->flag, 2);
    CHECK(pthread_join(purger, NULL) == 0);
    CHECK(report_of(e->vault).purges == 1);
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
    for (uint32_t rest = 0; rest < RESTS; rest++)
        try_refused_secret(m->secrets[rest]);
    try_refused_secret(m->frozen);
    try_refused_vault(m);
    CHECK_STATUS(memguard_scope_destroy(&m->scope), MEMGUARD_OK); /* it has nothing of this process in it */
    memguard_vault *fresh = refusing_vault(), *copied = copied_vault();
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        CHECK(holds_pattern(secret_make(fresh, SIZE, rest, 1), SIZE, 1));
        CHECK(holds_pattern(secret_make(fresh, LONG_SIZE, rest, 1), LONG_SIZE, 1));
        CHECK(holds_pattern(secret_make(copied, SIZE, rest, 1), SIZE, 1));
    }
    CHECK_STATUS(memguard_purge_all(0), MEMGUARD_OK);
    vault_end(fresh);
    vault_end(copied);
    for (uint32_t rest = 0; rest < RESTS; rest++)
        try_refused_secret(m->secrets[rest]);
    vault_end(m->copied->vault);
    return 0;
}

static int live_beside_and_fork(void *arg) {
    mixed *m = arg;
    CHECK(all_hold(m->copied, SEED));
    memguard_vault *mine = refusing_vault();
    memguard_secret secret = secret_make(mine, SIZE, 0, 1);
    IN_CHILD(live_beside_what_stayed, m);
    CHECK(holds_pattern(secret, SIZE, 1));
    vault_end(mine);
    return live_beside_what_stayed(m);
}

ALONE(vaults_that_refuse_stay_behind_where_others_are_copied) {
    mixed m = {.refused = refusing_vault()};
    for (uint32_t rest = 0; rest < RESTS; rest++)
        m.secrets[rest] = secret_make(m.refused, SIZE, rest, SEED);
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
    for (uint32_t rest = 0; rest < RESTS; rest++)
        CHECK(holds_pattern(m.secrets[rest], SIZE, SEED));
    vault_end(m.copied->vault);
    vault_end(m.refused);
}

/* Where pages of a vault stayed behind the child may have something else. */
static int keep_what_lies_there(void *arg) {
    mixed *m = arg;
    unsigned char *there = (unsigned char *)((uintptr_t)m->view.data & ~(uintptr_t)(page_bytes() - 1));
    void *mine = mmap(there, page_bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    if (!CHECK(mine == there)) return 1;
    fill(mine, page_bytes(), 4);
    if (m->frozen.id != 0) CHECK(all_hold(m->copied, SEED)); /* settled, or not */
    memguard_emergency_wipe();
    CHECK(is_pattern(mine, page_bytes(), 4));
    return 0;
}

ALONE(an_emergency_wipe_in_a_child_wipes_nothing_where_pages_stayed_behind) {
    mixed m = {.refused = refusing_vault()};
    memguard_secret secret = secret_make(m.refused, SIZE, 0, SEED);
    m.view = borrow(secret, MEMGUARD_READ);
    IN_CHILD(keep_what_lies_there, &m); /* no copies at all */
    m.copied = estate_make();
    IN_CHILD(keep_what_lies_there, &m);
    m.frozen = secret;
    IN_CHILD(keep_what_lies_there, &m);
    CHECK(is_pattern(m.view.data, SIZE, SEED));
    give_back(&m.view);
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
    mixed m = {.refused = refusing_vault()};
    m.secrets[0] = secret_make(m.refused, SIZE, 0, SEED);
    IN_CHILD(be_refused, &m);
    memguard_vault *copied = copied_vault();
    vault_end(copied);
    IN_CHILD(be_refused, &m);
    vault_end(m.refused);
}

int main(void) {
    RUN(what_cannot_be_copied_is_refused);
    RUN(the_report_does_not_claim_nofork);
    RUN(auto_and_the_environment_come_to_locked_pages);
    RUN(a_child_does_with_its_copy_all_that_its_parent_does_and_the_parent_sees_nothing_of_it);
    RUN(every_kind_of_vault_is_copied);
    RUN(changes_on_either_side_never_show_on_the_other);
    RUN(what_one_destroys_the_other_keeps);
    RUN(pages_of_a_settled_child_have_the_access_that_they_had);
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
    RUN(a_purge_that_waited_for_its_own_borrow_is_completed_in_the_child);
    RUN(a_locked_vault_is_locked_in_the_child_and_unlocked_there_alone);
    RUN(vaults_that_refuse_stay_behind_where_others_are_copied);
    RUN(an_emergency_wipe_in_a_child_wipes_nothing_where_pages_stayed_behind);
    RUN(a_child_has_no_copy_when_no_vault_to_copy_lives);
    return check_end();
}
