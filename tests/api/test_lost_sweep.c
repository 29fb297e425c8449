/* The opt-in sweep for lost secrets, as its users see it, and its proof: a thousand lost ones are found and sealed; of
 * more than a thousand whose handle or whose view's address stands somewhere (registers, stacks, thread-local and
 * static storage, trees, mappings, shared memory, packed structs) none is touched; what is hidden in the kernel is
 * wrongly sealed and still works; whoever cannot be stopped makes it give up.
 *
 * Hygiene: a handle that counts as lost must be nowhere in this process. So handles are made and looked at only in
 * functions that run through memguard_call_scrubbed, and what the test itself remembers is masked. */
#define _GNU_SOURCE
#include "support.h"

#include <fcntl.h>

#include <memguard/process.h>
#include <sys/epoll.h>
#include <sys/mman.h>

enum { LOST = 1000, KEPT = 150, KINDS = 11, BYTES = 40 };

static const volatile uint64_t mask = 0xa5c3f00d5a3c0ff1;

static int scrubbed(int (*fn)(void *), void *arg) {
    int result = -1;
    CHECK_STATUS(memguard_call_scrubbed(fn, arg, &result), MEMGUARD_OK);
    return result;
}

/* ---- masked handles ---- */

typedef struct hidden {
    size_t count;
    uint64_t ids[4 * LOST];
} hidden;

static void hide(hidden *to, memguard_secret secret) {
    if (CHECK(to->count < sizeof to->ids / sizeof *to->ids)) to->ids[to->count++] = secret.id ^ mask;
}
static memguard_secret shown(const hidden *from, size_t i) { return (memguard_secret){from->ids[i] ^ mask}; }

static int by_number(const void *a, const void *b) {
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}
static int same_set(hidden *a, hidden *b) {
    if (a->count != b->count) return 0;
    qsort(a->ids, a->count, sizeof *a->ids, by_number);
    qsort(b->ids, b->count, sizeof *b->ids, by_number);
    return memcmp(a->ids, b->ids, a->count * sizeof *a->ids) == 0;
}

struct making {
    memguard_vault *vault;
    size_t count;
    uint32_t flags;
    hidden *to;
};

static int make_hidden(void *arg) {
    const struct making *making = arg;
    for (size_t i = 0; i < making->count; i++) {
        unsigned char bytes[BYTES];
        memguard_secret secret;
        fill(bytes, sizeof bytes, (uint32_t)making->to->count);
        if (!CHECK_STATUS(memguard_secret_take(making->vault, bytes, sizeof bytes, making->flags, &secret),
                          MEMGUARD_OK))
            return 1;
        hide(making->to, secret);
    }
    return 0;
}

static void make_lost(memguard_vault *vault, size_t count, uint32_t flags, hidden *to) {
    struct making making = {vault, count, flags, to};
    CHECK(scrubbed(make_hidden, &making) == 0);
}

/* How many of them rest so, and hold what they should. */
struct counting {
    const hidden *ids;
    uint32_t rest;
    size_t resting, whole;
};

static int count_hidden(void *arg) {
    struct counting *counting = arg;
    for (size_t i = 0; i < counting->ids->count; i++) {
        const memguard_secret secret = shown(counting->ids, i);
        memguard_info info = MEMGUARD_INFO_INIT;
        counting->resting += memguard_secret_info(secret, &info) == MEMGUARD_OK && info.rest == counting->rest;
    }
    return 0;
}

static int open_hidden(void *arg) {
    struct counting *counting = arg;
    for (size_t i = 0; i < counting->ids->count; i++)
        counting->whole += (size_t)holds_pattern(shown(counting->ids, i), BYTES, (uint32_t)i);
    return 0;
}

static size_t resting(const hidden *ids, uint32_t rest) {
    struct counting counting = {ids, rest, 0, 0};
    scrubbed(count_hidden, &counting);
    return counting.resting;
}

/* In the order in which they were made. */
static size_t whole(const hidden *ids) {
    struct counting counting = {ids, 0, 0, 0};
    scrubbed(open_hidden, &counting);
    return counting.whole;
}

/* ---- sweeping ---- */

static memguard_vault *tracking_vault(void) {
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    memguard_vault *vault = NULL;
    options.flags = MEMGUARD_TRACK;
    options.backend = MEMGUARD_BACKEND_PLAIN; /* thousands of pages are more than a plain user may lock */
    CHECK_STATUS(memguard_vault_create(&options, &vault), MEMGUARD_OK);
    return vault;
}

static void note_lost(const memguard_lost *lost, void *arg) {
    CHECK(lost->size == sizeof *lost && lost->bytes == BYTES);
    hide(arg, lost->secret);
}

static memguard_status sweep(memguard_vault *vault, uint32_t flags, hidden *found, memguard_sweep *result) {
    memguard_sweep_options options = MEMGUARD_SWEEP_OPTIONS_INIT;
    options.flags = flags;
    options.timeout_ms = 20000; /* the machine may be busy */
    options.fn = found == NULL ? NULL : note_lost;
    options.arg = found;
    *result = (memguard_sweep)MEMGUARD_SWEEP_INIT;
    if (found != NULL) found->count = 0;
    return memguard_lost_sweep(vault, &options, result);
}

static int disposition_is_default(int number) {
    struct sigaction action;
    return sigaction(number, NULL, &action) == 0 && (action.sa_flags & SA_SIGINFO) == 0 && action.sa_handler == SIG_DFL;
}

/* ---- places where handles are kept ---- */

enum kind {
    REGISTERS,
    STACK,
    THREAD_LOCAL,
    STATICALLY,
    TREE,
    PRIVATE_MAP,
    SHARED_FILE,
    SHARED_MEMORY,
    PACKED,
    EDGES,
    VIEWS
};

