/* See coffer.h and docs/KEYS.md section 2. Everything that handles keys is a `body_*` function: it runs on a bench,
 * and only there; its frame and the registers are wiped when it returns. Must not know: handles, secrets' states. */
#include "core/coffer.h"

#include <stddef.h>

void (*_Atomic mg__coffer_on_lease)(uint64_t end_ns);

enum { WORDS = MG_KEY_BYTES / 8, AREAS = 6 };
enum { WATCHED_LEASES = 8 }; /* how long the housekeeper looks out for the next lease, in lengths of one */

typedef _Atomic uint64_t shared_key[WORDS];
struct lease_area {
    shared_key keys[MG_LEASE_KEYS];
};

/* The protected page: the share of each epoch; areas for masked keys and, elsewhere, for their masks. */
struct mg__coffer_page {
    unsigned char y[2][MG_KEY_BYTES];
    struct lease_area values[AREAS], masks[AREAS];
};
_Static_assert(sizeof(struct mg__coffer_page) <= 4096, "the coffer fits the smallest page");

static void xor_key(unsigned char out[MG_KEY_BYTES], const unsigned char a[MG_KEY_BYTES],
                    const unsigned char b[MG_KEY_BYTES]) {
    for (size_t i = 0; i < MG_KEY_BYTES; i++)
        out[i] = (unsigned char)(a[i] ^ b[i]);
}

static const unsigned char *prekey_of(const struct mg__coffer *coffer, uint32_t epoch) {
    return mg__region_data(coffer->prekeys[epoch], coffer->policy.prekey_bytes);
}

/* ---- reading the shares ---- */

/* Pins the current epoch: its shares are not wiped before end_reading. false: there is no key. */
static bool begin_reading(struct mg__coffer *coffer, uint32_t *epoch) {
    for (;;) {
        *epoch = atomic_load(&coffer->current);
        atomic_fetch_add(&coffer->readers[*epoch], 1);
        if (atomic_load(&coffer->state) != MG_COFFER_SPLIT) break;
        if (atomic_load(&coffer->current) == *epoch) return true;
        atomic_fetch_sub(&coffer->readers[*epoch], 1);
    }
    atomic_fetch_sub(&coffer->readers[*epoch], 1);
    return false;
}

static void end_reading(struct mg__coffer *coffer, uint32_t epoch) { atomic_fetch_sub(&coffer->readers[epoch], 1); }

static void wait_for_readers(struct mg__coffer *coffer, uint32_t epoch) {
    unsigned step = 0;
    while (atomic_load(&coffer->readers[epoch]) != 0)
        mg__sys_backoff(&step);
}

/* On a bench. K = y XOR H(x). */
static bool body_assemble(struct mg__coffer *coffer, unsigned char key[MG_KEY_BYTES]) {
    unsigned char hash[MG_KEY_BYTES];
    uint32_t epoch = 0;
    if (!begin_reading(coffer, &epoch)) return false;
    mg__crypto_hash(hash, prekey_of(coffer, epoch), coffer->policy.prekey_bytes);
    xor_key(key, coffer->page->y[epoch], hash);
    end_reading(coffer, epoch);
    return true;
}

static bool body_derived_key(struct mg__coffer *coffer, uint64_t id, unsigned char key[MG_KEY_BYTES]) {
    unsigned char whole[MG_KEY_BYTES];
    if (!body_assemble(coffer, whole)) return false;
    mg__crypto_derive(key, id, whole);
    return true;
}

/* Runs a body; signals are blocked where the vault wants that. */
static memguard_status on_bench(struct mg__coffer *coffer, void (*body)(void *), void *arg, size_t depth) {
    struct mg__signals_guard {
        struct mg__sys_signals saved;
    } guard;
    if (MG_LIKELY(!coffer->policy.strict_signals)) return mg__bench_call(coffer->policy.kind, body, arg, depth);
    mg__sys_signals_block(&guard.saved);
    const memguard_status status = mg__bench_call(coffer->policy.kind, body, arg, depth);
    mg__sys_signals_restore(&guard.saved);
    return status;
}

/* ---- the lease: writers ---- */

static void begin_change(struct mg__coffer *coffer) {
    unsigned step = 0;
    while (atomic_exchange_explicit(&coffer->lease_writer, 1, memory_order_acquire) != 0)
        mg__sys_backoff(&step);
    atomic_fetch_add(&coffer->sequence, 1);
}

static void end_change(struct mg__coffer *coffer) {
    atomic_fetch_add_explicit(&coffer->sequence, 1, memory_order_release);
    atomic_store_explicit(&coffer->lease_writer, 0, memory_order_release);
}

static void store_masked(shared_key value, const shared_key mask, const unsigned char key[MG_KEY_BYTES]) {
    uint64_t words[WORDS];
    memcpy(words, key, sizeof words);
    for (size_t i = 0; i < WORDS; i++) {
        const uint64_t m = atomic_load_explicit(&mask[i], memory_order_relaxed);
        atomic_store_explicit(&value[i], words[i] ^ m, memory_order_release);
    }
}

