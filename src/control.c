/* SPDX-License-Identifier: MIT
 * Control messages to one peer: each is sent until it is acknowledged, and handled once. */
#include "control.h"
#include "context.h"
#include "failover.h"
#include "reset.h"
#include "way.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MS             1000000ll
#define RESEND         (10 * MS) /* after the first try; then twice as long, ... */
#define RESEND_DOUBLES 5         /* ... so many times */
#define ACK_DELAY      (1 * MS)  /* something else may carry it */
#define PING_INTERVAL  (50 * MS)
#define ERRORS_SILENCE (1000 * MS) /* while closing, with errors on all rails */

int control_note(struct kvr *kvr, struct peer *peer, const struct wire_message *message)
{
	struct note *note = TAILQ_FIRST(&kvr->spare_notes);

	if (peer->state == PEER_DEAD)
		return -EHOSTUNREACH;
	if (note)
		TAILQ_REMOVE(&kvr->spare_notes, note, link);
	else if (!(note = malloc(sizeof(*note))))
		return -ENOMEM;
	*note = (struct note){.message = *message};
	peer->bodies += message->body_len != 0;
	TAILQ_INSERT_TAIL(&peer->outbox, note, link);
	peer_activate(kvr, peer);
	return 0;
}

int control_note_copy(struct kvr *kvr, struct peer *peer, const struct wire_message *message)
{
	struct wire_message own = *message;
	void *copy = malloc(message->body_len);
	int rc;

	if (!copy)
		return -ENOMEM;
	memcpy(copy, message->body, message->body_len);
	own.body = copy;
	rc = control_note(kvr, peer, &own);
	if (rc)
		free(copy);
	else
		TAILQ_LAST(&peer->outbox, note_queue)->copy = copy;
	return rc;
}

static void recycle(struct kvr *kvr, struct peer *peer, struct note_queue *queue, struct note *note)
{
	peer->bodies -= note->message.body_len != 0;
	free(note->copy);
	TAILQ_REMOVE(queue, note, link);
	TAILQ_INSERT_HEAD(&kvr->spare_notes, note, link);
}

void control_drop(struct kvr *kvr, struct peer *peer)
{
	struct note *note;

	while ((note = TAILQ_FIRST(&peer->outbox)))
		recycle(kvr, peer, &peer->outbox, note);
	while ((note = TAILQ_FIRST(&peer->unacknowledged)))
		recycle(kvr, peer, &peer->unacknowledged, note);
	peer->owes_at = 0;
	peer->pongs = 0;
}

void control_unsay(struct kvr *kvr, struct peer *peer, const struct wire_message *like)
{
	struct note *note, *next;

	for (note = TAILQ_FIRST(&peer->outbox); note; note = next) {
		next = TAILQ_NEXT(note, link);
		if (note->message.type == like->type && note->message.a == like->a)
			recycle(kvr, peer, &peer->outbox, note);
	}
}

/* The numbers stay in the order: an empty message says as little. */
void control_drop_bodies(struct peer *peer)
{
	struct note_queue *queues[] = {&peer->outbox, &peer->unacknowledged};
	struct note *note;

	for (int q = 0; q < 2; q++)
		for (note = TAILQ_FIRST(queues[q]); note; note = TAILQ_NEXT(note, link))
			if (note->message.type == WIRE_CHUNK && note->message.body_len) {
				note->message.body_len = 0;
				peer->bodies--;
			}
}

bool control_is_quiet(const struct peer *peer)
{
	return TAILQ_EMPTY(&peer->outbox) && TAILQ_EMPTY(&peer->unacknowledged);
}

static bool has_like(const struct note_queue *queue, const struct wire_message *like)
{
	const struct note *note = TAILQ_FIRST(queue);

	while (note && (note->message.type != like->type || note->message.a != like->a))
		note = TAILQ_NEXT(note, link);
	return note;
}

bool control_is_said(const struct peer *peer, const struct wire_message *like)
{
	return !has_like(&peer->outbox, like) && !has_like(&peer->unacknowledged, like);
}

static void send_note(struct kvr *kvr, struct peer *peer, struct note *note)
{
	uint32_t doubles = note->tries < RESEND_DOUBLES ? note->tries : RESEND_DOUBLES;

	int r;

	if (note->tries && peer->state != PEER_UP && !(note->tries % kvr->rail_count))
		way_turn(kvr, peer);
	r = way_send(kvr, peer, peer->index + note->tries, &note->message);
	if (r < 0)
		return;
	note->rail = r;
	peer->owes_at = 0;
	note->tries++;
	note->due = kvr->now + (RESEND << doubles);
}

static void send_new(struct kvr *kvr, struct peer *peer)
{
	struct note *note;

	while ((note = TAILQ_FIRST(&peer->outbox)) && channel_has_room(&peer->channel)) {
		/* Before it has told us its index, a peer would not know whose message it is. */
		if (peer->index_there == PEER_NOBODY && note->message.type != WIRE_HELLO)
			return;
		note->message.number = peer->channel.next;
		send_note(kvr, peer, note);
		if (!note->tries)
			return;
		channel_number(&peer->channel);
		TAILQ_REMOVE(&peer->outbox, note, link);
		TAILQ_INSERT_TAIL(&peer->unacknowledged, note, link);
	}
}

