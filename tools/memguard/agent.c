/* The verb `agent`: options, becoming a process that holds secrets, its end. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <memguard.h>
#include <memguard/process.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent_ask.h"
#include "agent_lock.h"
#include "agent_request.h"
#include "agent_serve.h"
#include "agent_store.h"
#include "agent_suspend.h"
#include "client.h"
#include "command.h"
#include "options.h"
#include "place.h"
#include "spawn.h"
#include "ui.h"

static const char manual[] = "usage: memguard agent [--foreground] [--if-none] [--ttl TIME]\n"
                             "                      [--backend auto|secretmem|locked|plain]\n"
                             "                      [--lock-on-suspend [--passphrase-fd N]]\n"
                             "\n"
                             "Holds named secrets, sealed in protected memory, for programs of the same user,\n"
                             "until it is told to forget them: by `memguard purge`, SIGTERM, SIGINT or SIGHUP.\n"
                             "`memguard set` starts one when there is none.\n"
                             "  --foreground   stays where it is started; says when it is ready\n"
                             "  --if-none      it is no failure when an agent is running already\n"
                             "  --backend B    in which pages secrets lie while in use, see memguard(3)\n"
                             "  --ttl TIME     forgets secrets after so long (90s, 30m, 8h, 7d) that were set\n"
                             "                 without --ttl\n"
                             "  --lock-on-suspend\n"
                             "                 asks for a passphrase now, and locks the agent under it (see\n"
                             "                 memguard lock) before the machine sleeps; after an unlock,\n"
                             "                 under the passphrase given then. Needs logind,\n"
                             "                 systemd-inhibit and gdbus; when logind tells us no more\n"
                             "                 the agent locks at once\n"
                             "  --passphrase-fd N\n"
                             "                 reads a line of descriptor N instead of asking\n"
                             "\n"
                             "It listens on $XDG_RUNTIME_DIR/memguard/agent.sock (else below /run/user/UID).\n"
                             "It answers processes of its own user only; root too is refused, unless it is\n"
                             "root's. For secrets set with --confirm a person is asked by the program that\n"
                             "MEMGUARD_ASKPASS or SSH_ASKPASS names in the agent's environment (an absolute\n"
                             "path), or on the terminal of an agent that runs in the foreground.\n"
                             "\n"
                             "exit code: 0 done, 1 it could not be started, or one is running already,\n"
                             "           2 wrong usage\n";

enum { PLACE_PATIENCE_MS = 5000, PLACE_STEP_MS = 10 };

struct agent {
    struct store_options store;
    bool foreground, if_none, lock_on_suspend;
    int passphrase; /* a descriptor; -1: a person is asked */
    int directory, lock, listener;
    int ready; /* the pipe to the process that started us; -1: in the foreground */
};

static int socket_directory = -1; /* for the end, from wherever it comes */

static void end_now(void) {
    suspend_end();
    place_leave(socket_directory);
    memguard_safe_exit(EXIT_GOOD);
}

/* In a thread of the library's, which purges everything after this. */
static void on_signal(int signal, void *arg) {
    (void)signal, (void)arg;
    suspend_end();
    place_leave(socket_directory);
}

/* ---- the command line ---- */

static bool parse_backend(struct options *options, uint32_t *backend) {
    static const char *const names[] = {"auto", "secretmem", "locked", "plain"};
    const char *name = NULL;
    if (!options_value(options, "--backend", &name)) return false;
    for (uint32_t i = 0; name != NULL && i < sizeof names / sizeof names[0]; i++)
        if (strcmp(name, names[i]) == 0) {
            *backend = i;
            return true;
        }
    if (name != NULL) ui_error("unknown backend: %s", name);
    options->bad = true;
    return true;
}

