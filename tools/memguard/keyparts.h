/* keyparts.h: the secret numbers in a private key: which bytes of it are nobody else's to know. The modulus, public points
 * and the like are left out: whoever finds these has found nothing.
 *
 * Takes PKCS#8, PKCS#1, SEC 1 and OpenSSH's own form, in PEM. It knows no cryptography, only where things lie. Reads in
 * protected pages only; what it answers are places and lengths. */
#ifndef MEMGUARD_KEYPARTS_H
#define MEMGUARD_KEYPARTS_H

#include <memguard.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { KEY_PARTS = 16 };

struct key_part {
    const char *name; /* "d", "p", "seed"; static */
    uint32_t at, length;
};

struct key_parts {
    const char *kind; /* "RSA", "EC", "Ed25519", ...; static */
    size_t count;
    struct key_part part[KEY_PARTS];
};

enum key_problem {
    KEY_FINE,
    KEY_NO_KEY,
    KEY_SEVERAL,
    KEY_IS_ENCRYPTED,
    KEY_NOT_UNDERSTOOD,
    KEY_IN_HARDWARE,
    KEY_LIBRARY
};

/* Whether the text is a private key in PEM. */
bool key_is_pem(const void *text, size_t bytes);

/* *binary is what the private key in the PEM text `key` holds, decoded, in the same vault; *parts say what in it is
 * secret. KEY_LIBRARY: *status says why. */
enum key_problem key_decode(memguard_vault *vault, memguard_secret key, memguard_secret *binary,
                            struct key_parts *parts, memguard_status *status);

const char *key_problem_text(enum key_problem problem);

#endif
