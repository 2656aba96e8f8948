/* SPDX-License-Identifier: MIT
 * Pieces that are given up on one rail and go over another, and why nothing of them lands late.
 *
 * An attempt at a piece is *safe* when nothing of it can land any more: its provider said that it
 * was done, or it was fenced. One that is overdue, or failed, is condemned: the piece goes
 * elsewhere at once under the same number, and the peer is asked to give its rail a new epoch
 * (FENCE), that is, a new address for what others start. By the old one nothing lands there and
 * nothing is read from there any more, so the peer's answer (RAIL) makes all attempts of older
 * epochs safe. What was read is also safe once our own endpoint has been reset. A request ends only
 * when all attempts at all its pieces are safe. See doc/protocol.md. */
#ifndef KVR_FAILOVER_H
#define KVR_FAILOVER_H

#include "peer.h"

/* The provider is done with a piece, well or not. */
void failover_on_piece(struct kvr *, struct rail *, struct flight *, int error);

/* A sign of life of the peer, on our rail r. */
void failover_on_sign(struct kvr *, struct peer *, unsigned int r);

/* The provider refuses what is posted for the peer on our rail r, or cannot introduce it. */
void failover_on_refusal(struct kvr *, struct peer *, unsigned int r, int error);

void failover_on_fence(struct kvr *, struct peer *, const struct wire_message *);

/* Gives new epochs to the rails for which peers have asked: after all that has arrived there was
 * looked at. */
void failover_renew(struct kvr *);

/* Asks for new epochs of these rails of the peer's (bits). */
void failover_ask_fences(struct kvr *, struct peer *, uint32_t rails);

void failover_on_rail(struct kvr *, struct peer *, const struct wire_message *);

/* What a HELLO says of the peer's rails. */
void failover_on_address(struct kvr *, struct peer *, const struct wire_address *);

/* Tells the peer of rails whose epoch is not the first one. */
void failover_introduce(struct kvr *, struct peer *);

/* Looks for pieces that are overdue, paths to be tried again, rails to be reset. */
void failover_check(struct kvr *);

/* Nobody will confirm a fence any more: our own ends are reset instead. */
void failover_on_death(struct kvr *, const struct peer *);

#endif
