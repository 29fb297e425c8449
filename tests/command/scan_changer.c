/* A process that becomes another program again and again, for test_scan.sh: each has what SECRET_BYTES says in its data from its
 * first moment on, at another place than the one before, and a mapping that is always at the same place. */
#define _GNU_SOURCE
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef SECRET_BYTES
#define SECRET_BYTES 0
#endif

enum { INTERVAL_US = 100000, MAPPED = 65536 };

static char planted[] = {SECRET_BYTES};
char *volatile scan_changer_keeps = planted;

int main(int argc, char **argv) {
    void *at = (void *)0x10000000000; /* NOLINT: a place that nothing else is put at */
    void *map = mmap(at, MAPPED, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (argc != 1 || map != at) return 1;
    memset(map, 1, MAPPED);
    usleep(INTERVAL_US);
    execv("/proc/self/exe", argv);
    return 1;
}
