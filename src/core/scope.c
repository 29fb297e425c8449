/* core/scope: secrets of one thread that die together at the end of a block. A scope is a handle of its own kind;
 * its list of ids is touched by its thread alone. Ids of secrets that died earlier are stale and harmless. Must not
 * know: what secrets hold. */
#include "core/vault.h"

#include <stdlib.h>

struct mg__scope {
    struct mg__scope *outer;
    struct mg__thread *thread;
    memguard_vault *token; /* of the vault whose secrets it takes */
    uint64_t id;
    uint64_t *ids;
    size_t count, capacity;
};

static memguard_status make_room(struct mg__scope *scope) {
    if (scope->count < scope->capacity) return MEMGUARD_OK;
    const size_t wanted = scope->capacity == 0 ? 8 : scope->capacity * 2;
    size_t bytes = 0;
    uint64_t *ids = mg__mul_size(wanted, sizeof *ids, &bytes) ? realloc(scope->ids, bytes) : NULL;
    if (ids == NULL) return mg__fail_plain(MEMGUARD_ERR_MEMORY);
    scope->ids = ids;
    scope->capacity = wanted;
    return MEMGUARD_OK;
}

memguard_status mg__scope_note(struct mg__vault *vault, uint64_t id) {
    struct mg__thread *thread = mg__thread_self();
    if (thread == NULL) return mg__fail_plain(MEMGUARD_ERR_MEMORY);
    struct mg__scope *scope = thread->scope;
    if (MG_LIKELY(scope == NULL)) return MEMGUARD_OK;
    const memguard_vault *token = mg__vault_token(vault);
    while (scope != NULL && scope->token != token)
        scope = scope->outer;
    if (scope == NULL) return MEMGUARD_OK;
    const memguard_status status = make_room(scope);
    if (status == MEMGUARD_OK) scope->ids[scope->count++] = id;
    return status;
}

static void destroy_secrets(struct mg__scope *scope) {
    while (scope->count > 0) {
        memguard_secret secret = {scope->ids[--scope->count]};
        /* STALE: it died before its scope. */
        const memguard_status status = memguard_secret_destroy(&secret);
        (void)status;
    }
    free(scope->ids);
    scope->ids = NULL;
    scope->capacity = 0;
}

/* Closes the innermost scope of a thread. */
static void close_innermost(struct mg__thread *thread) {
    struct mg__scope *scope = thread->scope;
    struct mg__entry *entry = mg__entry_at(scope->id);
    thread->scope = scope->outer;
    destroy_secrets(scope);
    mg__entry_free(entry);
    free(scope);
}

void mg__thread_leave_scopes(struct mg__thread *thread) {
    while (thread->scope != NULL)
        close_innermost(thread);
}

memguard_status memguard_scope_create(memguard_vault *token, memguard_scope *given) {
    memguard_status status = MEMGUARD_OK;
    if (given == NULL) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    given->id = 0;
    MG_REFUSE_FORKED();
    if (token == NULL) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    struct mg__vault *vault = mg__vault_find(token);
    if (vault == NULL) return mg__fail_plain(MEMGUARD_ERR_STALE);
    status = mg__gate_check(vault);
    if (status != MEMGUARD_OK) return status;
    struct mg__thread *thread = mg__thread_self();
    struct mg__scope *scope = thread == NULL ? NULL : calloc(1, sizeof *scope);
    if (scope == NULL) return mg__fail_plain(MEMGUARD_ERR_MEMORY);
    struct mg__entry *entry = mg__entry_claim(0, MG_OBJECT_SCOPE, &status);
    if (entry == NULL) {
        free(scope);
        return status;
    }
    *scope = (struct mg__scope){.outer = thread->scope, .thread = thread, .token = token, .id = mg__entry_id(entry)};
    entry->body.scope = scope;
    thread->scope = scope;
    given->id = scope->id;
    return MEMGUARD_OK;
}

memguard_status memguard_scope_destroy(memguard_scope *given) {
    if (given == NULL) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    MG_REFUSE_FORKED();
    struct mg__thread *thread = mg__thread_self();
    const struct mg__entry *entry = mg__entry_at(given->id);
    const uint64_t word = entry == NULL ? 0 : atomic_load(&entry->word);
    if ((word ^ given->id) >> 32 != 0 || (word & (MG_WORD_L | MG_WORD_S)) != (MG_WORD_L | MG_WORD_S) ||
        mg__entry_object(entry) != MG_OBJECT_SCOPE) {
        given->id = 0;
        return mg__fail_plain(MEMGUARD_ERR_STALE);
    }
    const struct mg__scope *wanted = thread == NULL ? NULL : thread->scope;
    while (wanted != NULL && wanted->id != given->id)
        wanted = wanted->outer;
    if (wanted == NULL) return mg__fail(MEMGUARD_ERR_STATE, 0, "the scope was opened by another thread");
    const uint64_t id = given->id;
    given->id = 0;
    for (bool last = false; !last;) {
        last = thread->scope->id == id;
        close_innermost(thread);
    }
    return MEMGUARD_OK;
}
