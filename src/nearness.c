/* SPDX-License-Identifier: MIT
 * Where this rank's memory and rails are, and what follows for its transfers. */
#include "nearness.h"
#include "context.h"
#include "log.h"
#include "machine.h"
#include "mapping.h"
#include "topology.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include <xxhash.h>

const struct pages_source *nearness_pages = &pages_of_kernel;

void nearness_identify(struct kvr *kvr, const struct fabric_list *list)
{
	char id[256] = "";

	/* Hosts of one name, such as containers, do not have the same NIC. */
	gethostname(id, 128);
	strcpy(id + strlen(id) + 1, list->offers[0].link);
	kvr->nearness.machine = XXH64(id, sizeof(id), 0);
}

/* A file of another machine is the user's to put right; that a laptop's rails are on no bus that
 * hwloc shows is nobody's. */
static void warn(const struct machine *machine, bool is_here)
{
	char doubts[512];

	machine_doubts(machine, doubts, sizeof(doubts));
	if (!*doubts)
		return;
	if (!is_here)
		log_warning("topology: %s", doubts);
	else if (machine->map.nodes > 1)
		log_info("topology: %s", doubts);
}

static int read_mapping(struct kvr *kvr, char why[FABRIC_WHY])
{
	char text[FABRIC_WHY - 16];
	int rc;

	if (!*kvr->config.mapping)
		return 0;
	rc = mapping_load(kvr->config.mapping, &kvr->nearness.map, text, sizeof(text));
	if (rc)
		snprintf(why, FABRIC_WHY, "KVR_MAPPING %s", text);
	else if (*text)
		log_warning("KVR_MAPPING %s", text);
	return rc;
}

static bool has_rails(const struct affinity_map *map, unsigned int node)
{
	for (unsigned int r = 0; r < map->rails; r++)
		if (map->to_node[node][r] <= DISTANCE_NODE)
			return true;
	return false;
}

int nearness_survey(struct kvr *kvr, const struct topology *topology, char why[FABRIC_WHY])
{
	struct nearness *n = &kvr->nearness;
	struct machine_rail rails[KVR_MAX_RAILS];
	struct machine *machine = malloc(sizeof(*machine));

	if (!machine)
		return -ENOMEM;
	for (unsigned int r = 0; r < kvr->rail_count; r++) {
		memcpy(rails[r].name, kvr->rails[r].name, sizeof(rails[r].name));
		memcpy(rails[r].pci, kvr->rails[r].pci, sizeof(rails[r].pci));
	}
	machine_survey(topology, rails, kvr->rail_count, machine);
	n->map = machine->map;
	for (unsigned int g = 0; g < n->map.gpus; g++)
		memcpy(n->gpu_pci[g], machine->gpu[g].pci, sizeof(n->gpu_pci[g]));
	for (unsigned int i = 0; i < n->map.nodes; i++)
		n->with_rails |= (uint64_t)has_rails(&n->map, i) << i;
	n->is_here = topology_is_here(topology);
	n->bound = topology_bound_nodes(topology);
	if (topology)
		warn(machine, n->is_here);
	free(machine);
	return read_mapping(kvr, why);
}

static uint64_t node_bit(const struct affinity_map *map, unsigned int node)
{
	int number = map->node_number[node];

	return number < 64 ? UINT64_C(1) << number : 0;
}

/* Where a rank is of which nobody knows where: ranks in blocks over the nodes that have rails,
 * whatever a mapping makes of these, or over all where none has. */
static uint64_t node_by_turn(const struct nearness *n, struct affinity_share share)
{
	uint64_t nodes = n->with_rails;
	unsigned int turn;

	if (share.count < 2 || !n->map.nodes)
		return 0;
	if (!nodes)
		nodes = UINT64_MAX >> (64 - n->map.nodes);
	turn = (unsigned int)((uint64_t)share.ordinal * (unsigned int)__builtin_popcountll(nodes) /
	                      share.count);
	while (turn--)
		nodes &= nodes - 1;
	return node_bit(&n->map, (unsigned int)__builtin_ctzll(nodes));
}

/* What a rank of the job has said of itself. */
struct seat {
	uint64_t machine;
	int rank;
	uint32_t rails, near;
};

static int compare_seats(const void *a, const void *b)
{
	const struct seat *x = a, *y = b;

	if (x->machine != y->machine)
		return x->machine < y->machine ? -1 : 1;
	return (x->rank > y->rank) - (x->rank < y->rank);
}

/* Ranks that share a machine follow each other, in their order. NULL: no memory. */
static struct seat *take_seats(const struct kvr *kvr, const uint8_t *addresses,
                               struct wire_address *scratch)
{
	struct seat *seats = calloc((unsigned int)kvr->nranks, sizeof(*seats));
	uint32_t version;

	for (int i = 0; seats && i < kvr->nranks; i++) {
		wire_address_decode(addresses + (size_t)i * KVR_ADDRESS_MAX, KVR_ADDRESS_MAX,
		                    scratch, &version);
		seats[i] = (struct seat){scratch->machine, i, scratch->rails, scratch->near};
	}
	if (seats)
		qsort(seats, (unsigned int)kvr->nranks, sizeof(*seats), compare_seats);
	return seats;
}

static unsigned int count_machine(const struct seat *seat, const struct seat *end)
{
	unsigned int n = 1;

	while (seat + n < end && seat[n].machine == seat->machine)
		n++;
	return n;
}

