/* Where the secret numbers lie. Sources: RFC 7468 (PEM), RFC 5958 (PKCS#8), RFC 8017 A.1.2 (RSA), RFC 5915 (EC), RFC 8410
 * (Ed25519 and its like), X.690 (DER); OpenSSH's PROTOCOL.key. */
#define _GNU_SOURCE
#include "keyparts.h"

#include <memguard/codec.h>
#include <string.h>

const char *key_problem_text(enum key_problem problem) {
    switch (problem) {
    case KEY_FINE:
        return "nothing";
    case KEY_NO_KEY:
        return "is not a private key in PEM or OpenSSH form";
    case KEY_SEVERAL:
        return "has several private keys: one at a time";
    case KEY_IS_ENCRYPTED:
        return "is encrypted with a passphrase: its numbers are not known here; give a copy of it that has none, by a "
               "pipe";
    case KEY_NOT_UNDERSTOOD:
        return "is a private key whose inside is not understood";
    case KEY_IN_HARDWARE:
        return "is a key whose secret is in a hardware token, not in the file";
    case KEY_LIBRARY:
        break;
    }
    return "could not be looked at";
}

/* ---- bytes, never read beyond their end ---- */

struct span {
    const uint8_t *at;
    size_t left;
};

static bool take(struct span *from, size_t bytes, struct span *taken) {
    if (bytes > from->left) return false;
    *taken = (struct span){from->at, bytes};
    from->at += bytes;
    from->left -= bytes;
    return true;
}

/* Where parts are noted. */
struct reader {
    const uint8_t *begin;
    struct key_parts *parts;
};

/* A number has zeros in front that nobody keeps. */
static void note(struct reader *reader, const char *name, struct span bytes, bool number) {
    struct key_parts *parts = reader->parts;
    while (number && bytes.left > 0 && bytes.at[0] == 0)
        bytes.at++, bytes.left--;
    if (bytes.left == 0 || parts->count == KEY_PARTS) return;
    parts->part[parts->count++] = (struct key_part){name, (uint32_t)(bytes.at - reader->begin), (uint32_t)bytes.left};
}

/* ---- DER ---- */

enum { DER_INTEGER = 0x02, DER_OCTETS = 0x04, DER_OID = 0x06, DER_SEQUENCE = 0x30 };

/* The next element, if it has this tag. Lengths of up to 4 bytes, as nothing here is longer. */
static bool der(struct span *from, uint8_t tag, struct span *content) {
    struct span rest = *from, head, more;
    if (!take(&rest, 2, &head) || head.at[0] != tag) return false;
    size_t length = head.at[1];
    if (length >= 0x80) {
        size_t count = length & 0x7f;
        if (count == 0 || count > 4 || !take(&rest, count, &more)) return false;
        length = 0;
        for (size_t i = 0; i < count; i++)
            length = length << 8 | more.at[i];
    }
    if (!take(&rest, length, content)) return false;
    *from = rest;
    return true;
}

static bool is_oid(struct span oid, const char *bytes, size_t length) {
    return oid.left == length && memcmp(oid.at, bytes, length) == 0;
}

/* RSAPrivateKey: version, n, e, d, p, q, dp, dq, qinv. */
static bool read_rsa(struct reader *reader, struct span from) {
    static const char *const names[] = {NULL, NULL, NULL, "d", "p", "q", "dp", "dq", "qinv"};
    struct span numbers, number;
    if (!der(&from, DER_SEQUENCE, &numbers)) return false;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (!der(&numbers, DER_INTEGER, &number)) return false;
        if (names[i] != NULL) note(reader, names[i], number, true);
    }
    reader->parts->kind = "RSA";
    return true;
}

/* ECPrivateKey: version, scalar, and public things. */
static bool read_ec(struct reader *reader, struct span from) {
    struct span all, version, scalar;
    if (!der(&from, DER_SEQUENCE, &all) || !der(&all, DER_INTEGER, &version) || !der(&all, DER_OCTETS, &scalar))
        return false;
    note(reader, "scalar", scalar, true);
    reader->parts->kind = "EC";
    return true;
}

