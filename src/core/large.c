/* core/large: large secrets: arrays of sealed chunks, read and written anywhere. Contract: memguard/stream.h; keys and
 * versions: docs/KEYS.md section 7. Every chunk is sealed at its full length: bytes beyond the secret's end are zero.
 * The one side's window holds a copy of the chunk that was worked on last; what is changed is sealed before the call
 * ends.
 * Must not know: how keys are assembled, how windows are timed. */
#include "core/vault.h"

#include <stdlib.h>

/* Version 0: never written, reads as zeros. */
struct record {
    unsigned char *sealed;
    uint32_t prefix, version;
};

struct large {
    struct mg__chunked base;
    /* under the side: */
    struct record *records;
    size_t count;
    size_t bytes;
    uint32_t version;      /* of the last sealing of any chunk */
    uint32_t least_prefix; /* none earlier is used for sealing */
    size_t open_chunk;     /* in the window, when that is used */
};

static const enum mg__side the_side = MG_READING;

static struct large *large_of(struct mg__chunked *chunked) { return (struct large *)(void *)chunked; }

static uint64_t tail_of(size_t chunk, uint32_t version) { return (uint64_t)chunk | ((uint64_t)version << 32); }

/* ---- one chunk; the side is taken ---- */

static memguard_status unseal(struct large *large, size_t chunk, unsigned char *plain) {
    const struct record *record = &large->records[chunk];
    if (record->version == 0) {
        memset(plain, 0, large->base.chunk_bytes);
        return MEMGUARD_OK;
    }
    if (record->sealed == NULL) return mg__chunk_missing(&large->base);
    return mg__chunk_unseal(&large->base, tail_of(chunk, record->version), record->prefix, plain, record->sealed,
                            large->base.chunk_bytes);
}

/* A version that this object has not sealed under; when they are used up, a fresh prefix starts them anew. */
static memguard_status next_version(struct large *large) {
    unsigned char prefix[MG_PREFIX_BYTES];
    if (MG_LIKELY(large->version != UINT32_MAX)) {
        large->version++;
        return MEMGUARD_OK;
    }
    const memguard_status status = mg__prefix_redraw();
    if (status != MEMGUARD_OK) return status;
    large->least_prefix = mg__prefix_current(prefix);
    large->version = 1;
    return MEMGUARD_OK;
}

/* Into record->sealed. */
static memguard_status seal(struct large *large, size_t chunk, const unsigned char *plain, struct record *record) {
    memguard_status status = next_version(large);
    uint32_t prefix = large->least_prefix;
    if (status != MEMGUARD_OK) return status;
    status = mg__chunk_seal(&large->base, tail_of(chunk, large->version), &prefix, record->sealed, plain,
                            large->base.chunk_bytes);
    if (status != MEMGUARD_OK) return status;
    record->prefix = prefix;
    record->version = large->version;
    large->least_prefix = prefix;
    return MEMGUARD_OK;
}

static unsigned char *make_place(const struct large *large) { return malloc(large->base.chunk_bytes + MG_TAG_BYTES); }

static bool is_open(const struct large *large, size_t chunk) {
    return large->base.windows[the_side].used != 0 && large->open_chunk == chunk;
}

static void close_chunks_from(struct large *large, size_t first, size_t end) {
    if (large->base.windows[the_side].used != 0 && large->open_chunk >= first && large->open_chunk < end)
        mg__window_blank(&large->base, the_side);
}

static memguard_status open_chunk(struct large *large, size_t chunk, unsigned char **data) {
    memguard_status status = mg__window_open(&large->base, the_side);
    if (status != MEMGUARD_OK) return status;
    *data = mg__window_data(&large->base, the_side);
    if (is_open(large, chunk)) return MEMGUARD_OK;
    if (large->base.windows[the_side].used != 0) mg__window_blank(&large->base, the_side);
    status = unseal(large, chunk, *data);
    if (status != MEMGUARD_OK) return status;
    large->open_chunk = chunk;
    mg__window_fill(&large->base, the_side, large->base.chunk_bytes);
    return MEMGUARD_OK;
}

/* ---- ranges ---- */

struct range {
    size_t offset, bytes;
};

static memguard_status check_range(const struct large *large, uint64_t offset, size_t bytes, struct range *range) {
    if (bytes == 0 || offset > large->bytes || bytes > large->bytes - offset)
        return mg__fail(MEMGUARD_ERR_SIZE, 0, "%zu bytes at %llu: not a range of a large secret of %zu bytes", bytes,
                        (unsigned long long)offset, large->bytes);
    *range = (struct range){(size_t)offset, bytes};
    return MEMGUARD_OK;
}

