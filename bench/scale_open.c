/* How many secrets are open at once before the library answers ERR_LOCK_LIMIT, in a process that may lock so much and no more. Root
 * gives up the capability that lifts the limit. */
#define _GNU_SOURCE
#include "scale.h"

#include <linux/capability.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MOST = 400000, SEALED = 1000000, LOOK_AT = 97 };

/* At most `bytes` may be locked, also by root. */
static const char *limit_to(size_t bytes) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3];
    const struct rlimit limit = {bytes, bytes};
    memset(sets, 0, sizeof sets);
    if (setrlimit(RLIMIT_MEMLOCK, &limit) != 0) return "the limit could not be set";
    if (syscall(SYS_capget, &header, sets) != 0) return "capget failed";
    sets[0].effective &= ~(1U << CAP_IPC_LOCK);
    sets[0].permitted &= ~(1U << CAP_IPC_LOCK);
    return syscall(SYS_capset, &header, sets) == 0 ? NULL : "capset failed";
}

static memguard_secret make(memguard_vault *vault, uint64_t number, uint32_t rest, memguard_status *status) {
    unsigned char bytes[SMALL];
    memguard_secret secret = {0};
    scale_fill(bytes, number);
    *status = memguard_secret_take(vault, bytes, sizeof bytes, rest, &secret);
    return secret;
}

static void ended_rightly(memguard_status status) {
    if (status != MEMGUARD_ERR_LOCK_LIMIT) bench_must(status, "the last one was refused for another reason");
    if (status == MEMGUARD_OK) bench_fail("the limit was not reached");
}

/* Makes COMPACT secrets until one is refused; some are looked at. */
static size_t fill_compact(memguard_vault *vault) {
    static memguard_secret secrets[MOST];
    memguard_status status = MEMGUARD_OK;
    size_t count = 0, right = 0, looked = 0;
    while (count < MOST && (secrets[count] = make(vault, count, MEMGUARD_COMPACT, &status), status == MEMGUARD_OK))
        count++;
    ended_rightly(status);
    for (size_t i = 0; i < count; i += LOOK_AT, looked++) {
        memguard_view view;
        bench_must(memguard_secret_acquire(secrets[i], MEMGUARD_READ, &view), "secret_acquire");
        (void)scale_look(view.data, view.size, &right);
        bench_must(memguard_view_release(&view), "view_release");
    }
    if (right != looked) bench_fail("the bytes shown are not those that were put in");
    return count;
}

const char *scale_open_compact(const struct scale_setup *setup, double values[SCALE_VALUES]) {
    const char *why = limit_to(8 << 20);
    (void)setup;
    if (why != NULL) return why;
    values[0] = (double)fill_compact(scale_vault());
    return NULL;
}

const char *scale_open_guarded(const struct scale_setup *setup, double values[SCALE_VALUES]) {
    enum { VIEWS = 4096 };
    static memguard_view views[VIEWS];
    const char *why = limit_to(8 << 20);
    memguard_status status = MEMGUARD_OK;
    size_t count = 0, right = 0;
    (void)setup;
    if (why != NULL) return why;
    memguard_vault *vault = scale_vault();
    for (; count < VIEWS && status == MEMGUARD_OK; count++) {
        const memguard_secret secret = make(vault, count, MEMGUARD_SEALED, &status);
        if (status == MEMGUARD_OK) status = memguard_secret_acquire(secret, MEMGUARD_READ, &views[count]);
    }
    ended_rightly(status);
    count--;
    for (size_t i = 0; i < count; i++)
        (void)scale_look(views[i].data, views[i].size, &right);
    if (right != count) bench_fail("the bytes shown are not those that were put in");
    values[0] = (double)count;
    return NULL;
}

/* In a quick run there are fewer sealed ones, too. */
const char *scale_open_few(const struct scale_setup *setup, double values[SCALE_VALUES]) {
    const size_t sealed = setup->many < SEALED ? setup->many : SEALED;
    const char *why = limit_to(64 << 10);
    memguard_secret first = {0};
    size_t right = 0;
    if (why != NULL) return why;
    memguard_vault *vault = scale_vault();
    for (size_t i = 0; i < sealed; i++) {
        memguard_status status = MEMGUARD_OK;
        const memguard_secret secret = make(vault, i, MEMGUARD_SEALED, &status);
        bench_must(status, "secret_take");
        if (i == 0) first = secret;
    }
    values[0] = (double)fill_compact(vault);
    bench_must(memguard_secret_use(first, scale_look, &right, NULL),
               "use of a sealed secret with no memory left to lock");
    if (right != 1) bench_fail("the bytes shown are not those that were put in");
    return NULL;
}
