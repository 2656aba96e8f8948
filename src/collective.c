/* SPDX-License-Identifier: MIT
 * The engine's part of kvr_allgather: one step's bytes, from one peer to another. */
#include "collective.h"
#include "context.h"
#include "control.h"
#include "log.h"
#include <errno.h>
#include <string.h>

#define CHUNK (WIRE_MESSAGE_MAX - WIRE_HEADER)

void collective_on_ready(struct kvr *kvr, const struct wire_message *message)
{
	if (message->b < COLLECTIVE_STEPS)
		kvr->collective.ready[message->b] = message->a;
}

void collective_on_chunk(struct kvr *kvr, const struct wire_message *message)
{
	struct collective *c = &kvr->collective;

	if (message->a != c->sequence || message->b != c->step || !c->into ||
	    message->body_len > c->wanted || message->c > c->size - message->body_len) {
		log_warning("a piece of another allgather came: do all ranks make the same calls?");
		return;
	}
	memcpy(c->into + message->c, message->body, message->body_len);
	c->wanted -= message->body_len;
}

/* For good, as nobody who is gone comes back. Those before `from` may still end well. */
static void set_broken(struct collective *c, uint32_t from, uint32_t gone)
{
	if (!c->broken)
		c->gone = gone;
	if (!c->broken || (int32_t)(from - c->broken_from) < 0)
		c->broken_from = from;
	c->broken = true;
}

void collective_on_broken(struct kvr *kvr, const struct wire_message *message)
{
	struct collective *c = &kvr->collective;

	if (!c->broken)
		log_error("kvr_allgather: rank %u is gone, as another one says: none can end well "
		          "any more",
		          message->b);
	set_broken(c, message->a, message->b);
}

int collective_ask(struct kvr *kvr)
{
	struct collective *c = &kvr->collective;
	int rc = peer_connect(kvr, c->from);

	if (!rc)
		rc = peer_connect(kvr, c->to);
	peer_activate(kvr, c->to);
	return rc ? rc
	          : control_note(kvr, c->from,
	                         &(struct wire_message){
					 .type = WIRE_READY, .a = c->sequence, .b = c->step});
}

bool collective_is_asked(const struct kvr *kvr)
{
	const struct collective *c = &kvr->collective;

	/* Who has had our bytes may be in the next allgather already. */
	return (int32_t)(c->ready[c->step] - c->sequence) >= 0;
}

/* Only what is of this allgather: who has had it and closes may owe us an answer to other messages
 * for ever. */
static bool is_given(const struct kvr *kvr)
{
	const struct collective *c = &kvr->collective;

	return collective_is_asked(kvr) &&
	       control_is_said(c->to, &(struct wire_message){.type = WIRE_CHUNK, .a = c->sequence});
}

bool collective_awaits(const struct kvr *kvr, const struct peer *peer)
{
	const struct collective *c = &kvr->collective;

	return c->into && ((peer == c->from && c->wanted) || (peer == c->to && !is_given(kvr)));
}

bool collective_is_over(const struct kvr *kvr)
{
	const struct collective *c = &kvr->collective;

	return !collective_awaits(kvr, c->from) && !collective_awaits(kvr, c->to);
}

static bool is_gone(const struct peer *peer)
{
	return peer->state == PEER_DEAD || peer->bye_received;
}

bool collective_is_hopeless(const struct kvr *kvr)
{
	const struct collective *c = &kvr->collective;

	return (c->broken && (int32_t)(c->sequence - c->broken_from) >= 0) ||
	       (is_gone(c->from) && collective_awaits(kvr, c->from)) ||
	       (is_gone(c->to) && collective_awaits(kvr, c->to));
}

int collective_give(struct kvr *kvr, const void *bytes, uint64_t len)
{
	struct collective *c = &kvr->collective;
	struct wire_message message = {.type = WIRE_CHUNK, .a = c->sequence, .b = c->step};
	int rc = 0;

	for (; !rc && message.c < len; message.c += message.body_len) {
		message.body = (const uint8_t *)bytes + message.c;
		message.body_len = len - message.c < CHUNK ? len - message.c : CHUNK;
		rc = control_note(kvr, c->to, &message);
	}
	return rc;
}

static void tell(struct kvr *kvr, uint32_t to)
{
	struct peer *peer = kvr->peers[to];

	if (!peer_connect(kvr, peer))
		control_note(kvr, peer,
		             &(struct wire_message){.type = WIRE_BROKEN,
		                                    .a = kvr->collective.sequence,
		                                    .b = kvr->collective.gone});
}

void collective_break(struct kvr *kvr)
{
	struct collective *c = &kvr->collective;
	int n = kvr->nranks;

	if (c->told)
		return;
	c->told = true;
	set_broken(c, c->sequence, (is_gone(c->from) ? c->from : c->to)->index);
	for (int distance = 1; distance < n; distance *= 2) {
		tell(kvr, (kvr->rank + distance) % n);
		tell(kvr, (kvr->rank + n - distance) % n);
	}
}

void collective_settle(struct kvr *kvr, struct peer *peer)
{
	if (!peer_connect(kvr, peer))
		control_note(kvr, peer,
		             &(struct wire_message){.type = WIRE_SETTLED,
		                                    .a = kvr->collective.reshards});
}

static bool is_unsettled(const struct kvr *kvr, const struct peer *peer)
{
	return (int32_t)(peer->settled - kvr->collective.reshards) < 0;
}

void collective_on_settled(struct kvr *kvr, struct peer *peer, const struct wire_message *message)
{
	if ((int32_t)(message->a - peer->settled) > 0)
		peer->settled = message->a;
	if (!is_unsettled(kvr, peer))
		peer->unsettled = false;
}

void collective_await_settled(struct kvr *kvr, struct peer *peer)
{
	peer->unsettled = is_unsettled(kvr, peer);
	peer_activate(kvr, peer);
}

bool collective_is_settled(const struct peer *peer)
{
	return !peer->unsettled || is_gone(peer);
}
