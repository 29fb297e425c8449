/* git_search.h: which secrets of the agent serve what git wants. Functions answer with an exit code (client.h). */
#ifndef MEMGUARD_GIT_SEARCH_H
#define MEMGUARD_GIT_SEARCH_H

#include "credential.h"

/* The one that fits best; `name` is "" if there is none. */
int git_search_best(const struct credential *want, char name[WIRE_NAME_MOST + 1]);

/* The next that fits, by the alphabet, after `name` ("": the first), in its place; "": there is none. */
int git_search_next(const struct credential *want, char name[WIRE_NAME_MOST + 1]);

#endif
