/* test_fault_io.c: reading, writing, asking and encoding, with call N to each entry of the tables of system calls failing, once or from
 * then on. After each: a status that fits; no secret, half or whole, left where there should be none; a secret that was given holds
 * the right bytes; the terminal is as it was, unless it was its own change that was refused; afterwards all works again. */
#include "../unit/white.h"

#include <fcntl.h>
#include <memguard/codec.h>
#include <memguard/io.h>
#include <termios.h>

#include "sys/io.h"

/* ---- what fails ---- */

enum entry { READ, WRITE, SEND, POLL, OPEN_TTY, GET_MODES, SET_MODES, MMAP, MPROTECT, MADVISE, MLOCK, GETRANDOM, ENTRIES, FIRST_OF_MEMORY = MMAP };

static struct mg__sys_io_table real_io;
static struct mg__sys_table real;
static enum entry failing;
static int error_now;
static unsigned at, calls;
static bool armed, for_ever, hit;

static bool fails(enum entry entry) {
    if (!armed || entry != failing) return false;
    calls++;
    if (calls != at && !(for_ever && calls > at)) return false;
    hit = true;
    errno = error_now;
    return true;
}

static int master = -1, slave = -1; /* a terminal; whoever hides its input gets a line typed */

static long my_read(int d, void *p, size_t n) { return fails(READ) ? -1 : real_io.read(d, p, n); }
static long my_write(int d, const void *p, size_t n) { return fails(WRITE) ? -1 : real_io.write(d, p, n); }
static long my_send(int d, const void *p, size_t n) { return fails(SEND) ? -1 : real_io.send(d, p, n); }
static int my_poll(int d, short events, unsigned ms) { return fails(POLL) ? -1 : real_io.poll(d, events, ms); }
static int my_open_tty(void) {
    if (fails(OPEN_TTY)) return -1;
    errno = ENXIO; /* whatever runs this test */
    return -1;
}
static int my_get_modes(int d, void *modes) { return fails(GET_MODES) ? -1 : real_io.get_modes(d, modes); }
static int my_set_modes(int d, int when, const void *modes) {
    if (fails(SET_MODES)) return -1;
    const int result = real_io.set_modes(d, when, modes);
    if (result == 0 && (((const struct termios *)modes)->c_lflag & ECHO) == 0) CHECK(write(master, "sesame\r", 7) == 7);
    return result;
}
static void *my_mmap(void *a, size_t n, int p, int f, int d, long o) { return fails(MMAP) ? MAP_FAILED : real.mmap(a, n, p, f, d, o); }
static int my_mprotect(void *a, size_t n, int p) { return fails(MPROTECT) ? -1 : real.mprotect(a, n, p); }
static int my_madvise(void *a, size_t n, int advice) { return fails(MADVISE) ? -1 : real.madvise(a, n, advice); }
static int my_mlock(const void *a, size_t n) { return fails(MLOCK) ? -1 : real.mlock(a, n); }
static long my_getrandom(void *p, size_t n, unsigned f) { return fails(GETRANDOM) ? -1 : real.getrandom(p, n, f); }

static void replace_tables(void) {
    real_io = mg__sys_io_table;
    mg__sys_io_table = (struct mg__sys_io_table){my_read, my_write, my_send, my_poll, my_open_tty, my_get_modes, my_set_modes};
    real = mg__sys_table;
    mg__sys_table.mmap = my_mmap, mg__sys_table.mprotect = my_mprotect, mg__sys_table.madvise = my_madvise;
    mg__sys_table.mlock = my_mlock, mg__sys_table.getrandom = my_getrandom;
}

/* ---- scenarios: each makes at most one secret, of a known pattern or text ---- */

enum { BYTES = 9000, SEED = 11 };
static memguard_vault *vault;
static memguard_secret given;
static unsigned char source[BYTES + 1];

static void put(int end, const void *bytes, size_t size) { CHECK(write(end, bytes, size) == (ssize_t)size); }

static memguard_status read_some(int until) {
    int ends[2];
    if (!CHECK(pipe2(ends, O_NONBLOCK | O_CLOEXEC) == 0)) return MEMGUARD_ERR_SYSTEM;
    fill(source, BYTES, SEED);
    for (size_t i = 0; i < BYTES; i++)
        if (source[i] == '\n') source[i] = 'n';
    source[BYTES] = '\n';
    put(ends[1], source, until >= 0 ? BYTES + 1 : BYTES);
    close(ends[1]);
    memguard_status status = MEMGUARD_OK;
    if (until >= 0) status = memguard_secret_read_until(vault, ends[0], until, BYTES, 0, &given);
    else if (until == MEMGUARD_UNTIL_END) status = memguard_secret_read_all(vault, ends[0], BYTES, MEMGUARD_COMPACT, &given);
    else status = memguard_secret_read_exact(vault, ends[0], BYTES, MEMGUARD_CLOSED, &given);
    close(ends[0]);
    return status;
}

