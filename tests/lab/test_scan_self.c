/* test_scan_self.c: at no time is a secret anywhere but in its place. The lives of many secrets, and after each step a search of the
 * whole process for every window of 8 bytes of plaintext, K, x, y, H(x), Ks, subkeys and keystream; see lab/scan.h. */
#define _GNU_SOURCE
#include "lab/subject.h"

#include <time.h>

#ifndef LAB_REPEATS
#ifdef __OPTIMIZE__
#define LAB_REPEATS 50
#else
#define LAB_REPEATS 20 /* the scanner is slow then */
#endif
#endif
enum { REPEATS = LAB_REPEATS, MOST = 100000 };
static const size_t sizes[] = {32, 64, 4096, 5000, MOST};

/* ---- the table of results ---- */

enum { MOST_ROWS = 64 };
struct row {
    const char *state;
    unsigned scans, at_home[SCAN_COLUMNS], strays[SCAN_COLUMNS];
};
static struct row rows[MOST_ROWS];
static int row_count;
static uint64_t bytes_seen, printed;

static struct row *row_of(const char *state) {
    for (int i = 0; i < row_count; i++)
        if (strcmp(rows[i].state, state) == 0) return &rows[i];
    if (row_count == MOST_ROWS) abort();
    rows[row_count].state = state;
    return &rows[row_count++];
}

/* Searches. Plaintext must be in `plain_at` and nowhere else (SCAN_NOWHERE: not at all); x and y in their pages and nowhere else, or,
 * without shares, not at all; everything else nowhere, ever. */
static void look_for_all(const char *state, enum scan_place plain_at, int shares) {
    static struct scan_result result;
    struct row *row = row_of(state);
    int bad = 0;
    scan_memory(&result);
    row->scans++;
    bytes_seen += result.seen_bytes;
    for (enum scan_column column = 0; column < SCAN_COLUMNS; column++) {
        enum scan_place home = SCAN_NOWHERE;
        if (column == SCAN_P) home = plain_at;
        if (column == SCAN_X && shares) home = SCAN_PREKEY;
        if (column == SCAN_Y && shares) home = SCAN_COFFER;
        const unsigned inside = scan_runs_in(&result, column, home), outside = scan_runs_outside(&result, column, home);
        row->at_home[column] += inside != 0;
        row->strays[column] += outside != 0;
        bad |= outside != 0 || (home != SCAN_NOWHERE && inside == 0);
    }
    CHECK(result.unread_bytes == 0);
    if (result.unread_bytes != 0 && printed++ < 20) printf("  unread: %#zx\n", (size_t)result.unread_at);
    if (!CHECK(!bad) && printed++ < 20) scan_print_hits(&result, state);
    scan_drop_registers();
}

static void print_table(void) {
    unsigned total = 0, strays = 0;
    printf("\n%-28s", "");
    for (enum scan_column c = 0; c < SCAN_COLUMNS; c++)
        printf("%9s", scan_column_names[c]);
    printf("    scans, bound (95 %%)\n");
    for (int i = 0; i < row_count; i++) {
        const struct row *row = &rows[i];
        printf("%-28s", row->state);
        for (enum scan_column c = 0; c < SCAN_COLUMNS; c++) {
            char cell[32] = "0";
            if (row->at_home[c] != 0) snprintf(cell, sizeof cell, "[%u]", row->at_home[c]);
            strays += row->strays[c];
            if (row->strays[c] != 0) snprintf(cell, sizeof cell, "!%u", row->strays[c]);
            printf("%9s", cell);
        }
        printf("    %4u, %.4f\n", row->scans, 3.0 / row->scans);
        total += row->scans;
    }
    printf("0: found nowhere. [n]: found in its own place and nowhere else, n times: the positive control. !n: astray "
           "n times.\n"
           "%u scans of %.1f MiB on average. ",
           total, (double)bytes_seen / total / 1048576);
    if (strays == 0)
        printf("No stray in any of them bounds the rate of strays a scan at 3/N = %.5f (95 %%).\n", 3.0 / total);
    if (strays != 0) printf("Strays in %u cells.\n", strays);
    printf("Not seen: registers of other threads, caches, the kernel, copies in a transformed shape.\n\n");
}

/* ---- one life ---- */

static memguard_vault *vault;
static memguard_secret secret;
static size_t size;
static int plain;         /* needle of what the secret holds */
static struct keys keys;  /* of how it is sealed */
static unsigned forms;    /* of plaintexts after the first */
static unsigned snapshot; /* the next one */
static unsigned char static_source[MOST];

