/* What physical memory, a swap drive and a hibernation image of a whole machine hold of secrets: searched from outside, where no
 * kernel can hide anything. Linux 6.1 of Debian, with memfd_secret(2) allowed and without wiping of freed pages by the kernel. */
#include "guest/machine.h"
#include "guest/search.h"
#include "guest/story.h"

static const char *no_machine;

/* ---- all memory ---- */

/* The open state, in which everything must be found that is looked for later; and no key is whole at any time. */
static int starts_open(const char *backend, const char *ending) {
    if (!story_begin("memory", backend, ending) || !machine_expect("at open")) return 0;
    story_look("open");
    for (int marker = 0; marker <= MARKER_USE; marker++)
        CHECK(story_runs(marker) >= 1);
    CHECK(story_runs(STORY_X) >= 1 && story_runs(STORY_Y) >= 1);
    CHECK(story_keys_runs() == 0);
    return CHECK(story_runs(MARKER_CONTROL) >= 1);
}

/* At this point of the program nothing is left; but the unwiped ordinary pages are there, so the search works. */
static void nothing_left_at(const char *point) {
    if (!machine_say("") || !machine_expect(point)) return;
    story_look(point);
    CHECK(story_secret_runs() == 0);
    CHECK(story_runs(MARKER_CONTROL) >= 1);
}

static void ends(const char *answer) { CHECK(machine_say("") && machine_expect(answer)); }

static void nothing_left_after(const char *backend, const char *ending) {
    if (!starts_open(backend, ending)) return;
    nothing_left_at("at after");
    ends("exit 0");
}

TEST(secretmem_nothing_left_after_purge_with_open_views) { nothing_left_after("secretmem", "purge"); }
TEST(secretmem_nothing_left_after_emergency_wipe) { nothing_left_after("secretmem", "wipe"); }
TEST(secretmem_nothing_left_after_destroy_in_a_parent) { nothing_left_after("secretmem", "fork"); }
TEST(secretmem_nothing_left_after_lock) { nothing_left_after("secretmem", "lock"); }
TEST(locked_nothing_left_after_purge_with_open_views) { nothing_left_after("locked", "purge"); }
TEST(locked_nothing_left_after_emergency_wipe) { nothing_left_after("locked", "wipe"); }
TEST(locked_nothing_left_after_destroy_in_a_parent) { nothing_left_after("locked", "fork"); }
TEST(locked_nothing_left_after_lock) { nothing_left_after("locked", "lock"); }

static void nothing_left_after_destroy(const char *backend) {
    if (!starts_open(backend, "destroy")) return;
    if (!machine_say("") || !machine_expect("at after destroy")) return;
    story_look("secrets destroyed, vault there");
    CHECK(story_plain_runs() == 0 && story_keys_runs() == 0);
    CHECK(story_runs(STORY_X) >= 1 && story_runs(STORY_Y) >= 1);
    nothing_left_at("at after");
    ends("exit 0");
}
TEST(secretmem_nothing_left_after_destroy) { nothing_left_after_destroy("secretmem"); }
TEST(locked_nothing_left_after_destroy) { nothing_left_after_destroy("locked"); }

/* Both shares of an epoch that is over are gone; at rest the sealed secrets are nowhere, the others in their pages. */
static void nothing_old_after_rekey(const char *backend) {
    if (!starts_open(backend, "rekey") || !machine_say("") || !machine_expect("at rekeyed")) return;
    story_look("re-keyed");
    CHECK(story_runs(STORY_X) == 0 && story_runs(STORY_Y) == 0 && story_keys_runs() == 0);
    CHECK(story_plain_runs() >= 1);
    if (!machine_say("") || !machine_expect("at at rest")) return;
    story_look("at rest");
    CHECK(story_runs(MARKER_SEALED) == 0 && story_runs(MARKER_USE) == 0 && story_keys_runs() == 0);
    CHECK(story_runs(MARKER_CLOSED) >= 1 && story_runs(MARKER_MAPPED) >= 1 && story_runs(MARKER_COMPACT) >= 1);
    ends("exit 0");
}
TEST(secretmem_no_old_share_after_a_rekey_and_sealed_is_nowhere) { nothing_old_after_rekey("secretmem"); }
TEST(locked_no_old_share_after_a_rekey_and_sealed_is_nowhere) { nothing_old_after_rekey("locked"); }

