/* SPDX-License-Identifier: MIT
 * What a request has to move to or from one peer, as the engine sees it. */
#include "transfer.h"
#include "context.h"
#include "control.h"
#include "memory.h"
#include <errno.h>

#define PROBE_INTERVAL 1000000000ll /* ns */

#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#define hand_over(p) __tsan_release(p)
#define take_over(p) __tsan_acquire(p)
#else
#define hand_over(p) ((void)(p))
#define take_over(p) ((void)(p))
#endif

/* ck_stack's atomics are assembly, whose ordering ThreadSanitizer has to be told of. */
__attribute__((no_sanitize("thread"))) void transfer_submit(struct kvr *kvr,
                                                            struct kvr_request *request)
{
	hand_over(&kvr->submitted);
	ck_stack_push_upmc(&kvr->submitted, &request->entry);
}

CK_STACK_CONTAINER(struct kvr_request, entry, request_of)

/* All that was submitted, oldest first. */
__attribute__((no_sanitize("thread"))) static struct kvr_request *take_submitted(struct kvr *kvr)
{
	ck_stack_entry_t *entry;
	struct kvr_request *oldest = NULL;

	if (CK_STACK_ISEMPTY(&kvr->submitted))
		return NULL;
	entry = ck_stack_batch_pop_upmc(&kvr->submitted);
	take_over(&kvr->submitted);
	for (; entry; entry = CK_STACK_NEXT(entry)) {
		request_of(entry)->next = oldest;
		oldest = request_of(entry);
	}
	return oldest;
}

static void enqueue(struct transfer *t, struct transfer_queue *queue)
{
	if (t->queue)
		TAILQ_REMOVE(t->queue, t, link);
	t->queue = queue;
	if (queue)
		TAILQ_INSERT_TAIL(queue, t, link);
}

/* After the last one the request is the caller's, who may free it at once. */
static void finish(struct kvr *kvr, struct transfer *t)
{
	struct kvr_request *request = t->request;
	struct peer *peer = t->peer;
	const struct kvr_op *op = t->cursor.ops, *end = op + t->cursor.n;

	enqueue(t, NULL);
	for (; op < end; op++) {
		op->local->users--;
		op->remote->users--;
	}
	if (!request->result)
		request->result = t->error;
	if (!--request->unfinished)
		atomic_store_explicit(&request->finished, true, memory_order_release);
	peer_settle(kvr, peer);
}

static void finish_if_over(struct kvr *kvr, struct transfer *t)
{
	bool is_confirmed =
		t->request->is_read || !t->posted || t->confirmed || t->peer->state == PEER_DEAD;

	if (t->sealed && !t->in_flight && is_confirmed)
		finish(kvr, t);
}

/* May go twice: a target that knows it answers with DONE if there is one. */
static void note_end(struct kvr *kvr, const struct transfer *t)
{
	control_note(kvr, t->peer,
	             &(struct wire_message){.type = WIRE_END,
	                                    .a = t->first,
	                                    .b = t->posted,
	                                    .c = t->error ? KVR_NO_COUNTER : t->request->counter});
}

/* No more pieces; tells the target how many there were. */
static void seal(struct kvr *kvr, struct transfer *t)
{
	struct peer *peer = t->peer;

	t->sealed = true;
	peer->left -= t->cursor.left;
	if (t->request->is_read || !t->posted) {
		enqueue(t, &peer->draining);
		return;
	}
	peer->next_piece = (t->first + t->posted) % LANE_PIECES;
	if (TAILQ_EMPTY(&peer->awaiting))
		peer->probe_at = 0;
	enqueue(t, &peer->awaiting);
	note_end(kvr, t);
}

/* Ends posting early. The caller's finish_if_over may then free the transfer. */
static void fail(struct kvr *kvr, struct transfer *t, int error)
{
	if (!t->error)
		t->error = error;
	if (!t->sealed)
		seal(kvr, t);
}

static void accept_one(struct kvr *kvr, struct transfer *t)
{
	int rc = t->request->cancelled ? -ECANCELED : peer_connect(kvr, t->peer);

	if (rc) {
		t->error = rc;
		finish(kvr, t);
		return;
	}
	enqueue(t, &t->peer->posting);
	t->peer->left += t->cursor.left;
	peer_activate(kvr, t->peer);
}

bool transfer_accept(struct kvr *kvr)
{
	struct kvr_request *request = take_submitted(kvr), *next;
	bool any = request;
	uint32_t n;

	for (; request; request = next) {
		/* The last transfer that finishes at once takes the request along. */
		next = request->next;
		n = request->transfers;
		for (uint32_t i = 0; i < n; i++)
			accept_one(kvr, &request->transfer[i]);
	}
	return any;
}

/* Whether the lane's numbers reach for one more piece: see counter.h. */
static bool lane_has_room(const struct peer *peer, const struct transfer *t)
{
	const struct transfer *oldest = TAILQ_FIRST(&peer->awaiting);

	return piece_distance(oldest ? oldest->first : t->first, t->first + t->posted) <
	       LANE_WINDOW;
}

