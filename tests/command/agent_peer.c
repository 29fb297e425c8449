/* Talks to an agent as no client should, and as 200 do. Built with the frames of the command (wire.c) by test_agent.sh.
 *   agent_peer SOCKET fuzz SEED COUNT      mutated requests
 *   agent_peer SOCKET stall COUNT SECONDS [ENOUGH]  connections that stop in the middle, until the agent has cut enough
 *   agent_peer SOCKET drop COUNT           connections that are closed in the middle
 *   agent_peer SOCKET hold NAME SECONDS    gets a secret and does not read it
 *   agent_peer SOCKET status               one request; prints "answered" or "turned away"
 *   agent_peer SOCKET storm CLIENTS SECONDS  processes that set, get and compare; some are killed in the middle
 *   agent_peer - look PID FILE             prints how many 16-byte pieces of FILE are in the memory of PID
 * Every random choice comes from a seed; nothing waits without an end. Exits with 0 when all is as it should be. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent_talk.h"

/* ---- garbage ---- */

static int fuzz(uint64_t count) {
    for (uint64_t i = 0; i < count; i++)
        if (fuzz_once() != 0) return 1;
    return 0;
}

/* ---- clients that stop ---- */

static int stall(size_t count, double seconds, size_t enough) {
    int *fds = calloc(count, sizeof *fds);
    size_t cut = 0;
    for (size_t i = 0; i < count; i++)
        if ((fds[i] = stop_at(i % 5)) < 0) return say("connect");
    puts("stalled");
    fflush(stdout);
    for (double end = now() + seconds; cut < enough && now() < end; nap(50)) {
        cut = 0;
        for (size_t i = 0; i < count; i++) {
            struct pollfd look = {.fd = fds[i], .events = POLLRDHUP};
            cut += poll(&look, 1, 0) > 0;
        }
    }
    printf("cut %zu of %zu\n", cut, count);
    return cut >= enough ? 0 : 1;
}

static int drop(size_t count) {
    for (size_t i = 0; i < count; i++) {
        int fd = stop_at(i % 5);
        if (fd < 0) return say("connect");
        close(fd);
    }
    return 0;
}

static int hold(const char *name, double seconds) {
    int small = 4096, fd = reach();
    struct wire_frame frame;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small) != 0) return say("connect");
    if (!request(fd, WIRE_GET, name, 0) || !answer(fd, &frame) || frame.answer != WIRE_DONE) return say("get");
    puts("held");
    fflush(stdout);
    nap((long)(seconds * 1000));
    return 0;
}

static int ask_status(void) {
    struct wire_frame frame;
    int fd = reach();
    if (fd < 0) return say("connect");
    bool answered = request(fd, WIRE_STATUS, "", 0) && answer(fd, &frame) && frame.answer == WIRE_DONE;
    puts(answered ? "answered" : "turned away");
    return 0;
}

/* ---- many ---- */

enum { VALUE_MOST = 9000 };

/* The value of a name is one byte, repeated as often as its length says: mixed or cut values are noticed. */
static size_t make_value(unsigned char *value, uint64_t who, uint64_t round) {
    size_t size = 1 + (who * 131 + round * 1009) % VALUE_MOST;
    value[0] = (unsigned char)who;
    memset(value + 1, (int)(size % 251), size - 1);
    return size;
}

static bool is_value(const unsigned char *value, size_t size, uint64_t who) {
    if (size == 0 || value[0] != (unsigned char)who) return false;
    for (size_t i = 1; i < size; i++)
        if (value[i] != size % 251) return false;
    return true;
}

static bool set_value(const char *name, const unsigned char *value, size_t size) {
    struct wire_frame frame;
    int fd = reach();
    if (fd < 0) return false;
    bool good = request(fd, WIRE_SET, name, size) && answer(fd, &frame) && frame.answer == WIRE_GO &&
                wire_send(fd, value, size) && answer(fd, &frame) && frame.answer == WIRE_DONE;
    close(fd);
    return good;
}

/* -1: it failed; 0: there is none. */
static ssize_t get_value(const char *name, unsigned char *value) {
    struct wire_frame frame;
    ssize_t size = -1;
    int fd = reach();
    if (fd < 0) return -1;
    if (request(fd, WIRE_GET, name, 0) && answer(fd, &frame)) {
        if (frame.answer == WIRE_NO_SECRET) size = 0;
        if (frame.answer == WIRE_DONE && frame.bytes <= VALUE_MOST && wire_receive(fd, value, (size_t)frame.bytes))
            size = (ssize_t)frame.bytes;
    }
    close(fd);
    return size;
}

/* Rounds are counted in shared memory. Ends with 1 when something was lost. In the first second another whole value is no loss:
 * the agent may just be storing what the one before us had sent when it was killed. */
static int one_of_many(uint64_t who, double end, volatile uint64_t *rounds) {
    unsigned char value[VALUE_MOST], back[VALUE_MOST];
    char name[32];
    double strict = now() + 1;
    snprintf(name, sizeof name, "storm/%u", (unsigned)who);
    for (uint64_t round = draw(1000); now() < end; round++) {
        size_t size = make_value(value, who, round);
        if (!set_value(name, value, size)) return say("set");
        ssize_t got = get_value(name, back);
        bool same = got == (ssize_t)size && memcmp(value, back, size) == 0;
        if (!same && (now() > strict || got <= 0 || !is_value(back, (size_t)got, who)))
            return say("what came back is another value");
        ++*rounds;
    }
    return 0;
}

