/* The failure sweep (the idea of SQLite's test of every I/O error): one scenario that uses every part of the library, run again and again
 * with call N to one entry of the table of system calls failing, once or from then on for ever, for N = 1, 2, ... until the
 * scenario makes fewer calls. Each run has a process of its own. After each: no crash, no hang; every status is one that the
 * header lists for the call; what failed changed nothing; what exists holds its bytes; no protected page lacks what the vault
 * claims; when the failures are over everything works and can be destroyed. */
#include "../unit/white.h"

/* ---- what fails ---- */

enum entry { MMAP, MUNMAP, MPROTECT, MREMAP, MADVISE, MLOCK, MEMFD_SECRET, FTRUNCATE, CLOSE, GETRANDOM, GETRLIMIT, SETRLIMIT, THREAD, MEMBARRIER, ENTRIES };

struct fault {
    enum entry entry;
    int error;
    bool for_ever, repeated;
    uint32_t backend, flags;
};

static struct mg__sys_table real;
static struct fault fault;
static unsigned at, calls; /* the call that fails; made so far */
static bool armed, hit;
static pthread_t main_thread;

/* Counts calls of the main thread alone: those of the housekeeper come when they like. */
static bool fails(enum entry entry) {
    if (!pthread_equal(pthread_self(), main_thread) || !armed || entry != fault.entry) return false;
    calls++;
    if (calls != at && !(fault.for_ever && calls > at)) return false;
    hit = true;
    errno = fault.error;
    return true;
}

/* ---- what the kernel was asked for: pages may only claim what succeeded ---- */

struct range {
    const unsigned char *low, *high;
};
enum { MOST_RANGES = 4096 };
struct ranges {
    struct range all[MOST_RANGES];
    _Atomic size_t count;
};
static struct ranges locked, undumped;

static void note(struct ranges *ranges, const void *address, size_t bytes) {
    const size_t i = atomic_fetch_add(&ranges->count, 1);
    if (i < MOST_RANGES) ranges->all[i] = (struct range){address, (const unsigned char *)address + bytes};
}

static bool is_noted(const struct ranges *ranges, const unsigned char *address) {
    const size_t count = atomic_load(&ranges->count);
    for (size_t i = 0; i < count && i < MOST_RANGES; i++)
        if (address >= ranges->all[i].low && address < ranges->all[i].high) return true;
    return count > MOST_RANGES;
}

static void *my_mmap(void *a, size_t n, int p, int f, int d, long o) { return fails(MMAP) ? MAP_FAILED : real.mmap(a, n, p, f, d, o); }
static int my_munmap(void *a, size_t n) { return fails(MUNMAP) ? -1 : real.munmap(a, n); }
static int my_mprotect(void *a, size_t n, int p) { return fails(MPROTECT) ? -1 : real.mprotect(a, n, p); }
static void *my_mremap(void *a, size_t n, size_t m, int f, void *to) { return fails(MREMAP) ? MAP_FAILED : real.mremap(a, n, m, f, to); }
static int my_madvise(void *a, size_t n, int advice) {
    if (fails(MADVISE)) return -1;
    const int result = real.madvise(a, n, advice);
    if (result == 0 && advice == MADV_DONTDUMP) note(&undumped, a, n);
    return result;
}
static int my_mlock(const void *a, size_t n) {
    if (fails(MLOCK)) return -1;
    const int result = real.mlock(a, n);
    if (result == 0) note(&locked, a, n);
    return result;
}
static int my_memfd_secret(unsigned flags) { return fails(MEMFD_SECRET) ? -1 : real.memfd_secret(flags); }
static int my_ftruncate(int d, long n) { return fails(FTRUNCATE) ? -1 : real.ftruncate(d, n); }
static int my_close(int d) { return real.close(d) | (fails(CLOSE) ? -1 : 0); } /* Linux frees it in any case */
static long my_getrandom(void *p, size_t n, unsigned f) { return fails(GETRANDOM) ? -1 : real.getrandom(p, n, f); }
static int my_getrlimit(int what, void *limit) { return fails(GETRLIMIT) ? -1 : real.getrlimit(what, limit); }
static int my_setrlimit(int what, const void *limit) { return fails(SETRLIMIT) ? -1 : real.setrlimit(what, limit); }
static int my_thread_create(void *thread, void *(*run)(void *), void *arg) {
    return fails(THREAD) ? fault.error : real.thread_create(thread, run, arg);
}

