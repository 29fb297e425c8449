/* 200 clients of an agent at once: workers, stallers, slow readers, garbage, clients that leave in the middle, lists, one that
 * locks and unlocks; all of them are killed at random and replaced. Built with the frames of the command (wire.c).
 *   agent_storm SOCKET SECONDS      the storm; at its end all that was acknowledged must be there, nothing else, and is removed
 *   agent_storm SOCKET guess COUNT  so many wrong passphrases at once: at most one may be looked at
 *   agent_storm SOCKET linger       passes along sockets whose closing takes minutes, and leaves
 *   agent_storm SOCKET flood COUNT SECONDS  keeps so many connections that stop in the middle; prints "flooded" when they are there
 *   agent_storm SOCKET announce COUNT SECONDS  so many secrets of 1 MiB are announced at once, and do not come
 * A worker has names of its own, new ones each time it is replaced, and writes down in shared memory what it is about to do and
 * what was acknowledged: only of what a killed one was just doing either outcome is right. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "agent_talk.h"

enum { CLIENTS = 200, KEYS = 3, LOOSE_MOST = 4000, VALUE_MOST = 9000, BIG = 1 << 20, NAME = 48 };

enum key_state { ABSENT, PRESENT, SETTING, REMOVING };

struct key {
    enum key_state state;
    unsigned life;    /* of the client whose name it is */
    uint32_t version; /* that was acknowledged; SETTING: the one before, 0 for none */
};

/* One for each client. */
struct role {
    const char *what;
    int (*run)(uint64_t who);
    unsigned life; /* how often it was replaced */
    uint64_t done;
    double longest; /* until something was answered, in seconds */
    struct key keys[KEYS];
};

static struct shared {
    double end;
    uint64_t cycles; /* of locking and unlocking */
    uint64_t locked_answers;
    struct role roles[CLIENTS];
    size_t loose; /* names that a killed client was just working at */
    char names[LOOSE_MOST][NAME];
} * all;

static bool over(void) { return now() >= all->end; }

static void note_time(uint64_t who, double since) {
    double took = now() - since;
    if (took > all->roles[who].longest) all->roles[who].longest = took;
    all->roles[who].done++;
}

/* ---- requests, each over a connection of its own; -1: broken off ---- */

static int ask(uint64_t who, enum wire_op op, const char *name, const void *bytes, size_t size, unsigned char *back,
               size_t *got) {
    struct wire_frame frame;
    double since = now();
    int result = -1, fd = reach();
    if (fd < 0) return -1;
    bool good = request(fd, op, name, size) && answer(fd, &frame);
    if (good && frame.answer == WIRE_GO) {
        wire_send(fd, bytes, size); /* when it breaks off there is an answer that says why */
        good = answer(fd, &frame);
    }
    if (good && op == WIRE_GET && frame.answer == WIRE_DONE) {
        good = frame.bytes <= VALUE_MOST && wire_receive(fd, back, (size_t)frame.bytes);
        *got = (size_t)frame.bytes;
    }
    if (good) result = (int)frame.answer;
    close(fd);
    if (good) note_time(who, since);
    return result;
}

/* While the agent is locked we are told so at once, and wait. */
static int ask_patiently(uint64_t who, enum wire_op op, const char *name, const void *bytes, size_t size,
                         unsigned char *back, size_t *got) {
    for (;;) {
        int got_answer = ask(who, op, name, bytes, size, back, got);
        if (got_answer != WIRE_LOCKED) return got_answer;
        __atomic_add_fetch(&all->locked_answers, 1, __ATOMIC_RELAXED);
        nap(50);
    }
}

/* ---- values: everything in them depends on whose they are ---- */

static void name_of(char name[NAME], uint64_t who, unsigned life, unsigned key) {
    snprintf(name, NAME, "storm/%u/%u/%u", (unsigned)who, life, key);
}

