/* test_long_stream_io.c: the same with a secret of 1 GiB (takes as much ordinary memory). */
#define MUCH_BYTES (1ULL << 30)
#include "test_stream_io.c"