static int my_membarrier(int command) { return fails(MEMBARRIER) ? -1 : real.membarrier(command); }

static void replace_table(void) {
    real = mg__sys_table;
    mg__sys_table = (struct mg__sys_table){my_mmap, my_munmap, my_mprotect, my_mremap, my_madvise, my_mlock, my_memfd_secret,
                                           my_ftruncate, my_close, my_getrandom, my_getrlimit, my_setrlimit, my_thread_create,
                                           my_membarrier};
    main_thread = pthread_self();
}

/* ---- findings, in memory shared with the parent: each sort once, with how often ---- */

struct finding {
    char text[160];
    unsigned count, first;
};
enum { MOST_FINDINGS = 200, RAN = 0, UNTOUCHED = 42 };
static struct finding *findings;

static void found(const char *call, const char *what) {
    char text[160];
    snprintf(text, sizeof text, "%s %s", call, what);
    for (int i = 0; i < MOST_FINDINGS; i++) {
        if (findings[i].count != 0 && strcmp(findings[i].text, text) != 0) continue;
        if (findings[i].count++ == 0) findings[i].first = at;
        strcpy(findings[i].text, text);
        return;
    }
}

static int print_findings(void) {
    int sorts = 0;
    for (; sorts < MOST_FINDINGS && findings[sorts].count != 0; sorts++)
        printf("  %s: %u times, first when call %u failed\n", findings[sorts].text, findings[sorts].count, findings[sorts].first);
    memset(findings, 0, sizeof *findings * MOST_FINDINGS);
    return sorts;
}

/* ---- the statuses that the header lists, less those that cannot be meant here (STALE, ARGUMENT, SIZE, ...) ---- */

#define S(name) (1U << MEMGUARD_ERR_##name)
enum { OK_BIT = 1U << MEMGUARD_OK, MAKING = S(LOCK_LIMIT) | S(MAP_LIMIT) | S(MEMORY) | S(LIMIT) | S(RANDOM) };
static const struct allowed {
    const char *call;
    uint32_t statuses;
} allowed[] = {
    {"vault_create", S(UNSUPPORTED) | S(SYSTEM) | MAKING},
    {"vault_prepare", S(LOCK_LIMIT) | S(MAP_LIMIT) | S(MEMORY)},
    {"vault_report", 0},
    {"vault_tick", 0},
    {"vault_purge", S(LOCK_LIMIT) | S(RANDOM)},
    {"vault_lock", S(MEMORY) | S(LOCK_LIMIT) | S(RANDOM)},
    {"vault_unlock", S(LOCK_LIMIT) | S(RANDOM)},
    {"vault_destroy", 0},
    {"secret_create", MAKING},
    {"secret_take", MAKING},
    {"secret_random", MAKING},
    {"secret_use", S(LOCK_LIMIT) | S(MAP_LIMIT)},
    {"secret_acquire", S(LOCK_LIMIT) | S(MAP_LIMIT) | S(MEMORY)},
    {"view_release", S(MAP_LIMIT) | S(MEMORY)},
    {"secret_rest", S(LOCK_LIMIT) | S(MAP_LIMIT) | S(MEMORY)},
    {"secret_freeze", 0},
    {"secret_resize", S(LOCK_LIMIT) | S(MAP_LIMIT) | S(MEMORY)},
    {"secret_replace", S(LOCK_LIMIT) | S(MAP_LIMIT) | S(MEMORY)},
    {"secret_copy_at", 0},
    {"secret_scramble", S(RANDOM)},
    {"secret_limit", S(MEMORY)},
    {"secret_info", 0},
    {"secret_destroy", 0},
};

/* What the texts of the calls leave out and the page on keys, or the nature of the call, has: no randomness for a lease or a prefix; a change of
 * access that the kernel refuses; protected pages that cannot be had for another reason than memory. */
