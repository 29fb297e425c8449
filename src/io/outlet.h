/* io/outlet: all of some bytes to a descriptor. Must not know: what the bytes are. */
#ifndef MG_IO_OUTLET_H
#define MG_IO_OUTLET_H

#include "core/vault.h"

/* Only the kernel touches the bytes. secret: given up with STALE when it dies meanwhile (null: never). IO: *error. */
MG_MUST_USE memguard_status mg__outlet_write(int descriptor, const void *bytes, size_t count,
                                             const memguard_secret *secret);

#endif
