/* core/vault: making, describing, locking and ending vaults. Contracts: memguard.h; the key's life: docs/KEYS.md.
 * Must not know: how secrets are opened, how keys are assembled. */
#include "core/light.h"

#include <stdlib.h>

struct mg__vault *_Atomic mg__vaults[MG_VAULTS];
static struct mg__mutex registry;
static uint32_t made;  /* structs; under the registry's mutex */
static uint32_t alive; /* vaults that want the housekeeper; under the registry's mutex */

struct mg__vault *mg__vault_find(const memguard_vault *token) {
    struct mg__vault *vault = ((uintptr_t)token & 3) == 2 ? mg__vault_of_token(token) : NULL;
    return MG_LIKELY(vault != NULL && mg__vault_token_fits(vault, token)) ? vault : NULL;
}

uint32_t mg__vault_count(void) {
    mg__mutex_lock(&registry);
    const uint32_t count = made;
    mg__mutex_unlock(&registry);
    return count;
}

memguard_status mg__vault_enter(const memguard_vault *token, struct mg__vault **vault) {
    *vault = mg__vault_find(token);
    if (*vault == NULL) return mg__fail_plain(MEMGUARD_ERR_STALE);
    if (atomic_load(&(*vault)->gate) == MG_GATE_FORKED) return mg__fail_plain(MEMGUARD_ERR_FORKED);
    mg__mutex_lock(&(*vault)->control);
    if (mg__vault_token_fits(*vault, token)) return MEMGUARD_OK;
    mg__mutex_unlock(&(*vault)->control);
    return mg__fail_plain(MEMGUARD_ERR_STALE);
}

void mg__vault_leave(struct mg__vault *vault) { mg__mutex_unlock(&vault->control); }

memguard_status mg__gate_status(uint32_t gate) {
    static const memguard_status statuses[] = {MEMGUARD_OK,        MEMGUARD_ERR_LOCKED, MEMGUARD_ERR_BUSY,
                                               MEMGUARD_ERR_STALE, MEMGUARD_ERR_STATE,  MEMGUARD_ERR_FORKED};
    return mg__fail_plain(statuses[gate]);
}

/* ---- options ---- */

static const uint32_t known_flags =
    MEMGUARD_STRICT | MEMGUARD_NO_THREAD | MEMGUARD_STRICT_SIGNALS | MEMGUARD_RAISE_LIMIT | MEMGUARD_TRACK;

static bool in_range(uint64_t value, uint64_t least, uint64_t most) {
    return value == 0 || (value >= least && value <= most);
}

static bool contradicts_copy(uint32_t backend, uint32_t require) {
    return backend == MEMGUARD_BACKEND_SECRETMEM ||
           (require & (MEMGUARD_PROTECT_HIDDEN | MEMGUARD_PROTECT_NOFORK)) != 0;
}

static memguard_status check_options(const memguard_options *o) {
    if (o->backend > MEMGUARD_BACKEND_PLAIN)
        return mg__fail(MEMGUARD_ERR_ARGUMENT, 0, "unknown backend %u", o->backend);
    if ((o->require & ~(uint32_t)MEMGUARD_PROTECT_ALL) != 0)
        return mg__fail(MEMGUARD_ERR_ARGUMENT, 0, "unknown bits in require: 0x%x", o->require);
    if ((o->flags & ~known_flags) != 0) return mg__fail(MEMGUARD_ERR_ARGUMENT, 0, "unknown flags: 0x%x", o->flags);
    if (o->fork_policy > MEMGUARD_FORK_COPY)
        return mg__fail(MEMGUARD_ERR_ARGUMENT, 0, "unknown fork policy %u", o->fork_policy);
    if (o->fork_policy == MEMGUARD_FORK_COPY && contradicts_copy(o->backend, o->require))
        return mg__fail(MEMGUARD_ERR_ARGUMENT, 0,
                        "forked children cannot have copies (MEMGUARD_FORK_COPY) of secretmem, nor of HIDDEN or NOFORK "
                        "pages");
    if (!in_range(o->prekey_bytes, 4096, 1 << 20) || (o->prekey_bytes & (o->prekey_bytes - 1)) != 0)
        return mg__fail(MEMGUARD_ERR_ARGUMENT, 0, "prekey_bytes is %u: 4096 to 1048576, a power of two",
                        o->prekey_bytes);
    if (!in_range(o->rekey_ms, 10, 3600000))
        return mg__fail(MEMGUARD_ERR_ARGUMENT, 0, "rekey_ms is %u: 10 to 3600000", o->rekey_ms);
    if (!in_range(o->lease_us, 100, 1000000))
        return mg__fail(MEMGUARD_ERR_ARGUMENT, 0, "lease_us is %u: 100 to 1000000", o->lease_us);
    if (o->reserved != 0) return mg__fail(MEMGUARD_ERR_ARGUMENT, 0, "a reserved field is not zero");
    return MEMGUARD_OK;
}

