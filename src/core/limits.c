/* core/limits: time to live, idle time and number of uses of single secrets, on the boot-time clock. Records lie
 * beside the handles, never freed, because a description may look at one that has just been dropped. Must not know: how
 * secrets are wiped, sealed, or taken away (mg__secret_expire, mg__secret_change_rest, mg__purge_overdue do it). */
#include "core/beside.h"
#include "core/vault.h"

struct mg__limits {
    _Atomic uint64_t expires_ms;    /* boot-time clock; 0: never */
    _Atomic uint64_t idle_ms;       /* allowed idle time; 0: any */
    _Atomic uint64_t idle_until_ms; /* boot-time clock */
    _Atomic uint64_t seal_ms;       /* allowed idle time of a rest that lies open; 0: any */
    _Atomic uint64_t seal_at_ms;    /* boot-time clock; 0: not waited for */
    _Atomic uint64_t overdue_ms;    /* boot-time clock: a borrow lasts no longer */
    _Atomic uint64_t uses;          /* left */
    _Atomic bool uses_are_counted;
};

enum { LEAST_SWEEP_MS = 50, DEFAULT_GRACE_MS = 10000 };

static struct mg__beside records = {.record_bytes = sizeof(struct mg__limits)};

static uint64_t at_time(uint64_t now_ms, uint64_t in_ms) {
    uint64_t at = 0;
    if (in_ms == 0) return 0;
    return __builtin_add_overflow(now_ms, in_ms, &at) ? UINT64_MAX : at;
}

static uint64_t earlier(uint64_t a, uint64_t b) {
    if (a == 0 || b == 0) return a != 0 ? a : b;
    return a < b ? a : b;
}

/* When it ends. */
static uint64_t end_of(const struct mg__limits *limits) {
    return earlier(atomic_load(&limits->expires_ms), atomic_load(&limits->idle_until_ms));
}

/* When to look at it next. */
static uint64_t due_of(const struct mg__limits *limits) {
    return earlier(end_of(limits), atomic_load(&limits->seal_at_ms));
}

/* The housekeeper looks at `due_ms` at the latest. Whoever made it look earlier has told it so. */
static void ask_for_sweep(struct mg__vault *vault, uint64_t now_ms, uint64_t due_ms) {
    uint64_t next = atomic_load(&vault->next_sweep_ms);
    do {
        if (MG_LIKELY(due_ms == 0 || due_ms >= next)) return;
    } while (!atomic_compare_exchange_weak(&vault->next_sweep_ms, &next, due_ms));
    const uint64_t in_ms = due_ms > now_ms ? due_ms - now_ms : 0;
    mg__housekeeper_poke(in_ms > UINT64_MAX / 2000000U ? UINT64_MAX : mg__sys_now_ns() + in_ms * 1000000U);
}

void mg__limits_drop(struct mg__entry *entry) {
    if (MG_LIKELY(mg__entry_limits(entry) == NULL)) return;
    mg__entry_change_kind(entry, MG_KIND_LIMITED, 0);
    atomic_store(&mg__entry_extra(entry)->limits, NULL);
}

static uint64_t overdue_time(uint64_t now_ms, const memguard_limits *wanted) {
    uint64_t lasts = 0;
    const uint64_t grace = wanted->grace_ms == 0 ? DEFAULT_GRACE_MS : wanted->grace_ms;
    if (wanted->ttl_ms == 0 || __builtin_add_overflow(wanted->ttl_ms, grace, &lasts)) return UINT64_MAX;
    return at_time(now_ms, lasts);
}

static void put(_Atomic uint64_t *at, uint64_t value) { atomic_store_explicit(at, value, memory_order_relaxed); }

/* Published by the entry's pointer; who looks at a record that is filled anew may see some of both. */
static void fill(struct mg__limits *limits, uint64_t now_ms, const memguard_limits *wanted) {
    put(&limits->expires_ms, at_time(now_ms, wanted->ttl_ms));
    put(&limits->overdue_ms, overdue_time(now_ms, wanted));
    put(&limits->idle_ms, wanted->idle_ms);
    put(&limits->idle_until_ms, at_time(now_ms, wanted->idle_ms));
    put(&limits->seal_ms, wanted->seal_ms);
    put(&limits->seal_at_ms, at_time(now_ms, wanted->seal_ms));
    put(&limits->uses, wanted->uses);
    atomic_store_explicit(&limits->uses_are_counted, wanted->uses != 0, memory_order_relaxed);
}