static size_t make_value(unsigned char *value, const char *name, uint32_t version) {
    uint64_t hash = version;
    for (const char *at = name; *at != '\0'; at++)
        hash = (hash ^ (unsigned char)*at) * 0x100000001b3;
    size_t size = 1 + hash % (VALUE_MOST - 1);
    for (size_t i = 0; i < size; i++)
        value[i] = (unsigned char)((hash = hash * 6364136223846793005 + 1442695040888963407) >> 56);
    return size;
}

/* 0: as it should be; -1: not answered; 1: wrong, said so. */
static int check_key(uint64_t who, unsigned key) {
    unsigned char back[VALUE_MOST], value[VALUE_MOST];
    char name[NAME];
    size_t got = 0;
    const struct key *is = &all->roles[who].keys[key];
    name_of(name, who, is->life, key);
    int reply = ask_patiently(who, WIRE_GET, name, NULL, 0, back, &got);
    if (reply < 0) return -1;
    if (reply == WIRE_NO_SECRET && is->state != PRESENT && !(is->state == SETTING && is->version != 0)) return 0;
    for (uint32_t version = is->version; reply == WIRE_DONE && version <= is->version + (is->state == SETTING);
         version++)
        if (version != 0 && is->state != ABSENT && got == make_value(value, name, version) &&
            memcmp(value, back, got) == 0)
            return 0;
    printf("%s: answer %d, %zu bytes, when state was %d, version %u\n", name, reply, got, (int)is->state, is->version);
    fflush(stdout);
    return 1;
}

/* ---- roles ---- */

static int set_key(uint64_t who, unsigned key) {
    unsigned char value[VALUE_MOST];
    char name[NAME];
    struct key *is = &all->roles[who].keys[key];
    if (is->state == ABSENT) is->version = 0, is->life = all->roles[who].life;
    name_of(name, who, is->life, key);
    size_t size = make_value(value, name, is->version + 1);
    is->state = SETTING;
    int reply = ask_patiently(who, WIRE_SET, name, value, size, NULL, NULL);
    if (reply != WIRE_DONE) return say("set was not done");
    is->version++;
    is->state = PRESENT;
    return 0;
}

static int remove_key(uint64_t who, unsigned key) {
    char name[NAME];
    struct key *is = &all->roles[who].keys[key];
    bool sure = is->state == PRESENT;
    name_of(name, who, is->life, key);
    is->state = REMOVING;
    int reply = ask_patiently(who, WIRE_REMOVE, name, NULL, 0, NULL, NULL);
    if (reply != WIRE_DONE && (sure || reply != WIRE_NO_SECRET)) return say("rm was not done");
    is->state = ABSENT;
    return 0;
}

/* What a killed one has left: all of it is there, and is removed. What it was just doing may yet come. */
static int inherit(uint64_t who) {
    for (unsigned key = 0; key < KEYS; key++) {
        const struct key *is = &all->roles[who].keys[key];
        if (is->state == ABSENT) continue;
        if (is->state != PRESENT) {
            size_t at = __atomic_fetch_add(&all->loose, 1, __ATOMIC_SEQ_CST);
            if (at < LOOSE_MOST) name_of(all->names[at], who, is->life, key);
        }
        if (check_key(who, key) != 0 || remove_key(who, key) != 0) return 1;
    }
    return 0;
}

static int work(uint64_t who) {
    struct role *role = &all->roles[who];
    if (inherit(who) != 0) return 1;
    while (!over()) {
        unsigned key = (unsigned)draw(KEYS);
        int bad;
        if (role->keys[key].state == PRESENT && draw(4) == 0)
            bad = remove_key(who, key);
        else if (role->keys[key].state == PRESENT && draw(3) != 0)
            bad = check_key(who, key);
        else
            bad = set_key(who, key);
        if (bad != 0) return 1;
    }
    return 0;
}

