/* SPDX-License-Identifier: MIT
 * The next piece of what a peer's transfers have to move, on a rail that has room. */
#include "context.h"
#include "failover.h"
#include "memory.h"
#include "transfer.h"
#include <errno.h>

#define MS          1000000ll  /* ns */
#define GREET_PAUSE (10 * MS)  /* after one that failed */
#define GREET_LATE  (100 * MS) /* more than that */
#define STRANDED    (1000 * MS)

/* Whether the lane's numbers reach for one more piece: see counter.h. */
static bool lane_has_room(const struct peer *peer, const struct transfer *t)
{
	const struct transfer *oldest = TAILQ_FIRST(&peer->awaiting);

	return piece_distance(oldest ? oldest->first : t->first, t->first + t->posted) <
	       LANE_WINDOW;
}

/* Makes it that of some set of our rails; the one that was there is kept elsewhere. */
static void fill_outlook(struct peer *peer, struct outlook *mine, uint32_t rails)
{
	struct outlook before = *mine, *end = peer->outlook + OUTLOOKS, *o;

	for (o = peer->outlook; o < end && o->view.rails != rails;)
		o++;
	*mine = o < end ? *o : (struct outlook){.view = {.rails = rails}};
	if (o == end)
		o = &peer->outlook[peer->next_outlook++ % OUTLOOKS];
	if (o != mine)
		*o = before;
}

/* As the rails are now: they change with what is completed, that is, between passes. */
static void look(const struct kvr *kvr, struct peer *peer, struct outlook *o, uint32_t rails)
{
	fill_outlook(peer, o, rails);
	o->view = pace_look(peer->pace, kvr->rail_count, rails);
	o->looked_at = kvr->now;
	if (o->view.usable)
		o->stranded_at = 0;
	else if (!o->stranded_at)
		o->stranded_at = kvr->now;
}

/* Whether others must do what these rails cannot: all are out of use, or have not been introduced
 * to the peer's, or are full of what is lost, for long. */
static bool is_stranded(const struct kvr *kvr, const struct peer *peer, const struct outlook *o)
{
	if (o->view.usable)
		return false;
	if (kvr->now - o->stranded_at > STRANDED)
		return true;
	for (unsigned int r = 0; r < kvr->rail_count; r++)
		if (o->view.rails >> r & 1 && !peer->path[r].health.out)
			return false;
	return true;
}

/* Of the rails that carry such bytes now: the near ones; those that a mapping allows; all. */
static __attribute__((noinline)) void look_for(const struct kvr *kvr, struct peer *peer,
                                               const struct batch_part *part)
{
	look(kvr, peer, part->outlook, part->rails.near);
	if (is_stranded(kvr, peer, part->outlook))
		look(kvr, peer, part->outlook, part->rails.any);
	if (is_stranded(kvr, peer, part->outlook))
		look(kvr, peer, part->outlook, rails_first(kvr->rail_count));
}

static bool start(struct peer *peer, struct transfer *t)
{
	if (t->started)
		return true;
	t->first = peer->next_piece;
	t->started = true;
	return t->request->is_read || peer->lane_there < LANES;
}

/* A piece that is to go next, by a path that is one of those for it. A new one has been taken from
 * its part, and is put back if it does not go. */
struct choice {
	struct transfer *transfer;
	struct path *path;
	bool again;                  /* once more; it has been posted before; else: */
	struct stripe_cursor before; /* where its part was */
	struct batch_part *part;
	uint32_t place; /* in the order of its batch */
	struct stripe_piece piece;
	uint64_t left; /* bytes, its own included, for the rails that carry it: */
	const struct pace_view *view;
};

static void put_back(struct choice *c)
{
	if (!c->again)
		c->part->cursor = c->before;
}

/* Whether it may go by this rail: by one of those that carry such bytes, or one that helps them. */
static inline bool is_for(const struct kvr *kvr, struct choice *c, unsigned int r)
{
	const struct outlook *o = c->part->outlook;

	/* The same as for the last piece, mostly. */
	if (o->view.rails != c->part->rails.near || o->looked_at != kvr->now || !o->view.usable)
		look_for(kvr, c->transfer->peer, c->part);
	c->view = &o->view;
	return c->view->rails >> r & 1 ||
	       (c->part->rails.far >> r & 1 && pace_helps(c->view, r, c->piece.len, c->left));
}

static bool choose_again(const struct kvr *kvr, struct transfer *t, unsigned int r,
                         struct choice *c)
{
	unsigned int part;

	c->transfer = t;
	c->again = true;
	if (!again_next(&t->again, &t->batch, &c->place, &part, &c->piece))
		return false;
	c->part = &t->batch.part[part];
	c->left = c->part->cursor.left + c->piece.len;
	return is_for(kvr, c, r);
}

