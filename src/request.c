/* SPDX-License-Identifier: MIT
 * kvr_write, kvr_read and what waits for them: the caller's side of a batch. All checks are made
 * here, before anything is posted; the rest of a batch's life is in transfer.c. */
#include "context.h"
#include "log.h"
#include "memory.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int bad_op(const char *call, size_t i, const struct kvr_op *op, int rc, const char *what)
{
	log_error("%s: op %zu: %s (%llu runs of %llu bytes; local offset %llu stride %llu, remote "
	          "offset %llu stride %llu): nothing was moved",
	          call, i, what, (unsigned long long)op->count, (unsigned long long)op->len,
	          (unsigned long long)op->local_offset, (unsigned long long)op->local_stride,
	          (unsigned long long)op->remote_offset, (unsigned long long)op->remote_stride);
	return rc;
}

static int check_op(const struct kvr *kvr, const struct kvr_request *request, size_t i)
{
	const struct kvr_op *op = &request->ops[i];
	const char *call = request->is_read ? "kvr_read" : "kvr_write";
	uint64_t into = request->is_read ? op->local_stride : op->remote_stride;

	if (!op->local || !op->remote || op->local->kvr != kvr || op->remote->kvr != kvr)
		return bad_op(call, i, op, -EINVAL, "no region or remote of this context");
	if (!op->len || !op->count)
		return bad_op(call, i, op, -EINVAL, "moves nothing");
	if (op->count > 1 && into < op->len)
		return bad_op(call, i, op, -EINVAL, "its runs overlap at the destination");
	if (stripe_check(op->local_offset, op->local_stride, op->len, op->count, op->local->len))
		return bad_op(call, i, op, -ERANGE, "leaves its local region");
	if (stripe_check(op->remote_offset, op->remote_stride, op->len, op->count,
	                 op->remote->wire.len))
		return bad_op(call, i, op, -ERANGE, "leaves its remote region");
	if (!request->is_read && request->counter != KVR_NO_COUNTER &&
	    request->counter >= op->remote->wire.counters)
		return bad_op(call, i, op, -EINVAL, "its peer does not have the counter");
	if (op->remote->peer->state == PEER_DEAD)
		return bad_op(call, i, op, -EHOSTUNREACH, "its peer is dead");
	return 0;
}

/* Sorts the ops by peer, keeping the order of each peer's: a counting sort over peers' indices. */
static int group_ops(struct kvr_request *request, const struct kvr_op *ops, uint32_t max_index)
{
	uint32_t *count = calloc(max_index + 2, sizeof(*count));

	if (!count)
		return -ENOMEM;
	for (size_t i = 0; i < request->n; i++)
		count[ops[i].remote->peer->index + 1]++;
	for (uint32_t p = 0; p <= max_index; p++)
		count[p + 1] += count[p];
	for (size_t i = 0; i < request->n; i++)
		request->ops[count[ops[i].remote->peer->index]++] = ops[i];
	free(count);
	return 0;
}

static uint32_t count_peers(const struct kvr_op *ops, size_t n, uint32_t *max_index)
{
	const struct peer *last = NULL, *peer;
	uint32_t switches = 0;

	*max_index = 0;
	for (size_t i = 0; i < n; i++) {
		peer = ops[i].remote->peer;
		switches += peer != last;
		last = peer;
		if (peer->index > *max_index)
			*max_index = peer->index;
	}
	/* Never fewer than there are peers: room for that many transfers will do. */
	return switches <= *max_index ? switches : *max_index + 1;
}

static int prepare(struct kvr_request *request)
{
	size_t from = 0;
	int rc;

	for (size_t i = 1; i <= request->n; i++) {
		if (i < request->n &&
		    request->ops[i].remote->peer == request->ops[from].remote->peer)
			continue;
		if ((rc = transfer_fill(request, from, i)))
			return rc;
		from = i;
	}
	return 0;
}

