/* The client's side of the socket. Secret bytes go from the socket straight into protected pages and back. */
#define _GNU_SOURCE
#include "client.h"

#include <errno.h>
#include <fcntl.h>
#include <memguard/io.h>
#include <memguard/process.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "command.h"
#include "place.h"
#include "spawn.h"
#include "ui.h"

enum { START_PATIENCE_MS = 10000, START_STEP_MS = 20, KEPT_VARIABLES = 64 };
enum { PROMPT_MOST = 4094 }; /* more a terminal does not give in one line */

static int make_vault(uint32_t hardening, memguard_vault **vault) {
    memguard_harden_report report = MEMGUARD_HARDEN_REPORT_INIT;
    memguard_status status = memguard_harden(hardening, &report);
    if ((report.active & MEMGUARD_HARDEN_DUMPABLE) == 0) {
        ui_library_error("hardening", status);
        return EXIT_BAD;
    }
    status = memguard_vault_create(NULL, vault);
    if (status == MEMGUARD_OK) return EXIT_GOOD;
    ui_library_error("the vault", status);
    return EXIT_BAD;
}

int client_vault(memguard_vault **vault) {
    return make_vault(MEMGUARD_HARDEN_DUMPABLE | MEMGUARD_HARDEN_CORE, vault);
}

int client_vault_beside_child(memguard_vault **vault) { return make_vault(MEMGUARD_HARDEN_DUMPABLE, vault); }

bool client_name_is_good(const char *name) {
    if (wire_name_is_good(name, strlen(name))) return true;
    ui_error("a name has 1 to 255 letters, digits and ._@:/+=-, and begins with a letter, a digit or _");
    return false;
}

/* ---- an agent ---- */

/* What an agent needs to ask somebody and to be found; the rest may hold what it should not keep for days. */
static bool is_kept(const char *variable) {
    static const char *const prefixes[] = {"PATH=",
                                           "HOME=",
                                           "USER=",
                                           "LANG=",
                                           "LC_",
                                           "DISPLAY=",
                                           "WAYLAND_DISPLAY=",
                                           "XAUTHORITY=",
                                           "XDG_RUNTIME_DIR=",
                                           "DBUS_SESSION_BUS_ADDRESS=",
                                           "SSH_ASKPASS=",
                                           "MEMGUARD_ASKPASS=",
                                           "MEMGUARD_BACKEND=",
                                           "ASAN_OPTIONS=",
                                           "TSAN_OPTIONS=",
                                           "UBSAN_OPTIONS="};
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++)
        if (strncmp(variable, prefixes[i], strlen(prefixes[i])) == 0) return true;
    return false;
}

static void keep_environment(char *kept[KEPT_VARIABLES]) {
    size_t count = 0;
    for (char **at = environ; *at != NULL && count + 1 < KEPT_VARIABLES; at++)
        if (is_kept(*at)) kept[count++] = *at;
    kept[count] = NULL;
}

static bool spawn_agent(pid_t *pid) {
    static char verb[] = "agent", option[] = "--if-none";
    char *const argv[] = {program_invocation_name, verb, option, NULL};
    char *kept[KEPT_VARIABLES];
    posix_spawn_file_actions_t actions;
    if (posix_spawn_file_actions_init(&actions) != 0) return false;
    keep_environment(kept);
    bool good = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0) == 0 &&
                posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0) == 0 &&
                posix_spawn(pid, "/proc/self/exe", &actions, NULL, argv, kept) == 0;
    posix_spawn_file_actions_destroy(&actions);
    return good;
}