static size_t first_chunk(const struct large *large, const struct range *range) {
    return range->offset / large->base.chunk_bytes;
}

static size_t end_chunk(const struct large *large, const struct range *range) {
    return (range->offset + range->bytes - 1) / large->base.chunk_bytes + 1;
}

/* What a range has of one chunk: `at` in the chunk, `from` in the range. */
struct piece {
    size_t at, from, bytes;
};

static struct piece piece_of(const struct large *large, const struct range *range, size_t chunk) {
    const size_t chunk_bytes = large->base.chunk_bytes, begin = chunk * chunk_bytes;
    const size_t at = range->offset > begin ? range->offset - begin : 0, from = begin + at - range->offset;
    return (struct piece){at, from, mg__min_size(chunk_bytes - at, range->bytes - from)};
}

static bool is_whole(const struct large *large, const struct piece *piece) {
    return piece->bytes == large->base.chunk_bytes;
}

/* ---- reading ---- */

static memguard_status read_piece(struct large *large, size_t chunk, const struct piece *piece, unsigned char *to) {
    unsigned char *data = NULL;
    if (is_whole(large, piece) && !is_open(large, chunk)) return unseal(large, chunk, to);
    const memguard_status status = open_chunk(large, chunk, &data);
    if (status == MEMGUARD_OK) memcpy(to, data + piece->at, piece->bytes);
    return status;
}

static memguard_status read_range(struct large *large, const struct range *range, unsigned char *to) {
    const size_t end = end_chunk(large, range);
    memguard_status status = MEMGUARD_OK;
    for (size_t chunk = first_chunk(large, range); status == MEMGUARD_OK && chunk < end; chunk++) {
        const struct piece piece = piece_of(large, range, chunk);
        status = read_piece(large, chunk, &piece, to + piece.from);
    }
    mg__arch_clear_registers();
    return status;
}

/* ---- writing: first everything that can fail, apart from what is there; then the exchange ---- */

/* A chunk changed in part, sealed beside the old one. */
struct edge {
    size_t chunk;
    struct record record; /* sealed: null when there is none */
};

struct write {
    struct large *large;
    struct range range;
    const unsigned char *source;
    struct edge edges[2];
};

static memguard_status seal_edge(struct large *large, struct edge *edge, const unsigned char *data) {
    edge->record.sealed = make_place(large);
    if (edge->record.sealed == NULL) return mg__fail_plain(MEMGUARD_ERR_MEMORY);
    return seal(large, edge->chunk, data, &edge->record);
}

static memguard_status make_edge(struct write *write, size_t chunk, const struct piece *piece, struct edge *edge) {
    unsigned char *data = NULL;
    const memguard_status status = open_chunk(write->large, chunk, &data);
    if (status != MEMGUARD_OK) return status;
    memcpy(data + piece->at, write->source + piece->from, piece->bytes);
    edge->chunk = chunk;
    return seal_edge(write->large, edge, data);
}

static memguard_status make_edges(struct write *write) {
    const size_t first = first_chunk(write->large, &write->range), last = end_chunk(write->large, &write->range) - 1;
    const struct piece head = piece_of(write->large, &write->range, first);
    const struct piece tail = piece_of(write->large, &write->range, last);
    memguard_status status = MEMGUARD_OK;
    if (!is_whole(write->large, &head)) status = make_edge(write, first, &head, &write->edges[0]);
    if (status == MEMGUARD_OK && last != first && !is_whole(write->large, &tail))
        status = make_edge(write, last, &tail, &write->edges[1]);
    return status;
}

/* Frees what the chunks of a range have as places without ever having been written. */
static void drop_places(struct write *write) {
    struct large *large = write->large;
    const size_t end = end_chunk(large, &write->range);
    for (size_t chunk = first_chunk(large, &write->range); chunk < end; chunk++) {
        struct record *record = &large->records[chunk];
        if (record->version != 0) continue;
        free(record->sealed);
        record->sealed = NULL;
    }
}

