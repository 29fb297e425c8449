/* crime.h: the scene of a crime: a program that breaks one rule in one way, so that its death can be looked at.
 *
 *   crime_NAME crime|lawful [rest [how [size]]]
 *
 * "lawful" does the same without the last step and exits with 0, so that a death proves something. A crime that nobody
 * noticed exits with 1, a scene that could not be set with 2. Never exits with a number that looks like a signal. */
#ifndef MEMGUARD_TESTS_DEATH_CRIME_H
#define MEMGUARD_TESTS_DEATH_CRIME_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "memguard.h"

enum { UNNOTICED = 1, NO_SCENE = 2 };

typedef struct scene {
    int lawful;
    uint32_t rest;
    const char *how;
    size_t size;
    memguard_vault *vault;
    memguard_secret secret;
    memguard_view view;
    const unsigned char *kept; /* what the callback looks at */
} scene;

static inline void must(memguard_status status) {
    if (status == MEMGUARD_OK) return;
    printf("no scene: %s\n", memguard_status_name(status));
    exit(NO_SCENE);
}

static inline unsigned char pattern_at(size_t at) { return (unsigned char)(at * 7 % 251 + 1); }

/* The crimes: one byte, behind the compiler's back. */
static inline unsigned char peek(const void *p, ptrdiff_t at) { return ((const volatile unsigned char *)p)[at]; }
static inline void poke(const void *p, ptrdiff_t at) {
    volatile unsigned char *byte = (volatile unsigned char *)(uintptr_t)p + at;
    *byte = (unsigned char)(*byte ^ 0xff);
}

/* 1: the kernel can read p. */
static inline int is_readable(const void *p) {
    int ends[2];
    if (pipe(ends) != 0) exit(NO_SCENE);
    long wrote = syscall(SYS_write, ends[1], p, (size_t)1);
    close(ends[0]);
    close(ends[1]);
    return wrote == 1;
}

/* 1 when p shows eight bytes in a row of the secret's first 64. */
static inline int shows_secret(const unsigned char *p, size_t size) {
    for (size_t at = 0; at + 8 <= size; at++) {
        for (size_t from = 0; from + 8 <= 64; from++) {
            size_t same = 0;
            while (same < 8 && peek(p, (ptrdiff_t)(at + same)) == pattern_at(from + same)) same++;
            if (same == 8) return 1;
        }
    }
    return 0;
}

static inline uint32_t rest_named(const char *name) {
    static const char *const names[] = {"sealed", "closed", "mapped", "compact"};
    for (uint32_t rest = 0; rest < 4; rest++) {
        if (strcmp(name, names[rest]) == 0) return rest;
    }
    if (strcmp(name, "writable") == 0) return MEMGUARD_MAPPED | MEMGUARD_WRITABLE;
    exit(NO_SCENE);
}

static inline void fill_secret(scene *s) {
    unsigned char *source = malloc(s->size);
    if (source == NULL) exit(NO_SCENE);
    for (size_t i = 0; i < s->size; i++) source[i] = pattern_at(i);
    must(memguard_secret_take(s->vault, source, s->size, s->rest, &s->secret));
    free(source);
}

/* Called by the library before it aborts: says so, and whether the bytes are gone. */
static inline void say_corrupted(size_t bytes, void *arg) {
    const scene *s = arg;
    int gone = s->kept == NULL || !is_readable(s->kept) || !shows_secret(s->kept, bytes);
    printf("callback %zu %s\n", bytes, gone ? "wiped" : "not wiped");
    fflush(stdout);
}

/* No core, no handlers of a sanitizer, no hanging; then a vault with one secret. watch: with the callback. */
static inline void scene_set_with(scene *s, int argc, char **argv, int watch, uint32_t flags) {
    struct rlimit none = {0, 0};
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    memset(s, 0, sizeof *s);
    if (argc < 2) exit(NO_SCENE);
    setrlimit(RLIMIT_CORE, &none);
    signal(SIGSEGV, SIG_DFL);
    signal(SIGBUS, SIG_DFL);
    signal(SIGABRT, SIG_DFL);
    alarm(30);
    s->lawful = strcmp(argv[1], "lawful") == 0;
    s->rest = rest_named(argc > 2 ? argv[2] : "sealed");
    s->how = argc > 3 ? argv[3] : "byte";
    s->size = argc > 4 ? strtoul(argv[4], NULL, 10) : 32;
    options.on_corruption = watch ? say_corrupted : NULL;
    options.on_corruption_arg = s;
    options.flags = flags;
    must(memguard_vault_create(&options, &s->vault));
    fill_secret(s);
}

static inline void scene_set(scene *s, int argc, char **argv, int watch) { scene_set_with(s, argc, argv, watch, 0); }

static inline int is_how(const scene *s, const char *how) { return strcmp(s->how, how) == 0; }
static inline ptrdiff_t page(void) { return (ptrdiff_t)sysconf(_SC_PAGESIZE); }

static inline void scene_borrow(scene *s, uint32_t access) {
    must(memguard_secret_acquire(s->secret, access, &s->view));
    s->kept = s->view.data;
}

/* For crimes that must be found at the release: one that comes back from it was not. Else as scene_end. */
static inline int scene_end_at_release(scene *s) {
    must(memguard_view_release(&s->view));
    if (!s->lawful) _exit(UNNOTICED);
    must(memguard_vault_destroy(&s->vault));
    return 0;
}

/* The end of all that did not die. */
static inline int scene_end(scene *s) {
    must(memguard_view_release(&s->view));
    must(memguard_vault_destroy(&s->vault));
    return s->lawful ? 0 : UNNOTICED;
}

#endif