static int stall_once(uint64_t who) {
    for (uint64_t way = who; !over(); way++) {
        int fd = stop_at(way % 5);
        if (fd < 0) return say("connect");
        struct pollfd look = {.fd = fd, .events = POLLRDHUP};
        while (!over() && poll(&look, 1, 200) == 0) {
        }
        close(fd);
        all->roles[who].done++;
    }
    return 0;
}

/* Asks for 1 MiB and takes none of it. */
static int read_slowly(uint64_t who) {
    while (!over()) {
        struct wire_frame frame;
        int small = 4096, fd = reach();
        if (fd < 0) return say("connect");
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
        if (request(fd, WIRE_GET, "storm-large", 0) && answer(fd, &frame)) {
            struct pollfd look = {.fd = fd, .events = POLLRDHUP};
            while (!over() && poll(&look, 1, 200) == 0) {
            }
            all->roles[who].done++;
        }
        close(fd);
    }
    return 0;
}

static int send_garbage(uint64_t who) {
    spare_unlock = true;
    while (!over()) {
        if (fuzz_once() != 0) return 1;
        all->roles[who].done++;
    }
    return 0;
}

static int leave_early(uint64_t who) {
    while (!over()) {
        int fd = stop_at(draw(5));
        if (fd < 0) return say("connect");
        close(fd);
        all->roles[who].done++;
    }
    return 0;
}

static int list_names(uint64_t who) {
    while (!over()) {
        struct wire_frame frame = {0};
        double since = now();
        int fd = reach();
        if (fd < 0 || !request(fd, WIRE_LIST, "", 0)) return say("list");
        do {
            if (!answer(fd, &frame)) return say("list");
        } while (frame.answer == WIRE_ENTRY);
        close(fd);
        if (frame.answer != WIRE_DONE) return say("list");
        note_time(who, since);
    }
    return 0;
}

/* The one that locks is not killed while it is locked: nobody else would unlock. */
static int lock_and_unlock(uint64_t who) {
    static const char passphrase[] = "storm";
    nap(1500);
    while (!over()) {
        int reply = ask(who, WIRE_LOCK, "", passphrase, 5, NULL, NULL);
        if (reply != WIRE_DONE && reply != WIRE_BUSY) return say("lock");
        nap(100);
        while (reply == WIRE_DONE && (reply = ask(who, WIRE_UNLOCK, "", passphrase, 5, NULL, NULL)) != WIRE_DONE) {
            if (reply < 0) return say("unlock");
            nap(100);
            reply = WIRE_DONE;
        }
        all->cycles++;
        nap(3000 + (long)draw(4000));
    }
    return 0;
}

static const struct {
    const char *what;
    int (*run)(uint64_t who);
    size_t count;
} crowd[] = {{"work", work, 124},           {"stall", stall_once, 28},        {"read slowly", read_slowly, 6},
             {"garbage", send_garbage, 20}, {"leave early", leave_early, 13}, {"list", list_names, 8},
             {"lock", lock_and_unlock, 1}};

/* ---- the storm ---- */

static pid_t start(uint64_t who) {
    uint64_t own = draw(UINT64_MAX);
    pid_t parent = getpid(), pid = fork();
    if (pid != 0) return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    seed = own;
    _exit(all->roles[who].run(who));
}

static void assign(void) {
    size_t who = 0;
    for (size_t i = 0; i < sizeof crowd / sizeof crowd[0]; i++)
        for (size_t k = 0; k < crowd[i].count; k++, who++)
            all->roles[who].what = crowd[i].what, all->roles[who].run = crowd[i].run;
}

/* One is killed and replaced. Whoever ended by itself before the end has found something wrong. */
static int replace(pid_t *pids, uint64_t who, uint64_t *killed) {
    int status = 0;
    kill(pids[who], SIGKILL);
    if (waitpid(pids[who], &status, 0) != pids[who]) return say("waitpid");
    if (WIFSIGNALED(status)) ++*killed;
    int bad = WIFEXITED(status) && WEXITSTATUS(status) != 0;
    all->roles[who].life++;
    pids[who] = start(who);
    return bad;
}

