/* test_states.c: what every operation answers in every state: one table. Then the rules about handles, vault pointers,
 * views, struct sizes, null pointers and the last error. */
#define _GNU_SOURCE
#include "api/support.h"

enum { SIZE = 64, SEED = 11, OTHER_SEED = 12 };

/* ---- the table ----------------------------------------------------------------------------------------- */

enum operation {
    OP_USE, OP_READ, OP_WRITE, OP_SAME_REST, OP_OTHER_REST, OP_FREEZE, OP_MELT, OP_RESIZE, OP_REPLACE,
    OP_COPY_AT, OP_MOVE_AT, OP_SCRAMBLE, OP_ZERO, OP_EQUAL, OP_LIMIT, OP_INFO, OP_DESTROY, OPS
};
static const char *const op_names[OPS] = {
    "use", "acquire READ", "acquire WRITE", "rest (same)", "rest (other)", "freeze", "melt", "resize", "replace",
    "copy_at", "move_at", "scramble", "zero", "equal", "limit", "info", "destroy"};

enum state {
    IS_FRESH, IS_FROZEN, IS_READ, IS_WRITTEN, IS_LOCKED, IS_USED_UP, IS_TIMED_OUT, IS_NULL, IS_MADE_UP, IS_DESTROYED,
    IS_DYING, IS_PURGED, IS_WITHOUT_VAULT, IS_SCOPE, STATES
};
static const char *const state_names[STATES] = {"fresh", "frozen", "READ-borrowed", "WRITE-borrowed", "vault locked",
                                                "used up", "timed out", "null", "made up", "destroyed",
                                                "destroyed while borrowed", "purged", "vault destroyed", "a scope"};

/* O: OK, Z: ERR_FROZEN, B: ERR_BUSY, L: ERR_LOCKED, E: ERR_EXPIRED, S: ERR_STALE;
 * b: OK or ERR_BUSY, l: OK or ERR_LOCKED, e: OK or ERR_EXPIRED (where the header leaves it open). The columns are
 * use, READ, WRITE, same rest, other rest, freeze, melt, resize, replace, copy_at, move_at, scramble, zero, equal,
 * limit, info, destroy. */
static const char expected[STATES][OPS + 1] = {
    [IS_FRESH] = "OOOOOOOOOOOOOOOOO",
    [IS_FROZEN] = "OOZOOOOZZZZZZOOOO",
    [IS_READ] = "OOBbBBBBBBBBBObOO",
    [IS_WRITTEN] = "BBBbBBBBBBBBBBbOO",
    [IS_LOCKED] = "LLLlLllLLLLLLLlOO",
    [IS_USED_UP] = "EEEEEEEEEEEEEEEee",
    [IS_TIMED_OUT] = "EEEEEEEEEEEEEEEee",
    [IS_NULL] = "SSSSSSSSSSSSSSSSS",
    [IS_MADE_UP] = "SSSSSSSSSSSSSSSSS",
    [IS_DESTROYED] = "SSSSSSSSSSSSSSSSS",
    [IS_DYING] = "SSSSSSSSSSSSSSSSS",
    [IS_PURGED] = "SSSSSSSSSSSSSSSSS",
    [IS_WITHOUT_VAULT] = "SSSSSSSSSSSSSSSSS",
    [IS_SCOPE] = "SSSSSSSSSSSSSSSSS",
};

static uint32_t allowed(char letter) {
    switch (letter) {
    case 'O': return ANY_OF(OK);
    case 'Z': return ANY_OF(ERR_FROZEN);
    case 'B': return ANY_OF(ERR_BUSY);
    case 'L': return ANY_OF(ERR_LOCKED);
    case 'E': return ANY_OF(ERR_EXPIRED);
    case 'S': return ANY_OF(ERR_STALE);
    case 'b': return ANY_OF(OK) | ANY_OF(ERR_BUSY);
    case 'l': return ANY_OF(OK) | ANY_OF(ERR_LOCKED);
    case 'e': return ANY_OF(OK) | ANY_OF(ERR_EXPIRED);
    default: return 0;
    }
}

/* A secret in a state, with what holds it there. */
typedef struct patient {
    memguard_vault *vault;
    memguard_scope scope;
    memguard_secret secret;
    memguard_view view;
} patient;

static void exhaust(patient *p) {
    memguard_limits limits = MEMGUARD_LIMITS_INIT;
    limits.uses = 1;
    CHECK_STATUS(memguard_secret_limit(p->secret, &limits), MEMGUARD_OK);
    CHECK_STATUS(memguard_secret_use(p->secret, show_nothing, NULL, NULL), MEMGUARD_OK);
}

static void time_out(patient *p) {
    memguard_limits limits = MEMGUARD_LIMITS_INIT;
    limits.ttl_ms = 1;
    CHECK_STATUS(memguard_secret_limit(p->secret, &limits), MEMGUARD_OK);
    for (uint64_t end = now_ms() + 3; now_ms() <= end;) sleep_ms(1);
}