enum { OPENING = S(RANDOM) | S(MEMORY) | S(MAP_LIMIT) | S(LOCK_LIMIT) | S(SYSTEM) };
static const char *const may_open[] = {"vault_prepare", "vault_purge", "vault_lock", "vault_unlock", "secret_create", "secret_take",
                                       "secret_random", "secret_use", "secret_acquire", "secret_rest", "secret_freeze",
                                       "secret_resize", "secret_replace", "secret_copy_at", "secret_scramble"};

static bool opens(const char *call) {
    for (size_t i = 0; i < sizeof may_open / sizeof may_open[0]; i++)
        if (strcmp(may_open[i], call) == 0) return true;
    return false;
}

/* 1 when the call succeeded; a finding when its failure is not one of the listed ones, or has no cause. */
static int is_done(const char *call, memguard_status status) {
    if (status == MEMGUARD_OK) return 1;
    uint32_t listed = opens(call) ? (uint32_t)OPENING : 0;
    for (size_t i = 0; i < sizeof allowed / sizeof allowed[0]; i++)
        if (strcmp(allowed[i].call, call) == 0) listed |= allowed[i].statuses;
    if (!hit) found(call, "failed although nothing had failed below");
    if (status < 0 || status > 31 || (listed & (1U << status)) == 0) found(call, memguard_status_name(status));
    return 0;
}
#define DONE(call, expression) is_done(call, memguard_##expression)

/* ---- the model: what each secret must hold ---- */

struct object {
    memguard_secret secret;
    uint32_t seed, rest;
    size_t bytes;
};
enum { OBJECTS = 6, LONG_BYTES = 9000 };
static struct object objects[OBJECTS];
static memguard_vault *vault;

static void check_pages(const char *call, const struct object *object) {
    const struct mg__entry *entry = entry_of(object->secret);
    if (mg__vault_find(vault)->kind != MG_KIND_LOCKED) return;
    if (object->rest == MEMGUARD_SEALED || object->rest == MEMGUARD_COMPACT) return;
    const struct mg__region *region = entry->body.region;
    if (!is_noted(&locked, region->base)) found(call, "left a page that was never locked");
    if (!is_noted(&undumped, region->base)) found(call, "left a page that was never kept out of dumps");
}

enum { RIGHT = 1, WRONG = 3 }; /* what `look` gives; anything else: it did not run */

static int look(const void *bytes, size_t size, void *seed) { return is_pattern(bytes, size, *(const uint32_t *)seed) ? RIGHT : WRONG; }

/* What is wrong with an object; null when it is what the model says. */
static const char *fault_of(const struct object *object) {
    memguard_info info = MEMGUARD_INFO_INIT;
    uint32_t seed = object->seed;
    int result = 0;
    if (memguard_secret_info(object->secret, &info) != MEMGUARD_OK) return "lost a secret";
    if (info.rest != object->rest) return "failed and changed the rest";
    if (info.bytes != object->bytes) return "failed and changed the size";
    if (info.borrows != 0 || info.writing != 0) return "left a borrow";
    const memguard_status status = memguard_secret_use(object->secret, look, &seed, &result);
    if (status == MEMGUARD_ERR_AUTH) return "left bytes that do not open any more";
    if (status != MEMGUARD_OK) return "left a secret that cannot be used";
    return result == RIGHT ? NULL : "changed bytes that it should not";
}

/* With failures off. What is wrong is told once: then the object leaves the model. */
static void check_object(const char *call, struct object *object) {
    if (object->secret.id == 0) return;
    const char *what = fault_of(object);
    if (what == NULL) {
        check_pages(call, object);
        return;
    }
    found(call, what);
    (void)is_done("secret_destroy", memguard_secret_destroy(&object->secret));
}

/* After a call that failed: looked at at once, with failures off for the moment. */
static void check_after(const char *call, struct object *object) {
    const bool was_armed = armed;
    armed = false;
    if (report_of(vault).locked == 0) check_object(call, object);
    armed = was_armed;
}

/* ---- the scenario ---- */

static bool make_the_vault(void) {
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    options.backend = fault.backend;
    options.flags = fault.flags | MEMGUARD_RAISE_LIMIT;
    options.rekey_ms = 3600000;
    options.lease_us = 1000000;
    if (DONE("vault_create", vault_create(&options, &vault))) return true;
    if (vault != NULL) found("vault_create", "failed and gave a vault");
    armed = false; /* what failed left nothing half made */
    if (memguard_vault_create(&options, &vault) == MEMGUARD_OK) return false;
    found("vault_create", "does not recover from a failure");
    return false;
}

