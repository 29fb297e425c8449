/* What a core file holds of secrets, made by a real kernel for a real crash: as a file and through a pipe, under each limit, and of a
 * process that has changed its user. In a machine of one's own, since all this is set for the whole system. */
#include "guest/machine.h"
#include "guest/search.h"
#include "guest/story.h"

static const char *no_machine;

enum pattern { BY_FILE, BY_PIPE };
static long long core_bytes;

static int set_pattern(enum pattern pattern) {
    return machine_do(pattern == BY_FILE ? "write /proc/sys/kernel/core_pattern /cores/core"
                                         : "write /proc/sys/kernel/core_pattern |/init pipe",
                      "errno 0");
}

/* A crash as WHAT says (see inside_crash.c); the core, if any, is on the first drive then. */
static int crashes(const char *backend, const char *what, enum pattern pattern) {
    core_bytes = -1;
    if (!set_pattern(pattern) || !story_begin("crash", backend, what) || !machine_expect("signal 11")) return 0;
    if (!CHECK(machine_say("core")) || !CHECK(machine_hear())) return 0;
    return CHECK(sscanf(machine.line, "core %lld", &core_bytes) == 1 && core_bytes >= 0);
}

static void no_core(const char *what, enum pattern pattern) {
    if (crashes("locked", what, pattern)) CHECK(core_bytes == 0);
}

static int look_at_core(uint32_t part, const char *where) {
    const int parts = search_core(&story, machine.drives[0].bytes, (size_t)core_bytes, part);
    search_print(&story, where);
    return CHECK(parts >= 1);
}

/* Without a handler: pages are left out of it, registers are not. This shows that what is looked for is found. */
static void registers_only(const char *backend, const char *what, enum pattern pattern) {
    if (!crashes(backend, what, pattern) || !CHECK(core_bytes > 0)) return;
    look_at_core(PT_NOTE, "registers");
    for (int marker = MARKER_CLOSED; marker <= MARKER_BENCH; marker++)
        CHECK(story_runs(marker) >= 1);
    look_at_core(PT_LOAD, "memory");
    CHECK(story_secret_runs() == 0);
    CHECK(story_runs(MARKER_CONTROL) >= 1);
}

TEST(no_handler_file_has_registers_and_no_page_of_ours) { registers_only("locked", "none -1 0 5", BY_FILE); }
TEST(no_handler_pipe_has_registers_and_no_page_of_ours) { registers_only("locked", "none -1 0 2", BY_PIPE); }
TEST(no_handler_limit_0_does_not_stop_a_pipe) { registers_only("locked", "none 0 0 4", BY_PIPE); }
TEST(no_handler_secretmem_has_registers_and_no_page_of_ours) { registers_only("secretmem", "none -1 0 1", BY_FILE); }
TEST(no_handler_limit_0_stops_a_file) { no_core("none 0 0 5", BY_FILE); }
TEST(no_handler_limit_1_stops_a_file) { no_core("none 1 0 5", BY_FILE); }
TEST(no_handler_limit_1_stops_a_pipe) { no_core("none 1 0 5", BY_PIPE); }
TEST(no_handler_after_setuid_there_is_none) { no_core("none -1 1000 5", BY_FILE); }
TEST(no_handler_after_setuid_with_suid_dumpable_2_a_pipe_has_registers) {
    if (!machine_do("write /proc/sys/fs/suid_dumpable 2", "errno 0")) return;
    registers_only("locked", "none -1 1000 5", BY_PIPE);
    machine_do("write /proc/sys/fs/suid_dumpable 0", "errno 0");
}

/* memguard_catch_crash: no core at all. */
TEST(catch_crash_there_is_no_file) { no_core("wipe -1 0 5", BY_FILE); }
TEST(catch_crash_there_is_nothing_in_a_pipe) { no_core("wipe 0 0 2", BY_PIPE); }
TEST(catch_crash_after_setuid_with_suid_dumpable_2_there_is_none) {
    if (!machine_do("write /proc/sys/fs/suid_dumpable 2", "errno 0")) return;
    no_core("wipe -1 1000 4", BY_PIPE);
    machine_do("write /proc/sys/fs/suid_dumpable 0", "errno 0");
}