static void bring_into(patient *p, enum state state) {
    memguard_secret copy = p->secret;
    switch (state) {
    case IS_FROZEN: CHECK_STATUS(memguard_secret_freeze(p->secret), MEMGUARD_OK); break;
    case IS_READ: p->view = borrow(p->secret, MEMGUARD_READ); break;
    case IS_WRITTEN: p->view = borrow(p->secret, MEMGUARD_WRITE); break;
    case IS_LOCKED: CHECK_STATUS(memguard_vault_lock(p->vault, right_kek), MEMGUARD_OK); break;
    case IS_USED_UP: exhaust(p); break;
    case IS_TIMED_OUT: time_out(p); break;
    case IS_NULL: p->secret.id = 0; break;
    case IS_MADE_UP: p->secret.id ^= (uint64_t)1 << 63; break;
    case IS_DESTROYED: CHECK_STATUS(memguard_secret_destroy(&copy), MEMGUARD_OK); break;
    case IS_DYING:
        p->view = borrow(p->secret, MEMGUARD_READ);
        CHECK_STATUS(memguard_secret_destroy(&copy), MEMGUARD_OK);
        break;
    case IS_PURGED: CHECK_STATUS(memguard_vault_purge(p->vault, 0), MEMGUARD_OK); break;
    case IS_WITHOUT_VAULT: CHECK_STATUS(memguard_vault_destroy(&p->vault), MEMGUARD_OK); break;
    case IS_SCOPE: p->secret.id = p->scope.id; break;
    default: break;
    }
}

static patient admit(enum state state) {
    patient p = {NULL, {0}, {0}, {NULL, 0, {0, 0}}};
    p.vault = vault_with_flags(MEMGUARD_NO_THREAD);
    CHECK_STATUS(memguard_scope_create(p.vault, &p.scope), MEMGUARD_OK);
    p.secret = secret_make(p.vault, SIZE, MEMGUARD_SEALED | MEMGUARD_KEEP, SEED);
    bring_into(&p, state);
    return p;
}

static void discharge(patient *p) {
    CHECK_STATUS(memguard_view_release(&p->view), MEMGUARD_OK);
    vault_end(p->vault);
}

static memguard_status acquire_once(memguard_secret secret, uint32_t access) {
    memguard_view view = {(void *)&view, 1, {1, 1}};
    memguard_status status = memguard_secret_acquire(secret, access, &view);
    if (status != MEMGUARD_OK) {
        CHECK(view.data == NULL && view.size == 0 && view.pin[0] == 0 && view.pin[1] == 0);
    } else {
        CHECK_STATUS(memguard_view_release(&view), MEMGUARD_OK);
    }
    return status;
}

/* replace and move_at wipe their source in every case that occurs here, copy_at never. */
static memguard_status put(memguard_secret secret, enum operation op) {
    unsigned char source[SIZE];
    memguard_status status;
    fill(source, SIZE, OTHER_SEED);
    if (op == OP_REPLACE) {
        status = memguard_secret_replace(secret, source, SIZE);
    } else if (op == OP_MOVE_AT) {
        status = memguard_secret_move_at(secret, 0, source, SIZE);
    } else {
        status = memguard_secret_copy_at(secret, 0, source, SIZE);
    }
    CHECK(op == OP_COPY_AT ? is_pattern(source, SIZE, OTHER_SEED) : is_zero(source, SIZE));
    return status;
}

static memguard_status compare(memguard_secret secret) {
    unsigned char same[SIZE];
    fill(same, SIZE, SEED);
    return memguard_secret_equal(secret, same, SIZE);
}

static memguard_status set_limit(memguard_secret secret) {
    memguard_limits limits = MEMGUARD_LIMITS_INIT;
    limits.uses = 1000;
    return memguard_secret_limit(secret, &limits);
}

static memguard_status operate(memguard_secret secret, enum operation op) {
    switch (op) {
    case OP_USE: return memguard_secret_use(secret, show_nothing, NULL, NULL);
    case OP_READ: return acquire_once(secret, MEMGUARD_READ);
    case OP_WRITE: return acquire_once(secret, MEMGUARD_WRITE);
    case OP_SAME_REST: return memguard_secret_rest(secret, MEMGUARD_SEALED);
    case OP_OTHER_REST: return memguard_secret_rest(secret, MEMGUARD_CLOSED);
    case OP_FREEZE: return memguard_secret_freeze(secret);
    case OP_MELT: return memguard_secret_melt(secret);
    case OP_RESIZE: return memguard_secret_resize(secret, SIZE + 1);
    case OP_REPLACE:
    case OP_COPY_AT:
    case OP_MOVE_AT: return put(secret, op);
    case OP_SCRAMBLE: return memguard_secret_scramble(secret);
    case OP_ZERO: return memguard_secret_zero(secret);
    case OP_EQUAL: return compare(secret);
    case OP_LIMIT: return set_limit(secret);
    case OP_INFO: return life(secret);
    default: return memguard_secret_destroy(&secret);
    }
}

/* A failed call has changed nothing: the bytes, the size and the rest are the old ones once the state is left. */
static void check_unchanged(patient *p, enum state state) {
    memguard_info info = MEMGUARD_INFO_INIT;
    if (state == IS_LOCKED) CHECK_STATUS(memguard_vault_unlock(p->vault, right_kek), MEMGUARD_OK);
    CHECK_STATUS(memguard_view_release(&p->view), MEMGUARD_OK);
    CHECK_STATUS(memguard_secret_info(p->secret, &info), MEMGUARD_OK);
    CHECK(info.rest == MEMGUARD_SEALED && info.bytes == SIZE && info.borrows == 0);
    CHECK(info.flags == (state == IS_FROZEN ? MEMGUARD_FROZEN : 0));
    CHECK(holds_pattern(p->secret, SIZE, SEED));
}

