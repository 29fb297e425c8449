/* test_fork.c: a child of fork, or of a raw clone that no library hook sees, is refused by every call at once, finds no
 * secret byte in its memory, and cannot harm its parent. */
#define _GNU_SOURCE
#include <spawn.h>

#include "api/support.h"

enum { SIZE = 200, SEED = 5 };

/* What the parent has and the child tries. */
typedef struct estate {
    memguard_vault *vault;
    memguard_scope scope;
    memguard_secret secrets[RESTS], written;
    memguard_view views[RESTS], write_view;
    const unsigned char *resting; /* a page that is readable between borrows */
    unsigned char *ordinary;      /* a control: this the child must see */
} estate;

static estate estate_make(void) {
    estate e;
    memset(&e, 0, sizeof e);
    e.vault = vault_make();
    for (uint32_t rest = 0; rest < RESTS; rest++) e.secrets[rest] = secret_make(e.vault, SIZE, rest, SEED);
    memguard_secret mapped = secret_make(e.vault, SIZE, MEMGUARD_MAPPED, SEED);
    memguard_view view = borrow(mapped, MEMGUARD_READ);
    e.resting = view.data;
    give_back(&view);
    for (uint32_t rest = 0; rest < RESTS; rest++) e.views[rest] = borrow(e.secrets[rest], MEMGUARD_READ);
    e.written = secret_make(e.vault, SIZE, 0, SEED);
    e.write_view = borrow(e.written, MEMGUARD_WRITE);
    CHECK_STATUS(memguard_scope_create(e.vault, &e.scope), MEMGUARD_OK);
    e.ordinary = malloc(SIZE);
    if (CHECK(e.ordinary != NULL)) fill(e.ordinary, SIZE, SEED);
    return e;
}

/* All is as before in the parent, and ends well. */
static void estate_end(estate *e) {
    CHECK(can_read(e->resting) == 1);
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        CHECK(holds_pattern(e->secrets[rest], SIZE, SEED));
        CHECK(is_pattern(e->views[rest].data, SIZE, SEED));
        give_back(&e->views[rest]);
    }
    CHECK(is_pattern(e->write_view.data, SIZE, SEED));
    give_back(&e->write_view);
    CHECK_STATUS(memguard_scope_destroy(&e->scope), MEMGUARD_OK);
    free(e->ordinary);
    vault_end(e->vault);
}

/* ---- children ------------------------------------------------------------------------------------------ */

enum way { BY_FORK, BY_CLONE };

/* Runs fn in a child; yields the wait status. A child that hangs is killed by SIGALRM. */
static int in_child(enum way way, void (*fn)(estate *), estate *e) {
    int status = -1;
    fflush(stdout);
    pid_t child = way == BY_FORK ? fork() : (pid_t)syscall(SYS_clone, (long)SIGCHLD, 0L, 0L, 0L, 0L);
    if (child == 0) {
        alarm(20);
        signal(SIGSEGV, SIG_DFL);
        signal(SIGBUS, SIG_DFL);
        atomic_store(&check_bad, 0);
        fn(e);
        fflush(stdout);
        _exit(atomic_load(&check_bad) != 0 ? 99 : 0);
    }
    if (!CHECK(child > 0)) return -1;
    return waitpid(child, &status, 0) == child ? status : -1;
}

static void in_both(void (*fn)(estate *)) {
    for (int way = BY_FORK; way <= BY_CLONE; way++) {
        estate e = estate_make();
        if (!CHECK(check_exited(in_child((enum way)way, fn, &e), 0))) printf("that was way %d\n", way);
        estate_end(&e);
    }
}

/* ---- refused ------------------------------------------------------------------------------------------- */

#define FORKED(call) CHECK_STATUS(call, MEMGUARD_ERR_FORKED)

static void try_vault_calls(estate *e) {
    memguard_vault *vault = (memguard_vault *)(uintptr_t)8, *old = e->vault;
    memguard_report report = {0};
    memguard_scope scope = {42};
    report.size = sizeof report;
    FORKED(memguard_vault_create(NULL, &vault));
    CHECK(vault == NULL);
    FORKED(memguard_vault_prepare(e->vault, 4096, 1));
    FORKED(memguard_vault_report(e->vault, &report));
    FORKED(memguard_vault_purge(e->vault, 0));
    FORKED(memguard_vault_tick(e->vault, NULL));
    FORKED(memguard_vault_lock(e->vault, right_kek));
    FORKED(memguard_vault_unlock(e->vault, right_kek));
    FORKED(memguard_scope_create(e->vault, &scope));
    CHECK(scope.id == 0);
    scope = e->scope;
    FORKED(memguard_scope_destroy(&scope));
    FORKED(memguard_purge_all(0));
    FORKED(memguard_vault_destroy(&old));
}

