/* rekey.h: re-keying at a moment that a white-box test chooses, by what the housekeeper calls. */
#ifndef MEMGUARD_TESTS_REKEY_H
#define MEMGUARD_TESTS_REKEY_H

#include "core/vault.h"

static inline memguard_status rekey_now(struct mg__coffer *coffer) {
    memguard_error error = MEMGUARD_ERROR_INIT;
    mg__mutex_lock(&coffer->mutex);
    const uint64_t failures = coffer->rekey_failures;
    coffer->next_rekey_ns = 0;
    mg__mutex_unlock(&coffer->mutex);
    (void)mg__coffer_tend(coffer, mg__sys_now_ns(), true);
    if (coffer->rekey_failures == failures || memguard_last_error(&error) != MEMGUARD_OK) return MEMGUARD_OK;
    return error.status;
}

#endif