struct packed {
    char odd;
    memguard_secret secret;
} __attribute__((packed));

struct node {
    struct node *left, *right;
    memguard_secret secret;
};

struct places {
    memguard_vault *vault;
    hidden ids[KINDS];
    atomic_int ready, stop;
    struct node *tree;
    memguard_secret *private_map, *shared_file, *shared_memory;
    unsigned char *edges;
    struct packed *packed;
    void **views;
};

static volatile memguard_secret static_handles[KEPT];
static _Thread_local volatile memguard_secret local_handles[KEPT];

static int keep_in_tree(void *arg) {
    struct places *places = arg;
    for (size_t i = 0; i < KEPT; i++) {
        struct node **at = &places->tree;
        for (size_t bits = i * 2654435761U % 65536; *at != NULL; bits /= 2)
            at = bits % 2 != 0 ? &(*at)->left : &(*at)->right;
        *at = calloc(1, sizeof **at);
        if (!CHECK(*at != NULL)) return 1;
        (*at)->secret = shown(&places->ids[TREE], i);
    }
    return 0;
}

static void drop_tree(struct node *node) {
    if (node == NULL) return;
    drop_tree(node->left);
    drop_tree(node->right);
    free(node);
}

static void *map(size_t bytes, int flags, int descriptor) {
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, descriptor, 0);
    return CHECK(at != MAP_FAILED) ? at : NULL;
}

static int temporary_file(size_t bytes) {
    char name[] = "/tmp/memguard-lost-XXXXXX";
    const int descriptor = mkstemp(name);
    CHECK(descriptor >= 0 && unlink(name) == 0 && posix_fallocate(descriptor, 0, (off_t)bytes) == 0);
    return descriptor;
}

static int keep_in_maps(void *arg) {
    struct places *places = arg;
    const int file = temporary_file(page_bytes());
    places->private_map = map(page_bytes(), MAP_PRIVATE | MAP_ANONYMOUS, -1);
    places->shared_file = map(page_bytes(), MAP_SHARED, file);
    places->shared_memory = map(page_bytes(), MAP_SHARED | MAP_ANONYMOUS, -1);
    places->packed = malloc(KEPT * sizeof *places->packed);
    close(file);
    if (places->private_map == NULL || places->shared_file == NULL || places->shared_memory == NULL ||
        !CHECK(places->packed != NULL))
        return 1;
    for (size_t i = 0; i < KEPT; i++) {
        places->private_map[i] = shown(&places->ids[PRIVATE_MAP], i);
        places->shared_file[i] = shown(&places->ids[SHARED_FILE], i);
        places->shared_memory[i] = shown(&places->ids[SHARED_MEMORY], i);
        places->packed[i].secret = shown(&places->ids[PACKED], i);
        static_handles[i].id = shown(&places->ids[STATICALLY], i).id;
    }
    return 0;
}

