/* SPDX-License-Identifier: MIT
 * kvrail replay: the decode ranks, which offer blocks and compare what came into them. */
#include "replay.h"
#include <inttypes.h>
#include <stdio.h>

#define SAMPLES      4 /* tokens of each block that --verify sample looks at */
#define WRONG_TO_SAY 3 /* requests; there may be thousands */

static struct replay_offer *offer_of(const struct replay *r, const struct replay_slot *slot)
{
	return (struct replay_offer *)(r->mail + replay_offer_at(r, slot->instance, slot->place));
}

/* To each rank that has KV for this one, where it has a place for this rank's offers. */
static void send_offer(struct replay *r, struct replay_slot *slot)
{
	struct replay_offer *offer = offer_of(r, slot);
	size_t n = 0;

	offer->request = slot->request;
	offer->tokens = slot->tokens;
	offer->blocks = slot->blocks;
	offer->reused = slot->reused;
	for (uint32_t peer = 0; peer < group_size(r->others); peer++)
		if (replay_concerns(r, slot, peer, REPLAY_ALL))
			r->ops[n++] = (struct kvr_op){
				.local = r->mail_region,
				.remote = slot->peers[peer].mail,
				.local_offset = replay_offer_at(r, slot->instance, slot->place),
				.remote_offset = replay_offer_at(r, r->index, slot->place),
				.len = sizeof(*offer) + slot->blocks * sizeof(offer->table[0]),
				.count = 1,
			};
	replay_write(r, slot, r->ops, n, replay_offer_counter(r->input, r->index, slot->place));
}

static uint32_t kv_counter(const struct replay *r, const struct replay_slot *slot, uint32_t step)
{
	return replay_kv_counter(r->input, slot->instance, slot->place, step);
}

/* The writes that each step takes: the chunks that are not here yet, from each rank that has it. */
static void expect(struct replay *r, const struct replay_slot *slot)
{
	uint32_t chunk = r->input->chunk_tokens;
	uint32_t chunks = (slot->tokens - 1) / chunk - slot->reused / chunk + 1;

	for (uint32_t step = 0; step < r->input->steps; step++)
		for (uint32_t peer = 0; peer < group_size(r->others); peer++)
			if (replay_concerns(r, slot, peer, step))
				r->expected[kv_counter(r, slot, step)] += chunks;
}

static void begin(struct replay *r, struct replay_slot *slot)
{
	slot->cancelled = replay_is_cancelled(&r->input->options, slot->request);
	if (slot->cancelled)
		replay_expect_cancelled(r, slot);
	else
		expect(r, slot);
	slot->state = SLOT_WAITING;
	send_offer(r, slot);
}

void replay_decode_wait(struct replay *r, struct replay_slot *slot)
{
	if (slot->cancelled)
		replay_has_come(r, replay_cancel_counter(r->input, slot->instance, slot->place), 1);
	else
		replay_has_come(r, kv_counter(r, slot, slot->step), 1);
}

/* The first layer needs no other to be there, nor do the following. */
static void compare(struct replay *r, struct replay_slot *slot)
{
	uint32_t block_tokens = r->cache.layout.block_tokens;
	struct worker_job *job = replay_job(r, slot, 0);

	if (r->input->options.layerwise) {
		job->kv.first_layer = slot->step;
		job->kv.layers = 1;
	}
	if (r->input->options.verify == VERIFY_SAMPLE && block_tokens > SAMPLES)
		job->step = block_tokens / SAMPLES;
	job->compare = true;
	slot->state = SLOT_VERIFYING;
	worker_submit(&r->worker, job);
}

static void end_step(struct replay *r, struct replay_slot *slot)
{
	slot->state = SLOT_WAITING;
	if (++slot->step < r->input->steps)
		return;
	r->bytes += (slot->tokens - slot->reused) * r->cache.token_bytes;
	r->reused_bytes += slot->reused * r->cache.token_bytes;
	replay_end(r, slot);
}

static void come(struct replay *r, struct replay_slot *slot)
{
	if (r->input->options.verify == VERIFY_OFF)
		end_step(r, slot);
	else
		compare(r, slot);
}

static void compared(struct replay *r, struct replay_slot *slot)
{
	static unsigned said;
	int last = slot->peers[group_size(r->others) - 1].rank;
	char to[32] = "";

	r->verified_bytes += slot->job.compared;
	r->wrong_bytes += slot->job.wrong;
	if (last > slot->peers[0].rank)
		snprintf(to, sizeof(to), "s to %d", last);
	if (slot->job.wrong && said++ < WRONG_TO_SAY)
		app_error("rank %d: request %zu from rank %d%s: %" PRIu64 " of %" PRIu64
		          " bytes are wrong",
		          r->app->rank, slot->request + 1, slot->peers[0].rank, to, slot->job.wrong,
		          slot->job.compared);
	end_step(r, slot);
}

static bool advance(struct replay *r, struct replay_slot *slot)
{
	if (slot->cancelled)
		return replay_cancelled_step(r, slot);
	switch (slot->state) {
	case SLOT_WAITING:
		/* The KV is in place once the counter says so; but the slot is not free for
		 * another table before the write of this one has ended. */
		if (!replay_has_come(r, kv_counter(r, slot, slot->step), 0) ||
		    !replay_writes_ended(r, slot))
			return false;
		come(r, slot);
		return true;
	case SLOT_VERIFYING:
		if (!worker_done(&slot->job))
			return false;
		compared(r, slot);
		return true;
	default:
		return false;
	}
}

bool replay_decode_step(struct replay *r)
{
	struct replay_slot *slot;
	bool any = false;

	while ((slot = replay_begin(r))) {
		begin(r, slot);
		any = true;
	}
	for (uint32_t i = 0; i < r->slot_count; i++)
		any |= r->slots[i].state != SLOT_FREE && advance(r, &r->slots[i]);
	return any;
}
