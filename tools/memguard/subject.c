/* The demo's end of the three children. The secret goes to the heap and the vault child by write(2) from a borrowed
 * page into a socket, and to the environment child as an environment string that lies in a view: the kernel copies it
 * from there. */
#define _GNU_SOURCE
#include "subject.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "holder.h"
#include "spawn.h"
#include "ui.h"

enum { ANSWER_MS = 3000 };

static const char secret_variable[] = "MEMGUARD_DEMO_SECRET=";
enum { VARIABLE_BYTES = sizeof secret_variable + 2 * (size_t)HOLDER_SECRET_BYTES };

/* ---- the environment of a child ---- */

/* Ours, plus the positive control, plus (may be NULL) one string more. To be freed; the strings are not copied. */
static char **make_environment(char *control_string, char *more) {
    size_t count = 0;
    while (environ[count] != NULL)
        count++;
    char **made = calloc(count + 3, sizeof *made);
    if (made == NULL) return NULL;
    memcpy(made, environ, count * sizeof *made);
    made[count] = control_string;
    made[count + 1] = more;
    return made;
}

static int write_variable(const void *bytes, size_t size, void *to) {
    static const char digits[] = "0123456789abcdef";
    const unsigned char *secret = bytes;
    char *text = to;
    memcpy(text, secret_variable, sizeof secret_variable - 1);
    text += sizeof secret_variable - 1;
    for (size_t i = 0; i < size; i++) {
        *text++ = digits[secret[i] >> 4];
        *text++ = digits[secret[i] & 15];
    }
    *text = '\0';
    return 0;
}

/* ---- starting ---- */

static int spawn_child(struct subject *subject, int child_socket, const char *control, char *more) {
    char control_string[64];
    const char *argv[] = {"memguard", HOLDER_VERB, subject->how, control, NULL};
    snprintf(control_string, sizeof control_string, "MEMGUARD_DEMO_CONTROL=%s", control);
    char **environment = make_environment(control_string, more);
    if (environment == NULL) return ENOMEM;
    const struct spawn what = {.argv = argv, .envp = environment, .in = child_socket, .self = true};
    int error = spawn_start(&what, &subject->pid);
    free(environment);
    return error;
}

static bool spawn_connected(struct subject *subject, const char *control, char *more) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
        ui_error("socketpair: %s", strerror(errno));
        return false;
    }
    int error = spawn_child(subject, ends[1], control, more);
    close(ends[1]);
    subject->socket = ends[0];
    if (error == 0) return true;
    ui_error("the %s child could not be started: %s", subject->how, strerror(error));
    close(ends[0]);
    subject->pid = 0;
    return false;
}

/* The string with the secret lies in a view for as long as the child takes to begin. */
static bool start_with_variable(struct subject *subject, const char *control, memguard_vault *vault,
                                memguard_secret secret) {
    MEMGUARD_AUTO memguard_secret variable = {0};
    MEMGUARD_AUTO_VIEW memguard_view view = {0};
    memguard_status status = memguard_secret_create(vault, VARIABLE_BYTES, MEMGUARD_SEALED, &variable);
    if (status == MEMGUARD_OK) status = memguard_secret_acquire(variable, MEMGUARD_WRITE, &view);
    if (status == MEMGUARD_OK) status = memguard_secret_use(secret, write_variable, view.data, NULL);
    if (status == MEMGUARD_OK) return spawn_connected(subject, control, view.data);
    ui_library_error("the variable", status);
    return false;
}

static int send_bytes(const void *bytes, size_t size, void *arg) {
    const struct subject *subject = arg;
    size_t sent = 0;
    while (sent < size) {
        ssize_t got = send(subject->socket, (const char *)bytes + sent, size - sent, MSG_NOSIGNAL);
        if (got < 0 && errno != EINTR) return errno;
        if (got > 0) sent += (size_t)got;
    }
    return 0;
}

static bool send_secret(struct subject *subject, memguard_secret secret) {
    int error = 0;
    memguard_status status = memguard_secret_use(secret, send_bytes, subject, &error);
    if (status != MEMGUARD_OK) {
        ui_library_error("the secret", status);
        return false;
    }
    if (error != 0) ui_error("the %s child does not take the secret: %s", subject->how, strerror(error));
    return error == 0;
}

/* ---- talking ---- */

static bool receive(struct subject *subject, char expected) {
    struct holder_message message = {0};
    ssize_t got = spawn_read(subject->socket, &message, sizeof message, spawn_now_ms() + ANSWER_MS);
    message.text[sizeof message.text - 1] = '\0';
    if (got == (ssize_t)sizeof message && message.what == expected) {
        subject->spot = (uintptr_t)message.spot;
        return true;
    }
    if (got == (ssize_t)sizeof message)
        ui_error("the %s child: %s", subject->how, message.text);
    else
        ui_error("the %s child gives no answer", subject->how);
    return false;
}

bool subject_start(struct subject *subject, const char *how, const char *control, memguard_vault *vault,
                   memguard_secret secret) {
    *subject = (struct subject){.how = how, .socket = -1};
    bool by_variable = strcmp(how, HOLDER_ENVIRONMENT) == 0;
    bool good = by_variable ? start_with_variable(subject, control, vault, secret)
                            : spawn_connected(subject, control, NULL) && send_secret(subject, secret);
    if (good) good = receive(subject, HOLDER_READY);
    if (!good) subject_end(subject);
    return good;
}

bool subject_tell(struct subject *subject, char command) {
    ssize_t sent;
    do
        sent = send(subject->socket, &command, 1, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return receive(subject, command);
}

/* ---- still, and ended ---- */

bool subject_freeze(const struct subject *subject) {
    siginfo_t info = {0};
    if (kill(subject->pid, SIGSTOP) != 0) return false;
    while (waitid(P_PID, (id_t)subject->pid, &info, WSTOPPED | WEXITED | WNOWAIT) != 0)
        if (errno != EINTR) return false;
    return info.si_code == CLD_STOPPED;
}

void subject_thaw(const struct subject *subject) {
    siginfo_t info = {0};
    waitid(P_PID, (id_t)subject->pid, &info, WSTOPPED | WNOHANG); /* takes note of the stop */
    kill(subject->pid, SIGCONT);
}

void subject_end(struct subject *subject) {
    if (subject->pid == 0) return;
    spawn_end(subject->pid);
    close(subject->socket);
    *subject = (struct subject){.how = subject->how, .socket = -1};
}
