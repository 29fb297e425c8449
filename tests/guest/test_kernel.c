/* The library on another kernel than this machine's: Debian's Linux 6.1, once without memfd_secret(2) (and with the wiping of freed
 * pages by the kernel), once with it. The suite's own programs run there. */
#include "guest/machine.h"
#include "guest/search.h"
#include "guest/story.h"

static const char *no_machine;

/* ---- programs of the suite, in the guest ---- */

/* Their closing lines, and what they skip, are shown. */
static void print_of_log(const char *start) {
    machine.log[machine.log_size < MACHINE_LOG ? machine.log_size : MACHINE_LOG - 1] = '\0';
    for (const char *line = machine.log; line != NULL && *line != '\0';
         line = strchr(line, '\n'), line += line != NULL) {
        const int size = (int)strcspn(line, "\n");
        if (strncmp(line, start, strlen(start)) == 0 || strstr(line, " passed, ") != NULL)
            printf("  %.*s\n", size, line);
    }
}

static void passes(const char *program) {
    char command[128];
    snprintf(command, sizeof command, "run /%s", program);
    if (machine_recover() && machine_do(command, "exit 0")) print_of_log("SKIPPED");
}

TEST(without_secretmem_auto_falls_back_and_says_so) { passes("fallback"); }
TEST(without_secretmem_states) { passes("api_test_states"); }
TEST(without_secretmem_fork) { passes("api_test_fork"); }
TEST(without_secretmem_no_secret_is_astray) { passes("lab_test_scan_self"); }

TEST(with_secretmem_its_limit_is_an_error_and_no_signal) { passes("limits"); }
TEST(with_secretmem_states) { passes("api_test_states"); }
TEST(with_secretmem_fork) { passes("api_test_fork"); }
TEST(with_secretmem_no_secret_is_astray) { passes("lab_test_scan_self"); }

/* ---- memory of a program that is gone, where the kernel wipes what is freed ---- */

static void gone_with_init_on_free(const char *ending, const char *answer) {
    if (!story_begin("memory", "locked", ending) || !machine_expect("at open")) return;
    story_look("open");
    for (int marker = 0; marker <= MARKER_USE; marker++)
        CHECK(story_runs(marker) >= 1);
    if (!CHECK(machine_say("")) || !machine_expect(answer)) return;
    story_look(ending);
    CHECK(story_secret_runs() == 0);
}
TEST(init_on_free_locked_nothing_left_after_sigkill) { gone_with_init_on_free("kill", "signal 9"); }
TEST(init_on_free_locked_nothing_left_after_exit) { gone_with_init_on_free("exit", "exit 0"); }

TEST(a_machine_without_secretmem_starts) {
    if (no_machine != NULL && !story_is_required()) SKIP(no_machine);
    if (!CHECK(no_machine == NULL)) printf("no guest: %s\n", no_machine);
    if (no_machine == NULL) CHECK(machine_start(story_folder, "secretmem.enable=0 init_on_free=1", MACHINE_LARGE));
}
TEST(a_machine_with_secretmem_starts) { CHECK(machine_start(story_folder, "secretmem.enable=1", MACHINE_LARGE)); }

int main(int count, char **words) {
    no_machine = story_prepare(count, words);
    RUN(a_machine_without_secretmem_starts);
    if (machine.emulator == 0) return check_end();
    RUN(without_secretmem_auto_falls_back_and_says_so);
    RUN(without_secretmem_states);
    RUN(without_secretmem_fork);
    RUN(without_secretmem_no_secret_is_astray);
    RUN(init_on_free_locked_nothing_left_after_sigkill);
    RUN(init_on_free_locked_nothing_left_after_exit);
    machine_end();
    RUN(a_machine_with_secretmem_starts);
    if (machine.emulator == 0) return check_end();
    RUN(with_secretmem_its_limit_is_an_error_and_no_signal);
    RUN(with_secretmem_states);
    RUN(with_secretmem_fork);
    RUN(with_secretmem_no_secret_is_astray);
    machine_end();
    return check_end();
}
