/* keyfile.h: taking a private key into a secret: from a file, or a fresh one. Its bytes go by read(2) into a WRITE
 * view; they are never in an ordinary buffer. */
#ifndef MEMGUARD_KEYFILE_H
#define MEMGUARD_KEYFILE_H

#include <memguard.h>
#include <stdbool.h>
#include <stddef.h>

enum key_format { KEY_UNKNOWN, KEY_PEM, KEY_OPENSSH, KEY_ENCRYPTED };

/* Where a fresh key came from. */
enum key_maker { KEY_MADE_BY_NOBODY, KEY_MADE_BY_OPENSSL, KEY_MADE_BY_SSH_KEYGEN };

enum { KEY_LARGEST = 1024 * 1024, KEY_SAMPLES = 2, KEY_SAMPLE_BYTES = 32 };

struct key {
    memguard_secret secret;
    size_t bytes;
    enum key_format format;
};

/* Reads the private key in the file `path`. Returns an exit code (command.h); said why on standard error. */
int key_from_file(struct key *key, memguard_vault *vault, const char *path);

/* A fresh key on the curve P-256: by `openssl genpkey` through a pipe, or, without openssl, by ssh-keygen, which can
 * only write a file: in memory (tempdir.h), overwritten and removed at once. *maker is KEY_MADE_BY_NOBODY when neither
 * is installed: no failure. False: said why. */
bool key_make(struct key *key, memguard_vault *vault, enum key_maker *maker);

/* The offset in a key of a sample of KEY_SAMPLE_BYTES from inside its base64 text (sample 0 or 1: after a third, two
 * thirds). False: it is too short. Reads the bytes, keeps nothing. */
bool key_sample(const void *bytes, size_t size, unsigned sample, size_t *offset);

#endif