/* One across each border of a run of pages, every second of which is a mapping of its own. */
static int keep_at_edges(void *arg) {
    struct places *places = arg;
    const size_t page = page_bytes();
    places->edges = map((KEPT + 1) * page, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    if (places->edges == NULL) return 1;
    for (size_t i = 0; i < KEPT; i++) {
        const memguard_secret secret = shown(&places->ids[EDGES], i);
        if (i % 2 == 0) CHECK(madvise(places->edges + i * page, page, MADV_DONTFORK) == 0);
        memcpy(places->edges + (i + 1) * page - 1 - i % 7, &secret, sizeof secret);
    }
    return 0;
}

/* Of each secret that is borrowed only an address in its pages is left: the begin, the middle, the end. */
static int keep_views(void *arg) {
    struct places *places = arg;
    places->views = calloc(KEPT, sizeof *places->views);
    if (!CHECK(places->views != NULL)) return 1;
    for (size_t i = 0; i < KEPT; i++) {
        memguard_view view = borrow(shown(&places->ids[VIEWS], i), i % 5 == 4 ? MEMGUARD_WRITE : MEMGUARD_READ);
        places->views[i] = (unsigned char *)view.data + (i % 3) * view.size / 2;
    }
    return 0;
}

static void *borrow_views(void *arg) {
    CHECK(scrubbed(keep_views, arg) == 0);
    return NULL;
}

static void *hold_on_stack(void *arg) {
    struct places *places = arg;
    volatile memguard_secret held[KEPT];
    for (size_t i = 0; i < KEPT; i++) {
        held[i].id = shown(&places->ids[STACK], i).id;
        local_handles[i].id = shown(&places->ids[THREAD_LOCAL], i).id;
    }
    atomic_fetch_add(&places->ready, 1);
    while (atomic_load(&places->stop) == 0)
        sleep_ms(1);
    for (size_t i = 0; i < KEPT; i++)
        CHECK((held[i].id ^ mask) == places->ids[STACK].ids[i]);
    return NULL;
}

/* 5 general registers that a call preserves and 15 vector registers, two handles each; unmasked by the last one. */
enum { IN_REGISTERS = 35, REGISTER_THREADS = 3 };
struct registers {
    uint64_t masked[IN_REGISTERS + 1], masks[2];
    atomic_int *ready, *stop;
};

static void *hold_in_registers(void *arg) {
    struct registers *registers = arg;
#if defined(__x86_64__)
#define LOAD(register, at) "mov 8*" #at "(%0), %%" #register "\n xor %%rax, %%" #register "\n"
#define LOAD_TWO(register, at) "movdqu 8*" #at "(%0), %%xmm" #register "\n pxor %%xmm15, %%xmm" #register "\n"
    __asm__ volatile(
        "mov 8*36(%0), %%rax\n movdqu 8*36(%0), %%xmm15\n" LOAD(rbx, 30) LOAD(r12, 31) LOAD(r13, 32) LOAD(r14, 33)
            LOAD(r15, 34) LOAD_TWO(0, 0) LOAD_TWO(1, 2) LOAD_TWO(2, 4) LOAD_TWO(3, 6) LOAD_TWO(4, 8) LOAD_TWO(5, 10)
                LOAD_TWO(6, 12) LOAD_TWO(7, 14) LOAD_TWO(8, 16) LOAD_TWO(9, 18) LOAD_TWO(10, 20) LOAD_TWO(11, 22)
                    LOAD_TWO(12, 24) LOAD_TWO(13, 26)
                        LOAD_TWO(14, 28) "lock incl (%1)\n"
                                         "1: mov $24, %%eax\n syscall\n cmpl $0, (%2)\n je 1b\n" /* sched_yield */
                                         "pxor %%xmm0, %%xmm0\n pxor %%xmm1, %%xmm1\n pxor %%xmm2, %%xmm2\n pxor "
                                         "%%xmm3, %%xmm3\n pxor %%xmm4, %%xmm4\n"
        :
        : "r"(registers->masked), "r"(registers->ready), "r"(registers->stop)
        : "rax", "rcx", "r11", "rbx", "r12", "r13", "r14", "r15", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5",
          "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "memory", "cc");
#else
    (void)registers;
#endif
    return NULL;
}

#if defined(__x86_64__)
static const size_t register_handles = (size_t)IN_REGISTERS * REGISTER_THREADS;
#else
static const size_t register_handles = 0;
#endif

struct keepers {
    pthread_t stack, registers[REGISTER_THREADS];
    struct registers held[REGISTER_THREADS];
};

static void start_keepers(struct places *places, struct keepers *keepers) {
    CHECK(pthread_create(&keepers->stack, NULL, hold_on_stack, places) == 0);
    for (size_t i = 0; i < REGISTER_THREADS && register_handles != 0; i++) {
        struct registers *held = &keepers->held[i];
        memcpy(held->masked, &places->ids[REGISTERS].ids[i * IN_REGISTERS], IN_REGISTERS * sizeof *held->masked);
        held->masks[0] = held->masks[1] = mask;
        held->ready = &places->ready;
        held->stop = &places->stop;
        CHECK(pthread_create(&keepers->registers[i], NULL, hold_in_registers, held) == 0);
    }
    CHECK(wait_for(&places->ready, register_handles != 0 ? 1 + REGISTER_THREADS : 1));
}

static void end_keepers(struct places *places, struct keepers *keepers) {
    atomic_store(&places->stop, 1);
    CHECK(pthread_join(keepers->stack, NULL) == 0);
    for (size_t i = 0; i < REGISTER_THREADS && register_handles != 0; i++)
        CHECK(pthread_join(keepers->registers[i], NULL) == 0);
}

static size_t fill_places(struct places *places) {
    size_t kept = 0;
    pthread_t borrower;
    for (int kind = 0; kind < KINDS; kind++) {
        make_lost(places->vault, kind == REGISTERS ? register_handles : KEPT, MEMGUARD_CLOSED, &places->ids[kind]);
        kept += places->ids[kind].count;
    }
    CHECK(scrubbed(keep_in_tree, places) == 0);
    CHECK(scrubbed(keep_in_maps, places) == 0);
    CHECK(scrubbed(keep_at_edges, places) == 0);
    /* By a thread of its own, so that a purge by this one need not wait for its own borrows. */
    CHECK(pthread_create(&borrower, NULL, borrow_views, places) == 0 && pthread_join(borrower, NULL) == 0);
    return kept;
}

static void empty_places(struct places *places) {
    for (size_t i = 0; i < KEPT; i++)
        static_handles[i].id = 0;
    drop_tree(places->tree);
    CHECK(munmap(places->private_map, page_bytes()) == 0 && munmap(places->shared_file, page_bytes()) == 0);
    CHECK(munmap(places->shared_memory, page_bytes()) == 0 && munmap(places->edges, (KEPT + 1) * page_bytes()) == 0);
    free(places->packed);
    free(places->views);
}

/* One round: a thousand new lost ones, found by two sweeps; nothing else. */
static void round_of_lost(struct places *places, size_t kept, hidden *lost, hidden *found) {
    memguard_sweep result;
    lost->count = 0;
    make_lost(places->vault, LOST, MEMGUARD_CLOSED, lost);
    CHECK_STATUS(sweep(places->vault, MEMGUARD_SWEEP_SEAL, found, &result), MEMGUARD_OK);
    CHECK(result.lost == LOST && result.sealed == 0 && result.refused == 0 && result.looked_at == LOST + kept);
    CHECK(result.threads == (register_handles != 0 ? 1 + REGISTER_THREADS : 1) && result.scanned_bytes > 0 &&
          result.stopped_ns > 0);
    CHECK(resting(lost, MEMGUARD_CLOSED) == LOST);
    CHECK_STATUS(sweep(places->vault, MEMGUARD_SWEEP_SEAL, found, &result), MEMGUARD_OK);
    CHECK(result.lost == LOST && result.sealed == LOST && result.refused == 0);
    CHECK(resting(lost, MEMGUARD_SEALED) == LOST);
    CHECK(whole(lost) == LOST);
    CHECK(same_set(lost, found));
}

static int destroy_hidden(void *arg) {
    const hidden *ids = arg;
    for (size_t i = 0; i < ids->count; i++) {
        memguard_secret secret = shown(ids, i);
        CHECK_STATUS(memguard_secret_destroy(&secret), MEMGUARD_OK);
    }
    return 0;
}

TEST(a_thousand_lost_secrets_are_found_and_sealed_and_none_of_those_that_something_refers_to) {
    NEEDS_SIGNALS();
    static struct places places;
    static struct keepers keepers;
    static hidden lost, found;
    places.vault = tracking_vault();
    const size_t kept = fill_places(&places);
    CHECK(kept >= 1000);
    start_keepers(&places, &keepers);
    for (int i = 0; i < 20; i++) {
        round_of_lost(&places, kept, &lost, &found);
        CHECK(scrubbed(destroy_hidden, &lost) == 0);
    }
    for (int kind = 0; kind < KINDS; kind++)
        CHECK(resting(&places.ids[kind], MEMGUARD_CLOSED) == places.ids[kind].count);
    end_keepers(&places, &keepers);
    empty_places(&places);
    CHECK_STATUS(memguard_vault_purge(places.vault, 0), MEMGUARD_ERR_REVOKED);
    vault_end(places.vault);
    CHECK(disposition_is_default(SIGRTMAX - 1));
}

/* The must-fail twin of the places: what stood there is lost when they are gone. */
TEST(what_no_place_keeps_any_more_is_lost_and_a_lost_view_is_reported_and_not_sealed) {
    NEEDS_SIGNALS();
    static struct places places;
    static hidden found;
    memguard_sweep result;
    places.vault = tracking_vault();
    const size_t kept = fill_places(&places);
    memset(places.packed, 0, KEPT * sizeof *places.packed); /* free leaves it as it is */
    memset(places.views, 0, KEPT * sizeof *places.views);
    for (struct node *node = places.tree; node != NULL;) {
        struct node **at = &places.tree;
        while ((*at)->left != NULL || (*at)->right != NULL)
            at = (*at)->left != NULL ? &(*at)->left : &(*at)->right;
        memset(*at, 0, sizeof **at);
        free(*at);
        *at = NULL;
        node = places.tree;
    }
    empty_places(&places);
    CHECK_STATUS(sweep(places.vault, MEMGUARD_SWEEP_SEAL, &found, &result), MEMGUARD_OK);
    CHECK(result.looked_at == kept && result.lost == kept);
    CHECK_STATUS(sweep(places.vault, MEMGUARD_SWEEP_SEAL, &found, &result), MEMGUARD_OK);
    CHECK(result.lost == kept && result.sealed == kept - KEPT && result.refused == 0);
    CHECK_STATUS(memguard_vault_purge(places.vault, 0), MEMGUARD_ERR_REVOKED);
    vault_end(places.vault);
}

/* ---- other rests, other pages ---- */

static void lost_ones_of(uint32_t backend, uint32_t flags, size_t count) {
    static hidden lost, found;
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    memguard_sweep result;
    options.backend = backend;
    memguard_vault *vault = NULL;
    CHECK_STATUS(memguard_vault_create(&options, &vault), MEMGUARD_OK);
    lost.count = 0;
    make_lost(vault, count, flags, &lost);
    const uint32_t rest = flags & MEMGUARD_REST_MASK;
    for (int i = 0; i < 2; i++) {
        CHECK(resting(&lost, rest) == count);
        CHECK_STATUS(sweep(vault, i == 0 ? 0 : MEMGUARD_SWEEP_SEAL, &found, &result), MEMGUARD_OK);
        CHECK(result.lost == count && result.refused == 0);
    }
    CHECK(result.sealed == (rest == MEMGUARD_SEALED ? 0 : count));
    CHECK(resting(&lost, MEMGUARD_SEALED) == count && whole(&lost) == count);
    vault_end(vault);
}

TEST(lost_secrets_of_every_rest_and_backend_are_found_without_tracking_too) {
    NEEDS_SIGNALS();
    static const uint32_t flags[] = {MEMGUARD_SEALED,  MEMGUARD_CLOSED,
                                     MEMGUARD_MAPPED,  MEMGUARD_MAPPED | MEMGUARD_WRITABLE,
                                     MEMGUARD_COMPACT, MEMGUARD_CLOSED | MEMGUARD_FROZEN};
    static const uint32_t backends[] = {MEMGUARD_BACKEND_AUTO, MEMGUARD_BACKEND_LOCKED, MEMGUARD_BACKEND_PLAIN};
    for (size_t b = 0; b < sizeof backends / sizeof *backends; b++)
        for (size_t f = 0; f < sizeof flags / sizeof *flags; f++)
            lost_ones_of(backends[b], flags[f], 100);
}

static unsigned char *dangling[KEPT];

static int keep_dangling(void *arg) {
    const hidden *ids = arg;
    for (size_t i = 0; i < ids->count; i++) {
        memguard_view view = borrow(shown(ids, i), MEMGUARD_READ);
        dangling[i] = (unsigned char *)view.data + view.size;
        give_back(&view);
    }
    return 0;
}

TEST(an_address_just_behind_a_compact_or_mapped_secret_still_refers_to_it) {
    NEEDS_SIGNALS();
    static const uint32_t rests[] = {MEMGUARD_COMPACT, MEMGUARD_MAPPED};
    for (size_t i = 0; i < 2; i++) {
        static hidden ids;
        memguard_sweep result;
        memguard_vault *vault = tracking_vault();
        ids.count = 0;
        make_lost(vault, KEPT, rests[i], &ids);
        CHECK(scrubbed(keep_dangling, &ids) == 0);
        CHECK_STATUS(sweep(vault, 0, NULL, &result), MEMGUARD_OK);
        CHECK(result.looked_at == KEPT && result.lost == 0);
        memset(dangling, 0, sizeof dangling);
        CHECK_STATUS(sweep(vault, 0, NULL, &result), MEMGUARD_OK);
        CHECK(result.lost == KEPT);
        vault_end(vault);
    }
}

/* ---- the thread that sweeps ---- */

#if defined(__x86_64__)
/* Calls the sweep with five handles in the registers that a call preserves, and nowhere else. */
static memguard_status sweep_with_registers(memguard_vault *vault, const hidden *ids, memguard_sweep *result) {
    register uint64_t r8 __asm__("r8") = mask;
    const uint64_t *masked = ids->ids;
    const void *options = NULL;
    uint64_t answer = (uint64_t)(uintptr_t)memguard_lost_sweep;
    __asm__ volatile("mov 0(%%rcx), %%rbx\n xor %%r8, %%rbx\n"
                     "mov 8(%%rcx), %%r12\n xor %%r8, %%r12\n"
                     "mov 16(%%rcx), %%r13\n xor %%r8, %%r13\n"
                     "mov 24(%%rcx), %%r14\n xor %%r8, %%r14\n"
                     "mov 32(%%rcx), %%r15\n xor %%r8, %%r15\n"
                     "mov %%rsp, %%r11\n sub $128, %%rsp\n and $-16, %%rsp\n push %%r11\n push %%r11\n"
                     "call *%%rax\n"
                     "pop %%r11\n mov %%r11, %%rsp\n"
                     : "+a"(answer), "+D"(vault), "+S"(options), "+d"(result), "+c"(masked), "+r"(r8)
                     :
                     : "rbx", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4",
                       "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15",
                       "memory", "cc");
    return (memguard_status)answer;
}
#endif

static memguard_sweep from_registers;

static int sweep_from_registers(void *arg) {
#if defined(__x86_64__)
    const struct making *making = arg;
    from_registers = (memguard_sweep)MEMGUARD_SWEEP_INIT;
    CHECK_STATUS(sweep_with_registers(making->vault, making->to, &from_registers), MEMGUARD_OK);
#else
    (void)arg;
#endif
    return 0;
}

TEST(registers_and_stack_of_the_thread_that_sweeps_refer_too) {
    NEEDS_SIGNALS();
    static hidden ids;
    memguard_sweep result;
    volatile memguard_secret held[20];
    memguard_vault *vault = tracking_vault();
    struct making making = {vault, 5, MEMGUARD_CLOSED, &ids};
    make_lost(vault, 5, MEMGUARD_CLOSED, &ids);
    CHECK(scrubbed(sweep_from_registers, &making) == 0);
    if (register_handles != 0) CHECK(from_registers.looked_at == 5 && from_registers.lost == 0);
    CHECK_STATUS(sweep(vault, 0, NULL, &result), MEMGUARD_OK);
    CHECK(result.looked_at == 5 && result.lost == 5); /* the twin: they were in those registers */
    for (size_t i = 0; i < 20; i++)
        held[i].id = i < 5 ? shown(&ids, i).id : 0;
    CHECK_STATUS(sweep(vault, 0, NULL, &result), MEMGUARD_OK);
    CHECK(result.lost == 0);
    for (size_t i = 0; i < 5; i++) {
        CHECK((held[i].id ^ mask) == ids.ids[i]);
        held[i].id = 0;
    }
    vault_end(vault);
}

/* ---- what it cannot see, and what a mistake costs ---- */

struct in_kernel {
    const hidden *ids;
    int epoll, events[2];
};

static int give_to_epoll(void *arg) {
    struct in_kernel *kernel = arg;
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = shown(kernel->ids, 0).id};
    CHECK(epoll_ctl(kernel->epoll, EPOLL_CTL_ADD, kernel->events[0], &event) == 0);
    return 0;
}

static int take_from_epoll(void *arg) {
    struct in_kernel *kernel = arg;
    struct epoll_event event = {0};
    CHECK(write(kernel->events[1], "", 1) == 1);
    if (!CHECK(epoll_wait(kernel->epoll, &event, 1, 10000) == 1)) return 0;
    memguard_view view = borrow((memguard_secret){event.data.u64}, MEMGUARD_READ);
    const int good = view.size == BYTES && is_pattern(view.data, BYTES, 0);
    give_back(&view);
    return good;
}

TEST(a_handle_kept_only_by_epoll_is_wrongly_sealed_and_works_at_its_next_acquire) {
    NEEDS_SIGNALS();
    static hidden ids;
    memguard_sweep result;
    struct in_kernel kernel = {.ids = &ids, .epoll = epoll_create1(EPOLL_CLOEXEC)};
    memguard_vault *vault = tracking_vault();
    CHECK(kernel.epoll >= 0 && pipe(kernel.events) == 0);
    make_lost(vault, 1, MEMGUARD_CLOSED, &ids);
    CHECK(scrubbed(give_to_epoll, &kernel) == 0);
    for (int i = 0; i < 2; i++)
        CHECK_STATUS(sweep(vault, MEMGUARD_SWEEP_SEAL, NULL, &result), MEMGUARD_OK);
    CHECK(result.lost == 1 && result.sealed == 1 && resting(&ids, MEMGUARD_SEALED) == 1);
    CHECK(scrubbed(take_from_epoll, &kernel) == 1);
    close(kernel.epoll), close(kernel.events[0]), close(kernel.events[1]);
    vault_end(vault);
}

TEST(a_borrow_between_two_sweeps_takes_the_suspicion_away) {
    NEEDS_SIGNALS();
    static hidden ids;
    memguard_sweep result;
    memguard_vault *vault = tracking_vault();
    ids.count = 0;
    make_lost(vault, 10, MEMGUARD_CLOSED, &ids);
    for (int i = 0; i < 5; i++) {
        CHECK_STATUS(sweep(vault, MEMGUARD_SWEEP_SEAL, NULL, &result), MEMGUARD_OK);
        CHECK(result.lost == 10 && result.sealed == 0);
        CHECK(whole(&ids) == 10); /* uses each */
    }
    CHECK_STATUS(sweep(vault, MEMGUARD_SWEEP_SEAL, NULL, &result), MEMGUARD_OK);
    CHECK_STATUS(sweep(vault, MEMGUARD_SWEEP_SEAL, NULL, &result), MEMGUARD_OK);
    CHECK(result.sealed == 10);
    vault_end(vault);
}

TEST(a_scope_refers_to_its_secrets) {
    NEEDS_SIGNALS();
    static hidden ids;
    memguard_sweep result;
    memguard_scope scope = {0};
    memguard_vault *vault = tracking_vault();
    ids.count = 0;
    CHECK_STATUS(memguard_scope_create(vault, &scope), MEMGUARD_OK);
    make_lost(vault, 10, MEMGUARD_CLOSED, &ids);
    CHECK_STATUS(sweep(vault, MEMGUARD_SWEEP_SEAL, NULL, &result), MEMGUARD_OK);
    CHECK(result.looked_at == 10 && result.lost == 0);
    CHECK_STATUS(memguard_scope_destroy(&scope), MEMGUARD_OK);
    vault_end(vault);
}

TEST(only_the_vault_that_was_named_is_looked_at) {
    NEEDS_SIGNALS();
    static hidden mine, others;
    memguard_sweep result;
    memguard_vault *vault = tracking_vault(), *other = tracking_vault();
    mine.count = others.count = 0;
    make_lost(vault, 10, MEMGUARD_CLOSED, &mine);
    make_lost(other, 10, MEMGUARD_CLOSED, &others);
    for (int i = 0; i < 3; i++)
        CHECK_STATUS(sweep(vault, MEMGUARD_SWEEP_SEAL, NULL, &result), MEMGUARD_OK);
    CHECK(result.looked_at == 10 && resting(&mine, MEMGUARD_SEALED) == 10 && resting(&others, MEMGUARD_CLOSED) == 10);
    vault_end(vault);
    vault_end(other);
}

/* ---- memory that cannot be read as it stands ---- */

TEST(mappings_with_holes_behind_the_end_of_their_file_and_without_access_are_no_obstacle) {
    NEEDS_SIGNALS();
    static hidden ids;
    memguard_sweep result;
    const size_t page = page_bytes();
    memguard_vault *vault = tracking_vault();
    const int file = temporary_file(4 * page);
    unsigned char *shared = map(4 * page, MAP_SHARED, file), *private = map(4 * page, MAP_PRIVATE, file);
    unsigned char *closed = map(page, MAP_PRIVATE | MAP_ANONYMOUS, -1),
                  *sparse = map((size_t)1 << 36, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
    unsigned char *memory = map((size_t)1 << 32, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1);
    shared[0] = private[0] = closed[0] = sparse[0] = memory[0] = 1;
    sparse[((size_t)1 << 36) - 1] = 1;
    CHECK(ftruncate(file, (off_t)page) == 0 && mprotect(closed, page, PROT_NONE) == 0);
    ids.count = 0;
    make_lost(vault, 10, MEMGUARD_CLOSED, &ids);
    const uint64_t before = status_bytes("RssShmem:");
    CHECK_STATUS(sweep(vault, MEMGUARD_SWEEP_SEAL, NULL, &result), MEMGUARD_OK);
    CHECK(result.lost == 10 && result.scanned_bytes < (1U << 30));
    CHECK(status_bytes("RssShmem:") < before + (1U << 20)); /* looking filled no hole */
    munmap(shared, 4 * page), munmap(private, 4 * page), munmap(closed, page);
    munmap(sparse, (size_t)1 << 36), munmap(memory, (size_t)1 << 32), close(file);
    vault_end(vault);
}

/* ---- threads that cannot be stopped, signals that are in use ---- */

struct sleeper {
    atomic_int ready, stop;
    int blocks, in_vfork;
};

static void sleep_in_vfork(void) {
    const pid_t child = vfork();
    if (child == 0) {
        const struct timespec nap = {0, 400000000};
        syscall(SYS_nanosleep, &nap, NULL);
        _exit(0);
    }
    CHECK(child > 0 && waitpid(child, NULL, 0) == child);
}

static void *sleep_until_told(void *arg) {
    struct sleeper *sleeper = arg;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMAX - 1);
    if (sleeper->blocks) pthread_sigmask(SIG_BLOCK, &set, NULL);
    atomic_store(&sleeper->ready, 1);
    if (sleeper->in_vfork) sleep_in_vfork();
    while (atomic_load(&sleeper->stop) == 0)
        sleep_ms(1);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL); /* whatever were pending would kill now */
    return NULL;
}

