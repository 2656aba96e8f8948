/* SPDX-License-Identifier: MIT
 * The ranks of one kind, prefill or decode: how they form instances of the model, and which part of
 * the KV cache each of them keeps, in which order. Pure. */
#ifndef GROUP_H
#define GROUP_H

#include "model.h"
#include <kvrail.h>

/* Ranks come instance by instance, in each of them pipeline stage by stage. */
struct group {
	uint32_t ranks;
	uint32_t tp, pp; /* ranks that share a layer's heads; stages that share the layers */
	uint32_t block_tokens;
	char order[6];   /* of the cache, as kvr_layout_pack takes it */
	uint32_t blocks; /* in the cache of each rank */
};

/* Ranks of one instance. */
static inline uint32_t group_size(const struct group *g)
{
	return g->tp * g->pp;
}

static inline uint32_t group_instances(const struct group *g)
{
	return g->ranks / group_size(g);
}

static inline uint32_t group_blocks_for(const struct group *g, uint32_t tokens)
{
	return tokens / g->block_tokens + (tokens % g->block_tokens != 0);
}

/* The layout of rank `index` of the group. Negative as kvr_layout_shard and kvr_layout_pack, which
 * say what is wrong. Stages differ by a layer at most, and earlier ones have fewer. */
int group_layout(const struct group *, const struct model *, uint32_t index,
                 struct kvr_layout *out);

/* The KV of one block in all layers and heads of the rank that keeps most. -EOVERFLOW. */
int group_block_bytes(const struct group *, const struct model *, uint64_t *out);

/* Tokens of a request that make one write from any rank of an instance to any of the other side's,
 * so that for no pair of ranks, in `layers` layers, there are more than `max_runs` runs: both sides
 * have to know how many writes there will be. `groups`: from and to. */
uint32_t group_chunk(const struct group *const groups[2], const struct model *, uint32_t layers,
                     uint64_t max_runs);

#endif