static void check_cell(enum state state, enum operation op) {
    patient p = admit(state);
    memguard_status got = operate(p.secret, op);
    memguard_error error = MEMGUARD_ERROR_INIT;
    int good = CHECK_AMONG(got, allowed(expected[state][op]));
    if (got != MEMGUARD_OK) {
        good &= CHECK_STATUS(memguard_last_error(&error), MEMGUARD_OK) & CHECK_STATUS(error.status, got);
        int curable = state == IS_FROZEN || state == IS_READ || state == IS_WRITTEN || state == IS_LOCKED;
        if (curable) check_unchanged(&p, state);
    }
    if (!good) printf("that was: %s, %s\n", state_names[state], op_names[op]);
    discharge(&p);
}

static void check_row(enum state state) {
    for (int op = 0; op < OPS; op++) check_cell(state, (enum operation)op);
}

TEST(every_operation_works_on_a_fresh_secret) { check_row(IS_FRESH); }
TEST(a_frozen_secret_refuses_exactly_the_changes_of_its_bytes) { check_row(IS_FROZEN); }
TEST(a_read_borrow_keeps_changes_out_and_readers_in) { check_row(IS_READ); }
TEST(a_write_borrow_keeps_everyone_out) { check_row(IS_WRITTEN); }
TEST(a_locked_vault_refuses_bytes_but_not_info_and_destroy) { check_row(IS_LOCKED); }
TEST(a_used_up_secret_answers_expired) { check_row(IS_USED_UP); }
TEST(a_timed_out_secret_answers_expired) { check_row(IS_TIMED_OUT); }
TEST(the_null_handle_is_stale_everywhere) { check_row(IS_NULL); }
TEST(a_made_up_handle_is_stale_everywhere) { check_row(IS_MADE_UP); }
TEST(a_destroyed_handle_is_stale_everywhere) { check_row(IS_DESTROYED); }
TEST(a_handle_destroyed_while_borrowed_is_stale_everywhere) { check_row(IS_DYING); }
TEST(a_purged_handle_is_stale_everywhere) { check_row(IS_PURGED); }
TEST(a_handle_whose_vault_is_gone_is_stale_everywhere) { check_row(IS_WITHOUT_VAULT); }
TEST(a_scope_is_no_secret) { check_row(IS_SCOPE); }

/* ---- handles ------------------------------------------------------------------------------------------- */

TEST(no_handle_one_bit_away_names_the_secret) {
    memguard_vault *vault = vault_make();
    memguard_secret secret = secret_make(vault, SIZE, MEMGUARD_COMPACT, SEED);
    for (int bit = 0; bit < 64; bit++) {
        memguard_secret other = {secret.id ^ (uint64_t)1 << bit};
        CHECK_STATUS(life(other), MEMGUARD_ERR_STALE);
        CHECK_STATUS(memguard_secret_destroy(&other), MEMGUARD_ERR_STALE);
    }
    CHECK(holds_pattern(secret, SIZE, SEED));
    vault_end(vault);
}

TEST(no_small_large_or_scattered_number_is_a_handle) {
    memguard_vault *vault = vault_make();
    memguard_secret secret = secret_make(vault, SIZE, MEMGUARD_COMPACT, SEED);
    uint64_t x = 88172645463325252U;
    for (int i = 0; i < 20000; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        memguard_secret guesses[] = {{x}, {(uint64_t)i}, {UINT64_MAX - (uint64_t)i}, {(uint64_t)i << 32}};
        for (size_t g = 0; g < sizeof guesses / sizeof guesses[0]; g++) {
            if (guesses[g].id == secret.id) continue;
            if (!CHECK(life(guesses[g]) == MEMGUARD_ERR_STALE)) return;
        }
    }
    vault_end(vault);
}

TEST(a_second_destroy_is_stale_and_harmless) {
    memguard_vault *vault = vault_make();
    memguard_secret secret = secret_make(vault, SIZE, 0, SEED), copy = secret;
    CHECK_STATUS(memguard_secret_destroy(&secret), MEMGUARD_OK);
    CHECK(secret.id == 0);
    memguard_secret young = secret_make(vault, SIZE, 0, OTHER_SEED);
    CHECK_STATUS(memguard_secret_destroy(&copy), MEMGUARD_ERR_STALE);
    CHECK_STATUS(memguard_secret_destroy(&secret), MEMGUARD_ERR_STALE);
    CHECK(holds_pattern(young, SIZE, OTHER_SEED));
    vault_end(vault);
}

TEST(destroy_while_borrowed_takes_effect_at_the_last_release) {
    memguard_vault *vault = vault_make();
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        memguard_secret secret = secret_make(vault, SIZE, rest, SEED), copy = secret;
        memguard_view first = borrow(secret, MEMGUARD_READ), second = borrow(secret, MEMGUARD_READ);
        CHECK_STATUS(memguard_secret_destroy(&copy), MEMGUARD_OK);
        CHECK(copy.id == 0);
        CHECK_STATUS(memguard_secret_use(secret, show_nothing, NULL, NULL), MEMGUARD_ERR_STALE);
        CHECK(is_pattern(first.data, SIZE, SEED) && is_pattern(second.data, SIZE, SEED));
        give_back(&first);
        CHECK(is_pattern(second.data, SIZE, SEED));
        const void *place = second.data;
        give_back(&second);
        CHECK(rest == MEMGUARD_COMPACT || can_read(place) == 0);
        CHECK(report_of(vault).secrets[rest] == 0);
        CHECK_STATUS(life(secret), MEMGUARD_ERR_STALE);
    }
    vault_end(vault);
}