static void try_makers(estate *e) {
    memguard_secret secret = {42};
    unsigned char source[SIZE];
    FORKED(memguard_secret_create(e->vault, 8, 0, &secret));
    CHECK(secret.id == 0);
    secret.id = 42;
    FORKED(memguard_secret_random(e->vault, 8, 0, &secret));
    CHECK(secret.id == 0);
    secret.id = 42;
    fill(source, SIZE, 1);
    FORKED(memguard_secret_copy(e->vault, source, SIZE, 0, &secret));
    CHECK(secret.id == 0);
    CHECK(is_pattern(source, SIZE, 1));
    secret.id = 42;
    FORKED(memguard_secret_take(e->vault, source, SIZE, 0, &secret));
    CHECK(is_zero(source, SIZE));
    CHECK(secret.id == 0);
}

static int must_not_run(const void *bytes, size_t size, void *arg) {
    (void)bytes, (void)size;
    *(int *)arg = 1;
    return 0;
}

static void try_borrows(estate *e) {
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        memguard_view view = {&view, 1, {1, 1}}, mine = e->views[rest];
        int ran = 0;
        FORKED(memguard_secret_use(e->secrets[rest], must_not_run, &ran, NULL));
        CHECK(ran == 0);
        FORKED(memguard_secret_acquire(e->secrets[rest], MEMGUARD_READ, &view));
        CHECK(view.data == NULL && view.size == 0);
        FORKED(memguard_view_release(&mine));
    }
}

static void try_contents(memguard_secret secret) {
    unsigned char source[SIZE];
    FORKED(memguard_secret_resize(secret, 8));
    fill(source, SIZE, 1);
    FORKED(memguard_secret_equal(secret, source, SIZE));
    FORKED(memguard_secret_copy_at(secret, 0, source, SIZE));
    CHECK(is_pattern(source, SIZE, 1));
    FORKED(memguard_secret_move_at(secret, 0, source, SIZE));
    CHECK(is_zero(source, SIZE));
    fill(source, SIZE, 1);
    FORKED(memguard_secret_replace(secret, source, SIZE));
    CHECK(is_zero(source, SIZE));
    FORKED(memguard_secret_scramble(secret));
    FORKED(memguard_secret_zero(secret));
}

static void try_changes(estate *e) {
    memguard_limits limits = MEMGUARD_LIMITS_INIT;
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        memguard_secret secret = e->secrets[rest];
        try_contents(secret);
        FORKED(memguard_secret_rest(secret, MEMGUARD_SEALED));
        FORKED(memguard_secret_freeze(secret));
        FORKED(memguard_secret_melt(secret));
        FORKED(memguard_secret_limit(secret, &limits));
        FORKED(life(secret));
        FORKED(memguard_secret_destroy(&secret));
    }
}

static void try_everything(estate *e) {
    try_vault_calls(e);
    try_makers(e);
    try_borrows(e);
    try_changes(e);
}

TEST(a_child_is_refused_by_every_call) { in_both(try_everything); }

static void try_from_grandchild(estate *e) { CHECK(check_exited(in_child(BY_FORK, try_everything, e), 0)); }
TEST(a_grandchild_is_refused_by_every_call) { in_both(try_from_grandchild); }

static int scrub_me(void *arg) {
    *(int *)arg = 1;
    return 12;
}

static void try_tools(estate *e) {
    unsigned char bytes[16];
    memguard_error error = MEMGUARD_ERROR_INIT;
    int ran = 0, result = 0;
    fill(bytes, sizeof bytes, 1);
    FORKED(life(e->secrets[0]));
    CHECK_STATUS(memguard_last_error(&error), MEMGUARD_OK);
    CHECK_STATUS(error.status, MEMGUARD_ERR_FORKED);
    CHECK(error.text[0] != '\0');
    CHECK(memguard_equal(bytes, bytes, sizeof bytes) == 1);
    memguard_wipe(bytes, sizeof bytes);
    CHECK(is_zero(bytes, sizeof bytes));
    CHECK_STATUS(memguard_call_scrubbed(scrub_me, &ran, &result), MEMGUARD_OK);
    CHECK(ran == 1 && result == 12);
}

TEST(a_child_may_use_what_the_header_says_works_after_fork) { in_both(try_tools); }

static void wipe_in_emergency(estate *e) {
    memguard_emergency_wipe();
    CHECK(is_pattern(e->ordinary, SIZE, SEED));
}

TEST(an_emergency_wipe_in_a_child_does_nothing_to_its_parent) { in_both(wipe_in_emergency); }

/* ---- memory -------------------------------------------------------------------------------------------- */