static memguard_status make_places(struct write *write) {
    struct large *large = write->large;
    const size_t end = end_chunk(large, &write->range);
    for (size_t chunk = first_chunk(large, &write->range); chunk < end; chunk++) {
        struct record *record = &large->records[chunk];
        const struct piece piece = piece_of(large, &write->range, chunk);
        if (!is_whole(large, &piece) || record->sealed != NULL) continue;
        record->sealed = make_place(large);
        if (record->sealed == NULL)
            return mg__fail(MEMGUARD_ERR_MEMORY, 0, "no memory for %zu bytes of chunks", write->range.bytes);
    }
    return MEMGUARD_OK;
}

/* Whole chunks, straight from the source. Fails only without a key: then the secret is dying. */
static memguard_status seal_whole_chunks(struct write *write) {
    struct large *large = write->large;
    const size_t end = end_chunk(large, &write->range);
    memguard_status status = MEMGUARD_OK;
    for (size_t chunk = first_chunk(large, &write->range); status == MEMGUARD_OK && chunk < end; chunk++) {
        const struct piece piece = piece_of(large, &write->range, chunk);
        if (!is_whole(large, &piece)) continue;
        close_chunks_from(large, chunk, chunk + 1);
        status = seal(large, chunk, write->source + piece.from, &large->records[chunk]);
    }
    return status;
}

static void exchange(struct large *large, struct edge *edge) {
    if (edge->record.sealed == NULL) return;
    free(large->records[edge->chunk].sealed);
    large->records[edge->chunk] = edge->record;
}

static memguard_status write_range(struct write *write) {
    struct large *large = write->large;
    memguard_status status = make_places(write);
    if (status == MEMGUARD_OK) status = make_edges(write);
    if (status == MEMGUARD_OK) status = seal_whole_chunks(write);
    for (size_t i = 0; i < 2; i++)
        if (status == MEMGUARD_OK)
            exchange(large, &write->edges[i]);
        else
            free(write->edges[i].record.sealed);
    if (status != MEMGUARD_OK) {
        drop_places(write);
        mg__window_blank(&large->base, the_side); /* it may hold bytes that were not to be */
    }
    mg__arch_clear_registers();
    return status;
}

/* ---- resizing ---- */

static memguard_status count_chunks(uint64_t bytes, size_t chunk_bytes, size_t *count) {
    *count = 0;
    if (bytes == 0 || bytes > MEMGUARD_SIZE_MAX)
        return mg__fail(MEMGUARD_ERR_SIZE, 0, "%llu bytes: a large secret has 1 to %zu", (unsigned long long)bytes,
                        MEMGUARD_SIZE_MAX);
    const uint64_t chunks = (bytes - 1) / chunk_bytes + 1;
    if (chunks > UINT32_MAX)
        return mg__fail(MEMGUARD_ERR_SIZE, 0, "%llu chunks of %zu bytes, which are more than 2^32 - 1: use longer ones",
                        (unsigned long long)chunks, chunk_bytes);
    *count = (size_t)chunks;
    return MEMGUARD_OK;
}

static memguard_status grow_table(struct large *large, size_t count) {
    size_t bytes = 0;
    struct record *records = mg__mul_size(count, sizeof *records, &bytes) ? realloc(large->records, bytes) : NULL;
    if (records == NULL) return mg__fail(MEMGUARD_ERR_MEMORY, 0, "no memory for a table of %zu chunks", count);
    memset(records + large->count, 0, (count - large->count) * sizeof *records);
    large->records = records;
    large->count = count;
    return MEMGUARD_OK;
}

static void cut_table(struct large *large, size_t count) {
    close_chunks_from(large, count, large->count);
    for (size_t chunk = count; chunk < large->count; chunk++)
        free(large->records[chunk].sealed);
    struct record *records = realloc(large->records, count * sizeof *records);
    if (records != NULL) large->records = records;
    large->count = count;
}

/* The bytes of the last chunk that are beyond the new end become zero. */
static memguard_status zero_beyond(struct large *large, size_t bytes) {
    const size_t inside = bytes % large->base.chunk_bytes;
    struct edge edge = {.chunk = bytes / large->base.chunk_bytes};
    unsigned char *data = NULL;
    if (inside == 0 || large->records[edge.chunk].version == 0) return MEMGUARD_OK;
    memguard_status status = open_chunk(large, edge.chunk, &data);
    if (status != MEMGUARD_OK) return status;
    mg__wipe(data + inside, large->base.chunk_bytes - inside);
    status = seal_edge(large, &edge, data);
    if (status == MEMGUARD_OK) {
        exchange(large, &edge);
    } else {
        free(edge.record.sealed);
        mg__window_blank(&large->base, the_side);
    }
    return status;
}

