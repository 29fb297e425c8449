/* The same by size: 16 bytes to 16 MiB, each four times the one before. Rows are made here, with what they work on; that is allocated when a row
 * is first run. */
#include "bench.h"

enum { LEAST_BYTES = 16, TAKEN_BYTES = 4 << 20, MOST_TAKEN = 2048, TWO_BATCH_US = 500, TWO_LEAST_NS = 300000 };

struct by_size {
    struct bench_secret secrets[2];
    struct bench_taking takings[2];
    struct bench_box boxes[2], openssl, gcrypt, botan;
    struct bench_op use[2], take[2], open[2], seal[2], aead[3]; /* of each thread */
    struct bench_two use_pair, take_pair, open_pair, seal_pair;
    struct bench_op use_two, take_two, open_two, seal_two;
    char names[SIZE_ROWS / SIZES][2][64];
};
static struct by_size sizes[SIZES];

static const char *make(struct bench_secret *made, size_t bytes) {
    return made->secret.id != 0 ? NULL : bench_secret_make(made, bytes, MEMGUARD_SEALED);
}

/* Both are opened at once: where that is refused, `use` would be refused or wait. */
static const char *open_both(const struct bench_secret secrets[2]) {
    memguard_view views[2] = {{0}, {0}};
    memguard_status status = MEMGUARD_OK;
    for (size_t i = 0; i < 2 && status == MEMGUARD_OK; i++)
        status = memguard_secret_acquire(secrets[i].secret, MEMGUARD_READ, &views[i]);
    for (size_t i = 0; i < 2; i++)
        bench_must(memguard_view_release(&views[i]), "view_release");
    if (status == MEMGUARD_ERR_LOCK_LIMIT) return "not enough lockable memory (ulimit -l)";
    bench_must(status, "secret_acquire");
    return NULL;
}

/* The argument is that of the operation: `secrets`, with which the whole begins. */
static const char *make_secrets(void *arg) {
    struct by_size *one = arg;
    const char *why = make(&one->secrets[0], one->takings[0].bytes);
    if (why == NULL) why = make(&one->secrets[1], one->takings[1].bytes);
    return why != NULL ? why : open_both(one->secrets);
}

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

static void set_ops(struct by_size *one, size_t bytes, size_t i) {
    const size_t most = smaller(MOST_TAKEN, bytes < TAKEN_BYTES ? TAKEN_BYTES / bytes : 1);
    one->takings[i] = (struct bench_taking){.bytes = bytes, .most = most};
    one->boxes[i].bytes = bytes;
    one->use[i] = (struct bench_op){.name = "use", .run = bench_run_use, .arg = &one->secrets[i]};
    one->take[i] = (struct bench_op){.name = "take",
                                     .start = bench_take_start,
                                     .run = bench_take_run,
                                     .before = bench_take_before,
                                     .after = bench_take_after,
                                     .arg = &one->takings[i],
                                     .most = most};
    one->open[i] = (struct bench_op){
        .name = "secretbox_open_easy", .start = bench_box_start, .run = bench_run_open, .arg = &one->boxes[i]};
    one->seal[i] = (struct bench_op){
        .name = "secretbox_easy", .start = bench_box_start, .run = bench_run_seal, .arg = &one->boxes[i]};
}

static struct bench_op two_of(struct bench_two *pair, const struct bench_op ops[2], size_t bytes) {
    *pair = (struct bench_two){&ops[0], &ops[1]};
    const size_t least = TWO_LEAST_NS / (250 + bytes / 2);
    return (struct bench_op){.name = ops[0].name,
                             .start = bench_two_start,
                             .run = bench_two_run,
                             .before = bench_two_before,
                             .after = bench_two_after,
                             .arg = pair,
                             .most = ops[0].most * 2,
                             .least = ops[0].most != 0 ? smaller(least, ops[0].most) : least,
                             .two = true};
}

static void set_pairs(struct by_size *one, size_t bytes) {
    one->use_two = two_of(&one->use_pair, one->use, bytes);
    one->take_two = two_of(&one->take_pair, one->take, bytes);
    one->open_two = two_of(&one->open_pair, one->open, bytes);
    one->seal_two = two_of(&one->seal_pair, one->seal, bytes);
}

