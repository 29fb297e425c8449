/* test_process_view.c: what the kernel says about this process agrees with what the report says: flags and rights of
 * the pages, locked memory, threads, descriptors. Read from /proc/self; the locking parts need a plain build. */
#define _GNU_SOURCE
#include "api/support.h"

enum { SIZE = 100 };

/* ---- /proc/self/smaps ---------------------------------------------------------------------------------- */

typedef struct region {
    uintptr_t start, end;
    char rights[8], flags[256];
} region;

/* The mapping in which `p` lies; all zero if there is none. */
static region region_of(const void *p) {
    char line[1024];
    region found = {0, 0, "", ""}, now = found;
    FILE *smaps = fopen("/proc/self/smaps", "r");
    while (smaps != NULL && fgets(line, sizeof line, smaps) != NULL) {
        unsigned long start = 0, end = 0;
        char rights[8] = "";
        if (sscanf(line, "%lx-%lx %7s", &start, &end, rights) == 3) {
            now.start = start, now.end = end;
            memcpy(now.rights, rights, sizeof now.rights);
        } else if (strncmp(line, "VmFlags:", 8) == 0 && now.start <= (uintptr_t)p && (uintptr_t)p < now.end) {
            found = now;
            snprintf(found.flags, sizeof found.flags, "%.250s", line + 8);
        }
    }
    if (smaps != NULL) fclose(smaps);
    return found;
}

static int has_flag(const region *r, const char *two_letters) {
    char wanted[8];
    snprintf(wanted, sizeof wanted, " %s ", two_letters);
    return strstr(r->flags, wanted) != NULL;
}
static int has_rights(const region *r, const char *three_letters) { return strncmp(r->rights, three_letters, 3) == 0; }

/* Every protection that the report states is one that the kernel knows about this page. */
static void check_flags(const void *p, uint32_t protections) {
    region r = region_of(p);
    int good = CHECK(r.end != 0);
    if ((protections & MEMGUARD_PROTECT_LOCKED) != 0) good &= CHECK(CHECK_SANITIZED || has_flag(&r, "lo"));
    if ((protections & MEMGUARD_PROTECT_NODUMP) != 0) good &= CHECK(has_flag(&r, "dd"));
    if ((protections & MEMGUARD_PROTECT_NOFORK) != 0) good &= CHECK(has_flag(&r, "dc") || has_flag(&r, "wf"));
    good &= CHECK(!has_flag(&r, "mg") && !has_flag(&r, "hg") && !has_flag(&r, "ex"));
    if (!good) printf("that was %lx-%lx %s%s", (unsigned long)r.start, (unsigned long)r.end, r.rights, r.flags);
}

static memguard_vault *vault_on(uint32_t backend) {
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    memguard_vault *vault = NULL;
    options.backend = backend;
    memguard_status status = memguard_vault_create(&options, &vault);
    if (backend == MEMGUARD_BACKEND_SECRETMEM && status == MEMGUARD_ERR_UNSUPPORTED) {
        printf("no secret memory on this machine\n");
        return NULL;
    }
    CHECK_STATUS(status, MEMGUARD_OK);
    return vault;
}

/* What a core would hold of anonymous memory that was ever written to (core(5)): all of a mapping, or nothing. */
static size_t dumped_bytes(void) {
    char line[1024], rights[8] = "";
    unsigned long start = 0, end = 0, written = 0, kib = 0;
    size_t sum = 0;
    FILE *smaps = fopen("/proc/self/smaps", "r");
    while (smaps != NULL && fgets(line, sizeof line, smaps) != NULL) {
        unsigned long from = 0, to = 0;
        if (sscanf(line, "%lx-%lx %7s", &from, &to, rights) == 3)
            start = from, end = to;
        else if (sscanf(line, "Anonymous: %lu kB", &kib) == 1)
            written = kib;
        else if (strncmp(line, "VmFlags:", 8) == 0 && written != 0 && strstr(line, " dd ") == NULL)
            sum += end - start;
    }
    if (smaps != NULL) fclose(smaps);
    return sum;
}

/* ---- the pages ----------------------------------------------------------------------------------------- */

TEST(an_ordinary_page_has_none_of_the_flags) {
    if (CHECK_SANITIZED) SKIP("a sanitizer's heap has flags of its own");
    unsigned char *page = malloc(SIZE);
    if (!CHECK(page != NULL)) return;
    page[0] = 1;
    region r = region_of(page);
    CHECK(has_rights(&r, "rw-"));
    CHECK(!has_flag(&r, "lo") && !has_flag(&r, "dd") && !has_flag(&r, "dc") && !has_flag(&r, "wf"));
    free(page);
}

