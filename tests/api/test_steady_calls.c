/* test_steady_calls.c: the library in steady state: prepared, warm, a lease running. Each operation is made ROUNDS
 * times between two marks, which are writes to no descriptor; test_steady_calls.sh counts what the calling thread
 * asks of the kernel in between. Here only that all of it works. */
#include "api/support.h"

#include <memguard/stream.h>

enum { ROUNDS = 1000, SIZE = 32, OPEN = 1200, STREAMED = 1000 };

static memguard_vault *vault, *strict;
static memguard_secret resting[RESTS], writable, in_strict, made[ROUNDS];
static memguard_stream stream;

static void mark(const char *name) { (void)!syscall(SYS_write, -1, name, strlen(name)); }

static void use(memguard_secret secret) { CHECK_STATUS(use_once(secret), MEMGUARD_OK); }
static void view_of(memguard_secret secret, uint32_t access) {
    memguard_view view;
    CHECK_STATUS(memguard_secret_acquire(secret, access, &view), MEMGUARD_OK);
    CHECK_STATUS(memguard_view_release(&view), MEMGUARD_OK);
}
static void make(int i, uint32_t rest) {
    unsigned char bytes[SIZE] = {1};
    CHECK_STATUS(memguard_secret_take(vault, bytes, sizeof bytes, rest, &made[i]), MEMGUARD_OK);
}
static void drop(int i) { CHECK_STATUS(memguard_secret_destroy(&made[i]), MEMGUARD_OK); }

/* One a name: the i-th of ROUNDS. */
static void use_sealed(int i) { (void)i, use(resting[MEMGUARD_SEALED]); }
static void use_compact(int i) { (void)i, use(resting[MEMGUARD_COMPACT]); }
static void use_mapped(int i) { (void)i, use(resting[MEMGUARD_MAPPED]); }
static void use_closed(int i) { (void)i, use(resting[MEMGUARD_CLOSED]); }
static void use_strict(int i) { (void)i, use(in_strict); }
static void read_sealed(int i) { (void)i, view_of(resting[MEMGUARD_SEALED], MEMGUARD_READ); }
static void read_compact(int i) { (void)i, view_of(resting[MEMGUARD_COMPACT], MEMGUARD_READ); }
static void read_mapped(int i) { (void)i, view_of(resting[MEMGUARD_MAPPED], MEMGUARD_READ); }
static void read_closed(int i) { (void)i, view_of(resting[MEMGUARD_CLOSED], MEMGUARD_READ); }
static void write_sealed(int i) { (void)i, view_of(resting[MEMGUARD_SEALED], MEMGUARD_WRITE); }
static void write_compact(int i) { (void)i, view_of(resting[MEMGUARD_COMPACT], MEMGUARD_WRITE); }
static void write_mapped(int i) { (void)i, view_of(resting[MEMGUARD_MAPPED], MEMGUARD_WRITE); }
static void write_writable(int i) { (void)i, view_of(writable, MEMGUARD_WRITE); }
static void write_closed(int i) { (void)i, view_of(resting[MEMGUARD_CLOSED], MEMGUARD_WRITE); }
static void take_sealed(int i) { make(i, MEMGUARD_SEALED); }
static void take_compact(int i) { make(i, MEMGUARD_COMPACT); }
static void take_mapped(int i) { make(i, MEMGUARD_MAPPED); }
static void take_closed(int i) { make(i, MEMGUARD_CLOSED); }
static void create_closed(int i) {
    CHECK_STATUS(memguard_secret_create(vault, SIZE, MEMGUARD_CLOSED, &made[i]), MEMGUARD_OK);
}
static void create_compact(int i) {
    CHECK_STATUS(memguard_secret_create(vault, SIZE, MEMGUARD_COMPACT, &made[i]), MEMGUARD_OK);
}
static void replace_sealed(int i) {
    unsigned char bytes[SIZE] = {(unsigned char)i};
    CHECK_STATUS(memguard_secret_replace(resting[MEMGUARD_SEALED], bytes, sizeof bytes), MEMGUARD_OK);
}
static void equal_sealed(int i) {
    const unsigned char bytes[SIZE - 1] = {(unsigned char)i};
    CHECK_STATUS(memguard_secret_equal(resting[MEMGUARD_SEALED], bytes, sizeof bytes), MEMGUARD_ERR_MISMATCH);
}
static void through_stream(int i) {
    static unsigned char bytes[STREAMED];
    size_t got = 0;
    (void)i;
    CHECK_STATUS(memguard_stream_write(stream, bytes, sizeof bytes), MEMGUARD_OK);
    CHECK_STATUS(memguard_stream_read(stream, bytes, sizeof bytes, &got), MEMGUARD_OK);
}