static void wipe_area(struct lease_area *area) {
    for (size_t k = 0; k < MG_LEASE_KEYS; k++)
        for (size_t i = 0; i < WORDS; i++)
            atomic_store_explicit(&area->keys[k][i], 0, memory_order_release);
}

static struct lease_area *value_area(struct mg__coffer *coffer) {
    return &coffer->page->values[atomic_load_explicit(&coffer->value_place, memory_order_relaxed) % AREAS];
}

static struct lease_area *mask_area(struct mg__coffer *coffer) {
    return &coffer->page->masks[atomic_load_explicit(&coffer->mask_place, memory_order_relaxed) % AREAS];
}

/* Called with the mutex held. */
static void end_lease(struct mg__coffer *coffer, uint64_t now_ns) {
    const uint64_t start = atomic_load_explicit(&coffer->lease_start_ns, memory_order_relaxed);
    if (atomic_load_explicit(&coffer->lease_end_ns, memory_order_relaxed) == 0) return;
    begin_change(coffer);
    wipe_area(value_area(coffer));
    wipe_area(mask_area(coffer));
    for (size_t k = 0; k < MG_LEASE_KEYS; k++)
        atomic_store_explicit(&coffer->lease_prefixes[k], 0, memory_order_release);
    end_change(coffer);
    atomic_store_explicit(&coffer->lease_end_ns, 0, memory_order_relaxed);
    const uint64_t length = now_ns > start ? now_ns - start : 0;
    coffer->came_soon = start - coffer->last_end_ns <= WATCHED_LEASES * coffer->policy.lease_ns;
    coffer->last_end_ns = now_ns;
    coffer->leased_ns += length;
    if (length > coffer->longest_lease_ns) coffer->longest_lease_ns = length;
}

struct start_work {
    struct mg__coffer *coffer;
    unsigned char prefix[MG_PREFIX_BYTES];
    uint32_t number;
    int error;
    bool no_key;
};

/* No two keys ever share a mask. */
static void body_store_mask(struct mg__coffer *coffer, size_t k, const uint64_t words[WORDS]) {
    for (size_t i = 0; i < WORDS; i++)
        atomic_store_explicit(&mask_area(coffer)->keys[k][i], words[i], memory_order_release);
}

/* What a lease begins with: Ks, the subkey of the prefix that seals, Kc. */
static const size_t first_keys[] = {0, 1, MG_LEASE_CHUNKS};
enum { FIRST_KEYS = sizeof first_keys / sizeof first_keys[0] };

/* On a bench. Random places, and masks for what a lease begins with, by one call. */
static int body_draw_masks(struct mg__coffer *coffer) {
    struct {
        uint64_t masks[FIRST_KEYS][WORDS];
        unsigned char places[2];
    } drawn;
    const int error = mg__sys_random(&drawn, sizeof drawn);
    if (error != 0) return error;
    atomic_store_explicit(&coffer->value_place, drawn.places[0] % AREAS, memory_order_release);
    atomic_store_explicit(&coffer->mask_place, drawn.places[1] % AREAS, memory_order_release);
    for (size_t i = 0; i < FIRST_KEYS; i++)
        body_store_mask(coffer, first_keys[i], drawn.masks[i]);
    return 0;
}

static void body_start_lease(void *arg) {
    struct start_work *work = arg;
    struct mg__coffer *coffer = work->coffer;
    unsigned char whole[MG_KEY_BYTES], key[MG_KEY_BYTES], subkey[MG_KEY_BYTES], chunks[MG_KEY_BYTES];
    work->no_key = !body_assemble(coffer, whole);
    if (work->no_key) return;
    mg__crypto_derive(key, MG_DERIVE_SECRETS, whole);
    mg__crypto_derive(chunks, MG_DERIVE_CHUNKS, whole);
    mg__crypto_subkey(subkey, key, work->prefix);
    begin_change(coffer);
    work->error = body_draw_masks(coffer);
    if (work->error == 0) {
        const unsigned char *const keys[FIRST_KEYS] = {key, subkey, chunks};
        for (size_t i = 0; i < FIRST_KEYS; i++)
            store_masked(value_area(coffer)->keys[first_keys[i]], mask_area(coffer)->keys[first_keys[i]], keys[i]);
        atomic_store_explicit(&coffer->lease_prefixes[1], work->number, memory_order_release);
    }
    end_change(coffer);
}

static memguard_status no_key(struct mg__coffer *coffer) {
    if (atomic_load(&coffer->state) == MG_COFFER_WRAPPED) return mg__fail_plain(MEMGUARD_ERR_LOCKED);
    return mg__fail(MEMGUARD_ERR_STATE, 0,
                    "the vault has no key: it is being purged, or its last purge could not draw a new key");
}