/* It has told us when it is ready; if another was faster, that one may need a moment yet. */
static int start_agent(void) {
    pid_t pid;
    int status = 0;
    if (!spawn_agent(&pid)) {
        ui_error("the agent could not be started");
        return EXIT_BAD;
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == EXIT_GOOD ? EXIT_GOOD : EXIT_BAD;
}

static int try_connect(bool make) {
    int directory = place_open(make);
    if (directory < 0) return -1;
    int fd = place_connect(directory);
    int error = errno;
    close(directory);
    if (fd < 0 && error == EPERM) ui_error("the process that listens there is not of our own user");
    errno = error;
    return fd;
}

static bool is_absent(int error) { return error == ENOENT || error == ECONNREFUSED; }

static int connect_or_start(void) {
    const struct timespec pause = {0, START_STEP_MS * 1000000L};
    int fd = try_connect(true);
    if (fd >= 0 || !is_absent(errno)) return fd;
    if (start_agent() != EXIT_GOOD) {
        errno = EPERM; /* said why */
        return -1;
    }
    int64_t deadline = spawn_now_ms() + START_PATIENCE_MS;
    for (;;) {
        fd = try_connect(true);
        if (fd >= 0 || !is_absent(errno) || spawn_now_ms() >= deadline) return fd;
        nanosleep(&pause, NULL);
    }
}

static int reach(bool start, int *fd) {
    *fd = start ? connect_or_start() : try_connect(false);
    if (*fd >= 0) return EXIT_GOOD;
    if (errno == EPERM) return EXIT_BAD;
    if (is_absent(errno)) {
        ui_error("no agent is running");
        return EXIT_NO_AGENT;
    }
    ui_error("the agent cannot be reached: %s", errno == EAGAIN ? "it is busy" : strerror(errno));
    return EXIT_BAD;
}

int client_need_agent(void) {
    int fd, code = reach(true, &fd);
    if (code == EXIT_GOOD) close(fd);
    return code;
}

bool client_has_agent(void) {
    int fd = try_connect(false);
    if (fd >= 0) close(fd);
    return fd >= 0 || !is_absent(errno);
}

/* ---- requests ---- */

int client_explain(const struct wire_frame *reply, const char *name) {
    if (reply->answer == WIRE_DONE) return EXIT_GOOD;
    if (reply->answer == WIRE_LATER)
        ui_error("%s; try again in %llu s", wire_texts[reply->answer],
                 (unsigned long long)(reply->ttl_ms + 999) / 1000);
    else if (name[0] != '\0')
        ui_error("%s: %s", name, wire_texts[reply->answer]);
    else
        ui_error("%s", wire_texts[reply->answer]);
    return wire_codes[reply->answer];
}

static int lost(void) {
    ui_error("the agent has broken off%s%s", errno == 0 ? "" : ": ", errno == 0 ? "" : strerror(errno));
    return EXIT_BAD;
}

static bool receive_reply(int fd, struct wire_frame *reply) {
    char name[WIRE_NAME_MOST + 1];
    return wire_receive_frame(fd, reply, name);
}

int client_ask(const struct wire_frame *request, const char *name, struct wire_frame *reply, int *more) {
    int fd, code = reach(false, &fd);
    *reply = wire_reply(WIRE_FAILED);
    if (code != EXIT_GOOD) return code;
    struct wire_frame frame = *request;
    frame.name_bytes = (uint32_t)strlen(name);
    if (!wire_send_frame(fd, &frame, name) || (more == NULL && !receive_reply(fd, reply)))
        code = lost();
    else if (more == NULL)
        code = client_explain(reply, name);
    if (more == NULL || code != EXIT_GOOD)
        close(fd);
    else
        *more = fd;
    return code;
}

/* The agent may break off with a reason, which tells more than that the bytes could not be sent. */
static int give(int fd, const struct wire_frame *request, const char *name, memguard_secret secret,
                struct wire_frame *reply) {
    if (!wire_send_frame(fd, request, name) || !receive_reply(fd, reply)) return lost();
    if (reply->answer != WIRE_GO) return client_explain(reply, name);
    memguard_status status = memguard_secret_write(secret, fd);
    if (status != MEMGUARD_OK && status != MEMGUARD_ERR_IO) {
        ui_library_error("sending", status);
        return EXIT_BAD;
    }
    if (!receive_reply(fd, reply)) return lost();
    return client_explain(reply, name);
}

int client_status(struct wire_status *status) {
    struct wire_frame request = wire_request(WIRE_STATUS), reply;
    char name[WIRE_NAME_MOST + 1];
    int fd, code = client_ask(&request, "", &reply, &fd);
    if (code != EXIT_GOOD) return code;
    bool good = wire_receive_frame(fd, &reply, name);
    if (good && reply.answer != WIRE_DONE)
        code = client_explain(&reply, "");
    else if (!good || !wire_receive(fd, status, sizeof *status)) {
        ui_error("the agent has broken off");
        code = EXIT_BAD;
    }
    close(fd);
    return code;
}

int client_give(struct wire_frame request, const char *name, memguard_secret secret, bool start,
                struct wire_frame *reply) {
    memguard_info info = MEMGUARD_INFO_INIT;
    memguard_status status = memguard_secret_info(secret, &info);
    *reply = wire_reply(WIRE_FAILED);
    if (status != MEMGUARD_OK) {
        ui_library_error("the secret", status);
        return EXIT_BAD;
    }
    int fd, code = reach(start, &fd);
    if (code != EXIT_GOOD) return code;
    request.name_bytes = (uint32_t)strlen(name);
    request.bytes = info.bytes;
    code = give(fd, &request, name, secret, reply);
    close(fd);
    return code;
}

int client_list(client_entry *visit, void *arg) {
    struct wire_frame request = wire_request(WIRE_LIST), entry = wire_reply(WIRE_ENTRY);
    char name[WIRE_NAME_MOST + 1];
    int fd = -1, code = client_ask(&request, "", &entry, &fd);
    if (code != EXIT_GOOD) return code;
    do {
        if (!wire_receive_frame(fd, &entry, name))
            code = lost();
        else if (entry.answer == WIRE_ENTRY)
            visit(&entry, name, arg);
        else
            code = client_explain(&entry, "");
    } while (code == EXIT_GOOD && entry.answer == WIRE_ENTRY);
    close(fd);
    return code;
}

/* ---- secrets ---- */

static int take_secret(int fd, const struct wire_frame *reply, memguard_vault *vault, memguard_secret *secret) {
    memguard_status status = memguard_secret_read_exact(vault, fd, (size_t)reply->bytes, MEMGUARD_SEALED, secret);
    if (status == MEMGUARD_OK) return EXIT_GOOD;
    if (status == MEMGUARD_ERR_SHORT && secret->id != 0) {
        memguard_status gone = memguard_secret_destroy(secret);
        (void)gone;
    }
    ui_library_error("receiving", status);
    return EXIT_BAD;
}

static int get(const char *name, uint32_t flags, memguard_vault *vault, memguard_secret *secret) {
    struct wire_frame request = wire_request(WIRE_GET), reply;
    request.flags = flags;
    *secret = (memguard_secret){0};
    int fd = -1, code = client_ask(&request, name, &reply, &fd);
    if (code != EXIT_GOOD) return code;
    code = receive_reply(fd, &reply) ? client_explain(&reply, name) : lost();
    if (code == EXIT_GOOD) code = take_secret(fd, &reply, vault, secret);
    close(fd);
    return code;
}

int client_fetch(const char *name, bool for_program, memguard_vault *vault, memguard_secret *secret) {
    return get(name, for_program ? WIRE_FOR_PROGRAM : 0, vault, secret);
}

int client_take(const char *name, memguard_vault *vault, memguard_secret *secret) {
    return get(name, WIRE_FOR_PROGRAM | WIRE_FORGET, vault, secret);
}

/* ---- passphrases ---- */

static memguard_status read_line(memguard_vault *vault, int fd, memguard_secret *line) {
    memguard_status status = memguard_secret_read_until(vault, fd, '\n', WIRE_PASSPHRASE_MOST, MEMGUARD_SEALED, line);
    return status == MEMGUARD_ERR_SHORT && line->id != 0 ? MEMGUARD_OK : status; /* a last line without its end */
}

static volatile sig_atomic_t broken_off_by;

static void break_off(int signal_number) { broken_off_by = signal_number; }

/* A signal that ends or stops us breaks it off instead: so that the terminal shows again what is typed. */
static memguard_status prompt_once(memguard_vault *vault, const memguard_prompt_options *options,
                                   memguard_secret *answer) {
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP};
    enum { SIGNALS = sizeof signals / sizeof signals[0] };
    struct sigaction before[SIGNALS], action = {.sa_handler = break_off};
    bool set[SIGNALS];
    broken_off_by = 0;
    for (size_t i = 0; i < SIGNALS; i++)
        set[i] = sigaction(signals[i], NULL, &before[i]) == 0 && before[i].sa_handler != SIG_IGN &&
                 sigaction(signals[i], &action, NULL) == 0;
    memguard_status status = memguard_prompt(vault, options, MEMGUARD_SEALED, answer);
    for (size_t i = 0; i < SIGNALS; i++)
        if (set[i]) sigaction(signals[i], &before[i], NULL);
    return status;
}