TEST(freeze_and_melt_are_idempotent) {
    memguard_vault *vault = vault_make();
    memguard_secret secret = secret_make(vault, SIZE, 0, SEED);
    memguard_info info = MEMGUARD_INFO_INIT;
    for (int round = 0; round < 2; round++) {
        CHECK_STATUS(memguard_secret_freeze(secret), MEMGUARD_OK);
        CHECK_STATUS(memguard_secret_info(secret, &info), MEMGUARD_OK);
        CHECK(info.flags == MEMGUARD_FROZEN);
    }
    for (int round = 0; round < 2; round++) {
        CHECK_STATUS(memguard_secret_melt(secret), MEMGUARD_OK);
        CHECK_STATUS(memguard_secret_info(secret, &info), MEMGUARD_OK);
        CHECK(info.flags == 0);
        CHECK_STATUS(memguard_secret_zero(secret), MEMGUARD_OK);
    }
    vault_end(vault);
}

static int show_refuses_changes(const void *bytes, size_t size, void *arg) {
    memguard_secret secret = *(memguard_secret *)arg;
    (void)bytes;
    CHECK_STATUS(memguard_secret_resize(secret, size + 1), MEMGUARD_ERR_BUSY);
    CHECK_STATUS(memguard_secret_zero(secret), MEMGUARD_ERR_BUSY);
    CHECK_STATUS(acquire_once(secret, MEMGUARD_WRITE), MEMGUARD_ERR_BUSY);
    CHECK_STATUS(acquire_once(secret, MEMGUARD_READ), MEMGUARD_OK);
    CHECK(holds_pattern(secret, SIZE, SEED)); /* nested use of the same secret */
    return is_pattern(bytes, size, SEED);
}

TEST(use_is_a_read_borrow_while_its_function_runs) {
    memguard_vault *vault = vault_make();
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        memguard_secret secret = secret_make(vault, SIZE, rest, SEED);
        int still_right = 0;
        CHECK_STATUS(memguard_secret_use(secret, show_refuses_changes, &secret, &still_right), MEMGUARD_OK);
        CHECK(still_right == 1);
        CHECK_STATUS(memguard_secret_resize(secret, SIZE + 1), MEMGUARD_OK);
    }
    vault_end(vault);
}

static int show_destroys(const void *bytes, size_t size, void *arg) {
    CHECK_STATUS(memguard_secret_destroy(arg), MEMGUARD_OK);
    return is_pattern(bytes, size, SEED);
}

TEST(destroy_inside_use_takes_effect_when_the_function_returns) {
    memguard_vault *vault = vault_make();
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        memguard_secret secret = secret_make(vault, SIZE, rest, SEED), copy = secret;
        int still_right = 0;
        CHECK_STATUS(memguard_secret_use(secret, show_destroys, &copy, &still_right), MEMGUARD_OK);
        CHECK(still_right == 1);
        CHECK_STATUS(life(secret), MEMGUARD_ERR_STALE);
        CHECK(report_of(vault).secrets[rest] == 0);
    }
    vault_end(vault);
}

typedef struct nesting {
    memguard_secret *secrets;
    int depth, deepest;
} nesting;
static int show_deeper(const void *bytes, size_t size, void *arg) {
    nesting *nest = arg;
    uint32_t level = (uint32_t)nest->depth;
    int good = 1;
    if (nest->depth < nest->deepest) {
        nest->depth++;
        CHECK_STATUS(memguard_secret_use(nest->secrets[nest->depth], show_deeper, nest, &good), MEMGUARD_OK);
    }
    return good && is_pattern(bytes, size, level);
}

TEST(uses_nest_and_outer_bytes_stay) {
    enum { DEPTH = 12 };
    memguard_secret secrets[DEPTH];
    memguard_vault *vault = vault_make();
    for (uint32_t i = 0; i < DEPTH; i++) secrets[i] = secret_make(vault, 100 + i * 900, i % RESTS, i);
    nesting nest = {secrets, 0, DEPTH - 1};
    int good = 0;
    CHECK_STATUS(memguard_secret_use(secrets[0], show_deeper, &nest, &good), MEMGUARD_OK);
    CHECK(good == 1);
    vault_end(vault);
}

TEST(the_result_of_use_is_untouched_when_its_function_did_not_run) {
    memguard_vault *vault = vault_make();
    memguard_secret secret = secret_make(vault, SIZE, 0, SEED), none = {0};
    memguard_view view = borrow(secret, MEMGUARD_WRITE);
    int result = 31;
    CHECK_STATUS(memguard_secret_use(secret, show_nothing, NULL, &result), MEMGUARD_ERR_BUSY);
    CHECK_STATUS(memguard_secret_use(none, show_nothing, NULL, &result), MEMGUARD_ERR_STALE);
    CHECK(result == 31);
    give_back(&view);
    vault_end(vault);
}

