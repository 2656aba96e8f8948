/* SPDX-License-Identifier: MIT
 * One seed, from beginning to end. */
#include "sim_run.h"
#include "rail.h"
#include "sim_alloc.h"
#include "sim_check.h"
#include "sim_faults.h"
#include "sim_world.h"
#include <kvrail.h>

#define LIMIT (25 * S) /* all requests must have ended, whatever happens; but each one of ... */
#define LOST                                                                                       \
	(1500 * MS) /* ... the completions that get lost may cost as much, one after the other */
#define QUIET  (20 * S)
#define BURIAL (40 * S)

static void on_log(void *arg, int level, const char *line)
{
	(void)arg;
	(void)level;
	world_trace("log: %s", line);
}

static void open_all(uint64_t seed, uint32_t mask, bool trace)
{
	struct dice dice;

	world_open(seed, trace);
	dice = world_dice(2);
	sim_fabric_open(&dice);
	sim.stays = mask & FAULT_EFA;
	sim.on_landing = memory_check_landing;
	memory_open();
	faults = (struct faults){0}; /* opening is spared, also the last seed's */
	ranks_open(&dice);
	faults_plan(mask);
	load_open();
	alloc_between_posts();
}

static void turn(void)
{
	ranks_turn();
	for (unsigned int i = 0; i < ranks_count; i++)
		if (ranks[i].is_news)
			check_rank(&ranks[i]);
}

static void work(void)
{
	int64_t limit = world.now + LIMIT, settled, quiet;

	while (!world.violations && !load_is_over() &&
	       world.now < limit + (int64_t)world.lost_ends * LOST) {
		load_act();
		turn();
	}
	if (!world.violations && !load_is_over())
		check_hanging();
	settled = world.now + S;
	quiet = world.now + QUIET;
	/* What is still on its way, and what a rail lets go that comes back. Who is silent may be
	 * sent announcements for ever. */
	while (!world.violations && !ranks_are_quiet() && world.now < quiet)
		turn();
	/* A greeting that failed is not to come when the other side closes already. */
	while (!world.violations && faults.send_errors && world.now < settled)
		turn();
	if (!world.violations)
		check_all();
}

/* A dead rank, or one of a seed that went wrong. */
static void bury(struct sim_rank *rank)
{
	int64_t limit = world.now + BURIAL;

	ranks_bury();
	while (!load_bury(rank) && world.now < limit)
		ranks_turn();
	if (load_bury(rank))
		ranks_close(rank, false);
	else
		world_violation("promise 5: rank %u, alone, does not end its requests",
		                rank->number);
}

static void close_all(void)
{
	bool clean = !world.violations && faults_are_mild();

	for (unsigned int i = 0; world.violations && i < ranks_count; i++)
		ranks_kill(&ranks[i]);
	for (unsigned int i = 0; i < ranks_count; i++)
		if (!ranks[i].is_dead)
			ranks_close(&ranks[i], clean);
	for (unsigned int i = 0; i < ranks_count; i++)
		if (ranks[i].kvr)
			bury(&ranks[i]);
	rail_free_left();
	sim_fabric_close();
	world_close();
}

const char *sim_run(uint64_t seed, uint32_t mask, bool trace, struct sim_sum *sum)
{
	kvr_set_log(on_log, NULL);
	open_all(seed, mask, trace);
	work();
	close_all();
	sum->seeds++;
	sum->requests += world.requests;
	sum->cancelled += world.cancelled;
	sum->operations += world.operations;
	sum->faults += world.faults;
	sum->violations += world.violations;
	sum->digest = world.digest;
	return world.violations ? world.violation : NULL;
}
