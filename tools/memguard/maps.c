/* Reading /proc/PID/maps: "start-end rights offset device inode   path". Source: proc(5). */
#define _GNU_SOURCE
#include "maps.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool begins(const char *text, const char *with) { return strncmp(text, with, strlen(with)) == 0; }

/* What a path tells: "/memfd:x (deleted)", "/SYSV00000000 (deleted)", "/secretmem (deleted)", "[stack]". Private memory
 * of /dev/zero is of no file. */
static void judge_path(struct mapping *mapping, const char *path) {
    const bool zero = begins(path, "/dev/zero");
    mapping->file = path[0] == '/' && (!zero || mapping->shared);
    mapping->hidden = begins(path, "/secretmem");
    mapping->memory_file = mapping->file && (begins(path, "/memfd:") || begins(path, "/dev/shm/") ||
                                             begins(path, "/SYSV") || begins(path, "/run/shm/") || zero);
    mapping->device = (begins(path, "/dev/") && !zero && !mapping->memory_file) || begins(path, "anon_inode:");
}

static void name_mapping(struct mapping *mapping, const char *path) {
    const char *slash = begins(path, "/memfd:") ? path : strrchr(path, '/');
    const char *name = slash != NULL && path[0] == '/' ? slash + 1 : path;
    snprintf(mapping->name, sizeof mapping->name, "%.*s", (int)sizeof mapping->name - 1,
             name[0] != '\0' ? name : "anonymous");
    for (char *at = mapping->name; *at != '\0'; at++) /* a path may have any byte in it */
        if ((unsigned char)*at < ' ' || (unsigned char)*at >= 127) *at = '?';
}

/* Passes over `count` words and the spaces behind each. */
static const char *skip_words(const char *text, unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        text += strcspn(text, " ");
        text += strspn(text, " ");
    }
    return text;
}

static bool parse(char *line, struct mapping *mapping) {
    char *at;
    line[strcspn(line, "\n")] = '\0';
    mapping->start = strtoull(line, &at, 16);
    if (*at != '-') return false;
    mapping->end = strtoull(at + 1, &at, 16);
    if (*at != ' ' || mapping->end <= mapping->start || strlen(at) < 5) return false;
    mapping->readable = at[1] == 'r';
    mapping->writable = at[2] == 'w';
    mapping->executable = at[3] == 'x';
    mapping->shared = at[4] == 's';
    mapping->offset = strtoull(skip_words(at + 1, 1), NULL, 16);
    const char *inode = skip_words(at + 1, 3);
    mapping->inode = strtoull(inode, &at, 10);
    const char *path = skip_words(inode, 1);
    judge_path(mapping, path);
    name_mapping(mapping, path);
    return at != inode;
}

static int add(struct maps *maps, size_t *room, const struct mapping *mapping) {
    if (maps->count == *room) {
        size_t more = *room != 0 ? 2 * *room : 64;
        struct mapping *list = reallocarray(maps->list, more, sizeof *list);
        if (list == NULL) return ENOMEM;
        maps->list = list;
        *room = more;
    }
    maps->list[maps->count++] = *mapping;
    return 0;
}

static int read_lines(FILE *file, struct maps *maps) {
    char *line = NULL;
    size_t line_room = 0, room = 0;
    int error = 0;
    while (error == 0 && getline(&line, &line_room, file) > 0) {
        struct mapping mapping = {0};
        error = parse(line, &mapping) ? add(maps, &room, &mapping) : EPROTO;
    }
    if (error == 0 && ferror(file)) error = EIO;
    free(line);
    return error;
}

int maps_read(pid_t pid, struct maps *maps) {
    char path[64];
    *maps = (struct maps){0};
    snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
    FILE *file = fopen(path, "re");
    if (file == NULL) return errno;
    int error = read_lines(file, maps);
    fclose(file);
    if (error != 0) maps_drop(maps);
    return error;
}

void maps_drop(struct maps *maps) {
    free(maps->list);
    *maps = (struct maps){0};
}

const struct mapping *maps_find(const struct maps *maps, uint64_t address) {
    size_t low = 0, high = maps->count; /* the last that begins at or below it is in [low - 1, high) */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (maps->list[middle].start <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 && address < maps->list[low - 1].end ? &maps->list[low - 1] : NULL;
}

bool mapping_is_kernels(const struct mapping *mapping) {
    return begins(mapping->name, "[vvar") || strcmp(mapping->name, "[vsyscall]") == 0;
}