/* The old form of DSA: version, p, q, g, y, x. */
static bool read_dsa(struct reader *reader, struct span from) {
    struct span numbers, number = {0};
    if (!der(&from, DER_SEQUENCE, &numbers)) return false;
    for (size_t i = 0; i < 6; i++)
        if (!der(&numbers, DER_INTEGER, &number)) return false;
    note(reader, "x", number, true);
    reader->parts->kind = "DSA";
    return true;
}

/* What is in PKCS#8's octets for all other kinds: an OCTET STRING (RFC 8410), an INTEGER (DSA, DH), or bytes. */
static bool read_other(struct reader *reader, struct span octets) {
    struct span inner, from = octets;
    if (der(&from, DER_OCTETS, &inner) && from.left == 0) {
        note(reader, "seed", inner, false);
    } else {
        from = octets;
        bool number = der(&from, DER_INTEGER, &inner) && from.left == 0;
        note(reader, "private part", number ? inner : octets, number);
    }
    return reader->parts->count != 0;
}

static bool read_pkcs8(struct reader *reader, struct span from) {
    struct span all, version, algorithm, oid, octets;
    if (!der(&from, DER_SEQUENCE, &all) || !der(&all, DER_INTEGER, &version) || !der(&all, DER_SEQUENCE, &algorithm) ||
        !der(&algorithm, DER_OID, &oid) || !der(&all, DER_OCTETS, &octets))
        return false;
    if (is_oid(oid, "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01", 9) ||
        is_oid(oid, "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a", 9))
        return read_rsa(reader, octets);
    if (is_oid(oid, "\x2a\x86\x48\xce\x3d\x02\x01", 7)) return read_ec(reader, octets);
    if (is_oid(oid, "\x2b\x65\x70", 3)) reader->parts->kind = "Ed25519";
    return read_other(reader, octets);
}

/* ---- OpenSSH ---- */

static bool number32(struct span *from, uint32_t *number) {
    struct span bytes;
    if (!take(from, 4, &bytes)) return false;
    *number = (uint32_t)bytes.at[0] << 24 | (uint32_t)bytes.at[1] << 16 | (uint32_t)bytes.at[2] << 8 | bytes.at[3];
    return true;
}

static bool string(struct span *from, struct span *bytes) {
    uint32_t length;
    return number32(from, &length) && take(from, length, bytes);
}

static bool is_text(struct span bytes, const char *text) {
    return bytes.left == strlen(text) && memcmp(bytes.at, text, bytes.left) == 0;
}

/* Fields behind the name of the kind: a name for each that is secret, NULL for what is public, to the last secret one. */
struct ssh_kind {
    const char *type, *kind;
    const char *fields[7];
    size_t count, keep; /* keep: so many bytes of the last field are secret; 0: all, a number */
};

static const struct ssh_kind ssh_kinds[] = {
    {"ssh-rsa", "RSA", {NULL, NULL, "d", "qinv", "p", "q"}, 6, 0},
    {"ssh-ed25519", "Ed25519", {NULL, "seed"}, 2, 32},
    {"ssh-dss", "DSA", {NULL, NULL, NULL, NULL, "x"}, 5, 0},
    {"ecdsa-sha2-nistp256", "EC", {NULL, NULL, "scalar"}, 3, 0},
    {"ecdsa-sha2-nistp384", "EC", {NULL, NULL, "scalar"}, 3, 0},
    {"ecdsa-sha2-nistp521", "EC", {NULL, NULL, "scalar"}, 3, 0},
};

static bool read_ssh_fields(struct reader *reader, struct span from, const struct ssh_kind *kind) {
    struct span field;
    for (size_t i = 0; i < kind->count; i++) {
        if (!string(&from, &field)) return false;
        if (kind->fields[i] == NULL) continue;
        if (kind->keep != 0 && field.left > kind->keep) field.left = kind->keep;
        note(reader, kind->fields[i], field, kind->keep == 0);
    }
    reader->parts->kind = kind->kind;
    return true;
}

