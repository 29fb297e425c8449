/* The table of names. One mutex, held for moments: never while bytes are sealed, opened or sent. */
#include "agent_store.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "ui.h"

struct entry {
    bool used;
    uint32_t flags;
    uint64_t bytes;
    memguard_secret secret;
    char name[WIRE_NAME_MOST + 1];
};

static struct {
    pthread_mutex_t mutex;
    memguard_vault *vault, *work;
    uint64_t ttl_ms;
    unsigned closed;       /* by a lock at work, a purge, or both */
    uint64_t count, bytes; /* what is reserved counts */
    struct entry entries[STORE_MOST];
} store = {.mutex = PTHREAD_MUTEX_INITIALIZER};

memguard_vault *store_vault(void) { return store.vault; }
memguard_vault *store_work(void) { return store.work; }

bool store_open(const struct store_options *options) {
    memguard_options vault = MEMGUARD_OPTIONS_INIT;
    vault.backend = options->backend;
    store.ttl_ms = options->ttl_ms;
    memguard_status status = memguard_vault_create(&vault, &store.vault);
    if (status == MEMGUARD_OK) status = memguard_vault_create(&vault, &store.work);
    if (status != MEMGUARD_OK) ui_library_error("the vault", status);
    return status == MEMGUARD_OK;
}

enum wire_answer store_answer(memguard_status status) {
    switch (status) {
    case MEMGUARD_OK:
        return WIRE_DONE;
    case MEMGUARD_ERR_STALE:
    case MEMGUARD_ERR_EXPIRED:
        return WIRE_NO_SECRET;
    case MEMGUARD_ERR_LOCKED:
        return WIRE_LOCKED;
    case MEMGUARD_ERR_LOCK_LIMIT:
        return WIRE_NO_LOCKABLE;
    case MEMGUARD_ERR_BUSY:
    case MEMGUARD_ERR_LIMIT:
        return WIRE_BUSY;
    default:
        return WIRE_FAILED;
    }
}

/* ---- with the mutex held ---- */

static void destroy(memguard_secret secret) {
    memguard_status status = memguard_secret_destroy(&secret);
    (void)status; /* STALE: a purge was faster */
}

static void drop(struct entry *entry) {
    destroy(entry->secret);
    store.count--;
    store.bytes -= entry->bytes;
    memset(entry, 0, sizeof *entry);
}

static bool is_alive(const struct entry *entry) {
    memguard_info info = MEMGUARD_INFO_INIT;
    return memguard_secret_info(entry->secret, &info) == MEMGUARD_OK;
}

static struct entry *find(const char *name) {
    for (size_t i = 0; i < STORE_MOST; i++) {
        struct entry *entry = &store.entries[i];
        if (!entry->used || strcmp(entry->name, name) != 0) continue;
        if (is_alive(entry)) return entry;
        drop(entry); /* it has expired */
    }
    return NULL;
}

static struct entry *find_free(void) {
    for (size_t i = 0; i < STORE_MOST; i++)
        if (!store.entries[i].used) return &store.entries[i];
    return NULL;
}

static void sweep(void) {
    for (size_t i = 0; i < STORE_MOST; i++)
        if (store.entries[i].used && !is_alive(&store.entries[i])) drop(&store.entries[i]);
}

static bool has_room(uint64_t bytes) { return store.count < STORE_MOST && bytes <= STORE_BYTES_MOST - store.bytes; }

/* ---- coming and going ---- */

enum wire_answer store_reserve(uint64_t bytes) {
    enum wire_answer answer = WIRE_DONE;
    if (bytes == 0 || bytes > WIRE_SECRET_MOST) return WIRE_TOO_LARGE;
    pthread_mutex_lock(&store.mutex);
    if (!has_room(bytes)) sweep();
    if (store.closed > 0)
        answer = WIRE_LOCKED;
    else if (!has_room(bytes))
        answer = WIRE_FULL;
    if (answer == WIRE_DONE) {
        store.count++;
        store.bytes += bytes;
    }
    pthread_mutex_unlock(&store.mutex);
    return answer;
}

void store_give_back(uint64_t bytes) {
    pthread_mutex_lock(&store.mutex);
    store.count--;
    store.bytes -= bytes;
    pthread_mutex_unlock(&store.mutex);
}

static memguard_status set_limits(memguard_secret secret, const struct wire_frame *terms) {
    memguard_limits limits = MEMGUARD_LIMITS_INIT;
    limits.ttl_ms = terms->ttl_ms != 0 ? terms->ttl_ms : store.ttl_ms;
    limits.idle_ms = terms->idle_ms;
    limits.uses = terms->uses;
    return memguard_secret_limit(secret, &limits);
}

enum wire_answer store_put(const char *name, memguard_secret secret, const struct wire_frame *terms) {
    memguard_info info = MEMGUARD_INFO_INIT;
    memguard_status status = memguard_secret_info(secret, &info);
    if (status == MEMGUARD_OK) status = set_limits(secret, terms);
    if (status != MEMGUARD_OK) {
        destroy(secret);
        store_give_back(terms->bytes);
        return store_answer(status);
    }
    pthread_mutex_lock(&store.mutex);
    struct entry *entry = find(name);
    if (entry != NULL) drop(entry);
    entry = find_free(); /* there is one: it was reserved */
    *entry = (struct entry){true, terms->flags & (WIRE_CONFIRM | WIRE_NO_REVEAL), info.bytes, secret, {0}};
    memcpy(entry->name, name, strlen(name) + 1);
    store.bytes += info.bytes - terms->bytes;
    pthread_mutex_unlock(&store.mutex);
    return WIRE_DONE;
}