memguard_status mg__limits_set(struct mg__vault *vault, struct mg__entry *entry, const memguard_limits *wanted) {
    if ((wanted->ttl_ms | wanted->idle_ms | wanted->uses | wanted->seal_ms) == 0) {
        mg__limits_drop(entry);
        return MEMGUARD_OK;
    }
    memguard_status status = MEMGUARD_OK;
    struct mg__limits *limits = mg__beside_want(&records, mg__entry_index(entry), &status);
    if (limits == NULL) return status;
    const uint64_t now = mg__sys_boottime_ms();
    fill(limits, now, wanted);
    atomic_store_explicit(&mg__entry_take_extra(entry)->limits, limits, memory_order_release);
    mg__entry_change_kind(entry, 0, MG_KIND_LIMITED);
    ask_for_sweep(vault, now, due_of(limits));
    return MEMGUARD_OK;
}

static bool is_past(uint64_t due_ms, uint64_t now_ms) { return due_ms != 0 && now_ms >= due_ms; }

static bool uses_are_up(const struct mg__limits *limits) {
    return atomic_load(&limits->uses_are_counted) && atomic_load(&limits->uses) == 0;
}

static bool take_use(struct mg__limits *limits) {
    uint64_t uses = atomic_load(&limits->uses);
    if (!atomic_load(&limits->uses_are_counted)) return true;
    do {
        if (uses == 0) return false;
    } while (!atomic_compare_exchange_weak(&limits->uses, &uses, uses - 1));
    return true;
}

memguard_status mg__limits_begin_slow(struct mg__entry *entry, bool borrow) {
    struct mg__limits *limits = mg__entry_limits(entry);
    const bool gone = mg__entry_has(entry, MG_ENTRY_EXPIRED);
    if (limits == NULL || gone) return mg__fail_plain(MEMGUARD_ERR_EXPIRED);
    const uint64_t now = mg__sys_boottime_ms();
    /* While another borrow lasts the secret is not idle, however long ago the last one ended. */
    const bool idle =
        mg__word_pins(atomic_load(&entry->word)) <= 1 && is_past(atomic_load(&limits->idle_until_ms), now);
    if (idle || is_past(atomic_load(&limits->expires_ms), now) || (borrow && !take_use(limits)))
        return mg__fail_plain(MEMGUARD_ERR_EXPIRED);
    return MEMGUARD_OK;
}

void mg__limits_refund(struct mg__entry *entry) {
    struct mg__limits *limits = mg__entry_limits(entry);
    if (limits != NULL && atomic_load(&limits->uses_are_counted)) atomic_fetch_add(&limits->uses, 1);
}

bool mg__limits_end_slow(struct mg__entry *entry) {
    struct mg__limits *limits = mg__entry_limits(entry);
    const uint64_t now = mg__sys_boottime_ms(), idle = atomic_load(&limits->idle_ms);
    if (is_past(atomic_load(&limits->expires_ms), now) || uses_are_up(limits)) return true;
    if (idle != 0) atomic_store(&limits->idle_until_ms, at_time(now, idle));
    /* Sealed already: nothing is waited for. */
    if (atomic_load(&limits->seal_at_ms) != 0)
        atomic_store(&limits->seal_at_ms, at_time(now, atomic_load(&limits->seal_ms)));
    return false;
}

void mg__limits_rest_changed(struct mg__vault *vault, struct mg__entry *entry) {
    struct mg__limits *limits = mg__entry_limits(entry);
    if (limits == NULL) return;
    const uint64_t now = mg__sys_boottime_ms();
    atomic_store(&limits->seal_at_ms, at_time(now, atomic_load(&limits->seal_ms)));
    ask_for_sweep(vault, now, due_of(limits));
}

static bool has_reached_a_limit(const struct mg__entry *entry, uint64_t now_ms) {
    const struct mg__limits *limits = mg__entry_limits(entry);
    return limits != NULL && (is_past(end_of(limits), now_ms) || uses_are_up(limits));
}

bool mg__limits_are_overdue(const struct mg__entry *entry) {
    const struct mg__limits *limits = mg__entry_limits(entry);
    return limits != NULL && mg__sys_boottime_ms() >= atomic_load(&limits->overdue_ms);
}

bool mg__limits_are_over(const struct mg__entry *entry) { return has_reached_a_limit(entry, mg__sys_boottime_ms()); }

/* Exclusive owner: wipes if it is so. */
static void expire_owned(struct mg__entry *entry, uint64_t now_ms) {
    if (has_reached_a_limit(entry, now_ms)) mg__secret_expire(entry);
    mg__secret_after(entry, mg__entry_unseize(entry));
}