/* The names are those of docs/SYSCALLS.md. After a `take` or `create` comes the `destroy` of the same. */
static const struct operation {
    const char *name;
    void (*run)(int i);
    const char *destroy; /* null: nothing was made */
} operations[] = {
    {"use, SEALED", use_sealed, NULL},
    {"use, SEALED, a STRICT vault", use_strict, NULL},
    {"use, COMPACT", use_compact, NULL},
    {"use, MAPPED", use_mapped, NULL},
    {"use, CLOSED", use_closed, NULL},
    {"acquire READ and release, SEALED", read_sealed, NULL},
    {"acquire READ and release, COMPACT", read_compact, NULL},
    {"acquire READ and release, MAPPED", read_mapped, NULL},
    {"acquire READ and release, CLOSED", read_closed, NULL},
    {"acquire WRITE and release, SEALED", write_sealed, NULL},
    {"acquire WRITE and release, COMPACT", write_compact, NULL},
    {"acquire WRITE and release, MAPPED", write_mapped, NULL},
    {"acquire WRITE and release, MAPPED WRITABLE", write_writable, NULL},
    {"acquire WRITE and release, CLOSED", write_closed, NULL},
    {"take, SEALED", take_sealed, "destroy, SEALED"},
    {"take, COMPACT", take_compact, "destroy, COMPACT"},
    {"create, COMPACT", create_compact, "destroy, COMPACT"},
    {"take, MAPPED", take_mapped, "destroy, MAPPED"},
    {"take, CLOSED", take_closed, "destroy, CLOSED"},
    {"create, CLOSED", create_closed, "destroy, CLOSED, never opened"},
    {"replace, SEALED", replace_sealed, NULL},
    {"equal, SEALED", equal_sealed, NULL},
    {"write 1000 bytes to a stream and read them", through_stream, NULL},
};

static void go_through(const struct operation *operation) {
    mark(operation->name);
    for (int i = 0; i < ROUNDS; i++)
        operation->run(i);
    mark(operation->destroy != NULL ? operation->destroy : "");
    for (int i = 0; operation->destroy != NULL && i < ROUNDS; i++)
        drop(i);
    mark("");
}

/* A lease of a second: in most of what follows none begins. */
static memguard_status start(void) {
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    options.lease_us = 1000000;
    options.rekey_ms = 3600000;
    CHECK_STATUS(memguard_vault_create(&options, &vault), MEMGUARD_OK);
    options.flags = MEMGUARD_STRICT;
    CHECK_STATUS(memguard_vault_create(&options, &strict), MEMGUARD_OK);
    for (uint32_t rest = 0; rest < RESTS; rest++)
        resting[rest] = secret_make(vault, SIZE, rest, rest);
    writable = secret_make(vault, SIZE, MEMGUARD_MAPPED | MEMGUARD_WRITABLE, 1);
    in_strict = secret_make(strict, SIZE, MEMGUARD_SEALED, 1);
    CHECK_STATUS(memguard_stream_create(vault, NULL, &stream), MEMGUARD_OK);
    return memguard_vault_prepare(vault, OPEN * page_bytes(), 2);
}

static void go(int times) {
    for (int time = 0; time < times; time++)
        for (size_t i = 0; i < sizeof operations / sizeof *operations; i++)
            go_through(&operations[i]);
}

TEST(what_is_counted_works) {
    const memguard_status ready = start();
    if (ready == MEMGUARD_ERR_LOCK_LIMIT) SKIP("too little lockable memory for a thousand guarded secrets");
    CHECK_STATUS(ready, MEMGUARD_OK);
    go(4); /* the first time warms up; what happens by the way in one of the others does not in all */
    vault_end(vault);
    vault_end(strict);
}

int main(void) {
    RUN(what_is_counted_works);
    return check_end();
}
