/* SPDX-License-Identifier: MIT
 * kvrail replay: the prefill ranks, which fill blocks and write them into a decode rank's. */
#include "replay.h"

/* Layers are one layer_bytes apart on each side, so a block of all layers is one op. */
static struct kvr_op layers_op(const struct replay *r, const struct replay_slot *slot,
                               uint32_t block, uint32_t part, uint64_t len)
{
	uint64_t at_part = part * r->cache.part_bytes;

	return (struct kvr_op){
		.local = r->cache_region,
		.remote = slot->peer->target,
		.local_offset = slot->table[block] * r->cache.block_bytes + at_part,
		.local_stride = r->cache.layer_bytes,
		.remote_offset = slot->offer->table[block] * r->cache.block_bytes + at_part,
		.remote_stride = slot->peer->layer_bytes,
		.len = len,
		.count = r->cache.model.layers,
	};
}

/* Of the blocks from first on that make one write. The last block may be partly used, and then of
 * each part only the used tokens go: parts are a whole block's tokens apart. */
static size_t make_ops(struct replay *r, const struct replay_slot *slot, uint32_t first)
{
	uint32_t left = slot->tokens - first * r->cache.block_tokens;
	size_t n = 0;

	for (uint32_t i = 0; i < r->batch_blocks && left; i++) {
		if (left >= r->cache.block_tokens) {
			r->ops[n++] = layers_op(r, slot, first + i, 0, r->cache.block_bytes);
			left -= r->cache.block_tokens;
			continue;
		}
		for (uint32_t part = 0; part < r->cache.model.parts; part++)
			r->ops[n++] = layers_op(r, slot, first + i, part,
			                        left * model_token_bytes(&r->cache.model));
		left = 0;
	}
	return n;
}

/* The table came from another process: wrong in, nothing out. */
static void check_offer(const struct replay *r, const struct replay_slot *slot)
{
	const struct replay_offer *offer = slot->offer;
	bool good = offer->request == slot->request && offer->tokens == slot->tokens &&
	            offer->blocks == slot->blocks;

	for (uint32_t i = 0; good && i < slot->blocks; i++)
		good = offer->table[i] < slot->peer->blocks;
	if (!good)
		app_abort(r->app, "request %zu: the block table from rank %d does not fit it",
		          slot->request + 1, slot->peer->rank);
}

static void send_kv(struct replay *r, struct replay_slot *slot)
{
	check_offer(r, slot);
	for (uint32_t first = 0; first < slot->blocks; first += r->batch_blocks) {
		size_t n = make_ops(r, slot, first);

		if (!first)
			slot->started = seconds_now();
		replay_write(r, slot, r->ops, n);
	}
	if (!r->in_flight++)
		r->busy_since = slot->started;
	slot->state = SLOT_MOVING;
}

static void end(struct replay *r, struct replay_slot *slot)
{
	double now = seconds_now();

	if (!--r->in_flight)
		r->busy_seconds += now - r->busy_since;
	r->latencies_ms[r->ended] = (now - slot->started) * 1e3;
	r->bytes += slot->tokens * model_bytes_per_token(&r->cache.model);
	replay_end(r, slot);
}

static bool begin(struct replay *r)
{
	struct replay_slot *slot = replay_begin(r);

	if (!slot)
		return false;
	slot->expected++; /* one block table */
	slot->state = SLOT_FILLING;
	replay_fill(r, slot);
	return true;
}

static void filled(struct replay *r, struct replay_slot *slot)
{
	if (slot->request + 1 == r->input->options.spoil)
		r->cache.memory[slot->table[0] * r->cache.block_bytes] ^= 1;
	slot->state = SLOT_WAITING;
}

static bool advance(struct replay *r, struct replay_slot *slot)
{
	switch (slot->state) {
	case SLOT_FILLING:
		if (!worker_done(&slot->job))
			return false;
		filled(r, slot);
		return true;
	case SLOT_WAITING:
		if (!replay_has_come(r, slot, 0))
			return false;
		send_kv(r, slot);
		return true;
	case SLOT_MOVING:
		if (!replay_writes_ended(r, slot))
			return false;
		end(r, slot);
		return true;
	default:
		return false;
	}
}

bool replay_prefill_step(struct replay *r)
{
	bool moved = false;

	while (begin(r))
		moved = true;
	for (uint32_t i = 0; i < r->slot_count; i++)
		moved |= advance(r, &r->slots[i]);
	return moved;
}
