/* test_seams_white.c: seams from inside: parent and children that seal chunks of one stream under the same numbers never do so under the same
 * prefix; a call that came back to a child which could not settle changes nothing. */
#include "chunks.h"

#include "core/stream.c"

#include "copied.h"

/* A lease of a second that was not ended in a child would be good there for all of the test. */
enum { CHUNK = 256, PROCESSES = 5, SEALED = 4, LEASE_US = 1000000 };

/* ---- nonces of chunks ---- */

struct chunk_nonce {
    unsigned char object[MG_OBJECT_BYTES], prefix[MG_PREFIX_BYTES];
    uint64_t tail;
};

struct family {
    memguard_stream stream;
    struct chunk_nonce (*nonces)[SEALED]; /* of each process; shared by all */
    int process;
};

/* The chunk that was open at the fork is sealed by each, too. */
static void seal_some(void *arg) {
    struct family *family = arg;
    unsigned char source[CHUNK] = {0};
    const size_t before = sealing_count;
    for (size_t i = 0; i < SEALED; i++) {
        CHECK_STATUS(memguard_stream_write(family->stream, source, i + 1), MEMGUARD_OK);
        CHECK_STATUS(memguard_stream_flush(family->stream), MEMGUARD_OK);
    }
    if (!CHECK(sealing_count == before + SEALED)) return;
    for (size_t i = 0; i < SEALED; i++) {
        struct chunk_nonce *nonce = &family->nonces[family->process][i];
        memcpy(nonce->object, sealings[before + i].object, MG_OBJECT_BYTES);
        mg__prefix_bytes(sealings[before + i].prefix, nonce->prefix);
        nonce->tail = sealings[before + i].tail;
    }
}

static void compare(const struct family *family, int one, int other) {
    for (size_t i = 0; i < SEALED; i++) {
        const struct chunk_nonce *a = &family->nonces[one][i], *b = &family->nonces[other][i];
        CHECK(a->tail == b->tail && memcmp(a->object, b->object, MG_OBJECT_BYTES) == 0);
        CHECK(memcmp(a->prefix, b->prefix, MG_PREFIX_BYTES) != 0);
    }
}

TEST(parent_and_children_seal_the_same_chunk_under_prefixes_of_their_own) {
    struct family family = {.process = 0};
    memguard_vault *vault = make_copied(MEMGUARD_NO_THREAD, LEASE_US);
    memguard_stream_options options = MEMGUARD_STREAM_OPTIONS_INIT;
    pid_t children[PROCESSES] = {0};
    options.chunk_bytes = CHUNK;
    family.nonces = mmap(NULL, sizeof *family.nonces * PROCESSES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (!CHECK(family.nonces != MAP_FAILED)) return;
    CHECK_STATUS(memguard_stream_create(vault, &options, &family.stream), MEMGUARD_OK);
    CHECK_STATUS(memguard_stream_write(family.stream, "open", 4), MEMGUARD_OK);
    CHECK(is_window_open(family.stream.id, MG_WRITING));
    for (family.process = 1; family.process < PROCESSES; family.process++)
        children[family.process] = start(seal_some, &family);
    family.process = 0;
    seal_some(&family);
    for (int i = 1; i < PROCESSES; i++) CHECK(check_exited(end_of(children[i]), 0));
    for (int i = 0; i < PROCESSES; i++)
        for (int other = 0; other < i; other++) compare(&family, i, other);
    CHECK(munmap(family.nonces, sizeof *family.nonces * PROCESSES) == 0);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

/* ---- a child that cannot settle ---- */

static memguard_status destroyed_inside;
static memguard_stream inner;

static int fork_and_stay_unsettled(const void *bytes, size_t size, void *arg) {
    int *is_child = arg;
    (void)bytes, (void)size;
    const pid_t child = fork();
    *is_child = child == 0;
    if (child == 0) CHECK(drop_memlock(1 << 20) == 0 && setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){1, 1 << 20}) == 0);
    if (child != 0) CHECK(check_exited(end_of(child), 0));
    return 0;
}

/* A public call that calls another one after the host's function: like those of src/io. */
static memguard_status show_then_destroy(memguard_stream stream, int *is_child) {
    MG_REFUSE_FORKED();
    const memguard_status status = memguard_stream_use(stream, 1, fork_and_stay_unsettled, is_child, NULL);
    destroyed_inside = memguard_stream_destroy(&inner);
    return status;
}

TEST(a_call_inside_a_call_that_came_back_to_an_unsettled_child_is_refused) {
    int is_child = 0;
    memguard_vault *vault = make_copied(MEMGUARD_NO_THREAD, LEASE_US);
    memguard_stream stream = {0};
    CHECK_STATUS(memguard_stream_create(vault, NULL, &stream), MEMGUARD_OK);
    CHECK_STATUS(memguard_stream_create(vault, NULL, &inner), MEMGUARD_OK);
    CHECK_STATUS(memguard_stream_write(stream, "bytes", 5), MEMGUARD_OK);
    CHECK_STATUS(memguard_stream_write(inner, "bytes", 5), MEMGUARD_OK);
    const struct mg__entry *entry = mg__entry_at(inner.id);
    const memguard_status status = show_then_destroy(stream, &is_child);
    CHECK_STATUS(status, is_child ? MEMGUARD_ERR_LOCK_LIMIT : MEMGUARD_OK);
    CHECK_STATUS(destroyed_inside, is_child ? MEMGUARD_ERR_FORKED : MEMGUARD_OK);
    CHECK(((atomic_load(&entry->word) & MG_WORD_L) != 0) == is_child);
    if (is_child) _exit(atomic_load(&check_bad) != 0);
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

int main(void) {
    RUN(parent_and_children_seal_the_same_chunk_under_prefixes_of_their_own);
    RUN(a_call_inside_a_call_that_came_back_to_an_unsettled_child_is_refused);
    return check_end();
}