static bool is_loose(const char *name) {
    for (size_t i = 0; i < all->loose && i < LOOSE_MOST; i++)
        if (strcmp(all->names[i], name) == 0) return true;
    return false;
}

/* The list is empty but for what may have come late, which is removed. */
static int nothing_else(void) {
    struct wire_frame frame = {0};
    char name[WIRE_NAME_MOST + 1];
    int extra = 0, fd = reach();
    if (fd < 0 || !request(fd, WIRE_LIST, "", 0)) return say("list");
    while (wire_receive_frame(fd, &frame, name) && frame.answer == WIRE_ENTRY) {
        if (strncmp(name, "storm/", 6) != 0 && strncmp(name, "storm-", 6) == 0) continue;
        if (strncmp(name, "storm/", 6) == 0 && !is_loose(name)) {
            printf("nobody has left %s\n", name);
            extra++;
        }
        ask(0, WIRE_REMOVE, name, NULL, 0, NULL, NULL);
    }
    close(fd);
    return frame.answer == WIRE_DONE && extra == 0 ? 0 : 1;
}

static int count_up(uint64_t killed, int bad) {
    double longest = 0;
    uint64_t done = 0, idle = 0;
    for (size_t who = 0; who < CLIENTS; who++) {
        const struct role *role = &all->roles[who];
        if (role->longest > longest) longest = role->longest;
        done += role->done;
        if (role->done == 0) {
            printf("client %zu (%s) was never served\n", who, role->what);
            idle++;
        }
    }
    printf("%d clients: %llu served, %llu killed, %llu times locked, %llu answers \"locked\", longest wait %.1f s, "
           "%zu cut at work, %d bad\n",
           CLIENTS, (unsigned long long)done, (unsigned long long)killed, (unsigned long long)all->cycles,
           (unsigned long long)all->locked_answers, longest, all->loose, bad);
    return bad == 0 && idle == 0 && killed > 0 && all->loose > 0 && all->loose <= LOOSE_MOST && longest < 30 ? 0 : 1;
}

/* Nobody works any more: what each one left is there. */
static int settle(void) {
    int bad = 0;
    for (uint64_t who = 0; who < CLIENTS; who++)
        if (all->roles[who].run == work) bad += inherit(who) != 0;
    return bad + nothing_else();
}

static int storm(double seconds) {
    static pid_t pids[CLIENTS];
    uint64_t killed = 0;
    int bad = 0;
    assign();
    all->end = now() + seconds;
    for (uint64_t who = 0; who < CLIENTS; who++)
        pids[who] = start(who);
    while (!over()) {
        nap((long)draw(60));
        uint64_t who = draw(CLIENTS);
        if (all->roles[who].run != lock_and_unlock) bad += replace(pids, who, &killed);
    }
    for (uint64_t who = 0; who < CLIENTS; who++) {
        int status = 1;
        if (waitpid(pids[who], &status, 0) != pids[who] || status != 0) bad++;
    }
    return count_up(killed, bad + settle());
}

/* ---- guessing ---- */

static int guess(size_t count) {
    uint64_t counts[WIRE_ANSWER_COUNT] = {0};
    pid_t *pids = calloc(count, sizeof *pids);
    for (size_t i = 0; i < count; i++)
        if ((pids[i] = fork()) == 0) {
            int reply = ask(0, WIRE_UNLOCK, "", "wrong", 5, NULL, NULL);
            _exit(reply < 0 ? 255 : reply);
        }
    for (size_t i = 0; i < count; i++) {
        int status = 0;
        waitpid(pids[i], &status, 0);
        if (WIFEXITED(status) && WEXITSTATUS(status) < WIRE_ANSWER_COUNT) counts[WEXITSTATUS(status)]++;
    }
    printf("%zu at once: %llu wrong, %llu too soon, %llu busy\n", count, (unsigned long long)counts[WIRE_WRONG],
           (unsigned long long)counts[WIRE_LATER], (unsigned long long)counts[WIRE_BUSY]);
    return counts[WIRE_DONE] == 0 && counts[WIRE_WRONG] <= 1 &&
                   counts[WIRE_WRONG] + counts[WIRE_LATER] + counts[WIRE_BUSY] == count
               ? 0
               : 1;
}

