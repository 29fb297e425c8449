/* Where secrets were made, the list of those alive, and the report at the end of a vault and of the process, as their
 * users see them. What belongs to a whole process (one watch, exit) runs in a child, which tells through shared
 * memory. */
#define _GNU_SOURCE
#include "support.h"

#include <memguard/process.h>
#include <sys/mman.h>

enum { BYTES = 40, MOST = 4096 };

static memguard_vault *tracking_vault(void) { return vault_with_flags(MEMGUARD_TRACK); }

/* ---- what was told ---- */

struct told {
    atomic_int count, wrong;
    uint64_t ids[MOST];
    const void *origins[MOST];
};
static struct told *told; /* shared with children */

static void note(const memguard_lost *lost, void *arg) {
    struct told *to = arg;
    const int i = atomic_fetch_add(&to->count, 1);
    if (lost->size != sizeof *lost || lost->bytes != BYTES || i >= MOST) atomic_fetch_add(&to->wrong, 1);
    if (i >= MOST) return;
    to->ids[i] = lost->secret.id;
    to->origins[i] = lost->origin;
    free(malloc(100)); /* allowed */
}

static int was_told(memguard_secret secret) {
    int times = 0;
    for (int i = 0; i < atomic_load(&told->count); i++)
        times += told->ids[i] == secret.id;
    return times;
}

static void forget_told(void) { memset(told, 0, sizeof *told); }

/* ---- origins ---- */

__attribute__((noinline)) static memguard_secret made_here(memguard_vault *vault) {
    memguard_secret secret = {0};
    CHECK_STATUS(memguard_secret_create(vault, BYTES, MEMGUARD_CLOSED, &secret), MEMGUARD_OK);
    return secret;
}

__attribute__((noinline)) static memguard_secret made_there(memguard_vault *vault, int how) {
    unsigned char bytes[BYTES] = {1};
    memguard_secret secret = {0};
    switch (how) {
    case 0:
        CHECK_STATUS(memguard_secret_take(vault, bytes, BYTES, 0, &secret), MEMGUARD_OK);
        break;
    case 1:
        CHECK_STATUS(memguard_secret_copy(vault, bytes, BYTES, MEMGUARD_COMPACT, &secret), MEMGUARD_OK);
        break;
    default:
        CHECK_STATUS(memguard_secret_random(vault, BYTES, MEMGUARD_MAPPED, &secret), MEMGUARD_OK);
    }
    return secret;
}

static volatile int by_take = 0; /* volatile, so that no compiler makes a copy of the function for it */

/* Sanitizers make functions long. */
static int is_inside(const void *origin, uintptr_t function) {
    return (uintptr_t)origin > function && (uintptr_t)origin - function < 8192;
}

struct expected {
    memguard_secret secret;
    uintptr_t function;
    memguard_lost seen;
    int times;
};

static void find(const memguard_lost *lost, void *arg) {
    struct expected *expected = arg;
    if (lost->secret.id != expected->secret.id) return;
    expected->seen = *lost;
    expected->times++;
}

static memguard_lost listed(memguard_vault *vault, memguard_secret secret) {
    struct expected expected = {.secret = secret};
    CHECK_STATUS(memguard_lost_list(vault, find, &expected), MEMGUARD_OK);
    CHECK(expected.times == 1);
    return expected.seen;
}

TEST(the_list_tells_of_each_secret_where_and_when_it_was_made) {
    memguard_vault *vault = tracking_vault();
    const memguard_secret first = made_here(vault);
    for (int how = 0; how < 3; how++) {
        const memguard_lost lost = listed(vault, made_there(vault, how));
        CHECK(is_inside(lost.origin, (uintptr_t)made_there));
        CHECK(lost.bytes == BYTES && lost.borrows == 0 && lost.age_ms < 60000);
    }
    sleep_ms(30);
    memguard_view view = borrow(first, MEMGUARD_READ);
    const memguard_lost lost = listed(vault, first), again = listed(vault, made_here(vault));
    CHECK(is_inside(lost.origin, (uintptr_t)made_here) && lost.rest == MEMGUARD_CLOSED && lost.borrows == 1);
    CHECK(lost.age_ms >= 30 && lost.age_ms < 60000);
    CHECK(again.origin == lost.origin && again.age_ms < lost.age_ms);
    give_back(&view);
    vault_end(vault);
}

