/* The operations of memguard that are measured. Each call's status is checked, and what it shows is compared with what was put in.
 * Two vaults: one with default options, one STRICT. */
#include "bench.h"

#include <stdlib.h>

enum { MOST_TAKEN = 4096, TAKEN_BYTES = 4 << 20, LEASE_IS_OVER_NS = 5000000 };

static memguard_vault *vault, *strict;
static unsigned char *contents, *sources; /* LARGE bytes; TAKEN_BYTES bytes, as much as is taken in a batch */
static memguard_secret taken[MOST_TAKEN];

struct bench_secret bench_sealed_small;
static struct bench_secret sealed_other, sealed_again, sealed_medium, sealed_large, sealed_strict, closed, mapped,
    compact;

static struct bench_secret make(memguard_vault *where, size_t bytes, uint32_t rest) {
    struct bench_secret made = {.expected = bench_fingerprint(contents, bytes)};
    bench_must(memguard_secret_copy(where, contents, bytes, rest, &made.secret), "secret_copy");
    return made;
}

static void make_secrets(void) {
    bench_sealed_small = make(vault, SMALL, MEMGUARD_SEALED);
    sealed_other = make(vault, SMALL, MEMGUARD_SEALED);
    sealed_again = bench_sealed_small;
    sealed_medium = make(vault, MEDIUM, MEMGUARD_SEALED);
    sealed_large = make(vault, LARGE, MEMGUARD_SEALED);
    sealed_strict = make(strict, SMALL, MEMGUARD_SEALED);
    closed = make(vault, SMALL, MEMGUARD_CLOSED);
    mapped = make(vault, SMALL, MEMGUARD_MAPPED);
    compact = make(vault, SMALL, MEMGUARD_COMPACT);
}

void bench_ours_start(void) {
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    bench_must(memguard_vault_create(&options, &vault), "vault_create");
    options.flags = MEMGUARD_STRICT;
    bench_must(memguard_vault_create(&options, &strict), "vault_create, strict");
    contents = malloc(LARGE);
    sources = malloc(TAKEN_BYTES);
    if (contents == NULL || sources == NULL) bench_fail("malloc");
    bench_fill(contents, LARGE);
    make_secrets();
}

void bench_ours_stop(void) {
    bench_must(memguard_vault_destroy(&vault), "vault_destroy");
    bench_must(memguard_vault_destroy(&strict), "vault_destroy, strict");
    free(contents);
    free(sources);
}

void bench_ours_report(memguard_report *report) { bench_must(memguard_vault_report(vault, report), "vault_report"); }

static void right(const struct bench_secret *secret) {
    if (secret->wrong != 0) bench_fail("the bytes shown are not those that were put in");
}

/* ---- use ---- */

static int look(const void *bytes, size_t size, void *arg) {
    struct bench_secret *secret = arg;
    secret->wrong |= bench_fingerprint(bytes, size) ^ secret->expected;
    return 1;
}

void bench_run_use(size_t n, void *arg) {
    struct bench_secret *secret = arg;
    int seen = 0, result = 0;
    for (size_t i = 0; i < n; i++) {
        bench_must(memguard_secret_use(secret->secret, look, secret, &result), "secret_use");
        seen += result;
    }
    if ((size_t)seen != n) bench_fail("a function was not called");
    right(secret);
}

/* Not asleep: the processor stays as fast as it is, while the housekeeper ends the lease. */
static void let_lease_end(size_t n, void *arg) {
    const uint64_t start = bench_now_ns();
    (void)n;
    (void)arg;
    while (bench_now_ns() - start < LEASE_IS_OVER_NS) {
    }
}

const struct bench_op bench_use_small = {.name = "use", .run = bench_run_use, .arg = &bench_sealed_small};
const struct bench_op bench_use_other = {.name = "use", .run = bench_run_use, .arg = &sealed_other};
const struct bench_op bench_use_again = {.name = "use", .run = bench_run_use, .arg = &sealed_again};
const struct bench_op bench_use_medium = {.name = "use", .run = bench_run_use, .arg = &sealed_medium};
const struct bench_op bench_use_large = {.name = "use", .run = bench_run_use, .arg = &sealed_large};
const struct bench_op bench_use_strict = {.name = "use", .run = bench_run_use, .arg = &sealed_strict};
const struct bench_op bench_use_first = {
    .name = "use", .run = bench_run_use, .before = let_lease_end, .arg = &bench_sealed_small, .most = 1};

/* ---- take ---- */

struct taking {
    size_t bytes;
    uint64_t expected;
};
static struct taking small = {SMALL, 0}, medium = {MEDIUM, 0}, large = {LARGE, 0};

static void before_take(size_t n, void *arg) {
    const struct taking *taking = arg;
    for (size_t i = 0; i < n; i++)
        memcpy(sources + i * taking->bytes, contents, taking->bytes);
}

static void run_take(size_t n, void *arg) {
    const struct taking *taking = arg;
    for (size_t i = 0; i < n; i++)
        bench_must(memguard_secret_take(vault, sources + i * taking->bytes, taking->bytes, MEMGUARD_SEALED, &taken[i]),
                   "secret_take");
}

/* The first one of each batch is opened and looked at: it must be right, and the source must be gone. */
static void after_take(size_t n, void *arg) {
    const struct taking *taking = arg;
    struct bench_secret first = {taken[0], bench_fingerprint(contents, taking->bytes), 0};
    bench_run_use(1, &first);
    if (bench_fingerprint(sources, taking->bytes) != 0) bench_fail("the source was not wiped");
    for (size_t i = 0; i < n; i++)
        bench_must(memguard_secret_destroy(&taken[i]), "secret_destroy");
}

