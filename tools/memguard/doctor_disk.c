/* Checks of what may reach a disk: swap, and the image of a hibernation.
 * Sources: swapon(8), the kernel's Documentation/admin-guide/device-mapper (the uuid of a mapping begins with its
 * kind), Documentation/admin-guide/blockdev/zram.rst, Documentation/power/interface.rst, proc_pid_mountinfo(5). */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "doctor.h"

enum { LAYERS_MOST = 8, MOUNTS_MOST = 1024 * 1024, MAPS_MOST = 4 * 1024 * 1024 };

/* Where bytes that go to a device end up; the worst comes last. */
enum refuge { IN_MEMORY, ENCRYPTED, UNCLEAR, PLAIN };

static enum refuge worse(enum refuge a, enum refuge b) { return a > b ? a : b; }

/* ---- block devices ---- */

static enum refuge device_refuge(const struct machine *machine, const char *device, unsigned layer);

struct layers {
    const struct machine *machine;
    unsigned layer, count;
    enum refuge worst;
};

static bool add_layer(void *arg, const char *name) {
    struct layers *layers = arg;
    char path[2 * NAME_BYTES];
    snprintf(path, sizeof path, "sys/class/block/%s", name);
    layers->worst = worse(layers->worst, device_refuge(layers->machine, path, layers->layer + 1));
    layers->count++;
    return true;
}

/* What lies below a device that does not encrypt: a disk (plain), or other devices. */
static enum refuge refuge_below(const struct machine *machine, const char *device, unsigned layer) {
    struct layers layers = {machine, layer, 0, IN_MEMORY};
    char path[2 * NAME_BYTES + 16];
    bool is_part;
    snprintf(path, sizeof path, "%s/partition", device);
    is_part = machine_find(machine, path, NULL) == 0; /* what is below is known of its whole disk */
    snprintf(path, sizeof path, "%s%s/slaves", device, is_part ? "/.." : "");
    int error = machine_list(machine, path, add_layer, &layers);
    if (error != 0 && error != ENOENT) return UNCLEAR;
    return layers.count > 0 ? layers.worst : PLAIN;
}

/* verity and integrity are of the same family, and hide nothing. */
static bool is_encrypting(const char *uuid) {
    return strncmp(uuid, "CRYPT-", 6) == 0 && strncmp(uuid, "CRYPT-VERITY", 12) != 0 &&
           strncmp(uuid, "CRYPT-INTEGRITY", 15) != 0;
}

static enum refuge device_refuge(const struct machine *machine, const char *device, unsigned layer) {
    char path[2 * NAME_BYTES + 16];
    struct text uuid;
    if (layer > LAYERS_MOST || machine_find(machine, device, NULL) != 0) return UNCLEAR;
    snprintf(path, sizeof path, "%s/loop", device);
    if (machine_find(machine, path, NULL) == 0) return UNCLEAR; /* a file on some file system */
    snprintf(path, sizeof path, "%s/dm/uuid", device);
    int error = machine_read(machine, path, &uuid);
    if (error == 0 && is_encrypting(uuid.bytes)) return ENCRYPTED;
    if (error != 0 && error != ENOENT && error != ENODATA) return UNCLEAR;
    return refuge_below(machine, device, layer);
}

/* zram keeps pages in memory, unless it was given a device to write them to. */
static enum refuge zram_refuge(const struct machine *machine, const char *name) {
    char path[2 * NAME_BYTES];
    struct text backing;
    snprintf(path, sizeof path, "sys/class/block/%s/backing_dev", name);
    int error = machine_read(machine, path, &backing);
    if (error == ENOENT) { /* built without write-back, or no such device */
        snprintf(path, sizeof path, "sys/class/block/%s", name);
        return machine_find(machine, path, NULL) == 0 ? IN_MEMORY : UNCLEAR;
    }
    if (error != 0) return UNCLEAR;
    if (strcmp(backing.bytes, "none") == 0) return IN_MEMORY;
    if (strncmp(backing.bytes, "/dev/", 5) != 0 || strchr(backing.bytes + 5, '/') != NULL) return UNCLEAR;
    snprintf(path, sizeof path, "sys/class/block/%.*s", NAME_BYTES, backing.bytes + 5);
    return device_refuge(machine, path, 0);
}

/* ---- swap files: on which device is the file system? ---- */

struct mount_search {
    const char *file;
    size_t best; /* length of the longest mount point so far */
    char device[32];
};

