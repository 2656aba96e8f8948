/* SPDX-License-Identifier: MIT
 * The next piece of what a peer's transfers have to move, on a rail that has room. */
#include "context.h"
#include "failover.h"
#include "memory.h"
#include "transfer.h"
#include <errno.h>

#define GREET_PAUSE (10 * 1000000ll) /* ns; after one that failed */

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

/* The piece of a transfer that goes next, by its place; *ahead: the cursor behind it. */
static bool choose_piece(struct transfer *t, struct stripe_cursor *ahead, uint32_t *place,
                         struct stripe_piece *out)
{
	*ahead = t->cursor;
	if (t->again.count)
		return again_next(&t->again, &t->cursor, &t->rule, place, out);
	*place = t->posted;
	return stripe_take(ahead, &t->rule, out);
}

static int start_piece(struct kvr *kvr, struct transfer *t, struct rail *rail, uint32_t place,
                       const struct stripe_piece *piece)
{
	unsigned int r = rail->index;
	const struct path *path = &t->peer->path[r];
	const struct wire_region *remote = &piece->remote->wire;
	uint32_t number = (t->first + place) % LANE_PIECES;
	struct flight *flight;
	struct fabric_rma rma = {
		.local = piece->local->addr + piece->local_offset,
		.mr = piece->local->mr[r],
		.len = piece->len,
		.remote = remote->base + piece->remote_offset,
		.key = remote->key[path->there],
		.notify = !t->request->is_read,
		.immediate = immediate_make(t->peer->lane_there, number),
		/* The batch may be complete by another attempt at it. */
		.delivered = t->again.count,
	};
	int rc = peer_address(kvr, t->peer, r, &rma.peer);

	if (rc || (rc = rail_post(rail, &rma, t->request->is_read, &flight)))
		return rc;
	flight->transfer = t;
	flight->piece = number;
	flight->there = path->there;
	flight->epoch = path->epoch;
	flight->posted_at = kvr->now;
	return 0;
}

static int post_piece(struct kvr *kvr, struct transfer *t, struct rail *rail)
{
	unsigned int r = rail->index;
	struct peer *peer = t->peer;
	bool again = t->again.count;
	struct stripe_cursor ahead;
	struct stripe_piece piece;
	uint32_t place;
	int rc;

	if (!choose_piece(t, &ahead, &place, &piece) ||
	    !pace_takes(look(kvr, peer), r, piece.len, t->cursor.left + (again ? piece.len : 0)))
		return -EAGAIN;
	rc = start_piece(kvr, t, rail, place, &piece);
	if (rc == -EAGAIN && !peer->pace[r].in_flight)
		peer->pace[r].out = true; /* until the next check: others need not wait for it */
	if (rc)
		return rc;
	pace_post(&peer->pace[r], piece.len, kvr->now);
	t->in_flight++;
	t->used |= 1u << peer->path[r].there;
	if (again) {
		again_remove(&t->again, place);
		if (!t->again.count)
			transfer_leave_repair(t);
		return 0;
	}
	t->cursor = ahead;
	peer->left -= piece.len;
	t->posted++;
	return 0;
}

/* Whose piece goes next. 1: *out's; 0: nobody's; -EAGAIN: not now. */
static int choose_transfer(struct kvr *kvr, struct peer *peer, struct transfer **out)
{
	struct transfer *t;

	*out = TAILQ_FIRST(&peer->repair);
	if (*out)
		return 1;
	while ((t = TAILQ_FIRST(&peer->posting)) && !start(peer, t)) {
		transfer_fail(kvr, t, -EUSERS); /* the target has no lane left */
		transfer_finish_if_over(kvr, t);
	}
	*out = t;
	if (!t)
		return 0;
	return t->request->is_read || lane_has_room(peer, t) ? 1 : -EAGAIN;
}

/* A rail's first address costs 40 MB with efa: no more rails than there are pieces. */
static bool needs_more_rails(const struct kvr *kvr, const struct peer *peer)
{
	uint64_t bytes = 0;

	for (unsigned int r = 0; r < kvr->rail_count; r++)
		if (!peer->path[r].health.out && (peer->path[r].met || peer->path[r].greeting))
			bytes += kvr->config.piece_bytes;
	return !bytes || bytes < peer->left;
}

/* efa's endpoints shake hands with the first operation between them, and until then all moves by
 * messages, of which the other side has many in flight: it could not close its door if the NIC fell
 * silent. So a few bytes are read, before anything else, into where nobody looks. */
static void greet(struct kvr *kvr, struct transfer *t, struct rail *rail)
{
	struct path *path = &t->peer->path[rail->index];
	const struct wire_region *remote = &t->cursor.ops->remote->wire;
	struct fabric_rma rma = {.len = 1, .remote = remote->base, .key = remote->key[path->there]};
	struct flight *flight;

	if (path->greeting || kvr->now < path->greet_at || !needs_more_rails(kvr, t->peer) ||
	    peer_address(kvr, t->peer, rail->index, &rma.peer))
		return;
	path->greet_at = kvr->now + GREET_PAUSE;
	if (rail_greet(rail, &rma, t->peer, &flight))
		return;
	flight->there = path->there;
	flight->epoch = path->epoch;
	flight->posted_at = kvr->now;
	path->greeting = true;
	t->peer->pace[rail->index].out = true;
	t->peer->sends_in_flight++;
}

void transfer_on_greeted(struct kvr *kvr, struct peer *peer, struct rail *rail,
                         const struct flight *flight, int error)
{
	struct path *path = &peer->path[rail->index];

	peer->sends_in_flight--;
	if (flight->there != path->there || flight->epoch != path->epoch)
		return;
	path->greeting = false;
	path->met = !error;
	peer->pace[rail->index].out = path->health.out;
	peer_activate(kvr, peer);
}

int transfer_post(struct kvr *kvr, struct peer *peer, struct rail *rail)
{
	unsigned int r = rail->index;
	struct transfer *t;
	int rc;

	if (peer->state != PEER_UP)
		return 0;
	if (peer->path[r].health.out)
		return -EAGAIN;
	rc = choose_transfer(kvr, peer, &t);
	if (rc != 1)
		return rc;
	if (rail->shut_waits && !peer->path[r].met) {
		greet(kvr, t, rail);
		return -EAGAIN;
	}
	rc = post_piece(kvr, t, rail);
	if (rc && rc != -EAGAIN)
		failover_on_refusal(kvr, peer, r, rc);
	if (rc)
		return -EAGAIN;
	/* With a piece in flight it cannot be over. */
	if (!t->sealed && t->cursor.op == t->cursor.n)
		transfer_seal(kvr, t);
	return 1;
}