static int show_minus(const void *bytes, size_t size, void *arg) {
    (void)bytes, (void)size, (void)arg;
    return -123;
}

TEST(the_function_of_use_has_its_result_returned) {
    memguard_vault *vault = vault_make();
    memguard_secret secret = secret_make(vault, SIZE, 0, SEED);
    int result = 0;
    CHECK_STATUS(memguard_secret_use(secret, show_minus, NULL, &result), MEMGUARD_OK);
    CHECK(result == -123);
    CHECK_STATUS(memguard_secret_use(secret, show_minus, NULL, NULL), MEMGUARD_OK);
    vault_end(vault);
}

/* ---- views --------------------------------------------------------------------------------------------- */

TEST(releasing_a_zero_view_is_ok) {
    memguard_view view = {NULL, 0, {0, 0}};
    CHECK_STATUS(memguard_view_release(&view), MEMGUARD_OK);
    memguard_vault *vault = vault_make();
    CHECK_STATUS(memguard_view_release(&view), MEMGUARD_OK);
    vault_end(vault);
}

TEST(a_second_release_through_a_copy_is_stale) {
    memguard_vault *vault = vault_make();
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        for (uint32_t access = MEMGUARD_READ; access <= MEMGUARD_WRITE; access++) {
            memguard_secret secret = secret_make(vault, SIZE, rest, SEED);
            memguard_view view = borrow(secret, access), copy = view;
            give_back(&view);
            CHECK_STATUS(memguard_view_release(&view), MEMGUARD_OK);
            CHECK_STATUS(memguard_view_release(&copy), MEMGUARD_ERR_STALE);
            CHECK(holds_pattern(secret, SIZE, SEED));
        }
    }
    vault_end(vault);
}

/* The copy of a released view must not end the borrow of somebody else. */
static void release_beside_a_younger(memguard_vault *vault, uint32_t rest, uint32_t access) {
    memguard_secret secret = secret_make(vault, SIZE, rest, SEED);
    memguard_view view = borrow(secret, access), copy = view;
    memguard_info info = MEMGUARD_INFO_INIT;
    give_back(&view);
    memguard_view young = borrow(secret, access);
    int good = CHECK_STATUS(memguard_view_release(&copy), MEMGUARD_ERR_STALE);
    good &= CHECK(can_read(young.data) == 1);
    CHECK_STATUS(memguard_secret_info(secret, &info), MEMGUARD_OK);
    CHECK(info.borrows == 1);
    CHECK_STATUS(memguard_view_release(&young), MEMGUARD_OK);
    if (!good) printf("that was: rest %u, access %u\n", rest, access);
}

TEST(a_second_release_through_a_copy_does_not_end_a_younger_borrow) {
    memguard_vault *vault = vault_make();
    for (uint32_t rest = 0; rest < RESTS; rest++) {
        release_beside_a_younger(vault, rest, MEMGUARD_READ);
        release_beside_a_younger(vault, rest, MEMGUARD_WRITE);
    }
    vault_end(vault);
}

TEST(a_view_with_a_made_up_pin_is_stale) {
    memguard_vault *vault = vault_make();
    memguard_secret secret = secret_make(vault, SIZE, 0, SEED);
    memguard_view view = borrow(secret, MEMGUARD_READ);
    memguard_view made_up = {view.data, view.size, {~view.pin[0], ~view.pin[1]}};
    CHECK_STATUS(memguard_view_release(&made_up), MEMGUARD_ERR_STALE);
    CHECK(is_pattern(view.data, SIZE, SEED));
    give_back(&view);
    vault_end(vault);
}

static void *release_elsewhere(void *arg) {
    give_back(arg);
    return NULL;
}

TEST(another_thread_may_release_a_view) {
    memguard_vault *vault = vault_make();
    memguard_secret secret = secret_make(vault, SIZE, 0, SEED);
    memguard_view view = borrow(secret, MEMGUARD_WRITE);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, release_elsewhere, &view) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(holds_pattern(secret, SIZE, SEED));
    vault_end(vault);
}

TEST(unknown_access_is_refused) {
    static const uint32_t wrong[] = {0, 3, 4, 8, 1U << 31, UINT32_MAX};
    memguard_vault *vault = vault_make();
    memguard_secret secret = secret_make(vault, SIZE, 0, SEED);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        CHECK_STATUS(acquire_once(secret, wrong[i]), MEMGUARD_ERR_ARGUMENT);
    }
    vault_end(vault);
}

TEST(unknown_rests_are_refused) {
    static const uint32_t wrong[] = {4, 8, MEMGUARD_FROZEN, MEMGUARD_KEEP, 1U << 31, UINT32_MAX,
                                     MEMGUARD_SEALED | MEMGUARD_WRITABLE, MEMGUARD_CLOSED | MEMGUARD_WRITABLE,
                                     MEMGUARD_COMPACT | MEMGUARD_WRITABLE};
    memguard_vault *vault = vault_make();
    memguard_secret secret = secret_make(vault, SIZE, 0, SEED);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        CHECK_STATUS(memguard_secret_rest(secret, wrong[i]), MEMGUARD_ERR_ARGUMENT);
    }
    CHECK(holds_pattern(secret, SIZE, SEED));
    vault_end(vault);
}

/* ---- vault pointers ------------------------------------------------------------------------------------ */