TEST(the_list_holds_the_live_secrets_of_its_vault_and_no_others) {
    memguard_vault *vault = tracking_vault(), *other = vault_make();
    memguard_limits limits = MEMGUARD_LIMITS_INIT;
    memguard_scope scope = {0};
    memguard_secret dead = made_here(vault), expired = made_here(vault), alive = made_here(vault),
                    foreign = made_here(other);
    limits.uses = 1;
    CHECK_STATUS(memguard_secret_limit(expired, &limits), MEMGUARD_OK);
    CHECK_STATUS(memguard_secret_use(expired, show_nothing, NULL, NULL), MEMGUARD_OK);
    CHECK_STATUS(memguard_scope_create(vault, &scope), MEMGUARD_OK);
    const memguard_secret scoped = made_here(vault);
    CHECK_STATUS(memguard_secret_destroy(&dead), MEMGUARD_OK);
    forget_told();
    CHECK_STATUS(memguard_lost_list(vault, note, told), MEMGUARD_OK);
    CHECK(atomic_load(&told->count) == 2 && was_told(alive) == 1 && was_told(scoped) == 1);
    CHECK_STATUS(memguard_scope_destroy(&scope), MEMGUARD_OK);
    forget_told();
    CHECK_STATUS(memguard_lost_list(other, note, told), MEMGUARD_OK);
    CHECK(atomic_load(&told->count) == 1 && was_told(foreign) == 1 && told->origins[0] == NULL); /* not tracked */
    vault_end(vault);
    vault_end(other);
}

static void destroy_it(const memguard_lost *lost, void *arg) {
    memguard_secret secret = lost->secret;
    CHECK_STATUS(memguard_secret_destroy(&secret), MEMGUARD_OK);
    ++*(int *)arg;
}

TEST(what_the_list_calls_may_call_memguard) {
    memguard_vault *vault = tracking_vault();
    int destroyed = 0;
    for (int i = 0; i < 10; i++)
        made_here(vault);
    CHECK_STATUS(memguard_lost_list(vault, destroy_it, &destroyed), MEMGUARD_OK);
    CHECK(destroyed == 10 && report_of(vault).secrets[MEMGUARD_CLOSED] == 0);
    vault_end(vault);
}

TEST(an_index_used_again_tells_its_new_origin) {
    memguard_vault *vault = tracking_vault();
    for (int i = 0; i < 200; i++) {
        memguard_secret secret = i % 2 != 0 ? made_here(vault) : made_there(vault, i % 3);
        CHECK(is_inside(listed(vault, secret).origin, i % 2 != 0 ? (uintptr_t)made_here : (uintptr_t)made_there));
        CHECK_STATUS(memguard_secret_destroy(&secret), MEMGUARD_OK);
    }
    vault_end(vault);
}

TEST(bad_arguments_of_list_are_refused) {
    memguard_vault *vault = tracking_vault(), *stale = vault;
    CHECK_STATUS(memguard_lost_list(NULL, note, told), MEMGUARD_ERR_ARGUMENT);
    CHECK_STATUS(memguard_lost_list(vault, NULL, told), MEMGUARD_ERR_ARGUMENT);
    vault_end(vault);
    CHECK_STATUS(memguard_lost_list(stale, note, told), MEMGUARD_ERR_STALE);
}

/* ---- the watch: each in a child of its own ---- */

static int ran_in_child(int (*fn)(void *)) {
    forget_told();
    return check_exited(check_child(fn, NULL), 0) && CHECK(atomic_load(&told->wrong) == 0);
}

static memguard_vault *watched_vault(void) {
    CHECK_STATUS(memguard_lost_watch(note, told), MEMGUARD_OK);
    return tracking_vault();
}

static int purge_with_watch(void *arg) {
    (void)arg;
    memguard_vault *vault = watched_vault();
    memguard_secret dead = made_here(vault);
    CHECK_STATUS(memguard_secret_destroy(&dead), MEMGUARD_OK);
    const memguard_secret one = made_here(vault), two = made_there(vault, by_take);
    CHECK_STATUS(memguard_vault_purge(vault, 0), MEMGUARD_OK);
    CHECK(atomic_load(&told->count) == 2 && was_told(one) == 1 && was_told(two) == 1);
    for (int i = 0; i < 2; i++)
        CHECK(is_inside(told->origins[i],
                        (uintptr_t)(told->ids[i] == one.id ? (uintptr_t)made_here : (uintptr_t)made_there)));
    CHECK(life(one) == MEMGUARD_ERR_STALE);
    const memguard_secret three = made_here(vault); /* of the vault's next life */
    CHECK_STATUS(memguard_purge_all(0), MEMGUARD_OK);
    CHECK(atomic_load(&told->count) == 3 && was_told(three) == 1);
    vault_end(vault);
    return 0;
}
TEST(a_purge_tells_of_what_was_alive_once_and_of_nothing_else) {
    CHECK(ran_in_child(purge_with_watch));
    CHECK(atomic_load(&told->count) == 3);
}

