/* options.h: words of the command line: options with a value, durations, numbers. */
#ifndef MEMGUARD_OPTIONS_H
#define MEMGUARD_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#define OPTIONS_TIME_MOST_MS (UINT64_C(3653) * 24 * 3600 * 1000)

/* The words of a verb, read from left to right. */
struct options {
    int argc, at;
    char **argv;
    bool bad; /* something was wrong, and was said */
};

/* True: the word at hand is `name`, and is passed. */
bool options_flag(struct options *options, const char *name);

/* True: it is `name` with a value (`--x V` or `--x=V`), and both are passed. `bad` when the value is missing. */
bool options_value(struct options *options, const char *name, const char **value);

/* True: it is an option with a duration: a number with ms, s, m, h or d; `bad` for anything else. */
bool options_duration(struct options *options, const char *name, uint64_t *ms);

/* True: it is an option with a number from 1 to `most`. */
bool options_number(struct options *options, const char *name, uint64_t most, uint64_t *number);

/* True: it is an option with the number of a descriptor, from 0. */
bool options_descriptor(struct options *options, const char *name, int *fd);

/* The word at hand, if it is no option, and passes it (and passes over a "--"); else says that it is unknown. False: `bad`. */
bool options_word(struct options *options, const char **word);

/* Whether there is a word left, and nothing was bad. */
bool options_more(const struct options *options);

/* A number alone: digits from 1 to `most`. */
bool options_parse_number(const char *text, uint64_t most, uint64_t *number);

/* A number and a unit, at most OPTIONS_TIME_MOST_MS: 10 years. */
bool options_parse_duration(const char *text, uint64_t *ms);

#endif