static memguard_status resize(struct large *large, uint64_t bytes) {
    size_t count = 0;
    memguard_status status = count_chunks(bytes, large->base.chunk_bytes, &count);
    if (status == MEMGUARD_OK && bytes < large->bytes) status = zero_beyond(large, (size_t)bytes);
    if (status == MEMGUARD_OK && count > large->count) status = grow_table(large, count);
    if (status != MEMGUARD_OK) return status;
    if (count < large->count) cut_table(large, count);
    large->bytes = (size_t)bytes;
    mg__entry_set_bytes(large->base.entry, large->bytes);
    return MEMGUARD_OK;
}

/* ---- life ---- */

static void release(struct mg__chunked *chunked) {
    struct large *large = large_of(chunked);
    for (size_t chunk = 0; chunk < large->count; chunk++)
        free(large->records[chunk].sealed);
    free(large->records);
    free(large);
}

static const struct mg__chunked_kind kind = {MG_OBJECT_LARGE, NULL, release};

static memguard_status make(uint64_t bytes, size_t chunk_bytes, struct large **made) {
    size_t count = 0;
    memguard_status status = count_chunks(bytes, chunk_bytes, &count);
    if (status != MEMGUARD_OK) return status;
    struct large *large = calloc(1, sizeof *large);
    struct record *records = calloc(count, sizeof *records); /* not touched until written */
    if (large == NULL || records == NULL) {
        free(large);
        free(records);
        return mg__fail(MEMGUARD_ERR_MEMORY, 0, "no memory for a table of %zu chunks", count);
    }
    large->base.kind = &kind;
    large->base.chunk_bytes = chunk_bytes;
    large->records = records;
    large->count = count;
    large->bytes = (size_t)bytes;
    *made = large;
    return MEMGUARD_OK;
}

memguard_status memguard_large_create(memguard_vault *vault, uint64_t bytes, const memguard_stream_options *options,
                                      memguard_large *given) {
    size_t chunk_bytes = 0;
    struct large *large = NULL;
    if (given == NULL) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    given->id = 0;
    MG_REFUSE_FORKED();
    if (vault == NULL) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    memguard_status status = mg__chunked_read_options(options, &chunk_bytes);
    if (status == MEMGUARD_OK) status = make(bytes, chunk_bytes, &large);
    if (status != MEMGUARD_OK) return status;
    return mg__chunked_publish(vault, &large->base, large->bytes, &given->id);
}

memguard_status memguard_large_destroy(memguard_large *large) {
    if (large == NULL) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    MG_REFUSE_FORKED();
    return mg__entry_destroy(&large->id, MG_OBJECT_LARGE);
}

/* ---- the calls ---- */

static memguard_status begin(memguard_large handle, struct large **large) {
    struct mg__chunked *chunked = NULL;
    const memguard_status status = mg__chunked_begin(handle.id, MG_OBJECT_LARGE, the_side, &chunked);
    if (MG_LIKELY(status == MEMGUARD_OK)) *large = large_of(chunked);
    return status;
}

memguard_status memguard_large_size(memguard_large handle, uint64_t *bytes) {
    struct mg__chunked *chunked = NULL;
    if (bytes == NULL) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    *bytes = 0;
    MG_REFUSE_FORKED();
    const memguard_status status = mg__chunked_pin(handle.id, MG_OBJECT_LARGE, &chunked);
    if (status != MEMGUARD_OK) return status;
    *bytes = mg__entry_bytes(chunked->entry);
    mg__chunked_unpin(chunked);
    return MEMGUARD_OK;
}

memguard_status memguard_large_chunk_bytes(memguard_large handle, size_t *bytes) {
    struct mg__chunked *chunked = NULL;
    if (bytes == NULL) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    *bytes = 0;
    MG_REFUSE_FORKED();
    const memguard_status status = mg__chunked_pin(handle.id, MG_OBJECT_LARGE, &chunked);
    if (status != MEMGUARD_OK) return status;
    *bytes = chunked->chunk_bytes;
    mg__chunked_unpin(chunked);
    return MEMGUARD_OK;
}

memguard_status memguard_large_resize(memguard_large handle, uint64_t bytes) {
    struct large *large = NULL;
    MG_REFUSE_FORKED();
    memguard_status status = begin(handle, &large);
    if (status != MEMGUARD_OK) return status;
    status = resize(large, bytes);
    mg__chunked_finish(&large->base, the_side);
    return status;
}

