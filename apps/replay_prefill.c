/* SPDX-License-Identifier: MIT
 * kvrail replay: the prefill ranks, which fill blocks and write them into decode ranks'. */
#include "replay.h"
#include <stdlib.h>

/* The block table that a decode rank has sent for this slot. */
static const struct replay_offer *offer_of(const struct replay *r, const struct replay_slot *slot,
                                           uint32_t peer)
{
	uint32_t rank = slot->instance * group_size(r->others) + peer;

	return (const struct replay_offer *)(r->mail + replay_offer_at(r, rank, slot->place));
}

static uint32_t offer_counter(const struct replay *r, const struct replay_slot *slot, uint32_t peer)
{
	return replay_offer_counter(r->input, slot->instance * group_size(r->others) + peer,
	                            slot->place);
}

/* The table came from another process: wrong in, nothing out. Its blocks are checked with the plan
 * that takes them. */
static void check_offer(const struct replay *r, const struct replay_slot *slot, uint32_t peer)
{
	const struct replay_offer *offer = offer_of(r, slot, peer);

	if (offer->request != slot->request || offer->tokens != slot->tokens ||
	    offer->blocks != group_blocks_for(r->others, slot->tokens) ||
	    offer->reused >= slot->tokens)
		app_abort(r->app, "request %zu: the block table from rank %d does not fit it",
		          slot->request + 1, slot->peers[peer].rank);
}

static bool is_offered(struct replay *r, struct replay_slot *slot)
{
	for (uint32_t peer = 0; !slot->offered && peer < group_size(r->others); peer++) {
		if (!replay_concerns(r, slot, peer, REPLAY_ALL))
			continue;
		if (!replay_has_come(r, offer_counter(r, slot, peer), 0))
			return false;
		check_offer(r, slot, peer);
	}
	if (!slot->offered)
		slot->offered_at = seconds_now();
	return slot->offered = true;
}

void replay_prefill_wait(struct replay *r, struct replay_slot *slot)
{
	for (uint32_t peer = 0; peer < group_size(r->others); peer++)
		if (replay_concerns(r, slot, peer, REPLAY_ALL) &&
		    !replay_has_come(r, offer_counter(r, slot, peer), 1))
			return;
}

/* The peer's ops for tokens [first, end), as far as they are to be sent, behind the n that there
 * are; returns how many there are then. */
static size_t add_ops(struct replay *r, struct replay_slot *slot, uint32_t peer,
                      const struct kvr_pages *tokens, size_t n)
{
	const struct replay_offer *offer = offer_of(r, slot, peer);
	struct kvr_pages pages = *tokens;
	ssize_t more;

	if (offer->reused >= pages.first_token + pages.tokens)
		return n;
	if (offer->reused > pages.first_token) {
		pages.tokens -= offer->reused - pages.first_token;
		pages.first_token = offer->reused;
	}
	pages.local_blocks = slot->table;
	pages.local_count = slot->blocks;
	pages.remote_blocks = offer->table;
	pages.remote_count = offer->blocks;
	more = kvr_plan_ops(slot->peers[peer].plan, &r->cache_region, &slot->peers[peer].cache,
	                    &pages, r->ops + n, r->max_ops - n);
	replay_must(r, more, "planning");
	if (n + (size_t)more > r->max_ops) {
		r->max_ops = 2 * (n + (size_t)more);
		r->ops = reallocarray(r->ops, r->max_ops, sizeof(*r->ops));
		if (!r->ops)
			app_abort(r->app, "no memory for %zu ops", r->max_ops);
		return add_ops(r, slot, peer, tokens, n);
	}
	slot->bytes += (uint64_t)kvr_plan_bytes(slot->peers[peer].plan, &pages);
	return n + (size_t)more;
}

static void write_chunk(struct replay *r, struct replay_slot *slot, uint32_t step,
                        uint64_t first_token)
{
	struct kvr_pages pages = replay_pages(r, slot, step);
	size_t n = 0;

	pages.first_token = first_token;
	pages.tokens -= first_token;
	if (pages.tokens > r->input->chunk_tokens)
		pages.tokens = r->input->chunk_tokens;
	for (uint32_t peer = 0; peer < group_size(r->others); peer++)
		if (replay_concerns(r, slot, peer, step))
			n = add_ops(r, slot, peer, &pages, n);
	if (!n)
		return;
	if (slot->started <= 0) {
		slot->started = seconds_now();
		if (!r->in_flight++)
			r->busy_since = slot->started;
	}
	replay_write(r, slot, r->ops, n,
	             replay_kv_counter(r->input, r->index / group_size(r->group), slot->place,
	                               r->input->options.layerwise ? step : 0));
}

