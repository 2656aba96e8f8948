/* SPDX-License-Identifier: MIT
 * One peer: its addresses, inserted on first use; the messages that wait for it; its life and
 * death. Owned, like the rails, by the holder of the context's engine lock.
 *
 * HELLO and WELCOME carry the same two numbers: the index under which the sender keeps the
 * receiver, so that later messages find it, and the lane on which the receiver may write. A peer
 * is up once it has told us its own; only then do messages and pieces go to it. */
#ifndef KVR_PEER_H
#define KVR_PEER_H

#include "counter.h"
#include "pace.h"
#include "rail.h"
#include "transfer.h"
#include "wire.h"
#include <stdatomic.h>
#include <sys/queue.h>

struct kvr;

enum peer_state { PEER_IDLE, PEER_GREETED, PEER_UP, PEER_DEAD };

/* A message that waits to be sent. Its body, if any, outlives it. */
struct note {
	STAILQ_ENTRY(note) link;
	struct wire_message message;
};

struct peer {
	uint32_t index; /* here */
	uint64_t instance;
	uint8_t *address; /* as it came; decoded on first use */
	size_t address_len;

	_Atomic int state; /* enum peer_state; read without the lock by kvr_write's checks */
	uint32_t rails;    /* it has */
	uint64_t *fabric;  /* its fabric address as seen from each of our rails */
	struct pace *pace; /* what each of our rails does for it */
	uint32_t index_there, lane_there;
	uint32_t lane_here; /* that it writes on */
	struct lane lane;
	bool has_lane;
	bool bye_sent, bye_received;

	STAILQ_HEAD(, note) outbox;
	uint32_t notes_in_flight;

	struct transfer_queue posting;  /* the first one is being posted */
	struct transfer_queue awaiting; /* writes, all posted, in the order of their pieces */
	struct transfer_queue draining; /* that wait for their last completions only */
	uint32_t next_piece;            /* of our lane there */
	uint64_t left;                  /* bytes not posted yet, of all in posting */
	int64_t probe_at;               /* ns; when to ask again after the first awaiting one */

	_Atomic uint32_t remotes; /* open here */
	bool active;
	TAILQ_ENTRY(peer) link; /* in the context's list of active ones */
};

/* Adds a peer with an encoded address, checked by the caller; NULL: no memory. */
struct peer *peer_add(struct kvr *, const void *address, size_t len, uint64_t instance);
void peer_free(struct kvr *, struct peer *);
struct peer *peer_find(struct kvr *, uint64_t instance);

/* Greets the peer, on first use. */
int peer_connect(struct kvr *, struct peer *);

/* Its address on our rail r, inserted on first use: with efa, a rail's first one costs 40 MB. */
int peer_address(struct kvr *, struct peer *, unsigned int r, uint64_t *out);

/* Queues a message; it goes when the peer is up and a rail has room. A body is not copied: it
 * must last until then. */
int peer_note(struct kvr *, struct peer *, const struct wire_message *);

/* Sends what can go. 0, or why the peer cannot be reached over *rail. */
int peer_flush(struct kvr *, struct peer *, const struct rail **rail);

/* A message of the peer's came. */
void peer_on_hello(struct kvr *, const struct wire_message *);
void peer_on_welcome(struct kvr *, struct peer *, const struct wire_message *);
void peer_on_bye(struct kvr *, struct peer *);

/* Answers a BYE once no transfer to the peer is left. */
void peer_settle(struct kvr *, struct peer *);

/* Whether both sides have said BYE and nothing is on its way. */
bool peer_is_over(const struct peer *);

/* The peer cannot be reached: says so once, drops what waits for it. Its transfers are the
 * caller's to end. */
void peer_die(struct kvr *, struct peer *, const struct rail *, int error);

/* A line for logs: "peer 3 (node7)". Returns buf. */
const char *peer_name(const struct peer *, char buf[static 96]);

/* Puts a peer that has something to do on the list that progress works through. */
void peer_activate(struct kvr *, struct peer *);

#endif
