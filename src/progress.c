/* SPDX-License-Identifier: MIT
 * The loop: take submitted requests, read completions, serve messages, post pieces. */
#include "progress.h"
#include "clock.h"
#include "context.h"
#include "control.h"
#include "failover.h"
#include "log.h"
#include "pull.h"
#include "reset.h"
#include <endian.h>
#include <errno.h>

#define WATCH_INTERVAL (50 * 1000 * 1000) /* ns */
#define MAX_STEP       (50 * 1000 * 1000) /* ns that a pass may last, as the engine sees it */
#define WANT_MAX       ((WIRE_MESSAGE_MAX - WIRE_HEADER) / 4)
#define RENEW_POLLS    100
#define EVENTS         64 /* per poll of a rail */

static void peer_failed(struct kvr *kvr, struct peer *peer, const struct rail *rail, int error)
{
	bool is_news = peer->state != PEER_DEAD;

	peer_die(kvr, peer, rail, error);
	transfer_abandon_all(kvr, peer);
	failover_on_death(kvr, peer);
	if (is_news) /* or what waits would never have waited for long enough */
		reset_delay(kvr);
	pull_on_death(kvr, peer);
}

/* Moves the counters of the batches that have become complete, and says so to who wrote them. */
static void complete_batches(struct kvr *kvr, struct peer *peer)
{
	struct lane_batch batch;
	int error;

	while (lane_take(&peer->lane, &batch)) {
		error = batch.counter == KVR_NO_COUNTER ? 0 : peer_count(kvr, peer, batch.counter);
		control_note(
			kvr, peer,
			&(struct wire_message){.type = WIRE_DONE, .a = batch.first, .c = -error});
	}
}

static void on_arrival(struct kvr *kvr, struct rail *rail, uint32_t immediate)
{
	struct peer *peer = kvr->lane_owner[immediate_lane(immediate)];

	rail->stats.arrivals++;
	if (!peer || lane_arrive(&peer->lane, immediate_piece(immediate)) < 0) {
		log_warning("rail %s: a piece came from nobody known, or memory is short",
		            rail->name);
		return;
	}
	complete_batches(kvr, peer);
}

/* The peer asks why there is no DONE. */
static void note_want(struct kvr *kvr, struct peer *peer, uint32_t first)
{
	uint32_t numbers[WANT_MAX], n = lane_missing(&peer->lane, first, numbers, WANT_MAX);

	for (uint32_t i = 0; i < n; i++)
		numbers[i] = htole32(numbers[i]);
	if (n)
		control_note_copy(kvr, peer,
		                  &(struct wire_message){.type = WIRE_WANT,
		                                         .a = first,
		                                         .body = (uint8_t *)numbers,
		                                         .body_len = 4 * n});
}

static void on_end(struct kvr *kvr, struct peer *peer, const struct wire_message *message)
{
	int rc = lane_declare(&peer->lane, message->a, message->b, message->c);

	if (rc < 0)
		log_warning("peer %u ends a batch that cannot be: %u pieces from %u", peer->index,
		            message->b, message->a);
	else if (!rc && lane_is_done(&peer->lane, message->a))
		control_note(kvr, peer, &(struct wire_message){.type = WIRE_DONE, .a = message->a});
	else if (!rc)
		note_want(kvr, peer, message->a);
	complete_batches(kvr, peer);
}

static void on_lost(struct kvr *kvr, struct peer *peer, const struct wire_message *message)
{
	if (lane_lose(&peer->lane, message->a, message->b, message->c) < 0)
		log_warning("peer %u loses a piece that cannot be", peer->index);
	complete_batches(kvr, peer);
}