static memguard_status read_options(const memguard_options *given, memguard_options *options) {
    memset(options, 0, sizeof *options);
    if (given == NULL) return MEMGUARD_OK;
    if (!mg__struct_is_known(given, given->size, sizeof(size_t), sizeof *options))
        return mg__fail(MEMGUARD_ERR_ARGUMENT, 0,
                        "options: size %zu is not a version of the struct, or its tail is not zero", given->size);
    memcpy(options, given, mg__min_size(given->size, sizeof *options));
    return check_options(options);
}

/* ---- backends ---- */

static const char *const backend_names[] = {"auto", "secretmem", "locked", "plain"};

static bool breaks_require(uint32_t backend, uint32_t require) {
    const bool unlocked = backend == MEMGUARD_BACKEND_PLAIN && (require & MEMGUARD_PROTECT_LOCKED) != 0;
    const bool visible = backend >= MEMGUARD_BACKEND_LOCKED && (require & MEMGUARD_PROTECT_HIDDEN) != 0;
    return unlocked || visible;
}

/* The environment may choose, unless that would break `require`. */
static memguard_status read_environment(memguard_options *options) {
    const char *name = mg__sys_environment("MEMGUARD_BACKEND");
    if (name == NULL || name[0] == '\0') return MEMGUARD_OK;
    for (uint32_t i = 0; i < 4; i++) {
        if (strcmp(name, backend_names[i]) != 0) continue;
        const bool breaks_policy = options->fork_policy == MEMGUARD_FORK_COPY && i == MEMGUARD_BACKEND_SECRETMEM;
        if (!breaks_policy && !breaks_require(i, options->require)) options->backend = i;
        return MEMGUARD_OK;
    }
    return mg__fail(MEMGUARD_ERR_ARGUMENT, 0,
                    "the environment variable MEMGUARD_BACKEND is '%.32s': auto, secretmem, locked or plain", name);
}

static memguard_status try_kind(struct mg__vault *vault, enum mg__kind kind, uint32_t backend) {
    vault->kind = kind;
    vault->backend = backend;
    return mg__bank_probe(kind, &vault->protections);
}

/* A kind of pages that cannot be had at all is UNSUPPORTED; one that cannot be had now keeps its own status. */
static memguard_status try_secretmem(struct mg__vault *vault) {
    const memguard_status status = try_kind(vault, MG_KIND_SECRETMEM, MEMGUARD_BACKEND_SECRETMEM);
    memguard_error error = MEMGUARD_ERROR_INIT;
    if (status != MEMGUARD_ERR_SYSTEM || memguard_last_error(&error) != MEMGUARD_OK ||
        !mg__sys_is_absent(error.os_error))
        return status;
    return mg__fail(MEMGUARD_ERR_UNSUPPORTED, error.os_error, "memfd_secret(2) is not to be had here (errno %d)",
                    error.os_error);
}

static memguard_status choose_auto(struct mg__vault *vault, uint32_t require) {
    const bool must_hide = (require & MEMGUARD_PROTECT_HIDDEN) != 0;
    if (must_hide || !mg__sys_hibernation_configured()) {
        const memguard_status status = try_secretmem(vault);
        /* Only a missing feature is a reason for less: what is exhausted now is an error, not a weaker vault for
         * ever. */
        if (status != MEMGUARD_ERR_UNSUPPORTED || must_hide) return status;
    }
    return try_kind(vault, MG_KIND_LOCKED, MEMGUARD_BACKEND_LOCKED);
}

static memguard_status choose_copied(struct mg__vault *vault, uint32_t backend) {
    if (backend == MEMGUARD_BACKEND_PLAIN) return try_kind(vault, MG_KIND_PLAIN_COPIED, backend);
    return try_kind(vault, MG_KIND_LOCKED_COPIED, MEMGUARD_BACKEND_LOCKED);
}