static int destroy_with_watch(void *arg) {
    (void)arg;
    memguard_vault *vault = watched_vault(), *refused = vault;
    const memguard_secret secret = made_here(vault);
    memguard_view view = borrow(secret, MEMGUARD_READ);
    CHECK_STATUS(memguard_vault_destroy(&refused), MEMGUARD_ERR_BUSY);
    CHECK(atomic_load(&told->count) == 0); /* it lives on */
    give_back(&view);
    vault_end(vault);
    CHECK(atomic_load(&told->count) == 1 && was_told(secret) == 1);
    vault = tracking_vault(); /* the same struct, and nothing of its life before */
    vault_end(vault);
    CHECK(atomic_load(&told->count) == 1);
    return 0;
}
TEST(the_end_of_a_vault_tells_and_one_that_is_refused_does_not) { CHECK(ran_in_child(destroy_with_watch)); }

static int lock_with_watch(void *arg) {
    (void)arg;
    memguard_vault *vault = watched_vault();
    const memguard_secret secret = made_here(vault);
    CHECK_STATUS(memguard_vault_lock(vault, right_kek), MEMGUARD_OK);
    vault_end(vault);
    CHECK(was_told(secret) == 1);
    return 0;
}
TEST(a_locked_vault_tells_too) { CHECK(ran_in_child(lock_with_watch)); }

static int purge_inside(const void *bytes, size_t size, void *arg) {
    (void)bytes, (void)size;
    CHECK_STATUS(memguard_vault_purge(*(memguard_vault **)arg, 0), MEMGUARD_OK);
    CHECK(atomic_load(&told->count) == 0); /* put off, all of it */
    return 0;
}

static int purge_inside_a_borrow(void *arg) {
    (void)arg;
    memguard_vault *vault = watched_vault();
    const memguard_secret borrowed = made_here(vault), idle = made_here(vault);
    CHECK_STATUS(memguard_secret_use(borrowed, purge_inside, &vault, NULL), MEMGUARD_OK);
    CHECK(life(borrowed) == MEMGUARD_ERR_STALE && life(idle) == MEMGUARD_ERR_STALE);
    CHECK(was_told(idle) == 1 && atomic_load(&told->count) <= 2);
    vault_end(vault);
    return 0;
}
TEST(a_purge_from_inside_a_borrow_tells_when_the_borrow_ends) { CHECK(ran_in_child(purge_inside_a_borrow)); }

static int end_watch(void *arg) {
    (void)arg;
    memguard_vault *vault = watched_vault();
    made_here(vault);
    CHECK_STATUS(memguard_lost_watch(NULL, NULL), MEMGUARD_OK);
    CHECK_STATUS(memguard_vault_purge(vault, 0), MEMGUARD_OK);
    made_here(vault);
    return 0;
}
TEST(a_watch_that_was_ended_tells_nothing) {
    CHECK(ran_in_child(end_watch));
    CHECK(atomic_load(&told->count) == 0);
}

static memguard_vault *exit_vault;
static memguard_secret handler_destroys;
static void destroy_at_exit(void) { ignore(memguard_secret_destroy(&handler_destroys)); }

static int leave_secrets(void *arg) {
    (void)arg;
    exit_vault = watched_vault();
    memguard_vault *other = tracking_vault();
    CHECK(atexit(destroy_at_exit) == 0); /* registered later, runs earlier */
    handler_destroys = made_here(exit_vault);
    for (int i = 0; i < 5; i++)
        made_here(exit_vault);
    made_here(other); /* no heap memory of ours is left: sanitizers count it */
    CHECK(atomic_load(&told->count) == 0);
    return 0;
}
TEST(exit_tells_of_what_is_left_in_every_vault) {
    CHECK(ran_in_child(leave_secrets));
    CHECK(atomic_load(&told->count) == 6);
}

static int exit_in_grandchild(void *arg) {
    memguard_vault *vault = watched_vault();
    (void)arg;
    made_here(vault);
    const pid_t child = fork();
    if (child == 0) exit(0);
    int status = -1;
    CHECK(child > 0 && waitpid(child, &status, 0) == child && check_exited(status, 0));
    CHECK(atomic_load(&told->count) == 0);
    vault_end(vault);
    return 0;
}
TEST(a_forked_child_tells_nothing) {
    CHECK(ran_in_child(exit_in_grandchild));
    CHECK(atomic_load(&told->count) == 1);
}

