/* Part 5 of the demo: destroys everything and looks again, at this process and at the vault child, for the random
 * secret and for the key.
 *
 * What is searched for must be somewhere, though all vaults are gone. It is kept XORed with a random mask, in ordinary
 * memory, and read byte by byte through the mask (needle.h): a plain piece of 8 bytes is nowhere but in registers. The
 * positive control goes through the same mask, so that it proves the masked search, too. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "demo.h"
#include "ui.h"

enum { BUFFER_BYTES = 65536, PLACES = 2 };

static uint8_t hidden[NEEDLE_BLOB_BYTES], mask[NEEDLE_BLOB_BYTES], buffer[BUFFER_BYTES];

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

static bool destroy(struct demo *demo) {
    subject_end(&demo->subjects[DEMO_ENVIRONMENT]);
    subject_end(&demo->subjects[DEMO_HEAP]);
    if (!subject_tell(&demo->subjects[DEMO_VAULT], HOLDER_DESTROY)) return false;
    memguard_status status = memguard_vault_destroy(&demo->vault);
    if (status != MEMGUARD_OK) ui_library_error("the vault", status);
    return status == MEMGUARD_OK;
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
    set_row(demo, cells[2], "vault child, still there", &results[1]);
    ui_table(&cells[0][0], PLACES + 1, 4);
    ui_line("  The other two children have ended. As above, a value known to be there must be found, else: void.");
}

bool demo_look_again(struct demo *demo) {
    struct scan_result results[PLACES];
    ui_heading("5. Everything destroyed, and searched for again");
    if (!hide_needles(demo) || !destroy(demo)) return false;
    const struct scan_job job = {&demo->needles, buffer, sizeof buffer, 0};
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