static memguard_status brief_sweep(memguard_vault *vault, uint32_t timeout_ms) {
    memguard_sweep_options options = MEMGUARD_SWEEP_OPTIONS_INIT;
    memguard_sweep result = MEMGUARD_SWEEP_INIT;
    options.flags = MEMGUARD_SWEEP_SEAL;
    options.timeout_ms = timeout_ms;
    const memguard_status status = memguard_lost_sweep(vault, &options, &result);
    CHECK(status == MEMGUARD_OK || (result.looked_at == 0 && result.lost == 0 && result.sealed == 0));
    return status;
}

/* Nothing has changed: what was suspect before is as suspect after, and not more. */
static void gives_up_before(struct sleeper *sleeper) {
    static hidden ids;
    memguard_sweep result;
    pthread_t thread;
    memguard_error error = MEMGUARD_ERROR_INIT;
    memguard_vault *vault = tracking_vault();
    ids.count = 0;
    make_lost(vault, 10, MEMGUARD_CLOSED, &ids);
    CHECK(pthread_create(&thread, NULL, sleep_until_told, sleeper) == 0);
    CHECK(wait_for(&sleeper->ready, 1));
    sleep_ms(20); /* for the one in vfork */
    for (int i = 0; i < 3; i++)
        CHECK_STATUS(brief_sweep(vault, 50), MEMGUARD_ERR_TIMEOUT);
    CHECK_STATUS(memguard_last_error(&error), MEMGUARD_OK);
    CHECK(error.status == MEMGUARD_ERR_TIMEOUT && strstr(error.text, "thread") != NULL);
    CHECK(resting(&ids, MEMGUARD_CLOSED) == 10);
    CHECK(disposition_is_default(SIGRTMAX - 1));
    atomic_store(&sleeper->stop, 1);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK_STATUS(sweep(vault, MEMGUARD_SWEEP_SEAL, NULL, &result), MEMGUARD_OK);
    CHECK(result.lost == 10 && result.sealed == 0); /* none of the three counted as the first */
    vault_end(vault);
}

