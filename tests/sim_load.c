/* SPDX-License-Identifier: MIT
 * What the simulated ranks' users do: they start, watch and cancel requests. */
#include "sim_load.h"
#include "context.h"
#include "sim_check.h"
#include "sim_faults.h"
#include "sim_places.h"
#include "sim_world.h"
#include <errno.h>
#include <string.h>

struct load load;

#define ACT_PERCENT  15 /* turns in which a user does something */
#define MOST_AT_ONCE 10

void load_open(void)
{
	memset(&load, 0, sizeof(load));
	load.dice = world_dice(3);
	load.wanted = 1 + dice_roll(&load.dice, LOAD_REQUESTS);
}

static uint64_t some_len(struct dice *dice)
{
	if (dice_chance(dice, 30))
		return 1 + dice_roll(dice, 100);
	return 1 + dice_roll(dice, dice_chance(dice, 75) ? 5000 : 60000);
}

/* 0, or room of its own. */
static uint64_t some_gap(struct dice *dice)
{
	return dice_chance(dice, 50) ? 0 : 1 + dice_roll(dice, 200);
}

static uint64_t reach_of(uint64_t stride, const struct runs *runs)
{
	return stride * (runs->count - 1) + runs->len;
}

static struct runs some_runs(struct dice *dice)
{
	struct runs runs = {.len = some_len(dice), .count = 1};

	if (dice_chance(dice, 60))
		runs.count += dice_roll(dice, runs.len < 1000 ? 40 : 6);
	runs.source_stride = dice_chance(dice, 5) ? 0 : runs.len + some_gap(dice);
	runs.target_stride = runs.len + some_gap(dice);
	return runs;
}

/* Lays ops out one after the other in new memory on both sides; false: there is not enough. */
static bool lay_out(struct load_request *request, struct load_target *target, struct dice *dice)
{
	uint64_t most = dice_chance(dice, 90) ? MEMORY_REGION / 4 : MEMORY_REGION - 4096;
	uint64_t source = 0, to = 0, wanted = 1 + dice_roll(dice, LOAD_OPS);
	struct runs runs;

	while (target->n < wanted) {
		runs = some_runs(dice);
		runs.source = source + some_gap(dice);
		runs.target = to + some_gap(dice);
		source = runs.source + reach_of(runs.source_stride, &runs);
		to = runs.target + reach_of(runs.target_stride, &runs);
		if (source > most || to > most)
			break;
		target->runs[target->n++] = runs;
	}
	if (!target->n || !memory_take(&target->source, target->source_rank, MEMORY_SOURCE,
	                               source < most ? source : most, request->id))
		return false;
	if (!memory_take(&target->target, request->is_read ? request->rank->number : target->rank,
	                 MEMORY_TARGET, to < most ? to : most, request->id)) {
		memory_give(&target->source);
		return false;
	}
	for (unsigned int i = 0; i < target->n; i++) {
		target->runs[i].source += target->source.at;
		target->runs[i].target += target->target.at;
	}
	return true;
}

static bool is_targeted(const struct load_request *request, unsigned int rank)
{
	for (unsigned int i = 0; i < request->targets; i++)
		if (request->target[i].rank == rank)
			return true;
	return false;
}

static void add_target(struct load_request *request, struct dice *dice)
{
	struct load_target *target = &request->target[request->targets];
	unsigned int rank = dice_roll(dice, ranks_count);

	if (is_targeted(request, rank) || (rank == request->rank->number && !dice_chance(dice, 10)))
		return;
	*target = (struct load_target){.rank = rank};
	target->source_rank = request->is_read ? rank : request->rank->number;
	if (lay_out(request, target, dice))
		request->targets++;
}

static struct kvr_op make_op(const struct load_request *request, const struct load_target *target,
                             const struct runs *runs)
{
	const struct sim_rank *rank = request->rank;
	unsigned int source = target->source.at / MEMORY_REGION;
	unsigned int to = target->target.at / MEMORY_REGION;
	struct kvr_op op = {.len = runs->len, .count = runs->count};

	if (request->is_read) {
		op.local = rank->region[MEMORY_TARGET][to];
		op.remote = rank->remote[target->rank][MEMORY_SOURCE][source];
		op.local_offset = runs->target % MEMORY_REGION;
		op.local_stride = runs->target_stride;
		op.remote_offset = runs->source % MEMORY_REGION;
		op.remote_stride = runs->source_stride;
	} else {
		op.local = rank->region[MEMORY_SOURCE][source];
		op.remote = rank->remote[target->rank][MEMORY_TARGET][to];
		op.local_offset = runs->source % MEMORY_REGION;
		op.local_stride = runs->source_stride;
		op.remote_offset = runs->target % MEMORY_REGION;
		op.remote_stride = runs->target_stride;
	}
	return op;
}

/* The targets' ops, one of each in turn. */
static size_t make_ops(const struct load_request *request, struct kvr_op *ops)
{
	size_t n = 0;

	for (unsigned int i = 0; i < LOAD_OPS; i++)
		for (const struct load_target *t = request->target;
		     t < request->target + request->targets; t++)
			if (i < t->n)
				ops[n++] = make_op(request, t, &t->runs[i]);
	return n;
}