/* The program is gone without a word of ours: what secretmem had is zero, for locked pages the kernel gives no promise. */
static void killed(const char *backend, const char *ending, const char *answer, int promised) {
    if (!starts_open(backend, ending)) return;
    ends(answer);
    story_look(ending);
    if (promised) CHECK(story_secret_runs() == 0);
    CHECK(story_keys_runs() == 0);
    CHECK(story_runs(MARKER_CONTROL) >= 1);
}
TEST(secretmem_nothing_left_after_sigkill_with_open_views) { killed("secretmem", "kill", "signal 9", 1); }
TEST(secretmem_nothing_left_after_exit_with_open_views) { killed("secretmem", "exit", "exit 0", 1); }
TEST(locked_nothing_left_after_safe_exit_with_open_views) { killed("locked", "safe_exit", "exit 7", 1); }
TEST(locked_after_sigkill_is_a_number_and_no_promise) { killed("locked", "kill", "signal 9", 0); }

/* Must find what was not wiped: the same program, with a library in which wiping is switched off. (The bytes of secrets go all the
 * same there: the pattern is written over them.) */
TEST(without_wiping_keys_are_found_on_benches) {
    if (!story_begin("memory_nowipe", "locked", "destroy") || !machine_expect("at open")) return;
    if (!machine_say("") || !machine_expect("at after destroy")) return;
    story_look("destroyed without wiping");
    CHECK(story_keys_runs() >= 1);
    if (!machine_say("") || !machine_expect("at after")) return;
    ends("exit 0");
}

/* ---- swap ---- */

static void look_at_swap(const char *point) {
    if (!machine_say("") || !machine_expect(point)) return;
    story_look_at_drive(1, point);
    CHECK(story_runs(MARKER_CONTROL) >= 1);
}

static void stays_off_swap(const char *backend) {
    if (!story_begin("memory", backend, "swap") || !machine_expect("at open")) return;
    look_at_swap("at paged out, open");
    CHECK(story_secret_runs() == 0);
    look_at_swap("at paged out, at rest");
    CHECK(story_secret_runs() == 0);
    ends("exit 0");
}

TEST(swap_can_be_had) {
    machine_make_swap(&machine.drives[1]);
    machine_do("swapon /dev/nvme1n1", "errno 0");
}
TEST(secretmem_stays_off_the_swap_drive) { stays_off_swap("secretmem"); }
TEST(locked_stays_off_the_swap_drive) { stays_off_swap("locked"); }

/* The control: the same pages unlocked do get there, so it is the lock that keeps them. Sealed ones do not even so. */
TEST(plain_gets_to_the_swap_drive_and_sealed_does_not) {
    if (!story_begin("memory", "plain", "swap") || !machine_expect("at open")) return;
    look_at_swap("at paged out, open");
    for (int marker = MARKER_CLOSED; marker <= MARKER_COMPACT; marker++)
        CHECK(story_runs(marker) >= 1);
    CHECK(story_runs(STORY_X) >= 1 && story_keys_runs() == 0);
    look_at_swap("at paged out, at rest");
    ends("exit 0");
}

/* ---- hibernation ---- */

TEST(auto_takes_secretmem_where_hibernation_is_not_configured) {
    if (!story_begin("memory", "auto", "destroy")) return;
    CHECK(strcmp(story_backend, "secretmem") == 0);
    if (!machine_expect("at open") || !machine_say("") || !machine_expect("at after destroy")) return;
    if (machine_say("") && machine_expect("at after")) ends("exit 0");
}