/* A call of the library: it succeeds, and the registers are kept as it left them. */
#define CALL(call)                                                                                                     \
    do {                                                                                                               \
        const memguard_status status_ = (call);                                                                        \
        SCAN_REGISTERS_NOW(snapshot++ % SCAN_SNAPSHOTS);                                                               \
        CHECK(status_ == MEMGUARD_OK);                                                                                 \
    } while (0)

static void name_region(enum scan_place place, const struct mg__region *region) {
    scan_unname(place);
    scan_name(place, region->base, region->bytes);
}

/* The page that shows `bytes`. */
static void name_pages(enum scan_place place, const void *bytes, size_t count) {
    const uintptr_t page = mg__sys_page(), from = (uintptr_t)bytes & ~(page - 1);
    scan_unname(place);
    scan_name(place, (const void *)from, ((uintptr_t)bytes + count - from + page - 1) & ~(page - 1));
}

/* New plaintext in a caller's buffer. */
static unsigned char *draw_source(int on_heap) {
    unsigned char *source = on_heap ? malloc(size) : static_source;
    if (source == NULL) abort();
    plain = scan_draw(SCAN_P, size, forms, source);
    scan_unname(SCAN_SOURCE);
    scan_name(SCAN_SOURCE, source, size);
    return source;
}

static void drop_source(unsigned char *source) {
    scan_unname(SCAN_SOURCE);
    if (source != static_source) free(source);
}

static void keys_again(void) {
    const struct keys before = keys;
    keys = find_keys(vault, secret, plain, &before);
    CHECK(scan_equal(before.k, keys.k)); /* the key of a vault stays the same until a purge */
}

static void life_take(int on_heap) {
    unsigned char *source = draw_source(on_heap);
    look_for_all("caller's buffer (control)", SCAN_SOURCE, 0);
    CALL(memguard_secret_take(vault, source, size, MEMGUARD_SEALED, &secret));
    keys = find_keys(vault, secret, plain, NULL);
    CHECK(is_leased(vault));
    look_for_all("taken; leased", SCAN_NOWHERE, 1);
    drop_source(source);
    end_the_lease(vault);
    look_for_all("lease ended", SCAN_NOWHERE, 1);
}

static void life_views(void) {
    memguard_view view = {0};
    CALL(memguard_secret_acquire(secret, MEMGUARD_READ, &view));
    name_pages(SCAN_SLOT, view.data, size);
    look_for_all("READ view (control)", SCAN_SLOT, 1);
    CALL(memguard_view_release(&view));
    look_for_all("READ view released", SCAN_NOWHERE, 1);

    CALL(memguard_secret_acquire(secret, MEMGUARD_WRITE, &view));
    name_pages(SCAN_SLOT, view.data, size);
    look_for_all("WRITE view (control)", SCAN_SLOT, 1);
    plain = scan_draw(SCAN_P, size, forms, view.data);
    CALL(memguard_view_release(&view));
    keys_again();
    look_for_all("WRITE view released", SCAN_NOWHERE, 1);
}

static int look_inside(const void *bytes, size_t count, void *arg) {
    (void)arg;
    name_pages(SCAN_USE_PAGE, bytes, count);
    look_for_all("inside use (control)", SCAN_USE_PAGE, 1);
    return 0;
}

static void job_use(int number) {
    memguard_view view = {0};
    memguard_status status = MEMGUARD_OK;
    for (int i = 0; i < 20; i++) {
        status |= memguard_secret_use(secret, touch_bytes, NULL, NULL);
        SCAN_REGISTERS_NOW(SCAN_SNAPSHOTS - 1 - number);
        status |= memguard_secret_acquire(secret, MEMGUARD_READ, &view);
        status |= memguard_view_release(&view);
    }
    CHECK(status == MEMGUARD_OK);
}

static void *use_and_end(void *unused) {
    CHECK_STATUS(memguard_secret_use(secret, touch_bytes, NULL, NULL), MEMGUARD_OK);
    return unused;
}

static void life_use(void) {
    pthread_t thread;
    CALL(memguard_secret_use(secret, look_inside, NULL, NULL));
    look_for_all("after use", SCAN_NOWHERE, 1);
    for (int i = 0; i < 5; i++)
        CALL(memguard_secret_use(secret, touch_bytes, NULL, NULL));
    look_for_all("after use", SCAN_NOWHERE, 1);
    workers_run(job_use);
    look_for_all("after use by 4 threads", SCAN_NOWHERE, 1);
    if (CHECK(pthread_create(&thread, NULL, use_and_end, NULL) == 0)) CHECK(pthread_join(thread, NULL) == 0);
    look_for_all("after use, thread ended", SCAN_NOWHERE, 1);
    const memguard_status unequal = memguard_secret_equal(secret, static_source, size);
    SCAN_REGISTERS_NOW(0);
    CHECK(unequal == MEMGUARD_ERR_MISMATCH);
    look_for_all("compared", SCAN_NOWHERE, 1);
}

