/* Printing what a scan found: places, lengths and forms, and never a byte of what lies there. */
#define _GNU_SOURCE
#include "scan_show.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "ui.h"

enum { SHOWN_MOST = 200, COLUMNS = 80 };

enum verdict show_verdict(const struct look *look) {
    if (look->count != 0) return VERDICT_FOUND;
    return look->looked && look->problem_count == 0 ? VERDICT_CLEAN : VERDICT_UNREAD;
}

/* ---- words ---- */

static uint32_t piece_bytes(const struct sought *sought, const struct found *one) {
    return sought->needles.piece[one->piece].length;
}

static const char *part_name(const struct sought *sought, const struct found *one) {
    return sought->needles.piece[one->piece].name;
}

static bool is_whole(const struct sought *sought, const struct found *one) {
    return one->bytes >= piece_bytes(sought, one);
}

/* The largest of the windows that the run fills. */
static unsigned window_of(const struct found *one) {
    return one->bytes >= 32 ? 32 : one->bytes >= 16 ? 16 : one->bytes >= 8 ? 8 : one->bytes;
}

static void put_length(const struct sought *sought, const struct found *one) {
    char text[48];
    if (is_whole(sought, one))
        snprintf(text, sizeof text, "whole (%u bytes)", one->bytes);
    else
        snprintf(text, sizeof text, "%u of %u bytes (%u in a row)", one->bytes, piece_bytes(sought, one),
                 window_of(one));
    printf("%-30s", text);
}

static void show_one(const struct sought *sought, const struct found *one) {
    const char *part = part_name(sought, one);
    printf("  %#014llx  ", (unsigned long long)one->address);
    put_length(sought, one);
    printf("  %-9s  %s%s%s", needle_form_name(one->form), part != NULL ? part : "", part != NULL ? " in " : "",
           one->place);
    if (one->thread != 0) printf(" of thread %d", (int)one->thread);
    if (one->state != NULL) printf(", %s", one->state);
    if (one->name[0] != '\0' && strcmp(one->name, "anonymous") != 0) printf(", %s", one->name);
    printf("+%#llx\n", (unsigned long long)one->offset);
}

/* ---- for people ---- */

static void show_subject(const struct sought *sought, const char *target) {
    if (sought->key.count != 0)
        ui_line("%s, searched for the secret numbers of a private key (%s):", target, sought->key.kind);
    else
        ui_line("%s, searched for a secret of %zu bytes:", target, sought->bytes);
}

static void show_looked(const struct look *look, const struct sought *sought) {
    char text[24];
    ui_line("  looked at: %s of %s%s", ui_bytes(look->read_bytes, text),
            look->is_core ? "the file" : "memory, environment, command line",
            look->files != 0 ? ", open files without a name" : "");
    if (look->hidden_bytes != 0)
        ui_line("  not shown to anybody by the kernel (memfd_secret, devices, beyond the end of files): %s",
                ui_bytes(look->hidden_bytes, text));
    if (look->absent_bytes != 0)
        ui_line("  not in the core file, as it was made without them: %s", ui_bytes(look->absent_bytes, text));
    if (sought->needles.dull != 0)
        ui_line("  not looked for: %zu places of the secret where one byte is repeated %zu times", sought->needles.dull,
                sought->needles.window);
    for (size_t i = 0; i < look->problem_count; i++) {
        ui_put(UI_BAD, "  could not look");
        ui_line(": %s", look->problems[i]);
    }
}

static void show_conclusion(const struct look *look) {
    switch (show_verdict(look)) {
    case VERDICT_FOUND:
        ui_put(UI_BAD, "FOUND");
        ui_line(" in %llu place%s", (unsigned long long)look->count + look->more,
                look->count + look->more == 1 ? "" : "s");
        break;
    case VERDICT_CLEAN:
        ui_put(UI_GOOD, "clean");
        ui_line(": no 8 bytes of it in a row, or the whole of a shorter one, in what the kernel shows");
        break;
    case VERDICT_UNREAD:
        ui_put(UI_DOUBT, "could not look");
        ui_line(" at everything: this says nothing");
        break;
    }
}

void show_text(const struct look *look, const struct sought *sought, const char *target) {
    show_subject(sought, target);
    for (size_t i = 0; i < look->count && i < SHOWN_MOST; i++)
        show_one(sought, &look->found[i]);
    if (look->count + look->more > SHOWN_MOST)
        ui_line("  and %llu more (--json lists up to %d)", (unsigned long long)look->count + look->more - SHOWN_MOST,
                LOOK_FOUND_MOST);
    show_looked(look, sought);
    show_conclusion(look);
}

/* ---- for programs ---- */

