/* The operations of memguard that are measured. Each call's status is checked, and what it shows is compared with what was put in.
 * Two vaults: one with default options, one STRICT. */
#include "bench.h"

#include <stdlib.h>

enum { MOST_TAKEN = 4096, TAKEN_BYTES = 4 << 20, LEASE_IS_OVER_NS = 5000000 };

static memguard_vault *vault, *strict;
static unsigned char *contents;

struct bench_secret bench_sealed_small;
static struct bench_secret sealed_other, sealed_again, sealed_medium, sealed_large, sealed_strict, closed, mapped,
    mapped_other, mapped_again, compact, compact_other, compact_again;

static const char *make(memguard_vault *where, struct bench_secret *made, size_t bytes, uint32_t rest) {
    const memguard_status status = memguard_secret_copy(where, contents, bytes, rest, &made->secret);
    if (status == MEMGUARD_ERR_LOCK_LIMIT) return "not enough lockable memory (ulimit -l)";
    bench_must(status, "secret_copy");
    made->expected = bench_fingerprint(contents, bytes);
    made->wrong = 0;
    return NULL;
}

const char *bench_secret_make(struct bench_secret *made, size_t bytes, uint32_t rest) {
    return make(vault, made, bytes, rest);
}

static void make_secret(memguard_vault *where, struct bench_secret *made, size_t bytes, uint32_t rest) {
    const char *why = make(where, made, bytes, rest);
    if (why != NULL) bench_fail(why);
}

static void make_secrets(void) {
    make_secret(vault, &bench_sealed_small, SMALL, MEMGUARD_SEALED);
    make_secret(vault, &sealed_other, SMALL, MEMGUARD_SEALED);
    sealed_again = bench_sealed_small;
    make_secret(vault, &sealed_medium, MEDIUM, MEMGUARD_SEALED);
    make_secret(vault, &sealed_large, LARGE, MEMGUARD_SEALED);
    make_secret(strict, &sealed_strict, SMALL, MEMGUARD_SEALED);
    make_secret(vault, &closed, SMALL, MEMGUARD_CLOSED);
    make_secret(vault, &mapped, SMALL, MEMGUARD_MAPPED);
    make_secret(vault, &mapped_other, SMALL, MEMGUARD_MAPPED);
    mapped_again = mapped;
    make_secret(vault, &compact, SMALL, MEMGUARD_COMPACT);
    make_secret(vault, &compact_other, SMALL, MEMGUARD_COMPACT);
    compact_again = compact;
}

void bench_ours_start(void) {
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    options.flags = MEMGUARD_RAISE_LIMIT;
    bench_must(memguard_vault_create(&options, &vault), "vault_create");
    options.flags |= MEMGUARD_STRICT;
    bench_must(memguard_vault_create(&options, &strict), "vault_create, strict");
    contents = bench_malloc(HUGE_BYTES);
    bench_fill(contents, HUGE_BYTES);
    make_secrets();
}

void bench_ours_stop(void) {
    bench_must(memguard_vault_destroy(&vault), "vault_destroy");
    bench_must(memguard_vault_destroy(&strict), "vault_destroy, strict");
    free(contents);
}

void bench_ours_report(memguard_report *report) { bench_must(memguard_vault_report(vault, report), "vault_report"); }
const unsigned char *bench_contents(void) { return contents; }

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

static const char *can_use(void *arg) {
    struct bench_secret *secret = arg;
    int result = 0;
    const memguard_status status = memguard_secret_use(secret->secret, look, secret, &result);
    if (status == MEMGUARD_ERR_LOCK_LIMIT) return "not enough lockable memory (ulimit -l)";
    bench_must(status, "secret_use");
    return NULL;
}

/* Not asleep: the processor stays as fast as it is, while the housekeeper ends the lease. */
static void let_lease_end(size_t n, void *arg) {
    const uint64_t start = bench_now_ns();
    (void)n, (void)arg;
    while (bench_now_ns() - start < LEASE_IS_OVER_NS) {
    }
}

#define USE(of)                                                                                                        \
    { .name = "use", .start = can_use, .run = bench_run_use, .arg = &(of) }

const struct bench_op bench_use_small = USE(bench_sealed_small);
const struct bench_op bench_use_other = USE(sealed_other);
const struct bench_op bench_use_again = USE(sealed_again);
const struct bench_op bench_use_medium = USE(sealed_medium);
const struct bench_op bench_use_large = USE(sealed_large);
const struct bench_op bench_use_strict = USE(sealed_strict);
const struct bench_op bench_use_first = {
    .name = "use", .run = bench_run_use, .before = let_lease_end, .arg = &bench_sealed_small, .most = 1};

/* ---- take ---- */

static struct bench_taking take_small = {.bytes = SMALL, .most = MOST_TAKEN},
                           take_other = {.bytes = SMALL, .most = MOST_TAKEN},
                           take_medium = {.bytes = MEDIUM, .most = TAKEN_BYTES / MEDIUM},
                           take_large = {.bytes = LARGE, .most = TAKEN_BYTES / LARGE};

