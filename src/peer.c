/* SPDX-License-Identifier: MIT
 * One peer: its addresses, the messages that wait for it, its life and death. */
#include "peer.h"
#include "context.h"
#include "control.h"
#include "failover.h"
#include "log.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NO_LANE UINT32_MAX
#define LINGER  200000000ll /* ns */
#define MOMENT  100000000ll /* ns */

const char *peer_name(const struct peer *peer, char buf[static 96])
{
	struct wire_address address;
	uint32_t version;

	if (wire_address_decode(peer->address, peer->address_len, &address, &version))
		address.host[0] = 0;
	snprintf(buf, 96, "peer %u (%s)", peer->index, address.host);
	return buf;
}

static int find_slot(struct kvr *kvr)
{
	struct peer **peers;
	uint32_t room;

	for (uint32_t i = kvr->nranks; i < kvr->peer_count; i++)
		if (!kvr->peers[i])
			return i;
	if (kvr->peer_count == kvr->peer_room) {
		room = kvr->peer_room ? 2 * kvr->peer_room : 16;
		peers = realloc(kvr->peers, room * sizeof(struct peer *));
		if (!peers)
			return -ENOMEM;
		kvr->peers = peers;
		kvr->peer_room = room;
	}
	return kvr->peer_count++;
}

struct peer *peer_add(struct kvr *kvr, const void *address, size_t len, uint64_t instance)
{
	struct peer *peer = calloc(1, sizeof(*peer));
	int slot;

	if (!peer)
		return NULL;
	peer->address = malloc(len);
	if (!peer->address || (slot = find_slot(kvr)) < 0) {
		free(peer->address);
		free(peer);
		return NULL;
	}
	memcpy(peer->address, address, len);
	peer->address_len = len;
	peer->instance = instance;
	peer->kvr = kvr;
	peer->index = slot;
	peer->index_there = PEER_NOBODY;
	TAILQ_INIT(&peer->outbox);
	TAILQ_INIT(&peer->unacknowledged);
	TAILQ_INIT(&peer->repair);
	TAILQ_INIT(&peer->posting);
	TAILQ_INIT(&peer->awaiting);
	TAILQ_INIT(&peer->draining);
	TAILQ_INIT(&peer->pulls);
	kvr->peers[slot] = peer;
	return peer;
}

/* It will move no counter any more; whoever waits for one may wait for ever: see has_counted(). */
static void stop_feeding(struct kvr *kvr, struct peer *peer, bool is_death)
{
	for (uint32_t c = 0; peer->fed && c < kvr->config.counters; c++) {
		if (!(peer->fed[c / 64] >> c % 64 & 1))
			continue;
		kvr->counters[c].feeders--;
		kvr->counters[c].deaths += is_death;
	}
	free(peer->fed);
	peer->fed = NULL;
}

void peer_free(struct kvr *kvr, struct peer *peer)
{
	control_drop(kvr, peer);
	if (peer->active)
		TAILQ_REMOVE(&kvr->active, peer, link);
	if (peer->has_lane)
		kvr->lane_owner[peer->lane_here] = NULL;
	lane_close(&peer->lane);
	for (unsigned int r = 0; peer->path && r < kvr->rail_count; r++) {
		kvr->rails[r].paths_out -= peer->path[r].health.out;
		if (peer->path[r].address != PEER_NOT_INSERTED)
			kvr->fabric->remove(kvr->rails[r].nic, peer->path[r].address);
	}
	for (unsigned int r = 0; r < kvr->rail_count; r++)
		rail_forget(&kvr->rails[r], peer);
	stop_feeding(kvr, peer, false);
	kvr->peers[peer->index] = NULL;
	free(peer->path);
	free(peer->there);
	free(peer->pace);
	free(peer->address);
	free(peer);
}

struct peer *peer_find(struct kvr *kvr, uint64_t instance)
{
	for (uint32_t i = 0; i < kvr->peer_count; i++)
		if (kvr->peers[i] && kvr->peers[i]->instance == instance)
			return kvr->peers[i];
	return NULL;
}

void peer_rest(struct kvr *kvr, struct peer *peer)
{
	if (kvr->now - peer->wanted_at > MOMENT)
		peer->heard_at = kvr->now;
}

void peer_activate(struct kvr *kvr, struct peer *peer)
{
	if (peer->active)
		return;
	peer->active = true;
	peer_rest(kvr, peer);
	TAILQ_INSERT_TAIL(&kvr->active, peer, link);
}

