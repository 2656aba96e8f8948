/* SPDX-License-Identifier: MIT
 * All memory that the simulated ranks' users own. Every grain of it belongs to at most one request,
 * and each landing is looked up: bytes may only go from a request's own source to its own
 * destination, and only while it has not ended. */
#ifndef TESTS_SIM_MEMORY_H
#define TESTS_SIM_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MEMORY_ARENA   (512u * 1024) /* of each rank, for each role */
#define MEMORY_REGIONS 2             /* of each arena, alike */
#define MEMORY_REGION  (MEMORY_ARENA / MEMORY_REGIONS)
#define MEMORY_GRAIN   128

enum memory_role { MEMORY_SOURCE, MEMORY_TARGET, MEMORY_ROLES };

/* A stretch of an arena within one region. */
struct extent {
	unsigned int rank;
	enum memory_role role;
	uint32_t at, len; /* from the arena's start */
};

/* Runs of one op, as they lie in a source and a target extent. */
struct runs {
	uint32_t source, target; /* of the first run, from the arena's start */
	uint64_t source_stride, target_stride, len, count;
};

void memory_open(void);
uint8_t *memory_at(unsigned int rank, enum memory_role, uint32_t at);

/* Takes len bytes for a request; false if there is no such stretch. */
bool memory_take(struct extent *, unsigned int rank, enum memory_role, uint32_t len,
                 uint32_t request);

/* Gives them back. Those of a target get their canary again. */
void memory_give(const struct extent *);

/* Whether no request has anything of a region. */
bool memory_is_free(unsigned int rank, enum memory_role, unsigned int region);

/* Whether an extent's bytes are its runs' sources, and canary between them. */
bool memory_is_right(const struct extent *target, unsigned int source_rank, const struct runs *,
                     unsigned int n);

/* Whether all memory that no request has is canary. */
bool memory_is_clean(void);

/* For sim.on_landing. */
void memory_check_landing(const void *to, const void *from, uint64_t len);

#endif