TEST(auto_takes_locked_where_hibernation_is_configured) {
    if (!machine_do("write /sys/power/resume /dev/nvme1n1", "errno 0") || !story_begin("memory", "auto", "destroy"))
        return;
    CHECK(strcmp(story_backend, "locked") == 0);
    if (!machine_expect("at open") || !machine_say("") || !machine_expect("at after destroy")) return;
    if (machine_say("") && machine_expect("at after")) ends("exit 0");
}

TEST(hibernation_is_refused_while_secretmem_is_live) {
    if (!story_begin("memory", "secretmem", "hibernate") || !machine_expect("at open")) return;
    if (!machine_say("") || !machine_expect("at before hibernation")) return;
    if (!machine_say("") || !machine_expect("errno 1") /* EPERM */ || !machine_expect("at still there")) return;
    ends("exit 0");
}

/* The control: with locked pages the machine does hibernate, and they are in the image. What is sealed is not. The last test: the
 * machine is off then. */
TEST(hibernation_takes_locked_pages_to_the_drive_and_not_sealed_ones) {
    if (!story_begin("memory", "locked", "hibernate") || !machine_expect("at open")) return;
    if (!machine_say("") || !machine_expect("at before hibernation")) return;
    if (!CHECK(machine_say("")) || !CHECK(machine_wait_off())) {
        machine_print_log();
        return;
    }
    story_look_at_drive(1, "hibernated");
    CHECK(story_runs(MARKER_CONTROL) >= 1 && story_runs(MARKER_CLOSED) >= 1);
    CHECK(story_runs(MARKER_SEALED) == 0 && story_runs(MARKER_USE) == 0 && story_keys_runs() == 0);
}

TEST(the_machine_starts) {
    if (no_machine != NULL && !story_is_required()) SKIP(no_machine);
    if (!CHECK(no_machine == NULL)) printf("no guest: %s\n", no_machine);
    if (no_machine == NULL)
        CHECK(machine_start(story_folder, "secretmem.enable=1 hibernate=nocompress", MACHINE_SMALL));
}

static void memory_tests(void) {
    RUN(secretmem_no_old_share_after_a_rekey_and_sealed_is_nowhere);
    RUN(secretmem_nothing_left_after_destroy);
    RUN(secretmem_nothing_left_after_destroy_in_a_parent);
    RUN(secretmem_nothing_left_after_purge_with_open_views);
    RUN(secretmem_nothing_left_after_lock);
    RUN(secretmem_nothing_left_after_emergency_wipe);
    RUN(secretmem_nothing_left_after_exit_with_open_views);
    RUN(secretmem_nothing_left_after_sigkill_with_open_views);
    RUN(locked_no_old_share_after_a_rekey_and_sealed_is_nowhere);
    RUN(locked_nothing_left_after_destroy);
    RUN(locked_nothing_left_after_destroy_in_a_parent);
    RUN(locked_nothing_left_after_purge_with_open_views);
    RUN(locked_nothing_left_after_lock);
    RUN(locked_nothing_left_after_emergency_wipe);
    RUN(locked_nothing_left_after_safe_exit_with_open_views);
    RUN(locked_after_sigkill_is_a_number_and_no_promise);
    RUN(without_wiping_keys_are_found_on_benches);
}

int main(int count, char **words) {
    no_machine = story_prepare(count, words);
    RUN(the_machine_starts);
    if (machine.emulator == 0) return check_end();
    memory_tests();
    RUN(auto_takes_secretmem_where_hibernation_is_not_configured);
    RUN(swap_can_be_had);
    RUN(secretmem_stays_off_the_swap_drive);
    RUN(locked_stays_off_the_swap_drive);
    RUN(plain_gets_to_the_swap_drive_and_sealed_does_not);
    RUN(auto_takes_locked_where_hibernation_is_configured);
    RUN(hibernation_is_refused_while_secretmem_is_live);
    RUN(hibernation_takes_locked_pages_to_the_drive_and_not_sealed_ones);
    machine_end();
    return check_end();
}
