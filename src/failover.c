/* SPDX-License-Identifier: MIT
 * Pieces that are given up on one rail and go over another. */
#include "failover.h"
#include "bootstrap.h"
#include "context.h"
#include "control.h"
#include "log.h"
#include "reset.h"
#include "way.h"
#include <errno.h>
#include <string.h>

#define MS             1000000ll
#define CHECK_INTERVAL (2 * MS)

static bool is_live(const struct flight *f)
{
	return f->transfer && !f->condemned && !f->ended;
}

static void ask_fence(struct kvr *kvr, struct peer *peer, uint32_t there, uint32_t epoch)
{
	struct remote_rail *rail = &peer->there[there];

	if ((int32_t)(rail->endpoint.epoch - epoch) > 0 || rail->fence_asked == epoch + 1 ||
	    peer->state == PEER_DEAD)
		return;
	if (!control_note(kvr, peer,
	                  &(struct wire_message){.type = WIRE_FENCE, .a = there, .b = epoch}))
		rail->fence_asked = epoch + 1;
}

/* Nothing of the attempt can land any more. */
static void settle(struct kvr *kvr, struct rail *rail, struct flight *f)
{
	struct transfer *t = f->transfer;

	rail_settle(rail, f);
	transfer_on_safe(kvr, t);
}

/* The piece goes elsewhere. */
static void condemn(struct kvr *kvr, struct rail *rail, struct flight *f)
{
	struct transfer *t = f->transfer;
	struct peer *peer = t->peer;

	f->condemned = true;
	rail->condemned += !f->ended;
	rail->stats.retries++;
	pace_fail(&peer->pace[rail->index], f->len, kvr->now);
	transfer_again(kvr, t, f->piece);
	ask_fence(kvr, peer, f->there, f->epoch);
}

/* Before an attempt's fence is confirmed it counts for its transfer, which therefore stays. */
static void condemn_path(struct kvr *kvr, struct peer *peer, unsigned int r)
{
	struct rail *rail = &kvr->rails[r];

	for (struct flight *f = rail->flights; f < rail->flights + rail_flights(rail); f++)
		if (is_live(f) && f->transfer->peer == peer)
			condemn(kvr, rail, f);
}

static void take_out(struct kvr *kvr, struct peer *peer, unsigned int r, const char *why)
{
	char name[96];

	if (health_fail(&peer->path[r].health, kvr->now)) {
		kvr->rails[r].paths_out++;
		log_warning("rail %s: out of use for %s: %s; its pieces go over other rails",
		            kvr->rails[r].name, peer_name(peer, name), why);
	}
	peer->pace[r].out = true;
	condemn_path(kvr, peer, r);
}

void failover_on_sign(struct kvr *kvr, struct peer *peer, unsigned int r)
{
	struct path *path = &peer->path[r];
	char name[96];

	path->errors = path->missed = 0;
	path->doubted = false;
	peer->doubt_at = 0;
	/* Two rails to one of the peer's do no more than one, and its own may come back. */
	if (path->health.out && path->there != path->home &&
	    way_is_taken(kvr, peer, r, path->there)) {
		health_answer(&peer->question, kvr->now);
		return;
	}
	if (!health_alive(&path->health, &peer->question, kvr->now))
		return;
	kvr->rails[r].paths_out--;
	peer->pace[r].out = false;
	peer_activate(kvr, peer);
	log_warning("rail %s: in use again for %s", kvr->rails[r].name, peer_name(peer, name));
}

/* What is known about the bytes of an attempt that failed is only that they need not be there:
 * some may still land. */
void failover_on_piece(struct kvr *kvr, struct rail *rail, struct flight *f, int error)
{
	struct transfer *t = f->transfer;
	unsigned int r = rail->index;

	if (t && !error) {
		if (!f->condemned) {
			pace_complete(&t->peer->pace[r], f->len, f->posted_at, kvr->now);
			failover_on_sign(kvr, t->peer, r);
		}
		transfer_on_piece(t, f->piece);
		rail_end(rail, f);
		/* A write may be done here while its bytes lie in a buffer of the peer's provider,
		 * and the piece may come by another attempt before they get to their place. */
		if (!f->condemned || t->request->is_read)
			settle(kvr, rail, f);
		return;
	}
	if (t && !f->condemned) {
		rail->stats.errors++;
		condemn(kvr, rail, f);
		take_out(kvr, t->peer, r, kvr_strerror(error));
	}
	rail_end(rail, f);
}