static void set_aead(struct bench_op *op, const struct bench_op *pattern, struct bench_box *box, size_t bytes) {
    box->bytes = bytes;
    *op = *pattern;
    op->arg = box;
}

static void set_peers(struct by_size *one, size_t bytes) {
    set_aead(&one->aead[0], &bench_aead_openssl, &one->openssl, bytes);
    set_aead(&one->aead[1], &bench_aead_gcrypt, &one->gcrypt, bytes);
    set_aead(&one->aead[2], &bench_aead_botan, &one->botan, bytes);
}

static const char *size_text(char text[32], size_t bytes) {
    if (bytes < 1024)
        snprintf(text, 32, "%zu B", bytes);
    else if (bytes < 1024 * 1024)
        snprintf(text, 32, "%zu KiB", bytes / 1024);
    else
        snprintf(text, 32, "%zu MiB", bytes >> 20);
    return text;
}

static struct bench_row row_of(struct by_size *one, size_t kind, const struct bench_op *ours,
                               const struct bench_op *peer) {
    static const char *const ids[] = {"use", "take", "use_two", "take_two", "use_openssl", "use_gcrypt", "use_botan"};
    static const char *const titles[] = {"use",          "take",           "use, 2 threads", "take, 2 threads",
                                         "use, OpenSSL", "use, libgcrypt", "use, Botan"};
    const size_t bytes = one->boxes[0].bytes;
    char text[32];
    snprintf(one->names[kind][0], sizeof one->names[kind][0], "size_%s_%zu", ids[kind], bytes);
    snprintf(one->names[kind][1], sizeof one->names[kind][1], "%s, %s", titles[kind], size_text(text, bytes));
    return (struct bench_row){.id = one->names[kind][0],
                              .title = one->names[kind][1],
                              .ours = ours,
                              .peer = peer,
                              .batch_us = ours->two ? TWO_BATCH_US : 0,
                              .bytes = bytes,
                              .brief = true};
}

void bench_size_rows(struct bench_row *rows) {
    for (size_t i = 0, bytes = LEAST_BYTES; i < SIZES; i++, bytes *= 4) {
        struct by_size *one = &sizes[i];
        set_ops(one, bytes, 0);
        set_ops(one, bytes, 1);
        one->use[0].start = make_secrets;
        set_pairs(one, bytes);
        set_peers(one, bytes);
        rows[i] = row_of(one, 0, &one->use[0], &one->open[0]);
        rows[i + SIZES] = row_of(one, 1, &one->take[0], &one->seal[0]);
        rows[i + 2 * SIZES] = row_of(one, 2, &one->use_two, &one->open_two);
        rows[i + 3 * SIZES] = row_of(one, 3, &one->take_two, &one->seal_two);
        for (size_t peer = 0; peer < 3; peer++)
            rows[i + (4 + peer) * SIZES] = row_of(one, 4 + peer, &one->use[0], &one->aead[peer]);
    }
}

void bench_print_sizes(const double ratios[SIZE_ROWS]) {
    static const char *const peers[] = {"use/open",    "take/seal",     "use/open 2", "take/seal 2",
                                        "use/OpenSSL", "use/libgcrypt", "use/Botan"};
    bench_print_group(
        "by size: use and take against secretbox, 1 and 2 threads; use against ChaCha20-Poly1305 of others");
    printf("  %-10s", "");
    for (size_t kind = 0; kind < SIZE_ROWS / SIZES; kind++)
        printf(" %14s", peers[kind]);
    for (size_t i = 0; i < SIZES; i++) {
        char text[32];
        printf("\n  %-10s", size_text(text, sizes[i].takings[0].bytes));
        for (size_t kind = 0; kind < SIZE_ROWS / SIZES; kind++)
            if (ratios[kind * SIZES + i] > 0)
                printf(" %13.3fx", ratios[kind * SIZES + i]);
            else
                printf(" %14s", "-");
    }
    printf("\n");
}