memguard_status memguard_large_read_at(memguard_large handle, uint64_t offset, void *buffer, size_t bytes) {
    struct large *large = NULL;
    struct range range;
    MG_REFUSE_FORKED();
    if (buffer == NULL) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    memguard_status status = begin(handle, &large);
    if (MG_UNLIKELY(status != MEMGUARD_OK)) return status;
    status = check_range(large, offset, bytes, &range);
    if (status == MEMGUARD_OK) status = read_range(large, &range, buffer);
    mg__chunked_finish(&large->base, the_side);
    return status;
}

memguard_status memguard_large_write_at(memguard_large handle, uint64_t offset, const void *source, size_t bytes) {
    struct write write = {.source = source};
    MG_REFUSE_FORKED();
    if (source == NULL) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    memguard_status status = begin(handle, &write.large);
    if (MG_UNLIKELY(status != MEMGUARD_OK)) return status;
    status = check_range(write.large, offset, bytes, &write.range);
    if (status == MEMGUARD_OK) status = write_range(&write);
    mg__chunked_finish(&write.large->base, the_side);
    return status;
}

/* ---- showing ---- */

static memguard_status take_shown(struct large *large, const struct range *range, struct mg__shown *shown) {
    if (range->bytes > large->base.chunk_bytes)
        return mg__fail(MEMGUARD_ERR_SIZE, 0, "%zu bytes to show: at most a chunk of %zu", range->bytes,
                        large->base.chunk_bytes);
    memguard_status status = mg__shown_take(&large->base, range->bytes, shown);
    if (status != MEMGUARD_OK) return status;
    status = read_range(large, range, mg__shown_data(shown));
    if (status != MEMGUARD_OK) mg__shown_drop(shown);
    return status;
}

/* The object is pinned and its side taken; ends both. */
static memguard_status show_range(struct large *large, const struct range *range, const struct mg__viewer *viewer) {
    struct mg__shown shown;
    const memguard_status status = take_shown(large, range, &shown);
    mg__side_leave(&large->base, the_side);
    if (status == MEMGUARD_OK) return mg__shown_show(&large->base, &shown, viewer);
    mg__chunked_unpin(&large->base);
    return status;
}

memguard_status memguard_large_use_at(memguard_large handle, uint64_t offset, size_t bytes, memguard_fn *fn, void *arg,
                                      int *result) {
    struct mg__viewer viewer = {fn, arg, result, NULL};
    struct large *large = NULL;
    struct range range;
    MG_REFUSE_FORKED();
    if (fn == NULL) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    memguard_status status = mg__viewer_begin(&viewer);
    if (status == MEMGUARD_OK) status = begin(handle, &large);
    if (status != MEMGUARD_OK) return status;
    status = check_range(large, offset, bytes, &range);
    if (status == MEMGUARD_OK) return show_range(large, &range, &viewer);
    mg__chunked_finish(&large->base, the_side);
    return status;
}

struct walk {
    memguard_chunk_fn *fn;
    void *arg;
    size_t offset;
};

static int visit(const void *bytes, size_t size, void *arg) {
    struct walk *walk = arg;
    return walk->fn(walk->offset, bytes, size, walk->arg);
}

/* One chunk. *ended: there is none at the offset any more. */
static memguard_status walk_on(memguard_large handle, struct walk *walk, const struct mg__viewer *viewer, bool *ended) {
    struct large *large = NULL;
    const memguard_status status = begin(handle, &large);
    if (status != MEMGUARD_OK) return status;
    *ended = walk->offset >= large->bytes;
    if (*ended) {
        mg__chunked_finish(&large->base, the_side);
        return MEMGUARD_OK;
    }
    const struct range range = {walk->offset, mg__min_size(large->base.chunk_bytes, large->bytes - walk->offset)};
    const memguard_status shown = show_range(large, &range, viewer);
    walk->offset += range.bytes;
    return shown;
}

memguard_status memguard_large_each(memguard_large handle, memguard_chunk_fn *fn, void *arg, int *result) {
    struct walk walk = {fn, arg, 0};
    int answer = 0;
    bool ended = false;
    MG_REFUSE_FORKED();
    if (fn == NULL) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    struct mg__viewer viewer = {visit, &walk, &answer, NULL};
    memguard_status status = mg__viewer_begin(&viewer);
    while (status == MEMGUARD_OK && answer == 0 && !ended) {
        status = walk_on(handle, &walk, &viewer, &ended);
        if (status == MEMGUARD_OK && result != NULL) *result = answer;
    }
    return status;
}
