/* SPDX-License-Identifier: MIT
 * The promises of a request, checked when it ends, when a counter moves, and at the end of a seed.
 */
#include "sim_check.h"
#include "context.h"
#include "sim_alloc.h"
#include "sim_faults.h"
#include "sim_world.h"
#include <errno.h>

static uint64_t counter_at(unsigned int rank, uint32_t id)
{
	return ranks[rank].kvr->counters[id].value;
}

static void check_target(const struct load_request *request, struct load_target *t, int result)
{
	t->was_right = memory_is_right(&t->target, t->source_rank, t->runs, t->n);
	if (!result && !t->was_right)
		world_violation("promise 2: request %u has ended with 0, and bytes %s rank %u are "
		                "wrong",
		                request->id, request->is_read ? "from" : "at", t->rank);
	if (!result && request->has_counter && counter_at(t->rank, request->id) != 1)
		world_violation("promise 3: request %u has ended with 0, and its counter at rank "
		                "%u is %llu",
		                request->id, t->rank,
		                (unsigned long long)counter_at(t->rank, request->id));
	memory_give(&t->source);
	memory_give(&t->target);
}

static void check_result(const struct load_request *request, int result)
{
	unsigned int targets = 0;

	for (unsigned int i = 0; i < request->targets; i++)
		targets |= 1u << request->target[i].rank;
	request->rank->has_given_up |= result == -EHOSTUNREACH;
	if (!result || (result == -ECANCELED && request->is_cancelled) ||
	    faults_excuse(request->rank->number, targets, result))
		return;
	world_violation("promise 5: request %u fails for no reason: %s", request->id,
	                kvr_strerror(result));
}

void check_ended(struct load_request *request, int result)
{
	int rc;

	world_trace("request %u has ended: %s", request->id, result ? kvr_strerror(result) : "0");
	request->has_ended = true;
	world.requests++;
	world.cancelled += result == -ECANCELED;
	for (unsigned int i = 0; i < request->targets; i++)
		check_target(request, &request->target[i], result);
	check_result(request, result);
	rc = kvr_request_close(request->handle);
	if (rc)
		world_violation("request %u cannot be closed: %s", request->id, kvr_strerror(rc));
}

static void check_counter(const struct load_request *request, struct load_target *t)
{
	uint64_t value = counter_at(t->rank, request->id);

	if (value > request->has_counter)
		world_violation("promise 3: the counter of request %u at rank %u is %llu",
		                request->id, t->rank, (unsigned long long)value);
	if (!value || t->counted)
		return;
	t->counted = true;
	if (request->has_ended ? !t->was_right
	                       : !memory_is_right(&t->target, t->source_rank, t->runs, t->n))
		world_violation("promise 3: the counter of request %u moves at rank %u before its "
		                "bytes are there",
		                request->id, t->rank);
}

static void check_request(struct load_request *request, const struct sim_rank *rank)
{
	for (unsigned int i = 0; i < request->targets; i++)
		if (request->target[i].rank == rank->number && !request->is_read)
			check_counter(request, &request->target[i]);
	if (request->rank == rank && !request->has_ended && request->handle->finished)
		check_ended(request, kvr_request_wait(request->handle, 0));
}

void check_rank(struct sim_rank *rank)
{
	rank->is_news = false;
	for (unsigned int i = 0; i < load.started; i++)
		check_request(&load.request[i], rank);
}

void check_refusal(struct sim_rank *rank, struct dice *dice)
{
	struct sim_rank *peer = &ranks[dice_roll(dice, ranks_count)];
	struct kvr_op good = {.local = rank->region[MEMORY_SOURCE][0],
	                      .remote = rank->remote[peer->number][MEMORY_TARGET][0],
	                      .len = 64,
	                      .count = 2,
	                      .local_stride = 64,
	                      .remote_stride = 64};
	struct kvr_op ops[2] = {good, good}, *bad = &ops[dice_roll(dice, 2)];
	struct kvr_request *request = NULL;
	uint32_t counter = KVR_NO_COUNTER;
	int rc;

	switch (dice_roll(dice, 6)) {
	case 0:
		bad->remote_offset = MEMORY_REGION - 100;
		break;
	case 1:
		bad->local_offset = UINT64_MAX - 64;
		break;
	case 2:
		bad->remote_stride = dice_roll(dice, 64);
		break;
	case 3:
		bad->count = 0;
		break;
	case 4:
		bad->remote_stride = UINT64_MAX / 2;
		bad->count = 4;
		break;
	default:
		counter = 1u << 20;
		break;
	}
	rc = kvr_write(rank->kvr, ops, 2, counter, &request);
	if (rc >= 0 || request)
		world_violation("promise 6: a bad call is not refused: %d", rc);
}

void check_all(void)
{
	uint64_t allocations = alloc_between_posts();

	for (unsigned int i = 0; i < ranks_count; i++)
		check_rank(&ranks[i]);
	if (!memory_is_clean())
		world_violation("promise 4: a canary is gone");
	if (allocations > 2 * load.batches)
		world_violation("promise 7: %llu allocations while pieces of %llu batches were "
		                "posted",
		                (unsigned long long)allocations, (unsigned long long)load.batches);
}

void check_hanging(void)
{
	const struct load_request *r;

	for (r = load.request; r < load.request + load.started; r++)
		if (!r->has_ended && !r->rank->is_dead)
			world_violation("promise 5: request %u of rank %u hangs", r->id,
			                r->rank->number);
}
