/* SPDX-License-Identifier: MIT
 * Writes that the target carries out. */
#include "pull.h"
#include "context.h"
#include "control.h"
#include "log.h"
#include "memory.h"
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LIST_BYTES (WIRE_MESSAGE_MAX - WIRE_HEADER)
#define LISTS_WAIT 64 /* messages with a body that may wait for one peer */

/* One list, at the target: its ops, and the request that reads them. */
struct pull {
	struct pull_batch *batch;
	struct kvr_remote source;
	struct kvr_request *request;
};

/* At the target. */
struct pull_batch {
	TAILQ_ENTRY(pull_batch) link;
	struct peer *peer;
	uint32_t number, counter;
	uint32_t lists; /* in all; 0: not known yet */
	uint32_t received, running;
	TAILQ_HEAD(, kvr_request) requests; /* those that run */
	int error;
};

/* A list's body: the source's region, the target's by its id, and ops of 6 numbers each. */
static size_t begin_list(const struct kvr_op *op, uint8_t *body)
{
	ssize_t len = kvr_region_export(op->local, body, LIST_BYTES);
	uint64_t id = htole64(op->remote->wire.id);

	memcpy(body + len, &id, sizeof(id));
	return len + sizeof(id);
}

static size_t put_op(const struct kvr_op *op, uint8_t *at)
{
	uint64_t numbers[] = {htole64(op->local_offset),  htole64(op->local_stride),
	                      htole64(op->remote_offset), htole64(op->remote_stride),
	                      htole64(op->len),           htole64(op->count)};

	memcpy(at, numbers, sizeof(numbers));
	return sizeof(numbers);
}

static const uint8_t *get_op(const uint8_t *at, struct kvr_op *out)
{
	uint64_t numbers[6];

	memcpy(numbers, at, sizeof(numbers));
	*out = (struct kvr_op){
		.local = out->local,
		.remote = out->remote,
		.remote_offset = le64toh(numbers[0]),
		.remote_stride = le64toh(numbers[1]),
		.local_offset = le64toh(numbers[2]),
		.local_stride = le64toh(numbers[3]),
		.len = le64toh(numbers[4]),
		.count = le64toh(numbers[5]),
	};
	return at + sizeof(numbers);
}

#define OP_BYTES (6 * sizeof(uint64_t))

static int note_list(struct kvr *kvr, struct transfer *t, const uint8_t *body, size_t len)
{
	struct wire_message message = {
		.type = WIRE_PULL,
		.a = t->first,
		.b = t->listed == t->n || t->error ? t->posted + 1 : 0,
		.c = t->error ? WIRE_PULL_STOPPED : t->request->counter,
		.body = body,
		.body_len = len,
	};
	int rc = len ? control_note_copy(kvr, t->peer, &message)
	             : control_note(kvr, t->peer, &message);

	t->posted += !rc;
	return rc;
}

/* The ops that follow, as far as they are of the same two regions and one message holds them. */
static int list_more(struct kvr *kvr, struct transfer *t)
{
	const struct kvr_op *op = t->ops + t->listed, *end = t->ops + t->n, *first = op;
	size_t before = t->listed;
	uint8_t body[LIST_BYTES];
	size_t len = begin_list(op, body);
	int rc;

	for (; op < end && op->local == first->local && op->remote == first->remote &&
	       len + OP_BYTES <= sizeof(body);
	     op++)
		len += put_op(op, body + len);
	t->listed = op - t->ops;
	rc = note_list(kvr, t, body, len);
	if (rc)
		t->listed = before;
	return rc;
}

void pull_end(struct kvr *kvr, struct transfer *t)
{
	t->sealed = true;
	t->peer->unlisted--;
	if (t->listed < t->n && t->posted)
		note_list(kvr, t, NULL, 0);
}

