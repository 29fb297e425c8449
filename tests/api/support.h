/* support.h: what the black-box tests share: patterns, probes of memory that need no signal, makers, waiting.
 * It knows the public header and the harness, nothing else. A file that needs system headers of its own defines
 * _GNU_SOURCE and includes this first. */
#ifndef MEMGUARD_TESTS_API_SUPPORT_H
#define MEMGUARD_TESTS_API_SUPPORT_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "bytes.h"
#include "check.h"

enum { KEK_BYTES = 32, RESTS = 4 };
static const uint8_t right_kek[KEK_BYTES] = {1, 2, 3, 4, 5, 6, 7, 8};
static const uint8_t wrong_kek[KEK_BYTES] = {1, 2, 3, 4, 5, 6, 7, 9};

/* ---- bytes -------------------------------------------------------------------------------------------- */

static inline int is_zero(const void *p, size_t bytes) {
    const unsigned char *at = p;
    for (size_t i = 0; i < bytes; i++) {
        if (at[i] != 0) return 0;
    }
    return 1;
}

static inline size_t page_bytes(void) { return (size_t)sysconf(_SC_PAGESIZE); }

/* ---- probes: what the kernel would say; raw calls, so that no sanitizer looks at the address ----------- */

/* 1: p can be written (it keeps its value), 0: it cannot, -1: no pipe. */
static inline int can_write(void *p) {
    int ends[2];
    if (pipe(ends) != 0) return -1;
    long moved = syscall(SYS_write, ends[1], p, (size_t)1);
    if (moved == 1) moved = syscall(SYS_read, ends[0], p, (size_t)1);
    int error = errno;
    close(ends[0]);
    close(ends[1]);
    if (moved == 1) return 1;
    return error == EFAULT ? 0 : -1;
}

/* 1 when p[size] cannot be read and lies at the start of a page. */
static inline int ends_at_guard(const void *p, size_t size) {
    uintptr_t end = (uintptr_t)p + size;
    return end % page_bytes() == 0 && can_read((const void *)end) == 0;
}

/* Threads of this process that exist now. */
static inline int task_count(void) {
    int count = 0;
    DIR *tasks = opendir("/proc/self/task");
    if (tasks == NULL) return -1;
    for (struct dirent *entry = readdir(tasks); entry != NULL; entry = readdir(tasks)) count += entry->d_name[0] != '.';
    closedir(tasks);
    return count;
}

/* A number of kilobytes from /proc/self/status ("VmLck:"), in bytes; UINT64_MAX if there is none. */
static inline uint64_t status_bytes(const char *name) {
    char line[256];
    unsigned long long kilobytes = 0;
    uint64_t bytes = UINT64_MAX;
    FILE *status = fopen("/proc/self/status", "r");
    while (status != NULL && fgets(line, sizeof line, status) != NULL) {
        if (strncmp(line, name, strlen(name)) != 0 || sscanf(line + strlen(name), "%llu", &kilobytes) != 1) continue;
        bytes = (uint64_t)kilobytes * 1024;
    }
    if (status != NULL) fclose(status);
    return bytes;
}

/* ---- time --------------------------------------------------------------------------------------------- */

