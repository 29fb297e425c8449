/* Another search of a core file, made in another way than tools/memguard/needle.c, and as plainly as can be: all forms of
 * all windows of 8 bytes are written down, and each is looked for by memmem. Prints "ADDRESS FORM BYTES" for each run.
 * usage: scan_reference CORE SECRET */
#define _GNU_SOURCE
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 4096 };

static unsigned char *core, secret[MOST];
static size_t core_bytes, secret_bytes;

/* For each form: a mark at every byte of memory at which a window begins. */
static unsigned char *begins;

static size_t read_all(const char *path, unsigned char *to, size_t most) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) exit(2);
    size_t got = fread(to, 1, most, file);
    fclose(file);
    return got;
}

static void upper(unsigned char *text, size_t bytes) {
    for (size_t i = 0; i < bytes; i++)
        if (text[i] >= 'a') text[i] = (unsigned char)(text[i] - 32);
}

static size_t write_window(unsigned char *to, const char *form, const unsigned char *from) {
    for (size_t i = 0; i < 8; i++) {
        if (strcmp(form, "raw") == 0) to[i] = from[i];
        if (strcmp(form, "reversed") == 0) to[i] = from[7 - i];
        if (strcmp(form, "hex") == 0) sprintf((char *)to + 2 * i, "%02x", from[i]);
        if (form[0] == 'U') to[2 * i] = from[i], to[2 * i + 1] = 0;
    }
    return form[0] == 'r' ? 8 : form[0] == 'U' ? 15 : 16;
}

/* The runs of one form in one segment. A byte of the secret takes `step` bytes. */
static void search(const char *form, size_t step, const unsigned char *from, size_t bytes, unsigned long long address) {
    memset(begins, 0, bytes);
    for (size_t at = 0; at + 8 <= secret_bytes; at++) {
        unsigned char window[40];
        size_t length = write_window(window, form, secret + at);
        for (int turn = 0; turn < (form[0] == 'h' ? 2 : 1); turn++) {
            const unsigned char *hit = from;
            while ((hit = memmem(hit, bytes - (size_t)(hit - from), window, length)) != NULL)
                begins[hit++ - from] = 1;
            upper(window, length);
        }
    }
    for (size_t i = 0; i < bytes; i++) {
        if (!begins[i] || (i >= step && begins[i - step])) continue;
        size_t count = 1;
        while (i + count * step < bytes && begins[i + count * step])
            count++;
        printf("%#llx %s %zu\n", address + i, form, count + 7);
    }
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    core = malloc(64 << 20), begins = malloc(64 << 20);
    if (core == NULL || begins == NULL) return 2;
    core_bytes = read_all(argv[1], core, 64 << 20);
    secret_bytes = read_all(argv[2], secret, sizeof secret);
    const Elf64_Ehdr *head = (const Elf64_Ehdr *)core;
    const Elf64_Phdr *segments = (const Elf64_Phdr *)(core + head->e_phoff);
    for (size_t i = 0; i < head->e_phnum; i++) {
        if (segments[i].p_type != PT_LOAD || segments[i].p_offset + segments[i].p_filesz > core_bytes) continue;
        const unsigned char *from = core + segments[i].p_offset;
        search("raw", 1, from, segments[i].p_filesz, segments[i].p_vaddr);
        search("reversed", 1, from, segments[i].p_filesz, segments[i].p_vaddr);
        search("hex", 2, from, segments[i].p_filesz, segments[i].p_vaddr);
        search("UTF-16", 2, from, segments[i].p_filesz, segments[i].p_vaddr);
    }
    return 0;
}