static void send_again(struct kvr *kvr, struct peer *peer)
{
	unsigned int last;
	uint32_t tries;
	struct note *note;

	for (note = TAILQ_FIRST(&peer->unacknowledged); note; note = TAILQ_NEXT(note, link)) {
		if (kvr->now < note->due)
			continue;
		last = note->rail;
		tries = note->tries;
		send_note(kvr, peer, note);
		peer->path[last].missed += note->tries > tries;
	}
}

static void send_acknowledgement(struct kvr *kvr, struct peer *peer)
{
	struct wire_message message = {.type = WIRE_ACK};

	if (peer->owes_at && kvr->now >= peer->owes_at && peer->index_there != PEER_NOBODY &&
	    way_send(kvr, peer, peer->index, &message) >= 0)
		peer->owes_at = 0;
}

/* Where nothing can be sent now they wait. If the PING had taken the last place for messages, and
 * so each one that came after it, its path would stay out of use for ever. */
static void send_pongs(struct kvr *kvr, struct peer *peer)
{
	struct wire_message message = {.type = WIRE_PONG};

	for (uint32_t i = 0; i < peer->rails; i++) {
		if (!(peer->pongs >> i & 1))
			continue;
		message.a = i;
		message.b = peer->there[i].pinged;
		message.number = peer->there[i].ping;
		if (way_send(kvr, peer, message.b, &message) == -EAGAIN)
			return;
		peer->pongs &= ~(1u << i);
	}
}

static bool is_wanted(const struct kvr *kvr, const struct peer *peer)
{
	/* One that does not close yet may be busy with something else: kvr_close has patience, but
	 * not with the dead. */
	if (peer->bye_sent)
		return peer->has_threads && !peer->bye_received;
	return !control_is_quiet(peer) || peer_has_transfers(peer) || !TAILQ_EMPTY(&peer->pulls) ||
	       peer_is_awaited(kvr, peer) || peer->unsettled || collective_awaits(kvr, peer);
}

bool control_is_idle(const struct kvr *kvr, const struct peer *peer)
{
	return !is_wanted(kvr, peer) && control_is_quiet(peer) && !peer->owes_at && !peer->pongs;
}

/* With the rail's address: RAIL may be stuck behind messages that the peer has got and cannot
 * acknowledge, as it knows none of our rails by the address of today. */
void control_ping(struct kvr *kvr, struct peer *peer, unsigned int r)
{
	const struct wire_endpoint *end = &kvr->rails[r].endpoint;
	struct wire_message message = {.type = WIRE_PING,
	                               .number = ++peer->path[r].pings,
	                               .a = r,
	                               .b = peer->path[r].there,
	                               .c = end->epoch,
	                               .body = end->bytes,
	                               .body_len = end->len};

	way_send_on(kvr, peer, r, &message);
}

/* Its HELLO is a question in itself. Once that goes at its slowest, it goes by each rail in turn as
 * a PING would: as paths turn at about the same pace, many ways would else never be tried. */
static void greet_again(struct kvr *kvr, struct peer *peer, unsigned int r)
{
	struct note *note = TAILQ_FIRST(&peer->unacknowledged);

	while (note && note->message.type != WIRE_HELLO)
		note = TAILQ_NEXT(note, link);
	if (note && note->tries > RESEND_DOUBLES)
		way_send_on(kvr, peer, r, &note->message);
}

/* Asks a silent peer over the next rail. */
static void ask(struct kvr *kvr, struct peer *peer)
{
	if (kvr->now < peer->ping_at || kvr->now - peer->heard_at < PING_INTERVAL)
		return;
	peer->ping_at = kvr->now + PING_INTERVAL;
	do
		peer->ping_rail = (peer->ping_rail + 1) % kvr->rail_count;
	while (!way_may_ask(kvr, peer, peer->ping_rail));
	if (peer->index_there != PEER_NOBODY)
		control_ping(kvr, peer, peer->ping_rail);
	else
		greet_again(kvr, peer, peer->ping_rail);
}

void control_ask_all(struct kvr *kvr, struct peer *peer)
{
	for (unsigned int r = 0; r < kvr->rail_count && peer->state == PEER_UP; r++)
		if (way_may_ask(kvr, peer, r))
			control_ping(kvr, peer, r);
}

/* Of those to which none of our other rails goes; its usual one if there are none. */
static uint32_t unusual_one(const struct kvr *kvr, const struct peer *peer, unsigned int r)
{
	const struct path *path = &peer->path[r];
	uint32_t others = peer->rails - 1, there;

	for (uint32_t i = 0; i < others; i++) {
		there = (path->home + 1 + (path->tries / 2 + i) % others) % peer->rails;
		if (!way_is_taken(kvr, peer, r, there))
			return there;
	}
	return path->home;
}

void control_try(struct kvr *kvr, struct peer *peer, unsigned int r)
{
	struct path *path = &peer->path[r];

	/* Its usual one and the others in turn. */
	peer_turn(path, path->tries % 2 ? unusual_one(kvr, peer, r) : path->home);
	path->tries++;
	if (peer->state == PEER_UP)
		control_ping(kvr, peer, r);
}

