/* Systems that refuse: no memfd_secret, no locking, no randomness, no advice. What a vault then has is what its report says, or there
 * is no vault. Each scenario runs in a child of its own, in which the table of system calls is replaced before the first vault. */
#include "../unit/white.h"

static struct mg__sys_table real;
static int refusal;            /* errno of the replaced call */
static _Atomic int refuses;    /* 1: it fails */
static _Atomic int spared;     /* getrandom: so many calls still work */
static int refused_advice;     /* madvise: the advice that fails */

static int no_memfd_secret(unsigned flags) {
    if (atomic_load(&refuses) == 0) return real.memfd_secret(flags);
    errno = refusal;
    return -1;
}

static int no_mlock(const void *address, size_t bytes) {
    if (atomic_load(&refuses) == 0) return real.mlock(address, bytes);
    errno = refusal;
    return -1;
}

static long no_getrandom(void *p, size_t bytes, unsigned flags) {
    if (atomic_load(&refuses) == 0 || atomic_fetch_sub(&spared, 1) > 0) return real.getrandom(p, bytes, flags);
    errno = refusal;
    return -1;
}

static int no_madvise(void *address, size_t bytes, int advice) {
    if (atomic_load(&refuses) == 0 || advice != refused_advice) return real.madvise(address, bytes, advice);
    errno = refusal;
    return -1;
}

static void *no_mremap(void *address, size_t bytes, size_t new_bytes, int flags, void *to) {
    if (atomic_load(&refuses) == 0) return real.mremap(address, bytes, new_bytes, flags, to);
    errno = refusal;
    return MAP_FAILED;
}

static int in_child(int (*scenario)(void *), int error) { return check_exited(check_child(scenario, &error), 0); }

static void begin(const void *error) {
    unsetenv("MEMGUARD_BACKEND");
    real = mg__sys_table;
    refusal = *(const int *)error;
    atomic_store(&spared, 0);
    atomic_store(&refuses, 1);
}

/* Refused here as on a machine where the limit counts: not as root. */
static void begin_without_privilege(const void *error) {
    begin(error);
    CHECK(drop_memlock(8U << 20) == 0);
}

static memguard_status try_vault(uint32_t backend, uint32_t require, memguard_vault **vault) {
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    options.backend = backend;
    options.require = require;
    const memguard_status status = memguard_vault_create(&options, vault);
    CHECK((status == MEMGUARD_OK) == (*vault != NULL));
    return status;
}