void failover_on_refusal(struct kvr *kvr, struct peer *peer, unsigned int r, int error)
{
	take_out(kvr, peer, r, kvr_strerror(error));
}

/* With a copy of the address: the next one may be there before this one is acknowledged, and under
 * this epoch it would make attempts look safe that are not. */
static void announce(struct kvr *kvr, struct peer *peer, unsigned int r)
{
	const struct wire_endpoint *end = &kvr->rails[r].endpoint;
	struct wire_message message = {.type = WIRE_RAIL,
	                               .a = r,
	                               .b = end->epoch,
	                               .body = end->bytes,
	                               .body_len = end->len};

	if (!peer->path || peer->state == PEER_DEAD)
		return;
	/* This rank itself may have no other rail by which to hear of it. */
	if (peer->instance == kvr->instance) {
		failover_on_rail(kvr, peer, &message);
		return;
	}
	control_unsay(kvr, peer, &message); /* older addresses of the rail */
	control_note_copy(kvr, peer, &message);
}

static void announce_to_all(struct kvr *kvr, unsigned int r)
{
	bootstrap_renew_address(kvr);
	for (uint32_t i = 0; i < kvr->peer_count; i++)
		if (kvr->peers[i])
			announce(kvr, kvr->peers[i], r);
}

void failover_introduce(struct kvr *kvr, struct peer *peer)
{
	for (unsigned int r = 0; r < kvr->rail_count; r++)
		if (kvr->rails[r].endpoint.epoch)
			announce(kvr, peer, r);
}

void failover_on_fence(struct kvr *kvr, struct peer *peer, const struct wire_message *message)
{
	struct rail *rail;

	if (message->a >= kvr->rail_count)
		return;
	rail = &kvr->rails[message->a];
	if ((int32_t)(rail->endpoint.epoch - message->b) > 0) {
		announce(kvr, peer, message->a);
		return;
	}
	rail->renew_wanted = kvr->renew_wanted = true;
}

void failover_renew(struct kvr *kvr)
{
	int rc;

	kvr->renew_wanted = false;
	for (unsigned int r = 0; r < kvr->rail_count; r++) {
		if (!kvr->rails[r].renew_wanted)
			continue;
		rc = rail_renew(&kvr->rails[r]);
		kvr->rails[r].renew_wanted = rc == -EAGAIN;
		kvr->renew_wanted |= rc == -EAGAIN;
		if (rc == -EAGAIN)
			continue;
		if (rc)
			log_error("rail %s: out of use for good: a new address for peers: %s",
			          kvr->rails[r].name, kvr_strerror(rc));
		announce_to_all(kvr, r);
	}
}

void failover_ask_fences(struct kvr *kvr, struct peer *peer, uint32_t rails)
{
	for (uint32_t i = 0; i < peer->rails; i++)
		if (rails >> i & 1)
			ask_fence(kvr, peer, i, peer->there[i].endpoint.epoch);
}

/* All attempts that went to older epochs of a peer's rail are safe. */
static void settle_older(struct kvr *kvr, struct peer *peer, uint32_t there, uint32_t epoch)
{
	struct rail *rail;
	struct flight *f;

	for (rail = kvr->rails; rail < kvr->rails + kvr->rail_count; rail++)
		for (f = rail->flights; f < rail->flights + rail_flights(rail); f++) {
			if (!f->transfer || f->transfer->peer != peer || f->there != there ||
			    (int32_t)(epoch - f->epoch) <= 0)
				continue;
			if (!f->condemned)
				condemn(kvr, rail, f);
			settle(kvr, rail, f);
		}
}

void failover_on_rail(struct kvr *kvr, struct peer *peer, const struct wire_message *message)
{
	struct wire_endpoint *end;

	if (message->a >= peer->rails || !message->body_len ||
	    message->body_len > sizeof(end->bytes))
		return;
	end = &peer->there[message->a].endpoint;
	if ((int32_t)(message->b - end->epoch) <= 0)
		return;
	end->epoch = message->b;
	end->len = message->body_len;
	memcpy(end->bytes, message->body, message->body_len);
	for (unsigned int r = 0; r < kvr->rail_count; r++)
		if (peer->path[r].there == message->a)
			peer_forget_address(&peer->path[r]);
	settle_older(kvr, peer, message->a, message->b);
	transfer_on_fenced(kvr, peer, message->a);
}

