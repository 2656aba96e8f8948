/* SPDX-License-Identifier: MIT
 * When a rail's endpoint is given up, with all that is stuck in it, and gets a new address: when it
 * takes no messages, when nothing but what was given up is in flight, or when a peer died; and
 * never so many at once, here or at others, that ranks lose each other. See doc/protocol.md.
 *
 * efa's endpoints deliver messages in order: when one has failed, all that follow from the same
 * endpoint to the same one are held back there for ever, though they are sent without an error. So
 * an endpoint that cannot be reset at any time is replaced where such a thing happened and the NICs
 * work again; the old one is given up later. */
#ifndef KVR_RESET_H
#define KVR_RESET_H

#include "rail.h"

struct kvr;

/* It takes no more, and is to be reset in a moment of its own, as soon as the pieces of others are
 * through. */
void reset_soon(const struct kvr *, struct rail *);

/* Whether it is to be reset now; looked at now and then. */
bool reset_is_due(const struct kvr *, struct rail *);

/* Where it cannot be: whether it has long been full of what its device does not end. */
bool reset_is_forsaken(const struct kvr *, struct rail *);

/* A message went to where others are held back: so both NICs work. */
void reset_on_held(const struct kvr *, struct rail *);

/* Whether it is to be reset for that, now. */
bool reset_is_held(const struct kvr *, struct rail *);

/* Whether some peer may not know the rail's newest address yet. */
bool reset_is_news(const struct kvr *, const struct rail *);

/* A peer is dead. What had to wait for it to hear of another reset may go on: at all ranks, which
 * all take it for dead in the same moment. So each waits for a moment of its own again. */
void reset_delay(const struct kvr *);

#endif