static void on_peer_message(struct kvr *kvr, struct peer *peer, const struct wire_message *message)
{
	switch (message->type) {
	case WIRE_HELLO:
		peer_on_hello(kvr, peer, message);
		break;
	case WIRE_WELCOME:
		peer_on_welcome(kvr, peer, message);
		break;
	case WIRE_END:
		on_end(kvr, peer, message);
		break;
	case WIRE_LOST:
		on_lost(kvr, peer, message);
		break;
	case WIRE_DONE:
		transfer_on_done(kvr, peer, message->a, -(int)message->c);
		break;
	case WIRE_READY:
		collective_on_ready(kvr, message);
		break;
	case WIRE_CHUNK:
		collective_on_chunk(kvr, message);
		break;
	case WIRE_BROKEN:
		collective_on_broken(kvr, message);
		break;
	case WIRE_SETTLED:
		collective_on_settled(kvr, peer, message);
		break;
	case WIRE_WANT:
		transfer_on_want(kvr, peer, message);
		break;
	case WIRE_FENCE:
		failover_on_fence(kvr, peer, message);
		break;
	case WIRE_RAIL:
		failover_on_rail(kvr, peer, message);
		break;
	case WIRE_PULL:
		pull_on_list(kvr, peer, message);
		break;
	case WIRE_STOP:
		pull_on_stop(kvr, peer, message);
		break;
	case WIRE_PULLED:
		transfer_on_done(kvr, peer, message->a, -(int)message->c);
		break;
	case WIRE_BYE:
		peer_on_bye(kvr, peer);
		break;
	case WIRE_ACK:
	case WIRE_PING:
	case WIRE_PONG:
		break;
	}
}

static struct peer *find_sender(struct kvr *kvr, const struct wire_message *message)
{
	struct peer *peer;

	if (message->type == WIRE_HELLO)
		return peer_meet(kvr, message);
	peer = message->to < kvr->peer_count ? kvr->peers[message->to] : NULL;
	return peer && peer->path && peer->instance == message->instance && peer->state != PEER_DEAD
	               ? peer
	               : NULL;
}

static void on_message(struct kvr *kvr, const struct rail *rail, const void *buf, size_t len)
{
	struct wire_message message;
	struct peer *peer;
	int rc = wire_message_decode(buf, len, &message);

	if (rc) {
		log_warning("rail %s: a message of %zu bytes is not one of this version's: %s",
		            rail->name, len, kvr_strerror(rc));
		return;
	}
	peer = find_sender(kvr, &message);
	if (peer && control_receive(kvr, peer, &message))
		on_peer_message(kvr, peer, &message);
}

static void on_piece(struct kvr *kvr, struct rail *rail, struct flight *flight, int error)
{
	const struct transfer *t = flight->transfer;

	if (t && !error && !flight->condemned) {
		rail->stats.pieces++;
		if (t->request->is_read)
			rail->stats.bytes_read += flight->len;
		else
			rail->stats.bytes_written += flight->len;
	}
	failover_on_piece(kvr, rail, flight, error);
}

static void on_event(struct kvr *kvr, struct rail *rail, const struct fabric_event *event)
{
	struct flight *flight = event_flight(event);

	if (event->error && (!flight || flight->kind != FLIGHT_PIECE))
		rail->stats.errors++;
	if (!event->error && event->kind == FABRIC_ARRIVAL) {
		on_arrival(kvr, rail, event->immediate);
		return;
	}
	if (!flight) { /* efa reports a read that it made for a peer's write like that */
		log_error("rail %s: %s", rail->name, kvr_strerror(event->error));
		return;
	}
	switch (flight->kind) {
	case FLIGHT_PIECE:
		on_piece(kvr, rail, flight, event->error);
		break;
	case FLIGHT_SEND:
		rail_release(rail, flight);
		if (flight->peer && flight->greets)
			transfer_on_greeted(kvr, flight->peer, rail, flight, event->error);
		else if (flight->peer)
			control_on_sent(kvr, flight, rail->index, event->error);
		break;
	case FLIGHT_RECEIVE:
		if (event->error)
			log_error("rail %s: a receive failed: %s", rail->name,
			          kvr_strerror(event->error));
		else
			on_message(kvr, rail, flight->buffer, event->len);
		rail_release(rail, flight);
		break;
	}
}

static int poll_rail(struct kvr *kvr, struct rail *rail)
{
	struct fabric_event events[EVENTS];
	int n = rail_poll(rail, events, EVENTS);

	for (int i = 0; i < n; i++)
		on_event(kvr, rail, &events[i]);
	return n;
}

static bool poll_rails(struct kvr *kvr, uint32_t rails)
{
	bool any = false;

	for (unsigned int r = 0; r < kvr->rail_count; r++)
		if (rails >> r & 1)
			any |= poll_rail(kvr, &kvr->rails[r]) > 0;
	return any;
}