TEST(a_thread_that_blocks_the_signal_makes_it_give_up_and_change_nothing) {
    NEEDS_SIGNALS();
    struct sleeper sleeper = {.blocks = 1};
    gives_up_before(&sleeper);
}

TEST(a_thread_that_waits_for_its_vfork_makes_it_give_up_and_is_not_killed_later) {
    NEEDS_SIGNALS();
    struct sleeper sleeper = {.in_vfork = 1};
    gives_up_before(&sleeper);
}

static atomic_int handled;
static void count_signal(int number) { atomic_fetch_add(&handled, number != 0); }

TEST(a_signal_that_somebody_uses_is_never_taken_away) {
    memguard_sweep_options options = MEMGUARD_SWEEP_OPTIONS_INIT;
    memguard_vault *vault = tracking_vault();
    struct sigaction action = {.sa_handler = count_signal}, now;
    CHECK(sigaction(SIGRTMAX - 1, &action, NULL) == 0);
    CHECK_STATUS(memguard_lost_sweep(vault, NULL, NULL), MEMGUARD_ERR_STATE);
    CHECK(sigaction(SIGRTMAX - 1, NULL, &now) == 0 && now.sa_handler == count_signal);
    CHECK(raise(SIGRTMAX - 1) == 0 && atomic_load(&handled) == 1);
    action.sa_handler = SIG_IGN;
    CHECK(sigaction(SIGRTMAX - 1, &action, NULL) == 0);
    CHECK_STATUS(memguard_lost_sweep(vault, NULL, NULL), MEMGUARD_ERR_STATE);
    options.signal = SIGRTMIN + 3; /* another one, which is free */
    options.timeout_ms = 20000;
    if (!CHECK_TSAN) CHECK_STATUS(memguard_lost_sweep(vault, &options, NULL), MEMGUARD_OK);
    action.sa_handler = SIG_DFL;
    CHECK(sigaction(SIGRTMAX - 1, &action, NULL) == 0);
    vault_end(vault);
}