/* A forked child that has not drawn a prefix of its own: it cannot seal, whatever else it has. */
static memguard_status no_prefix(void) {
    return mg__fail(MEMGUARD_ERR_FORKED, 0, "this forked child has no nonce prefix of its own");
}

/* Without randomness the prefix grows older than it should: nonces stay unique by index and version; only a clone of
 * the whole machine could repeat them. */
static void freshen_if_possible(uint64_t now_ns) {
    const memguard_status status = mg__prefix_freshen(now_ns);
    (void)status;
}

/* Called with the mutex held. */
static memguard_status start_lease(struct mg__coffer *coffer) {
    struct start_work work = {.coffer = coffer};
    const uint64_t now = mg__sys_now_ns();
    if (atomic_load_explicit(&coffer->lease_end_ns, memory_order_relaxed) != 0) return MEMGUARD_OK;
    memguard_status status = MEMGUARD_OK;
    freshen_if_possible(now);
    work.number = mg__prefix_current(work.prefix);
    if (MG_UNLIKELY(work.number == 0)) return no_prefix();
    status = on_bench(coffer, body_start_lease, &work, MG_BENCH_DEEP);
    if (status != MEMGUARD_OK) return status;
    if (work.no_key) return no_key(coffer);
    if (work.error != 0)
        return mg__fail(MEMGUARD_ERR_RANDOM, work.error, "no randomness to mask the key with (errno %d)", work.error);
    atomic_store_explicit(&coffer->lease_start_ns, now, memory_order_relaxed);
    atomic_store_explicit(&coffer->lease_end_ns, now + coffer->policy.lease_ns, memory_order_relaxed);
    coffer->leases++;
    return MEMGUARD_OK;
}

static memguard_status ensure_lease(struct mg__coffer *coffer) {
    mg__mutex_lock(&coffer->mutex);
    const memguard_status status = start_lease(coffer);
    const uint64_t end = atomic_load_explicit(&coffer->lease_end_ns, memory_order_relaxed);
    mg__mutex_unlock(&coffer->mutex);
    void (*tell)(uint64_t) = atomic_load(&mg__coffer_on_lease);
    if (status == MEMGUARD_OK && tell != NULL) tell(end);
    return status;
}

/* ---- the lease: readers, on a bench ---- */

static void load_unmasked(unsigned char key[MG_KEY_BYTES], const shared_key value, const shared_key mask) {
    uint64_t words[WORDS];
    for (size_t i = 0; i < WORDS; i++)
        words[i] = atomic_load_explicit(&value[i], memory_order_acquire) ^
                   atomic_load_explicit(&mask[i], memory_order_acquire);
    memcpy(key, words, sizeof words);
}

/* One consistent copy of leased key `k`; false when there is no lease or it changed meanwhile. */
static bool body_leased_key(struct mg__coffer *coffer, size_t k, uint64_t sequence, unsigned char key[MG_KEY_BYTES]) {
    load_unmasked(key, value_area(coffer)->keys[k], mask_area(coffer)->keys[k]);
    return atomic_load_explicit(&coffer->sequence, memory_order_acquire) == sequence;
}

static size_t leased_slot(struct mg__coffer *coffer, uint32_t prefix) {
    for (size_t k = 1; k <= MG_LEASE_SUBKEYS; k++)
        if (atomic_load_explicit(&coffer->lease_prefixes[k], memory_order_acquire) == prefix) return k;
    return 0;
}

/* Keeps a subkey for the rest of the lease; gives up when somebody else changes the lease. */
static void body_keep(struct mg__coffer *coffer, uint64_t sequence, uint32_t prefix, const unsigned char *subkey) {
    uint64_t mask[WORDS];
    if (mg__sys_random(mask, sizeof mask) != 0) return;
    if (atomic_exchange_explicit(&coffer->lease_writer, 1, memory_order_acquire) != 0) return;
    if (atomic_load(&coffer->sequence) == sequence) {
        const size_t k = 2 + coffer->next_victim++ % (MG_LEASE_SUBKEYS - 1);
        atomic_fetch_add(&coffer->sequence, 1);
        atomic_store_explicit(&coffer->lease_prefixes[k], 0, memory_order_release);
        body_store_mask(coffer, k, mask);
        store_masked(value_area(coffer)->keys[k], mask_area(coffer)->keys[k], subkey);
        atomic_store_explicit(&coffer->lease_prefixes[k], prefix, memory_order_release);
        atomic_fetch_add_explicit(&coffer->sequence, 1, memory_order_release);
    }
    atomic_store_explicit(&coffer->lease_writer, 0, memory_order_release);
}

enum answer {
    ANSWER_OK,
    ANSWER_AUTH,
    ANSWER_AGAIN,
    ANSWER_NO_LEASE,
    ANSWER_NO_KEY
}; /* AGAIN: the lease changed meanwhile */

