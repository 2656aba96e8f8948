/* SPDX-License-Identifier: MIT
 * When a rail's endpoint is given up. */
#include "reset.h"
#include "context.h"
#include "control.h"
#include <xxhash.h>

#define MS           1000000ll
#define DRAIN        (100 * MS) /* for pieces of others */
#define BLOCKED      (200 * MS)
#define SPREAD       (50 * MS)
#define SPREAD_ALONE (400 * MS)
#define STUCK        (50 * MS)   /* the provider may still be done with them by itself */
#define FORSAKEN     (500 * MS)  /* the same, where an endpoint cannot be reset */
#define HELD         (100 * MS)  /* for an answer, which would say that nothing is held back */
#define SETTLED      (1000 * MS) /* twice that at most: until the next rail is reset, all the same */

/* When a peer dies, or falls silent, all who talked to it have the same reason to reset in the same
 * moment; and two ranks that do, each by its last rail, lose each other, as neither hears of the
 * other's new address. So each rail has a moment of its own: up to `most` ns from now, as if by
 * chance. */
static int64_t own_span(const struct kvr *kvr, const struct rail *rail, int64_t most)
{
	uint64_t which[] = {kvr->instance, rail->index, rail->endpoint.epoch};

	return (int64_t)(XXH64(which, sizeof(which), 0) % (uint64_t)most);
}

/* A peer may be silent, or as stuck as we are: after a while it does not count. */
bool reset_is_news(const struct kvr *kvr, const struct rail *rail)
{
	const struct wire_message news = {.type = WIRE_RAIL, .a = rail->index};
	const struct peer *peer;

	if (!rail->reset_at || kvr->now - rail->reset_at > SETTLED + own_span(kvr, rail, SETTLED))
		return false;
	for (uint32_t i = 0; i < kvr->peer_count; i++) {
		peer = kvr->peers[i];
		if (peer && peer->state != PEER_DEAD && !control_is_said(peer, &news))
			return true;
	}
	return false;
}

static int64_t own_moment(const struct kvr *kvr, const struct rail *rail)
{
	return kvr->now + own_span(kvr, rail, kvr->rail_count == 1 ? SPREAD_ALONE : SPREAD);
}

/* It is to be reset, as soon as the others' pieces are through; or all that is in flight was given
 * up, and that has lasted. */
static bool is_due(const struct kvr *kvr, const struct rail *rail)
{
	bool live = rail->condemned < rail->pieces_in_flight;

	if (rail->drain_at && kvr->now >= rail->drain_at &&
	    (!live || kvr->now - rail->drain_at > DRAIN))
		return true;
	return !live && rail->condemned && rail->stuck_at && kvr->now - rail->stuck_at > STUCK;
}

/* Nor are more than half of the rails reset before the peers have heard of them; and whose turn was
 * longest ago goes first: one that is stuck again and again would keep the others from theirs. */
static bool may_reset(const struct kvr *kvr, const struct rail *rail)
{
	const struct rail *other, *end = kvr->rails + kvr->rail_count;
	unsigned int news = 0;

	for (other = kvr->rails; other < end; other++) {
		if (other->reset_at < rail->reset_at && is_due(kvr, other))
			return false;
		news += reset_is_news(kvr, other);
	}
	return 2 * news < kvr->rail_count;
}

void reset_soon(const struct kvr *kvr, struct rail *rail)
{
	if (!rail->drain_at)
		rail->drain_at = own_moment(kvr, rail);
}

bool reset_is_due(const struct kvr *kvr, struct rail *rail)
{
	if (rail_is_blocked(rail, BLOCKED, kvr->now))
		reset_soon(kvr, rail);
	if (rail->condemned && rail->condemned == rail->pieces_in_flight && !rail->stuck_at)
		rail->stuck_at = own_moment(kvr, rail);
	return is_due(kvr, rail) && may_reset(kvr, rail);
}

void reset_delay(const struct kvr *kvr)
{
	for (struct rail *rail = kvr->rails; rail < kvr->rails + kvr->rail_count; rail++) {
		if (rail->drain_at && rail->drain_at < kvr->now)
			rail->drain_at = own_moment(kvr, rail);
		if (rail->stuck_at && rail->stuck_at + STUCK < kvr->now)
			rail->stuck_at = own_moment(kvr, rail) - STUCK;
	}
}

/* Full of attempts that are safe, and do not end. */
static bool is_lost(const struct rail *rail)
{
	const struct flight *f, *end = rail->flights + rail_flights(rail);

	if (!rail->condemned || rail_has_room(rail))
		return false;
	for (f = rail->flights; f < end; f++)
		if (f->transfer)
			return false;
	return true;
}

bool reset_is_forsaken(const struct kvr *kvr, struct rail *rail)
{
	if (!is_lost(rail))
		rail->stuck_at = 0;
	else if (!rail->stuck_at)
		rail->stuck_at = kvr->now;
	return rail->stuck_at && kvr->now - rail->stuck_at > FORSAKEN;
}

void reset_on_held(const struct kvr *kvr, struct rail *rail)
{
	if (!rail->held_at)
		rail->held_at = kvr->now;
}

static bool holds_back(const struct kvr *kvr, const struct rail *rail)
{
	const struct peer *peer;

	for (uint32_t i = 0; i < kvr->peer_count; i++) {
		peer = kvr->peers[i];
		if (peer && peer->path && peer->state != PEER_DEAD && peer->path[rail->index].held)
			return true;
	}
	return false;
}

bool reset_is_held(const struct kvr *kvr, struct rail *rail)
{
	if (!rail->held_at || kvr->now - rail->held_at < HELD + own_span(kvr, rail, SPREAD))
		return false;
	if (!holds_back(kvr, rail))
		rail->held_at = 0;
	return rail->held_at && !rail->has_old;
}
