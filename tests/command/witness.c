/* Says where the bytes of a secret came by while a command ran: raw, as hexadecimal or as base64, whole or in pieces.
 *   witness watch NEEDLE REPORT SECONDS -- COMMAND...   runs it, and samples environments and command lines of all that descends from it
 *   witness trace NEEDLE TRACE REPORT                   reads what `strace -f -yy -xx -v` wrote: each environment and argument that a
 *                                                       program was started with, and all that was written to files
 * REPORT gets a line for each find and a last one that says how much was looked at. Knows nothing of memguard and shares no code with it. */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PIECE = 16, NEEDLE_MOST = 8192, FORM_MOST = 2 * NEEDLE_MOST + 8, PROCESSES_MOST = 4096, FILES_MOST = 1024 };

static void die(const char *what) {
    fprintf(stderr, "witness: %s: %s\n", what, strerror(errno));
    exit(125);
}

/* ---- the forms of a secret ---- */

struct form {
    const char *name;
    unsigned char bytes[FORM_MOST];
    size_t size, piece;
    bool begins[65536]; /* the first two bytes of each piece */
};
static struct form forms[6];

static void add_form(struct form *form, const char *name, size_t size) {
    form->name = name;
    form->size = size;
    form->piece = size < PIECE ? size : PIECE;
    for (size_t i = 0; i + form->piece <= size; i++)
        form->begins[form->bytes[i] << 8 | form->bytes[i + 1]] = true;
}

static void make_hex(struct form *form, const char *name, const char *digits, const unsigned char *needle, size_t n) {
    for (size_t i = 0; i < n; i++) {
        form->bytes[2 * i] = (unsigned char)digits[needle[i] >> 4];
        form->bytes[2 * i + 1] = (unsigned char)digits[needle[i] & 15];
    }
    add_form(form, name, 2 * n);
}

/* As it comes out behind `before` other bytes; digits that depend on its neighbours are left out. */
static void make_base64(struct form *form, const unsigned char *needle, size_t n, size_t before) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t size = 0;
    for (size_t bit = (before * 8 + 5) / 6 * 6; bit + 6 <= (before + n) * 8; bit += 6) {
        size_t from = bit - before * 8;
        unsigned pair = (unsigned)needle[from / 8] << 8 | (from / 8 + 1 < n ? needle[from / 8 + 1] : 0);
        form->bytes[size++] = (unsigned char)digits[pair >> (10 - from % 8) & 63];
    }
    add_form(form, "base64", size);
}

static void read_needle(const char *path) {
    static unsigned char needle[NEEDLE_MOST];
    FILE *file = fopen(path, "r");
    if (file == NULL) die(path);
    size_t n = fread(needle, 1, sizeof needle, file);
    fclose(file);
    if (n < 8 || n == sizeof needle) {
        fprintf(stderr, "witness: %s: %zu bytes are not looked for\n", path, n);
        exit(125);
    }
    memcpy(forms[0].bytes, needle, n);
    add_form(&forms[0], "raw", n);
    make_hex(&forms[1], "hex", "0123456789abcdef", needle, n);
    make_hex(&forms[2], "hex", "0123456789ABCDEF", needle, n);
    for (size_t before = 0; before < 3; before++)
        make_base64(&forms[3 + before], needle, n, before);
}

static bool has_form(const struct form *form, const unsigned char *data, size_t size) {
    for (size_t at = 0; at + form->piece <= size; at++) {
        if (!form->begins[data[at] << 8 | data[at + 1]]) continue;
        for (size_t i = 0; i + form->piece <= form->size; i++)
            if (memcmp(data + at, form->bytes + i, form->piece) == 0) return true;
    }
    return false;
}

/* The name of the form that the secret, or a piece of it, has in the data; NULL: none. */
static const char *find(const unsigned char *data, size_t size) {
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++)
        if (has_form(&forms[i], data, size)) return forms[i].name;
    return NULL;
}

/* ---- watch ---- */

static FILE *report;
static unsigned long samples;
static struct process {
    pid_t pid, parent;
    bool ours;
} processes[PROCESSES_MOST];
static size_t process_count;

static size_t slurp(pid_t pid, const char *name, unsigned char *data, size_t room) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t have = 0;
    if (fd < 0) return 0;
    for (ssize_t n; have < room && (n = read(fd, data + have, room - have)) > 0;)
        have += (size_t)n;
    close(fd);
    return have;
}

static pid_t parent_of(pid_t pid) {
    unsigned char text[512];
    size_t n = slurp(pid, "stat", text, sizeof text - 1);
    text[n] = 0;
    char *name_end = strrchr((char *)text, ')');
    int parent = 0;
    return name_end != NULL && sscanf(name_end + 1, " %*c %d", &parent) == 1 ? parent : 0;
}

