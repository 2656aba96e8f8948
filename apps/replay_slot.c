/* SPDX-License-Identifier: MIT
 * kvrail replay: what prefill and decode ranks do alike with a slot.
 *
 * Why nobody waits for ever. Every rank begins its own requests in the order of the trace: a later
 * one gets neither slot nor blocks before the earlier ones have theirs. Of all requests that have
 * not ended, look at the first, F. On both its ranks all earlier ones have ended and given
 * everything back, and no later one has begun before F. So its slot is free, and so are enough
 * blocks: the cache holds the largest request, and nobody else has any. So F begins on both ranks,
 * whatever the others do. Its decode rank sends the block table without waiting for anybody, its
 * prefill rank then writes the KV, the decode rank compares it: F ends. Then the next is the
 * first.
 *
 * Why no use of a slot disturbs the next. Decode writes its table into prefill's mail only after
 * the KV of the slot's former use has come, thus after prefill has read the former table; and its
 * own copy of a table changes only when the write of it has ended. Each write moves the counter by
 * one, so a use is over when the counter has reached the sum over all uses until then; both sides
 * know how many writes a request takes. */
#include "replay.h"
#include <errno.h>
#include <stdatomic.h>

static size_t next_of_mine(const struct replay *r, size_t from)
{
	size_t i = from;

	while (i < r->input->trace.count && !replay_is_mine(r, i))
		i++;
	return i;
}

struct replay_slot *replay_begin(struct replay *r)
{
	struct replay_slot *slot;
	uint32_t tokens, blocks;

	if (r->next == r->input->trace.count)
		return NULL;
	slot = replay_slot_of(r, r->next);
	tokens = r->input->trace.requests[r->next].input_length;
	blocks = cache_blocks_for(&r->cache, tokens);
	if (slot->state != SLOT_FREE || cache_take(&r->cache, blocks, slot->table))
		return NULL;
	slot->request = r->next;
	slot->tokens = tokens;
	slot->blocks = blocks;
	r->next = next_of_mine(r, r->next + 1);
	return slot;
}

void replay_end(struct replay *r, struct replay_slot *slot)
{
	cache_give(&r->cache, slot->blocks, slot->table);
	slot->state = SLOT_FREE;
	r->ended++;
}

static void submit(struct replay *r, struct replay_slot *slot)
{
	slot->job.request = slot->request;
	slot->job.table = slot->table;
	slot->job.tokens = slot->tokens;
	worker_submit(&r->worker, &slot->job);
}

void replay_fill(struct replay *r, struct replay_slot *slot)
{
	slot->job.compare = false;
	submit(r, slot);
}

void replay_compare(struct replay *r, struct replay_slot *slot, uint32_t step)
{
	slot->job.compare = true;
	slot->job.step = step;
	submit(r, slot);
}

void replay_write(struct replay *r, struct replay_slot *slot, const struct kvr_op *ops, size_t n)
{
	/* The peer counts its slots by the ranks of this kind, as this one does the other way. */
	uint32_t counter = r->index * REPLAY_SLOTS + slot->counter % REPLAY_SLOTS;
	int rc = kvr_write(r->app->kvr, ops, n, counter, &slot->writes[slot->write_count]);

	if (rc)
		app_abort(r->app, "request %zu: write to rank %d: %s", slot->request + 1,
		          slot->peer->rank, kvr_strerror(rc));
	slot->write_count++;
}

bool replay_writes_ended(struct replay *r, struct replay_slot *slot)
{
	while (slot->write_count) {
		struct kvr_request *last = slot->writes[slot->write_count - 1];
		int rc = kvr_request_wait(last, 0);

		if (rc == -ETIMEDOUT)
			return false;
		if (!rc)
			rc = kvr_request_close(last);
		if (rc)
			app_abort(r->app, "request %zu: write to rank %d: %s", slot->request + 1,
			          slot->peer->rank, kvr_strerror(rc));
		slot->write_count--;
	}
	return true;
}

bool replay_has_come(struct replay *r, const struct replay_slot *slot, int timeout_ms)
{
	int rc = kvr_counter_wait(r->app->kvr, slot->counter, slot->expected, timeout_ms, NULL);

	if (rc && rc != -ETIMEDOUT)
		app_abort(r->app, "request %zu: waiting for rank %d: %s", slot->request + 1,
		          slot->peer->rank, kvr_strerror(rc));
	return !rc;
}