static bool parse(struct agent *agent, int argc, char **argv) {
    struct options options = {argc, 1, argv, false};
    while (options_more(&options)) {
        if (options_flag(&options, "--foreground"))
            agent->foreground = true;
        else if (options_flag(&options, "--if-none"))
            agent->if_none = true;
        else if (options_flag(&options, "--lock-on-suspend"))
            agent->lock_on_suspend = true;
        else if (!options_descriptor(&options, "--passphrase-fd", &agent->passphrase) &&
                 !parse_backend(&options, &agent->store.backend) &&
                 !options_duration(&options, "--ttl", &agent->store.ttl_ms)) {
            ui_error("unknown argument: %s", argv[options.at]);
            return false;
        }
    }
    return !options.bad;
}

/* ---- becoming an agent ---- */

/* What the starting program had open is none of our business: it might be a secret's file, or keep a pipe from ending. But
 * for *kept, which becomes the first of ours. */
static bool close_inherited(int *kept) {
    int first = STDERR_FILENO + 1;
    if (*kept > STDERR_FILENO) {
        if (*kept != first && dup2(*kept, first) < 0) return false;
        *kept = first++;
    }
    if (syscall(SYS_close_range, (unsigned)first, ~0U, 0) == 0) return true;
    long most = sysconf(_SC_OPEN_MAX);
    for (int fd = first; fd < most; fd++)
        close(fd);
    return most > 0;
}

/* The starting process waits for the first byte of the pipe, which is its exit code. */
static int wait_until_ready(int from, pid_t child) {
    unsigned char code = EXIT_BAD;
    ssize_t got;
    do
        got = read(from, &code, 1);
    while (got < 0 && errno == EINTR);
    if (got != 1) code = EXIT_BAD;
    while (code != EXIT_GOOD && waitpid(child, NULL, 0) < 0 && errno == EINTR) { /* so that it has given up its lock */
    }
    return code;
}

/* -1 in the agent, else the exit code of the process that started it. Before the library is used. */
static int leave_terminal(struct agent *agent) {
    int ends[2];
    agent->ready = -1;
    if (agent->foreground) return -1;
    if (pipe2(ends, O_CLOEXEC) != 0) return EXIT_BAD;
    pid_t child = fork();
    if (child < 0) ui_error("fork: %s", strerror(errno));
    if (child < 0) return EXIT_BAD;
    if (child > 0) {
        close(ends[1]);
        return wait_until_ready(ends[0], child);
    }
    close(ends[0]);
    agent->ready = ends[1];
    return -1;
}

/* Standard streams go last: until then errors have a place to go to. Who started us may go on with nothing of ours open. */
static bool tell_ready(struct agent *agent) {
    const unsigned char code = EXIT_GOOD;
    if (agent->foreground) {
        ui_line("memguard agent: ready, process %d", (int)getpid());
        return fflush(stdout) == 0;
    }
    if (setsid() < 0) return false;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0) return false;
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (dup2(null, fd) != fd) return false;
    close(null);
    bool good = write(agent->ready, &code, 1) == 1;
    close(agent->ready);
    agent->ready = -1;
    return good;
}

/* Not dumpable is what nobody may do without: the same user could read what is in use. */
static bool harden(void) {
    memguard_harden_report report = MEMGUARD_HARDEN_REPORT_INIT;
    const uint32_t wanted = MEMGUARD_HARDEN_DUMPABLE | MEMGUARD_HARDEN_CORE | MEMGUARD_HARDEN_NO_NEW_PRIVS;
    memguard_status status = memguard_harden(wanted, &report);
    request_tell(report.active, spawn_now_ms());
    if ((report.active & MEMGUARD_HARDEN_DUMPABLE) != 0) return true;
    ui_library_error("hardening", status);
    return false;
}

static bool catch_ends(void) {
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP};
    memguard_signal_options options = MEMGUARD_SIGNAL_OPTIONS_INIT;
    sigset_t none;
    sigemptyset(&none);
    options.exit_code = MEMGUARD_EXIT_ZERO;
    options.flags = MEMGUARD_CATCH_LEAVE_IGNORED;
    if (pthread_sigmask(SIG_SETMASK, &none, NULL) != 0) return false; /* whoever started us may have blocked them */
    memguard_status status = memguard_catch_crash(0);
    if (status == MEMGUARD_OK)
        status = memguard_catch_signal(signals, sizeof signals / sizeof signals[0], on_signal, NULL, &options);
    if (status != MEMGUARD_OK) ui_library_error("signals", status);
    return status == MEMGUARD_OK && signal(SIGPIPE, SIG_IGN) != SIG_ERR;
}

