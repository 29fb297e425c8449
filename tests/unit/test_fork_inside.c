/* test_fork_inside.c: what a child with copies (MEMGUARD_FORK_COPY) can never do: seal under a nonce of another process's, use a copy before
 * it is its own, trust a library that was not at rest. White box: nonces, the fork word, every system call of the first call failing
 * in turn. */
#include "unit/white.h"

#include "unit/copied.h"

/* ---- nonces ---------------------------------------------------------------------------------------------- */

enum { SECRETS = 6, ROUNDS = 5, PROCESSES = 5, MOST = PROCESSES * ROUNDS * (SECRETS + 1) };

struct nonce {
    unsigned char prefix[MG_PREFIX_BYTES];
    uint32_t index, version;
};
struct sealing {
    struct nonce nonce;
    int process;
};
static struct sealing *sealings; /* shared by all processes */
static atomic_int *sealing_count;
static memguard_vault *vault;
static memguard_secret secrets[SECRETS];
static int process;
static uint32_t parents_prefix;
static bool settles = true; /* false: the twin that must fail */

static void note_sealing(memguard_secret secret) {
    const struct mg__entry *entry = entry_of(secret);
    const int i = atomic_fetch_add(sealing_count, 1);
    if (!CHECK(i < MOST)) return;
    mg__prefix_bytes(entry->prefix, sealings[i].nonce.prefix);
    sealings[i].nonce.index = mg__entry_index(entry);
    sealings[i].nonce.version = entry->version;
    sealings[i].process = process;
}

/* A child that does not settle can seal while the copied lease lasts. */
static bool came_off(memguard_status status) {
    if (settles) return CHECK_STATUS(status, MEMGUARD_OK);
    return status == MEMGUARD_OK;
}

/* The same in every process: the same indices and the same versions, so that only the prefix can tell them apart. */
static void seal_much(void) {
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < SECRETS; i++) {
            unsigned char bytes[32] = {(unsigned char)i};
            if (came_off(memguard_secret_replace(secrets[i], bytes, sizeof bytes))) note_sealing(secrets[i]);
        }
        memguard_secret fresh = {0};
        if (!came_off(memguard_secret_copy(vault, "fresh", 5, MEMGUARD_SEALED, &fresh))) continue;
        note_sealing(fresh);
        CHECK_STATUS(memguard_secret_destroy(&fresh), MEMGUARD_OK);
    }
}

static void seal_in_child(void *number) {
    process = *(int *)number;
    if (!settles) { /* as if that page were copied, and it did without a prefix of its own */
        atomic_store(mg__prefix_number, parents_prefix);
        atomic_store(mg__sys_fork_word, MG_FORK_COPIER);
    }
    if (settles && process == 2) {
        int grandchild = 3;
        IN_CHILD(seal_in_child, &grandchild); /* of a child that has not settled */
    }
    seal_much();
    if (settles && process == 2) {
        int grandchild = 4;
        IN_CHILD(seal_in_child, &grandchild); /* and of one that has */
    }
}

/* Pairs of sealings under one nonce by different processes. */
static unsigned repeats(void) {
    unsigned found = 0;
    const int count = atomic_load(sealing_count);
    for (int i = 0; i < count; i++)
        for (int k = i + 1; k < count; k++)
            found += memcmp(&sealings[i].nonce, &sealings[k].nonce, sizeof sealings[i].nonce) == 0;
    return found;
}

static unsigned seal_in_all(uint32_t flags, uint32_t lease_us) {
    int numbers[] = {0, 1, 2};
    memset(sealings, 0, sizeof *sealings * MOST);
    atomic_store(sealing_count, 0);
    vault = make_copied(flags, lease_us);
    parents_prefix = atomic_load(mg__prefix_number);
    for (unsigned i = 0; i < SECRETS; i++)
        secrets[i] = make_secret(vault, 32, MEMGUARD_SEALED, i);
    pid_t children[2] = {start(seal_in_child, &numbers[1]), start(seal_in_child, &numbers[2])};
    process = 0;
    seal_much();
    for (int i = 0; i < 2; i++)
        CHECK(check_exited(end_of(children[i]), 0));
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
    return repeats();
}

