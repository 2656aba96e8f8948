/* SPDX-License-Identifier: MIT
 * By which of the paths to a peer a message goes: by one that is not bad, and near ones first; and
 * where all are bad for long, to other ones of the peer's rails. */
#ifndef KVR_WAY_H
#define KVR_WAY_H

#include "peer.h"

/* Sends on one rail. An error counts against the rail's path. */
int way_send_on(struct kvr *, struct peer *, unsigned int r, struct wire_message *);

/* Sends on the first rail that takes it, from `first` on, better ones before bad ones: which one
 * that was; or -EAGAIN, if some rail may take it later; or another error. */
int way_send(struct kvr *, struct peer *, unsigned int first, struct wire_message *);

/* All paths that are doubted go to other ones of the peer's rails: who has never answered may have
 * just those out of order that ours begin with. */
void way_turn(const struct kvr *, struct peer *);

/* Does so when nothing that we say has got through for a second: the rails that are sound, here and
 * there, need not be those that our paths join. What we say may be lost, be it an answer, while we
 * hear the peer well. owing: something is to get to the peer, or to come from it. */
void way_find(struct kvr *, struct peer *, bool owing);

/* Whether another of our rails than r carries pieces to that one of the peer's. One that has
 * nothing against it need not: its NIC may have fallen silent before they met. */
bool way_is_taken(const struct kvr *, const struct peer *, unsigned int r, uint32_t there);

/* Whether to ask a silent peer over our rail r: over one that it knows by now, or, when it has been
 * silent for long, over any. */
bool way_may_ask(const struct kvr *, const struct peer *, unsigned int r);

/* Whether nothing but errors comes of what is sent, on any rail. */
bool way_is_lost(const struct kvr *, const struct peer *);

/* Rail r has a new endpoint, which knows no peers; sends on the old one are over. */
void way_on_reset(struct peer *, unsigned int r);
void way_on_replaced(struct peer *, unsigned int r); /* likewise, but the old one ends them */

/* Something was stuck in rail r's old endpoint on its way to this one of the peer's rails, which
 * may be what takes nothing, and would stop the new endpoint as well. */
void way_on_stuck(struct peer *, unsigned int r, uint32_t there);

#endif