static bool choose_new(const struct kvr *kvr, struct transfer *t, unsigned int r, struct choice *c)
{
	struct batch_part *part = &t->batch.part[batch_next(&t->batch)];

	c->transfer = t;
	c->again = false;
	c->place = t->posted;
	c->part = part;
	c->before = part->cursor;
	c->left = part->cursor.left;
	if (!stripe_take(&part->cursor, &part->rule, &c->piece))
		return false;
	if (is_for(kvr, c, r))
		return true;
	put_back(c);
	return false;
}

static int start_piece(struct kvr *kvr, const struct choice *c, struct rail *rail)
{
	struct transfer *t = c->transfer;
	const struct stripe_piece *piece = &c->piece;
	const struct path *path = c->path;
	const struct wire_region *remote = &piece->remote->wire;
	uint32_t number = (t->first + c->place) % LANE_PIECES;
	struct flight *flight;
	struct fabric_rma rma = {
		.local = piece->local->addr + piece->local_offset,
		.mr = piece->local->mr[rail->index],
		.len = piece->len,
		.remote = remote->base + piece->remote_offset,
		.key = remote->key[path->there],
		.notify = !t->request->is_read,
		.immediate = immediate_make(t->peer->lane_there, number),
		/* The batch may be complete by another attempt at it. */
		.delivered = t->again.count,
	};
	int rc = peer_address(kvr, t->peer, rail->index, &rma.peer);

	if (rc || (rc = rail_post(rail, &rma, t->request->is_read, &flight)))
		return rc;
	flight->transfer = t;
	flight->piece = number;
	flight->there = path->there;
	flight->epoch = path->epoch;
	flight->posted_at = kvr->now;
	return 0;
}

/* It has gone. */
static void step(struct choice *c)
{
	struct transfer *t = c->transfer;

	if (c->again) {
		again_remove(&t->again, c->place);
		if (!t->again.count)
			transfer_leave_repair(t);
		return;
	}
	t->batch.left -= c->piece.len;
	t->peer->left -= c->piece.len;
	t->posted++;
}

static int post_piece(struct kvr *kvr, struct choice *c, struct rail *rail)
{
	unsigned int r = rail->index;
	struct peer *peer = c->transfer->peer;
	int rc;

	if (c->view->rails >> r & 1 && !pace_takes(c->view, r, c->piece.len, c->left))
		return -EAGAIN;
	rc = start_piece(kvr, c, rail);
	if (rc == -EAGAIN && !peer->pace[r].in_flight)
		peer->pace[r].out = true; /* until the next check: others need not wait for it */
	if (rc)
		return rc;
	pace_post(&peer->pace[r], c->piece.len, kvr->now);
	c->transfer->in_flight++;
	c->transfer->used |= 1u << c->path->there;
	step(c);
	return 0;
}

/* The first in the queue from which new pieces may go. 1: *out; 0: none; -EAGAIN: not now. */
static int choose_transfer(struct kvr *kvr, struct peer *peer, struct transfer **out)
{
	struct transfer *t;

	while ((t = TAILQ_FIRST(&peer->posting)) && !start(peer, t)) {
		transfer_fail(kvr, t, -EUSERS); /* the target has no lane left */
		transfer_finish_if_over(kvr, t);
	}
	*out = t;
	if (!t)
		return 0;
	return t->request->is_read || lane_has_room(peer, t) ? 1 : -EAGAIN;
}

/* What is to be posted once more goes first. */
static int choose(struct kvr *kvr, struct peer *peer, unsigned int r, struct choice *out)
{
	struct transfer *t = TAILQ_FIRST(&peer->repair);
	int rc;

	if (t && choose_again(kvr, t, r, out))
		return 1;
	rc = choose_transfer(kvr, peer, &t);
	if (rc != 1)
		return rc;
	return choose_new(kvr, t, r, out) ? 1 : -EAGAIN;
}

/* It can be relied on to become met: the NIC may have fallen silent. */
static bool is_greeted(const struct kvr *kvr, const struct path *path)
{
	return peer_is_meeting(path) && kvr->now < path->greet_at + GREET_LATE;
}

/* One that is full of what is lost carries nothing, though it has met the peer's. */
static bool carries(const struct kvr *kvr, const struct peer *peer, unsigned int r)
{
	const struct path *path = &peer->path[r];

	return path->meeting == MEET_MET ? !peer->pace[r].out
	                                 : !path->health.out && is_greeted(kvr, path);
}

/* A rail's first address costs 40 MB with efa: no more rails than there are pieces. */
static bool needs_more_rails(const struct kvr *kvr, const struct peer *peer, uint32_t rails)
{
	uint64_t bytes = 0;

	for (unsigned int r = 0; r < kvr->rail_count; r++)
		if (rails >> r & 1 && carries(kvr, peer, r))
			bytes += kvr->config.piece_bytes;
	return !bytes || bytes < peer->left;
}

