/* SPDX-License-Identifier: MIT
 * kvrail replay: the decode ranks, which offer blocks and compare what came into them. */
#include "replay.h"
#include <inttypes.h>

#define SAMPLES      4 /* tokens of each block that --verify sample looks at */
#define WRONG_TO_SAY 3 /* requests; there may be thousands */

/* Into the same slot of prefill's mail, which counts its slots by decode rank. */
static void offer(struct replay *r, struct replay_slot *slot)
{
	uint32_t there = r->index * REPLAY_SLOTS + slot->counter % REPLAY_SLOTS;
	struct kvr_op op = {
		.local = r->mail_region,
		.remote = slot->peer->target,
		.local_offset = replay_offer_at(r, slot->counter),
		.remote_offset = replay_offer_at(r, there),
		.len = sizeof(*slot->offer) + slot->blocks * sizeof(slot->offer->table[0]),
		.count = 1,
	};

	slot->offer->request = slot->request;
	slot->offer->tokens = slot->tokens;
	slot->offer->blocks = slot->blocks;
	replay_write(r, slot, &op, 1);
}

static bool begin(struct replay *r)
{
	struct replay_slot *slot = replay_begin(r);

	if (!slot)
		return false;
	slot->expected += replay_batches(r, slot->blocks);
	slot->state = SLOT_WAITING;
	offer(r, slot);
	return true;
}

static void end(struct replay *r, struct replay_slot *slot)
{
	r->bytes += slot->tokens * model_bytes_per_token(&r->cache.model);
	replay_end(r, slot);
}

static void come(struct replay *r, struct replay_slot *slot)
{
	uint32_t block_tokens = r->cache.block_tokens;

	if (r->input->options.verify == VERIFY_OFF) {
		end(r, slot);
		return;
	}
	slot->state = SLOT_VERIFYING;
	if (r->input->options.verify == VERIFY_SAMPLE && block_tokens > SAMPLES)
		replay_compare(r, slot, block_tokens / SAMPLES);
	else
		replay_compare(r, slot, 1);
}

static void compared(struct replay *r, struct replay_slot *slot)
{
	static unsigned said;

	r->verified_bytes += slot->job.compared;
	r->wrong_bytes += slot->job.wrong;
	if (slot->job.wrong && said++ < WRONG_TO_SAY)
		app_error("rank %d: request %zu from rank %d: %" PRIu64 " of %" PRIu64
		          " bytes are wrong",
		          r->app->rank, slot->request + 1, slot->peer->rank, slot->job.wrong,
		          slot->job.compared);
	end(r, slot);
}

static bool advance(struct replay *r, struct replay_slot *slot)
{
	switch (slot->state) {
	case SLOT_WAITING:
		/* The KV is in place once the counter says so; but the slot is not free for
		 * another table before the write of this one has ended. */
		if (!replay_has_come(r, slot, 0) || !replay_writes_ended(r, slot))
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
	bool moved = false;

	while (begin(r))
		moved = true;
	for (uint32_t i = 0; i < r->slot_count; i++)
		moved |= advance(r, &r->slots[i]);
	return moved;
}
