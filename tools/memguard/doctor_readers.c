/* Checks of who may read the memory of others: tracers, root, the kernel's own windows.
 * Sources: ptrace(2), the kernel's Documentation/admin-guide/LSM/Yama.rst, kernel_lockdown(7), mem(4), capabilities(7),
 * perf_event_open(2), bpf(2), proc(5) on hidepid. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "doctor.h"

enum { MOUNTS_MOST = 1024 * 1024 };

void check_ptrace_scope(const struct machine *machine, struct fact *fact) {
    static const char path[] = "proc/sys/kernel/yama/ptrace_scope";
    long long scope;
    int error = machine_find(machine, path, NULL);
    if (machine_lacks(machine, "proc/sys/kernel", error)) {
        fact_say(fact, FACT_BAD,
                 "any program of a user can read the memory of that user's others, unless they are not dumpable",
                 "no Yama in this kernel");
        fact_fix(fact, "boot with lsm=...,yama (see /sys/kernel/security/lsm for the rest), or harden each program: "
                       "memguard_harden, PR_SET_DUMPABLE 0");
        return;
    }
    if (!machine_number(machine, path, &scope, fact)) return;
    if (scope == 0)
        fact_say(fact, FACT_BAD,
                 "any program of a user can read the memory of that user's others, unless they are not dumpable", "0");
    else if (scope == 1)
        fact_say(fact, FACT_GOOD, "a program can read the memory of its own children only (root: of all)", "1");
    else if (scope == 2 || scope == 3)
        fact_say(fact, FACT_GOOD,
                 scope == 2 ? "only who has CAP_SYS_PTRACE can read the memory of others"
                            : "nobody can attach to another process, until the next boot",
                 "%lld", scope);
    else
        fact_unknown(fact, "/%s: %lld has no meaning known", path, scope);
}

/* ---- the kernel's windows on memory ---- */

static bool is_locked_down(const struct machine *machine, const char *least) {
    int error;
    const char *lockdown = machine_lockdown(machine, &error);
    if (lockdown == NULL || strcmp(lockdown, "none") == 0) return false;
    return strcmp(lockdown, "confidentiality") == 0 || strcmp(least, "integrity") == 0;
}

void check_dev_mem(const struct machine *machine, struct fact *fact) {
    int error = machine_find(machine, "dev/mem", NULL);
    if (machine_lacks(machine, "dev", error)) {
        fact_say(fact, FACT_GOOD, "no window on physical memory", "there is no /dev/mem");
        return;
    }
    if (error != 0) {
        machine_unread(machine, "dev/mem", error, fact);
        return;
    }
    char strict = machine_config(machine, "CONFIG_STRICT_DEVMEM");
    if (is_locked_down(machine, "integrity"))
        fact_say(fact, FACT_GOOD, "lockdown closes it", "/dev/mem, under lockdown");
    else if (strict == 'y')
        fact_say(fact, FACT_GOOD, "root sees devices in it, not the memory of programs", "/dev/mem, strict");
    else if (strict == 'n')
        fact_say(fact, FACT_BAD, "root reads all physical memory, that of memfd_secret(2), too",
                 "/dev/mem, not strict");
    else
        fact_unknown(fact,
                     "/dev/mem is there, and nothing tells whether it is strict (no /boot/config-RELEASE to be read)");
}

void check_kcore(const struct machine *machine, struct fact *fact) {
    mode_t mode;
    int error = machine_find(machine, "proc/kcore", &mode);
    if (machine_lacks(machine, "proc/self", error))
        fact_say(fact, FACT_GOOD, "no window on the kernel's memory", "there is no /proc/kcore");
    else if (error != 0)
        machine_unread(machine, "proc/kcore", error, fact);
    else if (!S_ISREG(mode))
        fact_say(fact, FACT_GOOD, "something else was mounted over it, as containers do", "/proc/kcore is masked");
    else if (is_locked_down(machine, "confidentiality"))
        fact_say(fact, FACT_GOOD, "lockdown closes it", "/proc/kcore, under lockdown");
    else
        fact_say(fact, FACT_DOUBT, "root reads all memory by it, but for pages of memfd_secret(2)",
                 "/proc/kcore is open to root");
}

void check_lockdown(const struct machine *machine, struct fact *fact) {
    int error;
    const char *lockdown = machine_lockdown(machine, &error);
    if (error != 0)
        machine_unread(machine, "sys/kernel/security/lockdown", error, fact);
    else if (lockdown == NULL)
        fact_unknown(fact, "/sys/kernel/security/lockdown: no mode is marked");
    else if (strcmp(lockdown, "confidentiality") == 0)
        fact_say(fact, FACT_GOOD, "root gets neither code into the kernel nor secrets out of it", "confidentiality");
    else if (strcmp(lockdown, "integrity") == 0)
        fact_say(fact, FACT_DOUBT, "root gets no code into the kernel, but may read by kernel probes and /proc/kcore",
                 "integrity");
    else
        fact_say(fact, FACT_DOUBT, "root can load code into the kernel, and so read everything", "none");
}

/* ---- rights ---- */

struct capability {
    unsigned number;
    const char *name;
};

