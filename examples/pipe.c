/* A buffer between two programs of a pipeline that keeps what it holds sealed.
 *
 *   pg_dump secrets | ./pipe | slow-upload
 *
 * Takes input as fast as it comes, without a limit, so that the first program can end early; gives it out as slowly as it is taken.
 * What waits in between lies encrypted and authenticated in ordinary memory: one chunk at a time is open on either side, in
 * protected pages. Exit code 0: all went through, to the authenticated end; 1: not so. */
#include <memguard/io.h>
#include <memguard/stream.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static memguard_stream stream;

_Noreturn static void fail(const char *what, const char *why) {
    fprintf(stderr, "pipe: %s: %s\n", what, why);
    memguard_emergency_wipe(); /* nothing stays behind, whatever failed */
    _exit(EXIT_FAILURE);
}
static void check(memguard_status status, const char *what) {
    memguard_error error = MEMGUARD_ERROR_INIT;
    if (status != MEMGUARD_OK) fail(what, memguard_last_error(&error) == MEMGUARD_OK ? error.text : "");
}

static void *take_in(void *unused) {
    uint64_t moved = 0;
    check(memguard_stream_fill(stream, STDIN_FILENO, UINT64_MAX, &moved), "input");
    check(memguard_stream_finish(stream), "input"); /* from here on "all read" is an end that can be trusted */
    return unused;
}

static void give_out(void) {
    const struct timespec nap = {0, 10000000};
    memguard_status status = MEMGUARD_OK;
    while (status != MEMGUARD_ERR_END) {
        uint64_t moved = 0;
        status = memguard_stream_drain(stream, STDOUT_FILENO, UINT64_MAX, &moved);
        if (status == MEMGUARD_ERR_EMPTY)
            (void)nanosleep(&nap, NULL); /* nothing came yet; cut short by a signal: look earlier */
        else if (status != MEMGUARD_ERR_END)
            check(status, "output");
    }
}

int main(void) {
    memguard_vault *vault = NULL;
    pthread_t reader;
    check(memguard_vault_create(NULL, &vault), "vault");
    check(memguard_stream_create(vault, NULL, &stream), "stream");
    const int error = pthread_create(&reader, NULL, take_in, NULL);
    if (error != 0) fail("thread", strerror(error));
    give_out();
    if (pthread_join(reader, NULL) != 0) fail("thread", "not joined");
    check(memguard_vault_destroy(&vault), "the end");
    return EXIT_SUCCESS;
}
