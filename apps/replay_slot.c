/* SPDX-License-Identifier: MIT
 * kvrail replay: what prefill and decode ranks do alike with a slot.
 *
 * Why nobody waits for ever. Every rank begins its own requests in the order of the trace: a later
 * one gets neither slot nor blocks before the earlier ones have theirs. Of all requests that have
 * not ended, look at the first, F. On all its ranks all earlier ones have ended and given
 * everything back, and no later one has begun before F. So its slot is free, and so are enough
 * blocks: the cache holds the largest request, and nobody else has any but the prefix cache, which
 * evicts what is not in use. So F begins on all its ranks once its time has come, whatever the
 * others do. Its decode ranks send their block tables without waiting for anybody, its prefill
 * ranks then write the KV, or cancel it and say so, the decode ranks compare it: F ends. Then the
 * next is the first.
 *
 * Why no use of a slot disturbs the next. A decode rank writes its table into a prefill rank's mail
 * only where that rank has KV for it, and only after the KV of the slot's former use has come, or
 * news of its end, thus after prefill has read the former table; and its own copy of a table
 * changes only when the write of it has ended. Each write moves a counter of its peers by one, so
 * a use is over when the counter has reached the sum over all uses until then; both sides know how
 * many writes a request takes. Of a cancelled one some may count and some not: but those that
 * count have done so when the prefill rank says that it has ended, so decode takes what is there.
 */
#include "replay.h"
#include <errno.h>

static size_t next_of_mine(const struct replay *r, size_t from)
{
	size_t i = from;

	while (i < r->input->trace.count && !replay_is_mine(r, i))
		i++;
	return i;
}

/* The pair's requests take its slots in turn. */
static struct replay_slot *slot_of(const struct replay *r, size_t request)
{
	const struct replay_options *o = &r->input->options;
	uint32_t instance =
		r->is_prefill ? replay_decode_of(o, request) : replay_prefill_of(o, request);
	size_t nth = request / group_instances(&o->prefill) / group_instances(&o->decode);

	return &r->slots[instance * r->input->slots + nth % r->input->slots];
}

/* Whether the next request has arrived. Where only so many may be under way prefill sees to it. */
static bool may_begin(const struct replay *r)
{
	const struct replay_options *o = &r->input->options;

	if (r->next == r->input->trace.count)
		return false;
	if (r->is_prefill && o->closed && r->begun - r->ended >= o->closed)
		return false;
	return o->speedup <= 0 ||
	       seconds_now() - r->epoch >= latency_arrival(&r->input->trace, r->next, o->speedup);
}

struct replay_slot *replay_begin(struct replay *r)
{
	struct replay_slot *slot;

	if (!may_begin(r))
		return NULL;
	slot = slot_of(r, r->next);
	if (slot->state != SLOT_FREE)
		return NULL;
	slot->request = r->next;
	slot->tokens = r->input->trace.requests[r->next].input_length;
	slot->blocks = group_blocks_for(r->group, slot->tokens);
	if (!replay_take_blocks(r, slot))
		return NULL;
	slot->step = 0;
	slot->bytes = 0;
	slot->started = 0;
	slot->offered = slot->cancelled = false;
	r->begun++;
	r->next = next_of_mine(r, r->next + 1);
	return slot;
}

void replay_end(struct replay *r, struct replay_slot *slot)
{
	replay_give_blocks(r, slot);
	slot->state = SLOT_FREE;
	r->cancelled += slot->cancelled;
	r->ended++;
}

struct kvr_pages replay_pages(const struct replay *r, const struct replay_slot *slot, uint32_t step)
{
	struct kvr_pages pages = {
		.size = sizeof(pages), .tokens = slot->tokens, .turn = (uint32_t)slot->request};

	if (step != REPLAY_ALL && r->input->options.layerwise) {
		pages.first_layer = step;
		pages.layers = 1;
	}
	return pages;
}

bool replay_concerns(const struct replay *r, const struct replay_slot *slot, uint32_t peer,
                     uint32_t step)
{
	struct kvr_pages pages = replay_pages(r, slot, step);
	ssize_t bytes = kvr_plan_bytes(slot->peers[peer].plan, &pages);

	replay_must(r, bytes, "planning");
	return bytes > 0;
}

struct worker_job *replay_job(struct replay *r, struct replay_slot *slot, uint32_t first_token)
{
	uint64_t shared = slot->tokens / TRACE_BLOCK_TOKENS * TRACE_BLOCK_TOKENS;
	struct worker_job *job = &slot->job;

	job->kv = (struct cache_kv){
		.request = slot->request,
		.ids = r->input->trace.requests[slot->request].hash_ids,
		.shared = r->input->options.prefix ? (uint32_t)shared : 0,
		.chunk_tokens = TRACE_BLOCK_TOKENS,
		.table = slot->table + first_token / r->group->block_tokens,
		.first_token = first_token,
		.tokens = slot->tokens - first_token,
		.layers = r->cache.layout.layers,
	};
	job->step = 1;
	return job;
}

void replay_write(struct replay *r, struct replay_slot *slot, const struct kvr_op *ops, size_t n,
                  uint32_t counter)
{
	int rc = kvr_write(r->app->kvr, ops, n, counter, &slot->writes[slot->write_count]);

	if (rc)
		app_abort(r->app, "request %zu: write to rank %d: %s", slot->request + 1,
		          slot->peers[0].rank, kvr_strerror(rc));
	slot->write_count++;
}

bool replay_writes_ended(struct replay *r, struct replay_slot *slot)
{
	while (slot->write_count) {
		struct kvr_request *last = slot->writes[slot->write_count - 1];
		int rc = kvr_request_wait(last, 0);

		if (rc == -ETIMEDOUT)
			return false;
		if (!rc || (rc == -ECANCELED && slot->cancelled))
			rc = kvr_request_close(last);
		if (rc)
			app_abort(r->app, "request %zu: write to rank %d: %s", slot->request + 1,
			          slot->peers[0].rank, kvr_strerror(rc));
		slot->write_count--;
	}
	return true;
}
