/* What the doctor prints: a line a fact for people, an object for programs (RFC 8259). Facts are clean text already
 * (fact_clean). */
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "doctor.h"
#include "ui.h"

enum { ID_COLUMNS = 22, STATE_COLUMNS = 9, LEAST_COLUMNS = 60, EXPLAIN_COLUMNS = 78 };

/* ---- for people ---- */

/* 0: lines are not folded. */
static size_t terminal_columns(void) {
    struct winsize size;
    if (!isatty(STDOUT_FILENO) || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0) return 0;
    return size.ws_col < LEAST_COLUMNS ? 0 : size.ws_col;
}

/* Columns of the first `bytes` bytes: UTF-8 characters count as one. */
static size_t columns_of(const char *text, size_t bytes) {
    size_t columns = 0;
    for (size_t i = 0; i < bytes; i++)
        columns += ((unsigned char)text[i] & 0xc0) != 0x80;
    return columns;
}

/* Prints words from column `at` on; lines after the first begin at `indent`. */
static void put_folded(const char *text, size_t at, size_t indent, size_t columns) {
    bool first = true;
    while (*text != '\0') {
        size_t bytes = strcspn(text, " ");
        size_t word = columns_of(text, bytes);
        if (!first && columns != 0 && at + 1 + word > columns) {
            printf("\n%*s", (int)indent, "");
            at = indent;
        } else if (!first) {
            putchar(' ');
            at++;
        }
        printf("%.*s", (int)bytes, text);
        at += word;
        text += bytes + strspn(text + bytes, " ");
        first = false;
    }
    putchar('\n');
}

static const char *fix_of(const struct check *check, const struct fact *fact) {
    if (fact->state == FACT_GOOD || fact->state == FACT_UNKNOWN) return "";
    return fact->fix[0] != '\0' ? fact->fix : check->fix;
}

void doctor_print_head(const struct machine *machine) {
    struct text name;
    if (machine->pid == 0) return;
    if (machine_read(machine, "proc/@/comm", &name) != 0) strcpy(name.bytes, "?");
    fact_clean(name.bytes);
    ui_line("process %d (%.64s)", (int)machine->pid, name.bytes);
}

void doctor_print_fact(const struct check *check, const struct check *before, const struct fact *fact) {
    static const enum ui_tone tones[FACT_STATES] = {UI_GOOD, UI_BAD, UI_DOUBT, UI_DOUBT};
    char line[sizeof *fact + 64];
    const char *fix = fix_of(check, fact), *state = fact_state_name(fact->state);
    if (before == NULL || strcmp(before->group, check->group) != 0) ui_heading("%s", check->group);
    printf("  %-*s", ID_COLUMNS, check->id);
    ui_put(tones[fact->state], state);
    printf("%*s", STATE_COLUMNS - (int)strlen(state), "");
    if (fact->state == FACT_UNKNOWN)
        snprintf(line, sizeof line, "could not check: %s", fact->meaning);
    else
        snprintf(line, sizeof line, "%s - %s%s%s", fact->value, fact->meaning, fix[0] != '\0' ? " - fix: " : "", fix);
    put_folded(line, 2 + ID_COLUMNS + STATE_COLUMNS, 2 + ID_COLUMNS + STATE_COLUMNS, terminal_columns());
}

static void explain(const char *what, const char *text) {
    enum { INDENT = 10 };
    size_t columns = terminal_columns();
    printf("  %-*s", INDENT - 2, what);
    put_folded(text, INDENT, INDENT, columns == 0 || columns > EXPLAIN_COLUMNS ? EXPLAIN_COLUMNS : columns);
}

void doctor_print_explanation(const struct check *check) {
    ui_put(UI_STRONG, check->id);
    ui_line(" (%s): %s", check->group, check->title);
    explain("gain:", check->gain);
    explain("fix:", check->fix);
    explain("undo:", check->undo);
    explain("source:", check->source);
}

/* ---- for programs ---- */

/* Clean text needs these two escapes only; control characters are escaped all the same. */
static void put_json_text(const char *text) {
    putchar('"');
    for (const unsigned char *at = (const unsigned char *)text; *at != '\0'; at++) {
        if (*at == '"' || *at == '\\')
            printf("\\%c", *at);
        else if (*at < 0x20 || *at == 0x7f)
            printf("\\u%04x", *at);
        else
            putchar(*at);
    }
    putchar('"');
}

static void put_json_member(const char *name, const char *text, const char *after) {
    printf("\"%s\": ", name);
    put_json_text(text);
    fputs(after, stdout);
}

void doctor_json_head(const struct machine *machine) {
    fputs("{", stdout);
    put_json_member("version", memguard_version(), ", ");
    if (machine->pid == 0)
        fputs("\"pid\": null, \"facts\": [", stdout);
    else
        printf("\"pid\": %d, \"facts\": [", (int)machine->pid);
}

void doctor_json_fact(const struct check *check, bool first, const struct fact *fact) {
    char why[FACT_TEXT + 32];
    bool unknown = fact->state == FACT_UNKNOWN;
    snprintf(why, sizeof why, "%s%s", unknown ? "could not check: " : "", fact->meaning);
    fputs(first ? "\n  {" : ",\n  {", stdout);
    put_json_member("id", check->id, ", ");
    put_json_member("group", check->group, ", ");
    put_json_member("state", fact_state_name(fact->state), ", ");
    put_json_member("value", fact->value, ", ");
    put_json_member("meaning", why, ", ");
    put_json_member("fix", fix_of(check, fact), "}");
}

void doctor_json_end(void) { puts("\n]}"); }
