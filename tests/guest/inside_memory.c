/* inside_memory: holds secrets in all rests in the guest, and ends them in one of the ways there are; at each point of interest the
 * host looks at all memory, or at the drive with the swap. Usage: memory BACKEND END SEED
 * BACKEND: auto secretmem locked plain   END: see `endings` */
#include "guest/inside.h"

#include <pthread.h>

#include "guest/inside_vault.h"
#include "memguard/process.h"
#include "rekey.h"

enum { SHOWN = 4, SECRETS = SHOWN + 1 }; /* one in each rest, lent as a view; and one that `use` shows */
static memguard_secret secrets[SECRETS];
static memguard_view views[SHOWN];
static unsigned char *ordinary;

static void open_views(void) {
    for (int i = 0; i < SHOWN; i++)
        ok(memguard_secret_acquire(secrets[i], MEMGUARD_READ, &views[i]), "acquire READ");
}
static void release_views(void) {
    for (int i = 0; i < SHOWN; i++)
        ok(memguard_view_release(&views[i]), "view_release");
}

static int in_use(const void *bytes, size_t size, void *arg) {
    (void)bytes, (void)size, (void)arg;
    point("open");
    return 0;
}

/* ---- endings ---- */

static void end_destroy(void) {
    release_views();
    for (int i = 0; i < SECRETS; i++)
        ok(memguard_secret_destroy(&secrets[i]), "secret_destroy");
    point("after destroy");
    ok(memguard_vault_destroy(&vault), "vault_destroy");
    point("after");
}

static void *purge(void *arg) {
    (void)arg;
    must(memguard_vault_purge(vault, 0) == MEMGUARD_ERR_REVOKED, "vault_purge");
    return NULL;
}

/* With views that nobody gives back. In another thread: one that borrows would put it off. */
static void end_purge(void) {
    pthread_t purger;
    must(pthread_create(&purger, NULL, purge, NULL) == 0 && pthread_join(purger, NULL) == 0, "thread");
    point("after");
}

static void end_lock(void) {
    const unsigned char kek[32] = {1, 2, 3};
    release_views();
    ok(memguard_vault_lock(vault, kek), "vault_lock");
    point("after");
}

static void end_wipe(void) {
    memguard_emergency_wipe();
    point("after");
}

/* The child lives on. It has written to a page of each kind of memory, so that nothing is shared any more for want of a write. */
static void end_fork(void) {
    const pid_t child = fork();
    if (child == 0) {
        ordinary[0] = 0;
        pause();
        _exit(0);
    }
    must(child > 0, "fork");
    release_views();
    ok(memguard_vault_destroy(&vault), "vault_destroy");
    point("after");
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

static void end_rekey(void) {
    ok(rekey_now(&mg__vault_find(vault)->coffer), "rekey");
    point("rekeyed");
    release_views();
    point("at rest");
}

static void end_exit(void) { exit(0); }
static void end_safe_exit(void) { memguard_safe_exit(7); }
static void end_kill(void) { raise(SIGKILL); }

/* ---- swap ---- */

/* Asks for the page-out of all mappings, one by one; the kernel refuses it for locked ones. Then of everything that can go. */
static void page_out(void) {
    char line[512];
    unsigned done = 0, refused = 0;
    unsigned long from, to;
    FILE *maps = fopen("/proc/self/maps", "r");
    must(maps != NULL, "maps");
    while (fgets(line, sizeof line, maps) != NULL)
        if (sscanf(line, "%lx-%lx", &from, &to) == 2)
            madvise((void *)from, to - from, MADV_PAGEOUT) == 0 ? done++ : refused++;
    fclose(maps);
    printf("paged out: %u mappings, %u refused\n", done, refused);
    for (int i = 0; i < 3; i++)
        printf("reclaim: errno %d\n", write_text("/cgroup/subject/memory.reclaim", "16M"));
    fflush(stdout);
}

static void end_swap(void) {
    page_out();
    point("paged out, open");
    release_views();
    page_out();
    point("paged out, at rest");
}

/* ---- hibernation ---- */

static void end_hibernate(void) {
    release_views();
    point("before hibernation");
    printf("@ errno %d\n", write_text("/sys/power/state", "disk"));
    fflush(stdout);
    point("still there");
}

static const struct {
    const char *name;
    void (*end)(void);
} endings[] = {{"destroy", end_destroy}, {"purge", end_purge},         {"lock", end_lock},
               {"wipe", end_wipe},       {"fork", end_fork},           {"rekey", end_rekey},
               {"exit", end_exit},       {"safe_exit", end_safe_exit}, {"kill", end_kill},
               {"swap", end_swap},       {"hibernate", end_hibernate}};

/* Before memory is taken: it is charged to the group in which it is. */
static void enter_group(void) {
    char number[32];
    snprintf(number, sizeof number, "%d", (int)getpid());
    mkdir("/cgroup/subject", 0755);
    must(write_text("/cgroup/subject/cgroup.procs", number) == 0, "cgroup");
}

int main(int count, char **words) {
    must(count == 4, "usage");
    seed = strtoull(words[3], NULL, 16);
    enter_group();
    ordinary = ordinary_pages(seed);
    make_vault(words[1]);
    for (unsigned i = 0; i < SECRETS; i++)
        secrets[i] = make_secret(i, i < SHOWN ? i : MEMGUARD_SEALED);
    tell_keys(secrets[MARKER_SEALED]);
    open_views();
    ok(memguard_secret_use(secrets[MARKER_USE], in_use, NULL, NULL), "secret_use");
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++)
        if (strcmp(words[2], endings[i].name) == 0) endings[i].end();
    return 0;
}