/* As the rails are now: they change with what is completed, that is, between passes. */
static const struct pace_view *look(const struct kvr *kvr, struct peer *peer)
{
	if (!peer->view.all || peer->looked_at != kvr->now) {
		peer->view = pace_look(peer->pace, kvr->rail_count);
		peer->looked_at = kvr->now;
	}
	return &peer->view;
}

static bool start(struct peer *peer, struct transfer *t)
{
	if (t->started)
		return true;
	t->first = peer->next_piece;
	t->started = true;
	return t->request->is_read || peer->lane_there < LANES;
}

static int post_piece(struct kvr *kvr, struct transfer *t, struct rail *rail)
{
	unsigned int r = rail - kvr->rails;
	struct stripe_cursor cursor = t->cursor;
	struct stripe_piece piece;
	struct fabric_rma rma;
	const struct wire_region *remote;
	uint32_t number = (t->first + t->posted) % LANE_PIECES;
	int rc;

	stripe_take(&cursor, &t->rule, &piece);
	if (!pace_takes(look(kvr, t->peer), r, piece.len, t->peer->left))
		return -EAGAIN;
	remote = &piece.remote->wire;
	rma = (struct fabric_rma){
		.local = piece.local->addr + piece.local_offset,
		.mr = piece.local->mr[r],
		.len = piece.len,
		.remote = remote->base + piece.remote_offset,
		.key = remote->key[r % remote->rails],
		.notify = !t->request->is_read,
		.immediate = immediate_make(t->peer->lane_there, number),
	};
	rc = peer_address(kvr, t->peer, r, &rma.peer);
	if (!rc)
		rc = rail_post(rail, &rma, t->request->is_read, t, number);
	if (rc)
		return rc;
	t->cursor = cursor;
	t->peer->left -= piece.len;
	pace_post(&t->peer->pace[r], piece.len, kvr->now);
	t->posted++;
	t->in_flight++;
	return 0;
}

int transfer_post(struct kvr *kvr, struct peer *peer, struct rail *rail)
{
	struct transfer *t = TAILQ_FIRST(&peer->posting);
	int rc;

	if (!t || peer->state != PEER_UP)
		return 0;
	if (!start(peer, t)) {
		rc = -EUSERS; /* the target has no lane left */
	} else {
		if (!t->request->is_read && !lane_has_room(peer, t))
			return -EAGAIN;
		rc = post_piece(kvr, t, rail);
	}
	if (rc == -EAGAIN)
		return rc;
	if (rc)
		fail(kvr, t, rc);
	else if (t->cursor.op == t->cursor.n)
		seal(kvr, t);
	finish_if_over(kvr, t);
	return 1;
}

void transfer_on_piece(struct kvr *kvr, struct transfer *t, uint32_t piece, int error)
{
	t->in_flight--;
	if (error) {
		fail(kvr, t, error);
		/* Says again how many pieces there are: END may have gone before with a counter,
		 * and may be overtaken by this. */
		if (!t->request->is_read)
			control_note(kvr, t->peer,
			             &(struct wire_message){.type = WIRE_LOST,
			                                    .a = t->first,
			                                    .b = t->posted,
			                                    .c = piece});
	}
	finish_if_over(kvr, t);
}

void transfer_on_done(struct kvr *kvr, struct peer *peer, uint32_t first, int error)
{
	struct transfer *t;

	TAILQ_FOREACH(t, &peer->awaiting, link)
	if (t->first == first)
		break;
	if (!t)
		return;
	t->confirmed = true;
	if (error && !t->error)
		t->error = error;
	finish_if_over(kvr, t);
}

void transfer_probe(struct kvr *kvr, struct peer *peer, int64_t now)
{
	const struct transfer *oldest = TAILQ_FIRST(&peer->awaiting);

	if (!oldest || now < peer->probe_at || !control_is_quiet(peer))
		return;
	if (peer->probe_at)
		note_end(kvr, oldest);
	peer->probe_at = now + PROBE_INTERVAL;
}

static void abandon_queue(struct kvr *kvr, struct transfer_queue *queue)
{
	struct transfer *t, *next;

	for (t = TAILQ_FIRST(queue); t; t = next) {
		next = TAILQ_NEXT(t, link);
		fail(kvr, t, -EHOSTUNREACH);
		finish_if_over(kvr, t);
	}
}

void transfer_abandon_all(struct kvr *kvr, struct peer *peer)
{
	abandon_queue(kvr, &peer->posting);
	abandon_queue(kvr, &peer->awaiting);
	abandon_queue(kvr, &peer->draining);
}

void transfer_cancel(struct kvr *kvr, struct peer *peer)
{
	struct transfer *t, *next;

	for (t = TAILQ_FIRST(&peer->posting); t; t = next) {
		next = TAILQ_NEXT(t, link);
		if (!t->request->cancelled)
			continue;
		fail(kvr, t, -ECANCELED);
		finish_if_over(kvr, t);
	}
}