/* Rails that are near to where a rank is taken to be, on a machine like this one; 0: unknown. */
static uint32_t near_seat(const struct nearness *n, const struct seat *seat,
                          struct affinity_share share)
{
	uint64_t nodes = node_by_turn(n, share);

	if (seat->near)
		return seat->near;
	return nodes && seat->rails == n->map.rails ? nearness_of_nodes(n, nodes).near : 0;
}

static void find_share(struct nearness *n, const struct seat *group, unsigned int count, int rank)
{
	n->share = (struct affinity_share){.count = count};
	while (group[n->share.ordinal].rank != rank)
		n->share.ordinal++;
	n->home = n->bound ? n->bound : node_by_turn(n, n->share);
	n->near = nearness_of_nodes(n, 0).near;
}

/* Where each is, and which rails are near to no other rank of this machine. */
static void look_around(struct kvr *kvr, const struct seat *seats)
{
	struct nearness *n = &kvr->nearness;
	const struct seat *group, *end = seats + kvr->nranks;
	struct affinity_share share;
	uint32_t near;

	n->spare = rails_first(kvr->rail_count);
	for (group = seats; group < end; group += share.count) {
		share.count = count_machine(group, end);
		for (share.ordinal = 0; share.ordinal < share.count; share.ordinal++) {
			near = near_seat(n, &group[share.ordinal], share);
			kvr->peers[group[share.ordinal].rank]->home = near;
			if (group->machine == n->machine && group[share.ordinal].rank != kvr->rank)
				n->spare &= near ? ~near : 0;
		}
	}
}

int nearness_join(struct kvr *kvr, const uint8_t *addresses, struct wire_address *scratch)
{
	struct nearness *n = &kvr->nearness;
	struct seat *seats = take_seats(kvr, addresses, scratch), *group = seats;
	struct affinity order;

	if (!seats)
		return -ENOMEM;
	while (group->machine != n->machine)
		group++;
	find_share(n, group, count_machine(group, seats + kvr->nranks), kvr->rank);
	look_around(kvr, seats);
	free(seats);
	order = nearness_order(n, -1, 0);
	kvr->next_rail = order.rail[0];
	log_info("rank %d is number %u of %u on its machine; %u of %u rails are near to it",
	         kvr->rank, n->share.ordinal, n->share.count, order.near, order.rails);
	return 0;
}

/* Appends rails [from, to) of an order, without those that are there. */
static void append(struct affinity *out, const struct affinity *more, unsigned int from,
                   unsigned int to)
{
	for (unsigned int i = from; i < to; i++) {
		if (memchr(out->rail, more->rail[i], out->rails))
			continue;
		out->rail[out->rails] = more->rail[i];
		out->distance[out->rails++] = more->distance[i];
	}
}

/* Near is what is near to any of the nodes, and far what is so for all. */
static struct affinity order_of_nodes(const struct nearness *n, uint64_t nodes)
{
	struct affinity out = {0}, one;

	for (unsigned int i = 0; i < n->map.nodes; i++) {
		if (!(nodes & node_bit(&n->map, i)))
			continue;
		affinity_order(&n->map, (struct affinity_place){-1, n->map.node_number[i]},
		               n->share, &one);
		append(&out, &one, 0, one.near);
	}
	out.near = out.rails;
	for (unsigned int i = 0; i < n->map.nodes; i++) {
		if (!(nodes & node_bit(&n->map, i)))
			continue;
		affinity_order(&n->map, (struct affinity_place){-1, n->map.node_number[i]},
		               n->share, &one);
		append(&out, &one, one.near, one.rails);
	}
	return out;
}

struct affinity nearness_order(const struct nearness *n, int gpu, uint64_t nodes)
{
	struct affinity out = {0};

	if (gpu < 0)
		out = order_of_nodes(n, nodes ? nodes : n->home);
	/* A GPU's, or nothing is known of these nodes. */
	if (!out.rails)
		affinity_order(&n->map, (struct affinity_place){gpu, -1}, n->share, &out);
	return out;
}

int nearness_gpu(const struct nearness *n, const struct cuda_gpu *gpu)
{
	bool has_addresses = false;

	for (int g = 0; gpu->device >= 0 && g < AFFINITY_GPUS; g++) {
		has_addresses |= *n->gpu_pci[g];
		if (*n->gpu_pci[g] && !strcasecmp(n->gpu_pci[g], gpu->pci))
			return g;
	}
	/* Where none of them has its address, it is another one than the map has. */
	return has_addresses && *gpu->pci ? AFFINITY_GPUS : gpu->device;
}

static struct rail_set set_of(const struct nearness *n, const struct affinity *order)
{
	struct rail_set set = {0};

	for (unsigned int i = 0; i < order->rails; i++) {
		set.any |= UINT32_C(1) << order->rail[i];
		if (i < order->near)
			set.near |= UINT32_C(1) << order->rail[i];
	}
	set.far = set.any & n->spare & ~set.near;
	return set;
}

struct rail_set nearness_of_gpu(const struct nearness *n, int gpu)
{
	struct affinity order = nearness_order(n, gpu, 0);

	return set_of(n, &order);
}

struct rail_set nearness_of_nodes(const struct nearness *n, uint64_t nodes)
{
	struct affinity order = nearness_order(n, -1, nodes);

	return set_of(n, &order);
}
