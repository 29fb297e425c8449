/* wipe_off.c: takes the place of src/base/wipe.c in memguard_testlib_nowipe. Nothing is ever wiped: a scan that finds nothing in a
 * program with this in it finds nothing anywhere (tests/lab/test_nowipe_scan.c). */
#include "base/base.h"

void mg__wipe(void *p, size_t bytes) {
    (void)p;
    (void)bytes;
}

void mg__wipe_live(void *p, size_t bytes) {
    (void)p;
    (void)bytes;
}