/* ---- descriptors passed along ---- */

/* A connection on the loopback whose other side takes nothing: closing it takes the time that is set. */
static int make_lingering(int *listener, int *other) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    const struct linger linger = {.l_onoff = 1, .l_linger = 120};
    static char bytes[65536];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    *listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(*listener, (struct sockaddr *)&address, size) != 0 || listen(*listener, 1) != 0 ||
        getsockname(*listener, (struct sockaddr *)&address, &size) != 0 ||
        connect(fd, (struct sockaddr *)&address, size) != 0)
        return -1;
    *other = accept(*listener, NULL, NULL);
    while (send(fd, bytes, sizeof bytes, MSG_DONTWAIT | MSG_NOSIGNAL) > 0) {
    }
    return setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger) == 0 ? fd : -1;
}

static bool pass_along(int fd, int passed, const void *bytes, size_t size) {
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec part = {(void *)(uintptr_t)bytes, size};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof control.room};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    *head = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(head), &passed, sizeof passed);
    return sendmsg(fd, &message, MSG_NOSIGNAL) == (ssize_t)size;
}

/* With the frame, which is read, and behind it, where nobody reads; a kernel or an agent may refuse either. The agent is stopped
 * meanwhile: so the last close is its own. */
static int linger(void) {
    const struct wire_frame frame = wire_request(WIRE_STATUS);
    for (int way = 0; way < 6; way++) {
        int listener, other, lingering = make_lingering(&listener, &other), fd = reach();
        if (lingering < 0 || fd < 0) return say("linger");
        bool taken = way % 2 == 0 ? pass_along(fd, lingering, &frame, sizeof frame)
                                  : wire_send(fd, &frame, sizeof frame) && pass_along(fd, lingering, "x", 1);
        puts(taken ? "taken" : "refused");
        if (taken) close(lingering); /* what is refused stays open: our own last close would wait as well */
        close(fd);
    }
    puts("passed along");
    fflush(stdout);
    nap(100000);
    return 0;
}

static int flood(size_t count, double seconds) {
    for (size_t i = 0; i < count; i++)
        if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            all->end = now() + seconds;
            _exit(stall_once(i));
        }
    nap(300);
    puts("flooded");
    fflush(stdout);
    while (wait(NULL) > 0) {
    }
    return 0;
}

/* Announces as much as can be, and sends none of it. */
static int announce(size_t count, double seconds) {
    for (size_t i = 0; i < count; i++) {
        int fd = reach();
        if (fd < 0 || !request(fd, WIRE_SET, "announced", BIG)) return say("announce");
    }
    puts("announced");
    fflush(stdout);
    nap((long)(seconds * 1000));
    return 0;
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    place = argv[1];
    signal(SIGPIPE, SIG_IGN);
    all = mmap(NULL, sizeof *all, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED) return say("mmap");
    if (strcmp(argv[2], "guess") == 0 && argc > 3) return guess(strtoul(argv[3], NULL, 10));
    if (strcmp(argv[2], "linger") == 0) return linger();
    if (strcmp(argv[2], "flood") == 0 && argc > 4) return flood(strtoul(argv[3], NULL, 10), strtod(argv[4], NULL));
    if (strcmp(argv[2], "announce") == 0 && argc > 4)
        return announce(strtoul(argv[3], NULL, 10), strtod(argv[4], NULL));
    return storm(strtod(argv[2], NULL));
}