/* With MEMGUARD_CRASH_CORE there is one, and in none of its bytes anything of ours; the ordinary pages are in it. */
static void clean_core(const char *backend, const char *what, enum pattern pattern) {
    if (!crashes(backend, what, pattern) || !CHECK(core_bytes > 0)) return;
    look_at_core(PT_LOAD, "memory");
    CHECK(story_runs(MARKER_CONTROL) >= 1);
    search_image(&story, machine.drives[0].bytes, (size_t)core_bytes);
    search_print(&story, "all of it");
    CHECK(story_secret_runs() == 0);
}
TEST(crash_core_clean_when_a_bench_crashes) { clean_core("locked", "core -1 0 5", BY_FILE); }
TEST(crash_core_clean_when_a_view_is_open) { clean_core("locked", "core -1 0 2", BY_PIPE); }
TEST(crash_core_clean_when_use_crashes) { clean_core("locked", "core 0 0 4", BY_PIPE); }
TEST(crash_core_clean_without_an_alternate_stack) { clean_core("locked", "core -1 0 3", BY_FILE); }
TEST(crash_core_clean_with_secretmem) { clean_core("secretmem", "core -1 0 5", BY_FILE); }
TEST(crash_core_limit_1_stops_a_pipe) { no_core("core 1 0 5", BY_PIPE); }
TEST(crash_core_after_setuid_with_suid_dumpable_2_holds_nothing) {
    if (!machine_do("write /proc/sys/fs/suid_dumpable 2", "errno 0")) return;
    if (crashes("locked", "core -1 1000 5", BY_PIPE)) {
        printf("  core: %lld bytes\n", core_bytes);
        search_image(&story, machine.drives[0].bytes, (size_t)core_bytes);
        CHECK(story_secret_runs() == 0);
    }
    machine_do("write /proc/sys/fs/suid_dumpable 0", "errno 0");
}

TEST(the_machine_starts) {
    if (no_machine != NULL && !story_is_required()) SKIP(no_machine);
    if (!CHECK(no_machine == NULL)) printf("no guest: %s\n", no_machine);
    if (no_machine != NULL || !CHECK(machine_start(story_folder, "secretmem.enable=1", MACHINE_SMALL))) return;
    /* The dump is over when the process that it is piped to has ended. */
    machine_do("write /proc/sys/kernel/core_pipe_limit 1", "errno 0");
}

int main(int count, char **words) {
    no_machine = story_prepare(count, words);
    RUN(the_machine_starts);
    if (machine.emulator == 0) return check_end();
    RUN(no_handler_file_has_registers_and_no_page_of_ours);
    RUN(no_handler_pipe_has_registers_and_no_page_of_ours);
    RUN(no_handler_secretmem_has_registers_and_no_page_of_ours);
    RUN(no_handler_limit_0_does_not_stop_a_pipe);
    RUN(no_handler_limit_0_stops_a_file);
    RUN(no_handler_limit_1_stops_a_file);
    RUN(no_handler_limit_1_stops_a_pipe);
    RUN(no_handler_after_setuid_there_is_none);
    RUN(no_handler_after_setuid_with_suid_dumpable_2_a_pipe_has_registers);
    RUN(catch_crash_there_is_no_file);
    RUN(catch_crash_there_is_nothing_in_a_pipe);
    RUN(catch_crash_after_setuid_with_suid_dumpable_2_there_is_none);
    RUN(crash_core_clean_when_a_bench_crashes);
    RUN(crash_core_clean_when_a_view_is_open);
    RUN(crash_core_clean_when_use_crashes);
    RUN(crash_core_clean_without_an_alternate_stack);
    RUN(crash_core_clean_with_secretmem);
    RUN(crash_core_limit_1_stops_a_pipe);
    RUN(crash_core_after_setuid_with_suid_dumpable_2_holds_nothing);
    machine_end();
    return check_end();
}
