/* SPDX-License-Identifier: MIT
 * What a request has to move to or from one peer, as the engine sees it. */
#include "transfer.h"
#include "context.h"
#include "control.h"
#include "failover.h"
#include "log.h"
#include "memory.h"
#include "pull.h"
#include <endian.h>
#include <errno.h>
#include <string.h>

#define MS             1000000ll /* ns */
#define PROBE_INTERVAL (1 * MS)
#define ASK_PAUSE_CALM (500 * MS) /* until the first question; and ... */
#define ASK_PAUSE      (20 * MS)  /* ... where a door was replaced; then twice as long, ... */
#define ASK_PAUSE_MAX  (1000 * MS)

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

int transfer_fill(struct kvr_request *request, size_t from, size_t to)
{
	const struct kvr *kvr = request->kvr;
	struct transfer *t = &request->transfer[request->transfers++];
	struct kvr_op *ops = request->ops + from;
	const struct stripe_rule rule = {.min = kvr->config.piece_bytes,
	                                 .max = kvr->config.piece_max};
	int rc;

	*t = (struct transfer){
		.request = request, .peer = ops->remote->peer, .ops = ops, .n = to - from};
	if ((rc = places_sort(ops, t->n, &rule, &t->batch)))
		return rc;
	for (unsigned int i = 0; i < t->batch.count; i++)
		t->batch.part[i].outlook = &t->peer->outlook[i];
	if (batch_count(&t->batch, LANE_WINDOW) > LANE_WINDOW) {
		log_error("more than %u pieces for peer %u in one call: nothing was moved; make "
		          "it several calls, or its runs longer",
		          LANE_WINDOW, t->peer->index);
		return -E2BIG;
	}
	request->unfinished++;
	return 0;
}

void transfer_hold(const struct kvr_request *request)
{
	for (size_t i = 0; i < request->n; i++) {
		request->ops[i].local->users++;
		request->ops[i].remote->users++;
	}
}

static void enqueue(struct transfer *t, struct transfer_queue *queue)
{
	if (t->queue)
		TAILQ_REMOVE(t->queue, t, link);
	t->queue = queue;
	if (queue)
		TAILQ_INSERT_TAIL(queue, t, link);
}

/* Lists overtake each other on their way: those of an older batch go before what has not begun of
 * later ones, as they would if the initiator moved them. */
static void enqueue_pull(struct transfer *t)
{
	struct transfer_queue *queue = &t->peer->posting;
	struct transfer *before = TAILQ_LAST(queue, transfer_queue);

	while (before && !before->started && before->request->pull &&
	       pull_is_later(before->request->pull, t->request->pull))
		before = TAILQ_PREV(before, transfer_queue, link);
	t->queue = queue;
	if (before)
		TAILQ_INSERT_AFTER(queue, before, t, link);
	else
		TAILQ_INSERT_HEAD(queue, t, link);
}

void transfer_leave_repair(struct transfer *t)
{
	again_clear(&t->again);
	if (t->in_repair)
		TAILQ_REMOVE(&t->peer->repair, t, repair);
	t->in_repair = false;
}

/* After the last one the request is the caller's, who may free it at once. */
static void finish(struct kvr *kvr, struct transfer *t)
{
	struct kvr_request *request = t->request;
	struct peer *peer = t->peer;
	const struct kvr_op *op = t->ops, *end = op + t->n;

	enqueue(t, NULL);
	transfer_leave_repair(t);
	for (; op < end; op++) {
		op->local->users--;
		op->remote->users--;
	}
	if (!request->result)
		request->result = t->error;
	if (!--request->unfinished) {
		if (request->pull)
			pull_on_finished(kvr, request);
		else
			atomic_store_explicit(&request->finished, true, memory_order_release);
	}
	peer_settle(kvr, peer);
}