/* ---- threads at work ---- */

struct worker {
    memguard_vault *vault;
    atomic_int *stop;
    pthread_t thread;
    uint64_t uses;
};

/* Its handles are in its registers and on its stack, or in those of the cipher at work. */
static void *work(void *arg) {
    struct worker *worker = arg;
    memguard_secret one = secret_make(worker->vault, BYTES, MEMGUARD_CLOSED, 1),
                    two = secret_make(worker->vault, BYTES, MEMGUARD_SEALED, 2);
    while (atomic_load(worker->stop) == 0) {
        CHECK(holds_pattern(two, BYTES, 2));
        if (++worker->uses % 64 == 0) CHECK(holds_pattern(one, BYTES, 1));
        free(malloc(worker->uses % 1000));
    }
    memguard_info info = MEMGUARD_INFO_INIT;
    CHECK_STATUS(memguard_secret_info(one, &info), MEMGUARD_OK);
    CHECK(info.rest == MEMGUARD_CLOSED);
    CHECK_STATUS(memguard_secret_destroy(&one), MEMGUARD_OK);
    CHECK_STATUS(memguard_secret_destroy(&two), MEMGUARD_OK);
    return NULL;
}

static void *end_at_once(void *arg) { return arg; }

static void *make_threads(void *arg) {
    struct worker *worker = arg;
    while (atomic_load(worker->stop) == 0) {
        pthread_t thread;
        if (CHECK(pthread_create(&thread, NULL, end_at_once, NULL) == 0)) CHECK(pthread_join(thread, NULL) == 0);
        worker->uses++;
        sleep_ms(1);
    }
    return NULL;
}

