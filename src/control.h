/* SPDX-License-Identifier: MIT
 * Control messages to one peer: each is sent until it is acknowledged, over another rail every
 * time, and handled once. Also who is alive: a peer from which something is wanted and which says
 * nothing is asked over one rail after the other, and is dead when it has been silent on all for
 * the bound that kvr_options.peer_timeout_ms sets.
 *
 * Times are the engine's own (kvr->now), which stands still while nobody makes progress here: a
 * rank that was stopped does not find all others dead. */
#ifndef KVR_CONTROL_H
#define KVR_CONTROL_H

#include "peer.h"

/* Queues a message; it goes when the peer is up and a rail has room. A body is not copied: it
 * must last until the message is acknowledged (peer->bodies says how many are not). */
int control_note(struct kvr *, struct peer *, const struct wire_message *);

/* The same, with a copy of the body. */
int control_note_copy(struct kvr *, struct peer *, const struct wire_message *);

/* Takes back what was noted with this type and `a`, and has not gone. */
void control_unsay(struct kvr *, struct peer *, const struct wire_message *);

/* Pings the peer over one rail; over all; over one that is out of use, and perhaps to another of
 * its rails. */
void control_ping(struct kvr *, struct peer *, unsigned int r);
void control_ask_all(struct kvr *, struct peer *);
void control_try(struct kvr *, struct peer *, unsigned int r);

/* Sends what is due. 0, or why the peer is given up, found on *rail. */
int control_serve(struct kvr *, struct peer *, const struct rail **rail);

/* A message came. Whether it is to be handled: is new, and not the channel's own. */
bool control_receive(struct kvr *, struct peer *, const struct wire_message *);

/* A send on rail r has ended. */
void control_on_sent(struct kvr *, const struct flight *, unsigned int r, int error);

/* Whether all messages have been acknowledged; all with this type and `a`. */
bool control_is_quiet(const struct peer *);
bool control_is_said(const struct peer *, const struct wire_message *like);

/* Nothing is wanted from the peer, or owed to it. */
bool control_is_idle(const struct kvr *, const struct peer *);

/* Messages are not needed any more. Bodies: only those that have one, whose owner takes it away. */
void control_drop(struct kvr *, struct peer *);
void control_drop_bodies(struct peer *);

#endif
