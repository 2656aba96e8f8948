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
	    message->body_len > c->wanted) {
		log_warning("a piece of another allgather came: do all ranks make the same calls?");
		return;
	}
	memcpy(c->into + message->c, message->body, message->body_len);
	c->wanted -= message->body_len;
}

int collective_ask(struct kvr *kvr)
{
	struct collective *c = &kvr->collective;
	int rc = peer_connect(kvr, c->from);

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