static void refused(struct load_request *request, int rc)
{
	unsigned int targets = 0;

	for (unsigned int i = 0; i < request->targets; i++) {
		targets |= 1u << request->target[i].rank;
		memory_give(&request->target[i].source);
		memory_give(&request->target[i].target);
	}
	request->has_ended = true;
	request->has_counter = false;
	if (!faults_excuse(request->rank->number, targets, rc))
		world_violation("request %u is refused: %s", request->id, kvr_strerror(rc));
}

static void submit(struct load_request *request)
{
	struct kvr_op ops[LOAD_OPS * LOAD_TARGETS];
	size_t n = make_ops(request, ops);
	struct kvr *kvr = request->rank->kvr;
	int rc;

	world_trace("rank %u starts request %u: a %s of %zu ops, %u targets", request->rank->number,
	            request->id, request->is_read ? "read" : "write", n, request->targets);
	if (request->is_read)
		rc = kvr_read(kvr, ops, n, &request->handle);
	else
		rc = kvr_write(kvr, ops, n, request->has_counter ? request->id : KVR_NO_COUNTER,
		               &request->handle);
	if (rc)
		refused(request, rc);
}

static void start(struct sim_rank *rank)
{
	struct load_request *request = &load.request[load.started];
	struct dice *dice = &load.dice;
	unsigned int wanted = dice_chance(dice, 60) ? 1 : 1 + dice_roll(dice, LOAD_TARGETS);

	*request = (struct load_request){.id = load.started + 1, .rank = rank};
	request->is_read = dice_chance(dice, 40);
	request->has_counter = !request->is_read && dice_chance(dice, 85);
	while (wanted--)
		add_target(request, dice);
	if (!request->targets)
		return;
	load.started++;
	load.batches += request->targets;
	submit(request);
}

static struct load_request *some_active(const struct sim_rank *rank)
{
	struct load_request *active[LOAD_REQUESTS], *r;
	unsigned int n = 0;

	for (r = load.request; r < load.request + load.started; r++)
		if (r->rank == rank && !r->has_ended)
			active[n++] = r;
	return n ? active[dice_roll(&load.dice, n)] : NULL;
}

static void cancel(struct load_request *request)
{
	world_trace("request %u is cancelled", request->id);
	request->is_cancelled = true;
	kvr_request_cancel(request->handle);
}

static void watch(struct load_request *request)
{
	int rc = kvr_request_wait(request->handle, dice_chance(&load.dice, 10) ? 1 : 0);

	if (rc != -ETIMEDOUT)
		check_ended(request, rc);
	else if (dice_chance(&load.dice, 20) && faults.kinds & FAULT_CANCEL)
		cancel(request);
}

static void close_early(struct load_request *request)
{
	if (!request->handle->finished && kvr_request_close(request->handle) != -EBUSY)
		world_violation("request %u is closed before it has ended", request->id);
}

/* Where its region lies idle, and all are there to take part. */
static void renew(struct sim_rank *rank)
{
	enum memory_role role = dice_roll(&load.dice, MEMORY_ROLES);
	unsigned int region = dice_roll(&load.dice, MEMORY_REGIONS);

	for (unsigned int i = 0; i < ranks_count; i++)
		if (ranks[i].paused_until > world.now || (ranks[i].inside && &ranks[i] != rank))
			return;
	if (memory_is_free(rank->number, role, region))
		ranks_renew(rank, role, region);
}

static unsigned int count_active(void)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < load.started; i++)
		n += !load.request[i].has_ended;
	return n;
}

static void act_on(struct sim_rank *rank, struct load_request *request)
{
	unsigned int what = dice_roll(&load.dice, 100), active = count_active();

	if (what < (active ? 15 : 60) && load.started < load.wanted && active < MOST_AT_ONCE)
		start(rank);
	else if (what < 20)
		check_refusal(rank, &load.dice);
	else if (what < 25)
		kvr_counter_wait(rank->kvr, dice_roll(&load.dice, LOAD_REQUESTS), 1, 0, NULL);
	else if (what < 28)
		renew(rank);
	else if (!request)
		return;
	else if (what < 35 && faults.kinds & FAULT_CANCEL)
		cancel(request);
	else if (what < 40)
		close_early(request);
	else if (what < 60)
		watch(request);
	else if (what < 63)
		places_move(rank);
}

void load_act(void)
{
	struct sim_rank *rank = &ranks[dice_roll(&load.dice, ranks_count)];

	/* The faults are to meet work: there should be some until all is done. */
	if (!dice_chance(&load.dice, count_active() ? ACT_PERCENT : 50))
		return;
	if (!ranks_can_act(rank))
		return;
	rank->inside = true;
	act_on(rank, some_active(rank));
	rank->inside = false;
	rank->idle = false;
	rank->is_news = true;
}

bool load_is_over(void)
{
	bool any_alive = false;

	for (unsigned int i = 0; i < load.started; i++)
		if (!load.request[i].has_ended && !load.request[i].rank->is_dead)
			return false;
	for (unsigned int i = 0; i < ranks_count; i++)
		any_alive |= !ranks[i].is_dead;
	return load.started == load.wanted || !any_alive;
}

bool load_bury(struct sim_rank *rank)
{
	struct load_request *r;
	bool all = true;

	for (r = load.request; r < load.request + load.started; r++) {
		if (r->rank != rank || r->has_ended)
			continue;
		if (!r->handle->finished) {
			kvr_request_cancel(r->handle);
			all = false;
			continue;
		}
		kvr_request_close(r->handle);
		r->has_ended = true;
	}
	return all;
}
