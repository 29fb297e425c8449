/* io/input: reading secrets. Contract: memguard/io.h.
 *
 * The bytes come into a draft (core/draft.h): lent while the system or the host writes to it, awake while we look at it, asleep
 * while we wait. Must not know: terminals. */
#include "core/origin.h"
#include "io/intake.h"

#include <errno.h>

/* ---- one piece ---- */

static memguard_status break_off(struct mg__intake *intake, memguard_status why) {
    mg__draft_end(&intake->draft);
    return mg__fail_plain(why);
}

static bool may_go_on(const struct mg__intake *intake, enum mg__wait wait) {
    return wait != MG_WAIT_SIGNAL || !intake->source.breakable;
}

static bool target_lives(const struct mg__intake *intake) {
    return intake->source.target == 0 || mg__secret_lives(intake->source.target);
}

memguard_status mg__io_wait(int descriptor, bool to_write, enum mg__wait *wait) {
    const unsigned depth = mg__call_park();
    *wait = mg__sys_await(descriptor, to_write, MG_IO_SLICE_MS);
    return mg__call_unpark(depth);
}

/* Nothing is there yet: the draft sleeps until something is, or until a purge has taken it. */
static memguard_status sleep_until_ready(struct mg__intake *intake) {
    enum mg__wait wait = MG_WAIT_NOT_YET;
    memguard_status status = mg__draft_sleep(&intake->draft);
    if (status != MEMGUARD_OK) return status;
    do
        status = mg__io_wait(intake->source.descriptor, false, &wait);
    while (status == MEMGUARD_OK && wait != MG_WAIT_READY && may_go_on(intake, wait) &&
           mg__secret_lives(intake->draft.secret.id) && target_lives(intake));
    if (status != MEMGUARD_OK) return status; /* a child: the draft is not here */
    status = mg__draft_wake(&intake->draft);
    if (status != MEMGUARD_OK) return status;
    if (!target_lives(intake)) return break_off(intake, MEMGUARD_ERR_STALE);
    return may_go_on(intake, wait) ? MEMGUARD_OK : break_off(intake, MEMGUARD_ERR_INTERRUPTED);
}

static memguard_status await(struct mg__intake *intake) {
    if (intake->source.reader != NULL) return MEMGUARD_OK;
    if (mg__sys_await(intake->source.descriptor, false, 0) == MG_WAIT_READY) return MEMGUARD_OK;
    return sleep_until_ready(intake);
}

/* The draft is lent meanwhile: only the kernel touches it. */
static memguard_status read_once(struct mg__intake *intake, size_t bytes, long *got, int *error) {
    const memguard_status status = mg__draft_lend(&intake->draft);
    if (status != MEMGUARD_OK) return status;
    *got = mg__sys_read(intake->source.descriptor, intake->draft.data + intake->got, bytes, error);
    return mg__draft_take_back(&intake->draft);
}

struct request {
    const struct mg__source *source;
    ptrdiff_t answer;
};

/* The buffer is the host's to write to while it is shown. */
static int show_reader(const void *buffer, size_t bytes, void *arg) {
    struct request *request = arg;
    request->answer = request->source->reader((void *)(uintptr_t)buffer, bytes, request->source->arg);
    return 0;
}

enum { MOST_ERRNO = 4095 };

static memguard_status ask_reader(struct mg__intake *intake, size_t bytes, long *got, int *error) {
    struct request request = {&intake->source, 0};
    const memguard_status status = mg__draft_show(&intake->draft, intake->got, bytes, show_reader, &request);
    const bool fits = request.answer >= 0 && (size_t)request.answer <= bytes;
    const bool is_errno = request.answer < 0 && request.answer >= -MOST_ERRNO;
    *got = fits ? request.answer : -1;
    *error = is_errno ? (int)-request.answer : EIO;
    return status;
}

static memguard_status explain(struct mg__intake *intake, int error) {
    mg__draft_end(&intake->draft);
    if (intake->source.reader != NULL)
        return mg__fail(MEMGUARD_ERR_IO, error, "the reader answered with an error (errno %d)", error);
    return mg__fail(MEMGUARD_ERR_IO, error, "descriptor %d could not be read (errno %d)", intake->source.descriptor,
                    error);
}

static bool is_transient(const struct mg__source *source, int error) {
    return source->reader == NULL && (error == EINTR || error == EAGAIN);
}

memguard_status mg__intake_pull(struct mg__intake *intake, size_t bytes, size_t *count) {
    unsigned step = 0;
    for (;;) {
        long got = 0;
        int error = 0;
        memguard_status status = await(intake);
        if (status == MEMGUARD_OK)
            status = (intake->source.reader == NULL ? read_once : ask_reader)(intake, bytes, &got, &error);
        if (status != MEMGUARD_OK) return status;
        if (got >= 0) {
            *count = (size_t)got;
            intake->got += (size_t)got;
            return MEMGUARD_OK;
        }
        if (!is_transient(&intake->source, error)) return explain(intake, error);
        if (error == EINTR && intake->source.breakable) return break_off(intake, MEMGUARD_ERR_INTERRUPTED);
        mg__sys_backoff(&step); /* ready, and then not: another reader was faster */
    }
}

void mg__intake_blank(struct mg__intake *intake) {
    mg__wipe(intake->draft.data, intake->got);
    intake->got = 0;
}

/* ---- all of it ---- */

static memguard_status too_long(struct mg__intake *intake, size_t most) {
    mg__draft_end(&intake->draft);
    return mg__fail(MEMGUARD_ERR_SIZE, 0, "the input is longer than %zu bytes", most);
}

static memguard_status grow(struct mg__intake *intake, size_t most) {
    const size_t bytes = intake->draft.bytes;
    return mg__draft_grow(&intake->draft, bytes > most / 2 ? most + 1 : bytes * 2);
}

