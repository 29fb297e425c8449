/* inside_fallback: a kernel without memfd_secret(2), a real one: AUTO takes the next best and says so, what is demanded is refused. */
#include "api/support.h"

#include "guest/inside.h"

static memguard_status make(uint32_t backend, uint32_t require, memguard_vault **vault) {
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    options.backend = backend;
    options.require = require;
    return memguard_vault_create(&options, vault);
}

TEST(the_kernel_has_no_memfd_secret) {
    enum { MEMFD_SECRET = 447 };
    CHECK(syscall(MEMFD_SECRET, 0) == -1 && errno == ENOSYS);
}

TEST(auto_takes_locked_and_reports_it) {
    memguard_vault *vault = NULL;
    if (!CHECK_STATUS(make(MEMGUARD_BACKEND_AUTO, 0, &vault), MEMGUARD_OK)) return;
    const memguard_report report = report_of(vault);
    CHECK(report.backend == MEMGUARD_BACKEND_LOCKED);
    CHECK((report.protections & MEMGUARD_PROTECT_HIDDEN) == 0);
    CHECK((report.protections & MEMGUARD_PROTECT_LOCKED) != 0 && (report.protections & MEMGUARD_PROTECT_REVOKE) != 0);
    for (uint32_t rest = 0; rest < RESTS; rest++)
        CHECK(holds_pattern(secret_make(vault, 100, rest, rest), 100, rest));
    vault_end(vault);
}

TEST(what_is_demanded_is_refused_with_a_reason) {
    memguard_vault *vault = NULL;
    memguard_error error = MEMGUARD_ERROR_INIT;
    CHECK_STATUS(make(MEMGUARD_BACKEND_SECRETMEM, 0, &vault), MEMGUARD_ERR_UNSUPPORTED);
    CHECK_STATUS(make(MEMGUARD_BACKEND_LOCKED, MEMGUARD_PROTECT_HIDDEN, &vault), MEMGUARD_ERR_UNSUPPORTED);
    CHECK_STATUS(make(MEMGUARD_BACKEND_AUTO, MEMGUARD_PROTECT_HIDDEN, &vault), MEMGUARD_ERR_UNSUPPORTED);
    CHECK(vault == NULL);
    CHECK_STATUS(memguard_last_error(&error), MEMGUARD_OK);
    CHECK(error.status == MEMGUARD_ERR_UNSUPPORTED && error.text[0] != '\0');
}

int main(void) {
    RUN(the_kernel_has_no_memfd_secret);
    RUN(auto_takes_locked_and_reports_it);
    RUN(what_is_demanded_is_refused_with_a_reason);
    return check_end();
}
