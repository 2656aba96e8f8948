/* SPDX-License-Identifier: MIT
 * Instances of a model over ranks, and the layout of each rank's cache. */
#include "group.h"
#include <errno.h>
#include <stdbool.h>

static uint32_t stage_first(const struct group *g, const struct model *model, uint32_t stage)
{
	return (uint32_t)((uint64_t)model->layers * stage / g->pp);
}

int group_layout(const struct group *g, const struct model *model, uint32_t index,
                 struct kvr_layout *out)
{
	uint32_t stage = index % group_size(g) / g->tp;
	struct kvr_layout layout = {
		.size = sizeof(layout),
		.first_layer = stage_first(g, model, stage),
		.layers = stage_first(g, model, stage + 1) - stage_first(g, model, stage),
		.parts = model->parts,
		.head_bytes = (uint32_t)model_head_bytes(model),
		.blocks = g->blocks,
		.block_tokens = g->block_tokens,
	};
	int rc = kvr_layout_shard(&layout, model->heads, g->tp, index % g->tp);

	if (!rc)
		rc = kvr_layout_pack(&layout, g->order);
	if (!rc)
		*out = layout;
	return rc;
}

int group_block_bytes(const struct group *g, const struct model *model, uint64_t *out)
{
	uint32_t layers = (model->layers + g->pp - 1) / g->pp;
	uint32_t heads = model->heads > g->tp ? model->heads / g->tp : 1;
	uint64_t bytes = (uint64_t)g->block_tokens * layers;

	if (__builtin_mul_overflow(bytes, model->parts, &bytes) ||
	    __builtin_mul_overflow(bytes, heads, &bytes) ||
	    __builtin_mul_overflow(bytes, model_head_bytes(model), &bytes))
		return -EOVERFLOW;
	*out = bytes;
	return 0;
}

/* What both sides hold of one layer. */
static uint32_t heads_in_common(const struct kvr_layout *a, const struct kvr_layout *b)
{
	uint32_t first = a->first_head > b->first_head ? a->first_head : b->first_head;
	uint32_t a_end = a->first_head + a->heads, b_end = b->first_head + b->heads;
	uint32_t end = a_end < b_end ? a_end : b_end;

	return end > first ? end - first : 0;
}

static bool heads_touch(const struct kvr_layout *l, uint32_t heads)
{
	return heads == 1 || l->head_stride == l->head_bytes;
}

static bool tokens_touch(const struct kvr_layout *l, uint64_t bytes)
{
	return l->token_stride == bytes || l->block_tokens == 1;
}

/* Runs of `tokens` tokens in one part of one layer, at most: no two blocks lie side by side. */
static uint64_t most_runs(const struct kvr_layout *a, const struct kvr_layout *b, uint64_t tokens)
{
	uint32_t heads = heads_in_common(a, b);
	uint64_t blocks = tokens / a->block_tokens + tokens / b->block_tokens + 2;
	uint64_t pieces = blocks < tokens ? blocks : tokens;
	bool joined = heads_touch(a, heads) && heads_touch(b, heads);
	uint64_t both = (uint64_t)heads * a->head_bytes;

	if (joined && tokens_touch(a, both) && tokens_touch(b, both))
		return pieces;
	if (tokens_touch(a, a->head_bytes) && tokens_touch(b, b->head_bytes))
		return pieces * heads;
	return joined ? tokens : tokens * heads;
}

/* The most tokens that do not make more runs than that; runs grow with tokens. */
static uint32_t most_tokens(const struct kvr_layout *a, const struct kvr_layout *b, uint64_t runs)
{
	uint32_t low = 1, high = UINT32_MAX;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2 + 1;

		if (most_runs(a, b, middle) <= runs)
			low = middle;
		else
			high = middle - 1;
	}
	return low;
}

uint32_t group_chunk(const struct group *const groups[2], const struct model *model,
                     uint32_t layers, uint64_t max_runs)
{
	uint64_t each = max_runs / ((uint64_t)layers * model->parts);
	uint32_t chunk = UINT32_MAX, tokens;
	uint32_t block = groups[0]->block_tokens > groups[1]->block_tokens
	                         ? groups[0]->block_tokens
	                         : groups[1]->block_tokens;
	struct kvr_layout from, to;

	for (uint32_t i = 0; i < groups[0]->tp; i++)
		for (uint32_t j = 0; j < groups[1]->tp; j++) {
			if (group_layout(groups[0], model, i, &from) ||
			    group_layout(groups[1], model, j, &to) || !heads_in_common(&from, &to))
				continue;
			tokens = most_tokens(&from, &to, each);
			chunk = tokens < chunk ? tokens : chunk;
		}
	/* Whole blocks, where one fits: two writes would each move a part of it. */
	return chunk < block ? chunk : chunk - chunk % block;
}
