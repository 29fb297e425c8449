/* machine.h: a small virtual machine, from the host's side: start it, talk with its first process (inside_init.c) over the serial
 * console, stop its time and look at its memory and drives. All of them are memory of this process (memfd_create(2)) that the emulator
 * maps, so nothing lies on the host's disk and nothing is left behind. The emulator dies with this process, and by alarm. */
#ifndef MEMGUARD_TESTS_GUEST_MACHINE_H
#define MEMGUARD_TESTS_GUEST_MACHINE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "check.h"

enum { MACHINE_SMALL = 192, MACHINE_LARGE = 384 /* MiB */ };
enum { MACHINE_DRIVES = 2, MACHINE_DRIVE = 256 << 20, MACHINE_LOG = 1 << 16 };
enum { MACHINE_ANSWER_MS = 40000 }; /* longer than anything takes here */

struct machine_memory {
    int fd;
    unsigned char *bytes;
    size_t size;
};
struct machine {
    pid_t emulator, owner;
    int to, from; /* the console */
    int lost;     /* 1: it did not say what was expected, nobody knows what it is at */
    struct machine_memory ram, drives[MACHINE_DRIVES];
    char line[65536];      /* the last one that began with "@ ", without that */
    char log[MACHINE_LOG]; /* all that was on the console since machine_clear_log */
    size_t log_size, waiting_size;
    char waiting[4096];
};

static struct machine machine; /* one at a time */

/* ---- making ---- */

static inline int machine_memory_make(struct machine_memory *memory, const char *name, size_t size) {
    memory->fd = memfd_create(name, 0); /* inherited by the emulator */
    memory->size = size;
    if (memory->fd < 0 || ftruncate(memory->fd, (off_t)size) != 0) return 0;
    memory->bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, memory->fd, 0);
    return memory->bytes != MAP_FAILED;
}

static inline void machine_memory_end(struct machine_memory *memory) {
    if (memory->bytes != NULL) munmap(memory->bytes, memory->size);
    if (memory->fd > 0) close(memory->fd);
}

/* In the child: becomes the emulator. */
static inline void machine_become(const char *folder, const char *options, int console_in, int console_out) {
    char append[512], ram[256], drive[MACHINE_DRIVES][128];
    snprintf(append, sizeof append, "console=ttyS0 quiet panic=1 %s", options);
    snprintf(ram, sizeof ram, "memory-backend-file,id=ram,size=%zu,mem-path=/proc/self/fd/%d,share=on",
             machine.ram.size, machine.ram.fd);
    for (int i = 0; i < MACHINE_DRIVES; i++)
        snprintf(drive[i], sizeof drive[i],
                 "file=/proc/self/fd/%d,format=raw,if=none,id=d%d,cache=unsafe,file.locking=off", machine.drives[i].fd,
                 i);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != machine.owner || chdir(folder) != 0) _exit(127);
    dup2(console_in, STDIN_FILENO);
    dup2(console_out, STDOUT_FILENO);
    dup2(console_out, STDERR_FILENO);
    execlp("qemu-system-x86_64", "qemu-system-x86_64", "-machine", "q35,accel=tcg,memory-backend=ram", "-object", ram,
           "-cpu", "max", "-smp", "1", "-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot", "-kernel",
           "vmlinuz", "-initrd", "initrd", "-append", append, "-drive", drive[0], "-device", "nvme,drive=d0,serial=d0",
           "-drive", drive[1], "-device", "nvme,drive=d1,serial=d1", (char *)NULL);
    _exit(127);
}

/* Marks a drive as room for swap (mkswap(8): version 1, one bad-page-free area). */
static inline void machine_make_swap(struct machine_memory *drive) {
    enum { PAGE = 4096 };
    const uint32_t version = 1, last_page = (uint32_t)(drive->size / PAGE - 1);
    memcpy(drive->bytes + 1024, &version, sizeof version);
    memcpy(drive->bytes + 1028, &last_page, sizeof last_page);
    memcpy(drive->bytes + PAGE - 10, "SWAPSPACE2", 10);
}

/* ---- talking ---- */

static inline void machine_clear_log(void) { machine.log_size = 0; }
static inline void machine_print_log(void) {
    printf("---- console of the guest ----\n%.*s\n------------------------------\n", (int)machine.log_size,
           machine.log);
}

static inline void machine_note(const char *line, size_t size) {
    if (size > 200) size = 200; /* a list of bytes */
    if (machine.log_size + size + 1 > MACHINE_LOG) return;
    memcpy(machine.log + machine.log_size, line, size);
    machine.log_size += size;
    machine.log[machine.log_size++] = '\n';
}

