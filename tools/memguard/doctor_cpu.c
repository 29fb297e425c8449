/* Checks of the processor, and of what the kernel does to memory at its two ends.
 * Sources: the kernel's Documentation/admin-guide/hw-vuln, Documentation/admin-guide/kernel-parameters.txt,
 * Documentation/arch/x86/amd-memory-encryption.rst, Documentation/arch/x86/tdx.rst. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "doctor.h"

/* ---- known vulnerabilities ---- */

static const char vulnerabilities_path[] = "sys/devices/system/cpu/vulnerabilities";

struct survey {
    const struct machine *machine;
    unsigned count, open, partly, unread;
    char names[NAME_BYTES]; /* of the open ones, or, where there is none, of the others that are not good */
};

static bool begins(const char *text, const char *with) { return strncmp(text, with, strlen(with)) == 0; }

static enum fact_state judge(const char *text) {
    if (begins(text, "KVM: ")) text += 5;
    if (begins(text, "Not affected")) return FACT_GOOD;
    if (begins(text, "Vulnerable") || begins(text, "Processor vulnerable")) return FACT_BAD;
    if (begins(text, "Mitigation")) return strstr(text, "ulnerable") == NULL ? FACT_GOOD : FACT_DOUBT;
    return FACT_DOUBT; /* "Unknown: ...", and words yet to come */
}

static void add_name(struct survey *survey, const char *name) {
    size_t used = strlen(survey->names);
    snprintf(survey->names + used, sizeof survey->names - used, "%s%.60s", used > 0 ? ", " : "", name);
}

static bool look_at_vulnerability(void *arg, const char *name) {
    struct survey *survey = arg;
    struct text text;
    char path[2 * NAME_BYTES];
    snprintf(path, sizeof path, "%s/%s", vulnerabilities_path, name);
    survey->count++;
    if (machine_read(survey->machine, path, &text) != 0) {
        survey->unread++;
        return true;
    }
    enum fact_state state = judge(text.bytes);
    if (state == FACT_BAD && survey->open++ == 0) survey->names[0] = '\0';
    if (state == FACT_DOUBT) survey->partly++;
    if (state == FACT_BAD || (state == FACT_DOUBT && survey->open == 0)) add_name(survey, name);
    return true;
}

void check_vulnerabilities(const struct machine *machine, struct fact *fact) {
    struct survey survey = {.machine = machine};
    int error = machine_list(machine, vulnerabilities_path, look_at_vulnerability, &survey);
    if (error != 0)
        machine_unread(machine, vulnerabilities_path, error, fact);
    else if (survey.open > 0)
        fact_say(fact, FACT_BAD, "another program on this machine may read memory that is not its own",
                 "%u of %u open: %s", survey.open, survey.count, survey.names);
    else if (survey.unread > 0 || survey.count == 0)
        fact_unknown(fact, "/%s: %u of %u could not be read", vulnerabilities_path, survey.unread, survey.count);
    else if (survey.partly > 0)
        fact_say(fact, FACT_DOUBT, "mitigated in part, or not known: between the threads of a core most likely",
                 "%u of %u: %s", survey.partly, survey.count, survey.names);
    else
        fact_say(fact, FACT_GOOD, "all that the kernel knows of are mitigated or do not concern this processor",
                 "0 of %u open", survey.count);
}

/* ---- freed and fresh memory ---- */

enum answer { NO, YES, NOT_KNOWN };

/* What kstrtobool of the kernel takes. */
static enum answer truth(const char *value) {
    if (value[0] == '1' || value[0] == 'y' || value[0] == 'Y' || begins(value, "on") || begins(value, "ON")) return YES;
    if (value[0] == '0' || value[0] == 'n' || value[0] == 'N' || begins(value, "of") || begins(value, "OF")) return NO;
    return NOT_KNOWN;
}

/* The command line decides, else what the kernel was built with. *where says which. */
static enum answer kernel_switch(const struct machine *machine, const char *option, const char *config,
                                 const char **where, int *error) {
    char value[32];
    *where = "on the kernel's command line";
    bool given = machine_boot_option(machine, option, value, error);
    if (given && truth(value) != NOT_KNOWN) return truth(value);
    *where = "as the kernel was built";
    if (*error != 0) return NOT_KNOWN;
    char built = machine_config(machine, config);
    return built == 'y' ? YES : built == 'n' ? NO : NOT_KNOWN;
}

