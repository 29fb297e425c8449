/* process/lost: all secrets of a vault with their places of creation, and the report of those alive at the end.
 * Contracts: memguard/process.h. The table is walked without locks; what is told was true of one moment. Must not know:
 * how secrets are sealed, who purges. */
#include "process/lost.h"

#include "core/light.h"
#include "core/origin.h"
#include "sys/scan.h"

/* ---- describing ---- */

bool mg__lost_is_secret(struct mg__entry *entry, const struct mg__vault *vault, uint64_t *word) {
    *word = atomic_load(&entry->word);
    if ((*word & (MG_WORD_L | MG_WORD_S | MG_WORD_D | MG_WORD_R)) != MG_WORD_L) return false;
    if (!mg__entry_is_of(entry, vault->index)) return false;
    if (mg__entry_has(entry, MG_ENTRY_EXPIRED | MG_ENTRY_DRAFT)) return false;
    return (atomic_load(&entry->word) ^ *word) >> 32 == 0;
}

bool mg__lost_describe(struct mg__entry *entry, const struct mg__vault *vault, uint64_t word, memguard_lost *lost) {
    const uint32_t index = mg__entry_index(entry);
    uint64_t made_ms = 0;
    *lost = (memguard_lost){.size = sizeof *lost};
    lost->secret.id = (word >> 32 << 32) | index;
    lost->bytes = mg__entry_bytes(entry);
    lost->rest = mg__entry_rest(entry);
    lost->borrows = mg__word_held(word);
    if ((word & MG_WORD_V) != 0) lost->borrows += mg__light_count(lost->secret.id);
    if ((vault->flags & MEMGUARD_TRACK) != 0) {
        mg__origin_of(index, &lost->origin, &made_ms);
        lost->age_ms = mg__sys_boottime_ms() - made_ms;
    }
    return (atomic_load(&entry->word) ^ word) >> 32 == 0;
}

memguard_status mg__lost_find(const memguard_vault *token, const struct mg__vault **vault) {
    *vault = mg__vault_find(token);
    if (*vault == NULL) return mg__fail_plain(MEMGUARD_ERR_STALE);
    return mg__vault_is_here(*vault) ? MEMGUARD_OK : mg__fail_plain(MEMGUARD_ERR_FORKED);
}

/* ---- list ---- */

struct teller {
    memguard_lost_fn *fn;
    void *arg;
};

/* The host's function may take its time. A fork does not wait for it, except in the midst of a purge. */
memguard_status mg__lost_tell(const struct mg__vault *vault, memguard_lost_fn *fn, const memguard_lost *lost,
                              void *arg) {
    const unsigned depth = mg__call_park();
    fn(lost, arg);
    return mg__vault_come_back(vault, depth);
}

static memguard_status tell(const struct mg__vault *vault, const struct teller *teller, const memguard_lost *lost,
                            bool at_end) {
    if (!at_end) return mg__lost_tell(vault, teller->fn, lost, teller->arg);
    teller->fn(lost, teller->arg);
    return MEMGUARD_OK;
}

/* at_end: only those that were not told yet. A secret that is just being made is not there yet. FORKED: in a child. */
static memguard_status tell_all(const struct mg__vault *vault, const struct teller *teller, bool at_end) {
    memguard_status status = MEMGUARD_OK;
    const uint32_t count = mg__table_count();
    for (uint32_t i = 0; status == MEMGUARD_OK && i < count; i++) {
        struct mg__entry *entry = mg__entry_by_index(i);
        memguard_lost lost;
        uint64_t word = 0;
        if (!mg__lost_is_secret(entry, vault, &word) || !mg__lost_describe(entry, vault, word, &lost)) continue;
        if (at_end && mg__entry_mark(entry, MG_MARK_TOLD)) continue;
        status = tell(vault, teller, &lost, at_end);
    }
    return status;
}

memguard_status memguard_lost_list(memguard_vault *token, memguard_lost_fn *fn, void *arg) {
    const struct teller teller = {fn, arg};
    MG_REFUSE_FORKED();
    if (token == NULL || fn == NULL) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    const struct mg__vault *vault = NULL;
    const memguard_status status = mg__lost_find(token, &vault);
    return status == MEMGUARD_OK ? tell_all(vault, &teller, false) : status;
}

/* ---- watch ---- */

static struct mg__mutex mutex;
static struct teller watcher; /* under the mutex */
static bool registered;       /* under the mutex */

static struct teller the_watcher(void) {
    mg__mutex_lock(&mutex);
    const struct teller copy = watcher;
    mg__mutex_unlock(&mutex);
    return copy;
}

static void at_vault_end(struct mg__vault *vault) {
    const struct teller teller = the_watcher();
    if (teller.fn != NULL) (void)tell_all(vault, &teller, true); /* cannot fail at the end */
}

static void at_exit(void) {
    if (mg__sys_is_refused_child()) return;
    for (uint32_t i = 0; i < MG_VAULTS; i++) {
        struct mg__vault *vault = mg__vault_by_index(i);
        if (vault == NULL) return; /* structs are made one after another */
        if (mg__vault_is_here(vault)) at_vault_end(vault);
    }
}

/* The mutex is held. */
static memguard_status watch(const struct teller *teller) {
    if (!registered && teller->fn != NULL) {
        const int error = mg__sys_at_exit(at_exit);
        if (error != 0) return mg__fail(MEMGUARD_ERR_MEMORY, error, "no room for one more function at exit");
        registered = true;
    }
    watcher = *teller;
    atomic_store(&mg__vault_on_end, teller->fn == NULL ? NULL : at_vault_end);
    return MEMGUARD_OK;
}

memguard_status memguard_lost_watch(memguard_lost_fn *fn, void *arg) {
    const struct teller teller = {fn, arg};
    MG_REFUSE_FORKED();
    mg__mutex_lock(&mutex);
    const memguard_status status = watch(&teller);
    mg__mutex_unlock(&mutex);
    return status;
}
