/* Argon2id by libargon2, with memory that is ours: left out of dumps and forks, locked when the limit allows, wiped when
 * given back (the last block gives the key away; the library itself wipes only with an option that is its own global
 * variable). The parameters are the second choice of RFC 9106, section 4. The work runs on this thread's stack, which is
 * wiped after it. */
#define _GNU_SOURCE
#include "kdf.h"

#include <argon2.h>
#include <sys/mman.h>

enum { PASSES = 3, MEMORY_KIB = 65536, LANES = 4 };

const bool kdf_is_built_in = true;

static int get_memory(uint8_t **memory, size_t bytes) {
    void *area = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (area == MAP_FAILED) return ARGON2_MEMORY_ALLOCATION_ERROR;
    if (madvise(area, bytes, MADV_DONTDUMP) != 0 || madvise(area, bytes, MADV_DONTFORK) != 0) {
        munmap(area, bytes);
        return ARGON2_MEMORY_ALLOCATION_ERROR;
    }
    madvise(area, bytes, MADV_NOHUGEPAGE); /* pages that are not moved leave no copies; not every kernel has it */
    int unlocked = mlock(area, bytes);     /* more than a plain user may lock, mostly */
    (void)unlocked;
    *memory = area;
    return ARGON2_OK;
}

static void give_memory(uint8_t *memory, size_t bytes) {
    memguard_wipe(memory, bytes);
    munmap(memory, bytes);
}

struct work {
    memguard_view passphrase, key;
    const uint8_t *salt;
};

static int derive(void *arg) {
    struct work *work = arg;
    argon2_context context = {
        .out = work->key.data,
        .outlen = (uint32_t)work->key.size,
        .pwd = work->passphrase.data,
        .pwdlen = (uint32_t)work->passphrase.size,
        .salt = (uint8_t *)(uintptr_t)work->salt, /* only read */
        .saltlen = KDF_SALT_BYTES,
        .t_cost = PASSES,
        .m_cost = MEMORY_KIB,
        .lanes = LANES,
        .threads = 1,
        .version = ARGON2_VERSION_13,
        .allocate_cbk = get_memory,
        .free_cbk = give_memory,
        .flags = ARGON2_DEFAULT_FLAGS, /* the passphrase is only read, too */
    };
    return argon2id_ctx(&context);
}

static memguard_status derive_shown(struct work *work) {
    int error = ARGON2_OK;
    memguard_status status = memguard_call_scrubbed(derive, work, &error);
    if (status != MEMGUARD_OK || error == ARGON2_OK) return status;
    return error == ARGON2_MEMORY_ALLOCATION_ERROR ? MEMGUARD_ERR_MEMORY : MEMGUARD_ERR_SYSTEM;
}

memguard_status kdf_derive(memguard_secret passphrase, const uint8_t salt[KDF_SALT_BYTES], memguard_secret key) {
    struct work work = {.salt = salt};
    memguard_status status = memguard_secret_acquire(passphrase, MEMGUARD_READ, &work.passphrase);
    if (status != MEMGUARD_OK) return status;
    status = memguard_secret_acquire(key, MEMGUARD_WRITE, &work.key);
    if (status == MEMGUARD_OK) {
        status = derive_shown(&work);
        memguard_status closed = memguard_view_release(&work.key);
        if (status == MEMGUARD_OK) status = closed;
    }
    memguard_status closed = memguard_view_release(&work.passphrase);
    return status != MEMGUARD_OK ? status : closed;
}
