/* The hand-over by memfd. The order matters: F_SEAL_WRITE would be refused while we map it writable, and a mapping made
 * after F_SEAL_FUTURE_WRITE could not write; so: size, map, write, seal. Sources: memfd_create(2), fcntl(2) "File
 * Sealing", the kernel's Documentation/admin-guide/sysctl/vm.rst (memfd_noexec). */
#define _GNU_SOURCE
#include "handoff.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tidy.h"
#include "ui.h"

/* Newer than some C libraries. */
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U
#endif
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

static bool fail(const char *what) {
    ui_error("the hand-over: %s: %s", what, strerror(errno));
    return false;
}

/* Never executable; kernels before 6.3 do not know the flag and ask for none. */
static int make_file(void) {
    int fd = memfd_create("memguard", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL) fd = memfd_create("memguard", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return fd;
}

static bool map_file(struct handoff *handoff) {
    void *map = mmap(NULL, handoff->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, handoff->fd, 0);
    if (map == MAP_FAILED) return false;
    handoff->map = map;
    handoff->locked = mlock(map, handoff->bytes) == 0;
    madvise(map, handoff->bytes, MADV_DONTDUMP);
    madvise(map, handoff->bytes, MADV_DONTFORK);
    return tidy_add_area(map, handoff->bytes);
}

bool handoff_begin(struct handoff *handoff, size_t bytes) {
    *handoff = (struct handoff){.fd = -1, .bytes = bytes};
    handoff->fd = make_file();
    if (handoff->fd < 0) return fail("memfd_create");
    bool good = fchmod(handoff->fd, S_IRUSR | S_IWUSR) == 0 || fail("fchmod");
    if (good) good = ftruncate(handoff->fd, (off_t)bytes) == 0 || fail("ftruncate");
    if (good) good = map_file(handoff) || fail("mmap");
    if (!good) handoff_wipe(handoff);
    return good;
}

bool handoff_put(struct handoff *handoff, size_t at, const void *bytes, size_t size) {
    size_t done = 0;
    while (done < size) {
        ssize_t got = pwrite(handoff->fd, (const char *)bytes + done, size - done, (off_t)(at + done));
        if (got < 0 && errno != EINTR) return fail("write");
        if (got > 0) done += (size_t)got;
    }
    return true;
}

struct put {
    struct handoff *handoff;
    size_t at;
};

static int put_bytes(const void *bytes, size_t size, void *arg) {
    const struct put *put = arg;
    return handoff_put(put->handoff, put->at, bytes, size);
}

bool handoff_put_secret(struct handoff *handoff, size_t at, memguard_secret secret) {
    struct put put = {handoff, at};
    int done = 0;
    memguard_status status = memguard_secret_use(secret, put_bytes, &put, &done);
    if (status != MEMGUARD_OK) ui_library_error("the hand-over", status);
    return status == MEMGUARD_OK && done;
}

bool handoff_end(struct handoff *handoff) {
    const int size_and_seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    handoff->sealed = fcntl(handoff->fd, F_ADD_SEALS, size_and_seals | F_SEAL_FUTURE_WRITE) == 0;
    return handoff->sealed || fcntl(handoff->fd, F_ADD_SEALS, size_and_seals) == 0 || fail("F_ADD_SEALS");
}

bool handoff_open(struct handoff *handoff, memguard_secret secret) {
    memguard_info info = MEMGUARD_INFO_INIT;
    memguard_status status = memguard_secret_info(secret, &info);
    *handoff = (struct handoff){.fd = -1};
    if (status != MEMGUARD_OK) {
        ui_library_error("the hand-over", status);
        return false;
    }
    if (!handoff_begin(handoff, info.bytes)) return false;
    if (handoff_put_secret(handoff, 0, secret) && handoff_end(handoff)) return true;
    handoff_wipe(handoff);
    return false;
}

/* Reads what the file holds now. */
static bool is_zero(const struct handoff *handoff) {
    unsigned char block[512], all = 0;
    size_t done = 0;
    while (done < handoff->bytes) {
        ssize_t got = pread(handoff->fd, block, sizeof block, (off_t)done);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) {
            all = 1;
            break;
        }
        for (ssize_t i = 0; i < got; i++)
            all |= block[i];
        done += (size_t)got;
    }
    memguard_wipe(block, sizeof block);
    return all == 0;
}

bool handoff_wipe(struct handoff *handoff) {
    bool zero = true;
    if (handoff->map != NULL) {
        memguard_wipe(handoff->map, handoff->bytes);
        zero = is_zero(handoff);
        tidy_strike_area(handoff->map);
        munmap(handoff->map, handoff->bytes);
    }
    if (handoff->fd >= 0) close(handoff->fd);
    *handoff = (struct handoff){.fd = -1};
    if (!zero) ui_error("the hand-over: not all of it reads back as zero");
    return zero;
}