/* "\040" is a space (and so on for tab, line end, backslash). In place. */
static void unescape(char *text) {
    char *to = text;
    for (const char *at = text; *at != '\0';) {
        bool escaped = at[0] == '\\' && at[1] >= '0' && at[1] <= '3' && at[2] >= '0' && at[2] <= '7' && at[3] >= '0' &&
                       at[3] <= '7';
        *to++ = escaped ? (char)((at[1] - '0') * 64 + (at[2] - '0') * 8 + (at[3] - '0')) : *at;
        at += escaped ? 4 : 1;
    }
    *to = '\0';
}

static bool is_below(const char *file, const char *directory) {
    size_t length = strlen(directory);
    if (strcmp(directory, "/") == 0) return file[0] == '/';
    return strncmp(file, directory, length) == 0 && file[length] == '/';
}

/* "36 35 98:0 /root /mnt options ...": of equal mount points the last is on top. */
static bool weigh_mount(void *arg, const char *line, size_t length) {
    struct mount_search *search = arg;
    char device[32], point[NAME_BYTES * 2];
    (void)length;
    if (sscanf(line, "%*s %*s %31s %*s %511s", device, point) != 2) return true;
    unescape(point);
    if (!is_below(search->file, point) || strlen(point) < search->best) return true;
    search->best = strlen(point);
    memcpy(search->device, device, sizeof device);
    return true;
}

static enum refuge file_refuge(const struct machine *machine, const char *file) {
    struct mount_search search = {.file = file};
    char path[2 * NAME_BYTES];
    /* A container's swaps are its host's: then the file is not here, or another one. */
    if (machine_find(machine, file + strspn(file, "/"), NULL) == ENOENT) return UNCLEAR;
    if (machine_pieces(machine, "proc/self/mountinfo", '\n', MOUNTS_MOST, weigh_mount, &search) != 0) return UNCLEAR;
    if (search.device[0] == '\0' || strncmp(search.device, "0:", 2) == 0 || strchr(search.device, '/') != NULL)
        return UNCLEAR;
    snprintf(path, sizeof path, "sys/dev/block/%s", search.device);
    return device_refuge(machine, path, 0);
}

/* ---- /proc/swaps ---- */

struct swaps {
    unsigned count, encrypted, unclear, plain, zram, zram_on_disk;
    char shown[NAME_BYTES]; /* the first of the worst kind */
    enum refuge worst;
};

static enum refuge swap_refuge(const struct machine *machine, const char *name, const char *kind) {
    char path[2 * NAME_BYTES];
    if (strcmp(kind, "file") == 0) return file_refuge(machine, name);
    if (strncmp(name, "/dev/", 5) != 0 || strchr(name + 5, '/') != NULL) return UNCLEAR;
    if (strncmp(name, "/dev/zram", 9) == 0) return zram_refuge(machine, name + 5);
    snprintf(path, sizeof path, "sys/class/block/%s", name + 5);
    return device_refuge(machine, path, 0);
}

static void add_swap(const struct machine *machine, char *name, const char *kind, struct swaps *swaps) {
    unescape(name);
    enum refuge refuge = swap_refuge(machine, name, kind);
    swaps->count++;
    swaps->encrypted += refuge == ENCRYPTED;
    swaps->unclear += refuge == UNCLEAR;
    swaps->plain += refuge == PLAIN;
    if (strncmp(name, "/dev/zram", 9) == 0) {
        swaps->zram++;
        swaps->zram_on_disk += refuge != IN_MEMORY;
    }
    if (swaps->count == 1 || refuge > swaps->worst) {
        swaps->worst = refuge;
        snprintf(swaps->shown, sizeof swaps->shown, "%s", name);
    }
}

/* False: said why not. */
static bool read_swaps(const struct machine *machine, struct swaps *swaps, struct fact *fact) {
    struct text text;
    char name[NAME_BYTES], kind[32];
    memset(swaps, 0, sizeof *swaps);
    if (!machine_need(machine, "proc/swaps", &text, fact)) return false;
    bool good = strncmp(text.bytes, "Filename", 8) == 0 && !text.cut;
    for (const char *line = strchr(text.bytes, '\n'); good && line != NULL; line = strchr(line, '\n')) {
        line++;
        good = sscanf(line, "%255s %31s", name, kind) == 2;
        if (good) add_swap(machine, name, kind, swaps);
    }
    if (!good) fact_unknown(fact, "/proc/swaps: it is not a list of swaps");
    return good;
}

static bool swap_is_safe(const struct swaps *swaps) { return swaps->count == 0 || swaps->worst <= ENCRYPTED; }