static void list_processes(void) {
    DIR *proc = opendir("/proc");
    if (proc == NULL) die("/proc");
    process_count = 0;
    for (struct dirent *entry; (entry = readdir(proc)) != NULL && process_count < PROCESSES_MOST;) {
        pid_t pid = isdigit((unsigned char)entry->d_name[0]) ? atoi(entry->d_name) : 0;
        if (pid > 0) processes[process_count++] = (struct process){pid, parent_of(pid), false};
    }
    closedir(proc);
}

/* Who lost a parent has become a child of ours: this process is the reaper of all that descends from it. */
static void mark_ours(void) {
    for (bool more = true; more;) {
        more = false;
        for (size_t i = 0; i < process_count; i++) {
            struct process *p = &processes[i];
            bool ours = p->parent == getpid();
            for (size_t k = 0; k < process_count && !ours; k++)
                ours = processes[k].ours && processes[k].pid == p->parent;
            if (ours && !p->ours) p->ours = more = true;
        }
    }
}

static void sample(pid_t pid, const char *what) {
    static unsigned char data[1 << 20];
    size_t size = slurp(pid, what, data, sizeof data);
    const char *form = find(data, size);
    if (size > 0) samples++;
    if (form != NULL) fprintf(report, "%s of a process: %s\n", what, form);
}

static void sample_all(void) {
    list_processes();
    mark_ours();
    for (size_t i = 0; i < process_count; i++) {
        if (!processes[i].ours) continue;
        sample(processes[i].pid, "environ");
        sample(processes[i].pid, "cmdline");
    }
}

static void kill_all(void) {
    list_processes();
    mark_ours();
    for (size_t i = 0; i < process_count; i++) {
        unsigned char name[64];
        if (!processes[i].ours) continue;
        size_t n = slurp(processes[i].pid, "comm", name, sizeof name);
        fprintf(report, "left behind, or late, and killed: %.*s\n", (int)(n > 0 ? n - 1 : 0), (char *)name);
        kill(processes[i].pid, SIGKILL);
    }
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Takes the ends of what has ended. Whether there are children still; *code becomes the exit code of `command`. */
static bool reap(pid_t command, int *code) {
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        if (pid == command) *code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return pid == 0;
}

static int watch(double seconds, char **command) {
    int code = -1;
    pid_t parent = getppid();
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0) die("prctl");
    pid_t pid = fork();
    if (pid < 0) die("fork");
    if (pid == 0) {
        execvp(command[0], command);
        die(command[0]);
    }
    double until = now() + seconds;
    bool ended = false;
    while (reap(pid, &code)) {
        sample_all();
        if (code >= 0 && !ended) until = now() + 10; /* for what it leaves behind */
        ended = code >= 0;
        if (now() > until || getppid() != parent) kill_all();
        nanosleep(&(struct timespec){0, 2000000}, NULL);
    }
    fprintf(report, "%lu samples\n", samples);
    return code;
}

/* ---- trace ---- */

static unsigned long programs, written_bytes;
static struct written {
    char *path;
    unsigned char tail[2 * PIECE];
    size_t tail_size;
} files[FILES_MOST]; /* what was last written: a secret may come in several writes */

static int hex_digit(int c) { return isdigit(c) ? c - '0' : tolower(c) - 'a' + 10; }

/* Decodes \x41\x42... up to `end` in place; returns the number of bytes and moves *text behind `end`. */
static size_t decode(char **text, char end, unsigned char *bytes) {
    size_t n = 0;
    char *p = *text;
    for (; *p != 0 && *p != end; n++) {
        bool escaped = p[0] == '\\' && p[1] == 'x';
        bytes[n] = escaped ? (unsigned char)(hex_digit(p[2]) << 4 | hex_digit(p[3])) : (unsigned char)*p;
        p += escaped ? 4 : 1;
    }
    *text = *p == end ? p + 1 : p;
    return n;
}

static bool is_file(const char *path) {
    static const char *const not_files[] = {"/memfd:", "/secretmem", "/proc/", "/dev/"};
    if (strncmp(path, "/dev/shm/", 9) == 0) return true;
    for (size_t i = 0; i < sizeof not_files / sizeof not_files[0]; i++)
        if (strncmp(path, not_files[i], strlen(not_files[i])) == 0) return false;
    return path[0] == '/'; /* pipes and sockets are called pipe:[1], TCP:[...] */
}

static struct written *file_of(const char *path) {
    size_t i = 0;
    while (i < FILES_MOST - 1 && files[i].path != NULL && strcmp(files[i].path, path) != 0)
        i++;
    if (files[i].path == NULL) files[i].path = strdup(path);
    return &files[i];
}

