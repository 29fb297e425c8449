/* place.h: where agent and client meet: the directory $XDG_RUNTIME_DIR/memguard (without the variable:
 * /run/user/UID/memguard), which is ours, mode 0700, no symbolic link; in it the socket, mode 0600, and a file whose lock
 * the agent holds as long as it lives. The socket is reached through the open directory, so nobody can put another
 * directory in between. Must not know: secrets, frames. */
#ifndef MEMGUARD_PLACE_H
#define MEMGUARD_PLACE_H

#include <stdbool.h>
#include <sys/types.h>

/* The open directory, or -1 (errno EPERM: said why on standard error). `make`: makes it. Without it nothing is said of a
 * directory that is not there yet (ENOENT): no agent has ever run. */
int place_open(bool make);

/* A connection to the agent, which runs as we do; or -1 (errno; ECONNREFUSED or ENOENT: there is none). */
int place_connect(int directory);

/* The lock of the one agent: a descriptor to be kept open; -1 with EWOULDBLOCK: somebody has it. */
int place_lock(int directory);

/* A listening socket in the place of one that a dead agent left. To be called with the lock held. -1: errno. */
int place_listen(int directory);

/* Whether the socket of place_listen is still at its place, or was removed by place_leave: else nobody can reach us any more. */
bool place_is_held(int directory);

/* Removes the socket. Async-signal-safe. */
void place_leave(int directory);

/* Whether the other side of the connection is a process of our own user; *pid is its number. */
bool place_peer_is_ours(int fd, pid_t *pid);

#endif