static memguard_status choose_backend(struct mg__vault *vault, const memguard_options *options) {
    if (options->fork_policy == MEMGUARD_FORK_COPY) return choose_copied(vault, options->backend);
    switch (options->backend) {
    case MEMGUARD_BACKEND_AUTO:
        return choose_auto(vault, options->require);
    case MEMGUARD_BACKEND_SECRETMEM:
        return try_secretmem(vault);
    case MEMGUARD_BACKEND_LOCKED:
        return try_kind(vault, MG_KIND_LOCKED, MEMGUARD_BACKEND_LOCKED);
    default:
        return try_kind(vault, MG_KIND_PLAIN, MEMGUARD_BACKEND_PLAIN);
    }
}

static const char *protection_name(uint32_t bit) {
    static const char *const names[] = {"LOCKED", "HIDDEN", "NODUMP", "NOFORK", "NOMERGE", "REVOKE", "SCRUB", "TIMER"};
    size_t i = 0;
    while (i < 7 && (bit & 1U) == 0) {
        bit >>= 1;
        i++;
    }
    return names[i];
}

static memguard_status check_required(const struct mg__vault *vault, uint32_t require) {
    const uint32_t missing = require & ~vault->protections;
    if (missing == 0) return MEMGUARD_OK;
    return mg__fail(MEMGUARD_ERR_UNSUPPORTED, 0, "required protection %s is not given here by the backend %s",
                    protection_name(missing), backend_names[vault->backend]);
}

/* ---- making ---- */

/* Everything of the process that vaults need; each part is idempotent. */
static memguard_status start_process(void) {
    const int error = mg__sys_fork_mark();
    if (error != 0) return mg__budget_fail(MG_KIND_PLAIN, error, mg__sys_page());
    memguard_status status = mg__bank_start();
    if (status == MEMGUARD_OK) status = mg__crypto_start();
    if (status == MEMGUARD_OK) status = mg__thread_start();
    if (status == MEMGUARD_OK) status = mg__prefix_start();
    return status;
}

static struct mg__vault *make_struct(memguard_status *status) {
    if (made >= MG_VAULTS) {
        *status = mg__fail(MEMGUARD_ERR_LIMIT, 0, "%d vaults are alive, which is the most", MG_VAULTS);
        return NULL;
    }
    struct mg__vault *vault = calloc(1, sizeof *vault);
    if (vault == NULL) {
        *status = mg__fail_plain(MEMGUARD_ERR_MEMORY);
        return NULL;
    }
    vault->index = made;
    atomic_store(&vault->mark, made + 1);
    atomic_store_explicit(&mg__vaults[made++], vault, memory_order_release);
    return vault;
}

/* A struct that nobody uses, marked as being made (it has no token yet). Under the registry's
 * mutex. */
static struct mg__vault *take_struct(memguard_status *status) {
    for (uint32_t i = 0; i < made; i++) {
        struct mg__vault *vault = mg__vault_by_index(i);
        if (!mg__vault_alive(vault)) return vault;
    }
    return make_struct(status);
}

static void apply_options(struct mg__vault *vault, const memguard_options *options) {
    struct mg__coffer_policy *policy = &vault->coffer.policy;
    const size_t default_prekey = mg__budget_share(16, 4096, 16384);
    vault->flags = options->flags;
    vault->idle_ms = options->idle_ms;
    vault->on_corruption = options->on_corruption;
    vault->on_corruption_arg = options->on_corruption_arg;
    policy->kind = vault->kind;
    policy->prekey_may_shrink = options->prekey_bytes == 0;
    policy->prekey_bytes = options->prekey_bytes != 0 ? options->prekey_bytes : 4096;
    while (options->prekey_bytes == 0 && policy->prekey_bytes * 2 <= default_prekey)
        policy->prekey_bytes *= 2;
    policy->strict_signals = (options->flags & MEMGUARD_STRICT_SIGNALS) != 0;
    atomic_store(&policy->strict, (options->flags & (MEMGUARD_STRICT | MEMGUARD_NO_THREAD)) != 0);
    policy->lease_ns = (options->lease_us != 0 ? options->lease_us : 2000U) * 1000ULL;
    policy->rekey_ns = (options->rekey_ms != 0 ? options->rekey_ms : 500U) * 1000000ULL;
    if (mg__arch_has_private_stacks()) vault->protections |= MEMGUARD_PROTECT_SCRUB;
    if ((options->flags & MEMGUARD_NO_THREAD) == 0) vault->protections |= MEMGUARD_PROTECT_TIMER;
}

