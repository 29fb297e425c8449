/* maps.h: the list of a process's mappings, as /proc/PID/maps has it. */
#ifndef MEMGUARD_MAPS_H
#define MEMGUARD_MAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { MAPPING_NAME = 40 };

struct mapping {
    uint64_t start, end, inode;
    uint64_t offset; /* in the file */
    bool readable, writable, executable, shared;
    bool file;               /* it has a path */
    bool memory_file;        /* a memfd, /dev/shm, System V */
    bool hidden;             /* memfd_secret: shown to nobody */
    bool device;             /* a device's memory */
    char name[MAPPING_NAME]; /* the last part of the path, "[heap]", "anonymous" */
};

struct maps {
    struct mapping *list; /* in order; to be freed by maps_drop */
    size_t count;
};

/* 0, or an errno (EPROTO: the list is not understood). */
int maps_read(pid_t pid, struct maps *maps);
void maps_drop(struct maps *maps);

/* The mapping with this address, or NULL. */
const struct mapping *maps_find(const struct maps *maps, uint64_t address);

/* Pages that the kernel shares with everyone. */
bool mapping_is_kernels(const struct mapping *mapping);

#endif
