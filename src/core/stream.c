/* core/stream: queues of sealed chunks. Contract: memguard/stream.h; keys and numbers: docs/KEYS.md section 7. Writers
 * take turns on one side, readers on the other (the idea of the queue with two locks, M. Michael and M. Scott, 1996); a
 * small mutex guards the links. The writers' window holds the chunk that is being filled, the readers' a copy of the
 * first one in the queue while it is consumed in parts.
 * Must not know: how keys are assembled, how windows are timed. */
#include "core/origin.h"
#include "core/vault.h"

#include <stdlib.h>

/* A sealed chunk; or, for the one that is being filled, the place where it will be sealed. */
struct link {
    struct link *next;
    uint32_t bytes, prefix;
    bool last; /* of a finished stream */
    unsigned char sealed[];
};

struct stream {
    struct mg__chunked base;
    struct mg__mutex links;    /* over both, but: */
    struct link *_Atomic head; /* while there is one only readers change it, on their side */
    struct link *tail;
    /* under the writers' side: */
    struct link *place; /* where the open chunk will be sealed */
    uint64_t next_number;
    bool finished;
    /* under the readers' side: */
    uint64_t expected; /* number of the first chunk in the queue */
    size_t offset;     /* how much of it is consumed */
    bool ended;        /* the last chunk is consumed */
};

static const uint64_t last_mark = (uint64_t)1 << 63;

static uint64_t tail_of(uint64_t number, const struct link *link) { return number | (link->last ? last_mark : 0); }

static struct stream *stream_of(struct mg__chunked *chunked) { return (struct stream *)(void *)chunked; }

/* ---- links ---- */

static struct link *make_link(size_t bytes) {
    struct link *link = malloc(sizeof *link + MG_TAG_BYTES + bytes);
    if (link != NULL) *link = (struct link){.next = NULL};
    return link;
}

static void free_links(struct link *link) {
    while (link != NULL) {
        struct link *next = link->next;
        free(link);
        link = next;
    }
}

static void append(struct stream *stream, struct link *first, struct link *last) {
    last->next = NULL;
    mg__mutex_lock(&stream->links);
    if (stream->tail != NULL)
        stream->tail->next = first;
    else
        atomic_store_explicit(&stream->head, first, memory_order_release);
    stream->tail = last;
    mg__mutex_unlock(&stream->links);
}

static struct link *first_link(struct stream *stream) {
    return atomic_load_explicit(&stream->head, memory_order_acquire);
}

static void drop_first(struct stream *stream) {
    mg__mutex_lock(&stream->links);
    struct link *link = first_link(stream), *next = link->next;
    atomic_store_explicit(&stream->head, next, memory_order_relaxed);
    if (next == NULL) stream->tail = NULL;
    mg__mutex_unlock(&stream->links);
    free(link);
}

/* ---- writing; the writers' side is taken ---- */

/* A number is taken by sealing alone, and never given back: where chunks that were sealed are dropped again (only a
 * purge makes a write fail that late) readers would find a gap, not a nonce used twice. */
static memguard_status seal_link(struct stream *stream, struct link *link, const unsigned char *plain, size_t bytes,
                                 bool last) {
    link->last = last;
    link->prefix = 0;
    const memguard_status status =
        mg__chunk_seal(&stream->base, tail_of(stream->next_number, link), &link->prefix, link->sealed, plain, bytes);
    if (MG_UNLIKELY(status != MEMGUARD_OK)) return status;
    link->bytes = (uint32_t)bytes;
    stream->next_number++;
    return MEMGUARD_OK;
}

/* A chunk that was sealed early gives back what it does not need. */
static struct link *shrunk(struct link *link) {
    struct link *smaller = realloc(link, sizeof *link + MG_TAG_BYTES + link->bytes);
    return smaller != NULL ? smaller : link;
}

static bool is_open(const struct stream *stream) { return stream->base.windows[MG_WRITING].used != 0; }

/* The open chunk becomes a sealed one. */
static memguard_status seal_open_as(struct stream *stream, bool last) {
    struct link *link = stream->place;
    const unsigned char *data = mg__window_data(&stream->base, MG_WRITING);
    const memguard_status status = seal_link(stream, link, data, stream->base.windows[MG_WRITING].used, last);
    if (status != MEMGUARD_OK) return status;
    stream->place = NULL;
    mg__window_blank(&stream->base, MG_WRITING);
    link = shrunk(link);
    append(stream, link, link);
    return MEMGUARD_OK;
}

