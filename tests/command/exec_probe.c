/* What test_exec.sh cannot do in shell:
 *   exec_probe file PATH              tells what a file is, and which ways to change it are refused
 *   exec_probe look PID FILE [WORD]   prints how many 16-byte pieces of FILE are in the memory of PID that it can write to,
 *                                     leaving out mappings whose line in /proc/PID/maps has WORD in it
 *   exec_probe blocked COMMAND...     runs it with SIGUSR1 and SIGTERM blocked and SIGUSR2 and SIGPIPE ignored
 *   exec_probe usual COMMAND...       runs it with signals as usual: shells ignore some in the background */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE = 16, NEEDLE_MOST = 4096, BLOCK = 1 << 20 };

static void tell(const char *what, int done) { printf(" %s:%s", what, done ? "allowed" : strerror(errno)); }

static int file(const char *path) {
    struct stat stat;
    char name[64], target[256] = "";
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &stat) != 0) return 1;
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    if (readlink(name, target, sizeof target - 1) < 0) return 1;
    printf("%s mode:%o links:%u size:%lld seals:%#x", target, (unsigned)stat.st_mode & 07777, (unsigned)stat.st_nlink,
           (long long)stat.st_size, (unsigned)fcntl(fd, F_GET_SEALS));
    tell("write", write(fd, "x", 1) == 1);
    tell("map", mmap(NULL, 1, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED);
    tell("shrink", ftruncate(fd, 0) == 0);
    tell("grow", ftruncate(fd, stat.st_size + 1) == 0);
    tell("punch", fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, stat.st_size) == 0);
    tell("unseal", fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) == 0);
    putchar('\n');
    return 0;
}

static uint64_t pieces_in(const unsigned char *block, size_t size, const unsigned char *needle, size_t length) {
    uint64_t count = 0;
    for (size_t i = 0; i + PIECE <= length; i += PIECE)
        for (const unsigned char *at = block; (at = memmem(at, size - (size_t)(at - block), needle + i, PIECE)) != NULL;
             at++)
            count++;
    return count;
}

static int look(const char *pid, const char *path, const char *without) {
    static unsigned char needle[NEEDLE_MOST], block[BLOCK];
    char name[64], line[512], rights[8];
    unsigned long from, to;
    uint64_t count = 0, bytes = 0;
    int needle_fd = open(path, O_RDONLY);
    ssize_t length = read(needle_fd, needle, sizeof needle);
    snprintf(name, sizeof name, "/proc/%s/mem", pid);
    int memory = open(name, O_RDONLY);
    snprintf(name, sizeof name, "/proc/%s/maps", pid);
    FILE *maps = fopen(name, "r");
    if (length < PIECE || memory < 0 || maps == NULL) return 1;
    while (fgets(line, sizeof line, maps) != NULL) {
        if (sscanf(line, "%lx-%lx %7s", &from, &to, rights) != 3) continue;
        if ((rights[1] != 'w' && rights[0] == 'r') || (without != NULL && strstr(line, without) != NULL)) continue;
        for (unsigned long at = from; at < to; at += BLOCK / 2) {
            size_t want = to - at < BLOCK ? to - at : BLOCK;
            ssize_t got = pread(memory, block, want, (off_t)at);
            if (got > 0) count += pieces_in(block, (size_t)got, needle, (size_t)length), bytes += (uint64_t)got;
        }
    }
    printf("%llu\n", (unsigned long long)count);
    return bytes > 50000 ? 0 : 1;
}

static int blocked(char **command) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGTERM);
    signal(SIGUSR2, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    if (sigprocmask(SIG_SETMASK, &set, NULL) != 0) return 1;
    execvp(command[0], command);
    return 127;
}

static int usual(char **command) {
    for (int i = 1; i < 32; i++)
        signal(i, SIG_DFL); /* not KILL and STOP, which are so anyway */
    execvp(command[0], command);
    return 127;
}

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "file") == 0) return file(argv[2]);
    if (argc >= 4 && strcmp(argv[1], "look") == 0) return look(argv[2], argv[3], argv[4]);
    if (argc >= 3 && strcmp(argv[1], "blocked") == 0) return blocked(argv + 2);
    if (argc >= 3 && strcmp(argv[1], "usual") == 0) return usual(argv + 2);
    return 2;
}
