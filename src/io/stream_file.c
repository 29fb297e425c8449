/* io/stream_file: a FILE face of streams. Contract: memguard/io.h. Must not know: how FILEs are made. */
#include <memguard/io.h>

#include "base/base.h"
#include "core/vault.h"
#include "sys/io.h"

#include <errno.h>
#include <stdlib.h>

struct face {
    struct mg__sys_file file; /* first */
    memguard_stream stream;
};

static int errno_of(memguard_status status) {
    if (status == MEMGUARD_ERR_EMPTY) return EAGAIN;
    if (status == MEMGUARD_ERR_AUTH) return EBADMSG;
    if (status == MEMGUARD_ERR_STALE || status == MEMGUARD_ERR_STATE) return EBADF;
    return status == MEMGUARD_ERR_MEMORY || status == MEMGUARD_ERR_LOCK_LIMIT ? ENOMEM : EIO;
}

static memguard_stream stream_of(struct mg__sys_file *file) { return ((struct face *)(void *)file)->stream; }

static long take_out(struct mg__sys_file *file, void *to, size_t bytes) {
    size_t got = 0;
    if (bytes == 0) return 0;
    const memguard_status status = memguard_stream_read(stream_of(file), to, bytes, &got);
    if (status == MEMGUARD_OK) return (long)got;
    return status == MEMGUARD_ERR_END ? 0 : -errno_of(status);
}

static long put_in(struct mg__sys_file *file, const void *from, size_t bytes) {
    if (bytes == 0) return 0;
    const memguard_status status = memguard_stream_write(stream_of(file), from, bytes);
    return status == MEMGUARD_OK ? (long)bytes : -errno_of(status);
}

static void forget(struct mg__sys_file *file) { free(file); }

static memguard_status open_file(struct face *face, bool to_write, FILE **file) {
    int error = 0;
    *file = mg__sys_file_open(&face->file, to_write, &error);
    if (*file != NULL) return MEMGUARD_OK;
    free(face);
    return mg__fail(error == ENOSYS ? MEMGUARD_ERR_UNSUPPORTED : MEMGUARD_ERR_MEMORY, error,
                    "no FILE could be made (errno %d)", error);
}

memguard_status memguard_stream_open_file(memguard_stream stream, const char *mode, FILE **file) {
    uint64_t bytes = 0;
    if (file == NULL) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    *file = NULL;
    if (mode == NULL || (strcmp(mode, "r") != 0 && strcmp(mode, "w") != 0))
        return mg__fail(MEMGUARD_ERR_ARGUMENT, 0, "the mode of a stream's FILE is \"r\" or \"w\"");
    const memguard_status status = memguard_stream_size(stream, &bytes); /* whether there is such a stream */
    if (status != MEMGUARD_OK) return status;
    struct face *face = malloc(sizeof *face);
    if (face == NULL) return mg__fail_plain(MEMGUARD_ERR_MEMORY);
    *face = (struct face){{take_out, put_in, forget}, stream};
    return open_file(face, mode[0] == 'w', file);
}