void mg__limits_expire(uint64_t id) {
    struct mg__entry *entry = mg__entry_at(id);
    const uint64_t word = entry == NULL ? 0 : atomic_load(&entry->word);
    /* Not to be had: somebody is at it still, and will see to it at the end. */
    if ((word ^ id) >> 32 == 0 && (word & MG_WORD_D) == 0 && mg__entry_seize_idle(entry, word, MG_WORD_T))
        expire_owned(entry, mg__sys_boottime_ms());
}

void mg__limits_describe(const struct mg__entry *entry, memguard_info *info) {
    const struct mg__limits *limits = mg__entry_limits(entry);
    if (limits == NULL) return;
    const uint64_t now = mg__sys_boottime_ms(), due = end_of(limits);
    info->uses_left = atomic_load(&limits->uses_are_counted) ? atomic_load(&limits->uses) : 0;
    if (due != 0) info->expires_ms = due > now ? due - now : 1;
}

/* Wiped, or, when a borrow has outlived the grace, taken away. Gives when to look again. */
static uint64_t end_entry(struct mg__vault *vault, struct mg__entry *entry, uint64_t word, uint64_t now_ms) {
    if (mg__entry_seize_idle(entry, word, MG_WORD_T)) {
        expire_owned(entry, now_ms);
        return 0;
    }
    if (mg__limits_are_overdue(entry)) mg__purge_overdue(vault, entry);
    return now_ms + LEAST_SWEEP_MS;
}

/* What lies open is sealed. Exclusive owner. A failure (no memory, a vault that is being locked) is tried again. */
static void seal_owned(struct mg__vault *vault, struct mg__entry *entry, struct mg__limits *limits) {
    const bool sealed = mg__entry_rest(entry) == MEMGUARD_SEALED; /* by a lock, which may last */
    memguard_status status = sealed ? MEMGUARD_OK : mg__gate_check(vault);
    if (status == MEMGUARD_OK) status = mg__secret_change_rest(vault, entry, MEMGUARD_SEALED);
    if (status == MEMGUARD_OK) atomic_store(&limits->seal_at_ms, 0);
    mg__secret_after(entry, mg__entry_unseize(entry));
}

static uint64_t seal_entry(struct mg__vault *vault, struct mg__entry *entry, uint64_t word, uint64_t now_ms) {
    if (!mg__entry_seize_idle(entry, word, MG_WORD_T)) return now_ms + LEAST_SWEEP_MS;
    struct mg__limits *limits = mg__entry_limits(entry);
    if (limits == NULL || !is_past(atomic_load(&limits->seal_at_ms), now_ms)) {
        mg__secret_after(entry, mg__entry_unseize(entry));
        return now_ms + LEAST_SWEEP_MS;
    }
    const uint64_t end = end_of(limits);
    seal_owned(vault, entry, limits);
    return earlier(end, atomic_load(&limits->seal_at_ms) == 0 ? 0 : now_ms + LEAST_SWEEP_MS);
}

/* One entry: wiped if over, sealed if it is time; gives when to look again, 0 for never. */
static uint64_t sweep_entry(struct mg__vault *vault, struct mg__entry *entry, uint64_t now_ms) {
    if (!mg__entry_is_of(entry, vault->index)) return 0;
    const uint64_t word = atomic_load(&entry->word);
    const struct mg__limits *limits = mg__entry_limits(entry);
    if (limits == NULL || (word & (MG_WORD_L | MG_WORD_D)) != MG_WORD_L) return 0;
    if (mg__entry_has(entry, MG_ENTRY_EXPIRED)) return 0;
    if (has_reached_a_limit(entry, now_ms)) return end_entry(vault, entry, word, now_ms);
    if (is_past(atomic_load(&limits->seal_at_ms), now_ms)) return seal_entry(vault, entry, word, now_ms);
    return due_of(limits);
}

uint64_t mg__limits_sweep(struct mg__vault *vault, uint64_t now_ms) {
    uint64_t next = atomic_load(&vault->next_sweep_ms);
    if (now_ms < next) return next;
    /* Set before the walk: a limit set meanwhile lowers it again. */
    atomic_store(&vault->next_sweep_ms, UINT64_MAX);
    uint64_t due = 0;
    const uint32_t count = mg__table_count();
    for (uint32_t i = 0; i < count; i++)
        due = earlier(due, sweep_entry(vault, mg__entry_by_index(i), now_ms));
    if (due != 0 && due < now_ms + LEAST_SWEEP_MS) due = now_ms + LEAST_SWEEP_MS;
    next = atomic_load(&vault->next_sweep_ms);
    while (due != 0 && due < next && !atomic_compare_exchange_weak(&vault->next_sweep_ms, &next, due)) {
    }
    return atomic_load(&vault->next_sweep_ms);
}