static void make_object(struct object *object, size_t bytes, uint32_t rest, uint32_t seed) {
    static unsigned char source[LONG_BYTES];
    fill(source, bytes, seed);
    *object = (struct object){{0}, seed, rest, bytes};
    if (!DONE("secret_take", secret_take(vault, source, bytes, rest, &object->secret))) {
        if (object->secret.id != 0) found("secret_take", "failed and gave a handle");
    } else {
        check_pages("secret_take", object);
    }
    if (!is_all(source, bytes, 0)) found("secret_take", "did not wipe its source");
}

static void use_object(struct object *object) {
    int result = 0;
    uint32_t seed = object->seed;
    if (DONE("secret_use", secret_use(object->secret, look, &seed, &result))) {
        if (result != RIGHT) found("secret_use", "showed wrong bytes");
        return;
    }
    if (result == WRONG) found("secret_use", "failed and showed wrong bytes");
    check_after("secret_use", object);
}

static void view_object(struct object *object, uint32_t access) {
    memguard_view view = {0};
    if (!DONE("secret_acquire", secret_acquire(object->secret, access, &view))) {
        if (view.data != NULL || view.pin[0] != 0) found("secret_acquire", "failed and gave a view");
        check_after("secret_acquire", object);
        return;
    }
    if (!is_pattern(view.data, view.size, object->seed)) found("secret_acquire", "showed wrong bytes");
    if (access == MEMGUARD_WRITE) fill(view.data, view.size, ++object->seed);
    if (!DONE("view_release", view_release(&view)) && access == MEMGUARD_WRITE) {
        armed = false; /* said to have failed: the old bytes or the new ones */
        if (!holds(object->secret, object->seed)) object->seed--;
    }
    check_after("view_release", object);
}

static void rest_object(struct object *object, uint32_t rest) {
    if (DONE("secret_rest", secret_rest(object->secret, rest))) object->rest = rest;
    check_after("secret_rest", object);
}

static void resize_object(struct object *object, size_t bytes) {
    static unsigned char grown[LONG_BYTES];
    const size_t kept = object->bytes; /* it grows */
    if (!DONE("secret_resize", secret_resize(object->secret, bytes))) {
        check_after("secret_resize", object);
        return;
    }
    object->bytes = bytes;
    fill(grown, bytes, object->seed); /* the new bytes are zero: give them the pattern */
    if (!DONE("secret_copy_at", secret_copy_at(object->secret, kept, grown + kept, bytes - kept))) {
        armed = false;
        if (memguard_secret_copy_at(object->secret, kept, grown + kept, bytes - kept) != MEMGUARD_OK)
            found("secret_copy_at", "does not recover from a failure");
    }
    check_after("secret_copy_at", object);
}

static void replace_object(struct object *object, size_t bytes) {
    static unsigned char source[LONG_BYTES];
    fill(source, bytes, object->seed + 1);
    if (DONE("secret_replace", secret_replace(object->secret, source, bytes))) object->seed++, object->bytes = bytes;
    if (!is_all(source, bytes, 0)) found("secret_replace", "did not wipe its source");
    check_after("secret_replace", object);
}

static void freeze_object(struct object *object) {
    (void)DONE("secret_freeze", secret_freeze(object->secret));
    check_after("secret_freeze", object);
    (void)DONE("secret_freeze", secret_melt(object->secret));
    memguard_info info = MEMGUARD_INFO_INIT;
    if (memguard_secret_info(object->secret, &info) == MEMGUARD_OK && (info.flags & MEMGUARD_FROZEN) != 0) {
        const bool was_armed = armed;
        armed = false;
        if (memguard_secret_melt(object->secret) != MEMGUARD_OK) found("secret_melt", "does not recover from a failure");
        armed = was_armed;
    }
}

static void scramble_object(void) {
    memguard_secret secret = {0};
    if (!DONE("secret_random", secret_random(vault, 100, MEMGUARD_MAPPED, &secret))) return;
    (void)DONE("secret_scramble", secret_scramble(secret));
    (void)DONE("secret_destroy", secret_destroy(&secret));
}