static void put_text(const char *name, const char *text) {
    printf("\"%s\": ", name);
    if (text == NULL) {
        fputs("null", stdout);
        return;
    }
    putchar('"');
    for (const unsigned char *at = (const unsigned char *)text; *at != '\0'; at++) {
        if (*at == '"' || *at == '\\')
            printf("\\%c", *at);
        else if (*at < 0x20 || *at >= 0x7f)
            printf("\\u%04x", *at);
        else
            putchar(*at);
    }
    putchar('"');
}

static void put_found(const struct sought *sought, const struct found *one) {
    printf("{\"address\": \"%#llx\", \"bytes\": %u, \"of\": %u, \"window\": %u, \"whole\": %s, ",
           (unsigned long long)one->address, one->bytes, piece_bytes(sought, one), window_of(one),
           is_whole(sought, one) ? "true" : "false");
    put_text("form", needle_form_name(one->form));
    fputs(", ", stdout);
    put_text("part", part_name(sought, one));
    fputs(", ", stdout);
    put_text("place", one->place);
    fputs(", ", stdout);
    put_text("name", one->name[0] != '\0' ? one->name : NULL);
    fputs(", ", stdout);
    put_text("state", one->state);
    printf(", \"offset\": %llu, \"thread\": ", (unsigned long long)one->offset);
    if (one->thread != 0)
        printf("%d}", (int)one->thread);
    else
        fputs("null}", stdout);
}

void show_json(const struct look *look, const struct sought *sought, const char *target) {
    static const char *const verdicts[] = {"clean", "found", "unread"};
    fputs("{", stdout);
    put_text("target", target);
    fputs(", ", stdout);
    put_text("verdict", verdicts[show_verdict(look)]);
    printf(", \"secret_bytes\": %zu, \"windows\": %zu, \"repeated\": %zu, ", sought->bytes, sought->needles.windows,
           sought->needles.dull);
    put_text("key", sought->key.count != 0 ? sought->key.kind : NULL);
    printf(
        ", \"read_bytes\": %llu, \"hidden_bytes\": %llu, \"unread_bytes\": %llu, \"absent_bytes\": %llu, \"found\": [",
        (unsigned long long)look->read_bytes, (unsigned long long)look->hidden_bytes,
        (unsigned long long)look->unread_bytes, (unsigned long long)look->absent_bytes);
    for (size_t i = 0; i < look->count; i++) {
        fputs(i == 0 ? "\n " : ",\n ", stdout);
        put_found(sought, &look->found[i]);
    }
    printf("], \"more\": %llu, \"problems\": [", (unsigned long long)look->more);
    for (size_t i = 0; i < look->problem_count; i++) {
        fputs(i == 0 ? "{" : ", {", stdout);
        put_text("text", look->problems[i]);
        putchar('}');
    }
    puts("]}");
}

/* ---- as a picture ---- */

struct drawing {
    char title[96];
    struct picture_hit *hits;
    struct picture picture;
};

static bool begin_drawing(struct drawing *drawing, const struct look *look, const struct sought *sought,
                          const char *target) {
    size_t count = 0;
    drawing->hits = calloc(look->count + 1, sizeof *drawing->hits);
    if (drawing->hits == NULL) {
        ui_error("out of memory");
        return false;
    }
    for (size_t i = 0; i < look->count; i++) {
        const struct found *one = &look->found[i];
        const char *part = part_name(sought, one);
        if (one->source != SOURCE_MEMORY) continue;
        struct picture_hit *hit = &drawing->hits[count++];
        hit->address = one->address;
        hit->bytes = one->bytes;
        snprintf(hit->what, sizeof hit->what, "%s%s%s in %s", part != NULL ? part : "", part != NULL ? ", " : "",
                 needle_form_name(one->form), one->place);
    }
    snprintf(drawing->title, sizeof drawing->title, "%s", target);
    drawing->picture =
        (struct picture){drawing->title, look->spans, look->spans != NULL ? look->maps.count : 0, drawing->hits, count};
    return true;
}

bool show_map(const struct look *look, const struct sought *sought, const char *target) {
    struct drawing drawing;
    if (!begin_drawing(&drawing, look, sought, target)) return false;
    size_t columns = ui_columns();
    bool good = picture_print(&drawing.picture, stdout, columns == 0 ? COLUMNS : (unsigned)columns, ui_has_colour());
    free(drawing.hits);
    if (!good) ui_error("the picture could not be drawn: %s", strerror(errno));
    return good;
}

bool show_svg(const struct look *look, const struct sought *sought, const char *target, const char *path) {
    struct drawing drawing;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0666);
    FILE *file = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (file == NULL) {
        ui_error("%s: %s", path, strerror(errno));
        if (fd >= 0) close(fd);
        return false;
    }
    bool good = begin_drawing(&drawing, look, sought, target);
    if (good) {
        good = picture_svg(&drawing.picture, file);
        free(drawing.hits);
    }
    if (fclose(file) != 0) good = false;
    if (!good) ui_error("%s: could not be written: %s", path, strerror(errno));
    return good;
}