static void look_at(const unsigned char *bytes) {
    if (can_read(bytes) == 1) CHECK(is_zero(bytes, SIZE));
}

static void look_at_all(estate *e) {
    CHECK(is_pattern(e->ordinary, SIZE, SEED)); /* the control: an ordinary page is there */
    for (uint32_t rest = 0; rest < RESTS; rest++) look_at(e->views[rest].data);
    look_at(e->write_view.data);
    look_at(e->resting);
}

TEST(a_child_finds_the_pages_absent_or_zero) { in_both(look_at_all); }

static void touch_view(estate *e) { CHECK(is_zero(e->views[MEMGUARD_CLOSED].data, SIZE)); }

TEST(a_child_that_touches_a_view_faults_or_reads_zeros) {
    for (int way = BY_FORK; way <= BY_CLONE; way++) {
        estate e = estate_make();
        int status = in_child((enum way)way, touch_view, &e);
        CHECK(check_killed(status, SIGSEGV) || check_exited(status, 0));
        estate_end(&e);
    }
}

/* ---- forks in the midst of things ----------------------------------------------------------------------- */

typedef struct busy {
    memguard_secret secret;
    memguard_vault *vault;
    atomic_int over;
} busy;
static void *be_busy(void *arg) {
    busy *b = arg;
    while (!atomic_load(&b->over)) {
        CHECK(holds_pattern(b->secret, SIZE, SEED));
        memguard_secret mine = secret_make(b->vault, SIZE, MEMGUARD_COMPACT, 1);
        CHECK_STATUS(memguard_secret_destroy(&mine), MEMGUARD_OK);
    }
    return NULL;
}

static void try_two(estate *e) {
    FORKED(life(e->secrets[0]));
    FORKED(memguard_vault_purge(e->vault, 0));
    FORKED(memguard_secret_use(e->secrets[0], show_nothing, NULL, NULL));
}

TEST(forks_while_other_threads_are_inside_the_library_neither_hang_nor_hurt) {
    pthread_t threads[3];
    estate e = estate_make();
    busy b = {e.secrets[0], e.vault, 0};
    for (int i = 0; i < 3; i++) CHECK(pthread_create(&threads[i], NULL, be_busy, &b) == 0);
    for (int i = 0; i < (CHECK_SANITIZED ? 6 : 200); i++) {
        if (!CHECK(check_exited(in_child(i % 2 == 0 ? BY_FORK : BY_CLONE, try_two, &e), 0))) break;
    }
    atomic_store(&b.over, 1);
    for (int i = 0; i < 3; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    estate_end(&e);
}

static int leave_by_exit(void *arg) {
    estate *e = arg;
    FORKED(life(e->secrets[0]));
    return 0;
}

TEST(a_child_that_ends_by_exit_runs_no_harmful_cleanup) {
    if (CHECK_SANITIZED) SKIP("a sanitizer looks for leaks at exit, and the pages that it would look at are absent");
    estate e = estate_make();
    CHECK(check_exited(check_child(leave_by_exit, &e), 0));
    estate_end(&e);
}

TEST(posix_spawn_is_not_concerned) {
    char program[] = "true";
    char *arguments[] = {program, NULL};
    pid_t child = -1;
    int status = -1;
    estate e = estate_make();
    CHECK(posix_spawnp(&child, "true", NULL, NULL, arguments, environ) == 0);
    CHECK(waitpid(child, &status, 0) == child && check_exited(status, 0));
    estate_end(&e);
}

/* ---- forks before any vault ----------------------------------------------------------------------------- */

static int live_alone(void *arg) {
    (void)arg;
    memguard_vault *vault = vault_make();
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        CHECK(holds_pattern(secret_make(vault, SIZE, rest, SEED), SIZE, SEED));
    }
    vault_end(vault);
    return 0;
}

TEST(a_child_forked_before_any_vault_may_have_its_own) {
    CHECK(check_exited(check_child(live_alone, NULL), 0));
}

int main(void) {
    RUN(a_child_forked_before_any_vault_may_have_its_own); /* first */
    RUN(a_child_is_refused_by_every_call);
    RUN(a_grandchild_is_refused_by_every_call);
    RUN(a_child_may_use_what_the_header_says_works_after_fork);
    RUN(an_emergency_wipe_in_a_child_does_nothing_to_its_parent);
    RUN(a_child_finds_the_pages_absent_or_zero);
    RUN(a_child_that_touches_a_view_faults_or_reads_zeros);
    RUN(forks_while_other_threads_are_inside_the_library_neither_hang_nor_hurt);
    RUN(a_child_that_ends_by_exit_runs_no_harmful_cleanup);
    RUN(posix_spawn_is_not_concerned);
    return check_end();
}
