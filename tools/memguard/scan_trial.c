/* `memguard scan --self-test`: two children that hold random values made for this. One has them lying about in each form:
 * all must be found, else the scan is worth nothing. The other holds one in a vault: sealed, it must not be found. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "holder_plant.h"
#include "scan_verb.h"
#include "subject.h"
#include "ui.h"

struct trial {
    memguard_vault *vault;
    struct passage passage;
    memguard_secret secret;
    struct sought sought;
    struct subject child;
    char control[2 * HOLDER_CONTROL_BYTES + 1]; /* the first half of the value, in hexadecimal: no secret */
    unsigned failures;
};

static void row(struct trial *trial, bool good, const char *what, const char *outcome) {
    ui_put(good ? UI_GOOD : UI_BAD, good ? "  ok      " : "  FAILED  ");
    ui_line("%-34s %s", what, outcome);
    trial->failures += !good;
}

static int write_control(const void *bytes, size_t size, void *arg) {
    const uint8_t *value = bytes;
    char *to = arg;
    for (size_t i = 0; i < HOLDER_CONTROL_BYTES && i < size; i++)
        snprintf(to + 2 * i, 3, "%02x", (unsigned)value[i]);
    return 0;
}

/* A random value; its first bytes show which alphabet of base64 it is written in. */
static bool begin(struct trial *trial, memguard_vault *vault) {
    memguard_status status = memguard_secret_random(vault, HOLDER_SECRET_BYTES, MEMGUARD_SEALED, &trial->secret);
    if (status == MEMGUARD_OK) status = memguard_secret_copy_at(trial->secret, 0, "\xfb\xff\xbf", 3);
    if (status == MEMGUARD_OK) status = memguard_secret_use(trial->secret, write_control, trial->control, NULL);
    if (status != MEMGUARD_OK) ui_library_error("a random value", status);
    return status == MEMGUARD_OK && sought_make(&trial->sought, vault, trial->secret, false, "a random value") &&
           passage_open(&trial->passage, vault);
}

static void end(struct trial *trial) {
    subject_end(&trial->child);
    passage_close(&trial->passage);
    sought_drop(&trial->sought);
    memguard_status ignored = memguard_secret_destroy(&trial->secret);
    (void)ignored;
}

static bool look(struct trial *trial, struct look *look) {
    if (!scan_run(look, &trial->sought, &trial->passage, trial->child.pid, -1)) return false;
    for (size_t i = 0; i < look->problem_count; i++)
        row(trial, false, "looking at the child", look->problems[i]);
    return true;
}

/* ---- what must be found ---- */

static size_t count_found(const struct look *look, const struct plant *plant, uint32_t least) {
    size_t count = 0;
    for (size_t i = 0; i < look->count; i++)
        count += look->found[i].bytes >= least && strcmp(needle_form_name(look->found[i].form), plant->form) == 0 &&
                 strcmp(look->found[i].place, plant->place) == 0;
    return count;
}

static size_t count_planted(const struct plant *plant) {
    size_t count = 0;
    for (size_t i = 0; i < PLANTS; i++)
        count += strcmp(plants[i].form, plant->form) == 0 && strcmp(plants[i].place, plant->place) == 0;
    return count;
}

static bool is_first(size_t which) {
    for (size_t i = 0; i < which; i++)
        if (strcmp(plants[i].form, plants[which].form) == 0 && strcmp(plants[i].place, plants[which].place) == 0)
            return false;
    return true;
}

static void judge_plant(struct trial *trial, const struct look *look, const struct plant *plant, uint32_t least,
                        size_t wanted) {
    char what[64], outcome[48];
    size_t found = count_found(look, plant, least);
    snprintf(what, sizeof what, "%s, %s", plant->form, plant->place);
    snprintf(outcome, sizeof outcome, "%zu planted, %zu found", wanted, found);
    row(trial, found >= wanted, what, outcome);
}

static void judge_plants(struct trial *trial) {
    static const struct plant environment = {"hex", "environment"}, command_line = {"hex", "command line"};
    struct look seen;
    if (!subject_start(&trial->child, HOLDER_PLANT, trial->control, trial->vault, trial->secret) ||
        !look(trial, &seen)) {
        trial->failures++;
        return;
    }
    for (size_t i = 0; i < PLANTS; i++)
        if (is_first(i)) judge_plant(trial, &seen, &plants[i], HOLDER_SECRET_BYTES, count_planted(&plants[i]));
    judge_plant(trial, &seen, &environment, HOLDER_CONTROL_BYTES, 1);
    judge_plant(trial, &seen, &command_line, HOLDER_CONTROL_BYTES, 1);
    look_end(&seen);
}

/* ---- what must not ---- */

static void judge_vault(struct trial *trial, bool open) {
    char outcome[96], hidden[24];
    struct look seen;
    if (!look(trial, &seen)) {
        trial->failures++;
        return;
    }
    ui_bytes(seen.hidden_bytes, hidden);
    bool found = seen.count != 0, kept = seen.hidden_bytes != 0;
    snprintf(outcome, sizeof outcome, "%s; the kernel shows nobody %s", found ? "found" : "not found", hidden);
    if (open && found && !kept) /* an ordinary locked page: no failure of the scan, and what the vault's report says */
        snprintf(outcome, sizeof outcome, "found: without memfd_secret it can be read while in use");
    row(trial, open ? found != kept : !found, open ? "in a vault, in use" : "in a vault, sealed", outcome);
    look_end(&seen);
}

static void judge_vaults(struct trial *trial) {
    const char *no_control = "00112233445566778899aabbccddeeff";
    if (!subject_start(&trial->child, HOLDER_VAULT, no_control, trial->vault, trial->secret)) {
        trial->failures++;
        return;
    }
    judge_vault(trial, false);
    if (subject_tell(&trial->child, HOLDER_OPEN))
        judge_vault(trial, true);
    else
        trial->failures++;
}

static unsigned run_trial(memguard_vault *vault, void (*judge)(struct trial *trial)) {
    struct trial trial = {.vault = vault, .child = {.socket = -1}};
    if (begin(&trial, vault))
        judge(&trial);
    else
        trial.failures++;
    end(&trial);
    return trial.failures;
}

int scan_trial(memguard_vault *vault) {
    unsigned failures = run_trial(vault, judge_plants) + run_trial(vault, judge_vaults);
    ui_put(failures == 0 ? UI_GOOD : UI_BAD, failures == 0 ? "The scan works" : "The scan does NOT work here");
    ui_line(": %u of the rows above failed", failures);
    return ui_finish(failures == 0 ? EXIT_GOOD : EXIT_USAGE);
}