static memguard_status read_exactly(void) { return read_some(MEMGUARD_UNTIL_FULL); }
static memguard_status read_to_the_end(void) { return read_some(MEMGUARD_UNTIL_END); }
static memguard_status read_a_line(void) { return read_some('\n'); }

static memguard_status write_it(void) {
    int ends[2];
    if (!CHECK(pipe2(ends, O_NONBLOCK | O_CLOEXEC) == 0)) return MEMGUARD_ERR_SYSTEM;
    const memguard_status status = memguard_secret_write(given, ends[1]);
    CHECK(status != MEMGUARD_OK || (read(ends[0], source, BYTES) == BYTES && is_pattern(source, BYTES, SEED)));
    close(ends[0]), close(ends[1]);
    return status;
}

static memguard_status encode_it(void) {
    memguard_secret text = {77};
    const memguard_status status = memguard_base64_encode(given, 0, MEMGUARD_CLOSED, &text);
    CHECK((status == MEMGUARD_OK) == (text.id != 0));
    if (text.id != 0) CHECK_STATUS(memguard_secret_destroy(&text), MEMGUARD_OK);
    return status;
}

static memguard_status ask_for_it(void) {
    const memguard_prompt_options options = {.size = sizeof options, .text = "Key: ", .input = slave, .output = slave,
                                             .flags = MEMGUARD_PROMPT_DESCRIPTORS | MEMGUARD_PROMPT_NEED_TERMINAL};
    return memguard_prompt(vault, &options, MEMGUARD_SEALED, &given);
}

static memguard_status fill_a_stream(void) {
    int ends[2];
    memguard_stream stream = {0};
    uint64_t moved = 0, held = 0;
    if (!CHECK(pipe2(ends, O_NONBLOCK | O_CLOEXEC) == 0)) return MEMGUARD_ERR_SYSTEM;
    fill(source, BYTES, SEED);
    put(ends[1], source, BYTES);
    close(ends[1]);
    memguard_status status = memguard_stream_create(vault, NULL, &stream);
    if (status == MEMGUARD_OK) {
        status = memguard_stream_fill(stream, ends[0], UINT64_MAX, &moved);
        CHECK(status != MEMGUARD_OK || moved == BYTES);
        CHECK_STATUS(memguard_stream_size(stream, &held), MEMGUARD_OK);
        CHECK(held == moved);
        CHECK_STATUS(memguard_stream_destroy(&stream), MEMGUARD_OK);
    }
    close(ends[0]);
    return status;
}

static memguard_status move_a_large_one(void) {
    int ends[2];
    memguard_large large = {77};
    if (!CHECK(pipe2(ends, O_NONBLOCK | O_CLOEXEC) == 0)) return MEMGUARD_ERR_SYSTEM;
    fill(source, BYTES, SEED);
    put(ends[1], source, BYTES);
    close(ends[1]);
    memguard_status status =
        memguard_large_from_fd(vault, ends[0], BYTES, &(memguard_stream_options){sizeof(memguard_stream_options), 4000, 0}, &large);
    close(ends[0]);
    CHECK((status == MEMGUARD_OK) == (large.id != 0));
    if (status != MEMGUARD_OK) return status;
    if (!CHECK(pipe2(ends, O_NONBLOCK | O_CLOEXEC) == 0)) return MEMGUARD_ERR_SYSTEM;
    status = memguard_large_to_fd(large, 0, BYTES, ends[1]);
    CHECK(status != MEMGUARD_OK || (read(ends[0], source, BYTES) == BYTES && is_pattern(source, BYTES, SEED)));
    CHECK_STATUS(memguard_large_destroy(&large), MEMGUARD_OK);
    close(ends[0]), close(ends[1]);
    return status;
}

static int shows(const void *bytes, size_t size, void *text) { return size == strlen(text) && memcmp(bytes, text, size) == 0; }
static int shows_source(const void *bytes, size_t size, void *arg) { (void)arg; return size == BYTES && memcmp(bytes, source, size) == 0; }

static const struct scenario {
    const char *name;
    memguard_status (*run)(void);
    bool begins_with_one; /* a secret is there before, and stays */
} scenarios[] = {{"read_exact", read_exactly, false}, {"read_all", read_to_the_end, false}, {"read_until", read_a_line, false},
                 {"write", write_it, true},           {"encode", encode_it, true},          {"prompt", ask_for_it, false},
                 {"stream_fill", fill_a_stream, true}, {"large", move_a_large_one, true}};
enum { SCENARIOS = sizeof scenarios / sizeof scenarios[0] };

/* ---- the sweep ---- */

static uint64_t secrets_alive(void) {
    const memguard_report report = report_of(vault);
    return report.secrets[0] + report.secrets[1] + report.secrets[2] + report.secrets[3];
}

static bool is_right(const struct scenario *scenario) {
    char text[] = "sesame";
    int right = 0;
    if (scenario->begins_with_one) return holds(given, SEED);
    const memguard_status status = scenario->run == ask_for_it ? memguard_secret_use(given, shows, text, &right)
                                                               : memguard_secret_use(given, shows_source, NULL, &right);
    return status == MEMGUARD_OK && right == 1;
}

