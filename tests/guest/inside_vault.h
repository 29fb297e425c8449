/* inside_vault.h: what the programs of the guest share that hold secrets: the vault, and how the host gets to know its keys. They see
 * internals, to tell the host the shares of the key (masked), from which the host computes all keys itself. */
#ifndef MEMGUARD_TESTS_GUEST_INSIDE_VAULT_H
#define MEMGUARD_TESTS_GUEST_INSIDE_VAULT_H

#include "core/vault.h"
#include "guest/inside.h"

static uint64_t seed;
static memguard_vault *vault;

static inline void ok(memguard_status status, const char *what) {
    if (status != MEMGUARD_OK) printf("%s: %s\n", what, memguard_status_name(status));
    must(status == MEMGUARD_OK, what);
}

static inline void make_vault(const char *backend) {
    static const char *const names[] = {"auto", "secretmem", "locked", "plain"};
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    memguard_report report = {.size = sizeof report};
    while (options.backend < 4 && strcmp(backend, names[options.backend]) != 0)
        options.backend++;
    options.prekey_bytes = 4096;
    options.rekey_ms = 3600000; /* when we want it */
    ok(memguard_vault_create(&options, &vault), "vault_create");
    ok(memguard_vault_report(vault, &report), "vault_report");
    printf("@ backend %s\n", names[report.backend]);
    fflush(stdout);
}

/* A secret that holds the marker of this number. */
static inline memguard_secret make_secret(unsigned number, uint32_t rest) {
    memguard_secret secret = {0};
    memguard_view view = {0};
    ok(memguard_secret_create(vault, MARKER_BYTES, rest, &secret), "secret_create");
    ok(memguard_secret_acquire(secret, MEMGUARD_WRITE, &view), "acquire WRITE");
    marker_write(view.data, MARKER_BYTES, seed, number);
    ok(memguard_view_release(&view), "view_release");
    return secret;
}

/* The shares, and a sealed record: with its nonce it proves to the host that the keys that it computes are the right ones. */
static inline void tell_keys(memguard_secret sealed) {
    const struct mg__coffer *coffer = &mg__vault_find(vault)->coffer;
    const struct mg__entry *entry = mg__entry_at(sealed.id);
    const uint32_t epoch = atomic_load(&coffer->current), version = entry->version;
    const uint32_t index = mg__entry_index(entry);
    const size_t bytes = coffer->policy.prekey_bytes;
    unsigned char nonce[24];
    mg__prefix_bytes(entry->prefix, nonce);
    for (unsigned i = 0; i < 4; i++) {
        nonce[16 + i] = (unsigned char)(index >> (8 * i));
        nonce[20 + i] = (unsigned char)(version >> (8 * i));
    }
    tell_masked("x", mg__region_data(coffer->prekeys[epoch], bytes), bytes, seed);
    tell_masked("y", (const unsigned char *)coffer->page + epoch * (size_t)MG_KEY_BYTES, MG_KEY_BYTES, seed);
    tell_masked("nonce", nonce, sizeof nonce, seed);
    tell_masked("sealed", mg__entry_sealed(entry), MG_TAG_BYTES + MARKER_BYTES, seed);
}

#endif