static int share_notes(void) {
    if (sealings != NULL) return 1;
    const size_t bytes = sizeof *sealings * MOST + sizeof *sealing_count;
    void *shared = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (!CHECK(shared != MAP_FAILED)) return 0;
    sealings = shared;
    sealing_count = (atomic_int *)(void *)((unsigned char *)shared + sizeof *sealings * MOST);
    return 1;
}

TEST(no_nonce_is_used_by_two_processes) {
    if (!share_notes()) return;
    CHECK(seal_in_all(0, 1000000) == 0);
    CHECK(atomic_load(sealing_count) == MOST);
    CHECK(seal_in_all(0, 100) == 0);
    CHECK(seal_in_all(MEMGUARD_STRICT, 0) == 0);
}

TEST(children_that_seal_under_the_copied_lease_are_noticed_by_this_test) {
    if (!share_notes()) return;
    unsigned found = 0;
    settles = false;
    for (int i = 0; i < 10 && found == 0; i++)
        found = seal_in_all(0, 1000000); /* the lease may just have ended */
    CHECK(found > 0);
    settles = true;
}

static void seal_unsettled(void *unused) {
    unsigned char bytes[32] = {1};
    (void)unused;
    CHECK(atomic_load(mg__prefix_number) == 0);
    atomic_store(mg__sys_fork_word, MG_FORK_COPIER);
    CHECK_STATUS(memguard_secret_replace(secrets[0], bytes, sizeof bytes), MEMGUARD_ERR_FORKED);
    CHECK_STATUS(memguard_secret_create(vault, 8, MEMGUARD_SEALED, &secrets[1]), MEMGUARD_ERR_FORKED);
}

