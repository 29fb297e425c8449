/* credential.h: what git tells a credential helper, and the names under which the agent holds it:
 *
 *     git:PROTOCOL://[USER@]HOST[:PORT][/PATH]
 *
 * with =XX for what a name may not have (name.h). Every value of the input
 * goes into protected pages first, whatever its key: only those of protocol, host, path, username and password_expiry_utc leave them.
 * Must not know: the agent. Sources: gitcredentials(7), git-credential(1) "INPUT/OUTPUT FORMAT". */
#ifndef MEMGUARD_CREDENTIAL_H
#define MEMGUARD_CREDENTIAL_H

#include <memguard.h>
#include <stdbool.h>
#include <stdint.h>

#include "wire.h"

enum {
    CREDENTIAL_KEY_MOST = 64,
    CREDENTIAL_TEXT_MOST = 1024,
    CREDENTIAL_VALUE_MOST = 1 << 16,
    CREDENTIAL_LINES_MOST = 1024,
};

struct credential {
    char protocol[CREDENTIAL_TEXT_MOST + 1];
    char host[CREDENTIAL_TEXT_MOST + 1]; /* with the port; "": none */
    char path[CREDENTIAL_TEXT_MOST + 1]; /* "": none */
    char user[CREDENTIAL_TEXT_MOST + 1];
    bool has_user;            /* which may be "" */
    uint64_t expires_s;       /* since 1970; 0: not said */
    memguard_secret password; /* {0}: none */
};

/* Reads lines KEY=VALUE up to an empty one or the end. The password dies with the vault. False: said
 * why on standard error. */
bool credential_read(memguard_vault *vault, int fd, struct credential *credential);

/* The name for it. False: it has none: no protocol, neither host nor path, or too long; said why. */
bool credential_name(const struct credential *credential, char name[WIRE_NAME_MOST + 1]);

/* The parts of such a name, which may have been given by a person. False: it is another kind of name. */
bool credential_parse(const char *name, struct credential *credential);

/* How well `have`, from a name, serves what git wants; 0: not at all. What one of the two leaves open fits; a host never does. */
int credential_rank(const struct credential *want, const struct credential *have);

#endif