enum { VAULT_OPS = 11 };
static memguard_status on_vault(int op, memguard_vault *vault) {
    unsigned char source[8] = {1};
    memguard_secret secret = {0};
    memguard_scope scope = {0};
    memguard_report report = {0};
    report.size = sizeof report;
    switch (op) {
    case 0: return memguard_vault_prepare(vault, 4096, 1);
    case 1: return memguard_vault_report(vault, &report);
    case 2: return memguard_vault_purge(vault, 0);
    case 3: return memguard_vault_tick(vault, NULL);
    case 4: return memguard_vault_lock(vault, right_kek);
    case 5: return memguard_vault_unlock(vault, right_kek);
    case 6: return memguard_secret_create(vault, 8, 0, &secret);
    case 7: return memguard_secret_take(vault, source, 8, 0, &secret);
    case 8: return memguard_secret_copy(vault, source, 8, 0, &secret);
    case 9: return memguard_secret_random(vault, 8, 0, &secret);
    default: return memguard_scope_create(vault, &scope);
    }
}

/* Every call on it is stale; destroy, too, unless it is null. A null vault is a null pointer as well. */
static void check_no_vault(memguard_vault *vault) {
    const uint32_t allowed_here = ANY_OF(ERR_STALE) | (vault == NULL ? ANY_OF(ERR_ARGUMENT) : 0);
    for (int op = 0; op < VAULT_OPS; op++) {
        if (!CHECK_AMONG(on_vault(op, vault), allowed_here)) printf("that was operation %d\n", op);
    }
    CHECK_STATUS(memguard_vault_destroy(&vault), vault == NULL ? MEMGUARD_OK : MEMGUARD_ERR_STALE);
}

TEST(a_destroyed_vault_is_stale_everywhere) {
    memguard_vault *vault = vault_make(), *stale = vault;
    vault_end(vault);
    check_no_vault(stale);
    memguard_vault *young = vault_make();
    check_no_vault(stale);
    CHECK(young != stale);
    vault_end(young);
}

TEST(the_null_vault_is_refused_everywhere_and_destroyed_with_ok) {
    check_no_vault(NULL);
    memguard_vault *vault = vault_make();
    check_no_vault(NULL);
    vault_end(vault);
}

TEST(made_up_vaults_are_stale_and_never_followed) {
    memguard_vault *vault = vault_make();
    uintptr_t live = (uintptr_t)vault;
    for (unsigned bit = 0; bit < sizeof live * 8; bit++) {
        check_no_vault((memguard_vault *)(live ^ (uintptr_t)1 << bit)); /* NOLINT: a made-up token is the point */
    }
    check_no_vault((memguard_vault *)&live);
    check_no_vault((memguard_vault *)UINTPTR_MAX);
    CHECK_STATUS(on_vault(6, vault), MEMGUARD_OK);
    vault_end(vault);
}

TEST(a_borrow_keeps_its_vault_from_being_destroyed) {
    memguard_vault *vault = vault_make();
    memguard_secret secret = secret_make(vault, SIZE, 0, SEED), other = secret_make(vault, SIZE, 0, OTHER_SEED);
    memguard_view view = borrow(secret, MEMGUARD_READ);
    memguard_vault *kept = vault;
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_ERR_BUSY);
    CHECK(vault == kept);
    CHECK(is_pattern(view.data, SIZE, SEED) && holds_pattern(other, SIZE, OTHER_SEED));
    give_back(&view);
    vault_end(vault);
    CHECK_STATUS(life(other), MEMGUARD_ERR_STALE);
}

static int show_destroys_vault(const void *bytes, size_t size, void *arg) {
    CHECK_STATUS(memguard_vault_destroy(arg), MEMGUARD_ERR_BUSY);
    return is_pattern(bytes, size, SEED);
}

TEST(a_use_keeps_its_vault_from_being_destroyed) {
    memguard_vault *vault = vault_make();
    memguard_secret secret = secret_make(vault, SIZE, 0, SEED);
    int right = 0;
    CHECK_STATUS(memguard_secret_use(secret, show_destroys_vault, &vault, &right), MEMGUARD_OK);
    CHECK(right == 1);
    vault_end(vault);
}

/* ---- structs ------------------------------------------------------------------------------------------- */

enum { TAIL = 40, MARK = 0x5a };
/* A struct of a newer header: what is known, then a tail, then bytes that are none of its business. */
typedef struct newer {
    memguard_vault *vault;
    memguard_secret secret;
    union {
        size_t size;
        memguard_options options;
        memguard_limits limits;
        memguard_info info;
        memguard_report report;
        memguard_error error;
        unsigned char bytes[sizeof(memguard_report) + sizeof(memguard_error) + TAIL];
    } as;
} newer;

static memguard_status call_options(newer *n) {
    memguard_vault *vault = NULL;
    memguard_status status = memguard_vault_create(&n->as.options, &vault);
    CHECK((vault != NULL) == (status == MEMGUARD_OK));
    if (vault != NULL) CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
    return status;
}
static memguard_status call_limits(newer *n) { return memguard_secret_limit(n->secret, &n->as.limits); }
static memguard_status call_info(newer *n) { return memguard_secret_info(n->secret, &n->as.info); }
static memguard_status call_report(newer *n) { return memguard_vault_report(n->vault, &n->as.report); }
static memguard_status call_error(newer *n) { return memguard_last_error(&n->as.error); }