TEST(threads_that_work_allocate_and_come_and_go_are_stopped_and_lose_nothing) {
    NEEDS_SIGNALS();
    enum { WORKERS = 4, SWEEPS = 100 };
    atomic_int stop = 0;
    struct worker workers[WORKERS];
    memguard_sweep result;
    unsigned done = 0;
    memguard_vault *vault = tracking_vault();
    for (int i = 0; i < WORKERS; i++) {
        workers[i] = (struct worker){.vault = vault, .stop = &stop};
        CHECK(pthread_create(&workers[i].thread, NULL, i == 0 ? make_threads : work, &workers[i]) == 0);
    }
    for (int i = 0; i < SWEEPS; i++) {
        if (!CHECK_AMONG(sweep(vault, MEMGUARD_SWEEP_SEAL, NULL, &result), ANY_OF(OK) | ANY_OF(ERR_TIMEOUT))) break;
        CHECK(result.lost == 0 && result.sealed == 0);
        done += result.threads != 0;
        sleep_ms(1);
    }
    CHECK(done >= SWEEPS / 2);
    atomic_store(&stop, 1);
    for (int i = 0; i < WORKERS; i++)
        CHECK(pthread_join(workers[i].thread, NULL) == 0);
    vault_end(vault);
}

static void *sweep_often(void *arg) {
    struct worker *worker = arg;
    memguard_sweep result;
    for (int i = 0; i < 20; i++)
        if (CHECK_STATUS(sweep(worker->vault, 0, NULL, &result), MEMGUARD_OK)) worker->uses++;
    return NULL;
}