static memguard_status seal_open(struct mg__chunked *chunked) {
    struct stream *stream = stream_of(chunked);
    return is_open(stream) ? seal_open_as(stream, false) : MEMGUARD_OK;
}

/* What one write does: `links` are those of all its chunks, the open one's first. */
struct write {
    struct stream *stream;
    const unsigned char *source;
    size_t bytes;
    size_t open_bytes;  /* in the window before */
    size_t left_bytes;  /* in the window afterwards */
    size_t seals;       /* chunks sealed by it */
    struct link *fresh; /* links made for it */
};

static bool stays_open(const struct stream *stream) {
    return !atomic_load_explicit(&stream->base.vault->coffer.policy.strict, memory_order_relaxed);
}

static void plan(struct write *write) {
    struct stream *stream = write->stream;
    const size_t chunk_bytes = stream->base.chunk_bytes;
    write->open_bytes = stream->base.windows[MG_WRITING].used;
    const size_t total = write->open_bytes + write->bytes, rest = total % chunk_bytes;
    write->seals = total / chunk_bytes;
    write->left_bytes = stays_open(stream) ? rest : 0;
    if (rest != 0 && write->left_bytes == 0) write->seals++;
}

/* All memory that the write needs, before anything changes. */
static memguard_status make_room(struct write *write) {
    struct stream *stream = write->stream;
    const size_t chunk_bytes = stream->base.chunk_bytes, total = write->open_bytes + write->bytes;
    size_t links = write->seals + (write->left_bytes != 0 ? 1 : 0) - (stream->place != NULL ? 1 : 0);
    const size_t rest = total % chunk_bytes;
    size_t capacity = rest != 0 && write->left_bytes == 0 ? rest : chunk_bytes; /* of the last, made first */
    for (; links > 0; links--, capacity = chunk_bytes) {
        struct link *link = make_link(capacity);
        if (link == NULL) {
            free_links(write->fresh);
            return mg__fail(MEMGUARD_ERR_MEMORY, 0, "no memory for %zu bytes of chunks", write->bytes);
        }
        link->next = write->fresh;
        write->fresh = link;
    }
    if (write->left_bytes == 0 || mg__window_open(&stream->base, MG_WRITING) == MEMGUARD_OK) return MEMGUARD_OK;
    /* No protected page for an open chunk: then what does not fill one is sealed at once, too. */
    write->left_bytes = 0;
    write->seals++;
    return MEMGUARD_OK;
}

/* Chunks are sealed straight from the source, but for the one that was open. */
static memguard_status seal_chunks(struct write *write, struct link *link, struct link **last) {
    struct stream *stream = write->stream;
    const unsigned char *at = write->source;
    size_t left = write->bytes;
    memguard_status status = MEMGUARD_OK;
    for (size_t i = 0; status == MEMGUARD_OK && i < write->seals; i++, link = link->next) {
        const size_t open = i == 0 ? write->open_bytes : 0;
        const size_t more = mg__min_size(stream->base.chunk_bytes - open, left);
        const unsigned char *plain = at;
        if (open != 0) {
            unsigned char *data = mg__window_data(&stream->base, MG_WRITING);
            memcpy(data + open, at, more);
            plain = data;
        }
        status = seal_link(stream, link, plain, open + more, false);
        *last = link;
        at += more;
        left -= more;
    }
    return status;
}

/* What does not fill a chunk goes into the window. */
static void keep_open(struct write *write, size_t from, struct link *place) {
    struct stream *stream = write->stream;
    unsigned char *data = mg__window_data(&stream->base, MG_WRITING);
    const size_t bytes = write->bytes - from;
    stream->place = place;
    memcpy(data + (write->left_bytes - bytes), write->source + from, bytes);
    mg__window_fill(&stream->base, MG_WRITING, write->left_bytes);
}

static void add_bytes(struct stream *stream, size_t bytes) { mg__entry_add_bytes(stream->base.entry, bytes); }

static memguard_status write_chunks(struct write *write) {
    struct stream *stream = write->stream;
    struct link *first = stream->place != NULL ? stream->place : write->fresh, *last = NULL;
    if (stream->place != NULL) stream->place->next = write->fresh;
    const memguard_status status = seal_chunks(write, first, &last);
    if (status != MEMGUARD_OK) {
        /* The open chunk is as it was: what was copied behind its bytes is wiped with it. */
        if (stream->place != NULL) stream->place->next = NULL;
        free_links(write->fresh);
        return status;
    }
    struct link *rest = last->next;
    if (write->seals == 1 && last->bytes < stream->base.chunk_bytes) first = last = shrunk(last);
    if (write->open_bytes != 0) mg__window_blank(&stream->base, MG_WRITING);
    stream->place = NULL;
    add_bytes(stream, write->bytes);
    append(stream, first, last);
    if (rest != NULL) keep_open(write, write->bytes - write->left_bytes, rest);
    return MEMGUARD_OK;
}

