/* subject.h: what the tests of tests/lab look at: a vault, its keys as needles, benches by name, and a set of threads that stand
 * still while the memory is searched. Includes the scanner: one program, one file. */
#ifndef MEMGUARD_TESTS_LAB_SUBJECT_H
#define MEMGUARD_TESTS_LAB_SUBJECT_H

#include "lab/scan.c"

#include <pthread.h>
#include <sodium.h>

#include "check.h"
#include "core/vault.h"
#include "rekey.h"

static unsigned char *bench_low[16];
static size_t bench_bytes[16];
static unsigned bench_count;

/* Benches, once there is a vault: all are made, named, and known to `benches_are_blank`. */
static inline int find_benches(enum mg__kind kind, unsigned count) {
    struct mg__bench *taken[16] = {NULL};
    if (!CHECK_STATUS(mg__bench_prepare(kind, count), MEMGUARD_OK)) return 0;
    scan_unname(SCAN_BENCH);
    for (bench_count = 0; bench_count < count; bench_count++) {
        if (!CHECK_STATUS(mg__bench_take(kind, &taken[bench_count]), MEMGUARD_OK)) break;
        bench_low[bench_count] = taken[bench_count]->low;
        bench_bytes[bench_count] = (size_t)(taken[bench_count]->top - taken[bench_count]->low);
        scan_name(SCAN_BENCH, bench_low[bench_count], bench_bytes[bench_count]);
    }
    for (unsigned i = 0; i < bench_count; i++)
        mg__bench_give(kind, taken[i]);
    return bench_count == count;
}

/* 1 when every byte of every bench is zero: stronger than no needle, since it covers limbs and schedules, too. */
static inline int benches_are_blank(void) {
    uint64_t seen = 0;
    for (unsigned b = 0; b < bench_count; b++)
        for (size_t i = 0; i < bench_bytes[b]; i += 8)
            seen |= load_word(bench_low[b] + i);
    return seen == 0;
}

static inline memguard_vault *make_vault(uint32_t backend, uint32_t flags, uint32_t prekey_bytes) {
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    memguard_vault *vault = NULL;
    options.backend = backend;
    options.flags = flags;
    options.prekey_bytes = prekey_bytes;
    options.lease_us = 1000000;
    options.rekey_ms = 3600000;
    if (!CHECK_STATUS(memguard_vault_create(&options, &vault), MEMGUARD_OK)) return NULL;
    /* The host keeps house: leases are allowed, and end and re-keying come when the test wants them. */
    if (flags == MEMGUARD_NO_THREAD) CHECK_STATUS(memguard_vault_tick(vault, NULL), MEMGUARD_OK);
    return vault;
}

static inline struct mg__coffer *coffer_of(const memguard_vault *vault) { return &mg__vault_find(vault)->coffer; }
static inline int is_leased(const memguard_vault *vault) { return atomic_load(&coffer_of(vault)->lease_end_ns) != 0; }
static inline void end_the_lease(const memguard_vault *vault) {
    (void)mg__coffer_tend(coffer_of(vault), mg__sys_now_ns() + 3600000000000U, false);
}

/* Where x and y lie now: their home. */
static inline void name_shares(const memguard_vault *vault) {
    const struct mg__coffer *coffer = coffer_of(vault);
    const struct mg__region *prekey = coffer->prekeys[atomic_load(&coffer->current)];
    scan_unname(SCAN_COFFER);
    scan_unname(SCAN_PREKEY);
    if (coffer->region != NULL) scan_name(SCAN_COFFER, coffer->region->base, coffer->region->bytes);
    if (prekey != NULL) scan_name(SCAN_PREKEY, prekey->base, prekey->bytes);
}

/* ---- the keys as needles: computed on the scanner's stack, by the library's own functions ---- */

struct keys {
    int k, x, y, hx, ks, s, stream;
};

struct deriving {
    const struct mg__coffer *coffer;
    const struct mg__entry *entry; /* SEALED */
    struct keys keys;
    int plain, fits; /* fits: sealed bytes XOR keystream are the plaintext */
    size_t stream_bytes;
};

static inline void body_stream(struct deriving *d, const unsigned char subkey[32], const unsigned char tail[8]) {
    static const unsigned char zeros[64];
    unsigned char block[64], plain[64];
    d->fits = 1;
    for (size_t at = 0; at < d->stream_bytes; at += 64) {
        const size_t bytes = d->stream_bytes - at < 64 ? d->stream_bytes - at : 64;
        crypto_stream_salsa20_xor_ic(block, zeros, 64, tail, at / 64, subkey);
        scan_set(d->keys.stream, at, block, bytes);
        const size_t from = at == 0 ? 32 : 0; /* the first half block is the one-time key */
        scan_get(d->plain, at + from - 32, plain, bytes - from);
        for (size_t i = from; i < bytes; i++)
            if ((block[i] ^ mg__entry_sealed(d->entry)[MG_TAG_BYTES + at + i - 32]) != plain[i - from]) d->fits = 0;
    }
}