const char *bench_take_start(void *arg) {
    struct bench_taking *taking = arg;
    if (taking->sources != NULL) return NULL;
    taking->sources = bench_malloc(taking->bytes * taking->most);
    taking->taken = bench_malloc(sizeof(memguard_secret) * taking->most);
    taking->expected = bench_fingerprint(contents, taking->bytes);
    return NULL;
}

void bench_take_before(size_t n, void *arg) {
    const struct bench_taking *taking = arg;
    for (size_t i = 0; i < n; i++)
        memcpy(taking->sources + i * taking->bytes, contents, taking->bytes);
}

void bench_take_run(size_t n, void *arg) {
    const struct bench_taking *taking = arg;
    for (size_t i = 0; i < n; i++)
        bench_must(memguard_secret_take(vault, taking->sources + i * taking->bytes, taking->bytes, MEMGUARD_SEALED,
                                        &taking->taken[i]),
                   "secret_take");
}

/* Looks at the first one of each batch, where it can be opened here. */
static void look_at_taken(const struct bench_taking *taking) {
    struct bench_secret first = {taking->taken[0], taking->expected, 0};
    int result = 0;
    const memguard_status status = memguard_secret_use(first.secret, look, &first, &result);
    if (status == MEMGUARD_ERR_LOCK_LIMIT) return;
    bench_must(status, "secret_use");
    right(&first);
}

/* The bytes must be right, and the source must be gone. */
void bench_take_after(size_t n, void *arg) {
    const struct bench_taking *taking = arg;
    if (n == 0) return;
    look_at_taken(taking);
    if (bench_fingerprint(taking->sources, taking->bytes) != 0) bench_fail("the source was not wiped");
    for (size_t i = 0; i < n; i++)
        bench_must(memguard_secret_destroy(&taking->taken[i]), "secret_destroy");
}

static void run_take_destroy(size_t n, void *arg) {
    const struct bench_taking *taking = arg;
    for (size_t i = 0; i < n; i++) {
        memguard_secret secret;
        memcpy(taking->sources, contents, taking->bytes);
        bench_must(memguard_secret_take(vault, taking->sources, taking->bytes, MEMGUARD_SEALED, &secret),
                   "secret_take");
        bench_must(memguard_secret_destroy(&secret), "secret_destroy");
    }
}

#define TAKE(of, count)                                                                                                \
    {                                                                                                                  \
        .name = "take", .start = bench_take_start, .run = bench_take_run, .before = bench_take_before,                 \
        .after = bench_take_after, .arg = &(of), .most = (count)                                                       \
    }

const struct bench_op bench_take_small = TAKE(take_small, MOST_TAKEN);
const struct bench_op bench_take_other = TAKE(take_other, MOST_TAKEN);
const struct bench_op bench_take_medium = TAKE(take_medium, TAKEN_BYTES / MEDIUM);
const struct bench_op bench_take_large = TAKE(take_large, TAKEN_BYTES / LARGE);
const struct bench_op bench_take_destroy = {
    .name = "take + destroy", .start = bench_take_start, .run = run_take_destroy, .arg = &take_small};

/* ---- views ---- */

void bench_run_read(size_t n, void *arg) {
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

#define READ(of)                                                                                                       \
    { .name = "READ view", .run = bench_run_read, .arg = &(of) }

const struct bench_op bench_read_sealed = READ(bench_sealed_small);
const struct bench_op bench_read_sealed_other = READ(sealed_other);
const struct bench_op bench_read_closed = READ(closed);
const struct bench_op bench_read_mapped = READ(mapped);
const struct bench_op bench_read_mapped_other = READ(mapped_other);
const struct bench_op bench_read_mapped_again = READ(mapped_again);
const struct bench_op bench_read_compact = READ(compact);
const struct bench_op bench_read_compact_other = READ(compact_other);
const struct bench_op bench_read_compact_again = READ(compact_again);
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

static void run_vault(size_t n, void *arg) {
    (void)arg;
    for (size_t i = 0; i < n; i++) {
        memguard_vault *made = NULL;
        bench_must(memguard_vault_create(NULL, &made), "vault_create");
        bench_must(memguard_vault_destroy(&made), "vault_destroy");
    }
}

#define LIFE(title, how, rest)                                                                                         \
    { .name = (title), .run = (how), .arg = &rests[rest] }

const struct bench_op bench_create_closed = LIFE("create + destroy", run_create, MEMGUARD_CLOSED);
const struct bench_op bench_copy_closed = LIFE("copy + destroy", run_copy, MEMGUARD_CLOSED);
const struct bench_op bench_touch_closed = LIFE("create + WRITE + destroy", run_touch, MEMGUARD_CLOSED);
const struct bench_op bench_create_mapped = LIFE("create + destroy", run_create, MEMGUARD_MAPPED);
const struct bench_op bench_create_compact = LIFE("create + destroy", run_create, MEMGUARD_COMPACT);
const struct bench_op bench_copy_compact = LIFE("copy + destroy", run_copy, MEMGUARD_COMPACT);
const struct bench_op bench_vault = {.name = "vault create + destroy", .run = run_vault};