struct work {
    struct mg__coffer *coffer;
    const unsigned char *object; /* id of what the chunk belongs to; null: a secret */
    unsigned char tail[MG_TAIL_BYTES];
    uint32_t prefix;
    unsigned char *out;
    const unsigned char *in;
    size_t bytes;
    bool seals, strict;
    enum answer answer;
};

/* C(o, p) of Kc. */
static void body_chunk_subkey(const struct work *work, const unsigned char chunks[MG_KEY_BYTES],
                              unsigned char subkey[MG_KEY_BYTES]) {
    unsigned char key[MG_KEY_BYTES], bytes[MG_PREFIX_BYTES];
    mg__crypto_subkey(key, chunks, work->object);
    mg__prefix_bytes(work->prefix, bytes);
    mg__crypto_subkey(subkey, key, bytes);
}

static enum answer body_chunk_leased(const struct work *work, uint64_t sequence, unsigned char subkey[MG_KEY_BYTES]) {
    unsigned char chunks[MG_KEY_BYTES];
    if (!body_leased_key(work->coffer, MG_LEASE_CHUNKS, sequence, chunks)) return ANSWER_AGAIN;
    body_chunk_subkey(work, chunks, subkey);
    return ANSWER_OK;
}

static enum answer body_derive_leased(struct mg__coffer *coffer, uint64_t sequence, uint32_t prefix,
                                      unsigned char subkey[MG_KEY_BYTES]) {
    unsigned char key[MG_KEY_BYTES], bytes[MG_PREFIX_BYTES];
    if (!body_leased_key(coffer, 0, sequence, key)) return ANSWER_AGAIN;
    mg__prefix_bytes(prefix, bytes);
    mg__crypto_subkey(subkey, key, bytes);
    body_keep(coffer, sequence, prefix, subkey);
    return ANSWER_OK;
}

/* The subkey of the prefix; for sealing: of the one in use, if that is not earlier, which is then told. */
static enum answer body_leased_subkey(struct work *work, unsigned char subkey[MG_KEY_BYTES]) {
    struct mg__coffer *coffer = work->coffer;
    const uint64_t sequence = atomic_load_explicit(&coffer->sequence, memory_order_acquire);
    const uint32_t sealing = atomic_load_explicit(&coffer->lease_prefixes[1], memory_order_acquire);
    if (MG_UNLIKELY((sequence & 1) != 0)) return ANSWER_AGAIN;
    if (MG_UNLIKELY(sealing == 0)) return ANSWER_NO_LEASE;
    if (work->seals && work->prefix < sealing) work->prefix = sealing;
    if (work->object != NULL) return body_chunk_leased(work, sequence, subkey);
    const size_t k = leased_slot(coffer, work->prefix);
    if (MG_UNLIKELY(k == 0)) return body_derive_leased(coffer, sequence, work->prefix, subkey);
    return body_leased_key(coffer, k, sequence, subkey) ? ANSWER_OK : ANSWER_AGAIN;
}

static enum answer body_strict_subkey(struct work *work, unsigned char subkey[MG_KEY_BYTES]) {
    unsigned char key[MG_KEY_BYTES], bytes[MG_PREFIX_BYTES];
    const bool chunk = work->object != NULL;
    if (work->seals)
        work->prefix = mg__prefix_current(bytes);
    else
        mg__prefix_bytes(work->prefix, bytes);
    if (!body_derived_key(work->coffer, chunk ? MG_DERIVE_CHUNKS : MG_DERIVE_SECRETS, key)) return ANSWER_NO_KEY;
    if (chunk)
        body_chunk_subkey(work, key, subkey);
    else
        mg__crypto_subkey(subkey, key, bytes);
    return ANSWER_OK;
}

/* ---- sealing ---- */

static void write_tail(unsigned char tail[MG_TAIL_BYTES], uint64_t value) {
    for (size_t i = 0; i < MG_TAIL_BYTES; i++)
        tail[i] = (unsigned char)(value >> (8 * i));
}

static uint64_t tail_of(const struct mg__place *place) { return place->index | ((uint64_t)place->version << 32); }

static void body_work(void *arg) {
    struct work *work = arg;
    unsigned char subkey[MG_KEY_BYTES];
    work->answer = work->strict ? body_strict_subkey(work, subkey) : body_leased_subkey(work, subkey);
    if (MG_UNLIKELY(work->answer != ANSWER_OK)) return;
    if (work->seals)
        mg__crypto_seal(work->out, work->in, work->bytes, work->tail, subkey);
    else if (!mg__crypto_unseal(work->out, work->in, work->bytes, work->tail, subkey))
        work->answer = ANSWER_AUTH;
}