static void try_unsettled(uint32_t flags) {
    vault = make_copied(flags, 1000000);
    secrets[0] = make_secret(vault, 32, MEMGUARD_SEALED, 1);
    IN_CHILD(seal_unsettled, NULL); /* the lease may last */
    CHECK(mg__coffer_tend(&mg__vault_find(vault)->coffer, mg__sys_now_ns() + 3600000000000U, false) != 0);
    IN_CHILD(seal_unsettled, NULL); /* it does not */
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

TEST(the_prefix_page_alone_keeps_a_child_from_sealing_before_it_has_settled) {
    try_unsettled(0);
    try_unsettled(MEMGUARD_STRICT);
}

/* ---- the first call of a child, with every system call failing in turn ------------------------------------ */

enum entry { MPROTECT, MLOCK, GETRANDOM, MMAP, MADVISE, THREAD, ENTRIES };
static struct mg__sys_table real;
static enum entry failing;
static unsigned fail_at, calls;
static bool armed, was_hit;

static bool fails(enum entry entry) {
    if (!armed || entry != failing || ++calls != fail_at) return false;
    was_hit = true;
    errno = EAGAIN;
    return true;
}
static int my_mprotect(void *a, size_t n, int p) { return fails(MPROTECT) ? -1 : real.mprotect(a, n, p); }
static int my_mlock(const void *a, size_t n) { return fails(MLOCK) ? -1 : real.mlock(a, n); }
static atomic_int inside;
static atomic_bool random_stays;
static long my_getrandom(void *p, size_t n, unsigned f) {
    if (atomic_load(&random_stays) && atomic_exchange(&inside, 1) == 0)
        while (atomic_load(&inside) == 1)
            sleep_ms(1);
    return fails(GETRANDOM) ? -1 : real.getrandom(p, n, f);
}
static void *my_mmap(void *a, size_t n, int p, int f, int d, long o) {
    return fails(MMAP) ? MAP_FAILED : real.mmap(a, n, p, f, d, o);
}
static int my_madvise(void *a, size_t n, int advice) { return fails(MADVISE) ? -1 : real.madvise(a, n, advice); }
static int my_thread_create(void *thread, void *(*run)(void *), void *arg) {
    return fails(THREAD) ? EAGAIN : real.thread_create(thread, run, arg);
}

static void replace_table(void) {
    if (real.mmap != NULL) return;
    real = mg__sys_table;
    mg__sys_table.mprotect = my_mprotect;
    mg__sys_table.mlock = my_mlock;
    mg__sys_table.getrandom = my_getrandom;
    mg__sys_table.mmap = my_mmap;
    mg__sys_table.madvise = my_madvise;
    mg__sys_table.thread_create = my_thread_create;
}

static atomic_int *hit; /* shared */

static bool is_failure_of_settling(memguard_status status) {
    return status == MEMGUARD_ERR_LOCK_LIMIT || status == MEMGUARD_ERR_MAP_LIMIT || status == MEMGUARD_ERR_MEMORY ||
           status == MEMGUARD_ERR_RANDOM || status == MEMGUARD_ERR_SYSTEM;
}

static void settle_with_failure(void *unused) {
    (void)unused;
    memguard_info info = MEMGUARD_INFO_INIT;
    calls = 0;
    armed = true;
    const memguard_status status = memguard_secret_info(secrets[0], &info); /* needs nothing but to settle */
    armed = false;
    atomic_store(hit, was_hit);
    CHECK(was_hit ? is_failure_of_settling(status) : status == MEMGUARD_OK);
    if (was_hit) CHECK(atomic_load(mg__sys_fork_word) == MG_FORK_UNSETTLED);
    for (uint32_t rest = 0; rest < 4; rest++)
        CHECK(holds(secrets[rest], rest));
    secrets[4] = make_secret(vault, 100, MEMGUARD_CLOSED, 9);
    CHECK(holds(secrets[4], 9));
    CHECK_STATUS(memguard_vault_purge(vault, 0), MEMGUARD_OK);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

TEST(a_first_call_that_fails_anywhere_has_used_nothing_and_the_next_one_succeeds) {
    static const char *const names[] = {"mprotect", "mlock", "getrandom", "mmap", "madvise", "thread_create"};
    hit = mmap(NULL, sizeof *hit, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (!CHECK((void *)hit != MAP_FAILED)) return;
    replace_table();
    vault = make_copied(0, 0);
    for (uint32_t rest = 0; rest < 4; rest++)
        secrets[rest] = make_secret(vault, 100, rest, rest);
    for (failing = 0; failing < ENTRIES; failing++) {
        for (fail_at = 1; fail_at < 500; fail_at++) {
            if (!CHECK(check_exited(end_of(start(settle_with_failure, NULL)), 0))) break;
            if (!atomic_load(hit)) break;
        }
        printf("  %s: failed at %u places\n", names[failing], fail_at - 1);
        if (failing != MMAP && failing != MADVISE && (failing != THREAD || FLAGS == 0)) CHECK(fail_at > 1);
    }
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

/* ---- not at rest ----------------------------------------------------------------------------------------- */

static void be_refused(void *unused) {
    (void)unused;
    CHECK_STATUS(use_status(secrets[0], 1), MEMGUARD_ERR_FORKED);
    CHECK_STATUS(memguard_vault_purge(vault, 0), MEMGUARD_ERR_FORKED);
}
static void be_served(void *unused) {
    (void)unused;
    CHECK(holds(secrets[0], 1));
}

static void begin_unrested(void) {
    vault = make_copied(0, 0);
    secrets[0] = make_secret(vault, 32, MEMGUARD_SEALED, 1);
}

static void *stay_inside(void *unused) {
    bool announced = false;
    (void)unused;
    CHECK_STATUS(mg__call_begin(&announced), MEMGUARD_OK);
    atomic_store(&inside, 1);
    while (atomic_load(&inside) == 1)
        sleep_ms(1);
    mg__call_end(&announced);
    return NULL;
}

TEST(a_call_that_does_not_end_costs_the_child_its_copy_and_no_more) {
    pthread_t thread;
    begin_unrested();
    atomic_store(&inside, 0);
    CHECK(pthread_create(&thread, NULL, stay_inside, NULL) == 0);
    while (atomic_load(&inside) == 0)
        sleep_ms(1);
    IN_CHILD(be_refused, NULL);
    CHECK(holds(secrets[0], 1)); /* nobody waits for ever */
    atomic_store(&inside, 2);
    CHECK(pthread_join(thread, NULL) == 0);
    IN_CHILD(be_served, NULL);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

TEST(a_fork_from_inside_of_a_call_gives_a_refused_child_at_once) {
    bool announced = false;
    begin_unrested();
    CHECK_STATUS(mg__call_begin(&announced), MEMGUARD_OK);
    IN_CHILD(be_refused, NULL);
    mg__call_end(&announced);
    IN_CHILD(be_served, NULL);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

/* A call that began before the process became a copier is not noted. If it has a mutex that a child needs, that is seen. */
static void *redraw_slowly(void *unused) {
    (void)unused;
    CHECK_STATUS(mg__prefix_redraw(), MEMGUARD_OK); /* stays in getrandom, with the mutex held */
    return NULL;
}

TEST(a_child_never_goes_on_with_a_mutex_that_somebody_held) {
    pthread_t thread;
    begin_unrested();
    replace_table();
    atomic_store(&inside, 0);
    atomic_store(&random_stays, true);
    CHECK(pthread_create(&thread, NULL, redraw_slowly, NULL) == 0);
    while (atomic_load(&inside) == 0)
        sleep_ms(1);
    atomic_store(&random_stays, false);
    CHECK(!mg__prefix_is_unlocked());
    IN_CHILD(be_refused, NULL);
    atomic_store(&inside, 2);
    CHECK(pthread_join(thread, NULL) == 0);
    IN_CHILD(be_served, NULL);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

/* Views of what stayed behind are nobody's any more: their thread has none, its record is as new. */
static void borrow_nothing(void *unused) {
    (void)unused;
    CHECK(mg__thread_borrows(mg__thread_known(), NULL));
    CHECK(holds(secrets[0], 1));
    CHECK(!mg__thread_borrows(mg__thread_known(), NULL));
}

TEST(views_that_stayed_behind_do_not_count_as_borrows) {
    memguard_view view = {0};
    begin_unrested();
    memguard_vault *refused = make_vault(MEMGUARD_BACKEND_LOCKED, FLAGS);
    CHECK_STATUS(memguard_secret_acquire(make_secret(refused, 32, 0, 1), MEMGUARD_READ, &view), MEMGUARD_OK);
    IN_CHILD(borrow_nothing, NULL);
    CHECK_STATUS(memguard_view_release(&view), MEMGUARD_OK);
    CHECK_STATUS(memguard_vault_destroy(&refused), MEMGUARD_OK);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

int main(void) {
    RUN(no_nonce_is_used_by_two_processes);
    RUN(children_that_seal_under_the_copied_lease_are_noticed_by_this_test);
    RUN(the_prefix_page_alone_keeps_a_child_from_sealing_before_it_has_settled);
    RUN(a_first_call_that_fails_anywhere_has_used_nothing_and_the_next_one_succeeds);
    RUN(a_call_that_does_not_end_costs_the_child_its_copy_and_no_more);
    RUN(a_fork_from_inside_of_a_call_gives_a_refused_child_at_once);
    RUN(views_that_stayed_behind_do_not_count_as_borrows);
    RUN(a_child_never_goes_on_with_a_mutex_that_somebody_held);
    return check_end();
}