static void take_lane(struct kvr *kvr, struct peer *peer)
{
	/* Where all are taken the peer learns so, and cannot write to us. */
	for (uint32_t i = 0; i < LANES; i++) {
		uint32_t lane = (peer->index + i) % LANES;

		if (kvr->lane_owner[lane])
			continue;
		kvr->lane_owner[lane] = peer;
		peer->lane_here = lane;
		peer->has_lane = true;
		return;
	}
	log_warning("all %u lanes are taken: one more peer cannot write to this rank", LANES);
}

int peer_insert(struct kvr *kvr, struct peer *peer, unsigned int r)
{
	struct path *path = &peer->path[r];
	const struct wire_endpoint *end = &peer->there[path->there].endpoint;
	char name[96];
	int rc = end->len == kvr->rails[r].endpoint.len
	                 ? kvr->fabric->insert(kvr->rails[r].nic, end->bytes, &path->address)
	                 : -EADDRNOTAVAIL;

	path->epoch = end->epoch;
	if (rc) {
		path->address = PEER_NOT_INSERTED;
		log_error("rail %s: address of %s is refused: %s", kvr->rails[r].name,
		          peer_name(peer, name), kvr_strerror(rc));
	}
	return rc;
}

static int prepare_rails(const struct kvr *kvr, struct peer *peer)
{
	struct wire_address address;
	uint32_t version;
	/* Our own may have changed since the bootstrap, and nobody announces it to us. */
	bool is_self = peer->instance == kvr->instance;
	int rc = wire_address_decode(is_self ? kvr->address : peer->address,
	                             is_self ? kvr->address_len : peer->address_len, &address,
	                             &version);

	if (rc)
		return rc;
	peer->there = calloc(address.rails, sizeof(*peer->there));
	if (!peer->there)
		return -ENOMEM;
	peer->rails = address.rails;
	for (uint32_t i = 0; i < address.rails; i++)
		peer->there[i].endpoint = address.rail[i];
	return 0;
}

static uint32_t home_of(const struct peer *peer, unsigned int r)
{
	uint32_t all = rails_first(peer->rails),
		 near = (peer->near ? peer->near : peer->home) & all;

	return affinity_target(near ? near : all, r);
}

void peer_turn(struct path *path, uint32_t there)
{
	if (path->there == there)
		return;
	path->there = there;
	peer_forget_address(path);
	path->turns++;
	path->doubted = false;
	path->fresh_sends = 0;
}

void peer_aim(struct kvr *kvr, struct peer *peer, uint32_t near)
{
	uint32_t before;

	if (peer->near == near)
		return;
	peer->near = near;
	for (unsigned int r = 0; peer->path && r < kvr->rail_count; r++) {
		before = peer->path[r].home;
		peer->path[r].home = home_of(peer, r);
		/* One that failover has turned elsewhere stays there. */
		if (peer->path[r].there == before)
			peer_turn(&peer->path[r], peer->path[r].home);
	}
}

/* What a peer costs only once it is talked to. */
static int prepare(struct kvr *kvr, struct peer *peer)
{
	unsigned int n = kvr->rail_count;
	int rc;

	if (peer->path)
		return 0;
	if (!peer->there && (rc = prepare_rails(kvr, peer)))
		return rc;
	if (!peer->pace && !(peer->pace = calloc(n, sizeof(*peer->pace))))
		return -ENOMEM;
	if (!(peer->path = calloc(n, sizeof(*peer->path))))
		return -ENOMEM;
	for (unsigned int r = 0; r < n; r++) {
		peer->path[r].address = PEER_NOT_INSERTED;
		peer->path[r].home = peer->path[r].there = home_of(peer, r);
	}
	take_lane(kvr, peer);
	return 0;
}

static int greet(struct kvr *kvr, struct peer *peer, enum wire_type type)
{
	struct wire_message message = {
		.type = type,
		.a = peer->index,
		.b = peer->has_lane ? peer->lane_here : NO_LANE,
		.c = kvr->threads != NULL,
		.body = type == WIRE_HELLO ? kvr->address : NULL,
		.body_len = type == WIRE_HELLO ? kvr->address_len : 0,
	};

	return control_note(kvr, peer, &message);
}

int peer_connect(struct kvr *kvr, struct peer *peer)
{
	int rc;

	if (peer->state == PEER_DEAD || peer->bye_sent || peer->bye_received)
		return -EHOSTUNREACH;
	if (peer->state != PEER_IDLE)
		return 0;
	if ((rc = prepare(kvr, peer)) || (rc = greet(kvr, peer, WIRE_HELLO)))
		return rc;
	peer->state = PEER_GREETED;
	return 0;
}