static void reset_figures(struct mg__vault *vault) {
    vault->coffer.leases = vault->coffer.seen_leases = vault->coffer.leased_ns = vault->coffer.longest_lease_ns = 0;
    vault->coffer.rekeys = vault->coffer.rekey_failures = 0;
    vault->coffer.came_soon = false;
    atomic_store(&vault->furnished, 0);
    atomic_store(&vault->quick, 0);
    atomic_store(&vault->next_sweep_ms, UINT64_MAX);
    vault->deferrer_count = 0;
    atomic_store(&vault->purge, MG_PURGE_NONE);
    atomic_store(&vault->purges, 0);
    atomic_store(&vault->revoked, 0);
    atomic_store(&vault->unrevoked_borrows, 0);
    atomic_store(&vault->auth_failures, 0);
    vault->made_ns = mg__sys_now_ns();
}

/* Makes one bench and one use page sure, so that a vault that exists can open its secrets. */
static memguard_status make_benches(struct mg__vault *vault) {
    memguard_status status = mg__bench_count() == 0 ? mg__bench_prepare(vault->kind, 1) : MEMGUARD_OK;
    struct mg__bench *bench = NULL;
    if (status == MEMGUARD_OK) status = mg__bench_take(vault->kind, &bench);
    if (status != MEMGUARD_OK) return status;
    mg__bench_give(vault->kind, bench);
    struct mg__use_page *page = mg__use_page_take(vault->kind);
    if (page == NULL) return mg__use_page_prepare(vault->kind, 1);
    mg__use_page_give(page, 0);
    return MEMGUARD_OK;
}

static memguard_status furnish(struct mg__vault *vault, const memguard_options *options) {
    memguard_status status = choose_backend(vault, options);
    if (status != MEMGUARD_OK) return status;
    mg__mutex_lock(&vault->coffer.mutex); /* the housekeeper may still be looking at the vault that was here before */
    apply_options(vault, options);
    reset_figures(vault);
    mg__mutex_unlock(&vault->coffer.mutex);
    status = check_required(vault, options->require);
    if (status == MEMGUARD_OK) status = mg__coffer_fill(&vault->coffer);
    if (status == MEMGUARD_OK) status = make_benches(vault);
    if (status == MEMGUARD_OK) status = mg__compact_create(vault->kind, &vault->arena);
    if (status != MEMGUARD_OK) mg__coffer_close(&vault->coffer);
    return status;
}

static bool wants_thread(const struct mg__vault *vault) { return (vault->flags & MEMGUARD_NO_THREAD) == 0; }

static void unfurnish(struct mg__vault *vault) {
    mg__coffer_close(&vault->coffer);
    mg__threads_forget_slots(vault->arena);
    mg__compact_destroy(vault->arena);
    vault->arena = NULL;
}

static uintptr_t next_token(struct mg__vault *vault) {
    const uintptr_t generation = ++vault->generation;
    return (generation << (MG_TOKEN_INDEX_BITS + 2)) | ((uintptr_t)vault->index << 2) | 2;
}

static memguard_status create(const memguard_options *options, struct mg__vault **made_vault) {
    memguard_status status = MEMGUARD_OK;
    struct mg__vault *vault = take_struct(&status);
    if (vault == NULL) return status;
    status = furnish(vault, options);
    if (status == MEMGUARD_OK && wants_thread(vault) && alive == 0) {
        status = mg__housekeeper_start();
        if (status != MEMGUARD_OK) unfurnish(vault);
    }
    if (status != MEMGUARD_OK) return status;
    if (wants_thread(vault)) alive++;
    if (mg__kind_is_copied(vault->kind)) atomic_fetch_add(&mg__fork_copies, 1);
    atomic_store(&vault->gate, MG_GATE_OPEN);
    atomic_store(&vault->token, next_token(vault));
    *made_vault = vault;
    return MEMGUARD_OK;
}

static memguard_status raise_limit(void) {
    const int error = mg__sys_raise_lock_limit();
    if (error == 0) return MEMGUARD_OK;
    return mg__fail(MEMGUARD_ERR_SYSTEM, error, "RLIMIT_MEMLOCK could not be raised to its hard limit (errno %d)",
                    error);
}

/* A call of its own: noted, when the process has just become a copier. */
static memguard_status create_noted(const memguard_options *options, memguard_vault **vault) {
    struct mg__vault *created = NULL;
    MG_REFUSE_FORKED();
    mg__mutex_lock(&registry);
    const memguard_status status = create(options, &created);
    mg__mutex_unlock(&registry);
    if (status == MEMGUARD_OK) *vault = mg__vault_token(created);
    return status;
}

