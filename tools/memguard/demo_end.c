/* Parts 6 and 7 of the demo: a secret reaches its limit; then everything is destroyed, and searched for again, in
 * this process and in the vault child: the random secret and the key.
 *
 * What is searched for must be somewhere, though all vaults are gone. It is kept XORed with a random mask, in
 * ordinary memory, and read byte by byte through the mask (needle.h): a plain piece of 8 bytes is nowhere but in
 * registers. The positive control goes through the same mask, so that it proves the masked search, too. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "demo.h"
#include "spawn.h"
#include "ui.h"

enum { BUFFER_BYTES = 65536, PLACES = 2 };

static uint8_t hidden[NEEDLE_SMALL_BLOB], mask[NEEDLE_SMALL_BLOB], buffer[BUFFER_BYTES];

static int hide_scrubbed(void *arg) {
    struct demo *demo = arg;
    needle_hide(&demo->needles, hidden, mask);
    return 0;
}

static bool hide_needles(struct demo *demo) {
    MEMGUARD_AUTO_VIEW memguard_view view = {0};
    if (getrandom(mask, sizeof mask, 0) != (ssize_t)sizeof mask) return false;
    memguard_status status = memguard_secret_acquire(demo->blob, MEMGUARD_READ, &view);
    demo->needles.blob = view.data;
    if (status == MEMGUARD_OK) status = memguard_call_scrubbed(hide_scrubbed, demo, NULL);
    if (status == MEMGUARD_OK) return true;
    demo->needles.blob = NULL;
    ui_library_error("the needles", status);
    return false;
}

static void set_cell(struct demo *demo, struct ui_cell *cell, const struct scan_result *result, enum needle_kind kind) {
    char refused[24];
    bool control = (result->hit[NEEDLE_CONTROL].forms >> FORM_RAW & 1) != 0;
    bool found = result->hit[kind].bytes != 0;
    if (found)
        ui_set(cell, UI_BAD, "FOUND in %s", result->where[kind]);
    else if (!result->complete)
        ui_set(cell, UI_DOUBT, "could not check: %s", strerror(result->os_error));
    else if (!control)
        ui_set(cell, UI_BAD, "void");
    else if (result->refused_bytes != 0)
        ui_set(cell, UI_GOOD, "- (%s no access)", ui_bytes(result->refused_bytes, refused));
    else
        ui_set(cell, UI_GOOD, "-");
    if (found || (result->complete && !control)) demo->failures++;
    if (found || result->complete) return;
    demo->unchecked++;
    demo->incomplete = true;
}

/* ---- part 6: a limit ---- */

enum { TTL_MS = 120, PATIENCE_MS = 5000 };

/* A copy that lies open, in pages that can be looked at: of a vault of this policy none is hidden. */
static memguard_status copy_random(struct demo *demo, memguard_vault **vault, memguard_secret *copy) {
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    options.backend = MEMGUARD_BACKEND_PLAIN;
    options.fork_policy = MEMGUARD_FORK_COPY;
    memguard_status status = memguard_vault_create(&options, vault);
    if (status == MEMGUARD_OK)
        status = memguard_secret_create(*vault, HOLDER_SECRET_BYTES, MEMGUARD_MAPPED | MEMGUARD_WRITABLE, copy);
    MEMGUARD_AUTO_VIEW memguard_view view = {0};
    if (status == MEMGUARD_OK) status = memguard_secret_acquire(demo->random, MEMGUARD_READ, &view);
    return status == MEMGUARD_OK ? memguard_secret_copy_at(*copy, 0, view.data, view.size) : status;
}

struct look {
    struct demo *demo;
    struct scan_result result;
};

static int look_here(void *arg) {
    struct look *look = arg;
    const struct scan_job job = {.needles = &look->demo->needles, .buffer = buffer, .buffer_bytes = sizeof buffer};
    scan_memory(getpid(), &job, &look->result);
    memguard_wipe(buffer, sizeof buffer);
    return 0;
}

static memguard_status let_expire(memguard_secret secret, int64_t *took_ms) {
    const struct timespec pause = {0, 2 * 1000000L};
    memguard_limits limits = MEMGUARD_LIMITS_INIT;
    memguard_info info = MEMGUARD_INFO_INIT;
    int64_t began_ms = spawn_now_ms();
    limits.ttl_ms = TTL_MS;
    memguard_status status = memguard_secret_limit(secret, &limits);
    for (; status == MEMGUARD_OK && spawn_now_ms() < began_ms + PATIENCE_MS; nanosleep(&pause, NULL))
        status = memguard_secret_info(secret, &info);
    *took_ms = spawn_now_ms() - began_ms;
    return status;
}