static void life_wrong_tag(void) {
    unsigned char *sealed = mg__entry_sealed(mg__entry_at(secret.id));
    memguard_view view = {0};
    sealed[MG_TAG_BYTES] ^= 1;
    const memguard_status used = memguard_secret_use(secret, touch_bytes, NULL, NULL);
    SCAN_REGISTERS_NOW(0);
    const memguard_status acquired = memguard_secret_acquire(secret, MEMGUARD_READ, &view);
    SCAN_REGISTERS_NOW(1);
    CHECK(used == MEMGUARD_ERR_AUTH && acquired == MEMGUARD_ERR_AUTH);
    sealed[MG_TAG_BYTES] ^= 1;
    look_for_all("refused: wrong tag", SCAN_NOWHERE, 1);
}

static void life_changes(int on_heap) {
    CALL(memguard_secret_resize(secret, size + 37));
    look_for_all("grown", SCAN_NOWHERE, 1);
    CALL(memguard_secret_resize(secret, size / 2));
    look_for_all("shrunk", SCAN_NOWHERE, 1);
    unsigned char *source = draw_source(on_heap);
    CALL(memguard_secret_replace(secret, source, size));
    keys_again();
    look_for_all("replaced", SCAN_NOWHERE, 1);
    drop_source(source);
    source = draw_source(!on_heap);
    CALL(memguard_secret_move_at(secret, 0, source, size));
    keys_again();
    look_for_all("moved in", SCAN_NOWHERE, 1);
    drop_source(source);
}

/* Other contents while it lies open: no cipher call cleans up behind the copying. */
static void move_in(enum scan_place place, const char *state) {
    unsigned char *source = draw_source(1);
    CALL(memguard_secret_move_at(secret, 0, source, size));
    look_for_all(state, place, 1);
    drop_source(source);
}

static void life_rests(void) {
    const struct mg__entry *entry = mg__entry_at(secret.id);
    CALL(memguard_secret_rest(secret, MEMGUARD_CLOSED));
    name_region(SCAN_SLOT, entry->body.region);
    look_for_all("rests CLOSED (control)", SCAN_SLOT, 1);
    move_in(SCAN_SLOT, "CLOSED, moved in (control)");
    CALL(memguard_secret_use(secret, touch_bytes, NULL, NULL));
    CALL(memguard_secret_rest(secret, MEMGUARD_MAPPED));
    name_region(SCAN_SLOT, entry->body.region);
    look_for_all("rests MAPPED (control)", SCAN_SLOT, 1);
    CALL(memguard_secret_rest(secret, MEMGUARD_COMPACT));
    if ((mg__entry_flags(entry) & MG_ENTRY_GUARDED) != 0) {
        name_region(SCAN_COMPACT, entry->body.region);
    } else {
        scan_unname(SCAN_COMPACT);
        scan_name(SCAN_COMPACT, entry->body.data, size);
    }
    CALL(memguard_secret_use(secret, touch_bytes, NULL, NULL));
    look_for_all("rests COMPACT (control)", SCAN_COMPACT, 1);
    move_in(SCAN_COMPACT, "COMPACT, moved in (control)");
    CALL(memguard_secret_rest(secret, MEMGUARD_SEALED));
    keys_again();
    look_for_all("sealed again", SCAN_NOWHERE, 1);
}

struct difference {
    const struct keys *before, *after;
    int needle;
};

static void body_difference(void *arg) {
    const struct difference *d = arg;
    unsigned char a[32], b[32];
    scan_get(d->before->hx, 0, a, 32);
    scan_get(d->after->hx, 0, b, 32);
    for (size_t i = 0; i < 32; i++)
        a[i] ^= b[i];
    scan_set(d->needle, 0, a, 32);
}

static void life_rekey(void) {
    const struct keys before = keys;
    CALL(rekey_now(coffer_of(vault)));
    keys_are_old(&before);
    keys_again();
    struct difference d = {&before, &keys, scan_add(SCAN_OLD, 32, SCAN_ALL_FORMS)};
    scan_call(body_difference, &d);
    scan_index(d.needle);
    look_for_all("re-keyed", SCAN_NOWHERE, 1);
}

struct wrapping {
    const unsigned char *kek;
    int w;
};

