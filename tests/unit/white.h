/* white.h: what the white-box tests share: vaults and entries by handle, patterns, probes of memory that need no signal.
 * It knows the rooms of src/ and the harness. Include it first: it asks for the GNU system headers. */
#ifndef MEMGUARD_TESTS_UNIT_WHITE_H
#define MEMGUARD_TESTS_UNIT_WHITE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "bytes.h"
#include "check.h"
#include "core/vault.h"
#include "rekey.h"

static const uint8_t white_kek[MG_KEY_BYTES] = {9, 8, 7, 6, 5, 4, 3, 2, 1};

/* ---- bytes ---- */

static inline int is_all(const void *p, size_t bytes, unsigned char value) {
    const unsigned char *at = p;
    for (size_t i = 0; i < bytes; i++)
        if (at[i] != value) return 0;
    return 1;
}

/* ---- vaults ---- */

static inline memguard_vault *make_vault(uint32_t backend, uint32_t flags) {
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    memguard_vault *vault = NULL;
    options.backend = backend;
    options.flags = flags;
    CHECK_STATUS(memguard_vault_create(&options, &vault), MEMGUARD_OK);
    return vault;
}

/* With a lease of `lease_us` and a re-keying period of an hour, so that nothing happens by itself. */
static inline memguard_vault *make_quiet_vault(uint32_t backend, uint32_t flags, uint32_t lease_us) {
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    memguard_vault *vault = NULL;
    options.backend = backend;
    options.flags = flags;
    options.lease_us = lease_us;
    options.rekey_ms = 3600000;
    CHECK_STATUS(memguard_vault_create(&options, &vault), MEMGUARD_OK);
    return vault;
}

static inline memguard_report report_of(memguard_vault *vault) {
    memguard_report report = {.size = sizeof report};
    CHECK_STATUS(memguard_vault_report(vault, &report), MEMGUARD_OK);
    return report;
}

/* Not inline: the compiler would see that it may be null and warn of every use. */
__attribute__((noinline, unused)) static struct mg__entry *entry_of(memguard_secret secret) { return mg__entry_at(secret.id); }

/* A secret of the pattern `seed`. */
static inline memguard_secret make_secret(memguard_vault *vault, size_t bytes, uint32_t flags, uint32_t seed) {
    memguard_secret secret = {0};
    unsigned char *source = malloc(bytes);
    if (!CHECK(source != NULL)) return secret;
    fill(source, bytes, seed);
    CHECK_STATUS(memguard_secret_take(vault, source, bytes, flags, &secret), MEMGUARD_OK);
    free(source);
    return secret;
}

static inline int look_at_pattern(const void *bytes, size_t size, void *seed) {
    return is_pattern(bytes, size, *(const uint32_t *)seed);
}

/* 1 when the secret opens and holds the pattern. */
static inline int holds(memguard_secret secret, uint32_t seed) {
    int right = 0;
    return memguard_secret_use(secret, look_at_pattern, &seed, &right) == MEMGUARD_OK && right;
}

static inline memguard_status use_status(memguard_secret secret, uint32_t seed) {
    return memguard_secret_use(secret, look_at_pattern, &seed, NULL);
}

/* ---- time ---- */

static inline void sleep_ms(unsigned ms) {
    const struct timespec nap = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};
    nanosleep(&nap, NULL);
}

#endif
