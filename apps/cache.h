/* SPDX-License-Identifier: MIT
 * A paged KV cache in one piece of memory: bytes are [layer][block][part][token][head][head bytes],
 * as inference engines keep it. Blocks come from a shuffled free list, so a request's block table
 * is never contiguous. Not thread-safe. */
#ifndef CACHE_H
#define CACHE_H

#include "model.h"
#include <stdint.h>
#include <sys/types.h>

struct cache {
	struct model model;
	uint32_t block_tokens, blocks;
	uint64_t part_bytes;  /* of one part of a block in one layer: block_tokens x token bytes */
	uint64_t block_bytes; /* in one layer: parts x part_bytes; the step from block to block */
	uint64_t layer_bytes; /* blocks x block_bytes; the step from layer to layer */
	uint64_t bytes;       /* layers x layer_bytes */
	uint8_t *memory;
	uint32_t *free_list;
	uint32_t free_count;
	uint64_t random; /* state of the shuffle */
};

/* Rounds bytes down to whole blocks (of all layers). -EINVAL: not one block; -EOVERFLOW; -ENOMEM.
 */
int cache_open(const struct model *, uint32_t block_tokens, uint64_t bytes, uint64_t seed,
               struct cache *out);
void cache_close(struct cache *);

/* Blocks that hold `tokens` tokens. */
uint32_t cache_blocks_for(const struct cache *, uint32_t tokens);

/* Takes blocks off the free list into table; -ENOSPC, and nothing taken, if there are not enough.
 */
int cache_take(struct cache *, uint32_t count, uint32_t *table);
/* At random places; aborts if that makes more blocks than there are. */
void cache_give(struct cache *, uint32_t count, const uint32_t *table);

/* Writes request's pattern into, or compares it with, the first `tokens` tokens in the table's
 * blocks: every byte depends on request, layer, part, token, head and its place in the head.
 * compare: every step-th token (1: all; the first and last always); returns the number of
 * wrong bytes, *compared gets the number of bytes looked at. */
void cache_fill(struct cache *, uint64_t request, const uint32_t *table, uint32_t tokens);
uint64_t cache_compare(const struct cache *, uint64_t request, const uint32_t *table,
                       uint32_t tokens, uint32_t step, uint64_t *compared);

#endif