memguard_status memguard_vault_create(const memguard_options *given, memguard_vault **vault) {
    memguard_options options;
    if (vault == NULL) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    *vault = NULL;
    MG_REFUSE_FORKED();
    memguard_status status = read_options(given, &options);
    if (status == MEMGUARD_OK) status = read_environment(&options);
    if (status == MEMGUARD_OK) status = start_process();
    if (status == MEMGUARD_OK && options.fork_policy == MEMGUARD_FORK_COPY) status = mg__fork_enable();
    if (status == MEMGUARD_OK && (options.flags & MEMGUARD_RAISE_LIMIT) != 0) status = raise_limit();
    return status == MEMGUARD_OK ? create_noted(&options, vault) : status;
}

/* ---- forks ---- */

bool mg__vaults_are_unlocked(void) { return mg__mutex_is_free(&registry); }

/* A struct without a vault in it may have been in the hands of a thread that is not here: as good as new. */
static void leave_behind(struct mg__vault *vault) {
    if (!mg__vault_alive(vault)) {
        atomic_store(&vault->control.state, 0);
        memset((void *)&vault->coffer, 0, sizeof vault->coffer);
        memset((void *)&vault->windows, 0, sizeof vault->windows);
        vault->arena = NULL;
    } else if (!mg__kind_is_copied(vault->kind)) {
        mg__threads_forget_slots(vault->arena);
        atomic_store(&vault->gate, MG_GATE_FORKED);
        atomic_store(&vault->purge, MG_PURGE_NONE);
    }
}

void mg__vaults_leave_behind(void) {
    mg__mutex_lock(&registry);
    alive = 0;
    for (uint32_t i = 0; i < made; i++) {
        struct mg__vault *vault = mg__vault_by_index(i);
        leave_behind(vault);
        if (mg__vault_is_here(vault) && wants_thread(vault)) alive++;
    }
    mg__mutex_unlock(&registry);
}

memguard_status mg__vaults_keep_house(void) {
    mg__mutex_lock(&registry);
    const memguard_status status = alive > 0 ? mg__housekeeper_start() : MEMGUARD_OK;
    mg__mutex_unlock(&registry);
    return status;
}

/* ---- ending ---- */

void mg__vault_close_all(void) {
    for (uint32_t i = 0; i < MG_VAULTS; i++) {
        struct mg__vault *vault = mg__vault_by_index(i);
        if (vault == NULL) return; /* structs are made one after another */
        if (atomic_load(&vault->gate) != MG_GATE_FORKED) atomic_store(&vault->gate, MG_GATE_NO_KEY);
    }
}

/* True when a secret of the vault is in the host's hands. With the gate closed: waits for the library's own short
 * work, which may be about to put one there. */
static bool anything_borrowed(const struct mg__vault *vault, bool gate_closed) {
    const uint32_t count = mg__table_count();
    for (uint32_t i = 0; i < count; i++) {
        struct mg__entry *entry = mg__entry_by_index(i);
        if (!mg__entry_is_of(entry, vault->index)) continue;
        unsigned step = 0;
        for (;;) {
            const uint64_t word = atomic_load(&entry->word);
            const bool revoked = (word & MG_WORD_R) != 0; /* then nobody has anything of it any more */
            if (revoked && !mg__word_is_being_revoked(word)) break;
            if (!revoked && mg__word_held(word) != 0) return true;
            if (!gate_closed || mg__word_pins(word) == 0 || !mg__entry_is_of(entry, vault->index)) break;
            mg__sys_backoff(&step);
        }
    }
    return gate_closed ? mg__light_settles_held(vault) : mg__light_count_in(vault) != 0;
}

static memguard_status borrowed(void) { return mg__fail(MEMGUARD_ERR_BUSY, 0, "secrets of the vault are borrowed"); }

static memguard_status close_gate(struct mg__vault *vault, uint32_t *before) {
    *before = atomic_load(&vault->gate);
    if (*before == MG_GATE_PURGING) return mg__fail(MEMGUARD_ERR_BUSY, 0, "the vault is being purged");
    /* First with the gate as it is: a call that is refused for a borrow that lasts disturbs nobody. */
    if (anything_borrowed(vault, false)) return borrowed();
    atomic_store(&vault->gate, MG_GATE_CHANGING);
    mg__makers_await(vault); /* and light readers are in sight: it fences */
    if (!anything_borrowed(vault, true)) return MEMGUARD_OK;
    atomic_store(&vault->gate, *before);
    return borrowed();
}