/* With a struct of `size` bytes, zero but for the one at `at` (0: none); nothing behind it may be written. */
static memguard_status call_with(newer *n, memguard_status (*call)(newer *), size_t size, size_t at) {
    memset(&n->as, MARK, sizeof n->as);
    memset(&n->as, 0, size < sizeof n->as ? size : sizeof n->as);
    n->as.size = size;
    if (at != 0) n->as.bytes[at] = 1;
    memguard_status status = call(n);
    size_t behind = size > sizeof(size_t) ? size : sizeof(size_t);
    for (size_t i = behind; i < sizeof n->as; i++) {
        if (i != at && !CHECK(n->as.bytes[i] == MARK)) break;
    }
    return status;
}

/* Whether a struct of an older header (shorter) is taken is left open; one without room for its size is not. */
static void check_struct(size_t known, memguard_status (*call)(newer *), uint32_t with_tail) {
    newer n;
    n.vault = vault_make();
    n.secret = secret_make(n.vault, SIZE, 0, SEED);
    for (size_t size = 0; size < known; size++) {
        uint32_t may = ANY_OF(ERR_ARGUMENT) | (size < sizeof(size_t) ? 0 : ANY_OF(OK));
        if (!CHECK_AMONG(call_with(&n, call, size, 0), may)) break;
    }
    CHECK_STATUS(call_with(&n, call, known, 0), MEMGUARD_OK);
    CHECK_STATUS(call_with(&n, call, known + 1, 0), MEMGUARD_OK);
    CHECK_STATUS(call_with(&n, call, known + TAIL, 0), MEMGUARD_OK);
    for (size_t at = known; at < known + TAIL; at++) {
        CHECK_AMONG(call_with(&n, call, known + TAIL, at), with_tail);
        CHECK_STATUS(call_with(&n, call, at, at), MEMGUARD_OK); /* the byte lies behind the struct */
    }
    vault_end(n.vault);
}

/* What goes in must be understood whole. What only comes out is overwritten, so an unknown tail may be let pass. */
#define TAIL_OF_INPUT ANY_OF(ERR_ARGUMENT)
#define TAIL_OF_OUTPUT (ANY_OF(ERR_ARGUMENT) | ANY_OF(OK))

TEST(options_of_wrong_sizes_and_unknown_tails_are_refused) {
    check_struct(sizeof(memguard_options), call_options, TAIL_OF_INPUT);
}
TEST(limits_of_wrong_sizes_and_unknown_tails_are_refused) {
    check_struct(sizeof(memguard_limits), call_limits, TAIL_OF_INPUT);
}
TEST(info_is_written_within_the_size_given) { check_struct(sizeof(memguard_info), call_info, TAIL_OF_OUTPUT); }
TEST(reports_are_written_within_the_size_given) { check_struct(sizeof(memguard_report), call_report, TAIL_OF_OUTPUT); }
TEST(errors_are_written_within_the_size_given) { check_struct(sizeof(memguard_error), call_error, TAIL_OF_OUTPUT); }

/* ---- null pointers ------------------------------------------------------------------------------------- */

TEST(null_pointers_are_refused_by_vault_functions) {
    memguard_vault *vault = vault_make();
    CHECK_STATUS(memguard_vault_create(NULL, NULL), MEMGUARD_ERR_ARGUMENT);
    CHECK_STATUS(memguard_vault_destroy(NULL), MEMGUARD_ERR_ARGUMENT);
    CHECK_STATUS(memguard_vault_report(vault, NULL), MEMGUARD_ERR_ARGUMENT);
    CHECK_STATUS(memguard_vault_lock(vault, NULL), MEMGUARD_ERR_ARGUMENT);
    CHECK(report_of(vault).locked == 0);
    CHECK_STATUS(memguard_vault_lock(vault, right_kek), MEMGUARD_OK);
    CHECK_STATUS(memguard_vault_unlock(vault, NULL), MEMGUARD_ERR_ARGUMENT);
    CHECK_STATUS(memguard_vault_unlock(vault, right_kek), MEMGUARD_OK);
    CHECK_STATUS(memguard_vault_tick(vault, NULL), MEMGUARD_OK);
    CHECK_STATUS(memguard_scope_create(vault, NULL), MEMGUARD_ERR_ARGUMENT);
    CHECK_STATUS(memguard_scope_destroy(NULL), MEMGUARD_ERR_ARGUMENT);
    CHECK_STATUS(memguard_last_error(NULL), MEMGUARD_ERR_ARGUMENT);
    vault_end(vault);
}