static int show_flags(const void *bytes, size_t size, void *arg) {
    check_flags(bytes, *(const uint32_t *)arg);
    return ends_at_guard(bytes, size);
}

static void check_views(memguard_vault *vault, uint32_t protections, uint32_t rest, size_t size) {
    memguard_secret secret = secret_make(vault, size, rest, 1);
    memguard_view view = borrow(secret, MEMGUARD_READ);
    check_flags(view.data, protections);
    check_flags((unsigned char *)view.data + size - 1, protections);
    if (rest != MEMGUARD_COMPACT) {
        region page = region_of(view.data), guard = region_of((unsigned char *)view.data + size);
        CHECK(has_rights(&page, "r--"));
        CHECK(guard.end == 0 || has_rights(&guard, "---"));
    }
    give_back(&view);
    view = borrow(secret, MEMGUARD_WRITE);
    region page = region_of(view.data);
    CHECK(has_rights(&page, "rw-"));
    check_flags(view.data, protections);
    give_back(&view);
}

static void check_pages_on(uint32_t backend) {
    memguard_vault *vault = vault_on(backend);
    if (vault == NULL) return;
    uint32_t protections = report_of(vault).protections;
    if (backend != MEMGUARD_BACKEND_PLAIN) CHECK(CHECK_SANITIZED || (protections & MEMGUARD_PROTECT_LOCKED) != 0);
    CHECK((protections & MEMGUARD_PROTECT_NODUMP) != 0 && (protections & MEMGUARD_PROTECT_NOFORK) != 0);
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        int guarded = 0;
        check_views(vault, protections, rest, SIZE);
        check_views(vault, protections, rest, 3 * page_bytes() + 5);
        memguard_secret secret = secret_make(vault, SIZE, rest, 1);
        CHECK_STATUS(memguard_secret_use(secret, show_flags, &protections, &guarded), MEMGUARD_OK);
        CHECK(guarded == 1 || rest == MEMGUARD_COMPACT);
    }
    vault_end(vault);
}

TEST(pages_of_secret_memory_have_the_flags_that_the_report_states) { check_pages_on(MEMGUARD_BACKEND_SECRETMEM); }
TEST(locked_pages_have_the_flags_that_the_report_states) { check_pages_on(MEMGUARD_BACKEND_LOCKED); }
TEST(plain_pages_have_the_flags_that_the_report_states) { check_pages_on(MEMGUARD_BACKEND_PLAIN); }

enum { CLOSED = 40 };
TEST(closed_secrets_lie_in_pages_without_rights_between_borrows) {
    for (uint32_t backend = MEMGUARD_BACKEND_SECRETMEM; backend <= MEMGUARD_BACKEND_PLAIN; backend++) {
        memguard_vault *vault = vault_on(backend);
        const unsigned char *places[CLOSED];
        for (uint32_t i = 0; vault != NULL && i < CLOSED; i++) {
            memguard_secret secret = secret_make(vault, 1 + i * 300, MEMGUARD_CLOSED, i);
            memguard_view view = borrow(secret, i % 2 == 0 ? MEMGUARD_READ : MEMGUARD_WRITE);
            places[i] = view.data;
            CHECK(can_read(places[i]) == 1);
            give_back(&view);
        }
        for (uint32_t i = 0; vault != NULL && i < CLOSED; i++) {
            region first = region_of(places[i]), last = region_of(places[i] + i * 300);
            CHECK(has_rights(&first, "---") && has_rights(&last, "---"));
            CHECK(can_read(places[i]) == 0 && can_read(places[i] + i * 300) == 0);
        }
        if (vault != NULL) vault_end(vault);
    }
}

TEST(mapped_secrets_lie_in_readable_pages_and_in_writable_ones_only_if_asked) {
    memguard_vault *vault = vault_make();
    memguard_view view = borrow(secret_make(vault, SIZE, MEMGUARD_MAPPED, 1), MEMGUARD_READ);
    const void *place = view.data;
    give_back(&view);
    region r = region_of(place);
    CHECK(has_rights(&r, "r--"));
    view = borrow(secret_make(vault, SIZE, MEMGUARD_MAPPED | MEMGUARD_WRITABLE, 1), MEMGUARD_WRITE);
    place = view.data;
    give_back(&view);
    r = region_of(place);
    CHECK(has_rights(&r, "rw-"));
    vault_end(vault);
}

/* ---- locked memory ------------------------------------------------------------------------------------- */