static inline uint64_t now_ms(void) {
    struct timespec now = {0, 0};
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static inline void sleep_ms(unsigned ms) {
    struct timespec time = {ms / 1000, (long)(ms % 1000) * 1000000};
    while (nanosleep(&time, &time) != 0 && errno == EINTR) {
    }
}

/* Waits up to ten seconds until *flag has `value`; yields whether it has. */
static inline int wait_for(atomic_int *flag, int value) {
    for (uint64_t end = now_ms() + 10000; atomic_load(flag) != value && now_ms() < end;) sleep_ms(1);
    return atomic_load(flag) == value;
}

static inline int wait_for_tasks(int count) {
    for (uint64_t end = now_ms() + 10000; task_count() != count && now_ms() < end;) sleep_ms(1);
    return task_count() == count;
}

/* ---- statuses ----------------------------------------------------------------------------------------- */

/* A set of statuses as bits. */
#define ANY_OF(status) (1U << (MEMGUARD_##status))
#define CHECK_AMONG(expr, set) check_among((expr), (set), #expr, __FILE__, __LINE__)
static inline int check_among(memguard_status got, uint32_t set, const char *text, const char *file, int line) {
    int good = got >= 0 && got < 32 && (set >> got & 1) != 0;
    if (!good) {
        atomic_fetch_add(&check_bad, 1);
        printf("%s:%d: %s is not allowed: %s\n", file, line, memguard_status_name(got), text);
    }
    return good;
}

/* For calls of which the answer does not matter. */
static inline void ignore(memguard_status status) { (void)status; }

/* ---- makers and lookers -------------------------------------------------------------------------------- */

static inline memguard_vault *vault_with_flags(uint32_t flags) {
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    memguard_vault *vault = NULL;
    options.flags = flags;
    CHECK_STATUS(memguard_vault_create(&options, &vault), MEMGUARD_OK);
    return vault;
}

static inline memguard_vault *vault_make(void) {
    memguard_vault *vault = NULL;
    CHECK_STATUS(memguard_vault_create(NULL, &vault), MEMGUARD_OK);
    CHECK(vault != NULL);
    return vault;
}

static inline void vault_end(memguard_vault *vault) {
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
    CHECK(vault == NULL);
}

/* A secret with the pattern `seed`. */
static inline memguard_secret secret_make(memguard_vault *vault, size_t bytes, uint32_t flags, uint32_t seed) {
    memguard_secret secret = {0};
    unsigned char *source = malloc(bytes);
    if (!CHECK(source != NULL)) return secret;
    fill(source, bytes, seed);
    CHECK_STATUS(memguard_secret_copy(vault, source, bytes, flags, &secret), MEMGUARD_OK);
    free(source);
    return secret;
}

typedef struct expected_bytes {
    const void *bytes; /* null: the pattern `seed` */
    size_t size;
    uint32_t seed;
} expected_bytes;

static inline int show_matches(const void *bytes, size_t size, void *arg) {
    const expected_bytes *expected = arg;
    if (size != expected->size) return 0;
    if (expected->bytes == NULL) return is_pattern(bytes, size, expected->seed);
    return memcmp(bytes, expected->bytes, size) == 0;
}

/* 1 when `use` answers OK and shows exactly these bytes. */
static inline int holds(memguard_secret secret, const void *bytes, size_t size) {
    expected_bytes expected = {bytes, size, 0};
    int same = 0;
    return memguard_secret_use(secret, show_matches, &expected, &same) == MEMGUARD_OK && same == 1;
}

static inline int holds_pattern(memguard_secret secret, size_t size, uint32_t seed) {
    expected_bytes expected = {NULL, size, seed};
    int same = 0;
    return memguard_secret_use(secret, show_matches, &expected, &same) == MEMGUARD_OK && same == 1;
}

static inline int show_nothing(const void *bytes, size_t size, void *arg) {
    (void)bytes, (void)size, (void)arg;
    return 7;
}

/* What memguard_secret_info answers: OK, STALE or EXPIRED tell a secret's life. */
static inline memguard_status life(memguard_secret secret) {
    memguard_info info = MEMGUARD_INFO_INIT;
    return memguard_secret_info(secret, &info);
}

static inline memguard_info info_of(memguard_secret secret) {
    memguard_info info = MEMGUARD_INFO_INIT;
    CHECK_STATUS(memguard_secret_info(secret, &info), MEMGUARD_OK);
    return info;
}

static inline memguard_status use_once(memguard_secret secret) {
    return memguard_secret_use(secret, show_nothing, NULL, NULL);
}

static inline memguard_report report_of(memguard_vault *vault) {
    memguard_report report = {0};
    report.size = sizeof report;
    CHECK_STATUS(memguard_vault_report(vault, &report), MEMGUARD_OK);
    return report;
}

static inline memguard_view borrow(memguard_secret secret, uint32_t access) {
    memguard_view view = {0};
    CHECK_STATUS(memguard_secret_acquire(secret, access, &view), MEMGUARD_OK);
    CHECK(view.data != NULL);
    return view;
}

static inline void give_back(memguard_view *view) {
    CHECK_STATUS(memguard_view_release(view), MEMGUARD_OK);
    CHECK(view->data == NULL && view->size == 0);
}

#endif