/* Where it lies open it must be found, else the second search shows nothing. */
static void tell_look(struct demo *demo, const char *when, const struct scan_result *result, bool open) {
    struct ui_cell cell = {0};
    bool found = result->hit[NEEDLE_SECRET].bytes != 0;
    if (!open || !result->complete)
        set_cell(demo, &cell, result, NEEDLE_SECRET);
    else
        ui_set(&cell, found ? UI_GOOD : UI_BAD, found ? "FOUND" : "void");
    demo->failures += open && result->complete && !found;
    printf("  %-46s  ", when);
    ui_put(cell.tone, cell.text);
    putchar('\n');
}

static memguard_status show_expiry(struct demo *demo, memguard_secret secret) {
    static struct look look;
    int64_t took_ms = 0;
    look = (struct look){.demo = demo};
    memguard_status status = memguard_call_scrubbed(look_here, &look, NULL);
    if (status != MEMGUARD_OK) return status;
    tell_look(demo, "a copy, open in plain pages of this process:", &look.result, true);
    memguard_status end = let_expire(secret, &took_ms);
    printf("  %-46s  ", "with 120 ms to live (memguard_secret_limit):");
    ui_put(end == MEMGUARD_ERR_EXPIRED ? UI_GOOD : UI_BAD, memguard_status_name(end));
    ui_line(" after %lld ms", (long long)took_ms);
    demo->failures += end != MEMGUARD_ERR_EXPIRED;
    look = (struct look){.demo = demo};
    status = memguard_call_scrubbed(look_here, &look, NULL);
    tell_look(demo, "searched for again:", &look.result, false);
    return status;
}

bool demo_expire(struct demo *demo) {
    MEMGUARD_AUTO_VAULT memguard_vault *vault = NULL;
    memguard_secret copy = {0};
    ui_heading("6. A secret that ends by itself");
    if (!hide_needles(demo)) return false;
    memguard_status status = copy_random(demo, &vault, &copy);
    if (status == MEMGUARD_OK) status = show_expiry(demo, copy);
    if (status != MEMGUARD_OK) ui_library_error("the copy", status);
    return status == MEMGUARD_OK;
}

/* ---- part 7: the end ---- */

static bool destroy(struct demo *demo) {
    subject_end(&demo->subjects[DEMO_ENVIRONMENT]);
    subject_end(&demo->subjects[DEMO_HEAP]);
    if (!subject_tell(&demo->subjects[DEMO_VAULT], HOLDER_DESTROY)) return false;
    memguard_status status = memguard_vault_destroy(&demo->vault);
    if (status != MEMGUARD_OK) ui_library_error("the vault", status);
    return status == MEMGUARD_OK;
}

static void set_row(struct demo *demo, struct ui_cell *cells, const char *name, const struct scan_result *result) {
    char read[24];
    ui_set(&cells[0], UI_PLAIN, "%s", name);
    set_cell(demo, &cells[1], result, NEEDLE_SECRET);
    if (demo->key.bytes != 0)
        set_cell(demo, &cells[2], result, NEEDLE_KEY);
    else
        ui_set(&cells[2], UI_DOUBT, "no key");
    ui_set(&cells[3], UI_PLAIN, "%s", ui_bytes(result->read_bytes, read));
}

static void show(struct demo *demo, const struct scan_result results[PLACES]) {
    static const char *const head[] = {"memory of", "random secret", "key", "read"};
    struct ui_cell cells[PLACES + 1][4];
    memset(cells, 0, sizeof cells);
    for (size_t i = 0; i < 4; i++)
        ui_set(&cells[0][i], UI_STRONG, "%s", head[i]);
    set_row(demo, cells[1], "this process", &results[0]);
    set_row(demo, cells[2], "the vault child", &results[1]);
    ui_table(&cells[0][0], PLACES + 1, 4);
    ui_line("  The other two children have ended. As above, a value known to be there must");
    ui_line("  be found, else: void.");
}

bool demo_look_again(struct demo *demo) {
    struct scan_result results[PLACES];
    ui_heading("7. Everything destroyed, and searched for again");
    if (!destroy(demo)) return false; /* the needles are hidden since part 6 */
    const struct scan_job job = {&demo->needles, buffer, sizeof buffer, 0, NULL};
    const struct subject *child = &demo->subjects[DEMO_VAULT];
    scan_memory(getpid(), &job, &results[0]);
    memguard_wipe(buffer, sizeof buffer);
    if (subject_freeze(child)) {
        scan_memory(child->pid, &job, &results[1]);
        subject_thaw(child);
    } else {
        results[1] = (struct scan_result){.os_error = ESRCH};
    }
    memguard_wipe(buffer, sizeof buffer);
    show(demo, results);
    return true;
}
