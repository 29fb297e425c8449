/* io/output: writing secrets. Contract: memguard/io.h. Must not know: how bytes are sealed. */
#include "io/outlet.h"

#include "io/intake.h"
#include "sys/io.h"

#include <errno.h>

/* The descriptor takes nothing now. */
static memguard_status await(int descriptor, uint64_t handle) {
    enum mg__wait wait = MG_WAIT_NOT_YET;
    while (wait != MG_WAIT_READY) {
        const memguard_status status = mg__io_wait(descriptor, true, &wait);
        if (status != MEMGUARD_OK) return status;
        if (handle != 0 && !mg__secret_lives(handle)) return mg__fail_plain(MEMGUARD_ERR_STALE);
    }
    return MEMGUARD_OK;
}

/* A descriptor may block: a fork does not wait for that. */
static memguard_status write_some(int descriptor, const void *bytes, size_t count, long *put, int *error) {
    const unsigned depth = mg__call_park();
    *put = mg__sys_write(descriptor, bytes, count, error);
    return mg__call_unpark(depth);
}

memguard_status mg__outlet_write(int descriptor, const void *bytes, size_t count, uint64_t handle) {
    const unsigned char *at = bytes;
    while (count > 0) {
        int error = 0;
        long put = 0;
        memguard_status status = write_some(descriptor, at, count, &put, &error);
        if (status != MEMGUARD_OK) return status;
        if (put > 0) {
            at += put;
            count -= (size_t)put;
            continue;
        }
        if (put == 0) error = EIO; /* no descriptor should take nothing of something */
        if (error != EINTR && error != EAGAIN)
            return mg__fail(MEMGUARD_ERR_IO, error, "descriptor %d could not be written (errno %d)", descriptor, error);
        status = error == EAGAIN ? await(descriptor, handle) : MEMGUARD_OK;
        if (status != MEMGUARD_OK) return status;
    }
    return MEMGUARD_OK;
}

struct writing {
    int descriptor;
    uint64_t handle;
    memguard_status status;
};

static int write_all(const void *bytes, size_t size, void *arg) {
    struct writing *writing = arg;
    writing->status = mg__outlet_write(writing->descriptor, bytes, size, writing->handle);
    return 0;
}

/* By `use`, not by a view: that would stay borrowed for ever in a child that another thread forks meanwhile. */
memguard_status memguard_secret_write(memguard_secret secret, int descriptor) {
    struct writing writing = {descriptor, secret.id, MEMGUARD_OK};
    const memguard_status shown = memguard_secret_use(secret, write_all, &writing, NULL);
    /* A page that was taken away is why the kernel could not read it. */
    return shown != MEMGUARD_OK ? shown : writing.status;
}
