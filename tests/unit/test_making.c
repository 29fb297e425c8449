/* Making and ending secrets without locks (core/quick.c, secret.c) against whoever closes the gate, with light fences and without: a maker
 * is stopped between its note and the moment when others see the secret, inside a call into the kernel that it needs. And what
 * threads keep for themselves: free indices and compact slots come back, and are forgotten with their arena. */
#include "white.h"

static memguard_vault *vault;

/* ---- a maker that can be stopped ---- */

static MG_THREAD bool stops_here;
static atomic_int stopped, goes_on;
static int (*real_mprotect)(void *, size_t, int);

static int stopping_mprotect(void *address, size_t bytes, int access) {
    if (stops_here) {
        stops_here = false;
        atomic_store(&stopped, 1);
        while (atomic_load(&goes_on) == 0)
            usleep(500);
    }
    return real_mprotect(address, bytes, access);
}

struct maker {
    uint32_t rest;
    memguard_secret secret;
    memguard_status status;
    pthread_t thread;
};

/* The first of its size class: a page must be made accessible for it. */
static void *make_stopped(void *arg) {
    struct maker *maker = arg;
    unsigned char bytes[200];
    fill(bytes, sizeof bytes, 7);
    stops_here = true;
    maker->status = memguard_secret_copy(vault, bytes, sizeof bytes, maker->rest, &maker->secret);
    stops_here = false;
    return NULL;
}

static int start_stopped(struct maker *maker, uint32_t rest) {
    *maker = (struct maker){.rest = rest};
    atomic_store(&stopped, 0);
    atomic_store(&goes_on, 0);
    if (!CHECK(pthread_create(&maker->thread, NULL, make_stopped, maker) == 0)) return 0;
    while (atomic_load(&stopped) == 0)
        usleep(500);
    return 1;
}

static void end_stopped(struct maker *maker) {
    CHECK(pthread_join(maker->thread, NULL) == 0);
}

/* ---- whoever closes the gate ---- */

struct closer {
    memguard_status (*close)(void);
    memguard_status status;
    atomic_int closed;
    pthread_t thread;
};

static memguard_status close_by_purge(void) { return memguard_vault_purge(vault, 0); }
static memguard_status close_by_lock(void) { return memguard_vault_lock(vault, white_kek); }
static memguard_status close_by_destroy(void) { return memguard_vault_destroy(&vault); }

static void *run_close(void *arg) {
    struct closer *closer = arg;
    closer->status = closer->close();
    atomic_store(&closer->closed, 1);
    return NULL;
}

static int purge_inside(const void *bytes, size_t size, void *arg) {
    (void)bytes, (void)size;
    (void)run_close(arg);
    return 0;
}
static memguard_secret borrowed;
static void *run_close_inside_a_borrow(void *arg) {
    CHECK_STATUS(memguard_secret_use(borrowed, purge_inside, arg, NULL), MEMGUARD_OK);
    return NULL;
}

static struct mg__vault *found(void) { return mg__vault_find(vault); }

/* The gate is closed, and the closer has not come back while the maker stands still. */
static void check_waits(const struct mg__vault *of, struct closer *closer) {
    while (atomic_load(&of->gate) == MG_GATE_OPEN)
        usleep(500);
    for (int i = 0; i < 20; i++) {
        CHECK(atomic_load(&closer->closed) == 0);
        usleep(2000);
    }
}

/* Gives what the maker was told. */
static struct maker close_against_maker(uint32_t rest, memguard_status (*close)(void), void *(*run)(void *)) {
    struct maker maker;
    struct closer closer = {.close = close};
    const struct mg__vault *of = found();
    if (!start_stopped(&maker, rest)) return maker;
    if (CHECK(pthread_create(&closer.thread, NULL, run, &closer) == 0)) {
        check_waits(of, &closer);
        atomic_store(&goes_on, 1);
        CHECK(pthread_join(closer.thread, NULL) == 0);
        CHECK_STATUS(closer.status, MEMGUARD_OK);
    }
    end_stopped(&maker);
    return maker;
}

static void begin(void) { vault = make_vault(MEMGUARD_BACKEND_LOCKED, 0); }
static void end(void) { CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK); }

static uint64_t secrets_alive(void) {
    const memguard_report report = report_of(vault);
    return report.secrets[0] + report.secrets[1] + report.secrets[2] + report.secrets[3];
}

