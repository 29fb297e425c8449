/* Part 3 of the demo: three children hold one secret, and each is searched from outside.
 *
 * What a cell of the table says is decided in one place, `judge`, by these rules:
 *   FOUND            8 bytes of the secret in a row, or more, in any form of needle.h
 *   void             the positive control was not found, or the secret was not found where it must be: the
 *                    scan shows nothing (a failure)
 *   no access        the child told where its open secret lies, this page was asked for and refused, and nothing was
 *                    found in the rest
 *   - (N no access)  nothing found; N of memory were refused, all the rest was read
 *   -                nothing found; everything was read
 *   could not check  not everything could be asked for
 * The control is a random value, no secret, given to each child: as text in its environment and its command line, raw
 * in its heap. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core.h"
#include "demo.h"
#include "ui.h"

enum area { AREA_ENVIRON, AREA_CMDLINE, AREA_MEMORY, AREA_CORE, AREAS };
enum row { ROW_ENVIRONMENT, ROW_HEAP, ROW_SEALED, ROW_OPEN, ROWS };
enum verdict { FOUND, CLEAN, PARTLY, NO_ACCESS, UNCHECKED, VOID };

enum { CORE_MS = 3200, BUFFER_BYTES = 16384, BUFFER_LEAST_BYTES = 8192 };

static const char *const area_names[AREAS] = {"environ", "cmdline", "memory", "core"};
static const char *const row_names[ROWS] = {"environment child", "plain heap child", "vault child, sealed",
                                            "vault child, in use"};

struct look {
    struct demo *demo;
    struct scan_job job;
    memguard_view blob, buffer;
    struct scan_result results[ROWS][AREAS];
    enum core_problem core_problem;
};

/* ---- the needles ---- */

struct building {
    struct demo *demo;
    uint8_t *blob;
};

static int add_random(const void *bytes, size_t size, void *arg) {
    struct building *building = arg;
    return needle_add(&building->demo->needles, building->blob, NEEDLE_SECRET, NULL, bytes, size);
}

static int add_key(const void *bytes, size_t size, void *arg) {
    struct building *building = arg;
    for (unsigned i = 0; i < KEY_SAMPLES; i++) {
        size_t at;
        if (!key_sample(bytes, size, i, &at) || !needle_add(&building->demo->needles, building->blob, NEEDLE_KEY, NULL,
                                                            (const uint8_t *)bytes + at, KEY_SAMPLE_BYTES))
            return 0;
    }
    return 1;
}

static memguard_status build(struct building *building) {
    struct demo *demo = building->demo;
    int good = needle_add(&demo->needles, building->blob, NEEDLE_CONTROL, NULL, demo->control, sizeof demo->control);
    memguard_status status = MEMGUARD_OK;
    if (good) status = memguard_secret_use(demo->random, add_random, building, &good);
    if (good && status == MEMGUARD_OK && demo->key.secret.id != 0)
        status = memguard_secret_use(demo->key.secret, add_key, building, &good);
    return status == MEMGUARD_OK && !good ? MEMGUARD_ERR_SIZE : status;
}

static int build_scrubbed(void *arg) { return (int)build(arg); }

/* The random secret, and a second secret with all that is searched for. */
static memguard_status make_needles(struct demo *demo) {
    MEMGUARD_AUTO_VIEW memguard_view view = {0};
    memguard_status status = memguard_secret_random(demo->vault, HOLDER_SECRET_BYTES, MEMGUARD_SEALED, &demo->random);
    if (status == MEMGUARD_OK)
        status = memguard_secret_create(demo->vault, needle_plan(&demo->needles, NEEDLE_SMALL_TEXT, NEEDLE_WINDOW),
                                        MEMGUARD_SEALED, &demo->blob);
    if (status == MEMGUARD_OK) status = memguard_secret_acquire(demo->blob, MEMGUARD_WRITE, &view);
    if (status != MEMGUARD_OK) return status;
    struct building building = {demo, view.data};
    int result = 0;
    status = memguard_call_scrubbed(build_scrubbed, &building, &result);
    return status == MEMGUARD_OK ? (memguard_status)result : status;
}

/* ---- looking ---- */

/* The bytes that a scan reads hold the secret when it finds it: they pass through a view as well. */
static memguard_status make_buffer(struct look *look, size_t bytes) {
    struct demo *demo = look->demo;
    memguard_status status = memguard_secret_create(demo->vault, bytes, MEMGUARD_SEALED, &demo->buffer);
    if (status == MEMGUARD_OK) status = memguard_secret_acquire(demo->buffer, MEMGUARD_WRITE, &look->buffer);
    if (status == MEMGUARD_OK) return MEMGUARD_OK;
    memguard_status ignored = memguard_secret_destroy(&demo->buffer);
    (void)ignored;
    return status;
}

