/* The search goes through the agent's list, which is small. */
#include "git_search.h"

#include <stdio.h>
#include <string.h>

#include "client.h"

struct search {
    const struct credential *want;
    const char *after; /* not null: the next by the alphabet, instead of the best */
    int rank;          /* of what was found; 0: nothing */
    char name[WIRE_NAME_MOST + 1];
};

static bool is_better(const struct search *search, int rank, const char *name) {
    if (rank == 0 || (search->after != NULL && strcmp(name, search->after) <= 0)) return false;
    if (search->rank == 0) return true;
    if (search->after == NULL && rank != search->rank) return rank > search->rank;
    return strcmp(name, search->name) < 0;
}

static void look(const struct wire_frame *entry, const char *name, void *arg) {
    struct search *search = arg;
    struct credential have;
    (void)entry;
    if (!credential_parse(name, &have)) return;
    int rank = credential_rank(search->want, &have);
    if (!is_better(search, rank, name)) return;
    search->rank = rank;
    memcpy(search->name, name, strlen(name) + 1);
}

static int run(struct search *search, char name[WIRE_NAME_MOST + 1]) {
    int code = client_list(look, search);
    memcpy(name, search->name, sizeof search->name);
    return code;
}

int git_search_best(const struct credential *want, char name[WIRE_NAME_MOST + 1]) {
    struct search search = {.want = want};
    return run(&search, name);
}

int git_search_next(const struct credential *want, char name[WIRE_NAME_MOST + 1]) {
    struct search search = {.want = want, .after = name};
    return run(&search, name);
}