TEST(null_pointers_are_refused_by_secret_functions) {
    memguard_vault *vault = vault_make();
    memguard_secret secret = secret_make(vault, SIZE, 0, SEED);
    CHECK_STATUS(memguard_secret_use(secret, NULL, NULL, NULL), MEMGUARD_ERR_ARGUMENT);
    CHECK_STATUS(memguard_secret_acquire(secret, MEMGUARD_READ, NULL), MEMGUARD_ERR_ARGUMENT);
    CHECK_STATUS(memguard_view_release(NULL), MEMGUARD_ERR_ARGUMENT);
    CHECK_STATUS(memguard_secret_replace(secret, NULL, 8), MEMGUARD_ERR_ARGUMENT);
    CHECK_STATUS(memguard_secret_copy_at(secret, 0, NULL, 8), MEMGUARD_ERR_ARGUMENT);
    CHECK_STATUS(memguard_secret_move_at(secret, 0, NULL, 8), MEMGUARD_ERR_ARGUMENT);
    CHECK_STATUS(memguard_secret_equal(secret, NULL, SIZE), MEMGUARD_ERR_ARGUMENT);
    CHECK_STATUS(memguard_secret_limit(secret, NULL), MEMGUARD_ERR_ARGUMENT);
    CHECK_STATUS(memguard_secret_info(secret, NULL), MEMGUARD_ERR_ARGUMENT);
    CHECK_STATUS(memguard_secret_destroy(NULL), MEMGUARD_ERR_ARGUMENT);
    CHECK(holds_pattern(secret, SIZE, SEED));
    vault_end(vault);
}

/* ---- the last error ------------------------------------------------------------------------------------ */

static void *look_for_error(void *arg) {
    (void)arg;
    memguard_error error = MEMGUARD_ERROR_INIT;
    error.status = 99;
    CHECK_STATUS(memguard_last_error(&error), MEMGUARD_OK);
    CHECK(error.status == MEMGUARD_OK);
    return NULL;
}

TEST(the_last_error_is_kept_over_successes_and_belongs_to_its_thread) {
    memguard_error error = MEMGUARD_ERROR_INIT;
    memguard_vault *vault = vault_make();
    memguard_secret none = {0}, secret = {0};
    CHECK_STATUS(life(none), MEMGUARD_ERR_STALE);
    CHECK_STATUS(memguard_last_error(&error), MEMGUARD_OK);
    CHECK(error.status == MEMGUARD_ERR_STALE && error.text[0] != '\0');
    CHECK(memchr(error.text, 0, sizeof error.text) != NULL);
    secret = secret_make(vault, 1, 0, 1);
    CHECK_STATUS(memguard_last_error(&error), MEMGUARD_OK);
    CHECK(error.status == MEMGUARD_ERR_STALE);
    CHECK_STATUS(memguard_secret_resize(secret, 0), MEMGUARD_ERR_SIZE);
    CHECK_STATUS(memguard_last_error(&error), MEMGUARD_OK);
    CHECK(error.status == MEMGUARD_ERR_SIZE);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, look_for_error, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    vault_end(vault);
}

int main(void) {
    RUN(every_operation_works_on_a_fresh_secret);
    RUN(a_frozen_secret_refuses_exactly_the_changes_of_its_bytes);
    RUN(a_read_borrow_keeps_changes_out_and_readers_in);
    RUN(a_write_borrow_keeps_everyone_out);
    RUN(a_locked_vault_refuses_bytes_but_not_info_and_destroy);
    RUN(a_used_up_secret_answers_expired);
    RUN(a_timed_out_secret_answers_expired);
    RUN(the_null_handle_is_stale_everywhere);
    RUN(a_made_up_handle_is_stale_everywhere);
    RUN(a_destroyed_handle_is_stale_everywhere);
    RUN(a_handle_destroyed_while_borrowed_is_stale_everywhere);
    RUN(a_purged_handle_is_stale_everywhere);
    RUN(a_handle_whose_vault_is_gone_is_stale_everywhere);
    RUN(a_scope_is_no_secret);
    RUN(no_handle_one_bit_away_names_the_secret);
    RUN(no_small_large_or_scattered_number_is_a_handle);
    RUN(a_second_destroy_is_stale_and_harmless);
    RUN(destroy_while_borrowed_takes_effect_at_the_last_release);
    RUN(freeze_and_melt_are_idempotent);
    RUN(use_is_a_read_borrow_while_its_function_runs);
    RUN(destroy_inside_use_takes_effect_when_the_function_returns);
    RUN(uses_nest_and_outer_bytes_stay);
    RUN(the_result_of_use_is_untouched_when_its_function_did_not_run);
    RUN(the_function_of_use_has_its_result_returned);
    RUN(releasing_a_zero_view_is_ok);
    RUN(a_second_release_through_a_copy_is_stale);
    RUN(a_second_release_through_a_copy_does_not_end_a_younger_borrow);
    RUN(a_view_with_a_made_up_pin_is_stale);
    RUN(another_thread_may_release_a_view);
    RUN(unknown_access_is_refused);
    RUN(unknown_rests_are_refused);
    RUN(a_destroyed_vault_is_stale_everywhere);
    RUN(the_null_vault_is_refused_everywhere_and_destroyed_with_ok);
    RUN(made_up_vaults_are_stale_and_never_followed);
    RUN(a_borrow_keeps_its_vault_from_being_destroyed);
    RUN(a_use_keeps_its_vault_from_being_destroyed);
    RUN(options_of_wrong_sizes_and_unknown_tails_are_refused);
    RUN(limits_of_wrong_sizes_and_unknown_tails_are_refused);
    RUN(info_is_written_within_the_size_given);
    RUN(reports_are_written_within_the_size_given);
    RUN(errors_are_written_within_the_size_given);
    RUN(null_pointers_are_refused_by_vault_functions);
    RUN(null_pointers_are_refused_by_secret_functions);
    RUN(the_last_error_is_kept_over_successes_and_belongs_to_its_thread);
    return check_end();
}
