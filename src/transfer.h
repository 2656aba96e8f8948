/* SPDX-License-Identifier: MIT
 * What a request has to move to or from one peer, as the engine sees it: posted in order of
 * arrival, piece by piece, on whatever rail has room.
 *
 * A write's pieces get consecutive numbers on our lane at the target. When the last is posted (or
 * posting ends early: cancel, error), END tells the target how many there are and which counter to
 * move, if any. The target answers DONE when all of them are visible, which is what ends a write:
 * completions of the provider only free the local buffer. Where DONE does not come the target is
 * asked which pieces it wants (WANT), and those go once more. A cancelled write is let land as far
 * as it went before its request ends, and nothing lands later; those of its pieces that would have
 * to go once more are reported as LOST instead, so that the target waits for the others only. */
#ifndef KVR_TRANSFER_H
#define KVR_TRANSFER_H

#include "again.h"
#include <ck_stack.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/queue.h>

struct kvr;
struct peer;
struct flight;
struct pull;
struct rail;
struct wire_message;

struct transfer {
	struct kvr_request *request;
	struct peer *peer;
	struct transfer_queue *queue; /* the peer's, that it is in */
	TAILQ_ENTRY(transfer) link;
	struct kvr_op *ops;
	size_t n, listed; /* listed: where the target reads them, told to it */
	struct batch batch;
	uint32_t first;     /* writes: number of the first piece */
	uint32_t posted;    /* pieces */
	uint32_t in_flight; /* attempts at them that are not safe, see failover.h */
	struct again again; /* pieces to be posted once more; then in the peer's repair queue */
	TAILQ_ENTRY(transfer) repair;
	bool in_repair;
	uint32_t used;             /* writes: the peer's rails that they went to, as bits */
	uint32_t fences;           /* those of which a new epoch is awaited */
	int64_t ask_at, ask_pause; /* ns; writes: when to ask the target what is missing */
	bool pulled;          /* the target reads it: `first` is its number, `posted` its lists */
	bool started, sealed; /* sealed: no more will be posted */
	bool confirmed;       /* writes: by the target */
	int error;
};

TAILQ_HEAD(transfer_queue, transfer);

/* A batch: kvr_write and kvr_read fill it in the caller's thread and submit it on a lock-free
 * stack; from then until it is finished it belongs to the engine. */
struct kvr_request {
	struct pull *pull; /* whose list it reads; NULL: the caller's own */
	TAILQ_ENTRY(kvr_request) pull_link;
	ck_stack_entry_t entry;   /* while submitted */
	struct kvr_request *next; /* while being accepted */
	struct kvr *kvr;
	bool is_read;
	uint32_t counter;
	_Atomic bool cancelled; /* the caller asks */
	_Atomic bool finished;  /* result is valid, and the engine is done with it */
	int result;
	struct kvr_op *ops; /* grouped by peer */
	size_t n;
	uint32_t transfers, unfinished;
	struct transfer transfer[];
};

void transfer_submit(struct kvr *, struct kvr_request *); /* from any thread */

/* Fills the request's next transfer for its ops [from, to), which are all one peer's, and may put
 * them into another order. -E2BIG: more pieces than can be told apart. -ENOMEM. */
int transfer_fill(struct kvr_request *, size_t from, size_t to);

/* Its regions and remotes are in use until it is finished. */
void transfer_hold(const struct kvr_request *);

/* The rest is the engine's. Takes over what was submitted; whether there was anything. */
bool transfer_accept(struct kvr *);
void transfer_start(struct kvr *, struct kvr_request *); /* takes over one */

/* No more pieces; tells the target how many there were. */
void transfer_seal(struct kvr *, struct transfer *);

/* Ends posting early. transfer_finish_if_over may then free the transfer. */
void transfer_fail(struct kvr *, struct transfer *, int error);
void transfer_finish_if_over(struct kvr *, struct transfer *);

/* It has no pieces to be posted once more. */
void transfer_leave_repair(struct transfer *);

/* In post.c. Posts the next piece for a peer on a rail that has room. 1: posted; 0: none to post;
 * -EAGAIN: not now, or not on this rail. */
int transfer_post(struct kvr *, struct peer *, struct rail *);

/* What introduces the endpoints of a path to each other has ended; goes on where it is to follow
 * up, and could not at once. */
void transfer_on_greeted(struct kvr *, struct peer *, struct rail *, const struct flight *,
                         int error);
void transfer_greet_again(struct kvr *, struct peer *, struct rail *);

/* A piece got through; one goes once more; nothing can land any more of an attempt, which may end
 * the transfer. */
void transfer_on_piece(struct transfer *, uint32_t piece);
void transfer_again(struct kvr *, struct transfer *, uint32_t piece);
void transfer_on_safe(struct kvr *, struct transfer *);

/* The target says that the batch from piece `first` is visible, or why it will not count. */
void transfer_on_done(struct kvr *, struct peer *, uint32_t first, int error);

/* The target's rail has a new epoch. */
void transfer_on_fenced(struct kvr *, struct peer *, uint32_t there);

/* The target says which pieces have not come: though they are done here, they may yet. */
void transfer_on_want(struct kvr *, struct peer *, const struct wire_message *);

/* Asks after writes whose pieces are all said to be there, and whose DONE does not come. */
void transfer_probe(struct kvr *, struct peer *);

/* The peer died: its transfers end when nothing of them is in flight. */
void transfer_abandon_all(struct kvr *, struct peer *);

/* Ends posting for a peer's cancelled requests. */
void transfer_cancel(struct kvr *, struct peer *);

#endif