static memguard_status write_bytes(struct stream *stream, const void *source, size_t bytes) {
    struct write write = {.stream = stream, .source = source, .bytes = bytes};
    if (stream->finished) return mg__fail(MEMGUARD_ERR_STATE, 0, "the stream is finished");
    plan(&write);
    memguard_status status = make_room(&write);
    if (status != MEMGUARD_OK) return status;
    if (write.seals != 0) {
        status = write_chunks(&write);
    } else {
        keep_open(&write, 0, stream->place != NULL ? stream->place : write.fresh);
        add_bytes(stream, bytes);
    }
    mg__arch_clear_registers();
    return status;
}

static memguard_status seal_last(struct stream *stream) {
    if (is_open(stream)) return seal_open_as(stream, true);
    struct link *link = make_link(0);
    if (link == NULL) return mg__fail_plain(MEMGUARD_ERR_MEMORY);
    const memguard_status status = seal_link(stream, link, link->sealed, 0, true);
    if (status == MEMGUARD_OK)
        append(stream, link, link);
    else
        free(link);
    return status;
}

/* ---- reading; the readers' side is taken ---- */

/* The queue is empty: what writers have open is sealed. *finished: nothing will come any more. */
static memguard_status flush_writers(struct stream *stream, bool *finished) {
    mg__side_take(&stream->base, MG_WRITING);
    const memguard_status status = seal_open(&stream->base);
    *finished = stream->finished;
    mg__side_leave(&stream->base, MG_WRITING);
    return status;
}

static memguard_status find_link(struct stream *stream, struct link **link) {
    bool finished = false;
    *link = first_link(stream);
    if (MG_LIKELY(*link != NULL)) return MEMGUARD_OK;
    if (stream->ended) return mg__fail_plain(MEMGUARD_ERR_END);
    const memguard_status status = flush_writers(stream, &finished);
    if (status != MEMGUARD_OK) return status;
    *link = first_link(stream);
    if (*link != NULL) return MEMGUARD_OK;
    return finished ? mg__chunk_missing(&stream->base) : mg__fail_plain(MEMGUARD_ERR_EMPTY);
}

/* The number is the one that the reader expects, whatever the link is. */
static memguard_status unseal_link(struct stream *stream, const struct link *link, unsigned char *plain) {
    return mg__chunk_unseal(&stream->base, tail_of(stream->expected, link), link->prefix, plain, link->sealed,
                            link->bytes);
}

/* The first chunk in the readers' window. */
static memguard_status open_link(struct stream *stream, const struct link *link) {
    struct mg__chunked *chunked = &stream->base;
    if (MG_LIKELY(chunked->windows[MG_READING].used != 0)) return MEMGUARD_OK;
    memguard_status status = mg__window_open(chunked, MG_READING);
    if (status == MEMGUARD_OK) status = unseal_link(stream, link, mg__window_data(chunked, MG_READING));
    if (status == MEMGUARD_OK) mg__window_fill(chunked, MG_READING, link->bytes);
    return status;
}

static void consume(struct stream *stream, const struct link *link, size_t bytes) {
    stream->offset += bytes;
    mg__entry_add_bytes(stream->base.entry, 0 - (uint64_t)bytes);
    if (stream->offset < link->bytes) return;
    if (stream->base.windows[MG_READING].used != 0) mg__window_blank(&stream->base, MG_READING);
    stream->ended = link->last;
    stream->expected++;
    stream->offset = 0;
    drop_first(stream);
}

/* Copies the next `bytes` bytes of the first chunk, which has as many; a whole one comes straight from its sealed
 * bytes. */
static memguard_status take_bytes(struct stream *stream, const struct link *link, unsigned char *to, size_t bytes) {
    const bool opened = stream->base.windows[MG_READING].used != 0;
    memguard_status status = MEMGUARD_OK;
    if (!opened && stream->offset == 0 && bytes == link->bytes) {
        status = unseal_link(stream, link, to);
    } else {
        status = open_link(stream, link);
        if (status == MEMGUARD_OK) memcpy(to, mg__window_data(&stream->base, MG_READING) + stream->offset, bytes);
    }
    if (status == MEMGUARD_OK) consume(stream, link, bytes);
    return status;
}