static memguard_status finish(struct mg__coffer *coffer, enum answer answer) {
    if (MG_LIKELY(answer == ANSWER_OK)) return MEMGUARD_OK;
    return answer == ANSWER_AUTH ? mg__fail_plain(MEMGUARD_ERR_AUTH) : no_key(coffer);
}

static memguard_status run(struct work *work) {
    if (MG_UNLIKELY(work->seals && !mg__prefix_is_drawn())) return no_prefix();
    struct mg__coffer *coffer = work->coffer;
    memguard_status status = MEMGUARD_OK;
    const uint32_t prefix = work->prefix;
    unsigned step = 0;
    work->strict = atomic_load_explicit(&coffer->policy.strict, memory_order_relaxed);
    if (MG_UNLIKELY(work->strict && work->seals)) freshen_if_possible(mg__sys_now_ns());
    while (status == MEMGUARD_OK) {
        const bool shallow = !work->strict && work->bytes <= 64 && work->object == NULL;
        const size_t depth = shallow ? MG_BENCH_SHALLOW : MG_BENCH_DEEP;
        work->prefix = prefix;
        status = on_bench(coffer, body_work, work, depth);
        if (MG_LIKELY(status != MEMGUARD_OK || (work->answer != ANSWER_NO_LEASE && work->answer != ANSWER_AGAIN)))
            break;
        if (work->answer == ANSWER_AGAIN) {
            mg__sys_backoff(&step);
            continue;
        }
        status = ensure_lease(coffer);
        if (status == MEMGUARD_ERR_RANDOM) {
            /* No masks, no lease: this once as under STRICT, so that bytes which were changed can be sealed all the
             * same. */
            work->strict = true;
            status = MEMGUARD_OK;
        }
    }
    return status != MEMGUARD_OK ? status : finish(coffer, work->answer);
}

memguard_status mg__coffer_seal(struct mg__coffer *coffer, struct mg__place *place, unsigned char *sealed,
                                const unsigned char *plain, size_t bytes) {
    struct work work = {coffer, NULL, {0}, place->prefix, sealed, plain, bytes, true, false, ANSWER_OK};
    write_tail(work.tail, tail_of(place));
    const memguard_status status = run(&work);
    if (MG_LIKELY(status == MEMGUARD_OK)) place->prefix = work.prefix;
    return status;
}

memguard_status mg__coffer_unseal(struct mg__coffer *coffer, const struct mg__place *place, unsigned char *plain,
                                  const unsigned char *sealed, size_t bytes) {
    struct work work = {coffer, NULL, {0}, place->prefix, plain, sealed, bytes, false, false, ANSWER_OK};
    write_tail(work.tail, tail_of(place));
    return run(&work);
}

memguard_status mg__coffer_seal_chunk(struct mg__coffer *coffer, struct mg__chunk_place *place, unsigned char *sealed,
                                      const unsigned char *plain, size_t bytes) {
    struct work work = {coffer, place->object, {0}, place->prefix, sealed, plain, bytes, true, false, ANSWER_OK};
    write_tail(work.tail, place->tail);
    const memguard_status status = run(&work);
    if (MG_LIKELY(status == MEMGUARD_OK)) place->prefix = work.prefix;
    return status;
}

memguard_status mg__coffer_unseal_chunk(struct mg__coffer *coffer, const struct mg__chunk_place *place,
                                        unsigned char *plain, const unsigned char *sealed, size_t bytes) {
    struct work work = {coffer, place->object, {0}, place->prefix, plain, sealed, bytes, false, false, ANSWER_OK};
    write_tail(work.tail, place->tail);
    return run(&work);
}

/* ---- filling, forgetting ---- */

/* A region with fresh random bytes, or nothing. */
static memguard_status make_prekey(struct mg__coffer *coffer, size_t bytes, struct mg__region **region) {
    memguard_status status = mg__region_take_apart(coffer->policy.kind, bytes, region);
    if (status != MEMGUARD_OK) return status;
    status = mg__region_protect(*region, MG_ACCESS_WRITE);
    if (status == MEMGUARD_OK) {
        const int error = mg__sys_random(mg__region_data(*region, bytes), bytes);
        if (error != 0)
            status = mg__fail(MEMGUARD_ERR_RANDOM, error, "no randomness for the key's shares (errno %d)", error);
    }
    if (status == MEMGUARD_OK) status = mg__region_protect(*region, MG_ACCESS_READ);
    if (status != MEMGUARD_OK) {
        mg__region_give(*region, bytes);
        *region = NULL;
    }
    return status;
}

static void drop_prekey(struct mg__coffer *coffer, uint32_t epoch) {
    if (coffer->prekeys[epoch] != NULL) mg__region_give(coffer->prekeys[epoch], coffer->policy.prekey_bytes);
    coffer->prekeys[epoch] = NULL;
    mg__wipe(coffer->page->y[epoch], MG_KEY_BYTES);
}