static uint32_t statuses_of(enum entry entry) {
#define S(name) (1U << MEMGUARD_ERR_##name)
    if (entry >= FIRST_OF_MEMORY) return S(LOCK_LIMIT) | S(MAP_LIMIT) | S(MEMORY) | S(SYSTEM) | S(RANDOM);
    return S(IO);
}

/* Terminals that were not restored because just that failed. */
static void mend_the_terminal(const struct termios *before) {
    struct termios now;
    memset(&now, 0, sizeof now);
    CHECK(tcgetattr(slave, &now) == 0);
    if (failing != SET_MODES) CHECK(memcmp(&now, before, sizeof now) == 0);
    CHECK(tcsetattr(slave, TCSAFLUSH, before) == 0);
}

/* One run; false when the failing call was not reached. */
static bool run_once(const struct scenario *scenario) {
    struct termios before;
    memset(&before, 0, sizeof before);
    given = (memguard_secret){0};
    CHECK(tcgetattr(slave, &before) == 0);
    if (scenario->begins_with_one) given = make_secret(vault, BYTES, MEMGUARD_SEALED, SEED);
    const uint64_t alive = secrets_alive();
    calls = 0, hit = false, armed = true;
    const memguard_status status = scenario->run();
    armed = false;
    const bool reached = hit;
    mend_the_terminal(&before);
    if (status == MEMGUARD_OK) {
        CHECK(is_right(scenario));
    } else {
        CHECK(reached);
        if (!CHECK((statuses_of(failing) >> status & 1) != 0))
            printf("  %s: %s when call %u of entry %d failed\n", scenario->name, memguard_status_name(status), at, failing);
        CHECK(secrets_alive() == alive);
        CHECK(scenario->begins_with_one ? holds(given, SEED) : given.id == 0);
    }
    if (given.id != 0) CHECK_STATUS(memguard_secret_destroy(&given), MEMGUARD_OK);
    CHECK(secrets_alive() == 0);
    return reached;
}

static unsigned sweep(enum entry entry, int error, bool always) {
    unsigned runs = 0;
    failing = entry, error_now = error, for_ever = always;
    for (int s = 0; s < SCENARIOS; s++)
        for (at = 1; run_once(&scenarios[s]) && at < 200; at++)
            runs++;
    return runs;
}

static void begin(void) {
    char name[64];
    master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    CHECK(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0 && ptsname_r(master, name, sizeof name) == 0);
    slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    CHECK(slave >= 0 && fcntl(master, F_SETFL, O_NONBLOCK) == 0);
    vault = make_vault(MEMGUARD_BACKEND_LOCKED, MEMGUARD_NO_THREAD);
    replace_tables();
}

TEST(failures_of_descriptors_and_terminals_are_told_and_leave_nothing) {
    unsigned runs = 0;
    for (enum entry entry = READ; entry < FIRST_OF_MEMORY; entry++) {
        for (int always = 0; always < 2; always++) runs += sweep(entry, EIO, always != 0);
        unsigned char drained[4096];
        while (read(master, drained, sizeof drained) > 0) {
        }
    }
    printf("%u runs with a failure\n", runs);
    CHECK(runs > 100);
}

TEST(what_is_transient_is_tried_again) {
    for (enum entry entry = READ; entry <= SEND; entry++) {
        for (int e = 0; e < 2; e++) {
            failing = entry, error_now = e == 0 ? EINTR : EAGAIN, for_ever = false;
            for (int s = 0; s < SCENARIOS; s++) {
                if (scenarios[s].run == ask_for_it && entry == READ && e == 0) continue; /* there it breaks off */
                for (at = 1; at < 20; at++) {
                    given = (memguard_secret){0};
                    if (scenarios[s].begins_with_one) given = make_secret(vault, BYTES, MEMGUARD_SEALED, SEED);
                    calls = 0, armed = true;
                    CHECK_STATUS(scenarios[s].run(), MEMGUARD_OK);
                    armed = false;
                    CHECK(is_right(&scenarios[s]));
                    CHECK_STATUS(memguard_secret_destroy(&given), MEMGUARD_OK);
                }
            }
        }
    }
}

TEST(failures_of_memory_are_told_and_leave_nothing) {
    unsigned runs = 0;
    for (enum entry entry = FIRST_OF_MEMORY; entry < ENTRIES; entry++)
        for (int always = 0; always < 2; always++)
            runs += sweep(entry, entry == GETRANDOM ? EIO : ENOMEM, always != 0);
    printf("%u runs with a failure\n", runs);
    CHECK(runs > 30);
}

int main(void) {
    begin();
    RUN(failures_of_descriptors_and_terminals_are_told_and_leave_nothing);
    RUN(what_is_transient_is_tried_again);
    RUN(failures_of_memory_are_told_and_leave_nothing);
    armed = false;
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
    return check_end();
}