/* The first chunk of which bytes are left, and how many. On the way: the empty one that may be the last. */
static memguard_status next_bytes(struct stream *stream, struct link **link, size_t *left) {
    unsigned char none[1];
    for (;;) {
        memguard_status status = find_link(stream, link);
        if (status != MEMGUARD_OK) return status;
        *left = (*link)->bytes - stream->offset;
        if (MG_LIKELY(*left != 0)) return MEMGUARD_OK;
        status = take_bytes(stream, *link, none, 0);
        if (status != MEMGUARD_OK) return status;
    }
}

static memguard_status read_bytes(struct stream *stream, unsigned char *buffer, size_t bytes, size_t *got) {
    memguard_status status = MEMGUARD_OK;
    while (*got < bytes && status == MEMGUARD_OK) {
        struct link *link = NULL;
        size_t left = 0;
        status = next_bytes(stream, &link, &left);
        const size_t taken = mg__min_size(left, bytes - *got);
        if (status == MEMGUARD_OK) status = take_bytes(stream, link, buffer + *got, taken);
        if (status == MEMGUARD_OK) *got += taken;
    }
    mg__arch_clear_registers();
    return *got != 0 ? MEMGUARD_OK : status;
}

static memguard_status read_next(struct stream *stream, uint32_t flags, memguard_secret *secret) {
    struct link *link = NULL;
    size_t left = 0;
    memguard_status status = next_bytes(stream, &link, &left);
    if (status == MEMGUARD_OK) status = open_link(stream, link);
    if (status != MEMGUARD_OK) return status;
    status = memguard_secret_copy(mg__vault_token(stream->base.vault),
                                  mg__window_data(&stream->base, MG_READING) + stream->offset, left, flags, secret);
    if (status == MEMGUARD_OK) consume(stream, link, left);
    return status;
}

static memguard_status take_shown(struct stream *stream, size_t most, struct mg__shown *shown) {
    struct link *link = NULL;
    size_t left = 0;
    memguard_status status = next_bytes(stream, &link, &left);
    if (status != MEMGUARD_OK) return status;
    const size_t bytes = mg__min_size(left, most);
    status = mg__shown_take(&stream->base, bytes, shown);
    if (status != MEMGUARD_OK) return status;
    status = take_bytes(stream, link, mg__shown_data(shown), bytes);
    mg__arch_clear_registers();
    if (status != MEMGUARD_OK) mg__shown_drop(shown);
    return status;
}

/* ---- life ---- */

static void release(struct mg__chunked *chunked) {
    struct stream *stream = stream_of(chunked);
    free_links(first_link(stream));
    free(stream->place);
    free(stream);
}

static const struct mg__chunked_kind kind = {MG_OBJECT_STREAM, seal_open, release};

memguard_status memguard_stream_create(memguard_vault *vault, const memguard_stream_options *options,
                                       memguard_stream *given) {
    size_t chunk_bytes = 0;
    if (given == NULL) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    given->id = 0;
    MG_REFUSE_FORKED();
    if (vault == NULL) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    const memguard_status status = mg__chunked_read_options(options, &chunk_bytes);
    if (status != MEMGUARD_OK) return status;
    struct stream *stream = calloc(1, sizeof *stream);
    if (stream == NULL) return mg__fail_plain(MEMGUARD_ERR_MEMORY);
    stream->base.kind = &kind;
    stream->base.chunk_bytes = chunk_bytes;
    return mg__chunked_publish(vault, &stream->base, 0, &given->id);
}

memguard_status memguard_stream_destroy(memguard_stream *stream) {
    if (stream == NULL) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    MG_REFUSE_FORKED();
    return mg__entry_destroy(&stream->id, MG_OBJECT_STREAM);
}

/* ---- the calls ---- */

static memguard_status begin(memguard_stream handle, enum mg__side side, struct stream **stream) {
    struct mg__chunked *chunked = NULL;
    const memguard_status status = mg__chunked_begin(handle.id, MG_OBJECT_STREAM, side, &chunked);
    if (MG_LIKELY(status == MEMGUARD_OK)) *stream = stream_of(chunked);
    return status;
}

