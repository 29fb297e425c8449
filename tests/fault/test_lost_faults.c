/* Sweeps on systems that refuse: every call of the scan's table fails in turn, once at each of its calls and for ever.
 * Then the sweep says why, the threads run, the signal has its default action, no descriptor stays open, nothing counts
 * as found, and the next sweep works. And threads that go on by themselves, because whoever stopped them hangs in the
 * kernel. */
#include "../unit/white.h"

#include "sys/scan.h"
#include <dirent.h>
#include <memguard/process.h>

enum entry { OPEN, READ, LIST, COPY, RESIDENT, IN_CORE, ACTION, QUEUE, ENTRIES };

static struct mg__scan_table real;
static enum entry failing;
static unsigned at, calls;
static bool for_ever, armed;
static int error_given;

static bool fails(enum entry entry) {
    if (!armed || entry != failing) return false;
    calls++;
    if (calls != at && !(for_ever && calls > at)) return false;
    errno = error_given;
    return true;
}

static int my_open(const char *path) { return fails(OPEN) ? -1 : real.open(path); }
static long my_read(int d, void *to, size_t n) { return fails(READ) ? -1 : real.read(d, to, n); }
static long my_list(int d, void *to, size_t n) { return fails(LIST) ? -1 : real.list(d, to, n); }
static long my_copy(void *to, uintptr_t from, size_t n) { return fails(COPY) ? -1 : real.copy(to, from, n); }
static long my_resident(int d, void *query) { return fails(RESIDENT) ? -1 : real.resident(d, query); }
static int my_in_core(uintptr_t low, size_t n, unsigned char *pages) {
    return fails(IN_CORE) ? -1 : real.in_core(low, n, pages);
}
static int my_action(int n, const void *wanted, void *before) {
    return fails(ACTION) ? -1 : real.action(n, wanted, before);
}
static int my_queue(int thread, int n, void *info) { return fails(QUEUE) ? -1 : real.queue(thread, n, info); }

static void replace_table(void) {
    mg__scan_table = (struct mg__scan_table){my_open,    my_read,   my_list,  my_copy,     my_resident,
                                             my_in_core, my_action, my_queue, real.at_exit};
}

/* ---- what a failure must leave behind ---- */

static int descriptors(void) {
    int count = 0;
    DIR *folder = opendir("/proc/self/fd");
    while (folder != NULL && readdir(folder) != NULL)
        count++;
    if (folder != NULL) closedir(folder);
    return count;
}

static _Atomic uint64_t turns;
static _Atomic int stop;

static void *turn(void *arg) {
    while (atomic_load(&stop) == 0) {
        atomic_fetch_add(&turns, 1);
        sched_yield();
    }
    return arg;
}

static int threads_run(void) {
    const uint64_t before = atomic_load(&turns);
    for (int i = 0; i < 5000 && atomic_load(&turns) == before; i++)
        sleep_ms(1);
    return atomic_load(&turns) != before;
}

static memguard_vault *vault;

static int make(void *arg) {
    memguard_secret secret;
    (void)arg;
    return memguard_secret_create(vault, 32, MEMGUARD_CLOSED, &secret);
}

static void make_lost_one(void) {
    int result = -1;
    CHECK_STATUS(memguard_call_scrubbed(make, NULL, &result), MEMGUARD_OK);
    CHECK(result == MEMGUARD_OK);
}

static memguard_status sweep(uint32_t timeout_ms, memguard_sweep *result) {
    memguard_sweep_options options = MEMGUARD_SWEEP_OPTIONS_INIT;
    options.flags = MEMGUARD_SWEEP_SEAL;
    options.timeout_ms = timeout_ms;
    *result = (memguard_sweep)MEMGUARD_SWEEP_INIT;
    return memguard_lost_sweep(vault, &options, result);
}

static int is_calm(int before) {
    struct sigaction action;
    return threads_run() && descriptors() == before && sigaction(SIGRTMAX - 1, NULL, &action) == 0 &&
           action.sa_handler == SIG_DFL;
}

/* ---- the sweep of failures ---- */

