/* Spoils a core file: bytes of its head, of its list of segments and of its notes get random or extreme values; or it is
 * cut off. usage: scan_mutate CORE SEED > SPOILED */
#define _GNU_SOURCE
#include <elf.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 16 << 20 };

static unsigned char core[MOST];

static uint64_t extreme(size_t bytes) {
    const uint64_t values[] = {0,          1,      UINT64_MAX, UINT64_MAX - 4095, INT64_MAX,
                               UINT32_MAX, 0xffff, bytes,      bytes - 1,         4096};
    return values[(size_t)random() % (sizeof values / sizeof values[0])];
}

int main(int argc, char **argv) {
    FILE *file = argc == 3 ? fopen(argv[1], "rb") : NULL;
    if (file == NULL) return 2;
    size_t bytes = fread(core, 1, MOST, file);
    const Elf64_Ehdr head = *(const Elf64_Ehdr *)core;
    size_t table = head.e_phoff, table_bytes = (size_t)head.e_phnum * sizeof(Elf64_Phdr);
    if (table + table_bytes > bytes) return 2;
    srandom((unsigned)atoi(argv[2]));
    for (int i = random() % 4; i >= 0; i--) {
        uint64_t value = random() % 2 == 0 ? extreme(bytes) : (uint64_t)random();
        size_t in_head = (size_t)random() % (sizeof head - 8),
               in_table = (size_t)random() % (table_bytes - 8) & ~(size_t)7;
        size_t in_notes = table + table_bytes + ((size_t)random() % 4096 & ~(size_t)3);
        switch (random() % 6) {
        case 0:
            memcpy(core + 16 + in_head % 48, &value, random() % 2 == 0 ? 2 : 8);
            break;
        case 1:
        case 2:
            memcpy(core + table + in_table, &value, 8);
            break;
        case 3: /* one segment lies where another lies */
            memcpy(core + table + (size_t)random() % head.e_phnum * sizeof(Elf64_Phdr) + 8,
                   core + table + (size_t)random() % head.e_phnum * sizeof(Elf64_Phdr) + 8, 8);
            break;
        case 4:
            if (in_notes + 8 < bytes) memcpy(core + in_notes, &value, 4);
            break;
        default:
            if (random() % 4 == 0) bytes = (size_t)random() % bytes + 1;
        }
        if (table + table_bytes + 8 > bytes) break;
    }
    return fwrite(core, 1, bytes, stdout) == bytes ? 0 : 2;
}