static void body_wrapping_key(void *arg) {
    const struct wrapping *wrapping = arg;
    unsigned char w[32];
    mg__crypto_derive(w, MG_DERIVE_WRAP, wrapping->kek);
    scan_set(wrapping->w, 0, w, 32);
}

static void life_lock(void) {
    static unsigned char kek[32], wrong[32];
    const int drawn = scan_draw(SCAN_KEK, 32, SCAN_ALL_FORMS, kek);
    const struct wrapping wrapping = {kek, scan_add(SCAN_W, 32, SCAN_ALL_FORMS)};
    scan_call(body_wrapping_key, (void *)(uintptr_t)&wrapping);
    scan_index(wrapping.w);
    CALL(memguard_vault_lock(vault, kek));
    scan_wipe(kek, sizeof kek);
    look_for_all("locked", SCAN_NOWHERE, 0);
    keys_are_old(&keys);
    const memguard_status refused = memguard_vault_unlock(vault, wrong);
    SCAN_REGISTERS_NOW(snapshot++ % SCAN_SNAPSHOTS);
    CHECK(refused == MEMGUARD_ERR_AUTH);
    look_for_all("not unlocked: wrong kek", SCAN_NOWHERE, 0);
    CHECK(scan_plant(drawn, SCAN_RAW, kek) == sizeof kek);
    CALL(memguard_vault_unlock(vault, kek));
    scan_wipe(kek, sizeof kek);
    keys_again();
    look_for_all("unlocked", SCAN_NOWHERE, 1);
}

/* Made at rest, used, destroyed; and made and destroyed. */
static void life_of_others(int on_heap) {
    static const char *const states[] = {"SEALED destroyed", "CLOSED destroyed", "MAPPED destroyed",
                                         "COMPACT destroyed"};
    const int kept = plain;
    for (uint32_t rest = MEMGUARD_SEALED; rest <= MEMGUARD_COMPACT; rest++) {
        memguard_secret other = {0};
        unsigned char *source = draw_source(on_heap);
        CALL(memguard_secret_copy(vault, source, size, rest, &other));
        scan_wipe(source, size);
        drop_source(source);
        CALL(memguard_secret_use(other, touch_bytes, NULL, NULL));
        CALL(memguard_secret_destroy(&other));
        look_for_all(states[rest], SCAN_NOWHERE, 1);
    }
    plain = kept;
}

/* Contents that go in other ways. */
static void life_of_limited(int on_heap) {
    memguard_limits limits = MEMGUARD_LIMITS_INIT;
    memguard_secret other = {0};
    const int kept = plain;
    unsigned char *source = draw_source(on_heap);
    limits.uses = 1;
    CALL(memguard_secret_take(vault, source, size, MEMGUARD_CLOSED, &other));
    CALL(memguard_secret_limit(other, &limits));
    CALL(memguard_secret_use(other, touch_bytes, NULL, NULL));
    CHECK_STATUS(memguard_secret_use(other, touch_bytes, NULL, NULL), MEMGUARD_ERR_EXPIRED);
    look_for_all("expired", SCAN_NOWHERE, 1);
    CALL(memguard_secret_destroy(&other));
    drop_source(source);
    source = draw_source(on_heap);
    CALL(memguard_secret_take(vault, source, size, MEMGUARD_MAPPED, &other));
    CALL(memguard_secret_scramble(other));
    look_for_all("scrambled", SCAN_NOWHERE, 1);
    CALL(memguard_secret_destroy(&other));
    drop_source(source);
    plain = kept;
}

static atomic_int holders, let_go;

static int stay_inside(const void *bytes, size_t count, void *arg) {
    unsigned step = 0;
    (void)bytes;
    (void)count;
    (void)arg;
    atomic_fetch_add(&holders, 1);
    while (atomic_load(&let_go) == 0)
        mg__sys_backoff(&step);
    return 0;
}

/* Worker 0 holds a view, worker 1 is inside a use; both until they are let go. */
static void job_hold(int number) {
    memguard_view view = {0};
    if (number == 1) CHECK_STATUS(memguard_secret_use(secret, stay_inside, NULL, NULL), MEMGUARD_ERR_REVOKED);
    if (number != 0) return;
    CHECK_STATUS(memguard_secret_acquire(secret, MEMGUARD_READ, &view), MEMGUARD_OK);
    stay_inside(NULL, 0, NULL);
    CHECK_STATUS(memguard_view_release(&view), MEMGUARD_ERR_REVOKED);
}

static void hold(void) {
    unsigned step = 0;
    atomic_store(&holders, 0);
    atomic_store(&let_go, 0);
    workers_begin(job_hold);
    while (atomic_load(&holders) != 2)
        mg__sys_backoff(&step);
}