static void check_usable(memguard_vault *vault) {
    static const uint32_t rests[] = {MEMGUARD_SEALED, MEMGUARD_CLOSED, MEMGUARD_MAPPED, MEMGUARD_COMPACT};
    for (uint32_t i = 0; i < 4; i++) {
        memguard_secret secret = make_secret(vault, 100, rests[i], i);
        CHECK(holds(secret, i));
    }
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

/* ---- memfd_secret ---- */

static void check_fallback(void) {
    memguard_vault *vault = NULL;
    if (!CHECK_STATUS(try_vault(MEMGUARD_BACKEND_AUTO, 0, &vault), MEMGUARD_OK)) return;
    const memguard_report report = report_of(vault);
    CHECK(report.backend == MEMGUARD_BACKEND_LOCKED);
    CHECK((report.protections & MEMGUARD_PROTECT_HIDDEN) == 0);
    CHECK((report.protections & MEMGUARD_PROTECT_LOCKED) != 0);
    check_usable(vault);
}

static int auto_falls_back(void *error) {
    begin(error);
    mg__sys_table.memfd_secret = no_memfd_secret;
    check_fallback();
    return 0;
}

/* What is exhausted now is no missing feature. */
static int auto_refuses(void *error) {
    memguard_vault *vault = NULL;
    begin(error);
    mg__sys_table.memfd_secret = no_memfd_secret;
    CHECK_STATUS(try_vault(MEMGUARD_BACKEND_AUTO, 0, &vault), MEMGUARD_ERR_SYSTEM);
    CHECK_STATUS(try_vault(MEMGUARD_BACKEND_SECRETMEM, 0, &vault), MEMGUARD_ERR_SYSTEM);
    return 0;
}

static int auto_falls_back_without_privilege(void *error) {
    begin_without_privilege(error);
    mg__sys_table.memfd_secret = no_memfd_secret;
    check_fallback();
    return 0;
}

static int demands_are_refused(void *error) {
    memguard_vault *vault = NULL;
    begin(error);
    mg__sys_table.memfd_secret = no_memfd_secret;
    CHECK_STATUS(try_vault(MEMGUARD_BACKEND_SECRETMEM, 0, &vault), MEMGUARD_ERR_UNSUPPORTED);
    CHECK_STATUS(try_vault(MEMGUARD_BACKEND_SECRETMEM, MEMGUARD_PROTECT_HIDDEN, &vault), MEMGUARD_ERR_UNSUPPORTED);
    CHECK_STATUS(try_vault(MEMGUARD_BACKEND_LOCKED, MEMGUARD_PROTECT_HIDDEN, &vault), MEMGUARD_ERR_UNSUPPORTED);
    CHECK_STATUS(try_vault(MEMGUARD_BACKEND_AUTO, MEMGUARD_PROTECT_HIDDEN, &vault), MEMGUARD_ERR_UNSUPPORTED);
    return 0;
}

static int demands_are_refused_without_privilege(void *error) {
    CHECK(drop_memlock(8U << 20) == 0);
    return demands_are_refused(error);
}

TEST(enosys_auto_falls_back_to_locked_and_says_so) { CHECK(in_child(auto_falls_back, ENOSYS)); }
TEST(eperm_auto_falls_back_to_locked_and_says_so) { CHECK(in_child(auto_falls_back, EPERM)); }
TEST(emfile_is_an_error_and_not_a_weaker_vault) { CHECK(in_child(auto_refuses, EMFILE)); }
TEST(enosys_auto_falls_back_without_privilege) { CHECK(in_child(auto_falls_back_without_privilege, ENOSYS)); }
TEST(eperm_auto_falls_back_without_privilege) { CHECK(in_child(auto_falls_back_without_privilege, EPERM)); }
TEST(enosys_refuses_secretmem_and_hidden) { CHECK(in_child(demands_are_refused, ENOSYS)); }
TEST(eperm_refuses_secretmem_and_hidden) { CHECK(in_child(demands_are_refused, EPERM)); }
TEST(enosys_refuses_secretmem_and_hidden_without_privilege) { CHECK(in_child(demands_are_refused_without_privilege, ENOSYS)); }
TEST(eperm_refuses_secretmem_and_hidden_without_privilege) { CHECK(in_child(demands_are_refused_without_privilege, EPERM)); }

/* The kind that a secret of the vault got: the vault's own, or none. */
static int has_kind(memguard_vault *vault, memguard_secret secret) {
    return entry_of(secret)->body.region->kind == mg__vault_find(vault)->kind;
}

static int descriptors_run_out_later(void *error) {
    memguard_vault *vault = NULL;
    memguard_secret secrets[200] = {{0}};
    memguard_status status = MEMGUARD_OK;
    begin(error);
    atomic_store(&refuses, 0);
    if (try_vault(MEMGUARD_BACKEND_SECRETMEM, 0, &vault) != MEMGUARD_OK) return 77;
    mg__sys_table.memfd_secret = no_memfd_secret;
    atomic_store(&refuses, 1);
    size_t made = 0;
    while (made < 200 && (status = memguard_secret_create(vault, 100, MEMGUARD_MAPPED, &secrets[made])) == MEMGUARD_OK) made++;
    CHECK(made < 200 && status != MEMGUARD_OK);
    CHECK(secrets[made < 200 ? made : 199].id == 0);
    for (size_t i = 0; i < made; i++) CHECK(has_kind(vault, secrets[i]));
    memguard_secret longer = {0};
    CHECK(memguard_secret_create(vault, 100000, MEMGUARD_MAPPED, &longer) != MEMGUARD_OK && longer.id == 0);
    CHECK(report_of(vault).backend == MEMGUARD_BACKEND_SECRETMEM);
    atomic_store(&refuses, 0);
    CHECK_STATUS(memguard_secret_create(vault, 100000, MEMGUARD_MAPPED, &longer), MEMGUARD_OK);
    CHECK(has_kind(vault, longer));
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
    return 0;
}

static void check_later(int error) {
    const int status = check_child(descriptors_run_out_later, &error);
    if (check_exited(status, 77)) SKIP("no memfd_secret on this machine");
    CHECK(check_exited(status, 0));
}

TEST(emfile_later_is_an_error_and_never_a_weaker_object) { check_later(EMFILE); }
TEST(enosys_later_is_an_error_and_never_a_weaker_object) { check_later(ENOSYS); }

/* ---- mlock ---- */

static void check_no_lock(memguard_status expected) {
    memguard_vault *vault = NULL;
    mg__sys_table.mlock = no_mlock;
    CHECK_STATUS(try_vault(MEMGUARD_BACKEND_LOCKED, 0, &vault), expected);
    CHECK_STATUS(try_vault(MEMGUARD_BACKEND_LOCKED, MEMGUARD_PROTECT_LOCKED, &vault), expected);
    if (expected != MEMGUARD_ERR_LOCK_LIMIT) return;
    memguard_error error = MEMGUARD_ERROR_INIT;
    CHECK_STATUS(memguard_last_error(&error), MEMGUARD_OK);
    CHECK(error.allowed_bytes == 8U << 20 && error.needed_bytes != 0 && error.os_error == refusal);
}

static int no_lock_with_privilege(void *error) {
    begin(error);
    if (mg__sys_lock_limit() == UINT64_MAX) check_no_lock(MEMGUARD_ERR_MEMORY);
    return 0;
}

static int no_lock_without_privilege(void *error) {
    begin_without_privilege(error);
    check_no_lock(MEMGUARD_ERR_LOCK_LIMIT);
    return 0;
}

static int plain_needs_no_lock(void *error) {
    memguard_vault *vault = NULL;
    begin(error);
    mg__sys_table.mlock = no_mlock;
    mg__sys_table.memfd_secret = no_memfd_secret;
    CHECK(try_vault(MEMGUARD_BACKEND_AUTO, 0, &vault) != MEMGUARD_OK); /* never chosen unasked */
    CHECK_STATUS(try_vault(MEMGUARD_BACKEND_PLAIN, MEMGUARD_PROTECT_LOCKED, &vault), MEMGUARD_ERR_UNSUPPORTED);
    CHECK_STATUS(try_vault(MEMGUARD_BACKEND_PLAIN, 0, &vault), MEMGUARD_OK);
    CHECK((report_of(vault).protections & (MEMGUARD_PROTECT_LOCKED | MEMGUARD_PROTECT_HIDDEN)) == 0);
    check_usable(vault);
    return 0;
}

TEST(mlock_refused_to_the_privileged_is_out_of_memory) { CHECK(in_child(no_lock_with_privilege, ENOMEM)); }
TEST(mlock_enomem_is_the_lock_limit_with_its_numbers) { CHECK(in_child(no_lock_without_privilege, ENOMEM)); }
TEST(mlock_eagain_is_the_lock_limit_with_its_numbers) { CHECK(in_child(no_lock_without_privilege, EAGAIN)); }
TEST(mlock_eperm_is_the_lock_limit_with_its_numbers) { CHECK(in_child(no_lock_without_privilege, EPERM)); }
TEST(plain_works_without_locking_and_claims_none) { CHECK(in_child(plain_needs_no_lock, ENOMEM)); }

/* ---- getrandom ---- */

static int no_randomness(void *error) {
    memguard_vault *vault = NULL;
    begin(error);
    mg__sys_table.getrandom = no_getrandom;
    CHECK_STATUS(try_vault(MEMGUARD_BACKEND_AUTO, 0, &vault), MEMGUARD_ERR_RANDOM);
    CHECK_STATUS(try_vault(MEMGUARD_BACKEND_PLAIN, 0, &vault), MEMGUARD_ERR_RANDOM);
    atomic_store(&refuses, 0);
    CHECK_STATUS(try_vault(MEMGUARD_BACKEND_AUTO, 0, &vault), MEMGUARD_OK); /* the failure left nothing half made */
    memguard_secret secret = make_secret(vault, 10, 0, 1);
    atomic_store(&refuses, 1);
    memguard_vault *second = NULL;
    memguard_secret random = {0};
    CHECK_STATUS(try_vault(MEMGUARD_BACKEND_AUTO, 0, &second), MEMGUARD_ERR_RANDOM);
    CHECK_STATUS(memguard_secret_random(vault, 10, MEMGUARD_MAPPED, &random), MEMGUARD_ERR_RANDOM);
    CHECK(random.id == 0);
    atomic_store(&refuses, 0);
    CHECK(holds(secret, 1));
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
    return 0;
}

TEST(getrandom_enosys_is_err_random) { CHECK(in_child(no_randomness, ENOSYS)); }
TEST(getrandom_eperm_is_err_random) { CHECK(in_child(no_randomness, EPERM)); }

static int half_scrambled(void *error) {
    enum { BYTES = 3 << 20 };
    memguard_vault *vault = NULL;
    begin(error);
    atomic_store(&refuses, 0);
    CHECK_STATUS(try_vault(MEMGUARD_BACKEND_PLAIN, 0, &vault), MEMGUARD_OK);
    memguard_secret secret = make_secret(vault, BYTES, MEMGUARD_MAPPED, 1);
    mg__sys_table.getrandom = no_getrandom;
    for (int working = 0; working < 3; working++) { /* one call gives a MiB at most */
        atomic_store(&spared, working);
        atomic_store(&refuses, 1);
        CHECK_STATUS(memguard_secret_scramble(secret), MEMGUARD_ERR_RANDOM);
        atomic_store(&refuses, 0);
        CHECK(holds(secret, 1));
    }
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
    return 0;
}

TEST(failed_scramble_changes_nothing) { CHECK(in_child(half_scrambled, ENOSYS)); }

/* ---- advice ---- */

struct advice {
    int advice, error;
    uint32_t backend, protection;
};

/* Without the advice the vault is refused, or works and does not claim the protection; when it is demanded it is refused. */
static int without_advice(void *arg) {
    const struct advice *advice = arg;
    memguard_vault *vault = NULL;
    begin(&advice->error);
    refused_advice = advice->advice;
    mg__sys_table.madvise = no_madvise;
    if (try_vault(advice->backend, 0, &vault) == MEMGUARD_OK) {
        CHECK((report_of(vault).protections & advice->protection) == 0);
        CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
    }
    CHECK(try_vault(advice->backend, advice->protection, &vault) != MEMGUARD_OK);
    return 0;
}

static void check_advice(int advice, int error, uint32_t backend, uint32_t protection) {
    struct advice what = {advice, error, backend, protection};
    CHECK(check_exited(check_child(without_advice, &what), 0));
}

TEST(refused_dontdump_is_not_claimed_as_nodump) {
    check_advice(MADV_DONTDUMP, EINVAL, MEMGUARD_BACKEND_LOCKED, MEMGUARD_PROTECT_NODUMP);
    check_advice(MADV_DONTDUMP, ENOMEM, MEMGUARD_BACKEND_LOCKED, MEMGUARD_PROTECT_NODUMP);
    check_advice(MADV_DONTDUMP, EINVAL, MEMGUARD_BACKEND_PLAIN, MEMGUARD_PROTECT_NODUMP);
}

static int without_wipeonfork(void *error) {
    memguard_vault *vault = NULL;
    begin(error);
    refused_advice = MADV_WIPEONFORK;
    mg__sys_table.madvise = no_madvise;
    CHECK_STATUS(try_vault(MEMGUARD_BACKEND_LOCKED, MEMGUARD_PROTECT_NOFORK, &vault), MEMGUARD_OK); /* DONTFORK instead */
    check_usable(vault);
    return 0;
}

TEST(without_wipeonfork_the_pages_are_absent_in_children) { CHECK(in_child(without_wipeonfork, EINVAL)); }

TEST(refused_dontfork_is_not_claimed_as_nofork) {
    check_advice(MADV_DONTFORK, ENOMEM, MEMGUARD_BACKEND_SECRETMEM, MEMGUARD_PROTECT_NOFORK);
}

/* ---- mremap ---- */

static int without_mremap(void *error) {
    memguard_vault *vault = NULL;
    begin(error);
    mg__sys_table.mremap = no_mremap;
    CHECK_STATUS(try_vault(MEMGUARD_BACKEND_LOCKED, MEMGUARD_PROTECT_REVOKE, &vault), MEMGUARD_ERR_UNSUPPORTED);
    CHECK_STATUS(try_vault(MEMGUARD_BACKEND_LOCKED, 0, &vault), MEMGUARD_OK);
    CHECK((report_of(vault).protections & MEMGUARD_PROTECT_REVOKE) == 0);
    check_usable(vault);
    return 0;
}

TEST(without_mremap_revoke_is_not_claimed) { CHECK(in_child(without_mremap, EINVAL)); }

int main(void) {
    RUN(enosys_auto_falls_back_to_locked_and_says_so);
    RUN(eperm_auto_falls_back_to_locked_and_says_so);
    RUN(emfile_is_an_error_and_not_a_weaker_vault);
    RUN(enosys_auto_falls_back_without_privilege);
    RUN(eperm_auto_falls_back_without_privilege);
    RUN(enosys_refuses_secretmem_and_hidden);
    RUN(eperm_refuses_secretmem_and_hidden);
    RUN(enosys_refuses_secretmem_and_hidden_without_privilege);
    RUN(eperm_refuses_secretmem_and_hidden_without_privilege);
    RUN(emfile_later_is_an_error_and_never_a_weaker_object);
    RUN(enosys_later_is_an_error_and_never_a_weaker_object);
    RUN(mlock_refused_to_the_privileged_is_out_of_memory);
    RUN(mlock_enomem_is_the_lock_limit_with_its_numbers);
    RUN(mlock_eagain_is_the_lock_limit_with_its_numbers);
    RUN(mlock_eperm_is_the_lock_limit_with_its_numbers);
    RUN(plain_works_without_locking_and_claims_none);
    RUN(getrandom_enosys_is_err_random);
    RUN(getrandom_eperm_is_err_random);
    RUN(failed_scramble_changes_nothing);
    RUN(refused_dontdump_is_not_claimed_as_nodump);
    RUN(without_wipeonfork_the_pages_are_absent_in_children);
    RUN(refused_dontfork_is_not_claimed_as_nofork);
    RUN(without_mremap_revoke_is_not_claimed);
    return check_end();
}
