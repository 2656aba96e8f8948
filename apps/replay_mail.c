/* SPDX-License-Identifier: MIT
 * kvrail replay: what ranks send each other besides KV, and the counters that say so. */
#include "replay.h"
#include <errno.h>
#include <stdlib.h>

static uint64_t round_up(uint64_t n, uint64_t to)
{
	return (n + to - 1) / to * to;
}

uint32_t replay_offer_counter(const struct replay_input *in, uint32_t decode_rank, uint32_t place)
{
	return decode_rank * in->slots + place;
}

uint32_t replay_kv_counter(const struct replay_input *in, uint32_t instance, uint32_t place,
                           uint32_t step)
{
	return (instance * in->slots + place) * in->steps + step;
}

uint32_t replay_cancel_counter(const struct replay_input *in, uint32_t instance, uint32_t place)
{
	uint32_t instances = group_instances(&in->options.prefill);

	return replay_kv_counter(in, instances, 0, 0) + instance * in->slots + place;
}

/* One to meet by, behind those of the kind of rank that has most. */
static uint32_t meeting_counter(const struct replay_input *in)
{
	uint32_t prefill = replay_offer_counter(in, in->options.decode.ranks, 0);
	uint32_t decode = replay_cancel_counter(in, group_instances(&in->options.prefill), 0);

	return prefill > decode ? prefill : decode;
}

uint32_t replay_counters(const struct replay_input *in)
{
	return meeting_counter(in) + 1;
}

/* First a word for every rank, to meet by. */
uint64_t replay_word_at(const struct replay *r, uint32_t prefill_rank, uint32_t place)
{
	uint64_t words = (uint64_t)r->app->nranks + (uint64_t)prefill_rank * r->input->slots;

	return (words + place) * sizeof(uint64_t);
}

uint64_t replay_offer_at(const struct replay *r, uint32_t owner, uint32_t place)
{
	uint64_t words = replay_word_at(r, r->input->options.prefill.ranks, 0);

	return round_up(words, 64) + ((uint64_t)owner * r->input->slots + place) * r->offer_bytes;
}

bool replay_has_come(struct replay *r, uint32_t counter, int timeout_ms)
{
	int rc = kvr_counter_wait(r->app->kvr, counter, r->expected[counter], timeout_ms, NULL);

	if (rc && rc != -ETIMEDOUT)
		app_abort(r->app, "waiting for a peer: %s", kvr_strerror(rc));
	return !rc;
}

/* A word to each of done_remotes: rank 0 writes its word 0 to word 0 of all, the others each their
 * own to rank 0, so that no two write to the same place. */
static void tell_done(struct replay *r)
{
	struct kvr_op *ops = replay_allocate(r, r->done_count, sizeof(*ops));
	struct kvr_request *request;
	uint64_t at = (uint64_t)r->app->rank * sizeof(uint64_t);

	for (size_t i = 0; i < r->done_count; i++)
		ops[i] = (struct kvr_op){
			.local = r->mail_region,
			.remote = r->done_remotes[i],
			.local_offset = at,
			.remote_offset = at,
			.len = sizeof(uint64_t),
			.count = 1,
		};
	replay_must(r,
	            kvr_write(r->app->kvr, ops, r->done_count, meeting_counter(r->input), &request),
	            "meeting");
	replay_must(r, kvr_request_wait(request, -1), "meeting");
	replay_must(r, kvr_request_close(request), "meeting");
	free(ops);
}

void replay_meet(struct replay *r)
{
	uint64_t others = r->app->rank ? 1 : (uint64_t)r->app->nranks - 1;

	/* Without a limit of its own: each rank that is not here yet still has a request under
	 * way, and thereby ranks that give up if it gets stuck. */
	if (r->app->rank)
		tell_done(r);
	replay_must(r,
	            kvr_counter_wait(r->app->kvr, meeting_counter(r->input), others * ++r->meetings,
	                             -1, NULL),
	            "meeting");
	if (!r->app->rank)
		tell_done(r);
}
