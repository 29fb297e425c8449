/* What the doctor prints: a line a fact, which a terminal shows in pieces; an object for programs (RFC 8259). Facts are clean text already
 * (fact_clean). */
#include <stdio.h>
#include <string.h>

#include "doctor.h"
#include "ui.h"

enum { ID_COLUMNS = 22, STATE_COLUMNS = 9, INDENT = 6, LEAST_COLUMNS = 40, EXPLAIN_COLUMNS = 78 };

/* ---- for people ---- */

/* 0: lines are not folded. */
static size_t terminal_columns(void) {
    size_t columns = ui_columns();
    return columns < LEAST_COLUMNS ? 0 : columns;
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

static void put_state(const struct check *check, const struct fact *fact) {
    static const enum ui_tone tones[FACT_STATES] = {UI_GOOD, UI_BAD, UI_DOUBT, UI_DOUBT};
    const char *state = fact_state_name(fact->state);
    printf("  %-*s", ID_COLUMNS, check->id);
    ui_put(tones[fact->state], state);
}

static void put_padding(const struct fact *fact) {
    printf("%*s", STATE_COLUMNS - (int)strlen(fact_state_name(fact->state)), "");
}

static void put_line(const struct fact *fact, const char *fix) {
    put_padding(fact);
    if (fact->state == FACT_UNKNOWN)
        ui_line("could not check: %s", fact->meaning);
    else
        ui_line("%s - %s%s%s", fact->value, fact->meaning, fix[0] != '\0' ? " - fix: " : "", fix);
}

/* A value that is too long for the rest of the line begins below it, as the other pieces do. */
static void put_value(const struct fact *fact, size_t columns) {
    const char *value = fact->state == FACT_UNKNOWN ? "could not check" : fact->value;
    const size_t at = 2 + ID_COLUMNS + STATE_COLUMNS;
    const bool below = at + columns_of(value, strlen(value)) > columns;
    if (below)
        printf("\n%*s", INDENT, "");
    else
        put_padding(fact);
    put_folded(value, below ? INDENT : at, INDENT, columns);
}

static void put_piece(const char *before, const char *text, size_t columns) {
    printf("%*s%s", INDENT, "", before);
    put_folded(text, INDENT + strlen(before), INDENT, columns);
}

static void put_pieces(const struct fact *fact, const char *fix, size_t columns) {
    put_value(fact, columns);
    put_piece("", fact->meaning, columns);
    if (fix[0] != '\0') put_piece("fix: ", fix, columns);
}

void doctor_print_fact(const struct check *check, const struct check *before, const struct fact *fact) {
    const char *fix = fix_of(check, fact);
    const size_t columns = terminal_columns();
    if (before == NULL || strcmp(before->group, check->group) != 0) ui_heading("%s", check->group);
    put_state(check, fact);
    if (columns == 0)
        put_line(fact, fix);
    else
        put_pieces(fact, fix, columns);
}

void doctor_print_end(const size_t counts[FACT_STATES]) {
    char line[120];
    const size_t facts = counts[FACT_GOOD] + counts[FACT_BAD] + counts[FACT_DOUBT] + counts[FACT_UNKNOWN];
    snprintf(line, sizeof line, "%zu bad, %zu doubt, %zu could not be checked, of %zu facts", counts[FACT_BAD],
             counts[FACT_DOUBT], counts[FACT_UNKNOWN], facts);
    putchar('\n');
    put_folded(line, 0, 0, terminal_columns());
    put_folded("more about a fact: memguard doctor --explain ID", 0, 0, terminal_columns());
}

static void explain(const char *what, const char *text) {
    enum { TEXT_AT = 10 };
    size_t columns = terminal_columns();
    printf("  %-*s", TEXT_AT - 2, what);
    put_folded(text, TEXT_AT, TEXT_AT, columns == 0 || columns > EXPLAIN_COLUMNS ? EXPLAIN_COLUMNS : columns);
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
