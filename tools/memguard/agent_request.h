/* agent_request.h: one request of one client, from its frame to the answer. */
#ifndef MEMGUARD_AGENT_REQUEST_H
#define MEMGUARD_AGENT_REQUEST_H

#include "agent_serve.h"

/* What `purge` does after its answer. It must not return. */
void request_on_purge(void (*end)(void));

/* What `status` tells of the process. */
void request_tell(uint64_t hardened, int64_t began_ms);

/* Reads the request, does it, answers. Whatever comes. */
void request_serve(struct serve_client *client);

#endif
