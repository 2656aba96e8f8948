/* SPDX-License-Identifier: MIT
 * By which of the paths to a peer a message goes. */
#include "way.h"
#include "context.h"
#include <errno.h>

#define MS            1000000ll
#define SENDS_TO_ONE  8          /* peer, of a rail's 32; ... */
#define SILENT        (100 * MS) /* ... then 1, and none of the second half */
#define REFUSED       (100 * MS)
#define STALE         (500 * MS)
#define CUT_OFF       (1000 * MS)
#define TURN_INTERVAL (250 * MS)
#define ERRORS_BAD    3 /* in a row, of a rail that nothing gets through */

static uint32_t sends_allowed(const struct kvr *kvr, const struct peer *peer)
{
	return kvr->now - peer->heard_at > SILENT ? 1 : SENDS_TO_ONE;
}

/* What goes to a silent peer may never end. A host that dies takes many ranks along, which are not
 * to have all places of a rail between them. */
static bool is_shut_out(const struct kvr *kvr, const struct peer *peer, unsigned int r)
{
	return sends_allowed(kvr, peer) == 1 && rail_is_crowded(&kvr->rails[r]);
}

/* A message that takes long counts no more: it may have ended, and only its completion got lost. */
static bool is_full(const struct kvr *kvr, const struct peer *peer, unsigned int r)
{
	const struct path *path = &peer->path[r];
	uint32_t most = sends_allowed(kvr, peer);

	return is_shut_out(kvr, peer, r) ||
	       (path->fresh_sends >= most &&
	        rail_sends(&kvr->rails[r], peer, path->turns, kvr->now - STALE) >= most);
}

int way_send_on(struct kvr *kvr, struct peer *peer, unsigned int r, struct wire_message *message)
{
	struct path *path = &peer->path[r];
	struct rail *rail = &kvr->rails[r];
	struct flight *flight;
	uint64_t to;
	int rc;

	if (is_full(kvr, peer, r))
		return -EAGAIN;
	rc = peer_address(kvr, peer, r, &to);
	if (rc) {
		path->errors += ERRORS_BAD;
		path->doubted = true;
		return rc;
	}
	message->to = peer->index_there;
	message->instance = kvr->instance;
	message->got = peer->channel.theirs;
	rc = rail_send(rail, message, to, peer, kvr->now, &flight);
	if (rc == -EAGAIN)
		return rc;
	path->doubted = true;
	if (!peer->doubt_at)
		peer->doubt_at = kvr->now;
	if (!rc) {
		flight->there = path->there;
		flight->turn = path->turns;
		path->sends++;
		path->fresh_sends++;
		peer->sends_in_flight++;
	} else {
		path->errors++;
	}
	return rc;
}

static bool is_bad(const struct kvr *kvr, const struct peer *peer, unsigned int r)
{
	const struct path *path = &peer->path[r];

	return path->health.out || path->held >> path->there & 1 ||
	       path->errors + path->missed >= ERRORS_BAD ||
	       path->fresh_sends >= sends_allowed(kvr, peer) || is_shut_out(kvr, peer, r);
}

/* Near ones first: with efa, it costs each far one 40 MB to know the peer. */
static unsigned int rank_of_rail(const struct kvr *kvr, const struct peer *peer, unsigned int r)
{
	return is_bad(kvr, peer, r) ? 2 : kvr->nearness.near >> r & 1 ? 0 : 1;
}

int way_send(struct kvr *kvr, struct peer *peer, unsigned int first, struct wire_message *message)
{
	unsigned int n = kvr->rail_count, r;
	int rc = 0, error;

	for (unsigned int i = 0; i < 3 * n; i++) {
		if (i == n && rc == -EAGAIN && !peer->refused_at)
			peer->refused_at = kvr->now;
		if (i == n && rc == -EAGAIN && kvr->now - peer->refused_at <= REFUSED)
			return rc;
		r = (first + i) % n;
		if (rank_of_rail(kvr, peer, r) != i / n)
			continue;
		error = way_send_on(kvr, peer, r, message);
		if (!error) {
			peer->refused_at = 0;
			return r;
		}
		if (rc != -EAGAIN)
			rc = error;
	}
	return rc;
}

void way_turn(const struct kvr *kvr, struct peer *peer)
{
	struct path *path;

	for (path = peer->path; path < peer->path + kvr->rail_count; path++)
		if (path->doubted)
			peer_turn(path, (path->there + 1) % peer->rails);
}

void way_find(struct kvr *kvr, struct peer *peer, bool owing)
{
	if (!owing || !peer->doubt_at || kvr->now - peer->doubt_at <= CUT_OFF ||
	    kvr->now < peer->turn_at)
		return;
	peer->turn_at = kvr->now + TURN_INTERVAL;
	way_turn(kvr, peer);
}

bool way_is_taken(const struct kvr *kvr, const struct peer *peer, unsigned int r, uint32_t there)
{
	for (unsigned int i = 0; i < kvr->rail_count; i++)
		if (i != r && peer->path[i].there == there && !peer->pace[i].out)
			return true;
	return false;
}

bool way_may_ask(const struct kvr *kvr, const struct peer *peer, unsigned int r)
{
	return kvr->nearness.near >> r & 1 || peer->path[r].address != PEER_NOT_INSERTED ||
	       kvr->now - peer->heard_at > CUT_OFF;
}

bool way_is_lost(const struct kvr *kvr, const struct peer *peer)
{
	for (unsigned int r = 0; r < kvr->rail_count; r++)
		if (peer->path[r].errors < ERRORS_BAD)
			return false;
	return true;
}

void way_on_reset(struct peer *peer, unsigned int r)
{
	struct path *path = &peer->path[r];

	peer->sends_in_flight -= path->sends;
	path->missed += path->fresh_sends;
	path->sends = 0;
	path->held = 0;
	peer_forget_address(path);
	if (path->fresh_sends)
		way_on_stuck(peer, r, path->there);
	path->fresh_sends = 0;
}

void way_on_replaced(struct peer *peer, unsigned int r)
{
	peer->path[r].held = 0;
	peer_forget_address(&peer->path[r]);
}

void way_on_stuck(struct peer *peer, unsigned int r, uint32_t there)
{
	struct path *path = &peer->path[r];

	if (path->there == there)
		peer_turn(path, (there + 1) % peer->rails);
}