TEST(the_kernel_counts_as_locked_what_the_report_counts) {
    if (CHECK_SANITIZED) SKIP("mlock does nothing under a sanitizer");
    for (uint32_t backend = MEMGUARD_BACKEND_SECRETMEM; backend <= MEMGUARD_BACKEND_LOCKED; backend++) {
        memguard_vault *vault = vault_on(backend);
        if (vault == NULL) continue;
        for (uint32_t i = 0; i < 40; i++) ignore(life(secret_make(vault, 1 + i * 500, i % RESTS, i)));
        CHECK(report_of(vault).lock_in_use_bytes > 0);
        CHECK(report_of(vault).lock_in_use_bytes == status_bytes("VmLck:"));
        CHECK_STATUS(memguard_vault_prepare(vault, 20 * page_bytes(), 4), MEMGUARD_OK);
        CHECK(report_of(vault).lock_in_use_bytes == status_bytes("VmLck:"));
        vault_end(vault);
    }
}

/* ---- threads, descriptors, dispositions ------------------------------------------------------------------ */

TEST(no_thread_means_no_thread) {
    int before = task_count();
    memguard_vault *one = vault_with_flags(MEMGUARD_NO_THREAD), *two = vault_with_flags(MEMGUARD_NO_THREAD);
    memguard_secret secret = secret_make(one, SIZE, 0, 1);
    CHECK(holds_pattern(secret, SIZE, 1));
    CHECK_STATUS(memguard_vault_tick(one, NULL), MEMGUARD_OK);
    CHECK(before > 0 && task_count() == before);
    vault_end(one), vault_end(two);
    CHECK(task_count() == before);
}

TEST(all_vaults_share_one_thread_and_the_last_takes_it_along) {
    int before = task_count();
    for (int round = 0; round < 5; round++) {
        memguard_vault *one = vault_make(), *two = vault_make(), *three = vault_make();
        CHECK(task_count() == before + 1);
        vault_end(two);
        vault_end(one);
        CHECK(task_count() == before + 1);
        vault_end(three);
        CHECK(wait_for_tasks(before));
    }
}

TEST(a_vault_without_a_thread_does_not_keep_the_thread_of_others) {
    int before = task_count();
    memguard_vault *without = vault_with_flags(MEMGUARD_NO_THREAD), *with = vault_make();
    CHECK(task_count() == before + 1);
    vault_end(with);
    CHECK(wait_for_tasks(before) || task_count() == before + 1); /* "the last destroy ends it" */
    vault_end(without);
    CHECK(wait_for_tasks(before));
}

/* The signal mask of the thread that is not this one; 0 if there is none. */
static uint64_t other_threads_mask(void) {
    char path[300], line[256];
    unsigned long long mask = 0;
    DIR *tasks = opendir("/proc/self/task");
    for (struct dirent *entry; tasks != NULL && (entry = readdir(tasks)) != NULL;) {
        if (entry->d_name[0] == '.' || strtol(entry->d_name, NULL, 10) == syscall(SYS_gettid)) continue;
        snprintf(path, sizeof path, "/proc/self/task/%s/status", entry->d_name);
        FILE *status = fopen(path, "r");
        while (status != NULL && fgets(line, sizeof line, status) != NULL) {
            if (strncmp(line, "SigBlk:", 7) == 0) mask = strtoull(line + 7, NULL, 16);
        }
        if (status != NULL) fclose(status);
    }
    if (tasks != NULL) closedir(tasks);
    return mask;
}

TEST(the_thread_blocks_all_signals_but_those_of_crashes) {
    if (CHECK_SANITIZED) SKIP("a sanitizer has threads of its own");
    memguard_vault *vault = vault_make();
    /* A thread begins with everything blocked, and takes its own mask a moment later. */
    const uint64_t segv = (uint64_t)1 << (SIGSEGV - 1);
    uint64_t mask = 0;
    for (uint64_t end = now_ms() + 10000; (mask == 0 || (mask & segv) != 0) && now_ms() < end; sleep_ms(1))
        mask = other_threads_mask();
    for (int number = 1; number <= 64; number++) {
        int exempt = number == SIGKILL || number == SIGSTOP || (number >= 32 && number < SIGRTMIN);
        int crash = number == SIGSEGV || number == SIGBUS || number == SIGABRT || number == SIGILL || number == SIGFPE ||
                    number == SIGSYS || number == SIGTRAP;
        if (!exempt) CHECK((mask >> (number - 1) & 1) == !crash);
    }
    vault_end(vault);
}

