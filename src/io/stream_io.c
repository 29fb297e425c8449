/* io/stream_io: streams and large secrets from and to descriptors, chunk by chunk. Contract: memguard/io.h.
 * In: a draft of a chunk takes what comes, and is wiped when the object has it. Out: the object shows a piece, which only the kernel
 * reads. Must not know: how chunks are sealed. */
#include "io/intake.h"
#include "io/outlet.h"

/* What the draft and its size are taken from. */
static memguard_status look_at(uint64_t id, enum mg__object object, memguard_vault **vault, size_t *chunk_bytes) {
    struct mg__chunked *chunked = NULL;
    const memguard_status status = mg__chunked_pin(id, object, &chunked);
    if (status != MEMGUARD_OK) return status;
    *vault = mg__vault_token(chunked->vault);
    *chunk_bytes = chunked->chunk_bytes;
    mg__chunked_unpin(chunked);
    return MEMGUARD_OK;
}

static size_t lesser(size_t bytes, uint64_t most) { return most < bytes ? (size_t)most : bytes; }

static memguard_status check_most(uint64_t most, uint64_t *moved) {
    if (moved == NULL) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    *moved = 0;
    MG_REFUSE_FORKED();
    return most != 0 ? MEMGUARD_OK : mg__fail(MEMGUARD_ERR_SIZE, 0, "nothing to move: 0 bytes");
}

/* ---- streams ---- */

/* One piece. *count 0: the end. A failure has ended the draft. */
static memguard_status fill_piece(struct mg__intake *intake, memguard_stream stream, size_t most, size_t *count) {
    memguard_status status = mg__intake_pull(intake, most, count);
    if (status != MEMGUARD_OK || *count == 0) return status;
    status = memguard_stream_write(stream, intake->draft.data, *count);
    mg__intake_blank(intake);
    if (status != MEMGUARD_OK) mg__draft_end(&intake->draft);
    return status;
}

static memguard_status fill(struct mg__intake *intake, memguard_stream stream, uint64_t most, uint64_t *moved) {
    for (size_t count = 1; *moved < most && count != 0;) {
        const memguard_status status = fill_piece(intake, stream, lesser(intake->draft.bytes, most - *moved), &count);
        if (status != MEMGUARD_OK) return status;
        *moved += count;
    }
    mg__draft_end(&intake->draft);
    return MEMGUARD_OK;
}

memguard_status memguard_stream_fill(memguard_stream stream, int descriptor, uint64_t most, uint64_t *moved) {
    struct mg__intake intake = {.source = {.descriptor = descriptor, .target = stream.id}};
    memguard_vault *vault = NULL;
    size_t chunk_bytes = 0;
    memguard_status status = check_most(most, moved);
    if (status != MEMGUARD_OK) return status;
    MG_REFUSE_FORKED();
    status = look_at(stream.id, MG_OBJECT_STREAM, &vault, &chunk_bytes);
    if (status == MEMGUARD_OK)
        status = mg__draft_begin(vault, lesser(chunk_bytes, most), MEMGUARD_SEALED, &intake.draft);
    return status == MEMGUARD_OK ? fill(&intake, stream, most, moved) : status;
}

struct piece {
    int descriptor;
    uint64_t handle;
    size_t bytes;
    memguard_status status;
};

static int write_piece(const void *bytes, size_t size, void *arg) {
    struct piece *piece = arg;
    piece->bytes = size;
    piece->status = mg__outlet_write(piece->descriptor, bytes, size, piece->handle);
    return 0;
}

/* Why it was not shown, or was taken away, comes first; then why it could not be written. */
static memguard_status outcome(memguard_status shown, const struct piece *piece) {
    return shown != MEMGUARD_OK ? shown : piece->status;
}

memguard_status memguard_stream_drain(memguard_stream stream, int descriptor, uint64_t most, uint64_t *moved) {
    memguard_status status = check_most(most, moved);
    while (status == MEMGUARD_OK && *moved < most) {
        struct piece piece = {descriptor, stream.id, 0, MEMGUARD_OK};
        status = memguard_stream_use(stream, lesser(SIZE_MAX, most - *moved), write_piece, &piece, NULL);
        status = outcome(status, &piece);
        if (status == MEMGUARD_OK) *moved += piece.bytes;
    }
    return status;
}

/* ---- large secrets ---- */

struct large_intake {
    struct mg__intake intake;
    memguard_large large;
    uint64_t bytes, room, most;
};

static memguard_status make_room(struct large_intake *into, uint64_t bytes) {
    if (bytes <= into->room) return MEMGUARD_OK;
    const uint64_t doubled = into->room > into->most / 2 ? into->most : into->room * 2;
    into->room = doubled > bytes ? doubled : bytes;
    return memguard_large_resize(into->large, into->room);
}

static memguard_status append(struct large_intake *into, size_t size) {
    const uint64_t bytes = into->bytes + size;
    if (bytes > into->most)
        return mg__fail(MEMGUARD_ERR_SIZE, 0, "the input is longer than %llu bytes", (unsigned long long)into->most);
    memguard_status status = make_room(into, bytes);
    if (status == MEMGUARD_OK)
        status = memguard_large_write_at(into->large, into->bytes, into->intake.draft.data, size);
    mg__intake_blank(&into->intake);
    if (status == MEMGUARD_OK) into->bytes = bytes;
    return status;
}