static memguard_status make_page(struct mg__coffer *coffer) {
    if (coffer->region != NULL) return MEMGUARD_OK;
    memguard_status status = mg__region_take_apart(coffer->policy.kind, sizeof *coffer->page, &coffer->region);
    if (status != MEMGUARD_OK) return status;
    status = mg__region_protect(coffer->region, MG_ACCESS_WRITE);
    if (status != MEMGUARD_OK) {
        mg__region_give(coffer->region, 0);
        coffer->region = NULL;
        return status;
    }
    coffer->page = (struct mg__coffer_page *)(void *)mg__region_data(coffer->region, sizeof *coffer->page);
    mg__wipe(coffer->page, sizeof *coffer->page);
    return MEMGUARD_OK;
}

static void drop_page(struct mg__coffer *coffer) {
    if (coffer->region != NULL) mg__region_give(coffer->region, sizeof *coffer->page);
    coffer->region = NULL;
    coffer->page = NULL;
}

/* The wanted size, or the largest that can be had where the host left the choice to us. */
static memguard_status make_first_prekey(struct mg__coffer *coffer) {
    memguard_status status = make_prekey(coffer, coffer->policy.prekey_bytes, &coffer->prekeys[0]);
    while (status == MEMGUARD_ERR_LOCK_LIMIT && coffer->policy.prekey_may_shrink &&
           coffer->policy.prekey_bytes > 4096) {
        coffer->policy.prekey_bytes /= 2;
        status = make_prekey(coffer, coffer->policy.prekey_bytes, &coffer->prekeys[0]);
    }
    return status;
}

static memguard_status fill(struct mg__coffer *coffer) {
    memguard_status status = make_page(coffer);
    if (status == MEMGUARD_OK) status = make_first_prekey(coffer);
    if (status == MEMGUARD_OK) {
        const int error = mg__sys_random(coffer->page->y[0], MG_KEY_BYTES);
        if (error != 0)
            status = mg__fail(MEMGUARD_ERR_RANDOM, error, "no randomness for the key's shares (errno %d)", error);
    }
    if (status != MEMGUARD_OK) {
        if (coffer->page != NULL) drop_prekey(coffer, 0);
        return status;
    }
    atomic_store(&coffer->current, 0);
    coffer->next_rekey_ns = mg__sys_now_ns() + coffer->policy.rekey_ns;
    coffer->spare_was_made = false;
    atomic_store(&coffer->state, MG_COFFER_SPLIT);
    return MEMGUARD_OK;
}

memguard_status mg__coffer_fill(struct mg__coffer *coffer) {
    mg__mutex_lock(&coffer->mutex);
    const memguard_status status = fill(coffer);
    mg__mutex_unlock(&coffer->mutex);
    return status;
}

/* Called with the mutex held: the shares go, in whatever state. */
static void drop_shares(struct mg__coffer *coffer, enum mg__coffer_state next) {
    atomic_store(&coffer->state, next);
    end_lease(coffer, mg__sys_now_ns());
    if (coffer->page == NULL) return;
    for (uint32_t epoch = 0; epoch < 2; epoch++) {
        wait_for_readers(coffer, epoch);
        drop_prekey(coffer, epoch);
    }
}

void mg__coffer_forget(struct mg__coffer *coffer) {
    mg__mutex_lock(&coffer->mutex);
    drop_shares(coffer, MG_COFFER_GONE);
    mg__wipe(coffer->wrapped, sizeof coffer->wrapped);
    mg__mutex_unlock(&coffer->mutex);
}

void mg__coffer_close(struct mg__coffer *coffer) {
    mg__coffer_forget(coffer);
    mg__mutex_lock(&coffer->mutex);
    drop_page(coffer);
    mg__mutex_unlock(&coffer->mutex);
}

/* ---- re-keying ---- */

struct rekey_work {
    struct mg__coffer *coffer;
    const unsigned char *fresh; /* x' */
    uint32_t from, to;
};

static void body_rekey(void *arg) {
    struct rekey_work *work = arg;
    struct mg__coffer *coffer = work->coffer;
    unsigned char old[MG_KEY_BYTES], new[MG_KEY_BYTES], change[MG_KEY_BYTES];
    mg__crypto_hash(old, prekey_of(coffer, work->from), coffer->policy.prekey_bytes);
    mg__crypto_hash(new, work->fresh, coffer->policy.prekey_bytes);
    xor_key(change, old, new);
    xor_key(coffer->page->y[work->to], coffer->page->y[work->from], change);
}

