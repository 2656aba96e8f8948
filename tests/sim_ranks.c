/* SPDX-License-Identifier: MIT
 * The ranks of a simulated job: opened, driven and closed. */
#include "sim_ranks.h"
#include "clock.h"
#include "context.h"
#include "sim_world.h"
#include <errno.h>
#include <string.h>

#define TICK_LEAST (20 * US) /* where nothing happens all ranks look at the clock: so often ... */
#define TICK_MOST  (5 * MS)  /* ... at first, and then less and less */
#define MOURNING   (10 * S)  /* more than a peer's silence may last */
#define COUNTERS   64

struct sim_rank ranks[SIM_RANKS];
unsigned int ranks_count;

static int64_t tick, next_tick;
static bool burying; /* the dead are driven, too */

static int64_t sim_now(void)
{
	return world.now;
}

static void sim_rest(int64_t ns)
{
	(void)ns;
	ranks_turn();
}

static void on_news(unsigned int rank)
{
	ranks[rank].idle = false;
}

static void must(const char *call, int rc)
{
	if (rc < 0)
		world_violation("%s: %s", call, kvr_strerror(rc));
}

static void open_context(struct sim_rank *rank, struct dice *dice)
{
	struct kvr_options options = {
		.size = sizeof(options),
		.piece_bytes = 4096u << dice_roll(dice, 3),
		.queue_depth = 1 + dice_roll(dice, dice_chance(dice, 50) ? 64 : 8),
		.counters = COUNTERS,
		.write_mode = dice_chance(dice, 40) ? KVR_PULL : KVR_PUSH,
	};

	sim.opening = rank->number;
	must("opening a context",
	     context_open(NULL, &options, &sim_fabric_ops,
	                  (uint64_t)dice_roll(dice, 1ull << 61) << 2 | 4, &rank->kvr));
}

static void open_region(struct sim_rank *rank, enum memory_role role, unsigned int i)
{
	must("kvr_region_open",
	     kvr_region_open(rank->kvr, memory_at(rank->number, role, i * MEMORY_REGION),
	                     MEMORY_REGION, KVR_HOST, &rank->region[role][i]));
}

static void open_remote(struct sim_rank *rank, const struct sim_rank *owner, enum memory_role role,
                        unsigned int i)
{
	uint8_t bytes[KVR_DESCRIPTOR_MAX];
	ssize_t n = kvr_region_export(owner->region[role][i], bytes, sizeof(bytes));

	must("kvr_region_export", n);
	must("kvr_remote_open", kvr_remote_open(rank->kvr, rank->peer[owner->number], bytes, n,
	                                        &rank->remote[owner->number][role][i]));
}

static void open_regions(struct sim_rank *rank)
{
	for (int role = 0; role < MEMORY_ROLES; role++)
		for (int i = 0; i < MEMORY_REGIONS; i++)
			open_region(rank, role, i);
}

static void open_remotes(struct sim_rank *rank, const struct sim_rank *owner)
{
	for (int role = 0; role < MEMORY_ROLES; role++)
		for (int i = 0; i < MEMORY_REGIONS; i++)
			open_remote(rank, owner, role, i);
}

static void introduce(struct sim_rank *rank, const struct sim_rank *other)
{
	uint8_t bytes[KVR_ADDRESS_MAX];
	ssize_t n = kvr_address(other->kvr, bytes, sizeof(bytes));

	rank->peer[other->number] = rank == other ? 0 : kvr_peer_add(rank->kvr, bytes, n);
	must("kvr_peer_add", rank->peer[other->number]);
}

static unsigned int some_rails(struct dice *dice)
{
	return 1 + dice_roll(dice, dice_chance(dice, 25) ? SIM_RAILS : 4);
}

void ranks_open(struct dice *dice)
{
	clock_now = sim_now;
	clock_rest = sim_rest;
	sim.on_news = on_news;
	tick = TICK_LEAST;
	next_tick = world.now + tick;
	burying = false;
	ranks_count = 2 + (dice_chance(dice, 50) ? dice_roll(dice, SIM_RANKS - 1) : 0);
	memset(ranks, 0, sizeof(ranks));
	for (unsigned int i = 0; i < ranks_count; i++) {
		ranks[i].number = i;
		sim.rails[i] = some_rails(dice);
		open_context(&ranks[i], dice);
		open_regions(&ranks[i]);
	}
	for (unsigned int i = 0; i < ranks_count; i++)
		for (unsigned int j = 0; j < ranks_count; j++) {
			introduce(&ranks[i], &ranks[j]);
			open_remotes(&ranks[i], &ranks[j]);
		}
}

/* Also one whose requests had all been cancelled. */
static bool has_given_up(const struct sim_rank *rank)
{
	for (uint32_t i = 0; i < rank->kvr->peer_count; i++)
		if (rank->kvr->peers[i] && rank->kvr->peers[i]->state == PEER_DEAD)
			return true;
	return false;
}