static bool somebody_listens(int directory) {
    int fd = place_connect(directory);
    if (fd >= 0) close(fd);
    return fd >= 0 || (errno != ENOENT && errno != ECONNREFUSED);
}

/* Who has the lock and does not listen is just starting, or just ending: its end is waited for. */
static int take_place(struct agent *agent) {
    const struct timespec pause = {0, PLACE_STEP_MS * 1000000L};
    const int64_t deadline = spawn_now_ms() + PLACE_PATIENCE_MS;
    for (;;) {
        agent->lock = place_lock(agent->directory);
        if (agent->lock >= 0) return EXIT_GOOD;
        if (errno != EWOULDBLOCK) {
            ui_error("the agent's lock: %s", strerror(errno));
            return EXIT_BAD;
        }
        if (somebody_listens(agent->directory) || spawn_now_ms() >= deadline) return EXIT_REFUSED;
        nanosleep(&pause, NULL);
    }
}

static bool listen_there(struct agent *agent) {
    agent->listener = place_listen(agent->directory);
    if (agent->listener >= 0) return true;
    ui_error("the agent's socket: %s", strerror(errno));
    return false;
}

/* While there is still a terminal to ask at, and signals still do to a prompt what they do elsewhere. */
static bool prepare_suspend(const struct agent *agent) {
    MEMGUARD_AUTO memguard_secret passphrase = {0};
    if (!agent->lock_on_suspend) return true;
    if (client_passphrase(store_work(), agent->passphrase, true, &passphrase) != EXIT_GOOD) return false;
    memguard_status status = lock_keep(passphrase);
    if (status != MEMGUARD_OK) ui_library_error("the passphrase", status);
    return status == MEMGUARD_OK;
}

static int hold(struct agent *agent) {
    if (prctl(PR_SET_NAME, "memguard") != 0) return EXIT_BAD; /* by its path in /proc: "exe" */
    int code = take_place(agent);
    if (code == EXIT_REFUSED && agent->if_none) return EXIT_GOOD;
    if (code == EXIT_REFUSED) ui_error("an agent is running already");
    if (code != EXIT_GOOD) return EXIT_BAD;
    if (!harden() || !store_open(&agent->store)) return EXIT_BAD;
    ask_set_up(agent->foreground && isatty(STDIN_FILENO) ? STDIN_FILENO : -1);
    socket_directory = agent->directory;
    request_on_purge(end_now);
    if (!prepare_suspend(agent) || !catch_ends()) return EXIT_BAD;
    if ((agent->lock_on_suspend && !suspend_watch()) || !listen_there(agent)) return EXIT_BAD;
    if (chdir("/") != 0 || !tell_ready(agent)) return EXIT_BAD;
    serve(agent->directory, agent->listener, request_serve);
    ui_error("the socket is gone from its place: nobody can reach this agent any more, and it ends");
    return EXIT_BAD;
}

/* It could not go on. The exit code also goes to the process that waits for us. */
static int end(struct agent *agent, int code) {
    const unsigned char byte = (unsigned char)code;
    memguard_status status = memguard_purge_all(0);
    (void)status; /* the process ends */
    suspend_end();
    if (agent->ready >= 0 && write(agent->ready, &byte, 1) != 1) code = EXIT_BAD;
    return code;
}

static int run(int argc, char **argv) {
    struct agent agent = {.ready = -1, .passphrase = -1};
    if (!parse(&agent, argc, argv)) return EXIT_USAGE;
    if (!close_inherited(&agent.passphrase)) return EXIT_BAD;
    agent.directory = place_open(true);
    if (agent.directory < 0) return EXIT_BAD;
    int code = leave_terminal(&agent);
    return code >= 0 ? code : end(&agent, hold(&agent));
}

const struct verb verb_agent = {"agent", run, "holds named secrets for programs of this user", manual};