void check_swap(const struct machine *machine, struct fact *fact) {
    struct swaps swaps;
    if (!read_swaps(machine, &swaps, fact)) return;
    if (swaps.count == 0)
        fact_say(fact, FACT_GOOD, "no memory is ever written to a swap", "none");
    else if (swaps.plain > 0)
        fact_say(fact, FACT_BAD,
                 "memory that is not locked is written to a disk in the clear, and stays there after power off",
                 "%u of %u not encrypted: %s", swaps.plain, swaps.count, swaps.shown);
    else if (swaps.unclear > 0)
        fact_unknown(fact, "whether %s is encrypted cannot be seen from here (%u of %u swaps)", swaps.shown,
                     swaps.unclear, swaps.count);
    else if (swaps.encrypted > 0)
        fact_say(fact, FACT_GOOD, "what is paged out is unreadable without the disk's key",
                 "%u, all encrypted or in memory", swaps.count);
    else
        fact_say(fact, FACT_GOOD, "what is paged out stays in memory, compressed", "%u, on zram", swaps.count);
}

void check_zram(const struct machine *machine, struct fact *fact) {
    struct swaps swaps;
    if (!read_swaps(machine, &swaps, fact)) return;
    if (swaps.zram == 0)
        fact_say(fact, FACT_GOOD, "nothing to write back", "no swap is on zram");
    else if (swaps.zram_on_disk == 0)
        fact_say(fact, FACT_GOOD, "its pages never leave memory", "%u, without a device to write back to", swaps.zram);
    else
        fact_say(fact, FACT_DOUBT,
                 "it may write pages back to a device (or that cannot be seen): see the fact about swap",
                 "%u of %u may write back", swaps.zram_on_disk, swaps.zram);
}

void check_swappiness(const struct machine *machine, struct fact *fact) {
    struct swaps swaps;
    long long swappiness;
    if (!read_swaps(machine, &swaps, fact)) return;
    if (swap_is_safe(&swaps)) {
        fact_say(fact, FACT_GOOD, "of no matter here", "no swap in the clear");
        return;
    }
    if (!machine_number(machine, "proc/sys/vm/swappiness", &swappiness, fact)) return;
    fact_say(fact, swappiness <= 1 ? FACT_GOOD : FACT_DOUBT,
             swappiness <= 1
                 ? "memory goes to the swap only when there is no other way"
                 : "the kernel swaps out idle memory, that of secrets outside of memguard too, before it must",
             "%lld", swappiness);
}

/* ---- hibernation ---- */

/* 0: it is possible; 1: not in this kernel; 2: refused now; -1: could not be read, and that was said. */
static int hibernation_state(const struct machine *machine, struct fact *fact) {
    struct text text;
    int error = machine_read(machine, "sys/power/disk", &text);
    if (machine_lacks(machine, "sys/power", error)) return 1;
    if (error != 0) {
        machine_unread(machine, "sys/power/disk", error, fact);
        return -1;
    }
    return strncmp(text.bytes, "[disabled]", 10) == 0 ? 2 : 0;
}

/* The device that an image would be read from: "8:3"; "0:0" is none. False: said why not. */
static bool resume_device(const struct machine *machine, char device[32], struct fact *fact) {
    struct text text;
    unsigned long long number[2];
    if (!machine_need(machine, "sys/power/resume", &text, fact)) return false;
    const char *rest = text_numbers(text.bytes, ":", number, 2);
    if (rest == NULL || *rest != '\0') {
        fact_unknown(fact, "/sys/power/resume: it is not a device number");
        return false;
    }
    snprintf(device, 32, "%u:%u", (unsigned)number[0], (unsigned)number[1]);
    return true;
}

static void say_configured(const struct machine *machine, const char *device, struct fact *fact) {
    char path[64];
    snprintf(path, sizeof path, "sys/dev/block/%s", device);
    switch (device_refuge(machine, path, 0)) {
    case IN_MEMORY:
    case ENCRYPTED:
        fact_say(fact, FACT_GOOD,
                 "an image holds all memory but that of memfd_secret(2); it goes to an encrypted device",
                 "configured: resume from %s, encrypted", device);
        return;
    case UNCLEAR:
        fact_unknown(fact, "hibernation resumes from device %s; whether that is encrypted cannot be seen from here",
                     device);
        return;
    case PLAIN:
        fact_say(fact, FACT_BAD,
                 "an image holds all memory but that of memfd_secret(2), locked pages too, on a disk in the clear",
                 "configured: resume from %s, not encrypted", device);
    }
}

static void say_unconfigured(const struct swaps *swaps, struct fact *fact) {
    if (swaps->count == swaps->zram)
        fact_say(fact, FACT_GOOD, "there is no disk swap to write an image to", "possible, not configured");
    else if (swap_is_safe(swaps))
        fact_say(fact, FACT_GOOD, "an image would go to an encrypted swap", "possible, no device to resume from");
    else
        fact_say(fact, FACT_DOUBT, "no image is written, unless someone (systemd-sleep may) chooses a swap for it",
                 "possible, no device to resume from");
}