/* "openssh-key-v1", cipher, way and rounds of the passphrase, number of keys, public key; then the private ones. */
static enum key_problem read_openssh(struct reader *reader, struct span from) {
    struct span magic, cipher, way, options, public_key, inside, type;
    uint32_t keys, check[2];
    if (!take(&from, 15, &magic) || memcmp(magic.at, "openssh-key-v1", 15) != 0) return KEY_NOT_UNDERSTOOD;
    if (!string(&from, &cipher) || !string(&from, &way) || !string(&from, &options) || !number32(&from, &keys))
        return KEY_NOT_UNDERSTOOD;
    if (!is_text(cipher, "none")) return KEY_IS_ENCRYPTED;
    if (keys != 1 || !string(&from, &public_key) || !string(&from, &inside)) return KEY_NOT_UNDERSTOOD;
    if (!number32(&inside, &check[0]) || !number32(&inside, &check[1]) || !string(&inside, &type))
        return KEY_NOT_UNDERSTOOD;
    for (size_t i = 0; i < sizeof ssh_kinds / sizeof ssh_kinds[0]; i++)
        if (is_text(type, ssh_kinds[i].type))
            return read_ssh_fields(reader, inside, &ssh_kinds[i]) ? KEY_FINE : KEY_NOT_UNDERSTOOD;
    return type.left > 3 && memcmp(type.at, "sk-", 3) == 0 ? KEY_IN_HARDWARE : KEY_NOT_UNDERSTOOD;
}

/* ---- PEM ---- */

enum pem_label { PEM_NONE, PEM_PKCS8, PEM_RSA, PEM_EC, PEM_DSA, PEM_OPENSSH, PEM_ENCRYPTED };

struct pem {
    enum pem_label label;
    size_t body, body_bytes; /* the base64 text, line ends and all, in the key's bytes */
    size_t digits;
    bool several; /* another key follows */
};

static bool passes(struct span *from, const char *words) {
    struct span text;
    struct span rest = *from;
    if (!take(&rest, strlen(words), &text) || memcmp(text.at, words, text.left) != 0) return false;
    *from = rest;
    return true;
}

static enum pem_label read_label(struct span *from) {
    static const struct {
        const char *words;
        enum pem_label label;
    } labels[] = {
        {"PRIVATE KEY-----", PEM_PKCS8},           {"RSA PRIVATE KEY-----", PEM_RSA},
        {"EC PRIVATE KEY-----", PEM_EC},           {"DSA PRIVATE KEY-----", PEM_DSA},
        {"OPENSSH PRIVATE KEY-----", PEM_OPENSSH}, {"ENCRYPTED PRIVATE KEY-----", PEM_ENCRYPTED},
    };
    for (size_t i = 0; i < sizeof labels / sizeof labels[0]; i++)
        if (passes(from, labels[i].words)) return labels[i].label;
    return PEM_NONE;
}

/* Passes over the beginning of the next private key. */
static enum pem_label next_label(struct span *rest) {
    static const char begin[] = "-----BEGIN ";
    enum pem_label label = PEM_NONE;
    while (label == PEM_NONE) {
        const uint8_t *at = memmem(rest->at, rest->left, begin, sizeof begin - 1);
        if (at == NULL) break;
        rest->left -= (size_t)(at - rest->at) + sizeof begin - 1;
        rest->at = at + sizeof begin - 1;
        label = read_label(rest);
    }
    return label;
}

/* The first private key in the text. */
static void find_pem(const uint8_t *text, size_t bytes, struct pem *pem) {
    static const char end[] = "-----END ";
    struct span rest = {text, bytes};
    *pem = (struct pem){.label = next_label(&rest)};
    if (pem->label == PEM_NONE) return;
    const uint8_t *stop = memmem(rest.at, rest.left, end, sizeof end - 1);
    pem->body = (size_t)(rest.at - text);
    pem->body_bytes = stop != NULL ? (size_t)(stop - rest.at) : 0;
    if (memmem(rest.at, pem->body_bytes, "ENCRYPTED", 9) != NULL)
        pem->label = PEM_ENCRYPTED; /* Proc-Type: 4,ENCRYPTED */
    for (size_t i = 0; i < pem->body_bytes; i++)
        pem->digits += rest.at[i] > ' ';
    pem->several = next_label(&rest) != PEM_NONE;
}