/* Borrows the needles and a buffer, a smaller one where lockable memory is short. */
static memguard_status begin_look(struct look *look) {
    memguard_status status = memguard_secret_acquire(look->demo->blob, MEMGUARD_READ, &look->blob);
    if (status != MEMGUARD_OK) return status;
    status = make_buffer(look, BUFFER_BYTES);
    if (status == MEMGUARD_ERR_LOCK_LIMIT) status = make_buffer(look, BUFFER_LEAST_BYTES);
    look->demo->needles.blob = look->blob.data;
    look->job = (struct scan_job){&look->demo->needles, look->buffer.data, look->buffer.size, 0, NULL};
    return status;
}

static void drop(memguard_view *view) {
    memguard_status ignored = memguard_view_release(view); /* what stays borrowed shows when the vault is destroyed */
    (void)ignored;
}

/* The needles are sealed again, the buffer is gone. */
static void end_look(struct look *look) {
    drop(&look->buffer);
    drop(&look->blob);
    memguard_status ignored = memguard_secret_destroy(&look->demo->buffer);
    (void)ignored;
    look->demo->needles.blob = NULL;
}

static void look_at_process(struct look *look, const struct subject *subject, enum row row) {
    struct scan_result *results = look->results[row];
    look->job.spot = subject->spot;
    if (!subject_freeze(subject)) {
        for (size_t i = 0; i <= AREA_MEMORY; i++)
            results[i].os_error = ESRCH;
        return;
    }
    scan_process_file(subject->pid, "environ", &look->job, &results[AREA_ENVIRON]);
    scan_process_file(subject->pid, "cmdline", &look->job, &results[AREA_CMDLINE]);
    scan_memory(subject->pid, &look->job, &results[AREA_MEMORY]);
    subject_thaw(subject);
}

static void look_at_cores(struct look *look, const struct subject *subjects, size_t count, enum row first) {
    pid_t pids[DEMO_SUBJECTS] = {0};
    struct scan_result results[DEMO_SUBJECTS];
    for (size_t i = 0; i < count; i++)
        pids[i] = subjects[i].pid;
    enum core_problem problem = core_scan(pids, count, CORE_MS, &look->job, results);
    if (problem != CORE_NONE) look->core_problem = problem;
    for (size_t i = 0; i < count; i++)
        look->results[first + i][AREA_CORE] = results[i];
}

static bool look_at_all(struct look *look) {
    struct subject *subjects = look->demo->subjects, *vault = &subjects[DEMO_VAULT];
    for (size_t i = 0; i < DEMO_SUBJECTS; i++)
        look_at_process(look, &subjects[i], (enum row)i);
    look_at_cores(look, subjects, DEMO_SUBJECTS, ROW_ENVIRONMENT);
    if (!subject_tell(vault, HOLDER_OPEN)) return false;
    look_at_process(look, vault, ROW_OPEN);
    look_at_cores(look, vault, 1, ROW_OPEN);
    return subject_tell(vault, HOLDER_CLOSE);
}

static int look_at_all_scrubbed(void *arg) { return look_at_all(arg); }

/* What the search finds of the secret it has had in registers, and they on the stack. */
static bool look_and_scrub(struct look *look) {
    int good = 0;
    return memguard_call_scrubbed(look_at_all_scrubbed, look, &good) == MEMGUARD_OK && good;
}

/* ---- judging ---- */

static bool must_be_found(enum row row, enum area area) {
    if (row == ROW_ENVIRONMENT) return area != AREA_CMDLINE;
    return row == ROW_HEAP && (area == AREA_MEMORY || area == AREA_CORE);
}

/* May be found, though memguard would rather not: the open secret, where the protection against this was not obtained.
 */
static bool may_be_found(const struct demo *demo, enum row row, enum area area) {
    if (row != ROW_OPEN) return must_be_found(row, area);
    if (area == AREA_MEMORY) return (demo->protections & MEMGUARD_PROTECT_HIDDEN) == 0;
    return area == AREA_CORE && (demo->protections & MEMGUARD_PROTECT_NODUMP) == 0;
}

static bool control_was_found(const struct scan_result *result, enum area area) {
    unsigned form = area == AREA_ENVIRON || area == AREA_CMDLINE ? FORM_HEX : FORM_RAW;
    return (result->hit[NEEDLE_CONTROL].forms >> form & 1) != 0;
}

static enum verdict judge(const struct scan_result *result, enum row row, enum area area) {
    if (result->hit[NEEDLE_SECRET].bytes != 0) return FOUND;
    if (!result->complete) return UNCHECKED;
    if (!control_was_found(result, area) || must_be_found(row, area)) return VOID;
    if (row == ROW_OPEN && area == AREA_MEMORY) return result->spot_refused ? NO_ACCESS : VOID;
    return result->refused_bytes != 0 ? PARTLY : CLEAN;
}

static void count(struct demo *demo, enum verdict verdict, enum row row, enum area area) {
    if (verdict == VOID || (verdict == FOUND && !may_be_found(demo, row, area))) demo->failures++;
    if (verdict != UNCHECKED) return;
    demo->unchecked++;
    if (area != AREA_CORE) demo->incomplete = true;
}

/* ---- showing ---- */