static int purge_inside(const void *bytes, size_t count, void *arg) {
    (void)bytes;
    (void)count;
    (void)arg;
    return memguard_vault_purge(vault, 1000);
}

static void take_again(int on_heap) {
    unsigned char *source = draw_source(on_heap);
    CALL(memguard_secret_take(vault, source, size, MEMGUARD_SEALED, &secret));
    drop_source(source);
}

static void life_purges(int on_heap) {
    const memguard_status destroyed = memguard_secret_destroy(&secret);
    SCAN_REGISTERS_NOW(0);
    CHECK(destroyed == MEMGUARD_OK);
    look_for_all("destroyed", SCAN_NOWHERE, 1);
    take_again(on_heap);
    keys_again();
    hold();
    const memguard_status revoked = memguard_vault_purge(vault, 0);
    SCAN_REGISTERS_NOW(1);
    CHECK(revoked == MEMGUARD_ERR_REVOKED);
    look_for_all("purged: view, use revoked", SCAN_NOWHERE, 0); /* all needles are of the old key */
    atomic_store(&let_go, 1);
    workers_end();
    look_for_all("purged: holders let go", SCAN_NOWHERE, 0);
    keys_are_old(&keys);
    take_again(on_heap);
    keys = find_keys(vault, secret, plain, NULL);
    look_for_all("taken after purge", SCAN_NOWHERE, 1);
    CALL(memguard_vault_purge(vault, 1000));
    look_for_all("purged", SCAN_NOWHERE, 0);
    keys_are_old(&keys);
    take_again(on_heap);
    keys = find_keys(vault, secret, plain, NULL);
    CALL(memguard_secret_use(secret, purge_inside, NULL, NULL));
    look_for_all("purged from inside a use", SCAN_NOWHERE, 0);
    keys_are_old(&keys);
    take_again(on_heap);
    keys = find_keys(vault, secret, plain, NULL);
    CALL(memguard_vault_destroy(&vault));
    look_for_all("vault destroyed", SCAN_NOWHERE, 0);
}

static void begin_life(size_t bytes, size_t windows) {
    size = bytes;
    forms = SCAN_ALL_FORMS;
    snapshot = 0;
    scan_begin(windows);
}

static void live(size_t bytes, int repeat) {
    const uint32_t prekey_bytes = repeat % 5 == 4 ? 16384 : 4096;
    begin_life(bytes, 10 * prekey_bytes + 40 * bytes + 20000);
    vault = make_vault(MEMGUARD_BACKEND_LOCKED, MEMGUARD_NO_THREAD, prekey_bytes);
    if (vault == NULL || (bench_count == 0 && !find_benches(MG_KIND_LOCKED, 6))) return;
    const int on_heap = repeat % 2;
    life_take(on_heap);
    if (bytes > 64) forms = SCAN_SHORT_FORMS; /* the later plaintexts: raw and reversed will do */
    life_views();
    life_use();
    life_wrong_tag();
    life_changes(on_heap);
    life_rests();
    life_rekey();
    life_lock();
    life_of_others(on_heap);
    life_of_limited(on_heap);
    life_purges(on_heap);
    CHECK(benches_are_blank());
}

/* ---- the same without a lease, and with the housekeeper ---- */

static void live_strictly(size_t bytes, int repeat) {
    begin_life(bytes, 20000 + 16 * bytes);
    vault = make_vault(MEMGUARD_BACKEND_LOCKED, MEMGUARD_STRICT, 4096);
    if (vault == NULL) return;
    take_again(repeat % 2);
    keys = find_keys(vault, secret, plain, NULL);
    CHECK(!is_leased(vault));
    look_for_all("STRICT: taken", SCAN_NOWHERE, 1);
    CALL(memguard_secret_use(secret, touch_bytes, NULL, NULL));
    CHECK(!is_leased(vault));
    look_for_all("STRICT: after use", SCAN_NOWHERE, 1);
    CALL(memguard_vault_destroy(&vault));
}

/* Two re-keyings later, with no lease: nobody but the housekeeper sees to that. */
static int comes_to_rest(memguard_report *report) {
    const struct timespec nap = {0, 30000000};
    uint64_t before = 0;
    for (int i = 0; i < 300; i++) {
        nanosleep(&nap, NULL);
        CHECK_STATUS(memguard_vault_report(vault, report), MEMGUARD_OK);
        if (i == 0) before = report->rekeys;
        if (report->leases > 0 && report->rekeys >= before + 2 && !is_leased(vault)) return 1;
    }
    return 0;
}