static void check_purge_waits(uint32_t rest) {
    begin();
    const struct maker maker = close_against_maker(rest, close_by_purge, run_close);
    CHECK_STATUS(maker.status, MEMGUARD_ERR_STALE);
    CHECK(maker.secret.id == 0 && secrets_alive() == 0);
    CHECK(holds(make_secret(vault, 200, rest, 3), 3)); /* and the vault goes on */
    end();
}

static void check_purge_inside_waits(uint32_t rest) {
    begin();
    borrowed = make_secret(vault, 32, MEMGUARD_SEALED, 1);
    const struct maker maker = close_against_maker(rest, close_by_purge, run_close_inside_a_borrow);
    CHECK_STATUS(maker.status, MEMGUARD_ERR_STALE);
    CHECK(maker.secret.id == 0 && secrets_alive() == 0);
    end();
}

static void check_lock_waits(uint32_t rest) {
    begin();
    memguard_info info = {.size = sizeof info};
    const struct maker maker = close_against_maker(rest, close_by_lock, run_close);
    CHECK_STATUS(maker.status, MEMGUARD_OK);
    CHECK_STATUS(memguard_secret_info(maker.secret, &info), MEMGUARD_OK);
    CHECK(info.rest == MEMGUARD_SEALED && info.bytes == 200);
    CHECK_STATUS(memguard_vault_unlock(vault, white_kek), MEMGUARD_OK);
    CHECK(holds(maker.secret, 7));
    end();
}

static void check_destroy_waits(uint32_t rest) {
    memguard_view view;
    begin();
    const struct maker maker = close_against_maker(rest, close_by_destroy, run_close);
    CHECK(vault == NULL);
    if (maker.status == MEMGUARD_OK)
        CHECK_STATUS(memguard_secret_acquire(maker.secret, MEMGUARD_READ, &view), MEMGUARD_ERR_STALE);
    else
        CHECK_STATUS(maker.status, MEMGUARD_ERR_STALE);
}

static void each_way(void (*check)(uint32_t rest)) {
    check(MEMGUARD_COMPACT);
    check(MEMGUARD_CLOSED);
    check(MEMGUARD_MAPPED);
    /* As where the kernel has no membarrier(2). */
    const bool light = atomic_exchange(&mg__sys_light_fences, false);
    check(MEMGUARD_COMPACT);
    check(MEMGUARD_CLOSED);
    atomic_store(&mg__sys_light_fences, light);
}

TEST(a_purge_waits_for_who_makes_a_secret_and_he_is_told_stale) { each_way(check_purge_waits); }
TEST(a_purge_from_inside_a_borrow_waits_for_who_makes_a_secret) { each_way(check_purge_inside_waits); }
TEST(a_lock_waits_for_who_makes_a_secret_and_seals_it) { each_way(check_lock_waits); }
TEST(destroying_a_vault_waits_for_who_makes_a_secret) { each_way(check_destroy_waits); }

static atomic_int heavy_fences;
static int (*real_membarrier)(int);
static int counting_membarrier(int command) {
    atomic_fetch_add(&heavy_fences, 1);
    return real_membarrier(command);
}

static void check_pays(memguard_status (*close)(void)) {
    const int before = atomic_load(&heavy_fences);
    CHECK_STATUS(close(), MEMGUARD_OK);
    CHECK(atomic_load(&heavy_fences) > before);
}

/* What orders a note and a gate cannot be seen to fail in a test; that it is there can. */
TEST(whoever_closes_the_gate_pays_for_the_fences_of_makers) {
    begin();
    if (!atomic_load(&mg__sys_light_fences)) {
        end();
        SKIP("no membarrier(2) here");
    }
    real_membarrier = mg__sys_table.membarrier;
    mg__sys_table.membarrier = counting_membarrier;
    check_pays(close_by_purge);
    check_pays(close_by_lock);
    CHECK_STATUS(memguard_vault_unlock(vault, white_kek), MEMGUARD_OK);
    check_pays(close_by_destroy);
    mg__sys_table.membarrier = real_membarrier;
}