static int make_request(struct kvr *kvr, const struct kvr_request *like, struct kvr_request **out)
{
	struct kvr_request *request;
	const struct kvr_op *ops = like->ops;
	uint32_t max_index, peers;
	int rc;

	for (size_t i = 0; i < like->n; i++)
		if ((rc = check_op(kvr, like, i)))
			return rc;
	peers = count_peers(ops, like->n, &max_index);
	request = malloc(sizeof(*request) + peers * sizeof(request->transfer[0]));
	if (!request)
		return -ENOMEM;
	*request = *like;
	request->ops = malloc(like->n * sizeof(*ops));
	rc = -ENOMEM;
	if (!request->ops)
		goto err_free;
	if (peers == 1)
		memcpy(request->ops, ops, like->n * sizeof(*ops));
	else if ((rc = group_ops(request, ops, max_index)))
		goto err_free;
	if ((rc = places_cut(request)) || (rc = prepare(request)))
		goto err_free;
	*out = request;
	return 0;
err_free:
	free(request->ops);
	free(request);
	return rc;
}

static int start_batch(struct kvr *kvr, const struct kvr_request *like, struct kvr_request **out)
{
	struct kvr_request *request;
	int rc;

	if (!like->ops || !like->n || like->n > SIZE_MAX / sizeof(struct kvr_op)) {
		log_error("a batch of no ops");
		return -EINVAL;
	}
	if ((rc = make_request(kvr, like, &request)))
		return rc;
	transfer_hold(request);
	kvr->children++;
	*out = request;
	transfer_submit(kvr, request);
	kvr_progress(kvr);
	engine_kick(kvr);
	return 0;
}

int kvr_write(struct kvr *kvr, const struct kvr_op *ops, size_t n, uint32_t counter,
              struct kvr_request **out)
{
	struct kvr_request like = {
		.kvr = kvr, .ops = (struct kvr_op *)ops, .n = n, .counter = counter};

	return start_batch(kvr, &like, out);
}

int kvr_read(struct kvr *kvr, const struct kvr_op *ops, size_t n, struct kvr_request **out)
{
	struct kvr_request like = {
		.kvr = kvr, .ops = (struct kvr_op *)ops, .n = n, .is_read = true};

	return start_batch(kvr, &like, out);
}

static bool is_finished(void *arg)
{
	struct kvr_request *request = arg;

	return atomic_load_explicit(&request->finished, memory_order_acquire);
}

int kvr_request_wait(struct kvr_request *request, int timeout_ms)
{
	struct wait wait = {.ready = is_finished, .arg = request, .timeout_ms = timeout_ms};
	int rc = is_finished(request) ? 0 : engine_wait(request->kvr, &wait);

	return rc ? rc : request->result;
}

int kvr_request_cancel(struct kvr_request *request)
{
	request->cancelled = true;
	request->kvr->cancel_wanted = true;
	engine_kick(request->kvr);
	return 0;
}

int kvr_request_close(struct kvr_request *request)
{
	if (!request)
		return 0;
	if (!is_finished(request))
		return -EBUSY;
	request->kvr->children--;
	free(request->ops);
	free(request);
	return 0;
}

struct counter_wait {
	struct counter *counter;
	uint32_t told;
	uint64_t at_least, value;
};

static bool has_counted(void *arg)
{
	struct counter_wait *c = arg;

	c->value = atomic_load_explicit(&c->counter->value, memory_order_acquire);
	return c->value >= c->at_least || c->counter->deaths != c->told;
}

/* Each death is told of once, as the others may go on; but to all who wait just then. */
static int tell_of_death(struct counter *counter)
{
	uint32_t deaths = counter->deaths;

	if (counter->feeders)
		counter->told = deaths;
	return -EHOSTUNREACH;
}

int kvr_counter_wait(struct kvr *kvr, uint32_t counter, uint64_t at_least, int timeout_ms,
                     uint64_t *value)
{
	struct counter_wait c = {.at_least = at_least};
	struct wait wait = {.ready = has_counted, .arg = &c, .timeout_ms = timeout_ms};
	int rc;

	if (counter >= kvr->config.counters) {
		log_error("counter %u does not exist: there are %u, see kvr_options.counters",
		          counter, kvr->config.counters);
		return -EINVAL;
	}
	c.counter = &kvr->counters[counter];
	c.told = c.counter->told;
	c.counter->waiters++;
	kvr->waiters++;
	rc = has_counted(&c) ? 0 : engine_wait(kvr, &wait);
	c.counter->waiters--;
	kvr->waiters--;
	if (!rc && c.value < at_least)
		rc = tell_of_death(c.counter);
	if (value)
		*value = c.value;
	return rc;
}