static void work_on(struct object *object) {
    if (object->secret.id != 0) use_object(object);
    if (object->secret.id != 0) view_object(object, MEMGUARD_READ);
    if (object->secret.id != 0) view_object(object, MEMGUARD_WRITE);
    if (object->secret.id != 0) replace_object(object, object->bytes / 2);
    if (object->secret.id != 0) resize_object(object, object->bytes * 2);
    if (object->secret.id != 0) freeze_object(object);
}

static void lock_and_unlock(void) {
    if (DONE("vault_lock", vault_lock(vault, white_kek))) {
        for (int i = 0; i < OBJECTS; i++) objects[i].rest = MEMGUARD_SEALED;
        if (!DONE("vault_unlock", vault_unlock(vault, white_kek))) {
            const bool was_armed = armed;
            armed = false;
            if (memguard_vault_unlock(vault, white_kek) != MEMGUARD_OK) found("vault_unlock", "does not recover from a failure");
            armed = was_armed;
        }
    } else { /* "secrets that were sealed on the way stay sealed" */
        for (int i = 0; i < OBJECTS; i++) {
            memguard_info info = MEMGUARD_INFO_INIT;
            if (objects[i].secret.id != 0 && memguard_secret_info(objects[i].secret, &info) == MEMGUARD_OK && info.rest == MEMGUARD_SEALED)
                objects[i].rest = MEMGUARD_SEALED;
        }
    }
    for (int i = 0; i < OBJECTS; i++) check_after("vault_lock", &objects[i]);
}

static void rekey(void) {
    const memguard_status status = rekey_now(&mg__vault_find(vault)->coffer);
    if (status != MEMGUARD_OK && !hit) found("re-keying", "failed although nothing had failed below");
    for (int i = 0; i < OBJECTS; i++) check_after("re-keying", &objects[i]);
}

static void purge(void) {
    const int done = DONE("vault_purge", vault_purge(vault, 0));
    for (int i = 0; i < OBJECTS; i++) {
        if (objects[i].secret.id == 0) continue;
        const memguard_status status = use_status(objects[i].secret, 0);
        if (status != MEMGUARD_ERR_STALE && status != MEMGUARD_ERR_STATE) found("vault_purge", "left a secret");
        objects[i].secret.id = 0;
    }
    if (done) return;
    const bool was_armed = armed;
    memguard_secret none = {0};
    armed = false;
    if (memguard_secret_create(vault, 10, 0, &none) != MEMGUARD_ERR_STATE) found("vault_purge", "failed and left a vault with a key");
    if (memguard_vault_purge(vault, 0) != MEMGUARD_OK) found("vault_purge", "does not recover from a failure");
    armed = was_armed;
}

static void make_objects(void) {
    static const uint32_t rests[] = {MEMGUARD_SEALED, MEMGUARD_CLOSED, MEMGUARD_MAPPED, MEMGUARD_COMPACT};
    for (uint32_t i = 0; i < 4; i++) make_object(&objects[i], 100, rests[i], i);
    make_object(&objects[4], LONG_BYTES, MEMGUARD_SEALED, 40);
    make_object(&objects[5], LONG_BYTES / 2, MEMGUARD_CLOSED, 50);
}

static void change_rests(struct object *object) {
    static const uint32_t rests[] = {MEMGUARD_CLOSED, MEMGUARD_MAPPED, MEMGUARD_COMPACT, MEMGUARD_SEALED};
    for (uint32_t i = 0; i < 4 && object->secret.id != 0; i++) rest_object(object, rests[i]);
}

static void destroy_objects(int from) {
    for (int i = from; i < OBJECTS; i++)
        if (objects[i].secret.id != 0) (void)DONE("secret_destroy", secret_destroy(&objects[i].secret));
}

static void scenario(void) {
    if (!make_the_vault()) return;
    (void)DONE("vault_prepare", vault_prepare(vault, 8192, 1));
    make_objects();
    for (int i = 0; i < OBJECTS; i++) work_on(&objects[i]);
    change_rests(&objects[0]);
    change_rests(&objects[4]);
    scramble_object();
    rekey();
    (void)DONE("vault_tick", vault_tick(vault, NULL));
    lock_and_unlock();
    destroy_objects(3);
    purge();
    make_objects();
    destroy_objects(4);
}