TEST(a_note_does_not_outlive_a_refused_making) {
    memguard_secret secret;
    unsigned char bytes[32] = {1};
    begin();
    const memguard_secret first = make_secret(vault, 32, MEMGUARD_COMPACT, 1);
    CHECK(first.id != 0);
    CHECK_STATUS(memguard_vault_lock(vault, white_kek), MEMGUARD_OK);
    CHECK_STATUS(memguard_secret_copy(vault, bytes, sizeof bytes, MEMGUARD_COMPACT, &secret), MEMGUARD_ERR_LOCKED);
    CHECK(atomic_load(&mg__thread_self()->making) == 0 && secret.id == 0);
    CHECK_STATUS(memguard_vault_unlock(vault, white_kek), MEMGUARD_OK);
    memguard_vault *stale = vault;
    end();
    CHECK_STATUS(memguard_secret_copy(stale, bytes, sizeof bytes, MEMGUARD_COMPACT, &secret), MEMGUARD_ERR_STALE);
    CHECK_STATUS(memguard_secret_create(stale, 32, MEMGUARD_COMPACT, &secret), MEMGUARD_ERR_STALE);
    CHECK(atomic_load(&mg__thread_self()->making) == 0 && secret.id == 0);
    CHECK_STATUS(memguard_secret_take(NULL, bytes, sizeof bytes, MEMGUARD_COMPACT, &secret), MEMGUARD_ERR_ARGUMENT);
    CHECK(bytes[0] == 1); /* the one failure after which the source is as it was */
}

/* ---- what threads keep ---- */

enum { MANY = 40 };

static void make_and_end(size_t bytes) {
    memguard_secret secrets[MANY];
    for (uint32_t i = 0; i < MANY; i++)
        secrets[i] = make_secret(vault, bytes, MEMGUARD_COMPACT, i);
    for (uint32_t i = 0; i < MANY; i++) {
        CHECK(holds(secrets[i], i));
        CHECK_STATUS(memguard_secret_destroy(&secrets[i]), MEMGUARD_OK);
    }
}

static bool keeps_nothing(const struct mg__thread *thread) {
    uint32_t slots = 0;
    for (unsigned class = 0; class < MG_COMPACT_LINES; class ++)
        slots += atomic_load(&thread->slots.lines[class].count);
    return slots == 0 && atomic_load(&thread->indices.count) == 0;
}

/* Its record is given away. */
static void *make_and_exit(void *record) {
    make_and_end(32);
    make_and_end(100);
    *(struct mg__thread **)record = mg__thread_self();
    CHECK(!keeps_nothing(mg__thread_self()) && atomic_load(&mg__thread_self()->slots.lines[1].count) != 0);
    return NULL;
}

static void make_in_a_thread_that_ends(void) {
    pthread_t thread;
    struct mg__thread *record = NULL;
    if (!CHECK(pthread_create(&thread, NULL, make_and_exit, &record) == 0)) return;
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(record != NULL && keeps_nothing(record));
}

TEST(what_a_thread_kept_comes_back_when_it_ends) {
    begin();
    make_in_a_thread_that_ends();
    const uint32_t entries = mg__table_count();
    const size_t pages = report_of(vault).compact_pages;
    for (int i = 0; i < 100; i++)
        make_in_a_thread_that_ends();
    CHECK(mg__table_count() == entries); /* none is lost on the way */
    CHECK(report_of(vault).compact_pages == pages);
    end();
}

static atomic_int turn;

static void wait_for_turn(int wanted) {
    while (atomic_load(&turn) != wanted)
        usleep(500);
}

static void *make_before_and_after(void *unused) {
    (void)unused;
    make_and_end(32);
    atomic_store(&turn, 1);
    wait_for_turn(2);
    CHECK(atomic_load(&mg__thread_self()->slots.lines[1].count) == 0); /* the old arena's are forgotten */
    make_and_end(32);
    return NULL;
}

static void renew_while_a_thread_keeps(void (*renew)(void)) {
    pthread_t thread;
    begin();
    atomic_store(&turn, 0);
    if (!CHECK(pthread_create(&thread, NULL, make_before_and_after, NULL) == 0)) return;
    wait_for_turn(1);
    make_and_end(32);
    renew();
    make_and_end(32);
    atomic_store(&turn, 2);
    CHECK(pthread_join(thread, NULL) == 0);
    end();
}

static void renew_by_purge(void) { CHECK_STATUS(memguard_vault_purge(vault, 0), MEMGUARD_OK); }
static void renew_by_another_vault(void) {
    end();
    begin();
}