enum wire_answer store_find(const char *name, struct store_found *found) {
    enum wire_answer answer = WIRE_NO_SECRET;
    pthread_mutex_lock(&store.mutex);
    const struct entry *entry = find(name);
    if (store.closed > 0)
        answer = WIRE_LOCKED;
    else if (entry != NULL) {
        *found = (struct store_found){entry->secret, entry->bytes, entry->flags};
        answer = WIRE_DONE;
    }
    pthread_mutex_unlock(&store.mutex);
    return answer;
}

/* Not by find: the borrow of who asks may be the last use. */
bool store_take(const char *name, memguard_secret secret) {
    bool there = false;
    pthread_mutex_lock(&store.mutex);
    for (size_t i = 0; i < STORE_MOST && !there; i++) {
        struct entry *entry = &store.entries[i];
        there = entry->used && entry->secret.id == secret.id && strcmp(entry->name, name) == 0;
        if (there) drop(entry);
    }
    pthread_mutex_unlock(&store.mutex);
    return there;
}

enum wire_answer store_remove(const char *name) {
    pthread_mutex_lock(&store.mutex);
    struct entry *entry = find(name);
    if (entry != NULL) drop(entry);
    pthread_mutex_unlock(&store.mutex);
    return entry != NULL ? WIRE_DONE : WIRE_NO_SECRET;
}

uint64_t store_remove_all(void) {
    uint64_t removed = 0;
    pthread_mutex_lock(&store.mutex);
    sweep();
    for (size_t i = 0; i < STORE_MOST; i++)
        if (store.entries[i].used) {
            drop(&store.entries[i]);
            removed++;
        }
    pthread_mutex_unlock(&store.mutex);
    return removed;
}

/* ---- looking ---- */

struct line {
    struct wire_frame frame;
    char name[WIRE_NAME_MOST + 1];
};

static bool describe(const struct entry *entry, struct line *line) {
    memguard_info info = MEMGUARD_INFO_INIT;
    if (memguard_secret_info(entry->secret, &info) != MEMGUARD_OK) return false;
    line->frame = wire_reply(WIRE_ENTRY);
    line->frame.flags = entry->flags;
    line->frame.bytes = info.bytes;
    line->frame.ttl_ms = info.expires_ms;
    line->frame.uses = info.uses_left;
    line->frame.name_bytes = (uint32_t)strlen(entry->name);
    memcpy(line->name, entry->name, sizeof line->name);
    return true;
}

static int by_name(const void *a, const void *b) {
    const struct line *one = a, *other = b;
    return strcmp(one->name, other->name);
}

bool store_each(bool (*entry)(const struct wire_frame *frame, const char *name, void *arg), void *arg) {
    size_t count = 0;
    struct line *lines = calloc(STORE_MOST, sizeof *lines);
    if (lines == NULL) return false;
    pthread_mutex_lock(&store.mutex);
    for (size_t i = 0; i < STORE_MOST; i++)
        if (store.entries[i].used && describe(&store.entries[i], &lines[count])) count++;
    pthread_mutex_unlock(&store.mutex);
    qsort(lines, count, sizeof *lines, by_name);
    bool good = true;
    for (size_t i = 0; i < count && good; i++)
        good = entry(&lines[i].frame, lines[i].name, arg);
    free(lines);
    return good;
}

void store_describe(struct wire_status *status) {
    memguard_report report = {.size = sizeof report};
    pthread_mutex_lock(&store.mutex);
    sweep();
    status->secrets = store.count;
    status->secret_bytes = store.bytes;
    pthread_mutex_unlock(&store.mutex);
    status->most_secrets = STORE_MOST;
    status->most_bytes = STORE_BYTES_MOST;
    if (memguard_vault_report(store.vault, &report) != MEMGUARD_OK) return;
    status->locked = report.locked;
    status->backend = report.backend;
    status->protections = report.protections;
    status->lock_limit_bytes = report.lock_limit_bytes;
    status->lock_in_use_bytes = report.lock_in_use_bytes;
}

/* ---- all of it ---- */

uint64_t store_purge(void) {
    store_close();
    uint64_t removed = store_remove_all();
    memguard_status status = memguard_purge_all(1000);
    (void)status; /* the process ends after it, which wipes what is left */
    return removed;
}

void store_close(void) {
    pthread_mutex_lock(&store.mutex);
    store.closed++;
    pthread_mutex_unlock(&store.mutex);
}

void store_reopen(void) {
    pthread_mutex_lock(&store.mutex);
    store.closed--;
    pthread_mutex_unlock(&store.mutex);
}

bool store_is_locked(void) {
    memguard_report report = {.size = sizeof report};
    return memguard_vault_report(store.vault, &report) == MEMGUARD_OK && report.locked != 0;
}