static pid_t start_one(uint64_t who, double end, volatile uint64_t *rounds) {
    uint64_t own = draw(UINT64_MAX);
    pid_t parent = getpid(), pid = fork();
    if (pid != 0) return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    seed = own;
    _exit(one_of_many(who, end, rounds));
}

static int storm(size_t clients, double seconds) {
    pid_t *pids = calloc(clients, sizeof *pids);
    unsigned char value[VALUE_MOST];
    volatile uint64_t *rounds = mmap(NULL, clients * 8, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    double end = now() + seconds;
    uint64_t killed = 0, bad = 0, done = 0, lost = 0;
    for (size_t i = 0; i < clients; i++)
        pids[i] = start_one(i, end, &rounds[i]);
    while (now() < end) {
        size_t victim = draw(clients);
        int status;
        nap((long)draw(40));
        kill(pids[victim], SIGKILL);
        waitpid(pids[victim], &status, 0);
        if (WIFSIGNALED(status))
            killed++;
        else
            bad += WEXITSTATUS(status) != 0;
        pids[victim] = start_one(victim, end, &rounds[victim]);
    }
    for (size_t i = 0; i < clients; i++) {
        int status = 1;
        waitpid(pids[i], &status, 0);
        bad += status != 0;
    }
    for (size_t i = 0; i < clients; i++) {
        char name[32];
        snprintf(name, sizeof name, "storm/%u", (unsigned)i);
        ssize_t size = get_value(name, value);
        done += rounds[i];
        lost += size < 0 || (size > 0 && !is_value(value, (size_t)size, i)) || (size == 0 && rounds[i] > 0);
    }
    printf("%zu clients: %llu rounds, %llu killed, %llu failed, %llu lost\n", clients, (unsigned long long)done,
           (unsigned long long)killed, (unsigned long long)bad, (unsigned long long)lost);
    return bad == 0 && lost == 0 && killed > 0 && done > 0 ? 0 : 1;
}

/* ---- the agent's memory ---- */

enum { PIECE = 16, NEEDLE_MOST = 4096, BLOCK = 1 << 20 };

static uint64_t count_in(const unsigned char *block, size_t size, const unsigned char *needle, size_t needle_size) {
    uint64_t count = 0;
    for (size_t piece = 0; piece + PIECE <= needle_size; piece += PIECE) {
        const unsigned char *at = block;
        while ((at = memmem(at, (size_t)(block + size - at), needle + piece, PIECE)) != NULL) {
            count++;
            at++;
        }
    }
    return count;
}

static uint64_t search_range(int memory, unsigned long from, unsigned long to, const unsigned char *needle, size_t size,
                             uint64_t *read_bytes) {
    static unsigned char block[BLOCK + PIECE];
    uint64_t count = 0;
    for (unsigned long at = from; at < to; at += BLOCK) {
        size_t wanted = to - at < sizeof block ? to - at : sizeof block;
        ssize_t got = pread(memory, block, wanted, (off_t)at);
        if (got <= 0) continue; /* hidden, or not there */
        *read_bytes += (uint64_t)got;
        count += count_in(block, (size_t)got, needle, size);
    }
    return count;
}

static int look(const char *pid, const char *path) {
    unsigned char needle[NEEDLE_MOST];
    char name[64], line[512];
    unsigned long from = 0, to = 0, resident;
    uint64_t count = 0, bytes = 0;
    int file = open(path, O_RDONLY);
    ssize_t size = read(file, needle, sizeof needle);
    snprintf(name, sizeof name, "/proc/%s/mem", pid);
    int memory = open(name, O_RDONLY);
    snprintf(name, sizeof name, "/proc/%s/smaps", pid);
    FILE *maps = fopen(name, "r");
    if (size < PIECE || memory < 0 || maps == NULL) return say("look");
    while (fgets(line, sizeof line, maps) != NULL)
        if (sscanf(line, "%lx-%lx ", &from, &to) != 2 && sscanf(line, "Rss: %lu", &resident) == 1 && resident != 0)
            count += search_range(memory, from, to, needle, (size_t)size, &bytes);
    printf("%llu\n", (unsigned long long)count);
    return bytes > 100000 ? 0 : 1;
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    const char *what = argv[2];
    unsigned long number = argc > 3 ? strtoul(argv[3], NULL, 10) : 0;
    double seconds = argc > 4 ? strtod(argv[4], NULL) : 0;
    place = argv[1];
    signal(SIGPIPE, SIG_IGN);
    if (strcmp(what, "fuzz") == 0) {
        seed = number;
        return fuzz((uint64_t)seconds);
    }
    if (strcmp(what, "stall") == 0) return stall(number, seconds, argc > 5 ? strtoul(argv[5], NULL, 10) : number);
    if (strcmp(what, "drop") == 0) return drop(number);
    if (strcmp(what, "hold") == 0) return hold(argv[3], seconds);
    if (strcmp(what, "status") == 0) return ask_status();
    if (strcmp(what, "storm") == 0) return storm(number, seconds);
    if (strcmp(what, "look") == 0) return look(argv[3], argv[4]);
    return 2;
}