TEST(slots_that_threads_keep_are_forgotten_with_their_arena) {
    renew_while_a_thread_keeps(renew_by_purge);
    renew_while_a_thread_keeps(renew_by_another_vault);
}

/* A process of its own: what was made before the fork is not here. */
static uint32_t kept_by_a_thread_under(size_t limit) {
    if (limit != 0 && drop_memlock(limit) != 0) return UINT32_MAX;
    vault = make_vault(MEMGUARD_BACKEND_PLAIN, MEMGUARD_NO_THREAD);
    make_and_end(32);
    return atomic_load(&mg__thread_self()->slots.lines[1].count);
}

/* Without a look for leaks, which does not find what only the arena refers to. */
static int keeps_so_many(void *limit) { _exit((int)kept_by_a_thread_under(*(const size_t *)limit) + 10); }

TEST(where_lockable_memory_is_scarce_a_thread_keeps_one_slot_of_a_size) {
    size_t scarce = 64 << 10, none = 0;
    CHECK(check_exited(check_child(keeps_so_many, &scarce), 10 + 1));
    const int status = check_child(keeps_so_many, &none); /* as this process is: not more than there is room for */
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) > 10 && WEXITSTATUS(status) <= 10 + MG_COMPACT_KEPT);
}

TEST(two_vaults_do_not_mix_the_slots_that_a_thread_keeps) {
    begin();
    memguard_vault *first = vault;
    for (int i = 0; i < 20; i++) {
        make_and_end(32);
        begin();
        make_and_end(32);
        end();
        vault = first;
    }
    CHECK(report_of(first).compact_pages == 1);
    end();
}

TEST(a_broken_canary_is_found_at_the_end_for_every_byte_around_every_size) {
    begin();
    const struct mg__thread *self = mg__thread_self();
    for (size_t bytes = 1; bytes <= MG_COMPACT_MOST; bytes += bytes < 70 ? 1 : 61) {
        memguard_secret secret = make_secret(vault, bytes, MEMGUARD_COMPACT, 5);
        unsigned char *data = entry_of(secret)->body.data;
        struct mg__compact_slot slot = {data, entry_of(secret)->place};
        for (size_t distance = 1; distance <= 16; distance++) {
            unsigned char *around[] = {data - distance, data + bytes + distance - 1};
            for (int i = 0; i < 2; i++) {
                *around[i] ^= 1;
                CHECK(!mg__compact_give(found()->arena, slot, bytes));
                CHECK(mg__canary_intact(data, bytes)); /* wiped all the same */
                *around[i] ^= 1;
            }
        }
        fill(data, bytes, 5);
        CHECK(holds(secret, 5));
        CHECK_STATUS(memguard_secret_destroy(&secret), MEMGUARD_OK);
        CHECK(mg__canary_intact(data - 16, bytes + 32));
    }
    CHECK(atomic_load(&self->making) == 0);
    end();
}

/* ---- a child of fork ---- */

static void *make_keep_and_stay(void *unused) {
    (void)unused;
    make_and_end(32);
    atomic_store(&turn, 1);
    wait_for_turn(2);
    return NULL;
}

/* All at once, so that one slot or index given twice would be seen. */
static int many_hold(void) {
    enum { ALL = 500 };
    static memguard_secret secrets[ALL];
    int right = 1;
    for (uint32_t i = 0; i < ALL; i++)
        secrets[i] = make_secret(vault, 32, MEMGUARD_COMPACT, i);
    for (uint32_t i = 0; i < ALL; i++)
        right = right && holds(secrets[i], i) && memguard_secret_destroy(&secrets[i]) == MEMGUARD_OK;
    return right;
}

TEST(a_forked_child_goes_on_with_what_threads_had_kept) {
    if (CHECK_TSAN) SKIP("ThreadSanitizer takes the threads of forked children for those of their parent");
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    pthread_t thread;
    int ended = -1;
    options.fork_policy = MEMGUARD_FORK_COPY;
    if (!CHECK_STATUS(memguard_vault_create(&options, &vault), MEMGUARD_OK)) return;
    atomic_store(&turn, 0);
    if (!CHECK(pthread_create(&thread, NULL, make_keep_and_stay, NULL) == 0)) return;
    wait_for_turn(1);
    make_and_end(32);
    const memguard_secret kept = make_secret(vault, 32, MEMGUARD_COMPACT, 11);
    const pid_t child = fork();
    if (child == 0) {
        int right = holds(kept, 11) && many_hold();
        right = right && memguard_vault_purge(vault, 0) == MEMGUARD_OK && many_hold();
        _exit(right ? 0 : 1);
    }
    CHECK(child > 0 && waitpid(child, &ended, 0) == child && ended == 0);
    CHECK(many_hold());
    atomic_store(&turn, 2);
    CHECK(pthread_join(thread, NULL) == 0);
    end();
}