void failover_on_address(struct kvr *kvr, struct peer *peer, const struct wire_address *address)
{
	const struct wire_endpoint *end = address->rail;

	for (uint32_t i = 0; i < address->rails; i++, end++)
		failover_on_rail(kvr, peer,
		                 &(struct wire_message){.type = WIRE_RAIL,
		                                        .a = i,
		                                        .b = end->epoch,
		                                        .body = end->bytes,
		                                        .body_len = end->len});
}

/* Something is late on a path: asks, waits or blames. */
static void judge(struct kvr *kvr, struct peer *peer, unsigned int r, int64_t posted,
                  int64_t patience)
{
	switch (health_judge(&peer->path[r].health, &peer->question, posted, patience, kvr->now)) {
	case HEALTH_WAIT:
		break;
	case HEALTH_ASK:
		health_ask(&peer->question, kvr->now);
		control_ask_all(kvr, peer);
		break;
	case HEALTH_BLAME:
		take_out(kvr, peer, r, "a piece got lost, or the rail is silent");
		break;
	}
}

static void check_flight(struct kvr *kvr, unsigned int r, const struct flight *f)
{
	struct peer *peer = f->transfer->peer;
	const struct pace *pace = &peer->pace[r];
	int64_t slowest = pace_slowest(pace, kvr->now);
	int64_t queued = pace->rate > 0 ? (double)pace->in_flight / pace->rate + 1 : 0;

	if (queued < slowest)
		queued = slowest;
	judge(kvr, peer, r, f->posted_at, health_patience(queued, kvr->imitates));
}

/* No piece goes before it ends; another of the peer's rails may answer. Processes carry it, as an
 * imitated write. */
static void check_greeting(struct kvr *kvr, struct peer *peer, unsigned int r)
{
	const struct path *path = &peer->path[r];

	transfer_greet_again(kvr, peer, &kvr->rails[r]);
	if (peer_is_meeting(path) && !path->health.out)
		judge(kvr, peer, r, path->greet_at, health_patience(0, true));
}

/* Who was never talked to knows us by the addresses of the bootstrap only, as we know it: when half
 * of them are gone it is time to talk. With the last it is too late where both lose it at once. */
static void greet_strangers(struct kvr *kvr)
{
	unsigned int gone = 0;

	for (unsigned int r = 0; r < kvr->rail_count; r++)
		gone += kvr->rails[r].stats.resets > 0;
	if (kvr->closing || 2 * gone < kvr->rail_count)
		return;
	for (uint32_t i = 0; i < kvr->peer_count; i++)
		if (kvr->peers[i] && kvr->peers[i]->instance != kvr->instance)
			peer_connect(kvr, kvr->peers[i]);
}

/* There may be none: then the peers are to know that the old one is gone. */
static void on_new_endpoint(struct kvr *kvr, struct rail *rail, int error)
{
	rail->stats.resets++;
	rail->reset_at = kvr->now;
	if (error)
		log_error("rail %s: out of use for good: a new endpoint: %s", rail->name,
		          kvr_strerror(error));
	announce_to_all(kvr, rail->index);
	greet_strangers(kvr);
}

/* The endpoint with all that is stuck in it is given up. What it was to write may have landed until
 * now, and nothing lands of what it was to read; nor is anything sent to the dead. */
static void reset(struct kvr *kvr, struct rail *rail)
{
	unsigned int r = rail->index;
	struct flight *f, *end = rail->flights + rail_flights(rail);
	int rc = rail_reset(rail);

	rail->drain_at = 0;
	for (uint32_t i = 0; i < kvr->peer_count; i++)
		if (kvr->peers[i] && kvr->peers[i]->path)
			way_on_reset(kvr->peers[i], r);
	for (f = rail->flights; f < end; f++) {
		if (f->transfer && !f->ended)
			way_on_stuck(f->transfer->peer, r, f->there);
		if (is_live(f)) /* a sign of life first, or it would be stuck again */
			take_out(kvr, f->transfer->peer, r, "its endpoint was stuck");
		rail_end(rail, f);
		if (f->transfer &&
		    (f->transfer->request->is_read || f->transfer->peer->state == PEER_DEAD))
			settle(kvr, rail, f);
	}
	on_new_endpoint(kvr, rail, rc);
}