static void fill_cell(struct ui_cell *cell, enum verdict verdict, const struct scan_result *result) {
    char refused[24];
    ui_bytes(result->refused_bytes, refused);
    switch (verdict) {
    case FOUND:
        ui_set(cell, UI_BAD, "FOUND");
        break;
    case CLEAN:
        ui_set(cell, UI_GOOD, "-");
        break;
    case PARTLY:
        ui_set(cell, UI_GOOD, "- (%s no access)", refused);
        break;
    case NO_ACCESS:
        ui_set(cell, UI_GOOD, "no access (%s)", refused);
        break;
    case UNCHECKED:
        ui_set(cell, UI_DOUBT, "could not check");
        break;
    case VOID:
        ui_set(cell, UI_BAD, "void");
        break;
    }
}

static void show_legend(void) {
    ui_line("  FOUND = 8 bytes of it in a row, or more: raw, reversed, hex or base64");
    ui_line("  - = nothing found in all of it; (N no access) = but N that the kernel refused");
    ui_line("  no access = the kernel refused the very page in which the secret lies open");
    ui_line("  void = a value known to be there was not found: this shows nothing\n");
}

static void show_table(struct look *look) {
    struct ui_cell cells[ROWS + 1][AREAS + 1];
    memset(cells, 0, sizeof cells);
    for (size_t area = 0; area < AREAS; area++)
        ui_set(&cells[0][area + 1], UI_STRONG, "%s", area_names[area]);
    for (size_t row = 0; row < ROWS; row++) {
        ui_set(&cells[row + 1][0], UI_PLAIN, "%s", row_names[row]);
        for (size_t area = 0; area < AREAS; area++) {
            const struct scan_result *result = &look->results[row][area];
            enum verdict verdict = judge(result, (enum row)row, (enum area)area);
            fill_cell(&cells[row + 1][area + 1], verdict, result);
            count(look->demo, verdict, (enum row)row, (enum area)area);
        }
    }
    ui_table(&cells[0][0], ROWS + 1, AREAS + 1);
}

static void print_find(const struct look *look, size_t row, size_t area) {
    const struct scan_result *result = &look->results[row][area];
    const struct needle_hit *hit = &result->hit[NEEDLE_SECRET];
    const char *where = result->where[NEEDLE_SECRET];
    ui_line("    %-7s  %zu bytes %s%s%s%s", area_names[area], hit->bytes, needle_form_name(hit->form),
            where[0] != '\0' ? " in " : "", where,
            may_be_found(look->demo, (enum row)row, (enum area)area) ? "" : " <- MUST NOT BE");
}

/* For every child in which the secret was found: where, and how many of its bytes in a row. */
static void show_finds(const struct look *look) {
    for (size_t row = 0; row < ROWS; row++) {
        bool any = false;
        for (size_t area = 0; area < AREAS; area++) {
            if (look->results[row][area].hit[NEEDLE_SECRET].bytes == 0) continue;
            if (!any) ui_line("  found in %s:", row_names[row]);
            print_find(look, row, area);
            any = true;
        }
    }
}

/* For every column the first reason why something was not checked. */
static void show_unchecked(const struct look *look) {
    for (size_t area = 0; area < AREA_CORE; area++)
        for (size_t row = 0; row < ROWS; row++) {
            const struct scan_result *result = &look->results[row][area];
            if (result->complete) continue;
            ui_line("  could not check: %s: %s", area_names[area], strerror(result->os_error));
            break;
        }
    if (look->core_problem != CORE_NONE) ui_line("  could not check: core: %s", core_problem_text(look->core_problem));
}

static void show_totals(const struct look *look) {
    uint64_t memory = 0, core = 0;
    char memory_text[24], core_text[24];
    for (size_t row = 0; row < ROWS; row++) {
        memory += look->results[row][AREA_MEMORY].read_bytes;
        core += look->results[row][AREA_CORE].read_bytes;
    }
    ui_line("  read: %s of memory, %s of core files", ui_bytes(memory, memory_text), ui_bytes(core, core_text));
}

static bool start_subjects(struct demo *demo) {
    static const char *const ways[DEMO_SUBJECTS] = {HOLDER_ENVIRONMENT, HOLDER_HEAP, HOLDER_VAULT};
    for (size_t i = 0; i < DEMO_SUBJECTS; i++)
        if (!subject_start(&demo->subjects[i], ways[i], demo->control_hex, demo->vault, demo->random)) return false;
    return true;
}

bool demo_look(struct demo *demo) {
    static struct look look; /* large; holds no bytes of secrets */
    look = (struct look){.demo = demo};
    ui_heading("3. One random secret in three processes, searched for by %s",
               geteuid() == 0 ? "root" : "the same user");
    memguard_status status = make_needles(demo);
    if (status != MEMGUARD_OK) {
        ui_library_error("the random secret", status);
        return false;
    }
    if (!start_subjects(demo)) return false;
    status = begin_look(&look);
    if (status != MEMGUARD_OK) ui_library_error("the scan", status);
    bool good = status == MEMGUARD_OK && look_and_scrub(&look);
    end_look(&look);
    if (!good) return false;
    show_legend();
    show_table(&look);
    show_finds(&look);
    show_unchecked(&look);
    show_totals(&look);
    return true;
}
