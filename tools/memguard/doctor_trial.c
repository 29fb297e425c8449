/* What only trying tells: a vault, some secrets in it, and one whose pages the kernel hides. In a child of its own,
 * since live pages of memfd_secret(2) change what other checks see, and a trial must leave nothing behind. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "doctor.h"
#include "spawn.h"

enum { TRIAL_MS = 10000, TRIAL_SECRET_BYTES = 32 };

static void keep_text(memguard_status status, char to[240]) {
    memguard_error error = MEMGUARD_ERROR_INIT;
    const char *text = memguard_status_text(status);
    if (status != MEMGUARD_OK && memguard_last_error(&error) == MEMGUARD_OK && error.status == status)
        text = error.text;
    snprintf(to, 240, "%s", text);
}

static uint64_t locked_bytes(memguard_vault *vault) {
    memguard_report report = {.size = sizeof report};
    return memguard_vault_report(vault, &report) == MEMGUARD_OK ? report.lock_in_use_bytes : 0;
}

static uint32_t make_secrets(memguard_vault *vault, uint32_t rest, uint32_t most) {
    memguard_secret secret; /* destroyed with the vault */
    uint32_t made = 0;
    while (made < most && memguard_secret_random(vault, TRIAL_SECRET_BYTES, rest, &secret) == MEMGUARD_OK)
        made++;
    return made;
}

static void try_vault(struct trial *trial) {
    memguard_report report = {.size = sizeof report};
    memguard_vault *vault = NULL;
    trial->made = memguard_vault_create(NULL, &vault);
    if (trial->made == MEMGUARD_OK) trial->made = memguard_vault_report(vault, &report);
    keep_text(trial->made, trial->made_text);
    if (trial->made != MEMGUARD_OK) return;
    trial->backend = report.backend;
    trial->protections = report.protections;
    trial->prekey_bytes = report.prekey_bytes;
    trial->vault_bytes = report.lock_in_use_bytes;
    trial->compact = make_secrets(vault, MEMGUARD_COMPACT, TRIAL_COMPACT);
    trial->compact_bytes = locked_bytes(vault);
    trial->guarded = make_secrets(vault, MEMGUARD_CLOSED, TRIAL_GUARDED);
    trial->guarded_bytes = locked_bytes(vault);
    trial->made = memguard_vault_destroy(&vault);
}

static void try_hidden(struct trial *trial) {
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    memguard_vault *vault = NULL;
    options.backend = MEMGUARD_BACKEND_SECRETMEM;
    options.require = MEMGUARD_PROTECT_HIDDEN; /* the environment cannot choose another backend */
    trial->hidden = memguard_vault_create(&options, &vault);
    keep_text(trial->hidden, trial->hidden_text);
    if (trial->hidden == MEMGUARD_OK) trial->hidden = memguard_vault_destroy(&vault);
}

_Noreturn static void be_child(int to) {
    struct trial trial = {.done = true};
    try_hidden(&trial);
    try_vault(&trial);
    _exit(write(to, &trial, sizeof trial) == (ssize_t)sizeof trial ? 0 : 1);
}

static void end_child(pid_t pid) {
    kill(pid, SIGKILL); /* it has written, or does not end */
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
}

void trial_run(struct trial *trial) {
    int ends[2];
    memset(trial, 0, sizeof *trial);
    trial->failed = "no pipe or process could be had for a trial";
    if (pipe2(ends, O_CLOEXEC) != 0) return;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) be_child(ends[1]);
    close(ends[1]);
    if (pid > 0) {
        struct trial seen;
        ssize_t got = spawn_read(ends[0], &seen, sizeof seen, spawn_now_ms() + TRIAL_MS);
        if (got == (ssize_t)sizeof seen)
            *trial = seen;
        else
            trial->failed = got < 0 ? "the trial took too long" : "the trial died";
        end_child(pid);
    }
    close(ends[0]);
}

const struct trial *machine_trial(const struct machine *machine) {
    if (machine->fixture) return NULL;
    if (!machine->trial->done && machine->trial->failed == NULL) trial_run(machine->trial);
    return machine->trial;
}