/* ---- all at once ---- */

static atomic_int over;

static void *make_until_over(void *unused) {
    (void)unused;
    unsigned char bytes[64];
    for (uint32_t i = 0; atomic_load(&over) == 0; i++) {
        memguard_secret secret;
        fill(bytes, sizeof bytes, i);
        const uint32_t rest = i % 16 == 0 ? MEMGUARD_SEALED : i % 16 == 1 ? MEMGUARD_CLOSED : MEMGUARD_COMPACT;
        const memguard_status made = memguard_secret_copy(vault, bytes, i % sizeof bytes + 1, rest, &secret);
        CHECK(made == MEMGUARD_OK || made == MEMGUARD_ERR_STALE || made == MEMGUARD_ERR_LOCKED ||
              made == MEMGUARD_ERR_BUSY);
        CHECK(made == MEMGUARD_OK || secret.id == 0);
        if (i % 4 == 3) continue; /* left to the next purge */
        const memguard_status ended = memguard_secret_destroy(&secret);
        CHECK(ended == MEMGUARD_OK || ended == MEMGUARD_ERR_STALE);
    }
    return NULL;
}

static void close_many_times(int rounds) {
    for (int i = 0; i < rounds; i++) {
        usleep(300);
        if (i % 4 == 3) {
            CHECK_STATUS(memguard_vault_lock(vault, white_kek), MEMGUARD_OK);
            CHECK(report_of(vault).secrets[MEMGUARD_COMPACT] == 0 && report_of(vault).secrets[MEMGUARD_CLOSED] == 0);
            CHECK_STATUS(memguard_vault_unlock(vault, white_kek), MEMGUARD_OK);
        } else {
            CHECK_STATUS(memguard_vault_purge(vault, 1000), MEMGUARD_OK);
        }
    }
}

static void fire(int rounds) {
    enum { THREADS = 3 };
    pthread_t threads[THREADS];
    begin();
    atomic_store(&over, 0);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, make_until_over, NULL) == 0);
    close_many_times(rounds);
    atomic_store(&over, 1);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK_STATUS(memguard_vault_purge(vault, 0), MEMGUARD_OK);
    CHECK(secrets_alive() == 0);
    end();
}

TEST(makers_and_purges_and_locks_meet_in_any_order) {
    fire(CHECK_SANITIZED ? 100 : 400);
    const bool light = atomic_exchange(&mg__sys_light_fences, false);
    fire(CHECK_SANITIZED ? 100 : 400);
    atomic_store(&mg__sys_light_fences, light);
}

int main(void) {
    real_mprotect = mg__sys_table.mprotect;
    mg__sys_table.mprotect = stopping_mprotect; /* before there is another thread */
    RUN(where_lockable_memory_is_scarce_a_thread_keeps_one_slot_of_a_size); /* before there is a vault: it forks */
    RUN(a_purge_waits_for_who_makes_a_secret_and_he_is_told_stale);
    RUN(a_purge_from_inside_a_borrow_waits_for_who_makes_a_secret);
    RUN(a_lock_waits_for_who_makes_a_secret_and_seals_it);
    RUN(destroying_a_vault_waits_for_who_makes_a_secret);
    RUN(whoever_closes_the_gate_pays_for_the_fences_of_makers);
    RUN(a_note_does_not_outlive_a_refused_making);
    RUN(what_a_thread_kept_comes_back_when_it_ends);
    RUN(slots_that_threads_keep_are_forgotten_with_their_arena);
    RUN(two_vaults_do_not_mix_the_slots_that_a_thread_keeps);
    RUN(a_broken_canary_is_found_at_the_end_for_every_byte_around_every_size);
    RUN(a_forked_child_goes_on_with_what_threads_had_kept);
    RUN(makers_and_purges_and_locks_meet_in_any_order);
    return check_end();
}