/* A failure has ended the draft. */
static memguard_status gather(struct large_intake *into) {
    for (bool whole = true; whole;) {
        size_t size = 0;
        const size_t wanted = lesser(into->intake.draft.bytes, into->most - into->bytes + 1);
        memguard_status status = mg__intake_gather(&into->intake, MEMGUARD_UNTIL_FULL, wanted, &size, &whole);
        if (status != MEMGUARD_OK) return status;
        if (size != 0) status = append(into, size);
        if (status != MEMGUARD_OK) {
            mg__draft_end(&into->intake.draft);
            return status;
        }
    }
    mg__draft_end(&into->intake.draft);
    return into->bytes != 0 ? MEMGUARD_OK : mg__fail_plain(MEMGUARD_ERR_EMPTY);
}

/* Whether its handle is told to nobody yet: then it ends in a child, like the draft. */
static memguard_status keep_to_ourselves(memguard_large large, bool ours) {
    struct mg__chunked *chunked = NULL;
    const memguard_status status = mg__chunked_pin(large.id, MG_OBJECT_LARGE, &chunked);
    if (status != MEMGUARD_OK) return status;
    mg__entry_change_flags(chunked->entry, ours ? 0 : MG_ENTRY_DRAFT, ours ? MG_ENTRY_DRAFT : 0);
    mg__chunked_unpin(chunked);
    return MEMGUARD_OK;
}

static memguard_status fill_large(struct large_intake *into) {
    memguard_status status = gather(into);
    if (status == MEMGUARD_OK && into->bytes != into->room) status = memguard_large_resize(into->large, into->bytes);
    if (status == MEMGUARD_OK) status = keep_to_ourselves(into->large, false);
    if (status == MEMGUARD_OK) return status;
    const memguard_status destroyed = memguard_large_destroy(&into->large);
    (void)destroyed; /* STALE: a purge was first */
    return status;
}

static memguard_status check_large(const memguard_vault *vault, uint64_t most, memguard_large *large) {
    if (large == NULL) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    large->id = 0;
    if (vault == NULL) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    if (most == 0 || most > MEMGUARD_SIZE_MAX)
        return mg__fail(MEMGUARD_ERR_SIZE, 0, "%llu bytes: a large secret has 1 to %zu", (unsigned long long)most,
                        MEMGUARD_SIZE_MAX);
    MG_REFUSE_FORKED();
    return MEMGUARD_OK;
}

memguard_status memguard_large_from_fd(memguard_vault *vault, int descriptor, uint64_t most,
                                       const memguard_stream_options *options, memguard_large *large) {
    struct large_intake into = {.intake = {.source = {.descriptor = descriptor}}, .most = most};
    size_t chunk_bytes = 0;
    memguard_status status = check_large(vault, most, large);
    if (status != MEMGUARD_OK) return status;
    MG_REFUSE_FORKED();
    status = mg__chunked_read_options(options, &chunk_bytes);
    if (status != MEMGUARD_OK) return status;
    into.room = lesser(chunk_bytes, most);
    status = memguard_large_create(vault, into.room, options, &into.large);
    if (status != MEMGUARD_OK) return status;
    status = keep_to_ourselves(into.large, true);
    if (status == MEMGUARD_OK) status = mg__draft_begin(vault, chunk_bytes, MEMGUARD_SEALED, &into.intake.draft);
    if (status != MEMGUARD_OK) {
        const memguard_status destroyed = memguard_large_destroy(&into.large);
        (void)destroyed; /* STALE: a purge was first */
        return status;
    }
    status = fill_large(&into);
    if (status == MEMGUARD_OK) *large = into.large;
    return status;
}

static memguard_status check_range(memguard_large large, uint64_t offset, uint64_t bytes) {
    uint64_t size = 0;
    const memguard_status status = memguard_large_size(large, &size);
    if (status != MEMGUARD_OK) return status;
    if (bytes != 0 && offset <= size && bytes <= size - offset) return status;
    return mg__fail(MEMGUARD_ERR_SIZE, 0, "%llu bytes at %llu do not lie in a secret of %llu bytes",
                    (unsigned long long)bytes, (unsigned long long)offset, (unsigned long long)size);
}

memguard_status memguard_large_to_fd(memguard_large large, uint64_t offset, uint64_t bytes, int descriptor) {
    size_t chunk_bytes = 0;
    MG_REFUSE_FORKED();
    memguard_status status = check_range(large, offset, bytes);
    if (status == MEMGUARD_OK) status = memguard_large_chunk_bytes(large, &chunk_bytes);
    while (status == MEMGUARD_OK && bytes != 0) {
        struct piece piece = {descriptor, large.id, 0, MEMGUARD_OK};
        /* Up to the end of a chunk, so that each is opened once. */
        const size_t size = lesser(chunk_bytes - (size_t)(offset % chunk_bytes), bytes);
        status = memguard_large_use_at(large, offset, size, write_piece, &piece, NULL);
        status = outcome(status, &piece);
        offset += size;
        bytes -= size;
    }
    return status;
}
