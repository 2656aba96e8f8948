/* SPDX-License-Identifier: MIT
 * Where the simulated ranks' memory and rails are. */
#include "sim_places.h"
#include "context.h"
#include <errno.h>

#define PAGE  4096
#define NODES 4

static struct {
	struct dice dice;
	unsigned int nodes;      /* 0: nobody knows anything */
	unsigned int chunk;      /* pages that follow each other on one node */
	unsigned int generation; /* how often they have moved */
} machine;

/* Nothing that differs from run to run: by the place in all memory. */
static int node_of(uint64_t page)
{
	struct dice dice = dice_of(page / machine.chunk * 8 + machine.generation);

	return dice_chance(&dice, 10) ? -ENOENT : (int)dice_roll(&dice, machine.nodes);
}

static int answer(void *arg, size_t count, void *const *address, int *node)
{
	const uint8_t *all = memory_at(0, 0, 0);

	(void)arg;
	if (dice_chance(&machine.dice, 5))
		return EPERM;
	for (size_t i = 0; i < count; i++)
		node[i] = node_of((uint64_t)((const uint8_t *)address[i] - all) / PAGE);
	return 0;
}

void places_open(void)
{
	static const struct pages_source source = {.ask = answer, .page = PAGE};

	nearness_pages = &source;
	machine.dice = world_dice(4);
	machine.nodes = dice_chance(&machine.dice, 60) ? 1 + dice_roll(&machine.dice, NODES) : 0;
	machine.chunk = 1 + dice_roll(&machine.dice, 40);
	machine.generation = 0;
}

void places_choose(struct sim_rank *rank)
{
	struct nearness *n = &rank->kvr->nearness;
	struct dice *dice = &machine.dice;

	n->map.nodes = machine.nodes;
	for (unsigned int i = 0; i < machine.nodes; i++) {
		n->map.node_number[i] = (int)i;
		for (unsigned int r = 0; r < n->map.rails; r++)
			n->map.to_node[i][r] = DISTANCE_NODE + dice_roll(dice, 5);
		/* A mapping that leaves all out is refused. */
		n->map.to_node[i][dice_roll(dice, n->map.rails)] = DISTANCE_NODE;
	}
	if (!machine.nodes)
		return;
	n->share.count = 1 + dice_roll(dice, 4);
	n->share.ordinal = dice_roll(dice, n->share.count);
	n->home = dice_roll(dice, 1u << machine.nodes);
	n->near = nearness_of_nodes(n, 0).near;
	n->spare = dice_chance(dice, 50) ? UINT32_MAX : dice_roll(dice, 1ull << 32);
}

void places_move(struct sim_rank *rank)
{
	struct kvr_region *region = rank->region[dice_roll(&machine.dice, MEMORY_ROLES)]
	                                        [dice_roll(&machine.dice, MEMORY_REGIONS)];

	machine.generation++;
	world_trace("pages move, and rank %u looks", rank->number);
	if (kvr_region_refresh(region) < 0)
		world_violation("kvr_region_refresh fails");
}
