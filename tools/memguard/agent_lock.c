/* The vault's key is wrapped under Argon2id of a passphrase with a salt of its own (memguard_vault_lock). */
#include "agent_lock.h"

#include <pthread.h>
#include <sys/random.h>
#include <time.h>

#include "agent_serve.h"
#include "agent_store.h"
#include "kdf.h"
#include "spawn.h"

enum {
    FIRST_DELAY_MS = 1000, /* doubled with each wrong passphrase */
    LONGEST_DELAY_MS = 60000,
    LOCK_TRIES = 600, /* until everybody who borrows is done, or was cut */
    LOCK_PAUSE_MS = 20,
};

static struct {
    pthread_mutex_t mutex; /* held during the work: one at a time */
    uint8_t salt[KDF_SALT_BYTES];
    pthread_mutex_t attempts; /* for the next two */
    int64_t not_before_ms;
    int64_t delay_ms;
} lock = {.mutex = PTHREAD_MUTEX_INITIALIZER, .attempts = PTHREAD_MUTEX_INITIALIZER};

/* ---- attempts ---- */

static uint64_t wait_needed(void) {
    pthread_mutex_lock(&lock.attempts);
    int64_t left = lock.not_before_ms - spawn_now_ms();
    pthread_mutex_unlock(&lock.attempts);
    return left > 0 ? (uint64_t)left : 0;
}

static void note_attempt(bool right) {
    pthread_mutex_lock(&lock.attempts);
    lock.delay_ms = right ? 0 : lock.delay_ms == 0 ? FIRST_DELAY_MS : 2 * lock.delay_ms;
    if (lock.delay_ms > LONGEST_DELAY_MS) lock.delay_ms = LONGEST_DELAY_MS;
    lock.not_before_ms = spawn_now_ms() + lock.delay_ms;
    pthread_mutex_unlock(&lock.attempts);
}

enum wire_answer lock_may_be_tried(bool to_lock, uint64_t *later_ms) {
    if (!kdf_is_built_in) return WIRE_NOT_BUILT;
    if (to_lock == store_is_locked()) return to_lock ? WIRE_LOCKED : WIRE_NOT_LOCKED;
    *later_ms = to_lock ? 0 : wait_needed();
    return *later_ms == 0 ? WIRE_DONE : WIRE_LATER;
}

/* ---- the key ---- */

typedef memguard_status with_key(memguard_vault *vault, const uint8_t key[32]);

static memguard_status derive_and(with_key *call, memguard_secret passphrase) {
    MEMGUARD_AUTO memguard_secret key = {0};
    memguard_view view = {0};
    memguard_status status = memguard_secret_create(store_work(), KDF_KEY_BYTES, MEMGUARD_SEALED, &key);
    if (status == MEMGUARD_OK) status = kdf_derive(passphrase, lock.salt, key);
    if (status == MEMGUARD_OK) status = memguard_secret_acquire(key, MEMGUARD_READ, &view);
    if (status != MEMGUARD_OK) return status;
    status = call(store_vault(), view.data);
    memguard_status closed = memguard_view_release(&view);
    return status != MEMGUARD_OK ? status : closed;
}

/* Nothing new begins, since the store is closed; what has begun ends, or is cut for being slow. */
static memguard_status lock_patiently(memguard_vault *vault, const uint8_t key[32]) {
    const struct timespec pause = {0, LOCK_PAUSE_MS * 1000000L};
    memguard_status status = memguard_vault_lock(vault, key);
    for (int i = 0; i < LOCK_TRIES && status == MEMGUARD_ERR_BUSY; i++) {
        nanosleep(&pause, NULL);
        status = memguard_vault_lock(vault, key);
    }
    return status;
}

enum wire_answer lock_store(memguard_secret passphrase) {
    if (pthread_mutex_trylock(&lock.mutex) != 0) return WIRE_BUSY;
    memguard_status status = MEMGUARD_ERR_RANDOM;
    store_close();
    serve_hurry(true);
    if (store_is_locked())
        status = MEMGUARD_ERR_LOCKED;
    else if (getrandom(lock.salt, sizeof lock.salt, 0) == (ssize_t)sizeof lock.salt)
        status = derive_and(lock_patiently, passphrase);
    serve_hurry(false);
    store_reopen(); /* if it is locked the vault itself says so from now on */
    pthread_mutex_unlock(&lock.mutex);
    return store_answer(status);
}

enum wire_answer unlock_store(memguard_secret passphrase, uint64_t *later_ms) {
    if (pthread_mutex_trylock(&lock.mutex) != 0) return WIRE_BUSY;
    enum wire_answer answer = WIRE_LATER;
    *later_ms = wait_needed(); /* again: another attempt may have failed since */
    if (*later_ms == 0) {
        memguard_status status = derive_and(memguard_vault_unlock, passphrase);
        if (status == MEMGUARD_OK || status == MEMGUARD_ERR_AUTH) note_attempt(status == MEMGUARD_OK);
        answer = status == MEMGUARD_ERR_AUTH    ? WIRE_WRONG
                 : status == MEMGUARD_ERR_STATE ? WIRE_NOT_LOCKED
                                                : store_answer(status);
    }
    pthread_mutex_unlock(&lock.mutex);
    return answer;
}
