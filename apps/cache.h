/* SPDX-License-Identifier: MIT
 * A rank's paged KV cache in one piece of memory, as its layout says. Blocks come from a shuffled
 * free list, so a request's block table is never contiguous. Not thread-safe. */
#ifndef CACHE_H
#define CACHE_H

#include <kvrail.h>
#include <stdint.h>
#include <sys/types.h>

struct cache {
	struct kvr_layout layout;
	uint64_t token_bytes; /* of one token, as far as it is kept here */
	uint64_t bytes;
	uint8_t *memory;
	uint32_t *free_list;
	uint32_t free_count;
	uint64_t random; /* state of the shuffle */
};

/* Of the layout's blocks, all in one region. Errors as kvr_layout_bytes; -ENOMEM. */
int cache_open(const struct kvr_layout *, uint64_t seed, struct cache *out);
void cache_close(struct cache *);

/* Takes blocks off the free list into table; -ENOSPC, and nothing taken, if there are not enough.
 */
int cache_take(struct cache *, uint32_t count, uint32_t *table);
/* At random places; aborts if that makes more blocks than there are. */
void cache_give(struct cache *, uint32_t count, const uint32_t *table);

/* KV that is known by a pattern: every byte depends on its request, or chunk of a prompt, on its
 * layer, part, token and head in the model, and on its place in the head. So each rank can check
 * its shard, whatever the others' look like. */
struct cache_kv {
	uint64_t request;
	/* The first `shared` tokens depend on their chunk's id and their place in it instead: KV
	 * of the same prompt is the same in all requests. */
	const uint64_t *ids;
	uint32_t shared, chunk_tokens;
	const uint32_t *table;
	uint32_t first_token, tokens; /* first_token is the first block's first */
	uint32_t first_layer, layers; /* counted from the first that is held here */
};

void cache_fill(struct cache *, const struct cache_kv *);

/* Every step-th token (1: all; the first and last always); returns the number of wrong bytes,
 * *compared gets the number of bytes looked at. */
uint64_t cache_compare(const struct cache *, const struct cache_kv *, uint32_t step,
                       uint64_t *compared);

/* All layers of a request of `tokens` tokens, nothing of it shared. */
static inline struct cache_kv cache_kv_of(const struct cache *cache, uint64_t request,
                                          const uint32_t *table, uint32_t tokens)
{
	return (struct cache_kv){.request = request,
	                         .table = table,
	                         .tokens = tokens,
	                         .layers = cache->layout.layers};
}

#endif