/* The host's function runs without our mutex: whoever comes meanwhile finds a purge at work. */
static void tell_end(struct mg__vault *vault) {
    void (*tell)(struct mg__vault *) = atomic_load(&mg__vault_on_end);
    if (MG_LIKELY(tell == NULL)) return;
    atomic_store(&vault->gate, MG_GATE_PURGING);
    atomic_store(&vault->purge, MG_PURGE_RUNNING);
    mg__mutex_unlock(&vault->control);
    tell(vault);
    mg__mutex_lock(&vault->control);
    vault->purge_result = MEMGUARD_OK;
    atomic_store(&vault->purge, MG_PURGE_NONE);
}

memguard_status memguard_vault_destroy(memguard_vault **token) {
    struct mg__vault *vault = NULL;
    uint32_t before = 0;
    if (token == NULL) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    MG_REFUSE_FORKED();
    if (*token == NULL) return MEMGUARD_OK;
    memguard_status status = mg__vault_enter(*token, &vault);
    if (status != MEMGUARD_OK) return status;
    const bool had_thread = wants_thread(vault);
    status = close_gate(vault, &before);
    if (status == MEMGUARD_OK) {
        tell_end(vault);
        /* Nothing is in the host's hands and the gate is closed: nothing can be revoked here. */
        atomic_store(&vault->purge_until_ns, UINT64_MAX);
        uint64_t revoked = 0;
        status = mg__purge_secrets(vault, &revoked);
        unfurnish(vault);
        mg__vault_renew_mark(vault);
        if (mg__kind_is_copied(vault->kind)) atomic_fetch_sub(&mg__fork_copies, 1);
        atomic_store(&vault->token, 0); /* last: from here on the struct may be made anew */
        *token = NULL;
    }
    mg__vault_leave(vault);
    if (status != MEMGUARD_OK || !had_thread) return status;
    mg__mutex_lock(&registry);
    if (--alive == 0) mg__housekeeper_stop();
    mg__mutex_unlock(&registry);
    return status;
}

/* ---- lock and unlock ---- */

/* Waits for those who knock at the closed gate, and are pinned while they do. false: no secret of the vault. */
static bool seize_for_sealing(const struct mg__vault *vault, struct mg__entry *entry) {
    unsigned step = 0;
    for (;; mg__sys_backoff(&step)) {
        const uint64_t word = atomic_load(&entry->word);
        if (!mg__entry_is_of(entry, vault->index) || (word & MG_WORD_L) == 0 || (word & MG_WORD_R) != 0) return false;
        if (!mg__entry_seize_idle(entry, word, MG_WORD_V)) continue; /* nothing is borrowed */
        if (mg__entry_is_of(entry, vault->index)) return true;
        mg__secret_after(entry, mg__entry_unseize(entry));
    }
}

/* Seals what rests open. Called with the gate closed and nothing borrowed. */
static memguard_status seal_everything(struct mg__vault *vault) {
    const uint32_t count = mg__table_count();
    memguard_status status = MEMGUARD_OK;
    for (uint32_t i = 0; status == MEMGUARD_OK && i < count; i++) {
        struct mg__entry *entry = mg__entry_by_index(i);
        if (!seize_for_sealing(vault, entry)) continue;
        status = mg__secret_change_rest(vault, entry, MEMGUARD_SEALED);
        mg__secret_after(entry, mg__entry_unseize(entry));
    }
    return status;
}

memguard_status memguard_vault_lock(memguard_vault *token, const uint8_t kek[32]) {
    struct mg__vault *vault = NULL;
    uint32_t before = 0;
    MG_REFUSE_FORKED();
    if (token == NULL || kek == NULL) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    memguard_status status = mg__vault_enter(token, &vault);
    if (status != MEMGUARD_OK) return status;
    if (atomic_load(&vault->gate) == MG_GATE_LOCKED || atomic_load(&vault->gate) == MG_GATE_NO_KEY)
        status = mg__fail(MEMGUARD_ERR_STATE, 0, "the vault is locked already, or has no key to lock");
    if (status == MEMGUARD_OK) status = close_gate(vault, &before);
    if (status == MEMGUARD_OK) {
        status = seal_everything(vault);
        if (status == MEMGUARD_OK) status = mg__coffer_wrap(&vault->coffer, kek);
        atomic_store(&vault->gate, status == MEMGUARD_OK ? (uint32_t)MG_GATE_LOCKED : before);
    }
    mg__vault_leave(vault);
    return status;
}

