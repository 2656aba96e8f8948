/* SPDX-License-Identifier: MIT
 * The engine's part of kvr_allgather: one step's bytes, from one peer to another. A step's sender
 * waits for READY, so that its bytes never come before there is a place for them. */
#ifndef KVR_COLLECTIVE_H
#define KVR_COLLECTIVE_H

#include "wire.h"
#include <stdatomic.h>
#include <stdbool.h>

struct peer;

#define COLLECTIVE_STEPS 32

struct collective {
	uint32_t sequence, step; /* of the running or last one */
	uint8_t *into;           /* where the step's bytes go */
	uint64_t wanted;         /* bytes of it that are still to come */
	struct peer *from, *to;
	uint32_t ready[COLLECTIVE_STEPS]; /* last allgather for which the step's receiver asked */
};

void collective_on_ready(struct kvr *, const struct wire_message *);
void collective_on_chunk(struct kvr *, const struct wire_message *);

/* Asks `from` for this step's bytes. */
int collective_ask(struct kvr *);

/* Whether `to` has asked for ours. */
bool collective_is_asked(const struct kvr *);

/* Queues ours; they must last until `to` has no message with a body left. */
int collective_give(struct kvr *, const void *bytes, uint64_t len);

#endif