static void say_switch_unknown(const struct machine *machine, const char *option, int error, struct fact *fact) {
    if (error != 0)
        machine_unread(machine, "proc/cmdline", error, fact);
    else
        fact_unknown(fact,
                     "%s is not on the kernel's command line, and how the kernel was built cannot be read "
                     "(no /boot/config-RELEASE)",
                     option);
}

void check_init_on_free(const struct machine *machine, struct fact *fact) {
    const char *where;
    int error;
    switch (kernel_switch(machine, "init_on_free", "CONFIG_INIT_ON_FREE_DEFAULT_ON", &where, &error)) {
    case YES:
        fact_say(fact, FACT_GOOD,
                 "the kernel wipes what is freed: of pipes, sockets, files in memory, killed processes", "on, %s",
                 where);
        return;
    case NO:
        fact_say(fact, FACT_BAD,
                 "what was freed unwiped (pipes, sockets, killed processes) stays in memory until it is used again; "
                 "memguard wipes its own",
                 "off, %s", where);
        return;
    case NOT_KNOWN:
        say_switch_unknown(machine, "init_on_free", error, fact);
    }
}

void check_init_on_alloc(const struct machine *machine, struct fact *fact) {
    const char *where;
    int error;
    switch (kernel_switch(machine, "init_on_alloc", "CONFIG_INIT_ON_ALLOC_DEFAULT_ON", &where, &error)) {
    case YES:
        fact_say(fact, FACT_GOOD, "faults of the kernel show zeros, not what others left in memory", "on, %s", where);
        return;
    case NO:
        fact_say(fact, FACT_DOUBT, "a kernel that forgets to fill a buffer shows what others left in it", "off, %s",
                 where);
        return;
    case NOT_KNOWN:
        say_switch_unknown(machine, "init_on_alloc", error, fact);
    }
}

/* ---- encrypted memory ---- */

static bool is_there(const struct machine *machine, const char *path) { return machine_find(machine, path, NULL) == 0; }

static void say_by_flags(const struct machine *machine, const char *flags, struct fact *fact) {
    char value[32];
    int error;
    bool asked = machine_boot_option(machine, "mem_encrypt", value, &error) && truth(value) == YES;
    bool sme = text_has_word(flags, "sme"), tme = text_has_word(flags, "tme");
    if (text_has_word(flags, "tdx_guest"))
        fact_say(fact, FACT_GOOD, "the host and its memory chips see ciphertext only", "this is a TDX guest");
    else if (sme && asked)
        fact_say(fact, FACT_GOOD, "the memory chips hold ciphertext only: nothing for a cold boot",
                 "SME, on by mem_encrypt=on");
    else if (sme || tme)
        fact_say(fact, FACT_DOUBT, "the processor is able to; whether it does is not shown to programs", "%s",
                 sme ? "SME, not known to be on" : "TME, not known to be on");
    else
        fact_say(fact, FACT_DOUBT,
                 "memory chips (and, in a virtual machine, the host) hold plaintext: mind cold boots and snapshots",
                 "none seen");
}

void check_memory_encryption(const struct machine *machine, struct fact *fact) {
    struct text text;
    if (is_there(machine, "sys/class/misc/sev-guest"))
        fact_say(fact, FACT_GOOD, "the host and its memory chips see ciphertext only", "this is an SEV-SNP guest");
    else if (is_there(machine, "sys/class/misc/tdx_guest"))
        fact_say(fact, FACT_GOOD, "the host and its memory chips see ciphertext only", "this is a TDX guest");
    else if (!machine_need(machine, "proc/cpuinfo", &text, fact))
        return;
    else {
        const char *flags = text_field(&text, "flags");
        if (flags == NULL) flags = text_field(&text, "Features");
        if (flags == NULL)
            fact_unknown(fact, "/proc/cpuinfo: there is no line with flags");
        else
            say_by_flags(machine, flags, fact);
    }
}