/* One rail's first peer in a pass: it takes long, and the others have something to do. */
static bool may_meet(struct kvr *kvr, struct rail *rail)
{
	if (rail->warm)
		return true;
	if (kvr->warmed_at == kvr->now)
		return false;
	kvr->warmed_at = kvr->now;
	rail_warm(rail);
	return true;
}

/* What is posted for the peer was refused, if rc is not 0 and not for the moment only. */
static void refused(struct kvr *kvr, struct peer *peer, struct rail *rail, int rc)
{
	if (!rc || rc == -EAGAIN)
		return;
	rail->stats.errors++;
	failover_on_refusal(kvr, peer, rail->index, rc);
}

static int start_greeting(struct kvr *kvr, struct peer *peer, struct rail *rail)
{
	struct path *path = &peer->path[rail->index];
	struct flight *flight;
	uint64_t to;
	int rc = peer_address(kvr, peer, rail->index, &to);
	bool answered = path->meeting == MEET_ANSWERED; /* by that address */

	if (rc || (rc = rail_greet(rail, to, answered, peer, &flight)))
		return rc;
	flight->turn = path->turns;
	flight->epoch = path->epoch;
	flight->posted_at = path->greet_at = kvr->now;
	path->meeting = answered ? MEET_SHAKING : MEET_ASKING;
	peer->pace[rail->index].out = true;
	peer->sends_in_flight++;
	return 0;
}

/* efa's endpoints shake hands with the first operation between them, and until then all moves by
 * messages, of which the other side has many in flight: it could not close its door if the NIC fell
 * silent. So one byte is read before anything else; none of a user's, who may close its region
 * before that is through. The answer may overtake the peer's half of the handshake: therefore a
 * second greeting follows, which cannot go before that has come. */
static void greet(struct kvr *kvr, const struct choice *c, struct rail *rail)
{
	struct peer *peer = c->transfer->peer;
	struct path *path = c->path;

	if (peer_is_meeting(path) || kvr->now < path->greet_at ||
	    !needs_more_rails(kvr, peer, c->view->rails) || !may_meet(kvr, rail))
		return;
	path->greet_at = kvr->now + GREET_PAUSE;
	refused(kvr, peer, rail, start_greeting(kvr, peer, rail));
}

static void on_met(struct kvr *kvr, struct peer *peer, const struct rail *rail, int error)
{
	struct path *path = &peer->path[rail->index];

	path->meeting = error ? MEET_STRANGERS : MEET_MET;
	if (error)
		failover_on_refusal(kvr, peer, rail->index, error);
	else
		peer->pace[rail->index].out = path->health.out;
	peer_activate(kvr, peer);
}

void transfer_greet_again(struct kvr *kvr, struct peer *peer, struct rail *rail)
{
	struct path *path = &peer->path[rail->index];
	int rc;

	if (path->meeting != MEET_ANSWERED || SLIST_EMPTY(&rail->sends))
		return;
	rc = start_greeting(kvr, peer, rail);
	if (rc == -EAGAIN && kvr->now - path->greet_at < STRANDED)
		return;
	/* A handshake that was lost is not sent again: then it has to do without. */
	if (rc)
		on_met(kvr, peer, rail, rc == -EAGAIN ? 0 : rc);
}

void transfer_on_greeted(struct kvr *kvr, struct peer *peer, struct rail *rail,
                         const struct flight *flight, int error)
{
	struct path *path = &peer->path[rail->index];

	peer->sends_in_flight--;
	/* It may have been for endpoints, or from a time, that the path has left behind. */
	if (flight->old || flight->turn != path->turns || flight->epoch != path->epoch ||
	    !peer_is_meeting(path))
		return;
	if (path->meeting == MEET_ASKING && !error) {
		path->meeting = MEET_ANSWERED;
		transfer_greet_again(kvr, peer, rail);
	} else {
		on_met(kvr, peer, rail, error);
	}
}

int transfer_post(struct kvr *kvr, struct peer *peer, struct rail *rail)
{
	unsigned int r = rail->index;
	struct choice c;
	int rc;

	if (peer->state != PEER_UP)
		return 0;
	c.path = &peer->path[r];
	if (c.path->health.out)
		return -EAGAIN;
	rc = choose(kvr, peer, r, &c);
	if (rc != 1)
		return rc;
	if (rail->shut_waits && c.path->meeting != MEET_MET) {
		put_back(&c);
		greet(kvr, &c, rail);
		return -EAGAIN;
	}
	rc = post_piece(kvr, &c, rail);
	if (rc)
		put_back(&c);
	refused(kvr, peer, rail, rc);
	if (rc)
		return -EAGAIN;
	/* With a piece in flight it cannot be over. */
	if (!c.transfer->sealed && !c.transfer->batch.left)
		transfer_seal(kvr, c.transfer);
	return 1;
}