static inline int64_t machine_now_ms(void) {
    struct timespec now = {0, 0};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Waits for more from the console. 0: there will be nothing. */
static inline int machine_receive(int64_t end_ms) {
    const int64_t left = end_ms - machine_now_ms();
    struct pollfd ready = {machine.from, POLLIN, 0};
    if (left <= 0 || poll(&ready, 1, (int)left) != 1) return 0;
    const size_t room = sizeof machine.waiting - machine.waiting_size;
    const ssize_t got = read(machine.from, machine.waiting + machine.waiting_size, room);
    if (got <= 0) return 0;
    machine.waiting_size += (size_t)got;
    return 1;
}

/* One line of the console to machine.line, without its end. 0: none came. */
static inline int machine_read_line(int64_t end_ms) {
    size_t size = 0;
    for (;;) {
        const char *end = memchr(machine.waiting, '\n', machine.waiting_size);
        const size_t part = end != NULL ? (size_t)(end - machine.waiting) + 1 : machine.waiting_size;
        if (size + part >= sizeof machine.line) return 0;
        memcpy(machine.line + size, machine.waiting, part);
        size += part;
        machine.waiting_size -= part;
        memmove(machine.waiting, machine.waiting + part, machine.waiting_size);
        if (end != NULL) break;
        if (!machine_receive(end_ms)) return 0;
    }
    while (size > 0 && (machine.line[size - 1] == '\n' || machine.line[size - 1] == '\r'))
        size--;
    machine.line[size] = '\0';
    machine_note(machine.line, size);
    return 1;
}

/* The next line that is meant for us, in machine.line; 0: none came in time. */
static inline int machine_hear(void) {
    const int64_t end_ms = machine_now_ms() + MACHINE_ANSWER_MS;
    while (machine_read_line(end_ms)) {
        if (strncmp(machine.line, "@ ", 2) != 0) continue;
        memmove(machine.line, machine.line + 2, strlen(machine.line + 2) + 1);
        return 1;
    }
    snprintf(machine.line, sizeof machine.line, "(nothing)");
    return 0;
}

static inline int machine_say(const char *text) {
    const size_t size = strlen(text);
    return write(machine.to, text, size) == (ssize_t)size && write(machine.to, "\n", 1) == 1;
}

/* Hears exactly this, or the test fails and shows the console. */
static inline int machine_expect(const char *text) {
    const int heard = machine_hear();
    if (heard && strcmp(machine.line, text) == 0) return 1;
    atomic_fetch_add(&check_bad, 1);
    machine.lost = 1;
    printf("expected from the guest: '%s', heard: '%s'\n", text, machine.line);
    machine_print_log();
    return 0;
}

/* Says something and hears that it was done. */
static inline int machine_do(const char *text, const char *answer) {
    machine_clear_log();
    return CHECK(machine_say(text)) && machine_expect(answer);
}

/* ---- life ---- */

static inline void machine_end(void) {
    if (machine.emulator > 0) {
        kill(machine.emulator, SIGKILL);
        waitpid(machine.emulator, NULL, 0);
    }
    if (machine.to > 0) close(machine.to);
    if (machine.from > 0) close(machine.from);
    machine_memory_end(&machine.ram);
    for (int i = 0; i < MACHINE_DRIVES; i++)
        machine_memory_end(&machine.drives[i]);
    memset(&machine, 0, sizeof machine);
}

static inline int machine_start_now(const char *folder, const char *options, size_t ram_mib) {
    int in[2], out[2];
    memset(&machine, 0, sizeof machine);
    if (!CHECK(machine_memory_make(&machine.ram, "guest-ram", ram_mib << 20))) return 0;
    for (int i = 0; i < MACHINE_DRIVES; i++)
        if (!CHECK(machine_memory_make(&machine.drives[i], "guest-drive", MACHINE_DRIVE))) return 0;
    if (!CHECK(pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0)) return 0;
    fflush(stdout);
    machine.owner = getpid();
    machine.emulator = fork();
    if (machine.emulator == 0) machine_become(folder, options, in[0], out[1]);
    close(in[0]);
    close(out[1]);
    machine.to = in[1];
    machine.from = out[0];
    return CHECK(machine.emulator > 0) && machine_expect("ready");
}

static struct {
    const char *folder, *options;
    size_t ram_mib;
} machine_wish; /* what was started last */

static inline int machine_start_again(void) {
    machine_end();
    if (machine_start_now(machine_wish.folder, machine_wish.options, machine_wish.ram_mib)) return 1;
    machine_end();
    return 0;
}

/* options: for the kernel's command line. Both are kept. */
static inline int machine_start(const char *folder, const char *options, size_t ram_mib) {
    machine_wish.folder = folder, machine_wish.options = options, machine_wish.ram_mib = ram_mib;
    return machine_start_again();
}

/* After a failure nobody knows what the machine is at: a new one. */
static inline int machine_recover(void) {
    return CHECK(machine.emulator != 0) && (!machine.lost || machine_start_again());
}

/* Stops the guest's time, so that what is searched is one moment. */
static inline int machine_freeze(void) {
    int status = 0;
    return kill(machine.emulator, SIGSTOP) == 0 && waitpid(machine.emulator, &status, WUNTRACED) == machine.emulator &&
           WIFSTOPPED(status);
}
static inline int machine_thaw(void) { return kill(machine.emulator, SIGCONT) == 0; }

/* The guest goes off by itself. */
static inline int machine_wait_off(void) {
    const int64_t end_ms = machine_now_ms() + MACHINE_ANSWER_MS;
    int status = 0;
    while (machine_read_line(end_ms)) {
    }
    const pid_t ended = waitpid(machine.emulator, &status, WNOHANG);
    for (int i = 0; ended == 0 && i < 100 && waitpid(machine.emulator, &status, WNOHANG) == 0; i++)
        poll(NULL, 0, 50);
    if (ended == 0 && kill(machine.emulator, 0) == 0) return 0;
    machine.emulator = 0;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* ---- whether there can be one ---- */

/* Makes ready what a machine needs. NULL, or why there is none (static storage). With MEMGUARD_GUEST=required that is a failure. */
static inline const char *machine_prepare(const char *script, const char *folder) {
    static char why[512];
    char command[8192];
    snprintf(command, sizeof command, "sh '%s' '%s' 2>&1", script, folder);
    FILE *output = popen(command, "r");
    if (output == NULL) return "no shell";
    while (fgets(why, sizeof why, output) != NULL) {
    }
    why[strcspn(why, "\n")] = '\0';
    const int status = pclose(output);
    if (check_exited(status, 0)) return NULL;
    return why[0] != '\0' ? why : "the preparation failed without a word";
}

#endif