static inline void body_keys(void *arg) {
    struct deriving *d = arg;
    const uint32_t epoch = atomic_load(&d->coffer->current);
    const size_t bytes = d->coffer->policy.prekey_bytes;
    const unsigned char *x = mg__region_data(d->coffer->prekeys[epoch], bytes);
    const unsigned char *y =
        (const unsigned char *)d->coffer->page + epoch * (size_t)MG_KEY_BYTES; /* first in the page */
    unsigned char hash[32], key[32], ks[32], subkey[32], prefix[MG_PREFIX_BYTES], tail[8];
    mg__crypto_hash(hash, x, bytes);
    for (size_t i = 0; i < 32; i++)
        key[i] = (unsigned char)(y[i] ^ hash[i]);
    mg__crypto_derive(ks, MG_DERIVE_SECRETS, key);
    mg__prefix_bytes(d->entry->prefix, prefix);
    mg__crypto_subkey(subkey, ks, prefix);
    for (size_t i = 0; i < 4; i++) {
        tail[i] = (unsigned char)(mg__entry_index(d->entry) >> (8 * i));
        tail[4 + i] = (unsigned char)(d->entry->version >> (8 * i));
    }
    scan_set(d->keys.x, 0, x, bytes);
    scan_set(d->keys.y, 0, y, 32);
    scan_set(d->keys.hx, 0, hash, 32);
    scan_set(d->keys.k, 0, key, 32);
    scan_set(d->keys.ks, 0, ks, 32);
    scan_set(d->keys.s, 0, subkey, 32);
    body_stream(d, subkey, tail);
}

/* The keys under which a SEALED secret lies now. plain: the needle of its contents. before: keys that are looked for already, or
 * null. */
static inline struct keys find_keys(const memguard_vault *vault, memguard_secret secret, int plain,
                                    const struct keys *before) {
    struct deriving d = {.coffer = coffer_of(vault), .entry = mg__entry_at(secret.id), .plain = plain};
    const size_t bytes = mg__entry_bytes(d.entry) + 32, prekey_bytes = d.coffer->policy.prekey_bytes;
    d.stream_bytes = bytes < 4096 ? bytes : 4096;
    d.keys = (struct keys){scan_add(SCAN_K, 32, SCAN_ALL_FORMS),
                           scan_add(SCAN_X, prekey_bytes, SCAN_SHORT_FORMS),
                           scan_add(SCAN_Y, 32, SCAN_ALL_FORMS),
                           scan_add(SCAN_HX, 32, SCAN_ALL_FORMS),
                           scan_add(SCAN_KS, 32, SCAN_ALL_FORMS),
                           scan_add(SCAN_S, 32, SCAN_ALL_FORMS),
                           scan_add(SCAN_STREAM, d.stream_bytes, SCAN_SHORT_FORMS)};
    scan_call(body_keys, &d);
    CHECK(d.fits);
    int *const found[] = {&d.keys.k, &d.keys.x, &d.keys.y, &d.keys.hx, &d.keys.ks, &d.keys.s, &d.keys.stream};
    for (size_t i = 0; i < sizeof found / sizeof found[0]; i++) {
        const int known = before == NULL ? -1 : (const int[]){before->k,  before->x, before->y,     before->hx,
                                                              before->ks, before->s, before->stream}[i];
        if (known >= 0 && scan_equal(*found[i], known))
            *found[i] = known;
        else
            scan_index(*found[i]);
    }
    name_shares(vault);
    return d.keys;
}

/* An epoch is over: its x, y and H(x) must not be anywhere. */
static inline void keys_are_old(const struct keys *keys) {
    scan_recolumn(keys->x, SCAN_OLD);
    scan_recolumn(keys->y, SCAN_OLD);
    scan_recolumn(keys->hx, SCAN_OLD);
}

/* ---- threads that work and then stand still ---- */

enum { WORKERS = 4 };
static pthread_barrier_t worker_gate;
static pthread_t workers[WORKERS];
static void (*volatile worker_job)(int number);

static inline void name_own_stack(void) {
    pthread_attr_t attributes;
    void *base = NULL;
    size_t bytes = 0;
    if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
        if (pthread_attr_getstack(&attributes, &base, &bytes) == 0) scan_name(SCAN_THREAD_STACK, base, bytes);
        pthread_attr_destroy(&attributes);
    }
}

static inline void *work(void *number) {
    for (;;) {
        pthread_barrier_wait(&worker_gate);
        if (worker_job == NULL) return NULL;
        worker_job((int)(intptr_t)number);
        pthread_barrier_wait(&worker_gate);
    }
}

static inline void workers_begin(void (*job)(int number)) {
    worker_job = job;
    pthread_barrier_wait(&worker_gate);
}
static inline void workers_end(void) { pthread_barrier_wait(&worker_gate); }
static inline void workers_run(void (*job)(int number)) {
    workers_begin(job);
    workers_end();
}

static pthread_mutex_t naming = PTHREAD_MUTEX_INITIALIZER;
static inline void job_name_stack(int number) {
    (void)number;
    pthread_mutex_lock(&naming);
    name_own_stack();
    pthread_mutex_unlock(&naming);
}

static inline int workers_start(void) {
    if (!CHECK(pthread_barrier_init(&worker_gate, NULL, WORKERS + 1) == 0)) return 0;
    for (intptr_t i = 0; i < WORKERS; i++)
        if (!CHECK(pthread_create(&workers[i], NULL, work, (void *)i) == 0)) return 0;
    workers_run(job_name_stack);
    return 1;
}

static inline void workers_stop(void) {
    workers_begin(NULL);
    for (int i = 0; i < WORKERS; i++)
        CHECK(pthread_join(workers[i], NULL) == 0);
}

/* What `use` calls in these tests: touches every byte, one at a time, so that nothing of them stays with the host. */
static inline int touch_bytes(const void *bytes, size_t size, void *arg) {
    const unsigned char *p = bytes;
    unsigned sum = 0;
    (void)arg;
    for (size_t i = 0; i < size; i++) {
        sum ^= p[i];
        __asm__ volatile("" : "+r"(sum));
    }
    return sum > 255;
}

#endif
