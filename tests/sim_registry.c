/* SPDX-License-Identifier: MIT
 * Memory as the simulated NICs know it: what is registered, its keys and its addresses. */
#include "sim_fabric.h"
#include "sim_world.h"
#include <errno.h>
#include <stdlib.h>

static const struct fabric_mr *find_key(const struct fabric_nic *nic, uint64_t key)
{
	const struct fabric_mr *mr = nic->mrs;

	while (mr && mr->key != key)
		mr = mr->next;
	return mr;
}

/* The same for all NICs of a rank, and nothing that differs from run to run. */
static uint64_t base_of(const struct fabric_nic *nic, const uint8_t *addr)
{
	const struct fabric_nic *other;
	const struct fabric_mr *mr;

	for (unsigned int i = 0; i < SIM_RAILS; i++) {
		other = &sim.nic[nic->rank][i];
		for (mr = other->mrs; mr; mr = mr->next)
			if (addr >= mr->addr && addr < mr->addr + mr->len)
				return mr->base + (addr - mr->addr);
	}
	sim.last_base += 1ull << 32;
	return sim.last_base;
}

int registry_reg(struct fabric_nic *nic, const struct fabric_memory *memory, uint64_t key,
                 struct fabric_mr **out)
{
	struct fabric_mr *mr = calloc(1, sizeof(*mr));

	if (!mr)
		return -ENOMEM;
	*mr = (struct fabric_mr){.nic = nic, .addr = memory->addr, .len = memory->len, .key = key};
	if (sim.virtual_addresses) {
		sim.last_key += 1 + dice_roll(&world.dice, 1000);
		mr->key = sim.last_key;
		mr->base = base_of(nic, memory->addr);
	}
	if (find_key(nic, mr->key)) {
		world_violation("key %llu is registered twice on rail %u.%u",
		                (unsigned long long)mr->key, nic->rank, nic->index);
		free(mr);
		return -EINVAL;
	}
	mr->next = nic->mrs;
	nic->mrs = mr;
	*out = mr;
	return 0;
}

int registry_dereg(struct fabric_mr *mr)
{
	struct fabric_mr **at = &mr->nic->mrs;

	while (*at != mr)
		at = &(*at)->next;
	*at = mr->next;
	free(mr);
	return 0;
}

uint64_t registry_key(const struct fabric_mr *mr)
{
	return mr->key;
}

uint64_t registry_base(const struct fabric_nic *nic, const void *addr)
{
	return sim.virtual_addresses ? base_of(nic, addr) : 0;
}
