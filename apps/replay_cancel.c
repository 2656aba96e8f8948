/* SPDX-License-Identifier: MIT
 * kvrail replay: requests that are cancelled while their KV is on its way. When the writes of all
 * prefill ranks have ended nothing of them may land any more: the decode rank puts another pattern
 * into the blocks at once, looks a little later whether it is still there, and only then lets
 * others have them. */
#include "replay.h"
#include <errno.h>

#define HOLD_SECONDS 0.05
#define CANARY       UINT64_MAX /* a request that there is none of */

/* Evenly spread over 0 to 1, as good as independent: Knuth's multiplicative hash, twice. */
static double draw(size_t request, uint32_t which)
{
	uint64_t x = (request * 2 + which + 1) * 0x9e3779b97f4a7c15u;

	x = (x ^ (x >> 32)) * 0xd6e8feb86659fd93u;
	return (double)(x >> 11) / (double)(1ull << 53);
}

bool replay_is_cancelled(const struct replay_options *o, size_t request)
{
	return draw(request, 0) * 100 < o->cancel;
}

/* Some time between the first write and when requests usually end. */
void replay_cancel_if_due(struct replay *r, struct replay_slot *slot)
{
	double after = draw(slot->request, 1) * r->typical_seconds;

	if (slot->cancelled || slot->started <= 0 || seconds_now() < slot->started + after ||
	    !replay_is_cancelled(&r->input->options, slot->request))
		return;
	for (uint32_t i = 0; i < slot->write_count; i++)
		replay_must(r, kvr_request_cancel(slot->writes[i]), "cancelling");
	slot->cancelled = true;
}

/* A word, of which only the counter matters. */
void replay_tell_cancelled(struct replay *r, struct replay_slot *slot)
{
	uint32_t instance = r->index / group_size(r->group);
	size_t n = 0;

	for (uint32_t peer = 0; peer < group_size(r->others); peer++)
		if (replay_concerns(r, slot, peer, REPLAY_ALL))
			r->ops[n++] = (struct kvr_op){
				.local = r->mail_region,
				.remote = slot->peers[peer].mail,
				.local_offset = replay_word_at(r, r->index, slot->place),
				.remote_offset = replay_word_at(r, r->index, slot->place),
				.len = sizeof(uint64_t),
				.count = 1,
			};
	if (n)
		replay_write(r, slot, r->ops, n,
		             replay_cancel_counter(r->input, instance, slot->place));
}

static uint32_t counter_of(const struct replay *r, const struct replay_slot *slot)
{
	return replay_cancel_counter(r->input, slot->instance, slot->place);
}

void replay_expect_cancelled(struct replay *r, struct replay_slot *slot)
{
	for (uint32_t peer = 0; peer < group_size(r->others); peer++)
		r->expected[counter_of(r, slot)] += replay_concerns(r, slot, peer, REPLAY_ALL);
}

/* Of what was written before the end some may have counted: the next use begins from there. */
static void take_counters(struct replay *r, const struct replay_slot *slot)
{
	for (uint32_t step = 0; step < r->input->steps; step++) {
		uint32_t c = replay_kv_counter(r->input, slot->instance, slot->place, step);

		replay_must(r, kvr_counter_wait(r->app->kvr, c, 0, 0, &r->expected[c]),
		            "reading a counter");
	}
}

/* All tokens of the blocks that KV was to go to, used or not. */
static void submit(struct replay *r, struct replay_slot *slot, bool compare)
{
	struct worker_job *job = replay_job(r, slot, slot->reused);

	job->kv.request = CANARY;
	job->kv.shared = 0;
	job->kv.tokens = slot->blocks * r->group->block_tokens - slot->reused;
	job->compare = compare;
	job->layer_seconds = 0;
	worker_submit(&r->worker, job);
	slot->state = compare ? SLOT_CHECKING : SLOT_REFILLING;
}

/* A byte that comes late, for a look at the check: of the last block, which is never reused. */
static void spoil(struct replay *r, const struct replay_slot *slot)
{
	if (slot->request + 1 == r->input->options.spoil)
		r->cache.memory[slot->table[slot->blocks - 1] * r->cache.layout.block_stride] ^= 1;
}

static void checked(struct replay *r, struct replay_slot *slot)
{
	r->late_bytes += slot->job.wrong;
	if (slot->job.wrong)
		app_error("rank %d: request %zu was cancelled, but %zu bytes came later",
		          r->app->rank, slot->request + 1, (size_t)slot->job.wrong);
	replay_end(r, slot);
}

bool replay_cancelled_step(struct replay *r, struct replay_slot *slot)
{
	switch (slot->state) {
	case SLOT_WAITING:
		if (!replay_has_come(r, counter_of(r, slot), 0) || !replay_writes_ended(r, slot))
			return false;
		take_counters(r, slot);
		submit(r, slot, false);
		return true;
	case SLOT_REFILLING:
		if (!worker_done(&slot->job))
			return false;
		slot->until = seconds_now() + HOLD_SECONDS;
		slot->state = SLOT_HOLDING;
		return true;
	case SLOT_HOLDING:
		if (seconds_now() < slot->until)
			return false;
		spoil(r, slot);
		submit(r, slot, true);
		return true;
	case SLOT_CHECKING:
		if (!worker_done(&slot->job))
			return false;
		checked(r, slot);
		return true;
	default:
		return false;
	}
}