static void run_take_destroy(size_t n, void *arg) {
    const struct taking *taking = arg;
    for (size_t i = 0; i < n; i++) {
        memguard_secret secret;
        memcpy(sources, contents, taking->bytes);
        bench_must(memguard_secret_take(vault, sources, taking->bytes, MEMGUARD_SEALED, &secret), "secret_take");
        bench_must(memguard_secret_destroy(&secret), "secret_destroy");
    }
}

const struct bench_op bench_take_small = {
    .name = "take", .run = run_take, .before = before_take, .after = after_take, .arg = &small, .most = MOST_TAKEN};
const struct bench_op bench_take_medium = {.name = "take",
                                           .run = run_take,
                                           .before = before_take,
                                           .after = after_take,
                                           .arg = &medium,
                                           .most = TAKEN_BYTES / MEDIUM};
const struct bench_op bench_take_large = {.name = "take",
                                          .run = run_take,
                                          .before = before_take,
                                          .after = after_take,
                                          .arg = &large,
                                          .most = TAKEN_BYTES / LARGE};
const struct bench_op bench_take_destroy = {.name = "take + destroy", .run = run_take_destroy, .arg = &small};

/* ---- views ---- */

static void run_read(size_t n, void *arg) {
    struct bench_secret *secret = arg;
    for (size_t i = 0; i < n; i++) {
        memguard_view view;
        bench_must(memguard_secret_acquire(secret->secret, MEMGUARD_READ, &view), "secret_acquire, READ");
        (void)look(view.data, view.size, secret);
        bench_must(memguard_view_release(&view), "view_release");
    }
    right(secret);
}

static void touch(memguard_secret secret) {
    memguard_view view;
    bench_must(memguard_secret_acquire(secret, MEMGUARD_WRITE, &view), "secret_acquire, WRITE");
    memcpy(view.data, contents, view.size);
    bench_keep(view.data);
    bench_must(memguard_view_release(&view), "view_release");
}

static void run_write(size_t n, void *arg) {
    const struct bench_secret *secret = arg;
    for (size_t i = 0; i < n; i++)
        touch(secret->secret);
}

const struct bench_op bench_read_sealed = {.name = "READ view", .run = run_read, .arg = &bench_sealed_small};
const struct bench_op bench_read_closed = {.name = "READ view", .run = run_read, .arg = &closed};
const struct bench_op bench_read_mapped = {.name = "READ view", .run = run_read, .arg = &mapped};
const struct bench_op bench_read_compact = {.name = "READ view", .run = run_read, .arg = &compact};
const struct bench_op bench_write_closed = {.name = "WRITE view", .run = run_write, .arg = &closed};

/* ---- making and destroying ---- */

static uint32_t rests[] = {MEMGUARD_SEALED, MEMGUARD_CLOSED, MEMGUARD_MAPPED, MEMGUARD_COMPACT};

static void run_create(size_t n, void *arg) {
    const uint32_t *rest = arg;
    for (size_t i = 0; i < n; i++) {
        memguard_secret secret;
        bench_must(memguard_secret_create(vault, SMALL, *rest, &secret), "secret_create");
        bench_must(memguard_secret_destroy(&secret), "secret_destroy");
    }
}

static void run_copy(size_t n, void *arg) {
    const uint32_t *rest = arg;
    for (size_t i = 0; i < n; i++) {
        memguard_secret secret;
        bench_must(memguard_secret_copy(vault, contents, SMALL, *rest, &secret), "secret_copy");
        bench_must(memguard_secret_destroy(&secret), "secret_destroy");
    }
}

static void run_touch(size_t n, void *arg) {
    const uint32_t *rest = arg;
    for (size_t i = 0; i < n; i++) {
        memguard_secret secret;
        bench_must(memguard_secret_create(vault, SMALL, *rest, &secret), "secret_create");
        touch(secret);
        bench_must(memguard_secret_destroy(&secret), "secret_destroy");
    }
}

void bench_run_copy_closed(size_t n, void *arg) {
    (void)arg;
    run_copy(n, &rests[MEMGUARD_CLOSED]);
}

static void run_vault(size_t n, void *arg) {
    (void)arg;
    for (size_t i = 0; i < n; i++) {
        memguard_vault *made = NULL;
        bench_must(memguard_vault_create(NULL, &made), "vault_create");
        bench_must(memguard_vault_destroy(&made), "vault_destroy");
    }
}

const struct bench_op bench_create_closed = {
    .name = "create + destroy", .run = run_create, .arg = &rests[MEMGUARD_CLOSED]};
const struct bench_op bench_copy_closed = {.name = "copy + destroy", .run = run_copy, .arg = &rests[MEMGUARD_CLOSED]};
const struct bench_op bench_touch_closed = {
    .name = "create + WRITE + destroy", .run = run_touch, .arg = &rests[MEMGUARD_CLOSED]};
const struct bench_op bench_create_mapped = {
    .name = "create + destroy", .run = run_create, .arg = &rests[MEMGUARD_MAPPED]};
const struct bench_op bench_create_compact = {
    .name = "create + destroy", .run = run_create, .arg = &rests[MEMGUARD_COMPACT]};
const struct bench_op bench_copy_compact = {.name = "copy + destroy", .run = run_copy, .arg = &rests[MEMGUARD_COMPACT]};
const struct bench_op bench_vault = {.name = "vault create + destroy", .run = run_vault};