TEST(sweeps_by_several_threads_at_once_wait_for_each_other) {
    NEEDS_SIGNALS();
    struct worker workers[3];
    memguard_vault *vault = tracking_vault();
    for (int i = 0; i < 3; i++) {
        workers[i] = (struct worker){.vault = vault};
        CHECK(pthread_create(&workers[i].thread, NULL, sweep_often, &workers[i]) == 0);
    }
    for (int i = 0; i < 3; i++)
        CHECK(pthread_join(workers[i].thread, NULL) == 0 && workers[i].uses == 20);
    vault_end(vault);
}

static void *end_late(void *arg) {
    (void)arg;
    memguard_vault *vault = tracking_vault();
    for (int i = 0; i < 3; i++)
        CHECK_STATUS(sweep(vault, 0, NULL, &(memguard_sweep)MEMGUARD_SWEEP_INIT), MEMGUARD_OK);
    vault_end(vault);
    exit(atomic_load(&check_bad) != 0);
}

static int end_main_thread(void *arg) {
    pthread_t thread;
    (void)arg;
    if (pthread_create(&thread, NULL, end_late, NULL) != 0) return 1;
    pthread_exit(NULL);
}

/* In a child: it has to come before this process makes a vault. */
TEST(a_process_whose_first_thread_has_ended_can_be_swept) {
    NEEDS_SIGNALS();
    CHECK(check_exited(check_child(end_main_thread, NULL), 0));
}

/* ---- arguments ---- */

TEST(bad_arguments_and_stale_vaults_are_refused) {
    memguard_sweep_options options = MEMGUARD_SWEEP_OPTIONS_INIT;
    memguard_sweep result = MEMGUARD_SWEEP_INIT;
    memguard_vault *vault = tracking_vault(), *stale = vault;
    CHECK_STATUS(memguard_lost_sweep(NULL, &options, &result), MEMGUARD_ERR_ARGUMENT);
    options.flags = 2;
    CHECK_STATUS(memguard_lost_sweep(vault, &options, &result), MEMGUARD_ERR_ARGUMENT);
    options = (memguard_sweep_options)MEMGUARD_SWEEP_OPTIONS_INIT;
    options.reserved = 1;
    CHECK_STATUS(memguard_lost_sweep(vault, &options, &result), MEMGUARD_ERR_ARGUMENT);
    options = (memguard_sweep_options)MEMGUARD_SWEEP_OPTIONS_INIT;
    options.size = 3;
    CHECK_STATUS(memguard_lost_sweep(vault, &options, &result), MEMGUARD_ERR_ARGUMENT);
    options = (memguard_sweep_options)MEMGUARD_SWEEP_OPTIONS_INIT;
    static const int no_signals[] = {-1, SIGUSR1, SIGKILL, 1000};
    for (size_t i = 0; i < sizeof no_signals / sizeof *no_signals; i++) {
        options.signal = no_signals[i];
        CHECK_STATUS(memguard_lost_sweep(vault, &options, &result), MEMGUARD_ERR_ARGUMENT);
    }
    result.size = 3;
    CHECK_STATUS(memguard_lost_sweep(vault, NULL, &result), MEMGUARD_ERR_ARGUMENT);
    vault_end(vault);
    result.size = sizeof result;
    result.lost = 7;
    CHECK_STATUS(memguard_lost_sweep(stale, NULL, &result), MEMGUARD_ERR_STALE);
    CHECK(result.lost == 0);
}

int main(void) {
    RUN(a_process_whose_first_thread_has_ended_can_be_swept);
    /* Early: later, new pages may lie where other tests had something, whose addresses dead stacks still hold. */
    RUN(lost_secrets_of_every_rest_and_backend_are_found_without_tracking_too);
    RUN(a_thousand_lost_secrets_are_found_and_sealed_and_none_of_those_that_something_refers_to);
    RUN(what_no_place_keeps_any_more_is_lost_and_a_lost_view_is_reported_and_not_sealed);
    RUN(registers_and_stack_of_the_thread_that_sweeps_refer_too);
    RUN(an_address_just_behind_a_compact_or_mapped_secret_still_refers_to_it);
    RUN(a_handle_kept_only_by_epoll_is_wrongly_sealed_and_works_at_its_next_acquire);
    RUN(a_borrow_between_two_sweeps_takes_the_suspicion_away);
    RUN(a_scope_refers_to_its_secrets);
    RUN(only_the_vault_that_was_named_is_looked_at);
    RUN(mappings_with_holes_behind_the_end_of_their_file_and_without_access_are_no_obstacle);
    RUN(a_thread_that_blocks_the_signal_makes_it_give_up_and_change_nothing);
    RUN(a_thread_that_waits_for_its_vfork_makes_it_give_up_and_is_not_killed_later);
    RUN(a_signal_that_somebody_uses_is_never_taken_away);
    RUN(threads_that_work_allocate_and_come_and_go_are_stopped_and_lose_nothing);
    RUN(sweeps_by_several_threads_at_once_wait_for_each_other);
    RUN(bad_arguments_and_stale_vaults_are_refused);
    return check_end();
}