/* Steps that can be written now; true if there was one. */
static bool write_steps(struct replay *r, struct replay_slot *slot)
{
	uint32_t layers = r->cache.layout.layers, first = r->cache.layout.first_layer;
	uint32_t ready = worker_ready(&slot->job), steps = ready;
	bool any = false;

	if (!r->input->options.layerwise)
		steps = ready == layers;
	while (!slot->cancelled && slot->step < steps && is_offered(r, slot)) {
		for (uint64_t t = 0; t < slot->tokens; t += r->input->chunk_tokens)
			write_chunk(r, slot, first + slot->step, t);
		slot->step++;
		any = true;
	}
	return any;
}

/* A byte of the last token and layer. */
static uint8_t *spoiled_byte(const struct replay *r, const struct replay_slot *slot)
{
	const struct kvr_layout *l = &r->cache.layout;
	uint32_t last = slot->tokens - 1, block = slot->table[last / l->block_tokens];

	if (slot->request + 1 != r->input->options.spoil)
		return NULL;
	return r->cache.memory + (l->layers - 1) * l->layer_stride + block * l->block_stride +
	       last % l->block_tokens * l->token_stride;
}

static void begin_fill(struct replay *r, struct replay_slot *slot)
{
	struct worker_job *job = replay_job(r, slot, 0);

	for (uint32_t peer = 0; peer < group_size(r->others); peer++)
		if (replay_concerns(r, slot, peer, REPLAY_ALL))
			r->expected[offer_counter(r, slot, peer)]++;
	job->compare = false;
	job->spoil = spoiled_byte(r, slot);
	job->layer_seconds = r->input->options.layer_ms / 1e3;
	slot->state = SLOT_FILLING;
	worker_submit(&r->worker, job);
}

/* The latency begins when all was ready and had a place to go, whichever came last. */
static void keep_latency(struct replay *r, const struct replay_slot *slot, double now)
{
	double since = slot->offered_at > slot->job.ended ? slot->offered_at : slot->job.ended;

	r->latencies[slot->request / group_instances(r->group)] =
		(struct latency){.request = slot->request,
	                         .bytes = slot->bytes,
	                         .ready_ms = (since - r->epoch) * 1e3,
	                         .ms = (now - since) * 1e3};
	r->bytes += slot->bytes;
}

static void moved(struct replay *r, struct replay_slot *slot)
{
	double now = seconds_now();

	/* Nothing was to be written where all is another rank's turn. */
	if (slot->started > 0) {
		if (!--r->in_flight)
			r->busy_seconds += now - r->busy_since;
		r->typical_seconds += (now - slot->started - r->typical_seconds) / 8;
	}
	slot->cancelled = replay_is_cancelled(&r->input->options, slot->request);
	if (slot->cancelled) {
		replay_tell_cancelled(r, slot);
		slot->state = SLOT_TELLING;
		return;
	}
	keep_latency(r, slot, now);
	replay_end(r, slot);
}

static bool advance(struct replay *r, struct replay_slot *slot)
{
	bool any = false;

	switch (slot->state) {
	case SLOT_FILLING:
		if (r->input->options.layerwise)
			any = write_steps(r, slot);
		replay_cancel_if_due(r, slot);
		if (!worker_done(&slot->job))
			return any;
		slot->state = SLOT_WAITING;
		return true;
	case SLOT_WAITING:
		if (!slot->cancelled && !is_offered(r, slot))
			return false;
		write_steps(r, slot);
		slot->state = SLOT_MOVING;
		return true;
	case SLOT_MOVING:
		replay_cancel_if_due(r, slot);
		if (!replay_writes_ended(r, slot))
			return false;
		moved(r, slot);
		return true;
	case SLOT_TELLING:
		if (!replay_writes_ended(r, slot))
			return false;
		replay_end(r, slot);
		return true;
	default:
		return false;
	}
}

bool replay_prefill_step(struct replay *r)
{
	struct replay_slot *slot;
	bool any = false;

	while ((slot = replay_begin(r))) {
		begin_fill(r, slot);
		any = true;
	}
	for (uint32_t i = 0; i < r->slot_count; i++)
		any |= advance(r, &r->slots[i]);
	return any;
}
