/* The hidden verb `__hold`: a child of the demo that holds one secret in a given way and waits to be looked at.
 * The value in argv[2] is no secret: it is the positive control, which a scan of this process must find. */
#include "holder.h"

#include <errno.h>
#include <memguard.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "command.h"
#include "holder_plant.h"

struct held {
    memguard_vault *vault;
    memguard_secret secret;
    memguard_view view;
};

/* What must stay in memory though nobody reads it. */
static void *volatile control_in_heap, *volatile secret_in_heap;

/* ---- talking ---- */

static void answer(char what, const char *text, uintptr_t spot) {
    struct holder_message message = {.what = what, .spot = spot};
    if (text != NULL) snprintf(message.text, sizeof message.text, "%s", text);
    ssize_t sent;
    do
        sent = write(STDIN_FILENO, &message, sizeof message);
    while (sent < 0 && errno == EINTR);
}

static void answer_status(char what, memguard_status status, uintptr_t spot) {
    memguard_error error = MEMGUARD_ERROR_INIT;
    if (status == MEMGUARD_OK)
        answer(what, NULL, spot);
    else if (memguard_last_error(&error) == MEMGUARD_OK && error.status == status)
        answer(HOLDER_FAILED, error.text, 0);
    else
        answer(HOLDER_FAILED, memguard_status_text(status), 0);
}

static bool read_all(void *to, size_t bytes) {
    size_t have = 0;
    while (have < bytes) {
        ssize_t got = read(STDIN_FILENO, (char *)to + have, bytes - have);
        if (got == 0 || (got < 0 && errno != EINTR)) return false;
        if (got > 0) have += (size_t)got;
    }
    return true;
}

/* ---- the three ways to hold a secret ---- */

static bool hold_in_environment(void) {
    bool there = getenv("MEMGUARD_DEMO_SECRET") != NULL;
    answer(there ? HOLDER_READY : HOLDER_FAILED, "the variable is missing", 0);
    return there;
}

static bool hold_in_heap(void) {
    void *bytes = malloc(HOLDER_SECRET_BYTES);
    if (bytes == NULL || !read_all(bytes, HOLDER_SECRET_BYTES)) {
        free(bytes);
        return false;
    }
    secret_in_heap = bytes;
    answer(HOLDER_READY, NULL, 0);
    return true;
}

/* From the socket straight into the guarded page of a WRITE view; sealed at its release. */
static memguard_status take_into_vault(struct held *held) {
    memguard_status status = memguard_vault_create(NULL, &held->vault);
    if (status == MEMGUARD_OK)
        status = memguard_secret_create(held->vault, HOLDER_SECRET_BYTES, MEMGUARD_SEALED, &held->secret);
    if (status == MEMGUARD_OK) status = memguard_secret_acquire(held->secret, MEMGUARD_WRITE, &held->view);
    if (status != MEMGUARD_OK) return status;
    bool whole = read_all(held->view.data, held->view.size);
    status = memguard_view_release(&held->view);
    return status == MEMGUARD_OK && !whole ? MEMGUARD_ERR_SYSTEM : status;
}

static bool hold_in_vault(struct held *held) {
    memguard_status status = take_into_vault(held);
    answer_status(HOLDER_READY, status, 0);
    return status == MEMGUARD_OK;
}

/* ---- commands ---- */

static memguard_status destroy(struct held *held) {
    memguard_status status = memguard_view_release(&held->view);
    if (status == MEMGUARD_OK) status = memguard_secret_destroy(&held->secret);
    if (status == MEMGUARD_OK) status = memguard_vault_destroy(&held->vault);
    return status;
}

static void obey(struct held *held, char command) {
    switch (command) {
    case HOLDER_OPEN: {
        memguard_status status = memguard_secret_acquire(held->secret, MEMGUARD_READ, &held->view);
        answer_status(command, status, (uintptr_t)held->view.data);
        break;
    }
    case HOLDER_CLOSE:
        answer_status(command, memguard_view_release(&held->view), 0);
        break;
    case HOLDER_DESTROY:
        answer_status(command, destroy(held), 0);
        break;
    default:
        answer(HOLDER_FAILED, "unknown command", 0);
    }
}

/* Waits for the end of the socket with the planted values in place. */
static void wait_to_be_looked_at(void *arg) {
    char command;
    (void)arg;
    answer(HOLDER_READY, NULL, 0);
    while (read_all(&command, 1)) {
    }
}

static bool hold_planted(void) {
    uint8_t secret[HOLDER_SECRET_BYTES];
    bool good = read_all(secret, sizeof secret) && plant_everywhere(secret, wait_to_be_looked_at, NULL);
    if (!good) answer(HOLDER_FAILED, "the values could not be planted", 0);
    return good;
}

static bool hold(const char *how, struct held *held) {
    if (strcmp(how, HOLDER_ENVIRONMENT) == 0) return hold_in_environment();
    if (strcmp(how, HOLDER_HEAP) == 0) return hold_in_heap();
    if (strcmp(how, HOLDER_PLANT) == 0) return hold_planted();
    return hold_in_vault(held);
}

/* ---- the positive control ---- */

static unsigned hex_value(char digit) {
    return digit >= '0' && digit <= '9'   ? (unsigned)(digit - '0')
           : digit >= 'a' && digit <= 'f' ? (unsigned)(digit - 'a') + 10
                                          : 16;
}

/* Keeps the raw bytes of the control in the heap; as text it is in argv already. */
static bool keep_control(const char *hex) {
    unsigned char *bytes = malloc(HOLDER_CONTROL_BYTES);
    if (bytes == NULL || strlen(hex) != 2 * (size_t)HOLDER_CONTROL_BYTES) {
        free(bytes);
        return false;
    }
    for (size_t i = 0; i < HOLDER_CONTROL_BYTES; i++)
        bytes[i] = (unsigned char)(hex_value(hex[2 * i]) << 4 | hex_value(hex[2 * i + 1]));
    control_in_heap = bytes;
    return true;
}

/* Ends with the parent, by signal or by the end of the socket; lets the parent and its other children (gdb) look at it
 * where Yama restricts that. */
static void tie_to_parent(void) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_PTRACER, (unsigned long)getppid(), 0, 0, 0);
}

static int be_agent(void) {
    static char verb[] = "agent", option[] = "--foreground";
    char *argv[] = {verb, option, NULL};
    return verb_agent.run(2, argv);
}

static int run(int argc, char **argv) {
    struct held held = {0};
    char command;
    tie_to_parent();
    if (argc == 2 && strcmp(argv[1], HOLDER_AGENT) == 0) return be_agent();
    if (argc != 3 || !keep_control(argv[2])) return EXIT_USAGE;
    if (!hold(argv[1], &held)) return EXIT_BAD;
    while (read_all(&command, 1))
        obey(&held, command);
    return EXIT_GOOD;
}

const struct verb verb_hold = {HOLDER_VERB, run, NULL, NULL};
