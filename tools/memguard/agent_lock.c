/* The vault's key is wrapped under Argon2id of a passphrase with a salt of its own (memguard_vault_lock). */
#include "agent_lock.h"

#include <pthread.h>
#include <string.h>
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
    pthread_mutex_t mutex;        /* held during the work: one at a time */
    uint8_t salt[KDF_SALT_BYTES]; /* of the passphrase that unlocks, and of `standing` */
    bool keep;                    /* see lock_keep */
    memguard_secret standing;     /* its key, while not locked */
    pthread_mutex_t attempts;     /* for the next two */
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

static void forget(memguard_secret *key) {
    memguard_status status = memguard_secret_destroy(key);
    (void)status; /* null: there is none */
}

static memguard_status derive(memguard_secret passphrase, const uint8_t salt[KDF_SALT_BYTES], memguard_secret *key) {
    memguard_status status = memguard_secret_create(store_work(), KDF_KEY_BYTES, MEMGUARD_SEALED, key);
    if (status == MEMGUARD_OK) status = kdf_derive(passphrase, salt, *key);
    if (status != MEMGUARD_OK) forget(key);
    return status;
}

typedef memguard_status with_key(memguard_vault *vault, const uint8_t key[32]);

static memguard_status show_key(memguard_secret key, with_key *call) {
    memguard_view view = {0};
    memguard_status status = memguard_secret_acquire(key, MEMGUARD_READ, &view);
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

static memguard_status lock_with(memguard_secret key) {
    store_close();
    serve_hurry(true);
    memguard_status status = store_is_locked() ? MEMGUARD_ERR_LOCKED : show_key(key, lock_patiently);
    serve_hurry(false);
    store_reopen(); /* if it is locked the vault itself says so from now on */
    return status;
}

/* ---- the verbs ---- */

static memguard_status lock_under(memguard_secret passphrase) {
    uint8_t salt[KDF_SALT_BYTES];
    memguard_secret key = {0};
    if (getrandom(salt, sizeof salt, 0) != (ssize_t)sizeof salt) return MEMGUARD_ERR_RANDOM;
    memguard_status status = derive(passphrase, salt, &key);
    if (status == MEMGUARD_OK) status = lock_with(key);
    forget(&key);
    if (status != MEMGUARD_OK) return status;
    memcpy(lock.salt, salt, sizeof salt);
    forget(&lock.standing);
    return status;
}

enum wire_answer lock_store(memguard_secret passphrase) {
    if (pthread_mutex_trylock(&lock.mutex) != 0) return WIRE_BUSY;
    memguard_status status = lock_under(passphrase);
    pthread_mutex_unlock(&lock.mutex);
    return store_answer(status);
}

static enum wire_answer unlock_under(memguard_secret passphrase) {
    memguard_secret key = {0};
    memguard_status status = derive(passphrase, lock.salt, &key);
    if (status == MEMGUARD_OK) status = show_key(key, memguard_vault_unlock);
    if (status == MEMGUARD_OK || status == MEMGUARD_ERR_AUTH) note_attempt(status == MEMGUARD_OK);
    if (status == MEMGUARD_OK && lock.keep)
        lock.standing = key;
    else
        forget(&key);
    if (status == MEMGUARD_ERR_AUTH) return WIRE_WRONG;
    return status == MEMGUARD_ERR_STATE ? WIRE_NOT_LOCKED : store_answer(status);
}

enum wire_answer unlock_store(memguard_secret passphrase, uint64_t *later_ms) {
    if (pthread_mutex_trylock(&lock.mutex) != 0) return WIRE_BUSY;
    *later_ms = wait_needed(); /* again: another attempt may have failed since */
    enum wire_answer answer = *later_ms == 0 ? unlock_under(passphrase) : WIRE_LATER;
    pthread_mutex_unlock(&lock.mutex);
    return answer;
}

/* ---- without a person ---- */

memguard_status lock_keep(memguard_secret passphrase) {
    lock.keep = true;
    if (getrandom(lock.salt, sizeof lock.salt, 0) != (ssize_t)sizeof lock.salt) return MEMGUARD_ERR_RANDOM;
    return derive(passphrase, lock.salt, &lock.standing);
}

memguard_status lock_now(void) {
    memguard_status status = MEMGUARD_OK;
    pthread_mutex_lock(&lock.mutex);
    if (!store_is_locked()) status = lock_with(lock.standing);
    if (status == MEMGUARD_OK) forget(&lock.standing);
    pthread_mutex_unlock(&lock.mutex);
    return status;
}