bool key_is_pem(const void *text, size_t bytes) {
    struct pem pem;
    find_pem(text, bytes, &pem);
    return pem.label != PEM_NONE;
}

/* ---- from one secret to the next ---- */

static int find_in(const void *bytes, size_t size, void *arg) {
    find_pem(bytes, size, arg);
    return 0;
}

struct squeeze {
    const struct pem *pem;
    uint8_t *to;
};

static int squeeze(const void *bytes, size_t size, void *arg) {
    const struct squeeze *job = arg;
    const uint8_t *body = (const uint8_t *)bytes + job->pem->body;
    size_t at = 0;
    (void)size;
    for (size_t i = 0; i < job->pem->body_bytes; i++) /* where lines end is no secret */
        if (body[i] > ' ') job->to[at++] = body[i];
    return 0;
}

/* The base64 text alone, as the decoder wants it. */
static memguard_status make_digits(memguard_vault *vault, memguard_secret key, const struct pem *pem,
                                   memguard_secret *digits) {
    MEMGUARD_AUTO_VIEW memguard_view view = {0};
    memguard_status status = memguard_secret_create(vault, pem->digits, MEMGUARD_SEALED, digits);
    if (status == MEMGUARD_OK) status = memguard_secret_acquire(*digits, MEMGUARD_WRITE, &view);
    struct squeeze job = {pem, view.data};
    if (status == MEMGUARD_OK) status = memguard_secret_use(key, squeeze, &job, NULL);
    memguard_status released = memguard_view_release(&view);
    return status != MEMGUARD_OK ? status : released;
}

struct reading {
    enum pem_label label;
    struct key_parts *parts;
};

static int read_parts(const void *bytes, size_t size, void *arg) {
    const struct reading *reading = arg;
    struct reader reader = {bytes, reading->parts};
    const struct span all = {bytes, size};
    bool good = false;
    *reading->parts = (struct key_parts){.kind = "key"};
    switch (reading->label) {
    case PEM_OPENSSH:
        return (int)read_openssh(&reader, all);
    case PEM_PKCS8:
        good = read_pkcs8(&reader, all);
        break;
    case PEM_RSA:
        good = read_rsa(&reader, all);
        break;
    case PEM_EC:
        good = read_ec(&reader, all);
        break;
    case PEM_DSA:
        good = read_dsa(&reader, all);
        break;
    case PEM_NONE:
    case PEM_ENCRYPTED:
        break;
    }
    return good ? KEY_FINE : KEY_NOT_UNDERSTOOD;
}

static enum key_problem library(memguard_status why, memguard_status *status) {
    *status = why;
    return KEY_LIBRARY;
}

enum key_problem key_decode(memguard_vault *vault, memguard_secret key, memguard_secret *binary,
                            struct key_parts *parts, memguard_status *status) {
    MEMGUARD_AUTO memguard_secret digits = {0};
    struct pem pem;
    int problem = KEY_FINE;
    *status = memguard_secret_use(key, find_in, &pem, NULL);
    if (*status != MEMGUARD_OK) return KEY_LIBRARY;
    if (pem.label == PEM_NONE) return KEY_NO_KEY;
    if (pem.several) return KEY_SEVERAL;
    if (pem.label == PEM_ENCRYPTED) return KEY_IS_ENCRYPTED;
    if (pem.digits == 0) return KEY_NOT_UNDERSTOOD;
    *status = make_digits(vault, key, &pem, &digits);
    if (*status != MEMGUARD_OK) return KEY_LIBRARY;
    memguard_status decoded = memguard_base64_decode(digits, 0, MEMGUARD_SEALED, binary);
    if (decoded == MEMGUARD_ERR_FORMAT) return KEY_NOT_UNDERSTOOD;
    if (decoded != MEMGUARD_OK) return library(decoded, status);
    struct reading reading = {pem.label, parts};
    *status = memguard_secret_use(*binary, read_parts, &reading, &problem);
    return *status != MEMGUARD_OK ? KEY_LIBRARY : (enum key_problem)problem;
}
