/* sys/scan: this process looked at from inside: its threads stopped, the memory that it can write listed and copied
 * without faults. Sizes are bytes. Functions that return int give 0 or an errno value.
 *
 * From mg__sys_stop_threads to mg__sys_resume_threads the others may hold any lock of the C library, of the host or of
 * ours: the caller must take none. No malloc, no stdio, no mutex. The functions of this header keep to that. Must not
 * know: what is looked for. */
#ifndef MG_SYS_SCAN_H
#define MG_SYS_SCAN_H

#include "sys/sys.h"

struct mg__sys_span {
    uintptr_t low, high; /* high is the first address behind it */
};

/* ---- threads ---- */

/* For threads that the library starts, with all signals blocked: they hold nothing of the host's, are not stopped and
 * need not be looked at. A thread that is about to run code of the host says false first, and true when it is back. */
void mg__sys_own_thread(bool is_ours);
/* In a forked child, which has none of them. */
void mg__sys_own_none(void);
/* Their stacks; gives how many. */
enum { MG_SYS_MOST_OWN = 16 };
size_t mg__sys_own_stacks(struct mg__sys_span spans[MG_SYS_MOST_OWN]);

/* A real-time signal: `wanted`, or for 0 one that is seldom used; 0 when `wanted` is no real-time signal. */
int mg__sys_stop_signal(int wanted);

/* Stops every other thread of the process, except those of our own, where a handler of `signal` finds it, its registers
 * on its stack. Before it stops any it waits until none blocks the signal. Forks are held. Other calls of it wait.
 * EBUSY: the signal has a handler already, or is ignored. ETIMEDOUT: *culprit blocks it, or was not stopped in time
 * (asleep in the kernel, a parent of vfork). ENOSYS: /proc does not show this process. After an error nobody is
 * stopped. */
MG_MUST_USE int mg__sys_stop_threads(int signal, uint64_t deadline_ns, int *culprit);
/* Lets them go. false: they had gone on by themselves, because the caller did not come back for long after the deadline
 * (it waited in the kernel for one of them). */
MG_MUST_USE bool mg__sys_resume_threads(void);
size_t mg__sys_stopped_threads(void);
/* The part of a stopped thread's stack that is not in use, below what is; empty where its bounds are not known. */
struct mg__sys_span mg__sys_dead_stack(size_t number);

/* ---- memory ---- */

/* Calls fn(mapping, part, arg), in the order of addresses, for the parts of this process's memory that can hold what it
 * has written: what can be read, and was written or can be. Parts known to be untouched, or not in memory and shared,
 * are left out. fn: false ends it (ECANCELED). */
MG_MUST_USE int mg__sys_each_memory(bool (*fn)(struct mg__sys_span mapping, struct mg__sys_span part, void *arg),
                                    void *arg);
/* Copies memory of this process. *got: how much was copied, up to the first page that cannot be read. Never faults. */
MG_MUST_USE int mg__sys_copy_memory(void *to, uintptr_t from, size_t bytes, size_t *got);

/* ---- exit ---- */

/* Calls fn when the process ends through exit(3). */
MG_MUST_USE int mg__sys_at_exit(void (*fn)(void));

/* ---- the table: as in sys.h, for the calls of this file ---- */

struct mg__scan_table {
    int (*open)(const char *path);
    long (*read)(int descriptor, void *to, size_t bytes);
    long (*list)(int descriptor, void *to, size_t bytes); /* getdents64(2) */
    long (*copy)(void *to, uintptr_t from, size_t bytes); /* process_vm_readv(2) on ourselves */
    long (*resident)(int descriptor, void *query);        /* PAGEMAP_SCAN, ioctl_pagemap_scan(2) */
    int (*in_core)(uintptr_t low, size_t bytes, unsigned char *pages);
    int (*action)(int signal, const void *wanted, void *before);
    int (*queue)(int thread, int signal, void *info); /* rt_tgsigqueueinfo(2) */
    int (*at_exit)(void (*fn)(void));
};
#ifdef MEMGUARD_TESTING
extern struct mg__scan_table mg__scan_table; /* tests/ may replace entries */
#endif

#endif