/* The control mutex of a locked vault; any other status: not taken. */
static memguard_status enter_locked(memguard_vault *token, struct mg__vault **vault) {
    const memguard_status status = mg__vault_enter(token, vault);
    if (status != MEMGUARD_OK) return status;
    const uint32_t gate = atomic_load(&(*vault)->gate);
    if (gate == MG_GATE_LOCKED) return MEMGUARD_OK;
    mg__vault_leave(*vault);
    if (gate == MG_GATE_PURGING) return mg__fail(MEMGUARD_ERR_BUSY, 0, "the vault is being purged");
    return mg__fail(MEMGUARD_ERR_STATE, 0, "the vault is not locked");
}

memguard_status memguard_vault_unlock(memguard_vault *token, const uint8_t kek[32]) {
    struct mg__vault *vault = NULL;
    MG_REFUSE_FORKED();
    if (token == NULL || kek == NULL) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    memguard_status status = enter_locked(token, &vault);
    if (status != MEMGUARD_OK) return status;
    status = mg__coffer_unwrap(&vault->coffer, kek);
    if (status == MEMGUARD_OK) atomic_store(&vault->gate, MG_GATE_OPEN);
    mg__vault_leave(vault);
    return status;
}

memguard_status memguard_vault_rewrap(memguard_vault *token, const uint8_t kek[32], const uint8_t new_kek[32]) {
    struct mg__vault *vault = NULL;
    MG_REFUSE_FORKED();
    if (token == NULL || kek == NULL || new_kek == NULL) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    memguard_status status = enter_locked(token, &vault);
    if (status != MEMGUARD_OK) return status;
    status = mg__coffer_rewrap(&vault->coffer, kek, new_kek);
    mg__vault_leave(vault);
    return status;
}

/* ---- prepare, tick, report ---- */

/* Looks first whether all of it can be locked, so that a refusal leaves no half of it behind. */
static memguard_status prepare(enum mg__kind kind, size_t slots, unsigned parallel) {
    struct mg__bank_figures figures;
    mg__bank_figures(kind, &figures);
    const uint64_t more_slots = slots > figures.free_slots ? slots - figures.free_slots : 0;
    memguard_status status =
        mg__budget_check(kind, mg__bench_prepare_bytes(kind, parallel) + mg__use_page_prepare_bytes(kind, parallel) +
                                   more_slots * mg__sys_page());
    if (status == MEMGUARD_OK) status = mg__bench_prepare(kind, parallel);
    if (status == MEMGUARD_OK) status = mg__use_page_prepare(kind, parallel);
    if (status == MEMGUARD_OK) status = mg__bank_reserve(kind, slots);
    if (status != MEMGUARD_OK || parallel == 0) return status;
    mg__bench_fix_number(kind);
    mg__use_page_fix_number(kind);
    return status;
}

memguard_status memguard_vault_prepare(memguard_vault *token, size_t open_bytes, unsigned parallel) {
    struct mg__vault *vault = NULL;
    MG_REFUSE_FORKED();
    if (token == NULL) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    if (open_bytes > MEMGUARD_SIZE_MAX) return mg__fail_plain(MEMGUARD_ERR_SIZE);
    memguard_status status = mg__vault_enter(token, &vault);
    if (status != MEMGUARD_OK) return status;
    status = mg__coffer_prepare(&vault->coffer);
    if (status == MEMGUARD_OK)
        status = prepare(vault->kind, (open_bytes + mg__sys_page() - 1) / mg__sys_page(), parallel);
    mg__vault_leave(vault);
    return status;
}

memguard_status memguard_vault_tick(memguard_vault *token, uint32_t *next_ms) {
    struct mg__vault *vault = NULL;
    MG_REFUSE_FORKED();
    if (next_ms != NULL) *next_ms = 0;
    if (token == NULL) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    const memguard_status status = mg__vault_enter(token, &vault);
    if (status != MEMGUARD_OK) return status;
    const uint64_t now = mg__sys_now_ns();
    if ((vault->flags & MEMGUARD_STRICT) == 0) atomic_store(&vault->coffer.policy.strict, false);
    const uint64_t due = mg__housekeeper_tend(vault, now);
    mg__vault_leave(vault);
    if (next_ms != NULL) {
        const uint64_t ms = due <= now ? 0 : (due - now) / 1000000U + 1;
        *next_ms = due == UINT64_MAX || ms > UINT32_MAX ? UINT32_MAX : (uint32_t)ms;
    }
    return status;
}

