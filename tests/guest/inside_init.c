/* inside_init: the first process of the guest. It does what the host says over the console, line by line:
 *   run PROGRAM ARGUMENTS...   answers `exit N` or `signal N` when the program has ended
 *   write PATH TEXT            answers `errno N` (0: done)
 *   swapon DEVICE              answers `errno N`
 *   core                       writes the core file, if there is one, to the first drive; answers `core BYTES`
 *   off                        switches the machine off
 * Called with the argument `pipe` it is what core_pattern pipes cores to; called `true`, it is that. */
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/swap.h>
#include <termios.h>

#include "guest/inside.h"

#define CORE "/cores/core"

/* Copies to the end; yields the number of bytes, or -1. */
static long long copy(int from, int to) {
    static unsigned char buffer[65536];
    long long total = 0;
    for (;;) {
        const ssize_t got = read(from, buffer, sizeof buffer);
        if (got == 0) return total;
        if (got < 0) return -1;
        for (ssize_t done = 0; done < got;) {
            const ssize_t wrote = write(to, buffer + done, (size_t)(got - done));
            if (wrote <= 0) return -1;
            done += wrote;
        }
        total += got;
    }
}

static int take_piped_core(void) {
    const int to = open(CORE, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    return to < 0 || copy(STDIN_FILENO, to) < 0 || close(to) != 0;
}

/* A program line can be typed into, and is not echoed. */
static void open_console(void) {
    struct termios settings;
    const int console = open("/dev/console", O_RDWR);
    for (int fd = 0; fd < 3; fd++)
        dup2(console, fd);
    if (tcgetattr(STDIN_FILENO, &settings) != 0) return;
    settings.c_lflag &= ~(tcflag_t)ECHO;
    settings.c_oflag &= ~(tcflag_t)OPOST;
    tcsetattr(STDIN_FILENO, TCSANOW, &settings);
}

static void start(void) {
    static const char *const folders[] = {"/dev", "/proc", "/sys", "/cgroup", "/cores", "/tmp", "/bin"};
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++)
        mkdir(folders[i], 0755);
    chmod("/cores", 01777);
    chmod("/tmp", 01777);
    mount("dev", "/dev", "devtmpfs", 0, NULL);
    open_console();
    must(symlink("/init", "/bin/true") == 0, "true");
    must(mount("proc", "/proc", "proc", 0, NULL) == 0, "proc");
    must(mount("sys", "/sys", "sysfs", 0, NULL) == 0, "sysfs");
    must(mount("cgroup", "/cgroup", "cgroup2", 0, NULL) == 0, "cgroup2");
    must(write_text("/cgroup/cgroup.subtree_control", "+memory") == 0, "memory controller");
}

static void run(char **words) {
    int status = 0;
    const pid_t child = fork();
    if (child == 0) {
        setsid();
        execv(words[0], words);
        _exit(127);
    }
    must(child > 0 && waitpid(child, &status, 0) == child, "run");
    if (WIFSIGNALED(status))
        printf("@ signal %d\n", WTERMSIG(status));
    else
        printf("@ exit %d\n", WEXITSTATUS(status));
}

static void give_core(void) {
    struct stat about;
    long long bytes = 0;
    const int from = open(CORE, O_RDONLY | O_CLOEXEC);
    if (from >= 0) {
        const int to = open("/dev/nvme0n1", O_WRONLY | O_CLOEXEC);
        bytes = fstat(from, &about) == 0 && to >= 0 ? copy(from, to) : -1;
        if (bytes != about.st_size || fsync(to) != 0) bytes = -1;
        close(to);
        close(from);
        unlink(CORE);
    }
    printf("@ core %lld\n", bytes);
}

static int split(char *line, char **words, int most) {
    int count = 0;
    for (char *word = strtok(line, " \n"); word != NULL && count < most; word = strtok(NULL, " \n"))
        words[count++] = word;
    words[count] = NULL;
    return count;
}

/* The words from one on, with blanks between them. */
static const char *joined(char **words) {
    static char text[256];
    text[0] = '\0';
    for (; *words != NULL; words++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", text[0] != '\0' ? " " : "", *words);
    return text;
}

static void obey(char *line) {
    char *words[16];
    const int count = split(line, words, 15);
    if (count == 0) return;
    if (strcmp(words[0], "run") == 0 && count > 1)
        run(words + 1);
    else if (strcmp(words[0], "write") == 0 && count > 2)
        printf("@ errno %d\n", write_text(words[1], joined(words + 2)));
    else if (strcmp(words[0], "swapon") == 0 && count > 1)
        printf("@ errno %d\n", swapon(words[1], 0) == 0 ? 0 : errno);
    else if (strcmp(words[0], "core") == 0)
        give_core();
    else if (strcmp(words[0], "off") == 0)
        reboot(RB_POWER_OFF);
    else
        printf("@ unknown\n");
    fflush(stdout);
}

int main(int count, char **words) {
    char line[512];
    if (strcmp(words[0], "true") == 0) return 0;
    if (count > 1 && strcmp(words[1], "pipe") == 0) return take_piped_core();
    start();
    setvbuf(stdin, NULL, _IONBF, 0); /* what follows a command is for the program that it starts */
    printf("@ ready\n");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin) != NULL)
        obey(line);
    return 1;
}
