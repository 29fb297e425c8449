/* See scan.h. Included by the tests that use it: each program of tests/ is built from one file. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "lab/scan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "sys/sys.h"

const char *const scan_column_names[SCAN_COLUMNS] = {"P", "K",      "x",       "y", "H(x)", "Ks",
                                                     "S", "stream", "old x,y", "W", "kek"};
const char *const scan_place_names[SCAN_PLACES] = {"heap",        "stack",  "thread stack", "file",     "other",
                                                   "registers",   "source", "slot",         "use page", "compact slot",
                                                   "coffer page", "prekey", "bench",        "planted"};
const char *const scan_form_names[SCAN_FORMS] = {"raw", "reversed", "hex", "HEX", "base64", "base64+1", "base64+2"};

enum {
    NEEDLES = 128,
    RANGES = 64,
    WINDOW = 8,
    OVERLAP = 64,
    CHUNK = 256 * 1024,
    MAPS_BYTES = 512 * 1024,
    STACK_BYTES = 48 * 1024,
    PAD_BYTES = 4096,
    PAGEMAP = 4096,
    STORE_BYTES = 16 << 20,
    MOST_LOG2 = 23
};

struct text { /* one form of one needle, XORed with the pad */
    unsigned char *masked;
    size_t bytes, least_run;
    int needle;
    enum scan_form form;
};

struct needle {
    enum scan_column column;
    unsigned forms;
    size_t bytes;
    unsigned char *masked;
};

struct range {
    uintptr_t from, to;
    enum scan_place place;
};

struct slot {
    uint64_t key; /* of a window; 0: free */
    uint64_t ref; /* text << 32 | offset */
};

/* Everything that the scanner has: one mapping with guards around it. */
struct arena {
    unsigned char stack[STACK_BYTES];
    _Alignas(64) unsigned char snapshots[SCAN_SNAPSHOTS][SCAN_SNAPSHOT_BYTES];
    unsigned char pad[PAD_BYTES];
    unsigned char buffer[CHUNK + OVERLAP];
    char maps[MAPS_BYTES];
    uint64_t pagemap[PAGEMAP];
    struct needle needles[NEEDLES];
    struct text texts[NEEDLES * SCAN_FORMS];
    struct range ranges[RANGES];
    int needle_count, range_count;
    uint32_t text_count;
    size_t stored;
    uint64_t mask, factor, seed;
    unsigned log2; /* of the table */
    unsigned char store[STORE_BYTES];
    unsigned char filter[1U << MOST_LOG2]; /* 8 bits a slot */
    struct slot table[1U << MOST_LOG2];
};

static struct arena *arena;
static uintptr_t arena_from, arena_to;
static int memory_descriptor = -1, pagemap_descriptor = -1;
unsigned char *scan_snapshots;

void scan_wipe(void *p, size_t bytes) {
    memset(p, 0, bytes);
    __asm__ volatile("" : : "r"(p) : "memory");
}

void scan_call(void (*fn)(void *arg), void *arg) {
    mg__arch_call_on(arena->stack + STACK_BYTES, fn, arg);
    scan_wipe(arena->stack, STACK_BYTES);
    mg__arch_clear_registers();
}