static memguard_status rekey(struct mg__coffer *coffer) {
    if (atomic_load(&coffer->state) != MG_COFFER_SPLIT) return MEMGUARD_OK;
    const uint32_t from = atomic_load(&coffer->current), to = 1 - from;
    struct mg__region *fresh = NULL;
    memguard_status status = make_prekey(coffer, coffer->policy.prekey_bytes, &fresh);
    if (status != MEMGUARD_OK) return status;
    struct rekey_work work = {coffer, mg__region_data(fresh, coffer->policy.prekey_bytes), from, to};
    status = on_bench(coffer, body_rekey, &work, MG_BENCH_DEEP);
    if (status != MEMGUARD_OK) {
        mg__region_give(fresh, coffer->policy.prekey_bytes);
        return status;
    }
    coffer->prekeys[to] = fresh;
    atomic_store(&coffer->current, to); /* the commit */
    wait_for_readers(coffer, from);
    drop_prekey(coffer, from);
    coffer->rekeys++;
    return MEMGUARD_OK;
}

/* Taken and given back: the bank keeps such runs. A wrapped key has no pages and will need two: to be unwrapped, and to be
 * re-keyed. The mutex is held. */
static memguard_status prepare(const struct mg__coffer *coffer) {
    const size_t bytes = coffer->policy.prekey_bytes;
    const size_t wanted = atomic_load(&coffer->state) == MG_COFFER_SPLIT ? 1 : 2;
    struct mg__region *regions[2] = {NULL, NULL};
    memguard_status status = MEMGUARD_OK;
    for (size_t i = 0; status == MEMGUARD_OK && i < wanted; i++)
        status = mg__region_take_apart(coffer->policy.kind, bytes, &regions[i]);
    for (size_t i = 0; i < wanted; i++)
        if (regions[i] != NULL) mg__region_give(regions[i], 0);
    return status;
}

memguard_status mg__coffer_prepare(struct mg__coffer *coffer) {
    mg__mutex_lock(&coffer->mutex);
    const memguard_status status = prepare(coffer);
    mg__mutex_unlock(&coffer->mutex);
    return status;
}

/* Ends the lease if it is over; gives when to look again. After a lease another one is likely: looking again at the
 * earliest time at which that one could end saves its user the call that wakes us, which takes longer than all the rest
 * but the hash. Once; or for some time, when the last one came soon after the one before. */
static uint64_t tend_lease(struct mg__coffer *coffer, uint64_t now_ns) {
    const uint64_t end = atomic_load_explicit(&coffer->lease_end_ns, memory_order_relaxed);
    if (end != 0 && now_ns < end) return end;
    if (end != 0) end_lease(coffer, now_ns);
    const bool is_watched =
        coffer->came_soon && now_ns - coffer->last_end_ns < WATCHED_LEASES * coffer->policy.lease_ns;
    if (coffer->leases == coffer->seen_leases && !is_watched) return UINT64_MAX;
    coffer->seen_leases = coffer->leases;
    return now_ns + coffer->policy.lease_ns;
}

/* The pages of the first re-key are made before secrets can have taken all there are. Without them it is put off, as
 * the report tells. */
static void make_spare(struct mg__coffer *coffer) {
    if (coffer->spare_was_made) return;
    const memguard_status status = prepare(coffer);
    (void)status;
    coffer->spare_was_made = true;
}

static uint64_t tend(struct mg__coffer *coffer, uint64_t now_ns, bool may_rekey) {
    const uint64_t due = tend_lease(coffer, now_ns), period = coffer->policy.rekey_ns;
    if (!may_rekey || atomic_load(&coffer->state) != MG_COFFER_SPLIT) return due;
    make_spare(coffer);
    if (now_ns >= coffer->next_rekey_ns) {
        /* After a failure the old shares stay, the report tells, and it is tried again next time. */
        if (rekey(coffer) != MEMGUARD_OK) coffer->rekey_failures++;
        /* At multiples of the period: vaults of one period are re-keyed in one wake-up. */
        coffer->next_rekey_ns = (now_ns / period + 1) * period;
    }
    return due < coffer->next_rekey_ns ? due : coffer->next_rekey_ns;
}

uint64_t mg__coffer_tend(struct mg__coffer *coffer, uint64_t now_ns, bool may_rekey) {
    mg__mutex_lock(&coffer->mutex);
    const uint64_t due = tend(coffer, now_ns, may_rekey);
    mg__mutex_unlock(&coffer->mutex);
    return due;
}

void mg__coffer_settle(struct mg__coffer *coffer) {
    mg__mutex_lock(&coffer->mutex);
    end_lease(coffer, mg__sys_now_ns());
    coffer->next_rekey_ns = 0;
    mg__mutex_unlock(&coffer->mutex);
}

/* ---- locking ---- */

struct wrap_work {
    struct mg__coffer *coffer;
    const unsigned char *kek;
    const unsigned char *new_kek; /* rewrap */
    unsigned char *rewrapped;     /* rewrap: begins with the new nonce */
    const unsigned char *fresh;   /* unwrap: x' */
    bool done;
};

static memguard_status wrong_kek(void) {
    return mg__fail(MEMGUARD_ERR_AUTH, 0, "this is not the key under which the vault was locked");
}