void pull_list(struct kvr *kvr, struct peer *peer)
{
	struct transfer *t = TAILQ_FIRST(&peer->awaiting);

	if (!peer->unlisted || peer->state == PEER_DEAD)
		return;
	for (; t && peer->unlisted; t = TAILQ_NEXT(t, link)) {
		if (t->sealed)
			continue;
		while (t->listed < t->n)
			if (peer->bodies >= LISTS_WAIT || list_more(kvr, t))
				return;
		pull_end(kvr, t);
	}
}

void pull_stop(struct kvr *kvr, struct transfer *t)
{
	control_note(kvr, t->peer, &(struct wire_message){.type = WIRE_STOP, .a = t->first});
}

static struct pull_batch *find_batch(const struct peer *peer, uint32_t number)
{
	struct pull_batch *batch = TAILQ_FIRST(&peer->pulls);

	while (batch && batch->number != number)
		batch = TAILQ_NEXT(batch, link);
	return batch;
}

static struct pull_batch *make_batch(struct peer *peer, uint32_t number)
{
	struct pull_batch *batch = calloc(1, sizeof(*batch));

	if (!batch)
		return NULL;
	batch->peer = peer;
	batch->number = number;
	TAILQ_INIT(&batch->requests);
	TAILQ_INSERT_TAIL(&peer->pulls, batch, link);
	return batch;
}

static void stop_batch(struct kvr *kvr, struct pull_batch *batch, int error)
{
	struct kvr_request *request;

	if (!batch->error)
		batch->error = error;
	TAILQ_FOREACH(request, &batch->requests, pull_link)
	request->cancelled = true;
	kvr->cancel_wanted = true;
}

/* Every list has come and ended: nothing of the batch can land any more. */
static void end_if_over(struct kvr *kvr, struct pull_batch *batch)
{
	if (!batch->lists || batch->received < batch->lists || batch->running)
		return;
	if (!batch->error && batch->counter != KVR_NO_COUNTER)
		batch->error = peer_count(kvr, batch->peer, batch->counter);
	control_note(kvr, batch->peer,
	             &(struct wire_message){
			     .type = WIRE_PULLED, .a = batch->number, .c = -batch->error});
	TAILQ_REMOVE(&batch->peer->pulls, batch, link);
	free(batch);
}

static void free_pull(struct pull *pull)
{
	free(pull->request->ops);
	free(pull->request);
	free(pull);
}

void pull_on_finished(struct kvr *kvr, struct kvr_request *request)
{
	struct pull *pull = request->pull;
	struct pull_batch *batch = pull->batch;

	TAILQ_REMOVE(&batch->requests, request, pull_link);
	batch->running--;
	if (request->result && !batch->error)
		stop_batch(kvr, batch, request->result);
	free_pull(pull);
	end_if_over(kvr, batch);
}

bool pull_is_later(const struct pull *a, const struct pull *b)
{
	return (int32_t)(a->batch->number - b->batch->number) > 0;
}

static struct kvr_region *find_region(struct kvr *kvr, uint64_t id)
{
	struct kvr_region *region = TAILQ_FIRST(&kvr->regions);

	while (region && region->wire.id != id)
		region = TAILQ_NEXT(region, link);
	return region;
}

static struct pull *make_pull(struct kvr *kvr, struct pull_batch *batch, size_t n)
{
	struct pull *pull = calloc(1, sizeof(*pull));
	struct kvr_request *request;

	if (!pull)
		return NULL;
	request = calloc(1, sizeof(*request) + sizeof(request->transfer[0]));
	pull->request = request;
	if (!request || !(request->ops = calloc(n, sizeof(*request->ops)))) {
		free(request);
		free(pull);
		return NULL;
	}
	pull->batch = batch;
	pull->source = (struct kvr_remote){.kvr = kvr, .peer = batch->peer};
	request->kvr = kvr;
	request->is_read = true;
	request->counter = KVR_NO_COUNTER;
	request->n = n;
	request->pull = pull;
	return pull;
}

