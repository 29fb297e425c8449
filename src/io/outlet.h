/* io/outlet: all of some bytes to a descriptor. Must not know: what the bytes are. */
#ifndef MG_IO_OUTLET_H
#define MG_IO_OUTLET_H

#include "core/vault.h"

/* Only the kernel touches the bytes. handle: whose bytes they are; given up with STALE when it dies meanwhile (0: never). */
MG_MUST_USE memguard_status mg__outlet_write(int descriptor, const void *bytes, size_t count, uint64_t handle);

#endif