/* With these a process reads other processes' memory, or files that hold it. */
static const struct capability reading[] = {
    {1, "CAP_DAC_OVERRIDE"}, {2, "CAP_DAC_READ_SEARCH"},     {16, "CAP_SYS_MODULE"}, {17, "CAP_SYS_RAWIO"},
    {19, "CAP_SYS_PTRACE"},  {21, "CAP_SYS_ADMIN"},          {22, "CAP_SYS_BOOT"},   {38, "CAP_PERFMON"},
    {39, "CAP_BPF"},         {40, "CAP_CHECKPOINT_RESTORE"},
};

static void list_capabilities(unsigned long long mask, char names[FACT_TEXT]) {
    size_t used = 0;
    names[0] = '\0';
    for (size_t i = 0; i < sizeof reading / sizeof reading[0]; i++)
        if ((mask >> reading[i].number & 1) != 0)
            used += (size_t)snprintf(names + used, FACT_TEXT - used, "%s%s", used > 0 ? ", " : "", reading[i].name);
}

void check_capabilities(const struct machine *machine, struct fact *fact) {
    struct text text;
    char names[FACT_TEXT], *end;
    if (!machine_need(machine, "proc/@/status", &text, fact)) return;
    const char *field = text_field(&text, "CapEff");
    unsigned long long mask = field != NULL ? strtoull(field, &end, 16) : 0;
    if (field == NULL || end == field) {
        fact_unknown(fact, "the process's status: there is no line CapEff");
        return;
    }
    list_capabilities(mask, names);
    if (names[0] == '\0')
        fact_say(fact, FACT_GOOD, "the process cannot read other users' processes", "none that reads others' memory");
    else
        fact_say(fact, FACT_DOUBT,
                 machine_in_first_namespace(machine)
                     ? "who takes the process over can read other processes' memory by these"
                     : "who takes the process over can read other processes' memory in its user namespace by these",
                 "%s", names);
}

void check_perf_events(const struct machine *machine, struct fact *fact) {
    long long level;
    static const char path[] = "proc/sys/kernel/perf_event_paranoid";
    int error = machine_find(machine, path, NULL);
    if (machine_lacks(machine, "proc/sys/kernel", error))
        fact_say(fact, FACT_GOOD, "nobody can measure others by it", "not in this kernel");
    else if (!machine_number(machine, path, &level, fact))
        return;
    else if (level >= 2)
        fact_say(fact, FACT_GOOD, "plain users cannot measure the kernel or the whole machine", "%lld", level);
    else if (level == 1)
        fact_say(fact, FACT_DOUBT, "plain users can sample what the kernel does for their programs", "1");
    else
        fact_say(fact, FACT_BAD, "plain users can sample all processors: a side channel to everybody's secrets", "%lld",
                 level);
}

void check_unprivileged_bpf(const struct machine *machine, struct fact *fact) {
    static const char path[] = "proc/sys/kernel/unprivileged_bpf_disabled";
    long long disabled;
    int error = machine_find(machine, path, NULL);
    if (machine_lacks(machine, "proc/sys/kernel", error))
        fact_say(fact, FACT_GOOD, "plain users get no code into the kernel", "not in this kernel");
    else if (!machine_number(machine, path, &disabled, fact))
        return;
    else if (disabled == 1 || disabled == 2)
        fact_say(fact, FACT_GOOD, "plain users get no code into the kernel", "%lld", disabled);
    else if (disabled == 0)
        fact_say(fact, FACT_BAD,
                 "plain users may load BPF programs, which have been used to read all memory speculatively", "0");
    else
        fact_unknown(fact, "/%s: %lld has no meaning known", path, disabled);
}

/* ---- /proc ---- */

struct proc_mount {
    bool found, hides;
    char option[32];
};

static bool is_hiding(const char *value) {
    static const char *const modes[] = {"1", "2", "4", "noaccess", "invisible", "ptraceable"};
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++)
        if (strcmp(value, modes[i]) == 0) return true;
    return false;
}

/* "24 1 0:22 / /proc rw,nosuid shared:5 - proc proc rw,hidepid=invisible": the last one on /proc is on top. */
static bool look_for_proc(void *arg, const char *line, size_t length) {
    struct proc_mount *mount = arg;
    char point[NAME_BYTES];
    const char *type = strstr(line, " - proc ");
    (void)length;
    if (sscanf(line, "%*s %*s %*s %*s %255s", point) != 1 || strcmp(point, "/proc") != 0) return true;
    memset(mount, 0, sizeof *mount);
    mount->found = type != NULL;
    const char *option = type != NULL ? strstr(type, "hidepid=") : NULL;
    if (option == NULL) return true;
    option += strlen("hidepid=");
    snprintf(mount->option, sizeof mount->option, "%.*s", (int)strcspn(option, ", \n"), option);
    mount->hides = is_hiding(mount->option);
    return true;
}

void check_hidepid(const struct machine *machine, struct fact *fact) {
    struct proc_mount mount = {0};
    int error = machine_pieces(machine, "proc/self/mountinfo", '\n', MOUNTS_MOST, look_for_proc, &mount);
    if (error != 0)
        machine_unread(machine, "proc/self/mountinfo", error, fact);
    else if (!mount.found)
        fact_unknown(fact, "/proc/self/mountinfo: there is no /proc in it");
    else if (mount.hides)
        fact_say(fact, FACT_GOOD, "users do not see other users' command lines", "hidepid=%s", mount.option);
    else
        fact_say(fact, FACT_DOUBT, "every user sees everybody's command lines: a secret given as an argument is public",
                 "%s%s", mount.option[0] != '\0' ? "hidepid=" : "no hidepid", mount.option);
}
