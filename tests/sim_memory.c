/* SPDX-License-Identifier: MIT
 * All memory that the simulated ranks' users own, and whose each grain is. */
#include "sim_memory.h"
#include "sim_fabric.h"
#include "sim_world.h"
#include <string.h>

#define GRAINS (MEMORY_ARENA / MEMORY_GRAIN)
#define CANARY 0xc5

static uint8_t memory[SIM_RANKS][MEMORY_ROLES][MEMORY_ARENA] __attribute__((aligned(4096)));
static uint8_t canary[4096];
static uint32_t owner[SIM_RANKS][MEMORY_ROLES][GRAINS];
static uint32_t cursor[SIM_RANKS][MEMORY_ROLES];
static bool is_filled;

/* Source bytes say where they are from; they are never written again. */
static void fill(void)
{
	uint64_t word = 0;

	memset(canary, CANARY, sizeof(canary));
	for (unsigned int r = 0; r < SIM_RANKS; r++) {
		for (uint32_t at = 0; at < MEMORY_ARENA; at += sizeof(word)) {
			word = word * 6364136223846793005u + 1442695040888963407u;
			memcpy(&memory[r][MEMORY_SOURCE][at], &word, sizeof(word));
		}
		memset(memory[r][MEMORY_TARGET], CANARY, MEMORY_ARENA);
	}
	is_filled = true;
}

void memory_open(void)
{
	memset(owner, 0, sizeof(owner));
	memset(cursor, 0, sizeof(cursor));
	if (!is_filled || !memory_is_clean())
		fill();
}

uint8_t *memory_at(unsigned int rank, enum memory_role role, uint32_t at)
{
	return &memory[rank][role][at];
}

static uint32_t grains(uint32_t len)
{
	return (len + MEMORY_GRAIN - 1) / MEMORY_GRAIN;
}

bool memory_take(struct extent *out, unsigned int rank, enum memory_role role, uint32_t len,
                 uint32_t request)
{
	uint32_t *owners = owner[rank][role], n = grains(len), *at = &cursor[rank][role];
	uint32_t per_region = GRAINS / MEMORY_REGIONS, free = 0;

	for (uint32_t tried = 0; n <= per_region && tried < GRAINS + n; tried++) {
		if (*at % per_region == 0)
			free = 0;
		free = owners[*at] ? 0 : free + 1;
		*at = (*at + 1) % GRAINS;
		if (free < n)
			continue;
		*out = (struct extent){rank, role, (*at + GRAINS - n) % GRAINS * MEMORY_GRAIN, len};
		for (uint32_t i = 0; i < n; i++)
			owners[out->at / MEMORY_GRAIN + i] = request;
		return true;
	}
	return false;
}

void memory_give(const struct extent *extent)
{
	uint32_t *owners = &owner[extent->rank][extent->role][extent->at / MEMORY_GRAIN];

	for (uint32_t i = 0; i < grains(extent->len); i++)
		owners[i] = 0;
	if (extent->role == MEMORY_TARGET)
		memset(&memory[extent->rank][extent->role][extent->at], CANARY,
		       (size_t)grains(extent->len) * MEMORY_GRAIN);
}

bool memory_is_free(unsigned int rank, enum memory_role role, unsigned int region)
{
	uint32_t first = region * (GRAINS / MEMORY_REGIONS);

	for (uint32_t i = 0; i < GRAINS / MEMORY_REGIONS; i++)
		if (owner[rank][role][first + i])
			return false;
	return true;
}

static bool is_canary(const uint8_t *bytes, size_t len)
{
	size_t n;

	for (; len; bytes += n, len -= n) {
		n = len < sizeof(canary) ? len : sizeof(canary);
		if (memcmp(bytes, canary, n))
			return false;
	}
	return true;
}

bool memory_is_right(const struct extent *target, unsigned int source_rank, const struct runs *runs,
                     unsigned int n)
{
	const uint8_t *sources = memory[source_rank][MEMORY_SOURCE];
	const uint8_t *targets = memory[target->rank][MEMORY_TARGET];
	uint64_t seen = target->at, to, end = target->at + grains(target->len) * MEMORY_GRAIN;

	for (const struct runs *r = runs; r < runs + n; r++) {
		for (uint64_t i = 0; i < r->count; i++) {
			to = r->target + i * r->target_stride;
			if (!is_canary(targets + seen, to - seen) ||
			    memcmp(targets + to, sources + r->source + i * r->source_stride,
			           r->len))
				return false;
			seen = to + r->len;
		}
	}
	return is_canary(targets + seen, end - seen);
}

bool memory_is_clean(void)
{
	for (unsigned int r = 0; r < SIM_RANKS; r++)
		for (uint32_t g = 0, end; g < GRAINS; g = end + 1) {
			for (end = g; end < GRAINS && !owner[r][MEMORY_TARGET][end];)
				end++;
			if (!is_canary(&memory[r][MEMORY_TARGET][g * MEMORY_GRAIN],
			               (size_t)(end - g) * MEMORY_GRAIN))
				return false;
		}
	return true;
}

/* The owners of the grains that bytes lie in, if they are of this role; NULL if not. */
static const uint32_t *owners_of(const void *bytes, enum memory_role role)
{
	size_t at = (uintptr_t)bytes - (uintptr_t)memory; /* huge where it lies before */

	if (at >= sizeof(memory) || at / MEMORY_ARENA % MEMORY_ROLES != role)
		return NULL;
	return &owner[at / (MEMORY_ARENA * MEMORY_ROLES)][role][at % MEMORY_ARENA / MEMORY_GRAIN];
}

static bool is_users(const void *bytes)
{
	return owners_of(bytes, MEMORY_SOURCE) || owners_of(bytes, MEMORY_TARGET);
}

static bool are_all(const uint32_t *owners, const void *bytes, uint64_t len, uint32_t request)
{
	size_t first = (uintptr_t)bytes - (uintptr_t)memory;
	size_t n = (first + len - 1) / MEMORY_GRAIN - first / MEMORY_GRAIN;

	for (size_t i = 0; i <= n; i++)
		if (owners[i] != request)
			return false;
	return true;
}

void memory_check_landing(const void *to, const void *from, uint64_t len)
{
	const uint32_t *takes = owners_of(to, MEMORY_TARGET);
	const uint32_t *gives = owners_of(from, MEMORY_SOURCE);

	if (!takes && !is_users(to))
		return; /* the engine's own */
	if (!takes)
		world_violation("promise 4: bytes land in memory that is only read");
	else if (!*takes)
		world_violation("promise 4: bytes land that no request has, or that had ended");
	else if (!gives || !are_all(takes, to, len, *takes) || !are_all(gives, from, len, *takes))
		world_violation("promise 4: bytes that are not request %u's land in its memory",
		                *takes);
}
