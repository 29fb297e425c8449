/* Reading the command line of a verb. */
#include "options.h"

#include <limits.h>
#include <string.h>

#include "ui.h"

bool options_more(const struct options *options) { return !options->bad && options->at < options->argc; }

static const char *here(const struct options *options) { return options->argv[options->at]; }

bool options_flag(struct options *options, const char *name) {
    if (!options_more(options) || strcmp(here(options), name) != 0) return false;
    options->at++;
    return true;
}

bool options_value(struct options *options, const char *name, const char **value) {
    size_t length = strlen(name);
    if (!options_more(options) || strncmp(here(options), name, length) != 0) return false;
    const char *rest = here(options) + length;
    if (rest[0] == '=') {
        *value = rest + 1;
        options->at++;
        return true;
    }
    if (rest[0] != '\0') return false;
    if (options->at + 1 == options->argc) {
        ui_error("%s needs a value", name);
        options->bad = true;
        return true;
    }
    *value = options->argv[options->at + 1];
    options->at += 2;
    return true;
}

/* Digits up to `most`; *end is what follows. */
static bool digits(const char *text, uint64_t most, uint64_t *number, const char **end) {
    uint64_t value = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9'; at++) {
        uint64_t digit = (uint64_t)(*at - '0');
        if (value > (most - digit) / 10) return false;
        value = value * 10 + digit;
    }
    *number = value;
    *end = at;
    return at != text && value != 0;
}

bool options_parse_number(const char *text, uint64_t most, uint64_t *number) {
    const char *end;
    return digits(text, most, number, &end) && *end == '\0';
}

bool options_parse_duration(const char *text, uint64_t *ms) {
    static const struct {
        const char *unit;
        uint64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    const char *unit;
    uint64_t number;
    if (!digits(text, OPTIONS_TIME_MOST_MS, &number, &unit)) return false;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (strcmp(unit, units[i].unit) == 0 && number <= OPTIONS_TIME_MOST_MS / units[i].ms) {
            *ms = number * units[i].ms;
            return true;
        }
    return false;
}

bool options_duration(struct options *options, const char *name, uint64_t *ms) {
    const char *text = NULL;
    if (!options_value(options, name, &text)) return false;
    if (text != NULL && !options_parse_duration(text, ms)) {
        ui_error("%s takes a time such as 90s, 30m, 8h or 7d, not %s", name, text);
        options->bad = true;
    }
    return true;
}

bool options_number(struct options *options, const char *name, uint64_t most, uint64_t *number) {
    const char *text = NULL;
    if (!options_value(options, name, &text)) return false;
    if (text != NULL && !options_parse_number(text, most, number)) {
        ui_error("%s takes a number from 1 to %llu, not %s", name, (unsigned long long)most, text);
        options->bad = true;
    }
    return true;
}

bool options_descriptor(struct options *options, const char *name, int *fd) {
    const char *text = NULL;
    uint64_t number = 0;
    if (!options_value(options, name, &text)) return false;
    if (text != NULL && strcmp(text, "0") != 0 && !options_parse_number(text, INT_MAX, &number)) {
        ui_error("%s takes the number of a descriptor, not %s", name, text);
        options->bad = true;
    }
    *fd = (int)number;
    return true;
}

bool options_word(struct options *options, const char **word) {
    if (!options_more(options)) return false;
    if (strcmp(here(options), "--") == 0) { /* no word that a verb takes begins with a dash */
        options->at++;
        return true;
    }
    if (here(options)[0] == '-' || *word != NULL) {
        ui_error("unknown argument: %s", here(options));
        options->bad = true;
        return false;
    }
    *word = here(options);
    options->at++;
    return true;
}