static memguard_status draw_nonce(unsigned char wrapped[MG_WRAP_BYTES]) {
    const int error = mg__sys_random(wrapped, 24);
    return error == 0 ? MEMGUARD_OK
                      : mg__fail(MEMGUARD_ERR_RANDOM, error, "no randomness for a nonce (errno %d)", error);
}

static void body_wrap(void *arg) {
    struct wrap_work *work = arg;
    unsigned char key[MG_KEY_BYTES];
    work->done = body_assemble(work->coffer, key);
    if (work->done) mg__crypto_wrap(work->coffer->wrapped, key, work->kek);
}

static memguard_status wrap(struct mg__coffer *coffer, const unsigned char *kek) {
    struct wrap_work work = {.coffer = coffer, .kek = kek};
    memguard_status status = draw_nonce(coffer->wrapped);
    if (status == MEMGUARD_OK) status = on_bench(coffer, body_wrap, &work, MG_BENCH_DEEP);
    if (status != MEMGUARD_OK) return status;
    if (!work.done) return no_key(coffer);
    drop_shares(coffer, MG_COFFER_WRAPPED);
    return MEMGUARD_OK;
}

memguard_status mg__coffer_wrap(struct mg__coffer *coffer, const unsigned char *kek) {
    mg__mutex_lock(&coffer->mutex);
    const memguard_status status = wrap(coffer, kek);
    mg__mutex_unlock(&coffer->mutex);
    return status;
}

static void body_unwrap(void *arg) {
    struct wrap_work *work = arg;
    struct mg__coffer *coffer = work->coffer;
    unsigned char key[MG_KEY_BYTES], hash[MG_KEY_BYTES];
    work->done = mg__crypto_unwrap(key, coffer->wrapped, work->kek);
    if (!work->done) return;
    mg__crypto_hash(hash, work->fresh, coffer->policy.prekey_bytes);
    xor_key(coffer->page->y[0], key, hash);
}

static memguard_status unwrap(struct mg__coffer *coffer, const unsigned char *kek) {
    struct mg__region *fresh = NULL;
    memguard_status status = make_prekey(coffer, coffer->policy.prekey_bytes, &fresh);
    if (status != MEMGUARD_OK) return status;
    struct wrap_work work = {
        .coffer = coffer, .kek = kek, .fresh = mg__region_data(fresh, coffer->policy.prekey_bytes)};
    status = on_bench(coffer, body_unwrap, &work, MG_BENCH_DEEP);
    if (status == MEMGUARD_OK && !work.done) status = wrong_kek();
    if (status == MEMGUARD_OK) status = mg__prefix_redraw();
    if (status != MEMGUARD_OK) {
        mg__wipe(coffer->page->y[0], MG_KEY_BYTES);
        mg__region_give(fresh, coffer->policy.prekey_bytes);
        return status;
    }
    coffer->prekeys[0] = fresh;
    mg__wipe(coffer->wrapped, sizeof coffer->wrapped);
    atomic_store(&coffer->current, 0);
    coffer->next_rekey_ns = mg__sys_now_ns() + coffer->policy.rekey_ns;
    atomic_store(&coffer->state, MG_COFFER_SPLIT);
    return MEMGUARD_OK;
}

memguard_status mg__coffer_unwrap(struct mg__coffer *coffer, const unsigned char *kek) {
    mg__mutex_lock(&coffer->mutex);
    const memguard_status status = unwrap(coffer, kek);
    mg__mutex_unlock(&coffer->mutex);
    return status;
}

static void body_rewrap(void *arg) {
    struct wrap_work *work = arg;
    unsigned char key[MG_KEY_BYTES];
    work->done = mg__crypto_unwrap(key, work->coffer->wrapped, work->kek);
    if (work->done) mg__crypto_wrap(work->rewrapped, key, work->new_kek);
}

static memguard_status rewrap(struct mg__coffer *coffer, const unsigned char *kek, const unsigned char *new_kek) {
    unsigned char rewrapped[MG_WRAP_BYTES];
    struct wrap_work work = {.coffer = coffer, .kek = kek, .new_kek = new_kek, .rewrapped = rewrapped};
    memguard_status status = draw_nonce(rewrapped);
    if (status == MEMGUARD_OK) status = on_bench(coffer, body_rewrap, &work, MG_BENCH_DEEP);
    if (status == MEMGUARD_OK && !work.done) status = wrong_kek();
    if (status == MEMGUARD_OK) memcpy(coffer->wrapped, rewrapped, sizeof rewrapped);
    return status;
}

memguard_status mg__coffer_rewrap(struct mg__coffer *coffer, const unsigned char *kek, const unsigned char *new_kek) {
    mg__mutex_lock(&coffer->mutex);
    const memguard_status status = rewrap(coffer, kek, new_kek);
    mg__mutex_unlock(&coffer->mutex);
    return status;
}