static void learn(struct kvr *kvr, struct peer *peer, const struct wire_message *message)
{
	peer->index_there = message->a;
	peer->lane_there = message->b;
	peer->has_threads = message->c;
	peer->state = PEER_UP;
	peer_activate(kvr, peer);
}

struct peer *peer_meet(struct kvr *kvr, const struct wire_message *message)
{
	struct wire_address address;
	struct peer *peer;
	uint32_t version;
	int rc = wire_address_decode(message->body, message->body_len, &address, &version);

	if (rc || address.status || address.instance != message->instance ||
	    strcmp(address.provider, kvr->provider)) {
		log_warning("a greeting with a bad address is ignored");
		return NULL;
	}
	peer = peer_find(kvr, message->instance);
	if (!peer)
		peer = peer_add(kvr, message->body, message->body_len, message->instance);
	if (!peer || peer->state == PEER_DEAD || prepare(kvr, peer))
		return NULL;
	/* Also when it is the same HELLO again: its rails may be others by now. */
	failover_on_address(kvr, peer, &address);
	return peer;
}

void peer_on_hello(struct kvr *kvr, struct peer *peer, const struct wire_message *message)
{
	learn(kvr, peer, message);
	greet(kvr, peer, WIRE_WELCOME);
	failover_introduce(kvr, peer);
	if (kvr->closing)
		peer_say_bye(kvr, peer);
}

void peer_on_welcome(struct kvr *kvr, struct peer *peer, const struct wire_message *message)
{
	if (peer->state == PEER_GREETED)
		learn(kvr, peer, message);
}

void peer_say_bye(struct kvr *kvr, struct peer *peer)
{
	if (peer->state == PEER_IDLE || peer->state == PEER_DEAD || peer->bye_sent)
		return;
	if (!control_note(kvr, peer, &(struct wire_message){.type = WIRE_BYE}))
		peer->bye_sent = true;
}

void peer_settle(struct kvr *kvr, struct peer *peer)
{
	if (peer->bye_received && !peer_has_transfers(peer))
		peer_say_bye(kvr, peer);
}

void peer_on_bye(struct kvr *kvr, struct peer *peer)
{
	peer->bye_received = true;
	peer_settle(kvr, peer);
}

bool peer_is_over(const struct kvr *kvr, const struct peer *peer)
{
	if (!peer->bye_sent || !peer->bye_received)
		return false;
	return (!peer->sends_in_flight && !peer->owes_at && control_is_quiet(peer)) ||
	       kvr->now - peer->heard_at > LINGER;
}

void peer_die(struct kvr *kvr, struct peer *peer, const struct rail *rail, int error)
{
	char name[96];

	if (peer->state == PEER_DEAD)
		return;
	control_drop(kvr, peer);
	peer->state = PEER_DEAD;
	for (unsigned int r = 0; peer->path && r < kvr->rail_count; r++) {
		kvr->rails[r].paths_out -= peer->path[r].health.out;
		peer->path[r].health.out = false;
	}
	/* One that has said BYE may be gone before our answer got there. */
	stop_feeding(kvr, peer, !peer->bye_received);
	if (peer->bye_received)
		return;
	log_error("rail %s: %s does not answer: %s; its transfers end with an error", rail->name,
	          peer_name(peer, name), kvr_strerror(error));
}

static void remember_feeder(struct kvr *kvr, struct peer *peer, uint32_t counter)
{
	uint64_t bit = 1ull << counter % 64;

	if (!peer->fed)
		peer->fed = calloc((kvr->config.counters + 63) / 64, sizeof(*peer->fed));
	if (!peer->fed || peer->fed[counter / 64] & bit)
		return;
	peer->fed[counter / 64] |= bit;
	kvr->counters[counter].feeders++;
}

int peer_count(struct kvr *kvr, struct peer *peer, uint32_t counter)
{
	if (counter >= kvr->config.counters)
		return -EINVAL;
	remember_feeder(kvr, peer, counter);
	atomic_fetch_add_explicit(&kvr->counters[counter].value, 1, memory_order_release);
	return 0;
}

bool peer_is_awaited(const struct kvr *kvr, const struct peer *peer)
{
	if (!kvr->waiters || !peer->fed || peer->bye_received)
		return false;
	for (uint32_t i = 0; i < (kvr->config.counters + 63) / 64; i++)
		for (uint64_t bits = peer->fed[i]; bits; bits &= bits - 1)
			if (kvr->counters[64 * i + __builtin_ctzll(bits)].waiters)
				return true;
	return false;
}
