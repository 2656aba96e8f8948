/* SPDX-License-Identifier: MIT
 * One peer: its addresses, the messages that wait for it, its life and death. */
#include "peer.h"
#include "context.h"
#include "log.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOBODY  UINT32_MAX /* index_there before we know it */
#define NO_LANE UINT32_MAX

#define NOT_INSERTED UINT64_MAX /* fabric address */

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
	peer->index = slot;
	peer->index_there = NOBODY;
	STAILQ_INIT(&peer->outbox);
	TAILQ_INIT(&peer->posting);
	TAILQ_INIT(&peer->awaiting);
	TAILQ_INIT(&peer->draining);
	kvr->peers[slot] = peer;
	return peer;
}

static void drop_notes(struct kvr *kvr, struct peer *peer)
{
	struct note *note;

	while ((note = STAILQ_FIRST(&peer->outbox))) {
		STAILQ_REMOVE_HEAD(&peer->outbox, link);
		STAILQ_INSERT_HEAD(&kvr->spare_notes, note, link);
	}
}

void peer_free(struct kvr *kvr, struct peer *peer)
{
	drop_notes(kvr, peer);
	if (peer->active)
		TAILQ_REMOVE(&kvr->active, peer, link);
	if (peer->has_lane)
		kvr->lane_owner[peer->lane_here] = NULL;
	lane_close(&peer->lane);
	for (unsigned int r = 0; peer->fabric && r < kvr->rail_count; r++)
		if (peer->fabric[r] != NOT_INSERTED)
			kvr->fabric->remove(kvr->rails[r].nic, peer->fabric[r]);
	kvr->peers[peer->index] = NULL;
	free(peer->fabric);
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

void peer_activate(struct kvr *kvr, struct peer *peer)
{
	if (peer->active)
		return;
	peer->active = true;
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

/* Same index on both sides where both have it. */
static int insert_address(struct kvr *kvr, struct peer *peer, unsigned int r)
{
	struct wire_address address;
	const struct wire_endpoint *end;
	uint32_t version;
	char name[96];
	int rc = wire_address_decode(peer->address, peer->address_len, &address, &version);

	if (rc)
		return rc;
	end = &address.rail[r % address.rails];
	rc = end->len == kvr->rails[r].endpoint.len
	             ? kvr->fabric->insert(kvr->rails[r].nic, end->bytes, &peer->fabric[r])
	             : -EADDRNOTAVAIL;
	if (rc) {
		peer->fabric[r] = NOT_INSERTED;
		log_error("rail %s: address of %s is refused: %s", kvr->rails[r].name,
		          peer_name(peer, name), kvr_strerror(rc));
	}
	return rc;
}

int peer_address(struct kvr *kvr, struct peer *peer, unsigned int r, uint64_t *out)
{
	int rc = peer->fabric[r] == NOT_INSERTED ? insert_address(kvr, peer, r) : 0;

	*out = peer->fabric[r];
	return rc;
}

/* What a peer costs only once it is talked to. */
static int prepare(struct kvr *kvr, struct peer *peer)
{
	if (peer->fabric)
		return 0;
	free(peer->pace);
	peer->pace = calloc(kvr->rail_count, sizeof(*peer->pace));
	if (!peer->pace)
		return -ENOMEM;
	peer->fabric = malloc(kvr->rail_count * sizeof(*peer->fabric));
	if (!peer->fabric)
		return -ENOMEM;
	for (unsigned int r = 0; r < kvr->rail_count; r++)
		peer->fabric[r] = NOT_INSERTED;
	take_lane(kvr, peer);
	return 0;
}

static int greet(struct kvr *kvr, struct peer *peer, enum wire_type type)
{
	struct wire_message message = {
		.type = type,
		.a = peer->index,
		.b = peer->has_lane ? peer->lane_here : NO_LANE,
		.body = type == WIRE_HELLO ? kvr->address : NULL,
		.body_len = type == WIRE_HELLO ? kvr->address_len : 0,
	};

	return peer_note(kvr, peer, &message);
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

int peer_note(struct kvr *kvr, struct peer *peer, const struct wire_message *message)
{
	struct note *note = STAILQ_FIRST(&kvr->spare_notes);

	if (peer->state == PEER_DEAD)
		return -EHOSTUNREACH;
	if (note)
		STAILQ_REMOVE_HEAD(&kvr->spare_notes, link);
	else if (!(note = malloc(sizeof(*note))))
		return -ENOMEM;
	note->message = *message;
	STAILQ_INSERT_TAIL(&peer->outbox, note, link);
	peer_activate(kvr, peer);
	return 0;
}

int peer_flush(struct kvr *kvr, struct peer *peer, const struct rail **rail)
{
	unsigned int home = peer->index % kvr->rail_count;
	struct wire_message *message;
	struct note *note;
	uint64_t to;
	int rc;

	*rail = &kvr->rails[home];
	while ((note = STAILQ_FIRST(&peer->outbox))) {
		message = &note->message;
		/* Before it has told us its index, a peer would not know whose message it is. */
		if (peer->index_there == NOBODY && message->type != WIRE_HELLO)
			return 0;
		message->to = peer->index_there;
		message->instance = kvr->instance;
		rc = peer_address(kvr, peer, home, &to);
		if (!rc)
			rc = rail_send(&kvr->rails[home], message, to, peer);
		if (rc)
			return rc == -EAGAIN ? 0 : rc;
		peer->notes_in_flight++;
		STAILQ_REMOVE_HEAD(&peer->outbox, link);
		STAILQ_INSERT_HEAD(&kvr->spare_notes, note, link);
	}
	return 0;
}

static void learn(struct kvr *kvr, struct peer *peer, const struct wire_message *message)
{
	peer->index_there = message->a;
	peer->lane_there = message->b;
	peer->state = PEER_UP;
	peer_activate(kvr, peer);
}

void peer_on_hello(struct kvr *kvr, const struct wire_message *message)
{
	struct wire_address address;
	struct peer *peer;
	uint32_t version;
	int rc = wire_address_decode(message->body, message->body_len, &address, &version);

	if (rc || address.status || address.instance != message->instance ||
	    strcmp(address.provider, kvr->provider)) {
		log_warning("a greeting with a bad address is ignored");
		return;
	}
	peer = peer_find(kvr, message->instance);
	if (!peer)
		peer = peer_add(kvr, message->body, message->body_len, message->instance);
	if (!peer || peer->state == PEER_DEAD)
		return;
	if (prepare(kvr, peer))
		return;
	learn(kvr, peer, message);
	greet(kvr, peer, WIRE_WELCOME);
}

void peer_on_welcome(struct kvr *kvr, struct peer *peer, const struct wire_message *message)
{
	if (peer->state == PEER_GREETED)
		learn(kvr, peer, message);
}

void peer_settle(struct kvr *kvr, struct peer *peer)
{
	if (!peer->bye_received || peer->bye_sent || !TAILQ_EMPTY(&peer->posting) ||
	    !TAILQ_EMPTY(&peer->awaiting) || !TAILQ_EMPTY(&peer->draining))
		return;
	if (!peer_note(kvr, peer, &(struct wire_message){.type = WIRE_BYE}))
		peer->bye_sent = true;
}

void peer_on_bye(struct kvr *kvr, struct peer *peer)
{
	peer->bye_received = true;
	peer_settle(kvr, peer);
}

bool peer_is_over(const struct peer *peer)
{
	return peer->bye_sent && peer->bye_received && STAILQ_EMPTY(&peer->outbox) &&
	       !peer->notes_in_flight;
}

void peer_die(struct kvr *kvr, struct peer *peer, const struct rail *rail, int error)
{
	char name[96];

	if (peer->state == PEER_DEAD)
		return;
	drop_notes(kvr, peer);
	peer->state = PEER_DEAD;
	/* One that has said BYE may be gone before our answer got there. */
	if (!peer->bye_received)
		log_error("rail %s: %s does not answer: %s; its transfers end with an error",
		          rail->name, peer_name(peer, name), kvr_strerror(error));
}
