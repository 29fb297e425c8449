/* The first segment of the handle table, with each call that makes it refused in turn: there is no entry and an error that says why,
 * or an entry; and when the system gives again, so does the table. Each refusal in a child of its own, where nothing was made yet. */
#include "../unit/white.h"

static struct mg__sys_table real;
static int left;        /* calls that still work; -1: all do */
static int failed_call; /* 1: one was refused */

static int is_refused(void) {
    if (left != 0) {
        left -= left > 0;
        return 0;
    }
    failed_call = 1;
    left = -1;
    errno = ENOMEM;
    return 1;
}

static void *map(void *a, size_t n, int p, int f, int d, long o) { return is_refused() ? MAP_FAILED : real.mmap(a, n, p, f, d, o); }
static int unmap(void *a, size_t n) { return is_refused() ? -1 : real.munmap(a, n); }
static int protect(void *a, size_t n, int p) { return is_refused() ? -1 : real.mprotect(a, n, p); }
static int advise(void *a, size_t n, int advice) { return is_refused() ? -1 : real.madvise(a, n, advice); }

static int claim_once(void) {
    memguard_status status = MEMGUARD_OK;
    struct mg__entry *entry = mg__entry_claim(0, MG_OBJECT_SECRET, &status);
    CHECK((entry == NULL) == (status != MEMGUARD_OK));
    CHECK(status == MEMGUARD_OK || status == MEMGUARD_ERR_MEMORY);
    if (entry == NULL) return 0;
    CHECK(mg__entry_at(mg__entry_id(entry)) == entry && mg__entry_by_index(mg__entry_index(entry)) == entry);
    mg__entry_free(entry);
    return 1;
}

/* 2: nothing was refused, the call number is past the last. */
static int with_refusal(void *arg) {
    real = mg__sys_table;
    mg__sys_table.mmap = map;
    mg__sys_table.munmap = unmap;
    mg__sys_table.mprotect = protect;
    mg__sys_table.madvise = advise;
    left = *(const int *)arg;
    const int made = claim_once();
    if (!failed_call) return made ? 2 : 3;
    left = -1;
    return claim_once() ? 0 : 4;
}

TEST(each_refused_call_for_the_first_segment_is_an_error_or_harmless) {
    int number = 0, status = 0;
    for (; number < 20; number++) {
        status = check_child(with_refusal, &number);
        if (check_exited(status, 2)) break;
        CHECK(check_exited(status, 0));
    }
    CHECK(number >= 4 && check_exited(status, 2));
}

/* The kernel was built without huge pages: nothing is wrong. */
static int advise_without_huge_pages(void *a, size_t n, int advice) {
    if (advice != MADV_HUGEPAGE && advice != MADV_NOHUGEPAGE) return real.madvise(a, n, advice);
    failed_call = 1;
    errno = EINVAL;
    return -1;
}

enum { MANY = 40000 }; /* more than fit into a huge page */

static int without_huge_pages(void *arg) {
    memguard_status status = MEMGUARD_OK;
    (void)arg;
    real = mg__sys_table;
    mg__sys_table.madvise = advise_without_huge_pages;
    for (int i = 0; i < MANY && status == MEMGUARD_OK; i++)
        CHECK(mg__entry_claim(0, MG_OBJECT_SECRET, &status) != NULL);
    CHECK_STATUS(status, MEMGUARD_OK);
    return failed_call ? 0 : 1;
}

TEST(a_kernel_without_huge_pages_is_no_error) { CHECK(check_exited(check_child(without_huge_pages, NULL), 0)); }

/* What was asked for: a flag of the first mapping of the table in /proc/self/smaps. */
static int is_flagged(const void *address, const char *flag) {
    char line[512];
    FILE *file = fopen("/proc/self/smaps", "r");
    int in_it = 0, found = 0;
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        unsigned long low = 0, high = 0;
        if (sscanf(line, "%lx-%lx ", &low, &high) == 2) in_it = low <= (uintptr_t)address && (uintptr_t)address < high;
        if (in_it && strncmp(line, "VmFlags:", 8) == 0) found = strstr(line, flag) != NULL;
    }
    if (file != NULL) fclose(file);
    return found;
}

static int offers(void *arg) {
    memguard_status status = MEMGUARD_OK;
    struct mg__entry *first = mg__entry_claim(0, MG_OBJECT_SECRET, &status), *last = first;
    (void)arg;
    if (first == NULL) return 1;
    CHECK(is_flagged(first, " nh") && !is_flagged(first, " hg"));
    for (int i = 1; i < MANY && last != NULL; i++)
        last = mg__entry_claim(0, MG_OBJECT_SECRET, &status);
    CHECK(last != NULL && is_flagged(first, " hg"));
    CHECK(is_flagged(last, " nh") && is_flagged(mg__entry_extra(first), " nh")); /* not full; few are used */
    return 0;
}

TEST(full_pages_of_the_table_are_offered_as_huge_ones_and_no_others) {
    if (access("/sys/kernel/mm/transparent_hugepage/enabled", R_OK) != 0) SKIP("no huge pages here");
    CHECK(check_exited(check_child(offers, NULL), 0));
}

int main(void) {
    RUN(each_refused_call_for_the_first_segment_is_an_error_or_harmless);
    RUN(a_kernel_without_huge_pages_is_no_error);
    RUN(full_pages_of_the_table_are_offered_as_huge_ones_and_no_others);
    return check_end();
}