static int check_alive(struct kvr *kvr, struct peer *peer, bool wanted)
{
	int64_t bound = kvr->config.peer_timeout_ms * MS, silent;
	bool lost = way_is_lost(kvr, peer);

	if (wanted) {
		peer->wanted_at = kvr->now;
		ask(kvr, peer);
	} else if (!peer->bye_sent || !(peer->bye_received || lost)) {
		peer_rest(kvr, peer);
	}
	silent = kvr->now - peer->heard_at;
	/* One that is stopped may fail whatever is sent to it; one that has said all is just gone.
	 */
	return silent > bound || (silent > ERRORS_SILENCE && lost && peer->bye_sent) ? -EHOSTUNREACH
	                                                                             : 0;
}

int control_serve(struct kvr *kvr, struct peer *peer, const struct rail **rail)
{
	bool wanted = is_wanted(kvr, peer);

	/* First: an answer that only fails is owed for no longer than it takes to send it. */
	way_find(kvr, peer, wanted || peer->owes_at || peer->pongs);
	send_new(kvr, peer);
	send_again(kvr, peer);
	send_pongs(kvr, peer);
	send_acknowledgement(kvr, peer);
	*rail = &kvr->rails[peer->ping_rail];
	return check_alive(kvr, peer, wanted);
}

static void forget_acknowledged(struct kvr *kvr, struct peer *peer)
{
	struct note *note, *next;

	for (note = TAILQ_FIRST(&peer->unacknowledged); note; note = next) {
		next = TAILQ_NEXT(note, link);
		if (!channel_is_acknowledged(&peer->channel, note->message.number))
			continue;
		recycle(kvr, peer, &peer->unacknowledged, note);
		peer->doubt_at = 0;
	}
}

static void on_ping(struct kvr *kvr, struct peer *peer, const struct wire_message *message)
{
	if (message->a >= peer->rails || message->b >= kvr->rail_count)
		return;
	failover_on_rail(kvr, peer,
	                 &(struct wire_message){.type = WIRE_RAIL,
	                                        .a = message->a,
	                                        .b = message->c,
	                                        .body = message->body,
	                                        .body_len = message->body_len});
	peer->there[message->a].pinged = message->b;
	peer->there[message->a].ping = message->number;
	peer->pongs |= 1u << message->a;
	peer_activate(kvr, peer);
}

/* Of the path that the question went by: the answer may come by another, which may be no good for
 * what goes out. A busy peer may answer long after, when what failed since is held back there. */
static void on_pong(struct kvr *kvr, struct peer *peer, const struct wire_message *message)
{
	struct path *path;

	if (message->a >= kvr->rail_count)
		return;
	path = &peer->path[message->a];
	if (path->there != message->b || (int32_t)(message->number - path->stale) <= 0)
		return;
	path->held &= ~(1u << path->there);
	failover_on_sign(kvr, peer, message->a);
}

bool control_receive(struct kvr *kvr, struct peer *peer, const struct wire_message *message)
{
	peer->heard_at = kvr->now;
	if (message->type == WIRE_PONG)
		on_pong(kvr, peer, message);
	channel_acknowledge(&peer->channel, &message->got);
	forget_acknowledged(kvr, peer);
	if (message->type == WIRE_PING)
		on_ping(kvr, peer, message);
	if (!wire_is_numbered(message->type))
		return false;
	/* Whose body it was waits for it. */
	if (!peer->owes_at || message->body_len)
		peer->owes_at = kvr->now + (message->body_len ? 0 : ACK_DELAY);
	peer_activate(kvr, peer);
	return channel_receive(&peer->channel, message->number);
}

void control_on_sent(struct kvr *kvr, const struct flight *flight, unsigned int r, int error)
{
	struct peer *peer = flight->peer;
	struct path *path = &peer->path[r];
	struct note *note;
	int64_t due;

	path->sends--;
	path->fresh_sends -= flight->turn == path->turns;
	peer->sends_in_flight--;
	if (flight->old) /* it tells nothing of the new endpoint */
		return;
	if (!error) {
		path->errors = path->missed = 0;
		/* Where it is held back that says nothing. */
		if (path->held >> flight->there & 1) {
			reset_on_held(kvr, &kvr->rails[r]);
		} else if (flight->turn == path->turns) {
			path->doubted = false;
			peer->doubt_at = 0;
		}
		return;
	}
	if (kvr->rails[r].shut_waits) {
		path->held |= 1u << flight->there;
		path->stale = path->pings;
		if (flight->turn == path->turns && !peer->bye_received) /* or it is just gone */
			failover_on_refusal(kvr, peer, r, error);
	}
	/* Which message it was does not matter: a moment later all go again. */
	path->errors++;
	due = kvr->now + (ACK_DELAY << (path->errors < 6 ? path->errors : 6));
	for (note = TAILQ_FIRST(&peer->unacknowledged); note; note = TAILQ_NEXT(note, link))
		if (note->due > due)
			note->due = due;
	peer_activate(kvr, peer);
}