static void count_chunked(const struct mg__entry *entry, memguard_report *report) {
    const bool stream = mg__entry_object(entry) == MG_OBJECT_STREAM;
    const uint64_t bytes = mg__entry_bytes(entry);
    *(stream ? &report->streams : &report->larges) += 1;
    *(stream ? &report->stream_bytes : &report->large_bytes) += bytes;
}

static void count_secrets(const struct mg__vault *vault, memguard_report *report) {
    const uint32_t count = mg__table_count();
    report->borrows += mg__light_count_in(vault);
    for (uint32_t i = 0; i < count; i++) {
        const struct mg__entry *entry = mg__entry_by_index(i);
        if (!mg__entry_is_of(entry, vault->index)) continue;
        const uint64_t word = atomic_load_explicit(&entry->word, memory_order_acquire);
        const unsigned rest = mg__entry_rest(entry) & MEMGUARD_REST_MASK;
        const size_t bytes = mg__entry_bytes(entry);
        if ((word & (MG_WORD_L | MG_WORD_R)) != MG_WORD_L) continue;
        if ((atomic_load(&entry->word) ^ word) >> 32 != 0) continue; /* it has ended: what was read was no size */
        report->borrows += mg__word_held(word);
        if ((word & MG_WORD_D) != 0) continue;
        if (mg__entry_is_chunked(entry)) {
            count_chunked(entry, report);
            continue;
        }
        if (bytes == 0) continue; /* just being made */
        report->secrets[rest]++;
        report->secret_bytes[rest] += bytes;
    }
}

static void describe_coffer(struct mg__vault *vault, memguard_report *report) {
    struct mg__coffer *coffer = &vault->coffer;
    mg__mutex_lock(&coffer->mutex);
    report->prekey_bytes = coffer->policy.prekey_bytes;
    report->strict = atomic_load(&coffer->policy.strict);
    report->leases = coffer->leases;
    report->leased_ns = coffer->leased_ns;
    report->longest_lease_ns = coffer->longest_lease_ns;
    report->rekeys = coffer->rekeys;
    report->rekey_failures = coffer->rekey_failures;
    report->age_ns = mg__sys_now_ns() - vault->made_ns;
    mg__mutex_unlock(&coffer->mutex);
}

static void describe_process(const struct mg__vault *vault, memguard_report *report) {
    struct mg__bank_figures figures;
    mg__bank_figures(vault->kind, &figures);
    report->lock_limit_bytes = mg__sys_lock_limit();
    report->lock_in_use_bytes = mg__budget_in_use();
    report->benches = mg__bench_count();
    report->use_pages = mg__use_page_count();
    report->use_waits = mg__use_page_waits();
    report->guarded_slots = figures.slots;
    report->guarded_free = figures.free_slots;
    report->page_runs = figures.runs;
    report->page_run_bytes = figures.run_bytes;
}

memguard_status memguard_vault_report(memguard_vault *token, memguard_report *given) {
    struct mg__vault *vault = NULL;
    memguard_report report = {0};
    MG_REFUSE_FORKED();
    if (token == NULL || given == NULL) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    const size_t size = given->size;
    if (!mg__out_struct_fits(size)) return mg__fail(MEMGUARD_ERR_ARGUMENT, 0, "report: size %zu is no size", size);
    mg__out_struct(given, size, &report, sizeof report);
    const memguard_status status = mg__vault_enter(token, &vault);
    if (status != MEMGUARD_OK) return status;
    report.backend = vault->backend;
    report.protections = vault->protections;
    report.locked = atomic_load(&vault->gate) == MG_GATE_LOCKED;
    report.purges = atomic_load(&vault->purges);
    report.revoked = atomic_load(&vault->revoked);
    report.unrevoked = atomic_load(&vault->unrevoked_borrows);
    report.auth_failures = atomic_load(&vault->auth_failures);
    report.compact_pages = mg__compact_pages(vault->arena);
    describe_coffer(vault, &report);
    describe_process(vault, &report);
    count_secrets(vault, &report);
    mg__vault_leave(vault);
    mg__out_struct(given, size, &report, sizeof report);
    return MEMGUARD_OK;
}
