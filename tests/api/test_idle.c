/* test_idle.c: what vaults cost that nobody uses: without secrets the library's thread never wakes; with secrets it
 * wakes for the re-keys alone, once for all vaults together; after work it goes back to that. Counted are times that
 * the thread gave the processor up, and the processor time that it took, as the kernel has them. */
#include "api/support.h"

enum { WATCH_MS = 2200, PERIOD_MS = 500, SLACK = 3, VAULTS = 20, MOST_TASKS = 16 };
/* The most processor time a re-key may take: some 30 times what it does, so that only idling in circles fails. */
enum { REKEY_NS = 4000000 };

/* ---- the library's thread: the one that a vault brings ---- */

static int list_tasks(int *tasks) {
    int count = 0;
    DIR *folder = opendir("/proc/self/task");
    if (folder == NULL) return 0;
    for (const struct dirent *entry = readdir(folder); entry != NULL && count < MOST_TASKS; entry = readdir(folder))
        if (entry->d_name[0] != '.') tasks[count++] = atoi(entry->d_name);
    closedir(folder);
    return count;
}

static int is_among(int task, const int *tasks, int count) {
    for (int i = 0; i < count; i++)
        if (tasks[i] == task) return 1;
    return 0;
}

static memguard_vault *first_vault(int *housekeeper) {
    int before[MOST_TASKS], after[MOST_TASKS];
    const int count = list_tasks(before);
    memguard_vault *vault = vault_make();
    const int now = list_tasks(after);
    *housekeeper = 0;
    for (int i = 0; i < now; i++)
        if (!is_among(after[i], before, count)) *housekeeper = after[i];
    CHECK(*housekeeper != 0);
    return vault;
}

struct cost {
    unsigned long long wakeups, ns, ms;
};

/* What follows the name in a file of the task. */
static int read_value(int task, const char *file, const char *name, char value[256]) {
    char path[64];
    int found = 0;
    snprintf(path, sizeof path, "/proc/self/task/%d/%s", task, file);
    FILE *from = fopen(path, "r");
    while (from != NULL && !found && fgets(value, 256, from) != NULL)
        found = strncmp(value, name, strlen(name)) == 0;
    if (from != NULL) fclose(from);
    if (found) memmove(value, value + strlen(name), strlen(value + strlen(name)) + 1);
    return found;
}

static unsigned long long first_number(int task, const char *file, const char *name) {
    char value[256];
    unsigned long long number = 0;
    CHECK(read_value(task, file, name, value) && sscanf(value, "%llu", &number) == 1);
    return number;
}

/* It may just begin, on a busy machine. */
static void wait_until_asleep(int task) {
    char state[256] = "";
    for (const uint64_t end = now_ms() + 10000; now_ms() < end; sleep_ms(10))
        if (read_value(task, "status", "State:\t", state) && state[0] == 'S') return;
    CHECK(state[0] == 'S');
}

static struct cost cost_so_far(int task) {
    return (struct cost){first_number(task, "status", "voluntary_ctxt_switches:"), first_number(task, "schedstat", ""),
                         now_ms()};
}

static struct cost cost_of_watching(int task) {
    const struct cost before = cost_so_far(task);
    sleep_ms(WATCH_MS);
    const struct cost after = cost_so_far(task);
    return (struct cost){after.wakeups - before.wakeups, after.ns - before.ns, after.ms - before.ms};
}

/* ---- tests; each in a process of its own ---- */

static int without_secrets(void *unused) {
    int housekeeper = 0;
    memguard_vault *vaults[VAULTS];
    (void)unused;
    vaults[0] = first_vault(&housekeeper);
    for (int i = 1; i < VAULTS; i++)
        vaults[i] = vault_make();
    wait_until_asleep(housekeeper);
    const struct cost cost = cost_of_watching(housekeeper);
    printf("%d vaults without secrets: %llu wake-ups in %d ms\n", VAULTS, cost.wakeups, WATCH_MS);
    CHECK(cost.wakeups == 0 && cost.ns == 0);
    for (int i = 0; i < VAULTS; i++)
        vault_end(vaults[i]);
    return 0;
}

TEST(vaults_without_secrets_never_wake_the_thread) { CHECK(check_exited(check_child(without_secrets, NULL), 0)); }

static void check_idle(int housekeeper, int vaults) {
    const struct cost cost = cost_of_watching(housekeeper);
    const unsigned long long rekeys = cost.ms / PERIOD_MS + 1;
    printf("%d vaults: %llu wake-ups, %llu us of processor time in %llu ms\n", vaults, cost.wakeups, cost.ns / 1000,
           cost.ms);
    CHECK(cost.wakeups > 0 && cost.wakeups <= rekeys + SLACK);
    CHECK(cost.ns <= (unsigned long long)vaults * rekeys * REKEY_NS);
}

static int with_a_secret(void *unused) {
    int housekeeper = 0;
    (void)unused;
    memguard_vault *vault = first_vault(&housekeeper);
    memguard_secret secret = secret_make(vault, 32, MEMGUARD_SEALED, 1);
    sleep_ms(50); /* the lease ends */
    check_idle(housekeeper, 1);
    for (const uint64_t end = now_ms() + 100; now_ms() < end;)
        CHECK(holds_pattern(secret, 32, 1));
    sleep_ms(50);
    check_idle(housekeeper, 1); /* leases wake it, but no longer than there are any */
    vault_end(vault);
    return 0;
}

TEST(an_idle_vault_with_secrets_wakes_it_for_rekeys_alone) { CHECK(check_exited(check_child(with_a_secret, NULL), 0)); }

static int many_with_secrets(void *unused) {
    int housekeeper = 0;
    memguard_vault *vaults[VAULTS];
    (void)unused;
    vaults[0] = first_vault(&housekeeper);
    for (int i = 0; i < VAULTS; i++) {
        if (i != 0) vaults[i] = vault_make();
        memguard_secret secret = secret_make(vaults[i], 32, MEMGUARD_SEALED, 1);
        CHECK(secret.id != 0);
        sleep_ms(7); /* begun at different times */
    }
    sleep_ms(600); /* the first re-keys are half a second after the vaults were made */
    check_idle(housekeeper, VAULTS);
    for (int i = 0; i < VAULTS; i++) {
        CHECK(report_of(vaults[i]).rekeys >= 3);
        vault_end(vaults[i]);
    }
    return 0;
}

TEST(many_vaults_are_rekeyed_in_one_wakeup) { CHECK(check_exited(check_child(many_with_secrets, NULL), 0)); }

int main(void) {
    RUN(vaults_without_secrets_never_wake_the_thread);
    RUN(an_idle_vault_with_secrets_wakes_it_for_rekeys_alone);
    RUN(many_vaults_are_rekeyed_in_one_wakeup);
    return check_end();
}