memguard_status mg__intake_gather(struct mg__intake *intake, int until, size_t most, size_t *size, bool *whole) {
    const bool full = until == MEMGUARD_UNTIL_FULL;
    for (size_t count = 1;;) {
        const size_t room = (full ? most : intake->draft.bytes) - intake->got;
        memguard_status status = mg__intake_pull(intake, until >= 0 ? 1 : room, &count);
        if (status != MEMGUARD_OK) return status;
        *size = intake->got;
        *whole = count != 0 || until == MEMGUARD_UNTIL_END;
        if (count == 0 || (full && intake->got == most)) return MEMGUARD_OK;
        if (until >= 0 && intake->draft.data[intake->got - 1] == until) {
            *size = intake->got - 1;
            return MEMGUARD_OK;
        }
        if (intake->got > most) return too_long(intake, most);
        if (intake->got == intake->draft.bytes) status = grow(intake, most);
        if (status != MEMGUARD_OK) return status;
    }
}

memguard_status mg__intake_finish(struct mg__intake *intake, size_t size, memguard_secret *secret) {
    if (size == 0) return break_off(intake, MEMGUARD_ERR_EMPTY);
    return mg__draft_finish(&intake->draft, size, secret);
}

/* The end came before all that was wanted: what there is becomes the secret, if there is any. */
static memguard_status finish_short(struct mg__intake *intake, size_t size, memguard_secret *secret) {
    if (size == 0) return break_off(intake, MEMGUARD_ERR_SHORT);
    const memguard_status status = mg__draft_finish(&intake->draft, size, secret);
    if (status != MEMGUARD_OK) return status;
    return mg__fail(MEMGUARD_ERR_SHORT, 0, "the input ended after %zu bytes", size);
}

/* The first room: all of it where the size is known, else a page, and one byte more than allowed at the most. */
static size_t first_room(int until, size_t most) {
    return until == MEMGUARD_UNTIL_FULL ? most : mg__min_size(most + 1, mg__sys_page());
}

static memguard_status read_secret(memguard_vault *vault, const struct mg__source *source, int until, size_t most,
                                   uint32_t flags, memguard_secret *secret) {
    MG_REFUSE_FORKED();
    struct mg__intake intake = {.source = *source};
    size_t size = 0;
    bool whole = false;
    memguard_status status = mg__draft_begin(vault, first_room(until, most), flags, &intake.draft);
    if (status == MEMGUARD_OK) status = mg__intake_gather(&intake, until, most, &size, &whole);
    if (status == MEMGUARD_OK)
        status = whole ? mg__intake_finish(&intake, size, secret) : finish_short(&intake, size, secret);
    mg__arch_clear_registers(); /* bytes were compared with the delimiter */
    return status;
}

static memguard_status check(const memguard_vault *vault, int until, size_t most, memguard_secret *secret) {
    if (secret == NULL) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    secret->id = 0;
    if (vault == NULL) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    if (until < MEMGUARD_UNTIL_FULL || until > 255)
        return mg__fail(MEMGUARD_ERR_ARGUMENT, 0, "delimiter %d: a byte is 0 to 255", until);
    if (most == 0 || most > MEMGUARD_SIZE_MAX)
        return mg__fail(MEMGUARD_ERR_SIZE, 0, "%zu bytes: a secret has 1 to %zu", most, MEMGUARD_SIZE_MAX);
    MG_REFUSE_FORKED();
    return MEMGUARD_OK;
}

static memguard_status read_descriptor(memguard_vault *vault, int descriptor, int until, size_t most, uint32_t flags,
                                       memguard_secret *secret) {
    const struct mg__source source = {.descriptor = descriptor};
    const memguard_status status = check(vault, until, most, secret);
    return status == MEMGUARD_OK ? read_secret(vault, &source, until, most, flags, secret) : status;
}

memguard_status memguard_secret_read_exact(memguard_vault *vault, int descriptor, size_t bytes, uint32_t flags,
                                           memguard_secret *secret) {
    MG_ORIGIN();
    return read_descriptor(vault, descriptor, MEMGUARD_UNTIL_FULL, bytes, flags, secret);
}

memguard_status memguard_secret_read_until(memguard_vault *vault, int descriptor, int delimiter, size_t most,
                                           uint32_t flags, memguard_secret *secret) {
    MG_ORIGIN();
    if (delimiter < 0) {
        if (secret != NULL) secret->id = 0;
        return mg__fail(MEMGUARD_ERR_ARGUMENT, 0, "delimiter %d: a byte is 0 to 255", delimiter);
    }
    return read_descriptor(vault, descriptor, delimiter, most, flags, secret);
}

memguard_status memguard_secret_read_all(memguard_vault *vault, int descriptor, size_t most, uint32_t flags,
                                         memguard_secret *secret) {
    MG_ORIGIN();
    return read_descriptor(vault, descriptor, MEMGUARD_UNTIL_END, most, flags, secret);
}

memguard_status memguard_secret_read_from(memguard_vault *vault, memguard_reader *reader, void *arg, int until,
                                          size_t bytes, uint32_t flags, memguard_secret *secret) {
    MG_ORIGIN();
    const struct mg__source source = {.reader = reader, .arg = arg};
    memguard_status status = check(vault, until, bytes, secret);
    if (status == MEMGUARD_OK && reader == NULL) status = mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    if (status != MEMGUARD_OK) return status;
    MG_REFUSE_FORKED();
    status = read_secret(vault, &source, until, bytes, flags, secret);
    /* One that the reader asked for has waited until the buffer was given back. */
    if (atomic_load(&mg__purges_deferred) != 0) mg__purge_resume(mg__thread_self());
    return status;
}