static void look_at_written(const char *path, char *text) {
    struct written *file = file_of(path);
    unsigned char *data = malloc(sizeof file->tail + strlen(text) + 1);
    if (data == NULL) die("malloc");
    size_t size = file->tail_size, before = size;
    memcpy(data, file->tail, before);
    bool seen = false;
    while ((text = strchr(text, '"')) != NULL) {
        seen = true;
        text++;
        size += decode(&text, '"', data + size);
        if (strncmp(text, "...", 3) == 0) seen = false;
    }
    if (!seen) fprintf(report, "written to %s, and not seen\n", path);
    const char *form = find(data, size);
    if (form != NULL) fprintf(report, "written to %s: %s\n", path, form);
    written_bytes += size - before;
    file->tail_size = size < sizeof file->tail ? size : sizeof file->tail;
    memcpy(file->tail, data + size - file->tail_size, file->tail_size);
    free(data);
}

/* execve("program", ["argument", ...], ["NAME=value", ...]) = 0 */
static void look_at_start(char *text) {
    const char *what = "argument";
    unsigned char *data = malloc(strlen(text) + 1);
    if (data == NULL) die("malloc");
    int lists = 0;
    while ((text = strpbrk(text, "\"]x")) != NULL) {
        char found = *text++;
        if (found == ']' && lists++ == 0) what = "environment";
        if (found == 'x' && lists < 2)
            fprintf(report, "%s of a program, and not seen\n", what); /* 0x..., its address */
        if (found != '"') continue;
        const char *form = find(data, decode(&text, '"', data));
        if (form != NULL) fprintf(report, "%s of a program at its start: %s\n", what, form);
        if (strncmp(text, "...", 3) == 0) fprintf(report, "%s of a program, and not seen\n", what);
    }
    if (lists != 2) fprintf(report, "a program was started, and not all of its arguments and environment seen\n");
    programs++;
    free(data);
}

/* The path of the last descriptor among the arguments (sendfile has the one written to first, copy_file_range last). */
static bool path_of(char *text, bool last, char *path, size_t room) {
    char *at = strchr(text, '<');
    for (char *next; last && at != NULL && (next = strchr(at + 1, '<')) != NULL;)
        at = next;
    if (at == NULL || strcspn(at, ">") >= room) return false;
    at++;
    path[decode(&at, '>', (unsigned char *)path)] = 0;
    return true;
}

static void look_at_call(char *line) {
    char path[1 << 16];
    char *name = line + strspn(line, "0123456789 "), *arguments = strchr(name, '(');
    if (arguments == NULL || !islower((unsigned char)*name)) return; /* signals, exits, calls that are resumed */
    *arguments++ = 0;
    bool maps = strcmp(name, "mmap") == 0, copies = strcmp(name, "copy_file_range") == 0 || strcmp(name, "splice") == 0;
    if (strncmp(name, "execve", 6) == 0) {
        look_at_start(arguments);
    } else if (strncmp(name, "io_uring", 8) == 0) {
        fprintf(report, "%s: what it writes is not seen\n", name);
    } else if (maps || copies || strcmp(name, "sendfile") == 0) {
        if (maps && (strstr(arguments, "MAP_SHARED") == NULL || strstr(arguments, "PROT_WRITE") == NULL)) return;
        if (path_of(arguments, copies, path, sizeof path) && is_file(path))
            fprintf(report, "%s to %s: what it writes is not seen\n", name, path);
    } else if (path_of(arguments, false, path, sizeof path)) {
        if (is_file(path)) look_at_written(path, strchr(arguments, '>'));
    } else {
        fprintf(report, "%s to an unknown file, and not seen\n", name);
    }
}

static void trace(const char *path) {
    FILE *in = fopen(path, "r");
    char *line = NULL;
    size_t room = 0;
    if (in == NULL) die(path);
    while (getline(&line, &room, in) > 0)
        look_at_call(line);
    fclose(in);
    free(line);
    fprintf(report, "%lu programs started, %lu bytes written to files\n", programs, written_bytes);
}

static FILE *open_report(const char *path) {
    FILE *file = fopen(path, "we");
    if (file == NULL || setvbuf(file, NULL, _IOLBF, 0) != 0) die(path); /* a test may wait for a line */
    return file;
}

int main(int argc, char **argv) {
    if (argc == 5 && strcmp(argv[1], "trace") == 0) {
        read_needle(argv[2]);
        report = open_report(argv[4]);
        trace(argv[3]);
        return fclose(report) == 0 ? 0 : 125;
    }
    if (argc < 7 || strcmp(argv[1], "watch") != 0 || strcmp(argv[5], "--") != 0) {
        fputs("usage: witness watch NEEDLE REPORT SECONDS -- COMMAND...\n       witness trace NEEDLE TRACE REPORT\n",
              stderr);
        return 125;
    }
    read_needle(argv[2]);
    report = open_report(argv[3]);
    int code = watch(atof(argv[4]), argv + 6);
    return fclose(report) == 0 ? code : 125;
}
