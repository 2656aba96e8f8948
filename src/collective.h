/* SPDX-License-Identifier: MIT
 * The engine's part of kvr_allgather: one step's bytes, from one peer to another. A step's sender
 * waits for READY, so that its bytes never come before there is a place for them. Once a rank is
 * gone no allgather can end well: whoever finds that says so to all whom it meets in the steps, who
 * may have to do with that rank only by others that have given up. */
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
	uint64_t size, wanted;   /* bytes in all; of it that are still to come */
	struct peer *from, *to;
	bool broken, told;          /* rank `gone` is gone, and all fail ... */
	uint32_t broken_from, gone; /* ... from this number on; told: those whom we meet know it */
	uint32_t reshards;          /* calls of kvr_reshard so far */
	uint32_t ready[COLLECTIVE_STEPS]; /* last allgather for which the step's receiver asked */
};

void collective_on_ready(struct kvr *, const struct wire_message *);
void collective_on_chunk(struct kvr *, const struct wire_message *);
void collective_on_broken(struct kvr *, const struct wire_message *);

/* Asks `from` for this step's bytes, and greets `to`, whose death would else pass unseen. */
int collective_ask(struct kvr *);

/* Whether `to` has asked for ours. */
bool collective_is_asked(const struct kvr *);

/* Whether the step waits for something of the peer's; has all; can never have it. */
bool collective_awaits(const struct kvr *, const struct peer *);
bool collective_is_over(const struct kvr *);
bool collective_is_hopeless(const struct kvr *);

/* A kvr_reshard that fails, as a rank is gone, leaves nothing on its way: each source says when
 * that is so, which the destinations wait for, with is_settled. Whether it need not be waited for.
 */
void collective_settle(struct kvr *, struct peer *);
void collective_await_settled(struct kvr *, struct peer *);
bool collective_is_settled(const struct peer *);
void collective_on_settled(struct kvr *, struct peer *, const struct wire_message *);

/* Queues ours; they must last until the step is over, or control_drop_bodies. */
int collective_give(struct kvr *, const void *bytes, uint64_t len);

/* The running allgather has failed, as a rank is gone: tells those whom it meets. */
void collective_break(struct kvr *);

#endif