static int descriptor_count(void) {
    int count = 0;
    DIR *open = opendir("/proc/self/fd");
    for (struct dirent *entry; open != NULL && (entry = readdir(open)) != NULL;) count += entry->d_name[0] != '.';
    if (open != NULL) closedir(open);
    return count;
}

TEST(no_descriptor_stays_open) {
    int before = descriptor_count();
    for (uint32_t backend = MEMGUARD_BACKEND_AUTO; backend <= MEMGUARD_BACKEND_PLAIN; backend++) {
        memguard_vault *vault = vault_on(backend);
        if (vault == NULL) continue;
        for (uint32_t i = 0; i < 100; i++) {
            CHECK(holds_pattern(secret_make(vault, 1 + i * 100, i % RESTS, i), 1 + i * 100, i));
        }
        CHECK(before > 0 && descriptor_count() == before);
        vault_end(vault);
        CHECK(descriptor_count() == before);
    }
}

typedef struct dispositions {
    void (*handlers[32])(int);
    struct rlimit core, lock;
    int dumpable;
    mode_t mask;
} dispositions;
static dispositions dispositions_now(void) {
    dispositions d;
    memset(&d, 0, sizeof d);
    for (int number = 1; number < 32; number++) {
        struct sigaction action;
        memset(&action, 0, sizeof action);
        if (sigaction(number, NULL, &action) == 0) d.handlers[number] = action.sa_handler;
    }
    getrlimit(RLIMIT_CORE, &d.core);
    getrlimit(RLIMIT_MEMLOCK, &d.lock);
    d.dumpable = prctl(PR_GET_DUMPABLE);
    return d;
}

TEST(nothing_process_wide_is_changed_unasked) {
    dispositions before = dispositions_now();
    memguard_vault *vault = vault_make();
    CHECK(holds_pattern(secret_make(vault, SIZE, 0, 1), SIZE, 1));
    dispositions during = dispositions_now();
    CHECK(memcmp(&before, &during, sizeof before) == 0);
    vault_end(vault);
    dispositions after = dispositions_now();
    CHECK(memcmp(&before, &after, sizeof before) == 0);
}

/* Must come before any vault: tables stay. A core that goes through a pipe has no holes. */
TEST(the_tables_make_a_core_no_more_than_a_mebibyte_longer) {
    if (CHECK_SANITIZED) SKIP("a sanitizer has tables of its own");
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    memguard_vault *vault = NULL;
    options.flags = MEMGUARD_NO_THREAD;
    const size_t before = dumped_bytes();
    CHECK_STATUS(memguard_vault_create(&options, &vault), MEMGUARD_OK);
    for (uint32_t rest = 0; rest < RESTS; rest++)
        (void)secret_make(vault, SIZE, rest, 1);
    const size_t after = dumped_bytes();
    printf("  %zu KiB more\n", (after - before) / 1024);
    CHECK(before > 0 && after >= before && after - before <= 1 << 20);
    vault_end(vault);
}

/* Must be the first of this program: nothing has been made yet. */
TEST(loading_the_library_locks_nothing_and_starts_nothing) {
    if (CHECK_SANITIZED) SKIP("a sanitizer has threads of its own");
    CHECK(task_count() == 1);
    CHECK(status_bytes("VmLck:") == 0);
    CHECK(descriptor_count() <= 4 + 3); /* standard ones, the directory, and what a test runner leaves open */
}

int main(void) {
    RUN(loading_the_library_locks_nothing_and_starts_nothing);
    RUN(the_tables_make_a_core_no_more_than_a_mebibyte_longer);
    RUN(an_ordinary_page_has_none_of_the_flags);
    RUN(pages_of_secret_memory_have_the_flags_that_the_report_states);
    RUN(locked_pages_have_the_flags_that_the_report_states);
    RUN(plain_pages_have_the_flags_that_the_report_states);
    RUN(closed_secrets_lie_in_pages_without_rights_between_borrows);
    RUN(mapped_secrets_lie_in_readable_pages_and_in_writable_ones_only_if_asked);
    RUN(the_kernel_counts_as_locked_what_the_report_counts);
    RUN(no_thread_means_no_thread);
    RUN(all_vaults_share_one_thread_and_the_last_takes_it_along);
    RUN(a_vault_without_a_thread_does_not_keep_the_thread_of_others);
    RUN(the_thread_blocks_all_signals_but_those_of_crashes);
    RUN(no_descriptor_stays_open);
    RUN(nothing_process_wide_is_changed_unasked);
    return check_end();
}