/* What has arrived by an old epoch is seen before the new one begins: or it had to come again. */
static void renew_rails(struct kvr *kvr)
{
	if (!kvr->renew_wanted)
		return;
	for (unsigned int r = 0; r < kvr->rail_count; r++)
		for (int i = 0; kvr->rails[r].renew_wanted && i < RENEW_POLLS; i++)
			if (!poll_rail(kvr, &kvr->rails[r]))
				break;
	failover_renew(kvr);
}

/* Peers that may never move a counter again for which somebody waits. */
static void watch_feeders(struct kvr *kvr)
{
	if (!kvr->waiters || kvr->now < kvr->watch_at)
		return;
	kvr->watch_at = kvr->now + WATCH_INTERVAL;
	for (uint32_t i = 0; i < kvr->peer_count; i++)
		if (kvr->peers[i] && kvr->peers[i]->state == PEER_UP &&
		    peer_is_awaited(kvr, kvr->peers[i]))
			peer_activate(kvr, kvr->peers[i]);
}

/* Sends waiting messages, and takes off the list who has nothing more to do. Another peer is first
 * each time: one that is silent would else take each place that becomes free. */
static void serve_peers(struct kvr *kvr)
{
	const struct rail *rail;
	struct peer *peer = TAILQ_FIRST(&kvr->active), *next;
	int rc;

	if (peer && TAILQ_NEXT(peer, link)) {
		TAILQ_REMOVE(&kvr->active, peer, link);
		TAILQ_INSERT_TAIL(&kvr->active, peer, link);
	}
	for (peer = TAILQ_FIRST(&kvr->active); peer; peer = next) {
		next = TAILQ_NEXT(peer, link);
		transfer_probe(kvr, peer);
		pull_list(kvr, peer);
		rc = control_serve(kvr, peer, &rail);
		if (rc)
			peer_failed(kvr, peer, rail, rc);
		if (!control_is_idle(kvr, peer))
			continue;
		TAILQ_REMOVE(&kvr->active, peer, link);
		peer->active = false;
		if (peer->index >= (uint32_t)kvr->nranks && !peer->remotes &&
		    peer_is_over(kvr, peer))
			peer_free(kvr, peer);
	}
}

/* The next piece for the first peer that can take one on this rail; that peer goes to the end of
 * the line. */
static bool post_on(struct kvr *kvr, struct rail *rail)
{
	struct peer *peer, *next;

	for (peer = TAILQ_FIRST(&kvr->active); peer; peer = next) {
		next = TAILQ_NEXT(peer, link);
		if (transfer_post(kvr, peer, rail) != 1)
			continue;
		if (next) {
			TAILQ_REMOVE(&kvr->active, peer, link);
			TAILQ_INSERT_TAIL(&kvr->active, peer, link);
		}
		return true;
	}
	return false;
}

/* One piece for each rail in turn, as long as any of them takes one; next time from behind the last
 * that did. */
static bool post_pieces(struct kvr *kvr, uint32_t rails)
{
	unsigned int r = kvr->next_rail % kvr->rail_count;
	bool any = false, more;

	do {
		more = false;
		for (unsigned int i = 0; i < kvr->rail_count; i++) {
			struct rail *rail = &kvr->rails[r];

			r = r + 1 < kvr->rail_count ? r + 1 : 0;
			if (rails >> rail->index & 1 && rail_has_room(rail) && post_on(kvr, rail)) {
				kvr->next_rail = r;
				more = true;
			}
		}
		any |= more;
	} while (more);
	return any;
}

static void cancel_wanted(struct kvr *kvr)
{
	struct peer *peer;

	if (atomic_exchange(&kvr->cancel_wanted, false))
		TAILQ_FOREACH(peer, &kvr->active, link)
	transfer_cancel(kvr, peer);
}

/* The engine's time stands still while nobody makes progress: who was stopped for long has not
 * waited for long. */
static void advance_clock(struct kvr *kvr)
{
	int64_t clock = clock_now(), passed = clock - kvr->clock;

	kvr->now += passed < MAX_STEP ? passed : MAX_STEP;
	kvr->clock = clock;
}

bool progress_pass(struct kvr *kvr, uint32_t rails)
{
	bool any;

	advance_clock(kvr);
	any = transfer_accept(kvr);
	cancel_wanted(kvr);
	any |= poll_rails(kvr, rails);
	renew_rails(kvr);
	failover_check(kvr);
	watch_feeders(kvr);
	serve_peers(kvr);
	return post_pieces(kvr, rails) || any;
}
