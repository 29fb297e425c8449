/* sys/harden: the contract with the operating system about a process's own restrictions. Each is one setting: turned
 * on, never off, and read back. Must not know: who asked. Functions that return int give 0 or an errno value. */
#ifndef MG_SYS_HARDEN_H
#define MG_SYS_HARDEN_H

#include "sys/sys.h"

/* One function of each kind per bit of MEMGUARD_HARDEN_*, by the bit's number. */
enum { MG_HARDENINGS = 5 };
int mg__harden_turn_on(unsigned bit);
bool mg__harden_is_on(unsigned bit);
/* Whether an errno of mg__harden_turn_on means: not offered by this system. */
bool mg__harden_is_absent(int error);

/* MEMGUARD_SPECULATION_* of the calling thread. */
uint32_t mg__harden_store_bypass(void);
uint32_t mg__harden_indirect_branch(void);
uint64_t mg__harden_core_bytes(void);

/* ---- the table: see mg__sys_table ---- */

struct mg__harden_table {
    int (*prctl)(int, unsigned long, unsigned long);
    int (*getrlimit)(int, void *);
    int (*setrlimit)(int, const void *);
};
#ifdef MEMGUARD_TESTING
extern struct mg__harden_table mg__harden_table; /* tests/ may replace entries */
#endif

#endif