static uint32_t allowed(enum entry entry) {
    const uint32_t ok = 1U << MEMGUARD_OK, unsupported = 1U << MEMGUARD_ERR_UNSUPPORTED,
                   system = 1U << MEMGUARD_ERR_SYSTEM, timeout = 1U << MEMGUARD_ERR_TIMEOUT;
    switch (entry) {
    case OPEN:
        return ok | unsupported | timeout | system; /* pagemap may be missing; threads cannot be counted */
    case READ:
        return ok | unsupported | timeout | system;
    case RESIDENT:
        return CHECK_SANITIZED ? ok | timeout : ok; /* all of a shadow memory is too much to read */
    case IN_CORE:
        return ok;
    default:
        return system | unsupported; /* by the errno */
    }
}

/* false: the scenario makes fewer calls. */
static bool one_failure(enum entry entry, unsigned number, bool ever, int error) {
    memguard_sweep result;
    const int open_before = descriptors();
    failing = entry, at = number, for_ever = ever, calls = 0, error_given = error, armed = true;
    const memguard_status status = sweep(300, &result);
    armed = false;
    if (calls < number) return false;
    if (!CHECK((allowed(entry) >> status & 1) != 0))
        printf("  entry %d call %u: %s\n", (int)entry, number, memguard_status_name(status));
    if (status != MEMGUARD_OK) CHECK(result.lost == 0 && result.sealed == 0 && result.looked_at == 0);
    CHECK(is_calm(open_before));
    return true;
}

static pthread_t turning[2];

static void start_turning(void) {
    atomic_store(&stop, 0);
    for (int i = 0; i < 2; i++)
        CHECK(pthread_create(&turning[i], NULL, turn, NULL) == 0);
    CHECK(threads_run());
}

static void stop_turning(void) {
    atomic_store(&stop, 1);
    for (int i = 0; i < 2; i++)
        CHECK(pthread_join(turning[i], NULL) == 0);
}