static void live_with_housekeeper(size_t bytes, int repeat) {
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    memguard_report report = {.size = sizeof report};
    begin_life(bytes, 20000 + 16 * bytes);
    options.backend = MEMGUARD_BACKEND_LOCKED;
    options.prekey_bytes = 4096;
    options.rekey_ms = 10;
    if (!CHECK_STATUS(memguard_vault_create(&options, &vault), MEMGUARD_OK)) return;
    take_again(repeat % 2);
    mg__mutex_lock(&coffer_of(vault)->mutex); /* no re-keying while its shares are read */
    keys = find_keys(vault, secret, plain, NULL);
    mg__mutex_unlock(&coffer_of(vault)->mutex);
    for (int i = 0; i < 100; i++)
        CALL(memguard_secret_use(secret, touch_bytes, NULL, NULL));
    CHECK(comes_to_rest(&report));
    keys_are_old(&keys); /* it has re-keyed meanwhile */
    look_for_all("housekeeper: at rest", SCAN_NOWHERE, 0);
    CALL(memguard_vault_destroy(&vault));
}

TEST(no_secret_is_astray_in_any_state) {
    for (int repeat = 0; repeat < REPEATS; repeat++)
        live(sizes[repeat % 5], repeat / 5);
}

TEST(no_secret_is_astray_without_a_lease) {
    for (int repeat = 0; repeat < REPEATS; repeat++)
        live_strictly(sizes[repeat % 5], repeat / 5);
}

TEST(no_secret_is_astray_when_the_housekeeper_tends) {
    for (int repeat = 0; repeat < REPEATS; repeat++)
        live_with_housekeeper(sizes[repeat % 5], repeat / 5);
}

/* ---- the scanner itself: it sees what is there ---- */

static int found_only(int needle, enum scan_form form, void *at) {
    static struct scan_result result;
    const size_t bytes = scan_plant(needle, form, at);
    scan_unname(SCAN_PLANTED);
    scan_name(SCAN_PLANTED, at, bytes);
    scan_memory(&result);
    const int found = scan_runs_in(&result, SCAN_P, SCAN_PLANTED) == 1 &&
                      result.cells[SCAN_P][SCAN_PLANTED].longest == bytes &&
                      scan_runs_outside(&result, SCAN_P, SCAN_PLANTED) == 0;
    scan_wipe(at, bytes);
    if (!found) scan_print_hits(&result, scan_form_names[form]);
    scan_unname(SCAN_PLANTED);
    scan_memory(&result);
    return found && scan_runs_outside(&result, SCAN_P, SCAN_NOWHERE) == 0;
}

TEST(scanner_sees_every_form_wherever_it_is) {
    enum { BYTES = 48, OFFSET = 4096 - 45 }; /* across the border of two pages */
    static unsigned char in_data[2 * BYTES];
    unsigned char on_stack[2 * BYTES], *on_heap = malloc(2 * BYTES);
    unsigned char *mapped = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!CHECK(on_heap != NULL && mapped != MAP_FAILED)) return;
    memset(on_stack, 0, sizeof on_stack);
    scan_begin(10000);
    const int needle = scan_draw(SCAN_P, BYTES, SCAN_ALL_FORMS, NULL);
    for (enum scan_form form = SCAN_RAW; form < SCAN_FORMS; form++) {
        CHECK(found_only(needle, form, in_data));
        CHECK(found_only(needle, form, on_stack));
        CHECK(found_only(needle, form, on_heap));
        CHECK(found_only(needle, form, mapped + OFFSET));
    }
    free(on_heap);
    munmap(mapped, 8192);
}

TEST(scanner_sees_windows_of_eight_bytes_and_pages_without_access) {
    static struct scan_result result;
    enum { BYTES = 40 };
    unsigned char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!CHECK(page != MAP_FAILED)) return;
    scan_begin(10000);
    const int needle = scan_draw(SCAN_P, BYTES, SCAN_ALL_FORMS, NULL);
    scan_name(SCAN_PLANTED, page, 4096);
    for (size_t window = 8; window <= 32; window *= 2) {
        for (size_t from = 0; from + window <= BYTES; from++) {
            CHECK(scan_plant(needle, SCAN_RAW, page + 100) == BYTES);
            scan_wipe(page + 100, from);
            scan_wipe(page + 100 + from + window, BYTES - from - window);
            CHECK(mprotect(page, 4096, PROT_NONE) == 0);
            scan_memory(&result);
            CHECK(mprotect(page, 4096, PROT_READ | PROT_WRITE) == 0);
            CHECK(scan_runs_in(&result, SCAN_P, SCAN_PLANTED) == 1);
            CHECK(result.cells[SCAN_P][SCAN_PLANTED].longest == window);
            CHECK(scan_runs_outside(&result, SCAN_P, SCAN_PLANTED) == 0);
        }
    }
    scan_unname(SCAN_PLANTED);
    munmap(page, 4096);
}