const char *scan_start(void) {
    if (arena != NULL) return NULL;
    if (!mg__arch_has_private_stacks()) return "no private stacks on this processor: the scanner would find itself";
    memory_descriptor = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
    if (memory_descriptor < 0) return "/proc/self/mem cannot be opened";
    pagemap_descriptor = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    if (pagemap_descriptor < 0) return "/proc/self/pagemap cannot be opened";
    const size_t page = mg__sys_page(), bytes = (sizeof *arena + page - 1) & ~(page - 1);
    unsigned char *reserved =
        mmap(NULL, bytes + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (reserved == MAP_FAILED || mprotect(reserved + page, bytes, PROT_READ | PROT_WRITE) != 0) return "no memory";
    arena_from = (uintptr_t)reserved;
    arena_to = arena_from + bytes + 2 * page;
    arena = (struct arena *)(void *)(reserved + page);
    scan_snapshots = arena->snapshots[0];
    mg__arch_init();
    uint64_t drawn[3];
    if (getrandom(arena->pad, PAD_BYTES, 0) != PAD_BYTES || getrandom(drawn, sizeof drawn, 0) != sizeof drawn)
        return "no randomness";
    arena->mask = drawn[0];
    arena->factor = drawn[1] | 1;
    arena->seed = drawn[2];
    return NULL;
}

/* ---- needles ---- */

static unsigned char pad_at(size_t i) { return arena->pad[i % PAD_BYTES]; }

void scan_drop_registers(void) { memset(arena->snapshots, 0, sizeof arena->snapshots); }

void scan_begin(size_t windows) {
    arena->log2 = 13;
    while (arena->log2 < MOST_LOG2 && (size_t)1 << arena->log2 < 2 * windows)
        arena->log2++;
    memset(arena->table, 0, sizeof arena->table[0] << arena->log2);
    memset(arena->filter, 0, (size_t)1 << arena->log2);
    arena->needle_count = 0;
    arena->text_count = 0;
    arena->stored = 0;
    scan_drop_registers();
}

static unsigned char *store_take(size_t bytes) {
    unsigned char *at = arena->store + arena->stored;
    arena->stored += bytes;
    if (arena->stored > STORE_BYTES) {
        fprintf(stderr, "scan: needles too long\n");
        _exit(70);
    }
    return at;
}

int scan_add(enum scan_column column, size_t bytes, unsigned forms) {
    const int number = arena->needle_count++;
    if (number >= NEEDLES) {
        fprintf(stderr, "scan: too many needles\n");
        _exit(70);
    }
    struct needle *needle = &arena->needles[number];
    *needle = (struct needle){column, forms, bytes, store_take(bytes)};
    for (size_t i = 0; i < bytes; i++)
        needle->masked[i] = pad_at(i);
    return number;
}

void scan_set(int needle, size_t offset, const unsigned char *raw, size_t bytes) {
    unsigned char *masked = arena->needles[needle].masked;
    for (size_t i = offset; i < offset + bytes; i++)
        masked[i] = (unsigned char)(raw[i - offset] ^ pad_at(i));
}

void scan_get(int needle, size_t offset, unsigned char *raw, size_t bytes) {
    const unsigned char *masked = arena->needles[needle].masked;
    for (size_t i = offset; i < offset + bytes; i++)
        raw[i - offset] = (unsigned char)(masked[i] ^ pad_at(i));
}

void scan_recolumn(int needle, enum scan_column column) { arena->needles[needle].column = column; }

int scan_equal(int needle, int other) {
    const struct needle *a = &arena->needles[needle], *b = &arena->needles[other];
    return a->bytes == b->bytes && memcmp(a->masked, b->masked, a->bytes) == 0;
}

/* The word in the shape in which it is kept and compared. */
static uint64_t mixed(uint64_t word) {
    const uint64_t key = (word ^ arena->mask) * arena->factor;
    return key == 0 ? 1 : key;
}

static void insert_window(uint64_t word, uint64_t ref) {
    const uint64_t key = mixed(word), places = (uint64_t)1 << arena->log2, bit = key >> (61 - arena->log2);
    uint64_t at = key >> (64 - arena->log2);
    arena->filter[bit / 8] |= (unsigned char)(1U << (bit % 8));
    while (arena->table[at].key != 0)
        at = (at + 1) & (places - 1);
    arena->table[at] = (struct slot){key, ref};
}

static size_t text_bytes(size_t bytes, enum scan_form form) {
    if (form == SCAN_RAW || form == SCAN_REVERSED) return bytes;
    if (form == SCAN_HEX || form == SCAN_HEX_UPPER) return 2 * bytes;
    const size_t shift = (size_t)form - SCAN_BASE64;
    return bytes > shift ? (bytes - shift) / 3 * 4 : 0; /* whole groups */
}

/* On the scanner's stack: byte `i` of a form. */
static unsigned char text_at(const struct needle *needle, enum scan_form form, size_t i) {
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
#define BYTE(k) ((unsigned)(needle->masked[k] ^ pad_at(k)))
    if (form == SCAN_RAW) return (unsigned char)BYTE(i);
    if (form == SCAN_REVERSED) return (unsigned char)BYTE(needle->bytes - 1 - i);
    if (form == SCAN_HEX || form == SCAN_HEX_UPPER)
        return (unsigned char)digits[((BYTE(i / 2) >> (i % 2 == 0 ? 4 : 0)) & 15) + (form == SCAN_HEX ? 0 : 16)];
    const size_t first = i / 4 * 3 + ((size_t)form - SCAN_BASE64);
    const unsigned group = BYTE(first) << 16 | BYTE(first + 1) << 8 | BYTE(first + 2);
    return (unsigned char)letters[(group >> (18 - 6 * (i % 4))) & 63];
#undef BYTE
}

static void index_text(int number, enum scan_form form) {
    const struct needle *needle = &arena->needles[number];
    const size_t bytes = text_bytes(needle->bytes, form);
    const size_t least = form <= SCAN_REVERSED ? WINDOW : form <= SCAN_HEX_UPPER ? 2 * WINDOW : 12;
    if (bytes < least) return;
    unsigned char *masked = form == SCAN_RAW ? needle->masked : store_take(bytes);
    arena->texts[arena->text_count] = (struct text){masked, bytes, least, number, form};
    uint64_t word = 0;
    for (size_t i = 0; i < bytes; i++) {
        const unsigned char byte = text_at(needle, form, i);
        masked[i] = (unsigned char)(byte ^ pad_at(i));
        word = word >> 8 | (uint64_t)byte << 56;
        if (i + 1 >= WINDOW) insert_window(word, (uint64_t)arena->text_count << 32 | (i + 1 - WINDOW));
    }
    arena->text_count++;
}

static void body_index(void *arg) {
    const int number = *(const int *)arg;
    for (enum scan_form form = SCAN_RAW; form < SCAN_FORMS; form++)
        if ((arena->needles[number].forms >> form & 1) != 0) index_text(number, form);
}

void scan_index(int needle) { scan_call(body_index, &needle); }

struct drawing {
    int needle;
    unsigned char *to;
};

/* splitmix64 (S. Vigna): its state is a counter, so that no byte of what it yields is ever in it. */
static uint64_t next_random(void) {
    uint64_t z = arena->seed += 0x9e3779b97f4a7c15U;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9U;
    z = (z ^ z >> 27) * 0x94d049bb133111ebU;
    return z ^ z >> 31;
}

static void body_draw(void *arg) {
    const struct drawing *drawing = arg;
    const size_t bytes = arena->needles[drawing->needle].bytes;
    for (size_t i = 0; i < bytes; i++) {
        /* Never zero: so that what was wiped beside a window never prolongs it. */
        const unsigned char byte = (unsigned char)((next_random() >> 24) % 255 + 1);
        scan_set(drawing->needle, i, &byte, 1);
        if (drawing->to != NULL) drawing->to[i] = byte;
    }
}

int scan_draw(enum scan_column column, size_t bytes, unsigned forms, void *to) {
    struct drawing drawing = {scan_add(column, bytes, forms), to};
    scan_call(body_draw, &drawing);
    scan_index(drawing.needle);
    return drawing.needle;
}

struct planting {
    int needle;
    enum scan_form form;
    unsigned char *to;
    size_t bytes;
};

static void body_plant(void *arg) {
    struct planting *planting = arg;
    const struct needle *needle = &arena->needles[planting->needle];
    planting->bytes = text_bytes(needle->bytes, planting->form);
    for (size_t i = 0; i < planting->bytes; i++)
        planting->to[i] = text_at(needle, planting->form, i);
}

size_t scan_plant(int needle, enum scan_form form, void *to) {
    struct planting planting = {needle, form, to, 0};
    scan_call(body_plant, &planting);
    return planting.bytes;
}

/* ---- places ---- */

void scan_name(enum scan_place place, const void *from, size_t bytes) {
    if (arena->range_count == RANGES) {
        fprintf(stderr, "scan: too many ranges\n");
        _exit(70);
    }
    arena->ranges[arena->range_count++] = (struct range){(uintptr_t)from, (uintptr_t)from + bytes, place};
}

void scan_unname(enum scan_place place) {
    int kept = 0;
    for (int i = 0; i < arena->range_count; i++)
        if (arena->ranges[i].place != place) arena->ranges[kept++] = arena->ranges[i];
    arena->range_count = kept;
}

static enum scan_place place_of(uintptr_t address, enum scan_place otherwise) {
    for (int i = arena->range_count; i-- > 0;) /* the last name given counts */
        if (address >= arena->ranges[i].from && address < arena->ranges[i].to) return arena->ranges[i].place;
    return otherwise;
}

/* ---- searching; on the scanner's stack ---- */

static uint64_t load_word(const unsigned char *p) {
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

/* How many bytes from p on are those of the text from the offset on. */
static size_t run_length(const unsigned char *p, size_t bytes, const struct text *text, size_t offset) {
    size_t n = 0;
    while (n < bytes && offset + n < text->bytes && p[n] == (text->masked[offset + n] ^ pad_at(offset + n)))
        n++;
    return n;
}

static void note(struct scan_result *result, const struct text *text, enum scan_place place, uintptr_t where,
                 size_t run) {
    struct scan_cell *cell = &result->cells[arena->needles[text->needle].column][place];
    cell->runs++;
    if (run <= cell->longest) return;
    cell->longest = run;
    cell->where = where;
    cell->form = text->form;
}

/* The longest run that begins at p; 0: none. */
static size_t look_up(struct scan_result *result, const unsigned char *p, size_t bytes, uint64_t key, uintptr_t address,
                      enum scan_place otherwise) {
    const uint64_t places = (uint64_t)1 << arena->log2;
    const struct text *found = NULL;
    size_t longest = 0;
    for (uint64_t at = key >> (64 - arena->log2); arena->table[at].key != 0; at = (at + 1) & (places - 1)) {
        if (arena->table[at].key != key) continue;
        const struct text *text = &arena->texts[arena->table[at].ref >> 32];
        const size_t run = run_length(p, bytes, text, (uint32_t)arena->table[at].ref);
        if (run < text->least_run || run <= longest) continue;
        longest = run;
        found = text;
    }
    if (found != NULL) note(result, found, place_of(address, otherwise), address, longest);
    return longest;
}

static int line_is_zero(const unsigned char *p) {
    uint64_t seen = 0;
    for (size_t i = 0; i < 72; i += 8)
        seen |= load_word(p + i);
    return seen == 0;
}

static void search(struct scan_result *result, const unsigned char *p, size_t bytes, uintptr_t address,
                   enum scan_place otherwise) {
    for (size_t i = 0; i + WINDOW <= bytes;) {
        if (i % 64 == 0 && i + 72 <= bytes && line_is_zero(p + i)) {
            i += 64;
            continue;
        }
        const uint64_t key = mixed(load_word(p + i)), bit = key >> (61 - arena->log2);
        size_t run = 0;
        if ((arena->filter[bit / 8] >> (bit % 8) & 1) != 0)
            run = look_up(result, p + i, bytes - i, key, address + i, otherwise);
        i += run > WINDOW ? run - WINDOW + 1 : 1;
    }
}

static void unread(struct scan_result *result, uintptr_t address, size_t bytes) {
    if (result->unread_bytes == 0) result->unread_at = address;
    result->unread_bytes += bytes;
}

/* A stretch of pages that exist. */
static void search_pages(struct scan_result *result, uintptr_t from, uintptr_t to, enum scan_place otherwise) {
    const size_t page = mg__sys_page();
    const size_t most = to - from < CHUNK ? to - from : CHUNK;
    size_t kept = 0; /* of the chunk before, so that nothing is cut in two */
    for (uintptr_t at = from; at < to;) {
        const size_t wanted = to - at < CHUNK ? to - at : CHUNK;
        const ssize_t got = pread(memory_descriptor, arena->buffer + OVERLAP, wanted, (off_t)at);
        if (got <= 0) {
            unread(result, at, page);
            at += page;
            kept = 0;
            continue;
        }
        search(result, arena->buffer + OVERLAP - kept, (size_t)got + kept, at - kept, otherwise);
        result->seen_bytes += (uint64_t)got;
        kept = OVERLAP;
        memcpy(arena->buffer, arena->buffer + (size_t)got, OVERLAP); /* the last bytes read, before the next ones */
        at += (size_t)got;
    }
    scan_wipe(arena->buffer, most + OVERLAP);
}

/* Pages that were never touched hold nothing, and those of a privately mapped file that were never written are the file's; the page
 * map tells. */
static void search_mapping(struct scan_result *result, uintptr_t from, uintptr_t to, int private_file,
                           enum scan_place otherwise) {
    static const uint64_t present_or_swapped = (uint64_t)3 << 62, of_file = (uint64_t)1 << 61;
    const size_t page = mg__sys_page();
    uintptr_t begin = 0; /* of the stretch; 0: none */
    for (uintptr_t at = from; at < to;) {
        const size_t wanted = (to - at) / page < PAGEMAP ? (to - at) / page : PAGEMAP;
        const ssize_t got = pread(pagemap_descriptor, arena->pagemap, wanted * 8, (off_t)(at / page * 8));
        const size_t pages = got > 0 ? (size_t)got / 8 : 0;
        for (size_t i = 0; i < (pages != 0 ? pages : wanted); i++, at += page) {
            const int ours = at >= arena_from && at < arena_to;
            const uint64_t entry = pages == 0 ? present_or_swapped : arena->pagemap[i];
            const int clean = (entry & present_or_swapped) == 0 || (private_file && (entry & of_file) != 0);
            if (!clean && !ours && begin == 0) begin = at;
            if ((!clean && !ours) || begin == 0) continue;
            search_pages(result, begin, at, otherwise);
            begin = 0;
        }
    }
    if (begin != 0) search_pages(result, begin, to, otherwise);
}

static uintptr_t hex_number(const char **text) {
    uintptr_t value = 0;
    for (;; (*text)++) {
        const char c = **text;
        if (c >= '0' && c <= '9')
            value = value << 4 | (uintptr_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            value = value << 4 | (uintptr_t)(c - 'a' + 10);
        else
            return value;
    }
}

static size_t read_maps(void) {
    size_t bytes = 0;
    const int descriptor = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    for (ssize_t got; descriptor >= 0 && bytes < MAPS_BYTES - 1 &&
                      (got = read(descriptor, arena->maps + bytes, MAPS_BYTES - 1 - bytes)) > 0;)
        bytes += (size_t)got;
    if (descriptor >= 0) close(descriptor);
    arena->maps[bytes] = '\0';
    return bytes;
}

static enum scan_place place_of_name(const char *name) {
    if (strncmp(name, "[heap]", 6) == 0) return SCAN_HEAP;
    if (strncmp(name, "[stack]", 7) == 0) return SCAN_STACK;
    return *name == '/' && strncmp(name, "/secretmem", 10) != 0 ? SCAN_FILE : SCAN_OTHER;
}

static void body_scan(void *arg) {
    struct scan_result *result = arg;
    read_maps();
    for (const char *line = arena->maps; *line != '\0';) {
        const uintptr_t from = hex_number(&line);
        line++;
        const uintptr_t to = hex_number(&line);
        const char *end = strchr(line, '\n');
        if (end == NULL) break;
        const char *name = line;
        const int is_private = line[1 + 3] == 'p';
        for (int field = 0; field < 5; field++) { /* permissions, offset, device, inode */
            while (*name != ' ' && name < end)
                name++;
            if (field < 4)
                while (*name == ' ')
                    name++;
        }
        while (*name == ' ')
            name++;
        const int of_kernel = strncmp(name, "[vvar", 5) == 0 || strncmp(name, "[vsyscall]", 10) == 0;
        if (!of_kernel) search_mapping(result, from, to, is_private && *name == '/', place_of_name(name));
        line = end + 1;
    }
    search(result, arena->snapshots[0], sizeof arena->snapshots, 0, SCAN_REGISTERS);
}

void scan_memory(struct scan_result *result) {
    memset(result, 0, sizeof *result);
    scan_call(body_scan, result);
}

unsigned scan_runs_in(const struct scan_result *result, enum scan_column column, enum scan_place place) {
    return place < SCAN_PLACES ? result->cells[column][place].runs : 0;
}

unsigned scan_runs_outside(const struct scan_result *result, enum scan_column column, enum scan_place place) {
    unsigned runs = 0;
    for (enum scan_place p = 0; p < SCAN_PLACES; p++)
        if (p != place) runs += result->cells[column][p].runs;
    return runs;
}

void scan_print_hits(const struct scan_result *result, const char *state) {
    for (enum scan_column c = 0; c < SCAN_COLUMNS; c++) {
        for (enum scan_place p = 0; p < SCAN_PLACES; p++) {
            const struct scan_cell *cell = &result->cells[c][p];
            if (cell->runs == 0) continue;
            printf("  %s: %s in %s, %u runs, the longest %zu bytes (%s) at %#zx\n", state, scan_column_names[c],
                   scan_place_names[p], cell->runs, cell->longest, scan_form_names[cell->form], (size_t)cell->where);
        }
    }
}

int scan_read_error(const void *p) {
    unsigned char byte = 0;
    const ssize_t got = pread(memory_descriptor, &byte, 1, (off_t)(uintptr_t)p);
    const int error = got == 1 ? 0 : got < 0 ? errno : EIO;
    scan_wipe(&byte, 1);
    return error;
}

/* ---- registers ---- */

#if defined(__x86_64__)
__asm__(".text\n"
        ".globl scan_store_registers\n"
        ".type scan_store_registers, @function\n"
        "scan_store_registers:\n"
        ".cfi_startproc\n"
        "endbr64\n"
        "mov %rax, 0(%rdi)\n mov %rbx, 8(%rdi)\n mov %rcx, 16(%rdi)\n mov %rdx, 24(%rdi)\n"
        "mov %rsi, 32(%rdi)\n mov %rbp, 40(%rdi)\n mov %rsp, 48(%rdi)\n mov %r8, 56(%rdi)\n"
        "mov %r9, 64(%rdi)\n mov %r10, 72(%rdi)\n mov %r11, 80(%rdi)\n mov %r12, 88(%rdi)\n"
        "mov %r13, 96(%rdi)\n mov %r14, 104(%rdi)\n mov %r15, 112(%rdi)\n"
        "mov $-1, %eax\n mov $-1, %edx\n xsave64 128(%rdi)\n"
        "ret\n"
        ".cfi_endproc\n"
        ".size scan_store_registers, .-scan_store_registers\n");
#endif