TEST(whatever_fails_the_sweep_says_so_and_all_is_as_before) {
    NEEDS_SIGNALS();
    memguard_sweep result;
    vault = make_vault(MEMGUARD_BACKEND_PLAIN, MEMGUARD_TRACK);
    start_turning();
    make_lost_one();
    replace_table();
    for (int entry = 0; entry < ENTRIES; entry++)
        for (int ever = 0; ever < 2; ever++)
            for (unsigned number = 1;
                 number <= 12 && one_failure((enum entry)entry, number, ever != 0, entry == RESIDENT ? ENOTTY : EACCES);
                 number++) {
            }
    for (unsigned number = 1; number <= 2; number++)
        CHECK(one_failure(QUEUE, number, true, EAGAIN)); /* RLIMIT_SIGPENDING */
    for (int i = 0; i < 2; i++)
        CHECK_STATUS(sweep(20000, &result), MEMGUARD_OK);
    CHECK(result.looked_at == 1 && result.lost == 1);
    mg__scan_table = real;
    stop_turning();
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

/* The must-fail twin: one found twice is sealed, one that a failed sweep came between is not sealed earlier for it. */
TEST(a_sweep_that_failed_does_not_count_as_one) {
    NEEDS_SIGNALS();
    memguard_sweep result;
    vault = make_vault(MEMGUARD_BACKEND_PLAIN, MEMGUARD_TRACK);
    make_lost_one();
    start_turning();
    replace_table();
    for (unsigned number = 1; number < 4; number++)
        CHECK(one_failure(LIST, number, true, EIO));
    mg__scan_table = real;
    stop_turning();
    CHECK_STATUS(sweep(20000, &result), MEMGUARD_OK);
    CHECK(result.lost == 1 && result.sealed == 0);
    CHECK_STATUS(sweep(20000, &result), MEMGUARD_OK);
    CHECK(result.lost == 1 && result.sealed == 1);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

/* ---- without the shortcuts ---- */

TEST(without_a_page_map_all_of_it_is_read_and_the_same_found) {
    if (CHECK_SANITIZED) SKIP("a shadow memory is too much to read");
    NEEDS_SIGNALS();
    memguard_sweep with, without;
    vault = make_vault(MEMGUARD_BACKEND_PLAIN, MEMGUARD_TRACK);
    make_lost_one();
    CHECK_STATUS(sweep(20000, &with), MEMGUARD_OK);
    replace_table();
    failing = RESIDENT, at = 1, for_ever = true, calls = 0, error_given = ENOTTY, armed = true;
    CHECK_STATUS(sweep(20000, &without), MEMGUARD_OK);
    armed = false;
    mg__scan_table = real;
    CHECK(with.lost == 1 && without.lost == 1 && without.scanned_bytes > with.scanned_bytes);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

/* ---- a sweeper that hangs ---- */

static bool hung;

/* As a page fault would that a stopped thread has to serve: it ends when the others go on. */
static long hanging_copy(void *to, uintptr_t from, size_t n) {
    if (hung || mg__sys_stopped_threads() == 0 || atomic_load(&stop) != 0) return real.copy(to, from, n);
    const uint64_t before = atomic_load(&turns);
    while (atomic_load(&turns) == before)
        sleep_ms(10);
    hung = true;
    return real.copy(to, from, n);
}

TEST(threads_go_on_by_themselves_when_the_sweep_hangs_and_it_then_gives_up) {
    NEEDS_SIGNALS();
    memguard_sweep result;
    vault = make_vault(MEMGUARD_BACKEND_PLAIN, MEMGUARD_TRACK);
    make_lost_one();
    start_turning();
    mg__scan_table.copy = hanging_copy;
    const int open_before = descriptors();
    CHECK_STATUS(sweep(100, &result), MEMGUARD_ERR_TIMEOUT);
    CHECK(hung && is_calm(open_before));
    mg__scan_table = real;
    CHECK_STATUS(sweep(20000, &result), MEMGUARD_OK);
    CHECK(result.lost == 1 && result.sealed == 0 && result.threads == 2);
    stop_turning();
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

/* ---- exit ---- */

static int no_at_exit(void (*fn)(void)) {
    (void)fn;
    return -1;
}

static void tell(const memguard_lost *lost, void *arg) { (void)lost, (void)arg; }

TEST(a_watch_for_which_atexit_has_no_room_is_refused) {
    mg__scan_table.at_exit = no_at_exit;
    CHECK_STATUS(memguard_lost_watch(tell, NULL), MEMGUARD_ERR_MEMORY);
    CHECK(atomic_load(&mg__vault_on_end) == NULL);
    mg__scan_table = real;
    CHECK_STATUS(memguard_lost_watch(tell, NULL), MEMGUARD_OK);
    CHECK_STATUS(memguard_lost_watch(NULL, NULL), MEMGUARD_OK);
}

/* ---- origins ---- */

static struct mg__sys_table real_sys;
static void *no_mmap(void *a, size_t n, int p, int f, int d, long o) {
    if (p != (PROT_READ | PROT_WRITE)) return real_sys.mmap(a, n, p, f, d, o);
    errno = ENOMEM;
    return MAP_FAILED;
}

TEST(without_memory_for_its_origin_no_secret_is_made) {
    memguard_secret secret = {1};
    unsigned made = 0;
    vault = make_vault(MEMGUARD_BACKEND_PLAIN, MEMGUARD_NO_THREAD);
    memguard_secret first = make_secret(vault, 16, 0, 1); /* table, benches and pages are there now */
    memguard_vault *tracking = make_vault(MEMGUARD_BACKEND_PLAIN, MEMGUARD_TRACK | MEMGUARD_NO_THREAD);
    real_sys = mg__sys_table;
    mg__sys_table.mmap = no_mmap;
    for (int i = 0; i < 8; i++)
        made += memguard_secret_create(tracking, 16, MEMGUARD_SEALED, &secret) == MEMGUARD_OK;
    CHECK(made == 0 && secret.id == 0);
    mg__sys_table = real_sys;
    CHECK_STATUS(memguard_secret_create(tracking, 16, MEMGUARD_SEALED, &secret), MEMGUARD_OK);
    CHECK(report_of(tracking).secrets[MEMGUARD_SEALED] == 1 && holds(first, 1));
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
    CHECK_STATUS(memguard_vault_destroy(&tracking), MEMGUARD_OK);
}

int main(void) {
    real = mg__scan_table;
    RUN(without_memory_for_its_origin_no_secret_is_made);
    RUN(whatever_fails_the_sweep_says_so_and_all_is_as_before);
    RUN(a_sweep_that_failed_does_not_count_as_one);
    RUN(without_a_page_map_all_of_it_is_read_and_the_same_found);
    RUN(threads_go_on_by_themselves_when_the_sweep_hangs_and_it_then_gives_up);
    RUN(a_watch_for_which_atexit_has_no_room_is_refused);
    return check_end();
}