/* With all failures over, or (some) still there. */
static void end_scenario(void) {
    if (vault == NULL) return;
    armed = false;
    for (int i = 0; i < 4; i++) check_object("the scenario", &objects[i]);
    struct object fresh = {{0}, 0, 0, 0};
    make_object(&fresh, 300, MEMGUARD_CLOSED, 9);
    check_object("the scenario", &fresh);
    armed = true; /* destroying works with failures, too */
    (void)DONE("vault_destroy", vault_destroy(&vault));
    if (vault != NULL) {
        armed = false;
        if (memguard_vault_destroy(&vault) != MEMGUARD_OK) found("vault_destroy", "does not work even without failures");
    }
    armed = false;
    memset(objects, 0, sizeof objects);
}

/* ---- one process a run ---- */

static void limit_memory(void) {
    struct rlimit limit = {4U << 20, 8U << 20};
    if (drop_memlock(8U << 20) != 0 || setrlimit(RLIMIT_MEMLOCK, &limit) != 0) exit(3);
}

static int run_once(void *arg) {
    (void)arg;
    alarm(30);
    unsetenv("MEMGUARD_BACKEND");
    limit_memory();
    replace_table();
    armed = true;
    scenario();
    end_scenario();
    return hit ? RAN : UNTOUCHED;
}

/* Again and again with the same failure: what is locked and made must not grow from round to round. */
static int run_often(void *arg) {
    enum { ROUNDS = 14, SETTLED = 6, BOUND = 2 };
    uint64_t in_use[ROUNDS] = {0};
    (void)arg;
    alarm(60);
    unsetenv("MEMGUARD_BACKEND");
    limit_memory();
    replace_table();
    for (int round = 0; round < ROUNDS; round++) {
        armed = true;
        calls = 0;
        scenario();
        end_scenario();
        in_use[round] = mg__budget_in_use();
    }
    const uint64_t most = in_use[SETTLED] + (uint64_t)BOUND * 32 * mg__sys_page();
    if (in_use[ROUNDS - 1] > most) found("the scenario", "locks more and more");
    return hit ? RAN : UNTOUCHED;
}

static void check_end_of_run(int status) {
    if (status != -1 && WIFSIGNALED(status)) {
        char what[64];
        snprintf(what, sizeof what, "died of signal %d", WTERMSIG(status));
        found("the process", what);
    } else if (status == -1 || (WEXITSTATUS(status) != RAN && WEXITSTATUS(status) != UNTOUCHED)) {
        found("the process", "ended with a failed check");
    }
}

/* Sanitizers make a process dear: there only some of the calls fail. */
static unsigned step_from(unsigned n) { return CHECK_SANITIZED && n > 6 ? 11 : 1; }

/* How many runs had the failure in them. */
static unsigned sweep(const struct fault *what) {
    unsigned runs = 0;
    fault = *what;
    for (at = 1; at < 5000; at += what->repeated ? 7 : step_from(at), runs++) {
        fflush(stdout);
        const int status = check_child(what->repeated ? run_often : run_once, NULL);
        check_end_of_run(status);
        if (check_exited(status, UNTOUCHED)) break;
        if (fault.entry == THREAD && at > 3) break;
    }
    CHECK(at < 5000);
    if (!CHECK(print_findings() == 0))
        printf("  ^ with errno %d, %s, backend %u, after %u runs\n", what->error, what->for_ever ? "for ever" : "once", what->backend, runs);
    return runs;
}

static void sweep_all(enum entry entry, int error, bool for_ever) {
    const unsigned runs = sweep(&(struct fault){entry, error, for_ever, false, MEMGUARD_BACKEND_LOCKED, MEMGUARD_NO_THREAD});
    CHECK(runs + sweep(&(struct fault){entry, error, for_ever, false, MEMGUARD_BACKEND_AUTO, 0}) > 0);
}