void transfer_finish_if_over(struct kvr *kvr, struct transfer *t)
{
	bool is_dead;

	if (!t->sealed || t->in_flight || t->again.count)
		return;
	is_dead = t->peer->state == PEER_DEAD;
	if (is_dead)
		t->fences = 0;
	if (!t->fences && (t->request->is_read || !t->posted || t->confirmed || is_dead))
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

void transfer_seal(struct kvr *kvr, struct transfer *t)
{
	struct peer *peer = t->peer;

	if (t->pulled) {
		pull_end(kvr, t);
		return;
	}
	t->sealed = true;
	peer->left -= t->batch.left;
	if (t->request->is_read || !t->posted) {
		enqueue(t, &peer->draining);
		return;
	}
	peer->next_piece = (t->first + t->posted) % LANE_PIECES;
	/* A target with much else to do has not lost what it has not looked at. */
	if (!t->ask_pause)
		t->ask_pause = ASK_PAUSE_CALM;
	t->ask_at = kvr->now + t->ask_pause;
	enqueue(t, &peer->awaiting);
	note_end(kvr, t);
}

static void note_lost(struct kvr *kvr, struct transfer *t, uint32_t piece)
{
	if (!t->request->is_read)
		control_note(kvr, t->peer,
		             &(struct wire_message){
				     .type = WIRE_LOST, .a = t->first, .b = t->posted, .c = piece});
}

static void lose_repairs(struct kvr *kvr, struct transfer *t)
{
	struct stripe_piece piece;
	unsigned int part;
	uint32_t place;

	while (again_next(&t->again, &t->batch, &place, &part, &piece)) {
		again_remove(&t->again, place);
		note_lost(kvr, t, (t->first + place) % LANE_PIECES);
	}
	transfer_leave_repair(t);
}

void transfer_fail(struct kvr *kvr, struct transfer *t, int error)
{
	if (!t->error)
		t->error = error;
	if (!t->sealed)
		transfer_seal(kvr, t);
	lose_repairs(kvr, t);
}

static void accept_one(struct kvr *kvr, struct transfer *t)
{
	int rc = t->request->cancelled ? -ECANCELED : peer_connect(kvr, t->peer);

	if (rc) {
		t->error = rc;
		finish(kvr, t);
		return;
	}
	peer_activate(kvr, t->peer);
	if (kvr->pulls && !t->request->is_read) {
		t->pulled = t->started = true;
		t->first = t->peer->next_pull++;
		t->peer->unlisted++;
		enqueue(t, &t->peer->awaiting);
		return;
	}
	if (t->request->pull)
		enqueue_pull(t);
	else
		enqueue(t, &t->peer->posting);
	t->peer->left += t->batch.left;
}

/* The last transfer that finishes at once takes the request along. */
void transfer_start(struct kvr *kvr, struct kvr_request *request)
{
	uint32_t n = request->transfers;

	for (uint32_t i = 0; i < n; i++)
		accept_one(kvr, &request->transfer[i]);
}

bool transfer_accept(struct kvr *kvr)
{
	struct kvr_request *request = take_submitted(kvr), *next;
	bool any = request;

	for (; request; request = next) {
		next = request->next;
		transfer_start(kvr, request);
	}
	return any;
}

void transfer_on_piece(struct transfer *t, uint32_t piece)
{
	again_remove(&t->again, piece_distance(t->first, piece));
	if (!t->again.count)
		transfer_leave_repair(t);
}

void transfer_again(struct kvr *kvr, struct transfer *t, uint32_t piece)
{
	if (!t->error && t->request->cancelled)
		transfer_fail(kvr, t, -ECANCELED);
	if (t->error) {
		note_lost(kvr, t, piece);
		return;
	}
	if (again_add(&t->again, piece_distance(t->first, piece))) {
		transfer_fail(kvr, t, -ENOMEM);
		note_lost(kvr, t, piece);
		return;
	}
	t->ask_pause = ASK_PAUSE;
	if (!t->in_repair)
		TAILQ_INSERT_TAIL(&t->peer->repair, t, repair);
	t->in_repair = true;
	peer_activate(kvr, t->peer);
}

void transfer_on_safe(struct kvr *kvr, struct transfer *t)
{
	t->in_flight--;
	t->ask_at = kvr->now + t->ask_pause;
	transfer_finish_if_over(kvr, t);
}

static struct transfer *find_awaiting(struct peer *peer, uint32_t first)
{
	struct transfer *t = TAILQ_FIRST(&peer->awaiting);

	while (t && t->first != first)
		t = TAILQ_NEXT(t, link);
	return t;
}

static void unfence_queue(struct kvr *kvr, struct transfer_queue *queue, uint32_t there)
{
	struct transfer *t, *next;

	for (t = TAILQ_FIRST(queue); t; t = next) {
		next = TAILQ_NEXT(t, link);
		if (!(t->fences >> there & 1))
			continue;
		t->fences &= ~(1u << there);
		transfer_finish_if_over(kvr, t);
	}
}

/* With a door what came by it and was not looked at may have gone. */
static void ask_soon(struct kvr *kvr, struct peer *peer, uint32_t there)
{
	struct transfer *t;

	TAILQ_FOREACH(t, &peer->awaiting, link)
	if (!t->pulled && t->used >> there & 1 && t->ask_pause > ASK_PAUSE) {
		t->ask_pause = ASK_PAUSE;
		t->ask_at = kvr->now + ASK_PAUSE;
	}
}

void transfer_on_fenced(struct kvr *kvr, struct peer *peer, uint32_t there)
{
	ask_soon(kvr, peer, there);
	unfence_queue(kvr, &peer->awaiting, there);
	unfence_queue(kvr, &peer->draining, there);
}

void transfer_on_want(struct kvr *kvr, struct peer *peer, const struct wire_message *message)
{
	struct transfer *t = find_awaiting(peer, message->a);
	uint32_t piece;

	if (!t || t->confirmed)
		return;
	t->fences |= t->used;
	failover_ask_fences(kvr, peer, t->used);
	for (uint32_t i = 0; i + 4 <= message->body_len; i += 4) {
		memcpy(&piece, message->body + i, 4);
		piece = le32toh(piece);
		if (piece < LANE_PIECES && piece_distance(t->first, piece) < t->posted)
			transfer_again(kvr, t, piece);
	}
}

void transfer_on_done(struct kvr *kvr, struct peer *peer, uint32_t first, int error)
{
	struct transfer *t = find_awaiting(peer, first);

	if (!t)
		return;
	t->confirmed = true;
	if (!t->sealed)
		transfer_fail(kvr, t, error ? error : -EPROTO);
	/* All came, whatever was heard of it. */
	transfer_leave_repair(t);
	if (error && !t->error)
		t->error = error;
	transfer_finish_if_over(kvr, t);
}

void transfer_probe(struct kvr *kvr, struct peer *peer)
{
	struct transfer *t;

	if (kvr->now < peer->probe_at || TAILQ_EMPTY(&peer->awaiting))
		return;
	peer->probe_at = kvr->now + PROBE_INTERVAL;
	for (t = TAILQ_FIRST(&peer->awaiting); t; t = TAILQ_NEXT(t, link)) {
		if (t->in_flight || t->again.count || t->confirmed || kvr->now < t->ask_at ||
		    (t->pulled && !t->request->cancelled))
			continue;
		if (t->ask_pause < ASK_PAUSE_MAX)
			t->ask_pause *= 2;
		t->ask_at = kvr->now + t->ask_pause;
		if (t->pulled)
			pull_stop(kvr, t);
		else
			note_end(kvr, t);
	}
}

static void abandon_queue(struct kvr *kvr, struct transfer_queue *queue)
{
	struct transfer *t, *next;

	for (t = TAILQ_FIRST(queue); t; t = next) {
		next = TAILQ_NEXT(t, link);
		transfer_fail(kvr, t, -EHOSTUNREACH);
		transfer_finish_if_over(kvr, t);
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
		transfer_fail(kvr, t, -ECANCELED);
		transfer_finish_if_over(kvr, t);
	}
	for (t = TAILQ_FIRST(&peer->repair); t; t = next) {
		next = TAILQ_NEXT(t, repair);
		if (!t->request->cancelled)
			continue;
		transfer_fail(kvr, t, -ECANCELED);
		transfer_finish_if_over(kvr, t);
	}
	for (t = TAILQ_FIRST(&peer->awaiting); kvr->pulls && t; t = next) {
		next = TAILQ_NEXT(t, link);
		if (!t->request->cancelled || t->error)
			continue;
		if (t->sealed) { /* it ends as the target says, which is asked from now on */
			t->ask_pause = t->ask_pause ? t->ask_pause : ASK_PAUSE / 2;
			continue;
		}
		transfer_fail(kvr, t, -ECANCELED);
		transfer_finish_if_over(kvr, t);
	}
}
