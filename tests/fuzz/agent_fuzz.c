/* Fuzzes the protocol of the agent: an input is a few connections, each a stream of bytes that is cut into pieces in any way; they
 * go through a socketpair to request_serve(), with the real store and vaults, in one process and one thread. After each connection
 * the books must be right: pages given back, as many secrets in the vault as in the table, nothing borrowed, no descriptor left, an
 * answer that is a frame, and no secret in it that this client may not have. Built by test_fuzz_agent.sh with libFuzzer.
 *
 * Stands in for what would make it slow, or ask somebody: the clock, Argon2, the person, programs. With AGENT_FUZZ_SEEDS=FOLDER in the
 * environment it writes a corpus to begin with, and ends.
 *
 * An input: for each connection a byte of marks, two of size (little-endian), two of how it is cut, then its bytes. */
#define _GNU_SOURCE
#include "agent_serve.c" /* with their tables, which are looked at */
#include "agent_store.c"

#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/resource.h>

#include "agent_ask.h"
#include "agent_request.h"
#include "agent_suspend.h"
#include "kdf.h"

enum {
    MARK_FRAME = 1 << 0, /* magic and version are put right */
    MARK_LATER = 1 << 1, /* time passes after it */
    MARK_YES = 1 << 2,   /* the person says yes */
    MARK_DEAF = 1 << 3,  /* the client has closed before it is served */
    CONNECTIONS = 6,
    OUTPUT_MOST = 1 << 19,
    MARKER = 24,
};

/* ---- stand-ins ---- */

static int64_t clock_ms;
static bool person_says_yes;
static sigjmp_buf purged;

int64_t spawn_now_ms(void) { return clock_ms; }
bool ask_is_possible(void) { return true; }
enum wire_suspend suspend_state(void) { return WIRE_SUSPEND_UNWATCHED; }

/* For the secret "asked" it is always no. */
enum wire_answer ask_person(const struct serve_client *client, const char *name) {
    (void)client;
    return person_says_yes && strcmp(name, "asked") != 0 ? WIRE_DONE : WIRE_SAID_NO;
}

const bool kdf_is_built_in = true;

static int copy_passphrase(const void *bytes, size_t size, void *key) {
    memset(key, 0, KDF_KEY_BYTES);
    memcpy(key, bytes, size < KDF_KEY_BYTES ? size : KDF_KEY_BYTES);
    return 0;
}

memguard_status kdf_derive(memguard_secret passphrase, const uint8_t salt[KDF_SALT_BYTES], memguard_secret key) {
    memguard_view view = {0};
    (void)salt;
    memguard_status status = memguard_secret_acquire(key, MEMGUARD_WRITE, &view);
    if (status != MEMGUARD_OK) return status;
    status = memguard_secret_use(passphrase, copy_passphrase, view.data, NULL);
    memguard_status closed = memguard_view_release(&view);
    return status != MEMGUARD_OK ? status : closed;
}

static void on_purge(void) { siglongjmp(purged, 1); }

/* ---- what must hold ---- */

#define MUST(condition)                                                                                                \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "agent_fuzz: %d: not so: %s\n", __LINE__, #condition);                                     \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

static unsigned char markers[3][MARKER];
static const char *const marked[3] = {"asked", "program", "once"};

/* Not seen by the fuzzer, which would learn the bytes from it. */
__attribute__((no_sanitize("coverage"))) static unsigned count_marker(const unsigned char *bytes, size_t size,
                                                                      const unsigned char *marker) {
    unsigned count = 0;
    for (size_t at = 0; at + MARKER <= size; at++) {
        unsigned char differ = 0;
        for (size_t i = 0; i < MARKER; i++)
            differ |= bytes[at + i] ^ marker[i];
        count += differ == 0;
    }
    return count;
}

static uint64_t secrets_in(memguard_vault *vault) {
    memguard_report report = {.size = sizeof report};
    MUST(memguard_vault_report(vault, &report) == MEMGUARD_OK);
    MUST(report.borrows == 0 && report.streams == 0 && report.larges == 0 && report.auth_failures == 0);
    return report.secrets[0] + report.secrets[1] + report.secrets[2] + report.secrets[3];
}

static void check_books(void) {
    uint64_t count = 0, bytes = 0;
    MUST(state.pages == 0 && state.page_waits == 0 && state.hurries == 0);
    MUST(store.closed == 0);
    sweep();
    for (size_t i = 0; i < STORE_MOST; i++)
        if (store.entries[i].used) {
            count++;
            bytes += store.entries[i].bytes;
            MUST(wire_name_is_good(store.entries[i].name, strlen(store.entries[i].name)));
            for (size_t k = 0; k < i; k++)
                MUST(!store.entries[k].used || strcmp(store.entries[i].name, store.entries[k].name) != 0);
        }
    MUST(store.count == count && store.bytes == bytes && bytes <= STORE_BYTES_MOST);
    MUST(secrets_in(store.vault) == count && secrets_in(store.work) == 0);
}

