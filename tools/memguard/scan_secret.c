/* Making needles. The secret and the index of it are in views of a vault only. */
#include "scan_secret.h"

#include <stdio.h>

#include "ui.h"

enum judgement { JUDGED_TEXT, JUDGED_KEY };

static int judge(const void *bytes, size_t size, void *arg) {
    (void)arg;
    return key_is_pem(bytes, size) ? JUDGED_KEY : JUDGED_TEXT;
}

/* The newline at the end of a file is seldom a part of the secret. */
static int count_without_newline(const void *bytes, size_t size, void *arg) {
    const char *text = bytes;
    (void)arg;
    if (size > 0 && text[size - 1] == '\n') size--;
    if (size > 0 && text[size - 1] == '\r') size--;
    return (int)size;
}

struct building {
    struct sought *sought;
    uint8_t *blob;
};

static int add_parts(const void *bytes, size_t size, void *arg) {
    const struct building *building = arg;
    struct sought *sought = building->sought;
    if (sought->key.count == 0)
        return needle_add(&sought->needles, building->blob, NEEDLE_SECRET, NULL, bytes,
                          sought->bytes < size ? sought->bytes : size);
    for (size_t i = 0; i < sought->key.count; i++) {
        const struct key_part *part = &sought->key.part[i];
        if (part->length >= NEEDLE_WINDOW && !needle_add(&sought->needles, building->blob, NEEDLE_SECRET, part->name,
                                                         (const uint8_t *)bytes + part->at, part->length))
            return 0;
    }
    return 1;
}

struct build {
    struct building building;
    memguard_secret source;
    memguard_status status;
};

static int build_scrubbed(void *arg) {
    struct build *build = arg;
    int good = 0;
    build->status = memguard_secret_use(build->source, add_parts, &build->building, &good);
    return good;
}

/* The index of `source`, built in a WRITE view, then lent read-only. */
static memguard_status make_blob(struct sought *sought, memguard_vault *vault, memguard_secret source) {
    size_t window = sought->bytes < NEEDLE_WINDOW && sought->key.count == 0 ? sought->bytes : NEEDLE_WINDOW;
    size_t size = needle_plan(&sought->needles, sought->bytes, window);
    MEMGUARD_AUTO_VIEW memguard_view view = {0};
    memguard_status status = memguard_secret_create(vault, size, MEMGUARD_SEALED, &sought->blob);
    if (status == MEMGUARD_OK) status = memguard_secret_acquire(sought->blob, MEMGUARD_WRITE, &view);
    if (status != MEMGUARD_OK) return status;
    struct build build = {.building = {sought, view.data}, .source = source};
    int good = 0;
    status = memguard_call_scrubbed(build_scrubbed, &build, &good);
    if (status == MEMGUARD_OK) status = build.status;
    if (status == MEMGUARD_OK && !good) status = MEMGUARD_ERR_SIZE;
    memguard_status released = memguard_view_release(&view);
    if (status == MEMGUARD_OK) status = released;
    if (status == MEMGUARD_OK) status = memguard_secret_acquire(sought->blob, MEMGUARD_READ, &sought->view);
    sought->needles.blob = sought->view.data;
    return status;
}

static bool index_it(struct sought *sought, memguard_vault *vault, memguard_secret source, const char *from) {
    memguard_status status = make_blob(sought, vault, source);
    if (status != MEMGUARD_OK) {
        ui_library_error(from, status);
        if (status == MEMGUARD_ERR_LOCK_LIMIT)
            ui_error("a secret of %zu bytes needs an index of about %zu times its size", sought->bytes, (size_t)17);
        return false;
    }
    if (sought->needles.windows != 0) return true;
    ui_error("%s: nothing to look for: it is one byte repeated", from);
    return false;
}

static bool take_key(struct sought *sought, memguard_vault *vault, memguard_secret secret, const char *from) {
    MEMGUARD_AUTO memguard_secret binary = {0};
    memguard_status status;
    enum key_problem problem = key_decode(vault, secret, &binary, &sought->key, &status);
    if (problem == KEY_LIBRARY)
        ui_library_error(from, status);
    else if (problem != KEY_FINE)
        ui_error("%s %s", from, key_problem_text(problem));
    if (problem != KEY_FINE) return false;
    sought->bytes = 0;
    for (size_t i = 0; i < sought->key.count; i++)
        if (sought->key.part[i].length >= NEEDLE_WINDOW) sought->bytes += sought->key.part[i].length;
    if (sought->bytes != 0) return index_it(sought, vault, binary, from);
    ui_error("%s: its numbers are too small to be looked for", from);
    return false;
}

static bool take_text(struct sought *sought, memguard_vault *vault, memguard_secret secret, const char *from) {
    int bytes = 0;
    memguard_status status = memguard_secret_use(secret, count_without_newline, NULL, &bytes);
    if (status != MEMGUARD_OK) {
        ui_library_error(from, status);
        return false;
    }
    sought->bytes = (size_t)bytes;
    if (bytes < NEEDLE_LEAST) {
        ui_error("%s: %d bytes are too few to look for: any memory has them (at least %d)", from, bytes, NEEDLE_LEAST);
        return false;
    }
    if (bytes < NEEDLE_WINDOW)
        ui_error("warning: %s has only %d bytes: it is looked for as a whole, and hits by chance are likely", from,
                 bytes);
    return index_it(sought, vault, secret, from);
}

bool sought_make(struct sought *sought, memguard_vault *vault, memguard_secret secret, bool need_key,
                 const char *from) {
    int judged = JUDGED_TEXT;
    *sought = (struct sought){0};
    memguard_status status = memguard_secret_use(secret, judge, NULL, &judged);
    if (status != MEMGUARD_OK) {
        ui_library_error(from, status);
        return false;
    }
    if (judged == JUDGED_KEY || need_key) return take_key(sought, vault, secret, from);
    return take_text(sought, vault, secret, from);
}

void sought_drop(struct sought *sought) {
    memguard_status ignored = memguard_view_release(&sought->view);
    if (sought->blob.id != 0) ignored = memguard_secret_destroy(&sought->blob);
    (void)ignored;
    sought->needles.blob = NULL;
}
