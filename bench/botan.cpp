/* Botan's memory for secrets: secure_allocator, as secure_vector uses it (a pool of locked pages). There is no C call for it. */
#include <botan/secmem.h>

#include <cstddef>
#include <cstdint>
#include <new>

extern "C" {
void *bench_botan_malloc(std::size_t bytes);
void bench_botan_free(void *p, std::size_t bytes);
}

void *bench_botan_malloc(std::size_t bytes) {
    try {
        return Botan::secure_allocator<std::uint8_t>().allocate(bytes);
    } catch (const std::bad_alloc &) {
        return nullptr;
    }
}

void bench_botan_free(void *p, std::size_t bytes) {
    Botan::secure_allocator<std::uint8_t>().deallocate(static_cast<std::uint8_t *>(p), bytes);
}