/* The lowest free descriptor is always the same, but while the library's thread maps new pages, which takes one for a moment. */
static void check_descriptors(void) {
    static int first = INT_MAX;
    const struct timespec pause = {0, 1000000};
    int fd = INT_MAX;
    for (int i = 0; i < 5000; i++) {
        fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        MUST(fd >= 0);
        close(fd);
        if (fd < first) first = fd;
        if (fd == first) return;
        nanosleep(&pause, NULL);
    }
    MUST(fd == first);
}

static void check_output(const unsigned char *output, size_t size, uint32_t flags) {
    static const struct wire_frame none;
    struct wire_frame frame = none;
    if (size == 0) return;
    MUST(size >= sizeof frame);
    memcpy(&frame, output, sizeof frame);
    MUST(wire_frame_is_good(&frame) && frame.op == 0);
    MUST(count_marker(output, size, markers[0]) == 0);
    MUST(count_marker(output, size, markers[1]) == 0 || (flags & WIRE_FOR_PROGRAM) != 0);
}

/* ---- one connection ---- */

static void send_cut(int fd, const unsigned char *bytes, size_t size, size_t piece) {
    while (size > 0) {
        size_t now = piece < size ? piece : size;
        if (send(fd, bytes, now, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)now) return;
        bytes += now;
        size -= now;
    }
}

/* Answers how often the secret that may be used once was in what came. */
static unsigned connect_once(unsigned marks, unsigned char *bytes, size_t size, size_t piece) {
    static unsigned char output[OUTPUT_MOST];
    const struct timeval little = {.tv_usec = 1000};
    const int room = 1 << 20;
    struct wire_frame frame = wire_request(0);
    int ends[2];
    size_t have = 0;
    ssize_t got;
    MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    MUST(setsockopt(ends[0], SOL_SOCKET, SO_SNDTIMEO, &little, sizeof little) ==
         0); /* as if it was cut for being slow */
    MUST(setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof room) == 0);
    if ((marks & MARK_FRAME) != 0 && size >= 8) memcpy(bytes, &frame, 6);
    send_cut(ends[1], bytes, size, piece);
    shutdown(ends[1], SHUT_WR);
    if ((marks & MARK_DEAF) != 0) close(ends[1]);
    person_says_yes = (marks & MARK_YES) != 0;
    struct serve_client client = {.fd = ends[0], .used = true};
    if (sigsetjmp(purged, 0) == 0)
        request_serve(&client);
    else
        store_reopen();
    close(ends[0]);
    memset(&frame, 0, sizeof frame);
    memcpy(&frame, bytes, size < sizeof frame ? size : sizeof frame);
    if ((marks & MARK_DEAF) != 0) return 0;
    while (have < sizeof output && (got = recv(ends[1], output + have, sizeof output - have, MSG_DONTWAIT)) > 0)
        have += (size_t)got;
    close(ends[1]);
    check_output(output, have, frame.flags);
    return count_marker(output, have, markers[2]);
}

/* ---- one input ---- */

static void put(const char *name, const unsigned char *marker, uint32_t flags, uint64_t uses) {
    struct wire_frame terms = wire_request(WIRE_SET);
    memguard_secret secret = {0};
    terms.flags = flags;
    terms.uses = uses;
    terms.bytes = MARKER;
    MUST(store_reserve(MARKER) == WIRE_DONE);
    MUST(memguard_secret_copy(store.vault, marker, MARKER, MEMGUARD_SEALED, &secret) == MEMGUARD_OK);
    MUST(store_put(name, secret, &terms) == WIRE_DONE);
}

static void begin(void) {
    put(marked[0], markers[0], WIRE_CONFIRM, 0);
    put(marked[1], markers[1], WIRE_NO_REVEAL, 0);
    put(marked[2], markers[2], 0, 1);
    clock_ms += 100000; /* no attempt is too soon */
}

/* Nothing is left: the search for leaks, which does not know the library's tables, would take it for one. */
static void finish(void) {
    store_remove_all();
    if (store_is_locked()) {
        memguard_status status = memguard_vault_purge(store.vault, 0);
        MUST(status == MEMGUARD_OK && !store_is_locked());
    }
    MUST(secrets_in(store.vault) == 0);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);
int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size) {
    static unsigned char bytes[1 << 16];
    unsigned once = 0;
    begin();
    for (int i = 0; i < CONNECTIONS && size >= 5; i++) {
        unsigned marks = data[0];
        size_t length = data[1] | (size_t)data[2] << 8, piece = 1 + (data[3] | (size_t)data[4] << 8);
        data += 5, size -= 5;
        if (length > size) length = size;
        memcpy(bytes, data, length);
        data += length, size -= length;
        if (length / piece > 100) piece = length / 100 + 1; /* each piece takes a buffer of the kernel */
        once += connect_once(marks, bytes, length, piece);
        MUST(once <= 1);
        check_books();
        check_descriptors();
        clock_ms += (marks & MARK_LATER) != 0 ? 700 : 0;
    }
    finish();
    return 0;
}