/* A write of a rank that is dead, or that somebody takes for dead, may still be being read, until
 * its silence has lasted here as well. */
static bool is_mourning(void)
{
	for (unsigned int i = 0; i < ranks_count; i++) {
		if (ranks[i].kvr)
			ranks[i].has_given_up |= has_given_up(&ranks[i]);
		if (ranks[i].is_dead || ranks[i].has_given_up)
			return true;
	}
	return false;
}

void ranks_renew(struct sim_rank *rank, enum memory_role role, unsigned int region)
{
	struct sim_rank *other;
	int rc = kvr_region_close(rank->region[role][region]);

	if (rc == -EBUSY && is_mourning())
		return;
	must("kvr_region_close", rc);
	world_trace("rank %u renews region %u.%u", rank->number, role, region);
	for (other = ranks; other < ranks + ranks_count; other++)
		if (!other->is_dead)
			must("kvr_remote_close",
			     kvr_remote_close(other->remote[rank->number][role][region]));
	open_region(rank, role, region);
	for (other = ranks; other < ranks + ranks_count; other++)
		if (!other->is_dead)
			open_remote(other, rank, role, region);
}

bool ranks_can_act(const struct sim_rank *rank)
{
	return rank->kvr && !rank->inside && (!rank->is_dead || burying) &&
	       rank->paused_until <= world.now;
}

static void wake_all(void)
{
	for (unsigned int i = 0; i < ranks_count; i++)
		ranks[i].idle = false;
}

/* Nobody has a reason to do anything: on to the next one. */
static void pass_time(void)
{
	int64_t until = world_next() < next_tick ? world_next() : next_tick;

	for (unsigned int i = 0; i < ranks_count; i++)
		if (ranks[i].paused_until > world.now && ranks[i].paused_until < until)
			until = ranks[i].paused_until;
	world_advance(until);
	if (world.now < next_tick)
		return;
	wake_all();
	tick = 2 * tick < TICK_MOST ? 2 * tick : TICK_MOST;
	next_tick = world.now + tick;
}

static void be_busy(void)
{
	tick = TICK_LEAST;
	if (next_tick > world.now + tick)
		next_tick = world.now + tick;
}

static void pass(struct sim_rank *rank)
{
	bool any;

	rank->idle = true;
	rank->inside = true;
	any = kvr_progress(rank->kvr) > 0;
	rank->inside = false;
	world_advance(world.now + 50 + dice_roll(&world.dice, 500));
	if (!any)
		return;
	rank->idle = false;
	rank->is_news = true;
	be_busy();
}

void ranks_turn(void)
{
	struct sim_rank *able[SIM_RANKS];
	unsigned int n = 0;

	for (unsigned int i = 0; i < ranks_count; i++)
		if (ranks_can_act(&ranks[i]) && !ranks[i].idle)
			able[n++] = &ranks[i];
	if (!n) {
		pass_time();
		return;
	}
	pass(able[n > 1 ? dice_roll(&world.dice, n) : 0]);
}

bool ranks_are_quiet(void)
{
	for (unsigned int i = 0; i < ranks_count; i++)
		if (!ranks[i].is_dead && (ranks[i].paused_until > world.now || !ranks[i].idle))
			return false;
	return world_next() == INT64_MAX;
}

void ranks_kill(struct sim_rank *rank)
{
	if (rank->is_dead)
		return;
	rank->is_dead = true;
	rank->paused_until = 0;
	sim_kill(rank->number);
}

void ranks_bury(void)
{
	burying = true;
	wake_all();
}

static void close_region(struct kvr_region *region)
{
	int64_t limit = world.now + MOURNING;
	int rc;

	while ((rc = kvr_region_close(region)) == -EBUSY && is_mourning() && world.now < limit)
		ranks_turn();
	must("kvr_region_close", rc);
}

static void close_memory(struct sim_rank *rank)
{
	for (unsigned int i = 0; i < ranks_count; i++)
		for (int role = 0; role < MEMORY_ROLES; role++)
			for (int j = 0; j < MEMORY_REGIONS; j++)
				must("kvr_remote_close",
				     kvr_remote_close(rank->remote[i][role][j]));
	for (int role = 0; role < MEMORY_ROLES; role++)
		for (int i = 0; i < MEMORY_REGIONS; i++)
			close_region(rank->region[role][i]);
}

void ranks_close(struct sim_rank *rank, bool clean)
{
	struct kvr *kvr = rank->kvr;
	int rc;

	close_memory(rank);
	rank->inside = true;
	rank->paused_until = 0;
	rc = kvr_close(kvr);
	world_trace("rank %u is closed: %d", rank->number, rc);
	if (clean)
		must("kvr_close", rc);
	rank->kvr = NULL;
}