#if SCAN_HAS_REGISTERS
static void body_into_registers(void *arg) {
    unsigned char eight[16];
    scan_get(*(const int *)arg, 5, eight, sizeof eight);
    __asm__ volatile("movups (%0), %%xmm11\n mov (%0), %%r9" : : "r"(eight) : "xmm11", "r9", "memory");
    SCAN_REGISTERS_NOW(3);
    __asm__ volatile("pxor %%xmm11, %%xmm11" : : : "xmm11");
}
#endif

TEST(scanner_sees_registers) {
#if SCAN_HAS_REGISTERS
    static struct scan_result result;
    if (!__builtin_cpu_supports("sse4.2")) SKIP("a processor that may not know XSAVE");
    scan_begin(10000);
    int needle = scan_draw(SCAN_P, 40, SCAN_ALL_FORMS, NULL);
    scan_call(body_into_registers, &needle);
    scan_memory(&result);
    CHECK(scan_runs_in(&result, SCAN_P, SCAN_REGISTERS) >= 2); /* a general one and a vector */
    CHECK(scan_runs_outside(&result, SCAN_P, SCAN_REGISTERS) == 0);
    CHECK(result.cells[SCAN_P][SCAN_REGISTERS].longest >= 16);
    scan_drop_registers();
#else
    SKIP("register snapshots are written for x86-64 only: registers were NOT looked at");
#endif
}

/* ---- secretmem: there is nothing to search ---- */

TEST(secretmem_is_out_of_reach_of_the_scanner) {
    static struct scan_result result;
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    memguard_view view = {0};
    options.backend = MEMGUARD_BACKEND_SECRETMEM;
    const memguard_status status = memguard_vault_create(&options, &vault);
    if (status == MEMGUARD_ERR_UNSUPPORTED) SKIP("memfd_secret(2) is not to be had here");
    if (!CHECK_STATUS(status, MEMGUARD_OK)) return;
    if (mg__vault_find(vault)->kind != MG_KIND_SECRETMEM) SKIP("the environment chose another backend");
    size = 64;
    forms = SCAN_ALL_FORMS;
    scan_begin(20000);
    take_again(1);
    CHECK_STATUS(memguard_secret_acquire(secret, MEMGUARD_READ, &view), MEMGUARD_OK);
    CHECK(scan_read_error(view.data) == EIO);
    CHECK(scan_read_error(coffer_of(vault)->page) == EIO);
    scan_memory(&result);
    CHECK(scan_runs_outside(&result, SCAN_P, SCAN_NOWHERE) == 0); /* though it lies open in a view */
    CHECK(result.unread_bytes > 0);
    CHECK_STATUS(memguard_view_release(&view), MEMGUARD_OK);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

/* ---- signals in the middle of a cipher call leave their frame, with all registers, on the bench ---- */

static volatile sig_atomic_t signals_on_bench;

static void count_signal(int number) {
    const unsigned char *here = __builtin_frame_address(0);
    (void)number;
    for (unsigned b = 0; b < bench_count; b++)
        if (here >= bench_low[b] && here < bench_low[b] + bench_bytes[b]) signals_on_bench++;
}

static unsigned use_under_signals(size_t bytes, uint32_t flags, unsigned *residue) {
    unsigned hits = 0;
    vault = make_vault(MEMGUARD_BACKEND_LOCKED, flags, 4096);
    if (vault == NULL || !find_benches(MG_KIND_LOCKED, 6)) return 0;
    CHECK_STATUS(memguard_secret_random(vault, bytes, MEMGUARD_SEALED, &secret), MEMGUARD_OK);
    const uint64_t until = mg__sys_now_ns() + 400000000;
    while (mg__sys_now_ns() < until) {
        signals_on_bench = 0;
        const memguard_status status = memguard_secret_use(secret, touch_bytes, NULL, NULL);
        if (signals_on_bench == 0 && status == MEMGUARD_OK) continue;
        CHECK(status == MEMGUARD_OK);
        hits++;
        if (!benches_are_blank()) ++*residue;
        for (unsigned b = 0; b < bench_count; b++)
            scan_wipe(bench_low[b], bench_bytes[b]);
    }
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
    return hits;
}

TEST(signal_frames_on_benches_are_wiped) {
    static const struct {
        size_t bytes;
        uint32_t flags;
    } cases[] = {{32, MEMGUARD_NO_THREAD}, {64, MEMGUARD_NO_THREAD}, {4096, MEMGUARD_NO_THREAD}, {32, MEMGUARD_STRICT}};
    struct sigaction action = {.sa_handler = count_signal, .sa_flags = SA_RESTART}, before;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    const struct itimerspec every = {{0, 53000}, {0, 53000}}, never = {{0, 0}, {0, 0}};
    timer_t timer;
    if (!CHECK(sigaction(SIGUSR1, &action, &before) == 0 && timer_create(CLOCK_MONOTONIC, &event, &timer) == 0)) return;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        unsigned residue = 0;
        CHECK(timer_settime(timer, 0, &every, NULL) == 0);
        const unsigned hits = use_under_signals(cases[i].bytes, cases[i].flags, &residue);
        CHECK(timer_settime(timer, 0, &never, NULL) == 0);
        printf("signals on a bench: %zu bytes%s: %u, residue after %u of them\n", cases[i].bytes,
               cases[i].flags == MEMGUARD_STRICT ? ", STRICT" : "", hits, residue);
        CHECK(hits > 0);
        CHECK(residue == 0);
    }
    CHECK(timer_delete(timer) == 0 && sigaction(SIGUSR1, &before, NULL) == 0);
}