/* ---- a corpus to begin with ---- */

static FILE *seed;

static void add(unsigned marks, struct wire_frame frame, const char *name, const char *bytes, size_t piece) {
    frame.name_bytes = (uint32_t)strlen(name);
    size_t length = sizeof frame + strlen(name) + strlen(bytes);
    const unsigned char head[] = {(unsigned char)marks, (unsigned char)length, (unsigned char)(length >> 8),
                                  (unsigned char)(piece - 1), (unsigned char)((piece - 1) >> 8)};
    fwrite(head, sizeof head, 1, seed);
    fwrite(&frame, sizeof frame, 1, seed);
    fputs(name, seed);
    fputs(bytes, seed);
}

static struct wire_frame frame_of(enum wire_op op, uint64_t bytes, uint32_t flags, uint64_t uses) {
    struct wire_frame frame = wire_request(op);
    frame.bytes = bytes;
    frame.flags = flags;
    frame.uses = uses;
    return frame;
}

static void open_seed(const char *folder, int number) {
    char path[4096];
    if (seed != NULL) fclose(seed);
    snprintf(path, sizeof path, "%s/seed%d", folder, number);
    seed = fopen(path, "w");
    MUST(seed != NULL);
}

static void write_seeds(const char *folder) {
    open_seed(folder, 0);
    add(1, frame_of(WIRE_SET, 10, 0, 2), "a", "0123456789", 1000);
    add(1, frame_of(WIRE_GET, 0, 0, 0), "a", "", 7);
    add(1, frame_of(WIRE_GET, 0, WIRE_FOR_PROGRAM, 0), "a", "", 1);
    add(1, frame_of(WIRE_LIST, 0, 0, 0), "", "", 64);
    add(1, frame_of(WIRE_REMOVE, 0, 0, 0), "a", "", 65);
    open_seed(folder, 1);
    add(1, frame_of(WIRE_MAKE, 32, WIRE_HEX, 0), "key", "", 100);
    add(1, frame_of(WIRE_MAKE, 32, WIRE_BASE64 | WIRE_CONFIRM, 0), "text", "", 100);
    add(5, frame_of(WIRE_GET, 0, 0, 0), "text", "", 100);
    add(1, frame_of(WIRE_STATUS, 0, 0, 0), "", "", 100);
    add(1, frame_of(WIRE_REMOVE_ALL, 0, 0, 0), "", "", 100);
    open_seed(folder, 2);
    add(1, frame_of(WIRE_LOCK, 5, 0, 0), "", "right", 100);
    add(1, frame_of(WIRE_GET, 0, 0, 0), "once", "", 100);
    add(3, frame_of(WIRE_UNLOCK, 5, 0, 0), "", "wrong", 100);
    add(3, frame_of(WIRE_UNLOCK, 5, 0, 0), "", "right", 100);
    add(1, frame_of(WIRE_GET, 0, 0, 0), "once", "", 100);
    add(1, frame_of(WIRE_GET, 0, 0, 0), "once", "", 100);
    open_seed(folder, 3);
    add(1, frame_of(WIRE_GET, 0, 0, 0), "asked", "", 100);
    add(1, frame_of(WIRE_GET, 0, 0, 0), "program", "", 100);
    add(1, frame_of(WIRE_GET, 0, WIRE_FOR_PROGRAM, 0), "program", "", 100);
    add(1, frame_of(WIRE_GET, 0, WIRE_FOR_PROGRAM | WIRE_FORGET, 0), "program", "", 100);
    add(1, frame_of(WIRE_SET, 10, 0, 0), "half", "01234", 3);
    add(8, frame_of(WIRE_GET, 0, 0, 0), "once", "", 3);
    add(1, frame_of(WIRE_PURGE, 0, 0, 0), "", "", 3);
    open_seed(folder, 4);
    add(1, frame_of(WIRE_MAKE, 1 << 20, 0, 0), "large", "", 100);
    add(1, frame_of(WIRE_GET, 0, 0, 0), "large", "", 100);
    add(1, frame_of(WIRE_SET, 4097, WIRE_NO_REVEAL, 0), "large", "", 100);
    add(9, frame_of(WIRE_LIST, 0, 0, 0), "", "", 100);
    fclose(seed);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv) {
    const struct store_options options = {.backend = MEMGUARD_BACKEND_AUTO};
    const char *folder = getenv("AGENT_FUZZ_SEEDS");
    (void)argc, (void)argv;
    if (folder != NULL) {
        write_seeds(folder);
        exit(0);
    }
    MUST(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
    MUST(getrandom(markers, sizeof markers, 0) == (ssize_t)sizeof markers);
    MUST(store_open(&options));
    MUST(pthread_cond_init(&state.pages_back, NULL) == 0);
    budget_pages();
    state.most = SERVE_MOST;
    request_on_purge(on_purge);
    return 0;
}