/* ---- many at once ---- */

static atomic_int go;
static memguard_vault *common;

static void *purge_common(void *arg) {
    (void)arg;
    while (atomic_load(&go) == 0)
        sleep_ms(0);
    CHECK_STATUS(memguard_vault_purge(common, 1000), MEMGUARD_OK);
    return NULL;
}

static int purge_by_many(void *arg) {
    enum { THREADS = 4, ROUNDS = 20, SECRETS = 50 };
    (void)arg;
    common = watched_vault();
    for (int round = 0; round < ROUNDS; round++) {
        pthread_t threads[THREADS];
        memguard_secret secrets[SECRETS];
        forget_told();
        atomic_store(&go, 0);
        for (int i = 0; i < THREADS; i++)
            CHECK(pthread_create(&threads[i], NULL, purge_common, NULL) == 0);
        for (int i = 0; i < SECRETS; i++)
            secrets[i] = made_there(common, by_take);
        atomic_store(&go, 1);
        for (int i = 0; i < THREADS; i++)
            CHECK(pthread_join(threads[i], NULL) == 0);
        CHECK(atomic_load(&told->count) == SECRETS);
        for (int i = 0; i < SECRETS; i++)
            CHECK(was_told(secrets[i]) == 1);
    }
    vault_end(common);
    return 0;
}
TEST(purges_by_several_threads_tell_of_each_secret_once) { CHECK(ran_in_child(purge_by_many)); }

/* ---- scopes at the end of a thread ---- */

enum ending { RETURNS, EXITS, IS_CANCELLED };
struct scoped {
    memguard_vault *vault;
    enum ending ending;
    atomic_int ready;
    memguard_secret secret, kept;
};

static void *open_scopes(void *arg) {
    struct scoped *scoped = arg;
    memguard_scope outer = {0}, inner = {0};
    CHECK_STATUS(memguard_scope_create(scoped->vault, &outer), MEMGUARD_OK);
    CHECK_STATUS(memguard_scope_create(scoped->vault, &inner), MEMGUARD_OK);
    scoped->secret = made_here(scoped->vault);
    CHECK_STATUS(memguard_secret_random(scoped->vault, BYTES, MEMGUARD_KEEP, &scoped->kept), MEMGUARD_OK);
    atomic_store(&scoped->ready, 1);
    if (scoped->ending == EXITS) pthread_exit(NULL);
    while (scoped->ending == IS_CANCELLED)
        sleep_ms(1000);
    return NULL;
}

static void end_thread(enum ending ending) {
    memguard_vault *vault = tracking_vault();
    struct scoped scoped = {.vault = vault, .ending = ending};
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, open_scopes, &scoped) == 0);
    CHECK(wait_for(&scoped.ready, 1));
    if (ending == IS_CANCELLED) CHECK(pthread_cancel(thread) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(life(scoped.secret) == MEMGUARD_ERR_STALE && life(scoped.kept) == MEMGUARD_OK);
    vault_end(vault);
}

TEST(a_thread_that_returns_or_exits_destroys_what_its_scopes_hold) {
    end_thread(RETURNS);
    end_thread(EXITS);
}

TEST(a_thread_that_is_cancelled_destroys_what_its_scopes_hold) {
    if (CHECK_SANITIZED) SKIP("AddressSanitizer takes what a cancelled thread left on its stack for an overflow");
    end_thread(IS_CANCELLED);
}

int main(void) {
    told = mmap(NULL, sizeof *told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (told == MAP_FAILED) return 1;
    RUN(a_purge_tells_of_what_was_alive_once_and_of_nothing_else);
    RUN(the_end_of_a_vault_tells_and_one_that_is_refused_does_not);
    RUN(a_locked_vault_tells_too);
    RUN(a_purge_from_inside_a_borrow_tells_when_the_borrow_ends);
    RUN(a_watch_that_was_ended_tells_nothing);
    RUN(exit_tells_of_what_is_left_in_every_vault);
    RUN(a_forked_child_tells_nothing);
    RUN(purges_by_several_threads_tell_of_each_secret_once);
    RUN(the_list_tells_of_each_secret_where_and_when_it_was_made);
    RUN(the_list_holds_the_live_secrets_of_its_vault_and_no_others);
    RUN(what_the_list_calls_may_call_memguard);
    RUN(an_index_used_again_tells_its_new_origin);
    RUN(bad_arguments_of_list_are_refused);
    RUN(a_thread_that_returns_or_exits_destroys_what_its_scopes_hold);
    RUN(a_thread_that_is_cancelled_destroys_what_its_scopes_hold);
    return check_end();
}