/* ---- the emergency wipe: in a child, which ends after it ---- */

static int wipe_in_emergency(void *arg) {
    static struct scan_result result;
    memguard_view view = {0};
    memguard_secret closed = {0};
    unsigned found = 0;
    (void)arg;
    if (scan_start() != NULL) return 77;
    size = 64;
    begin_life(size, 50000);
    vault = make_vault(MEMGUARD_BACKEND_LOCKED, MEMGUARD_NO_THREAD, 4096);
    if (vault == NULL) return 1;
    unsigned char *source = draw_source(1);
    CHECK_STATUS(memguard_secret_copy(vault, source, size, MEMGUARD_CLOSED, &closed), MEMGUARD_OK);
    CHECK_STATUS(memguard_secret_take(vault, source, size, MEMGUARD_SEALED, &secret), MEMGUARD_OK);
    CHECK_STATUS(memguard_secret_acquire(secret, MEMGUARD_READ, &view), MEMGUARD_OK);
    keys = find_keys(vault, secret, plain, NULL);
    scan_memory(&result);
    CHECK(scan_runs_outside(&result, SCAN_P, SCAN_NOWHERE) == 2);
    CHECK(scan_runs_outside(&result, SCAN_X, SCAN_NOWHERE) == 1 &&
          scan_runs_outside(&result, SCAN_Y, SCAN_NOWHERE) == 1);
    memguard_emergency_wipe();
    scan_memory(&result);
    for (enum scan_column c = 0; c < SCAN_COLUMNS; c++)
        found += scan_runs_outside(&result, c, SCAN_NOWHERE);
    if (!CHECK(found == 0)) scan_print_hits(&result, "emergency wipe");
    fflush(stdout);
    _exit(atomic_load(&check_bad) != 0);
}

TEST(nothing_is_left_after_an_emergency_wipe) {
    const int status = check_child(wipe_in_emergency, NULL);
    if (check_exited(status, 77)) SKIP("nothing can be scanned here");
    CHECK(check_exited(status, 0));
}

static const char *why_not;
TEST(scanner_can_work_here) { SKIP(why_not); }

#ifndef LAB_OTHER_MAIN
int main(void) {
    setvbuf(stdout, NULL, _IOLBF, 4096);
    if (CHECK_SANITIZED) why_not = "under a sanitizer: its shadow, quarantine and fake stacks keep copies of their own";
    if (why_not == NULL) {
        RUN(nothing_is_left_after_an_emergency_wipe); /* before this process has a vault, and a scanner of its own */
        why_not = scan_start();
    }
    if (why_not != NULL) {
        RUN(scanner_can_work_here);
        return check_end();
    }
    RUN(scanner_sees_every_form_wherever_it_is);
    RUN(scanner_sees_windows_of_eight_bytes_and_pages_without_access);
    RUN(scanner_sees_registers);
    RUN(signal_frames_on_benches_are_wiped);
    if (!workers_start()) return 1;
    RUN(no_secret_is_astray_in_any_state);
    RUN(no_secret_is_astray_without_a_lease);
    RUN(no_secret_is_astray_when_the_housekeeper_tends);
    workers_stop();
    RUN(secretmem_is_out_of_reach_of_the_scanner);
    print_table();
    return check_end();
}
#endif
