/* Random input for the reader of git's lines, and names there and back. Built with parts of the command by test_git_credential.sh.
 *   credential_check SEED COUNT
 * Every random choice comes from the seed. Exits with 0 when all is as it should be. */
#define _GNU_SOURCE
#include "credential.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static uint64_t seed;

static uint64_t draw(uint64_t below) { /* splitmix64 */
    uint64_t z = seed += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return (z ^ (z >> 31)) % below;
}

struct input {
    char bytes[1 << 18];
    size_t size;
};

static void add(struct input *input, const char *bytes, size_t size) {
    if (size > sizeof input->bytes - input->size) size = sizeof input->bytes - input->size;
    memcpy(input->bytes + input->size, bytes, size);
    input->size += size;
}

static void add_text(struct input *input, const char *text) { add(input, text, strlen(text)); }

/* Mostly short and printable; else too long, or anything. */
static void add_value(struct input *input) {
    static const uint64_t sizes[] = {1, 2, 12, 40, 300, 1025, 70000};
    uint64_t size = draw(sizes[draw(60) != 0 ? draw(5) : draw(7)]), noise = draw(24);
    for (uint64_t i = 0; i < size; i++) {
        char c = noise == 0 ? (char)draw(256) : noise == 1 ? "/@:=%'.-"[draw(8)] : (char)(' ' + draw(95));
        add(input, &c, 1);
    }
}

static void make(struct input *input) {
    static const char *const keys[] = {
        "protocol",  "host",    "path", "username",     "password", "password_expiry_utc",
        "wwwauth[]", "state[]", "quit", "capability[]", "host",     "protocol"};
    input->size = 0;
    for (uint64_t lines = draw(8); lines-- > 0;) {
        add_text(input, draw(30) == 0 ? "" : draw(30) == 0 ? "no-value" : keys[draw(12)]);
        if (draw(40) != 0) add_text(input, "=");
        add_value(input);
        if (draw(40) != 0) add_text(input, "\n");
    }
    if (draw(3) == 0) add_text(input, "\n");
    for (uint64_t flips = draw(10) == 0 ? draw(4) : 0; flips-- > 0 && input->size > 0;)
        input->bytes[draw(input->size)] ^= (char)(1 << draw(8));
}

static bool is_the_same(const struct credential *one, const struct credential *other) {
    return strcmp(one->protocol, other->protocol) == 0 && strcmp(one->host, other->host) == 0 &&
           strcmp(one->path, other->path) == 0 && strcmp(one->user, other->user) == 0 &&
           one->has_user == other->has_user;
}

/* What was understood has a name, or none; from the name the same comes back. */
static bool comes_back(const struct credential *credential) {
    char name[WIRE_NAME_MOST + 1];
    struct credential again;
    if (!credential_name(credential, name)) return true;
    return wire_name_is_good(name, strlen(name)) && credential_parse(name, &again) && is_the_same(credential, &again) &&
           credential_rank(credential, &again) > 0;
}

/* A name that a person made up. */
static bool parses(const struct input *input) {
    char name[WIRE_NAME_MOST + 1] = "git:";
    struct credential have;
    size_t size = input->size < 200 ? input->size : 200;
    memcpy(name + 4, input->bytes, size);
    name[4 + size] = '\0';
    return !credential_parse(name, &have) || comes_back(&have);
}

static bool try(memguard_vault *vault, int fd, struct input *input, unsigned *understood) {
    struct credential credential;
    if (ftruncate(fd, 0) != 0 || pwrite(fd, input->bytes, input->size, 0) != (ssize_t)input->size) return false;
    lseek(fd, 0, SEEK_SET);
    bool good = parses(input), read = credential_read(vault, fd, &credential);
    if (read) *understood += credential.host[0] != '\0';
    if (read) good &= comes_back(&credential);
    return good && (credential.password.id == 0 || memguard_secret_destroy(&credential.password) == MEMGUARD_OK);
}

int main(int argc, char **argv) {
    static struct input input;
    unsigned understood = 0;
    memguard_vault *vault = NULL;
    if (argc != 3 || memguard_vault_create(NULL, &vault) != MEMGUARD_OK) return 2;
    seed = strtoull(argv[1], NULL, 10);
    int fd = memfd_create("input", MFD_CLOEXEC);
    if (freopen("/dev/null", "w", stderr) == NULL) return 2; /* which inputs are refused is said there */
    for (long i = 0, count = atol(argv[2]); i < count; i++) {
        make(&input);
        if (try(vault, fd, &input, &understood)) continue;
        printf("credential_check: seed %s, input %ld\n", argv[1], i);
        return 1;
    }
    if (memguard_vault_destroy(&vault) != MEMGUARD_OK) return 1;
    printf("%u understood\n", understood);
    return understood == 0;
}