/* Then the signal does what it does; after a stop it is asked again. */
static memguard_status prompt(memguard_vault *vault, const char *text, memguard_secret *answer) {
    memguard_prompt_options options = MEMGUARD_PROMPT_OPTIONS_INIT;
    memguard_status status;
    options.text = text;
    options.flags = MEMGUARD_PROMPT_NEED_TERMINAL;
    options.most = PROMPT_MOST;
    do {
        status = prompt_once(vault, &options, answer);
        if (broken_off_by != 0) raise(broken_off_by);
    } while (status == MEMGUARD_ERR_INTERRUPTED && broken_off_by == SIGTSTP);
    return status;
}

static int compare(const void *bytes, size_t size, void *arg) {
    return memguard_secret_equal(*(const memguard_secret *)arg, bytes, size);
}

int client_prompt(memguard_vault *vault, const char *text, const char *again, memguard_secret *secret) {
    MEMGUARD_AUTO memguard_secret other = {0};
    int same = MEMGUARD_OK;
    memguard_status status = prompt(vault, text, secret);
    if (status == MEMGUARD_OK && again != NULL) status = prompt(vault, again, &other);
    if (status == MEMGUARD_OK && again != NULL) status = memguard_secret_use(other, compare, secret, &same);
    if (status == MEMGUARD_OK && same == MEMGUARD_OK) return EXIT_GOOD;
    if (status == MEMGUARD_OK)
        ui_error("these were not the same");
    else if (status == MEMGUARD_ERR_EMPTY)
        ui_error("nothing was typed");
    else
        ui_library_error("the prompt", status);
    return EXIT_BAD;
}

int client_passphrase(memguard_vault *vault, int fd, bool twice, memguard_secret *passphrase) {
    if (fd < 0) return client_prompt(vault, "Passphrase: ", twice ? "Once more: " : NULL, passphrase);
    memguard_status status = read_line(vault, fd, passphrase);
    if (status == MEMGUARD_OK) return EXIT_GOOD;
    if (status == MEMGUARD_ERR_EMPTY || status == MEMGUARD_ERR_SHORT)
        ui_error("the passphrase is empty");
    else
        ui_library_error("the passphrase", status);
    return EXIT_BAD;
}