static bool is_refused_for_good(const struct machine *machine) {
    struct text line;
    int error;
    const char *lockdown = machine_lockdown(machine, &error);
    if (lockdown != NULL && strcmp(lockdown, "none") != 0) return true;
    if (machine_read(machine, "proc/cmdline", &line) != 0) return false;
    return text_has_word(line.bytes, "nohibernate") || text_has_word(line.bytes, "hibernate=no");
}

void check_hibernation(const struct machine *machine, struct fact *fact) {
    struct swaps swaps;
    char device[32];
    int state = hibernation_state(machine, fact);
    if (state < 0) return;
    if (state == 1) {
        fact_say(fact, FACT_GOOD, "memory is never written to a disk as a whole", "not in this kernel");
        return;
    }
    if (state == 2 && is_refused_for_good(machine)) {
        fact_say(fact, FACT_GOOD, "the kernel refuses to write memory to a disk as a whole", "off since boot");
        return;
    }
    if (!read_swaps(machine, &swaps, fact) || !resume_device(machine, device, fact)) return;
    if (state == 2) {
        fact_say(fact, strcmp(device, "0:0") == 0 ? FACT_GOOD : FACT_DOUBT,
                 "the kernel refuses it as long as pages of memfd_secret(2) are live (see hibernation-blockers)",
                 "refused now");
        return;
    }
    if (strcmp(device, "0:0") != 0 && swaps.count > 0)
        say_configured(machine, device, fact);
    else
        say_unconfigured(&swaps, fact);
}

/* Who has pages of memfd_secret(2)? */
struct blockers {
    const struct machine *machine;
    unsigned seen, unread;
    bool here; /* in the process that is being looked at */
    char names[NAME_BYTES];
};

static bool look_for_secretmem(void *arg, const char *line, size_t length) {
    struct blockers *blockers = arg;
    (void)length;
    if (strstr(line, " /secretmem") != NULL) blockers->here = true;
    return !blockers->here;
}

static void add_blocker(struct blockers *blockers, const char *pid) {
    struct text name;
    char path[NAME_BYTES];
    size_t used = strlen(blockers->names);
    snprintf(path, sizeof path, "proc/%.20s/comm", pid);
    const char *what = machine_read(blockers->machine, path, &name) == 0 ? name.bytes : "?";
    blockers->seen++;
    snprintf(blockers->names + used, sizeof blockers->names - used, "%s%.20s (%.32s)", used > 0 ? ", " : "", pid, what);
}

static bool look_at_process(void *arg, const char *name) {
    struct blockers *blockers = arg;
    char path[NAME_BYTES];
    if (name[strspn(name, "0123456789")] != '\0') return true;
    blockers->here = false;
    snprintf(path, sizeof path, "proc/%.20s/maps", name);
    int error = machine_pieces(blockers->machine, path, '\n', MAPS_MOST, look_for_secretmem, blockers);
    if (blockers->here)
        add_blocker(blockers, name);
    else if (error != 0 && error != ENOENT && error != ESRCH)
        blockers->unread++;
    return true;
}

static void say_blockers(const struct blockers *blockers, struct fact *fact) {
    if (blockers->seen > 0)
        fact_say(fact, FACT_DOUBT, "while they live, this machine refuses to hibernate",
                 "live memfd_secret(2) pages in %u processes: %s", blockers->seen, blockers->names);
    else if (blockers->unread > 0)
        fact_unknown(fact, "the memory maps of %u processes cannot be read by this user", blockers->unread);
    else
        fact_say(fact, FACT_GOOD, "nobody's secrets keep this machine from hibernating",
                 "nobody has live memfd_secret(2) pages");
}

/* Configured means here: there is a device to resume from. */
void check_hibernation_blockers(const struct machine *machine, struct fact *fact) {
    struct blockers blockers = {.machine = machine};
    char device[32];
    int state = hibernation_state(machine, fact);
    if (state < 0) return;
    if (state != 1 && !resume_device(machine, device, fact)) return;
    if (state == 1 || strcmp(device, "0:0") == 0) {
        fact_say(fact, FACT_GOOD, "of no matter here", "hibernation is not configured");
        return;
    }
    int error = machine_list(machine, "proc", look_at_process, &blockers);
    if (error != 0)
        machine_unread(machine, "proc", error, fact);
    else
        say_blockers(&blockers, fact);
}