memguard_status memguard_stream_write(memguard_stream handle, const void *source, size_t bytes) {
    struct stream *stream = NULL;
    MG_REFUSE_FORKED();
    if (source == NULL) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    if (bytes == 0 || bytes > MEMGUARD_SIZE_MAX)
        return mg__fail(MEMGUARD_ERR_SIZE, 0, "%zu bytes: 1 to %zu can be written at once", bytes, MEMGUARD_SIZE_MAX);
    memguard_status status = begin(handle, MG_WRITING, &stream);
    if (MG_UNLIKELY(status != MEMGUARD_OK)) return status;
    status = write_bytes(stream, source, bytes);
    mg__chunked_finish(&stream->base, MG_WRITING);
    return status;
}

memguard_status memguard_stream_read(memguard_stream handle, void *buffer, size_t bytes, size_t *got) {
    struct stream *stream = NULL;
    if (got == NULL) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    *got = 0;
    MG_REFUSE_FORKED();
    if (buffer == NULL) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    if (bytes == 0) return mg__fail(MEMGUARD_ERR_SIZE, 0, "nothing to read: 0 bytes");
    memguard_status status = begin(handle, MG_READING, &stream);
    if (MG_UNLIKELY(status != MEMGUARD_OK)) return status;
    status = read_bytes(stream, buffer, bytes, got);
    mg__chunked_finish(&stream->base, MG_READING);
    return status;
}

memguard_status memguard_stream_next(memguard_stream handle, uint32_t flags, memguard_secret *secret) {
    MG_ORIGIN();
    struct stream *stream = NULL;
    if (secret == NULL) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    secret->id = 0;
    MG_REFUSE_FORKED();
    memguard_status status = mg__secret_check_flags(flags);
    if (status == MEMGUARD_OK) status = begin(handle, MG_READING, &stream);
    if (status != MEMGUARD_OK) return status;
    status = read_next(stream, flags, secret);
    mg__chunked_finish(&stream->base, MG_READING);
    return status;
}

memguard_status memguard_stream_use(memguard_stream handle, size_t most, memguard_fn *fn, void *arg, int *result) {
    struct mg__viewer viewer = {fn, arg, result, NULL};
    struct mg__shown shown;
    struct stream *stream = NULL;
    MG_REFUSE_FORKED();
    if (fn == NULL) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    if (most == 0) return mg__fail(MEMGUARD_ERR_SIZE, 0, "nothing to show: 0 bytes");
    memguard_status status = mg__viewer_begin(&viewer);
    if (status == MEMGUARD_OK) status = begin(handle, MG_READING, &stream);
    if (status != MEMGUARD_OK) return status;
    status = take_shown(stream, most, &shown);
    mg__side_leave(&stream->base, MG_READING);
    if (status == MEMGUARD_OK) return mg__shown_show(&stream->base, &shown, &viewer);
    mg__chunked_unpin(&stream->base);
    return status;
}

memguard_status memguard_stream_flush(memguard_stream handle) {
    struct stream *stream = NULL;
    MG_REFUSE_FORKED();
    memguard_status status = begin(handle, MG_WRITING, &stream);
    if (status != MEMGUARD_OK) return status;
    status = seal_open(&stream->base);
    if (status == MEMGUARD_OK) mg__window_close(&stream->base, MG_WRITING);
    mg__side_leave(&stream->base, MG_WRITING);
    mg__side_take(&stream->base, MG_READING);
    mg__window_close(&stream->base, MG_READING);
    mg__chunked_finish(&stream->base, MG_READING);
    return status;
}

memguard_status memguard_stream_finish(memguard_stream handle) {
    struct stream *stream = NULL;
    MG_REFUSE_FORKED();
    memguard_status status = begin(handle, MG_WRITING, &stream);
    if (status != MEMGUARD_OK) return status;
    if (!stream->finished) status = seal_last(stream);
    if (status == MEMGUARD_OK) stream->finished = true;
    if (status == MEMGUARD_OK) mg__window_close(&stream->base, MG_WRITING);
    mg__chunked_finish(&stream->base, MG_WRITING);
    return status;
}

memguard_status memguard_stream_size(memguard_stream handle, uint64_t *bytes) {
    struct mg__chunked *chunked = NULL;
    if (bytes == NULL) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    *bytes = 0;
    MG_REFUSE_FORKED();
    const memguard_status status = mg__chunked_pin(handle.id, MG_OBJECT_STREAM, &chunked);
    if (status != MEMGUARD_OK) return status;
    *bytes = mg__entry_bytes(chunked->entry);
    mg__chunked_unpin(chunked);
    return MEMGUARD_OK;
}