/* The same checks as at the initiator, against what the regions are here. */
static int check_ops(const struct pull *pull, const struct kvr_region *region)
{
	const struct kvr_op *op = pull->request->ops;

	for (size_t i = 0; i < pull->request->n; i++, op++)
		if (!op->len || !op->count || (op->count > 1 && op->local_stride < op->len) ||
		    stripe_check(op->local_offset, op->local_stride, op->len, op->count,
		                 region->len) ||
		    stripe_check(op->remote_offset, op->remote_stride, op->len, op->count,
		                 pull->source.wire.len))
			return -ERANGE;
	return 0;
}

/* Reads the body of a list; on success there is at least one op. */
static int decode_list(struct kvr *kvr, struct pull *pull, const uint8_t *at, size_t region_len)
{
	struct kvr_request *request = pull->request;
	struct kvr_region *region;
	uint32_t version;
	uint64_t id;
	int rc = wire_region_decode(at, region_len, &pull->source.wire, &version);

	if (rc)
		return rc;
	at += region_len;
	memcpy(&id, at, sizeof(id));
	at += sizeof(id);
	region = find_region(kvr, le64toh(id));
	if (!region || pull->source.wire.instance != pull->source.peer->instance) {
		log_error("peer %u writes to a region that is closed here: nothing was moved",
		          pull->source.peer->index);
		return -EINVAL;
	}
	for (size_t i = 0; i < request->n; i++) {
		request->ops[i] = (struct kvr_op){.local = region, .remote = &pull->source};
		at = get_op(at, &request->ops[i]);
	}
	if ((rc = check_ops(pull, region)) || (rc = places_cut(request)))
		return rc;
	peer_aim(kvr, pull->source.peer, pull->source.peer->near | pull->source.wire.near);
	return transfer_fill(request, 0, request->n);
}

static int start_list(struct kvr *kvr, struct pull_batch *batch, const uint8_t *body, size_t len)
{
	size_t region_len = wire_sealed_length(body, len), fixed = region_len + sizeof(uint64_t);
	struct pull *pull;
	int rc;

	if (!region_len || fixed >= len || (len - fixed) % OP_BYTES)
		return -EBADMSG;
	pull = make_pull(kvr, batch, (len - fixed) / OP_BYTES);
	if (!pull)
		return -ENOMEM;
	if ((rc = decode_list(kvr, pull, body, region_len))) {
		free_pull(pull);
		return rc;
	}
	TAILQ_INSERT_TAIL(&batch->requests, pull->request, pull_link);
	batch->running++;
	transfer_hold(pull->request);
	transfer_start(kvr, pull->request);
	return 0;
}

void pull_on_list(struct kvr *kvr, struct peer *peer, const struct wire_message *message)
{
	struct pull_batch *batch = find_batch(peer, message->a);
	int rc = 0;

	if (!batch && !(batch = make_batch(peer, message->a))) {
		log_error("no memory for a write of peer %u", peer->index);
		control_note(
			kvr, peer,
			&(struct wire_message){.type = WIRE_PULLED, .a = message->a, .c = ENOMEM});
		return;
	}
	batch->received++;
	if (message->b)
		batch->lists = message->b;
	batch->counter = message->c;
	if (message->c == WIRE_PULL_STOPPED)
		stop_batch(kvr, batch, -ECANCELED);
	/* One that ends at once must not end the batch before we are through with it. */
	batch->running++;
	if (message->body_len && !batch->error)
		rc = start_list(kvr, batch, message->body, message->body_len);
	if (rc)
		stop_batch(kvr, batch, rc);
	batch->running--;
	end_if_over(kvr, batch);
}

void pull_on_stop(struct kvr *kvr, struct peer *peer, const struct wire_message *message)
{
	struct pull_batch *batch = find_batch(peer, message->a);

	if (batch)
		stop_batch(kvr, batch, -ECANCELED);
}

void pull_on_death(struct kvr *kvr, struct peer *peer)
{
	struct pull_batch *batch, *next;

	for (batch = TAILQ_FIRST(&peer->pulls); batch; batch = next) {
		next = TAILQ_NEXT(batch, link);
		batch->lists = batch->received;
		if (!batch->error)
			batch->error = -EHOSTUNREACH;
		end_if_over(kvr, batch);
	}
}