#define SWEEP(name, entry, error)                                                                                      \
    TEST(name##_fails_once) { sweep_all(entry, error, false); }                                                        \
    TEST(name##_fails_for_ever) { sweep_all(entry, error, true); }

SWEEP(mmap_enomem, MMAP, ENOMEM)
SWEEP(mmap_eagain, MMAP, EAGAIN)
SWEEP(munmap, MUNMAP, ENOMEM)
SWEEP(mprotect, MPROTECT, ENOMEM)
SWEEP(mremap, MREMAP, ENOMEM)
SWEEP(madvise_einval, MADVISE, EINVAL)
SWEEP(madvise_enomem, MADVISE, ENOMEM)
SWEEP(mlock_enomem, MLOCK, ENOMEM)
SWEEP(mlock_eagain, MLOCK, EAGAIN)
SWEEP(mlock_eperm, MLOCK, EPERM)
SWEEP(memfd_secret_enosys, MEMFD_SECRET, ENOSYS)
SWEEP(memfd_secret_emfile, MEMFD_SECRET, EMFILE)
SWEEP(ftruncate, FTRUNCATE, EINVAL)
SWEEP(close, CLOSE, EIO)
SWEEP(getrandom, GETRANDOM, ENOSYS)
SWEEP(getrlimit, GETRLIMIT, EINVAL)
SWEEP(setrlimit, SETRLIMIT, EPERM)
SWEEP(thread_create, THREAD, EAGAIN)
SWEEP(membarrier, MEMBARRIER, EPERM)

TEST(repeated_failures_leak_nothing) {
    static const struct fault faults[] = {
        {MMAP, ENOMEM, false, true, MEMGUARD_BACKEND_LOCKED, MEMGUARD_NO_THREAD},
        {MPROTECT, ENOMEM, false, true, MEMGUARD_BACKEND_LOCKED, MEMGUARD_NO_THREAD},
        {MADVISE, ENOMEM, false, true, MEMGUARD_BACKEND_LOCKED, MEMGUARD_NO_THREAD},
        {MLOCK, ENOMEM, false, true, MEMGUARD_BACKEND_LOCKED, MEMGUARD_NO_THREAD},
        {MEMFD_SECRET, EMFILE, false, true, MEMGUARD_BACKEND_AUTO, MEMGUARD_NO_THREAD},
        {GETRANDOM, ENOSYS, false, true, MEMGUARD_BACKEND_LOCKED, MEMGUARD_NO_THREAD},
    };
    if (CHECK_SANITIZED) SKIP("too long under a sanitizer, and mlock does nothing there");
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) CHECK(sweep(&faults[i]) > 0 || faults[i].entry == MEMFD_SECRET);
}

/* A control: with nothing failing the scenario finds nothing and reaches what it should. */
TEST(scenario_runs_clean_without_failures) {
    fault = (struct fault){ENTRIES, 0, false, false, MEMGUARD_BACKEND_AUTO, 0};
    at = 0;
    CHECK(check_exited(check_child(run_once, NULL), UNTOUCHED));
    CHECK(print_findings() == 0);
}

int main(void) {
    findings = mmap(NULL, sizeof *findings * MOST_FINDINGS, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (findings == MAP_FAILED) return 1;
    RUN(scenario_runs_clean_without_failures);
#define RUN_SWEEP(name) RUN(name##_fails_once), RUN(name##_fails_for_ever)
    RUN_SWEEP(mmap_enomem);
    RUN_SWEEP(mmap_eagain);
    RUN_SWEEP(munmap);
    RUN_SWEEP(mprotect);
    RUN_SWEEP(mremap);
    RUN_SWEEP(madvise_einval);
    RUN_SWEEP(madvise_enomem);
    RUN_SWEEP(mlock_enomem);
    RUN_SWEEP(mlock_eagain);
    RUN_SWEEP(mlock_eperm);
    RUN_SWEEP(memfd_secret_enosys);
    RUN_SWEEP(memfd_secret_emfile);
    RUN_SWEEP(ftruncate);
    RUN_SWEEP(close);
    RUN_SWEEP(getrandom);
    RUN_SWEEP(getrlimit);
    RUN_SWEEP(setrlimit);
    RUN_SWEEP(thread_create);
    RUN_SWEEP(membarrier);
    RUN(repeated_failures_leak_nothing);
    return check_end();
}