/* By itself it says that it is there: all other paths may be worse. */
static void introduce_new(struct kvr *kvr, struct peer *peer, unsigned int r)
{
	bool was_known = peer->path[r].address != PEER_NOT_INSERTED;

	way_on_replaced(peer, r);
	if (was_known && peer->state == PEER_UP)
		control_ping(kvr, peer, r);
}

static void replace(struct kvr *kvr, struct rail *rail)
{
	int rc = rail_replace(rail);

	if (rc == -EAGAIN)
		return;
	rail->held_at = 0;
	rail->renew_wanted = false;
	for (uint32_t i = 0; i < kvr->peer_count; i++)
		if (kvr->peers[i] && kvr->peers[i]->path)
			introduce_new(kvr, kvr->peers[i], rail->index);
	on_new_endpoint(kvr, rail, rc);
}

/* The endpoint before this one gets messages until the peers know of this one: or two ranks that
 * replace theirs for each other at once would lose each other. Then nothing lands of what it was to
 * read. */
static void close_old(struct kvr *kvr, struct rail *rail)
{
	struct flight *f, *end = rail->flights + rail_flights(rail);

	if (reset_is_news(kvr, rail) || !rail_close_old(rail))
		return;
	for (f = rail->flights; f < end; f++)
		if (f->transfer && f->old && f->transfer->request->is_read)
			settle(kvr, rail, f);
}

/* An endpoint that cannot be shut while anything is in flight; with the dead, their endpoints are
 * gone as well. */
static void settle_dead(struct kvr *kvr, struct rail *rail)
{
	struct flight *f, *end = rail->flights + rail_flights(rail);

	for (f = rail->flights; f < end; f++)
		if (f->transfer && f->transfer->peer->state == PEER_DEAD)
			settle(kvr, rail, f);
}

static void check_stuck(struct kvr *kvr, struct rail *rail)
{
	if (rail->shut_waits) {
		settle_dead(kvr, rail);
		if (reset_is_forsaken(kvr, rail))
			rail_forsake(rail);
		close_old(kvr, rail);
		if (rail->replaces || reset_is_held(kvr, rail))
			replace(kvr, rail);
		return;
	}
	if (reset_is_due(kvr, rail))
		reset(kvr, rail);
}

/* Full, and not only with what will soon be done: others need not wait for it. */
static bool is_clogged(const struct rail *rail)
{
	return rail->condemned && !rail_has_room(rail);
}

static void check_paths(struct kvr *kvr, struct peer *peer)
{
	for (unsigned int r = 0; r < kvr->rail_count; r++) {
		check_greeting(kvr, peer, r);
		peer->pace[r].out =
			peer->path[r].health.out || kvr->rails[r].gone ||
			(kvr->rails[r].shut_waits && peer->path[r].meeting != MEET_MET) ||
			is_clogged(&kvr->rails[r]);
		if (health_wants_try(&peer->path[r].health, kvr->now))
			control_try(kvr, peer, r);
	}
}

void failover_check(struct kvr *kvr)
{
	struct peer *peer;

	if (kvr->now < kvr->check_at)
		return;
	kvr->check_at = kvr->now + CHECK_INTERVAL;
	for (unsigned int r = 0; r < kvr->rail_count; r++) {
		struct rail *rail = &kvr->rails[r];

		for (uint32_t i = 0; rail->pieces_in_flight && i < rail_flights(rail); i++)
			if (is_live(&rail->flights[i]))
				check_flight(kvr, r, &rail->flights[i]);
		check_stuck(kvr, rail);
		rail_measure(rail, kvr->clock);
	}
	TAILQ_FOREACH(peer, &kvr->active, link)
	if (peer->path)
		check_paths(kvr, peer);
}

void failover_on_death(struct kvr *kvr, const struct peer *peer)
{
	struct flight *f;

	for (struct rail *rail = kvr->rails; rail < kvr->rails + kvr->rail_count; rail++)
		for (f = rail->flights; f < rail->flights + rail_flights(rail); f++) {
			if (!f->transfer || f->transfer->peer != peer)
				continue;
			if (!f->condemned)
				condemn(kvr, rail, f);
			if (f->ended && !f->transfer->request->is_read)
				settle(kvr, rail, f);
			else if (!rail->shut_waits)
				reset_soon(kvr, rail);
		}
}
