/* What a sealed secret costs, all told: the resident memory of the process, before and after. */
#include "check.h"

#include <string.h>

enum { SECRETS = 200000, BYTES = 32, MOST = 80 };

static memguard_secret secrets[SECRETS];

static size_t resident_bytes(void) {
    unsigned long all = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    const int read = file == NULL ? 0 : fscanf(file, "%lu %lu", &all, &resident);
    if (file != NULL) fclose(file);
    CHECK(read == 2);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

static void make_all(memguard_vault *vault) {
    const unsigned char source[BYTES] = {1, 2, 3};
    for (size_t i = 0; i < SECRETS; i++)
        if (!CHECK_STATUS(memguard_secret_copy(vault, source, BYTES, 0, &secrets[i]), MEMGUARD_OK)) return;
}

static int sum(const void *bytes, size_t size, void *arg) {
    (void)arg;
    return size == BYTES && ((const unsigned char *)bytes)[2] == 3;
}

static void end_all(void) {
    for (size_t i = 0; i < SECRETS; i++) {
        int right = 0;
        if (i % 1000 == 0) CHECK_STATUS(memguard_secret_use(secrets[i], sum, NULL, &right), MEMGUARD_OK), CHECK(right);
        CHECK_STATUS(memguard_secret_destroy(&secrets[i]), MEMGUARD_OK);
    }
}

TEST(sealed_keys_cost_no_more_than_80_bytes_each) {
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    memguard_vault *vault = NULL;
    memguard_secret first = {0};
    if (CHECK_SANITIZED) SKIP("a sanitizer has memory of its own for each byte");
    CHECK_STATUS(memguard_vault_create(&options, &vault), MEMGUARD_OK);
    CHECK_STATUS(memguard_secret_random(vault, BYTES, 0, &first), MEMGUARD_OK); /* what every process has once is there */
    memset(secrets, 1, sizeof secrets);
    const size_t before = resident_bytes();
    make_all(vault);
    const size_t after = resident_bytes();
    CHECK(after > before && (after - before) / SECRETS < MOST);
    printf("%.1f bytes each\n", (double)(after - before) / SECRETS);
    end_all();
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
}

int main(void) {
    RUN(sealed_keys_cost_no_more_than_80_bytes_each);
    return check_end();
}
