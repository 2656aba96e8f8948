/* SPDX-License-Identifier: MIT
 * The paged KV cache: its memory, its free list, and the pattern its bytes are checked by. */
#include "cache.h"
#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define GOLDEN 0x9e3779b97f4a7c15u /* 2^64 over the golden ratio; odd */

/* The finalizer of splitmix64: every input bit reaches every output bit. */
static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

static uint32_t random_below(struct cache *cache, uint32_t bound)
{
	cache->random += GOLDEN;
	return (uint32_t)(((mix(cache->random) >> 32) * bound) >> 32);
}

/* Into a random place of the free list; what was there becomes its last. Done for one block after
 * the other it is a shuffle. */
static void put_free(struct cache *cache, uint32_t block)
{
	uint32_t last = cache->free_count++;
	uint32_t place = random_below(cache, last + 1);

	cache->free_list[last] = cache->free_list[place];
	cache->free_list[place] = block;
}

static int set_sizes(struct cache *cache, uint64_t bytes)
{
	const struct model *m = &cache->model;
	uint64_t all_layers, blocks;

	if (!m->layers || !m->parts || !m->heads || !m->head_dim || !m->element_bytes ||
	    !cache->block_tokens)
		return -EINVAL;
	if (__builtin_mul_overflow((uint64_t)m->head_dim * m->element_bytes, m->heads,
	                           &cache->part_bytes) ||
	    __builtin_mul_overflow(cache->part_bytes, cache->block_tokens, &cache->part_bytes) ||
	    __builtin_mul_overflow(cache->part_bytes, m->parts, &cache->block_bytes) ||
	    __builtin_mul_overflow(cache->block_bytes, m->layers, &all_layers))
		return -EOVERFLOW;
	blocks = bytes / all_layers;
	if (!blocks)
		return -EINVAL;
	if (blocks > UINT32_MAX)
		return -EOVERFLOW;
	cache->blocks = (uint32_t)blocks;
	cache->layer_bytes = blocks * cache->block_bytes;
	cache->bytes = blocks * all_layers;
	return 0;
}

int cache_open(const struct model *model, uint32_t block_tokens, uint64_t bytes, uint64_t seed,
               struct cache *out)
{
	struct cache cache = {.model = *model, .block_tokens = block_tokens, .random = seed};
	int rc = set_sizes(&cache, bytes);

	if (rc)
		return rc;
	cache.free_list = calloc(cache.blocks, sizeof(cache.free_list[0]));
	if (!cache.free_list)
		return -ENOMEM;
	/* Pages of its own, because the network device will be told of them. */
	cache.memory =
		mmap(NULL, cache.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (cache.memory == MAP_FAILED) {
		free(cache.free_list);
		return -ENOMEM;
	}
	/* Only advice: the first fill is mostly page faults otherwise. */
	madvise(cache.memory, cache.bytes, MADV_HUGEPAGE);
	for (uint32_t block = 0; block < cache.blocks; block++)
		put_free(&cache, block);
	*out = cache;
	return 0;
}

void cache_close(struct cache *cache)
{
	if (cache->memory)
		munmap(cache->memory, cache->bytes);
	free(cache->free_list);
	memset(cache, 0, sizeof(*cache));
}

uint32_t cache_blocks_for(const struct cache *cache, uint32_t tokens)
{
	return tokens / cache->block_tokens + (tokens % cache->block_tokens != 0);
}

int cache_take(struct cache *cache, uint32_t count, uint32_t *table)
{
	if (count > cache->free_count)
		return -ENOSPC;
	for (uint32_t i = 0; i < count; i++)
		table[i] = cache->free_list[--cache->free_count];
	return 0;
}

void cache_give(struct cache *cache, uint32_t count, const uint32_t *table)
{
	/* Blocks given twice: the free list would run over, and not only where asserts are on. */
	if (count > cache->blocks - cache->free_count)
		abort();
	for (uint32_t i = 0; i < count; i++) {
		assert(table[i] < cache->blocks);
		put_free(cache, table[i]);
	}
}

static uint8_t *token_at(const struct cache *cache, uint32_t layer, uint32_t part,
                         const uint32_t *table, uint32_t token)
{
	uint32_t block = table[token / cache->block_tokens];
	uint32_t place = token % cache->block_tokens;

	assert(block < cache->blocks);
	return cache->memory + layer * cache->layer_bytes + block * cache->block_bytes +
	       part * cache->part_bytes + place * model_token_bytes(&cache->model);
}

/* Of all tokens in one layer and part. Two fields per word, not sums of products: the pattern is
 * the same for caches of different geometry. */
static uint64_t part_seed(uint64_t request, uint32_t layer, uint32_t part)
{
	return mix(mix(request + GOLDEN) + ((uint64_t)layer << 32 | part));
}

static uint64_t head_seed(uint64_t part_seed, uint32_t token, uint32_t head)
{
	return mix(part_seed + ((uint64_t)token << 32 | head) * GOLDEN);
}

/* Eight bytes of a head, from `offset`. Cheap: all of the cache goes through it; the seed is well
 * mixed already. */
static uint64_t pattern(uint64_t seed, uint64_t offset)
{
	uint64_t x = seed + offset * GOLDEN;

	return (x ^ (x >> 29)) * 0xd6e8feb86659fd93u;
}

static void head_fill(uint8_t *at, uint64_t bytes, uint64_t seed)
{
	uint64_t offset, word;

	for (offset = 0; offset + 8 <= bytes; offset += 8) {
		word = pattern(seed, offset);
		memcpy(at + offset, &word, 8);
	}
	word = pattern(seed, offset);
	memcpy(at + offset, &word, bytes - offset);
}

static bool head_is_right(const uint8_t *at, uint64_t bytes, uint64_t seed)
{
	uint64_t offset, word, wrong = 0;

	/* No way out at the first difference: there seldom is one, and a branch costs more. */
	for (offset = 0; offset + 8 <= bytes; offset += 8) {
		memcpy(&word, at + offset, 8);
		wrong |= word ^ pattern(seed, offset);
	}
	word = pattern(seed, offset);
	return !wrong && !memcmp(at + offset, &word, bytes - offset);
}

static uint64_t head_wrong_bytes(const uint8_t *at, uint64_t bytes, uint64_t seed)
{
	uint64_t wrong = 0, word = 0;
	uint8_t expected[8];

	for (uint64_t i = 0; i < bytes; i++) {
		if (i % 8 == 0) {
			word = pattern(seed, i);
			memcpy(expected, &word, 8);
		}
		wrong += at[i] != expected[i % 8];
	}
	return wrong;
}

static void token_fill(uint8_t *at, const struct model *model, uint64_t seed, uint32_t token)
{
	uint64_t bytes = model_head_bytes(model);

	for (uint32_t head = 0; head < model->heads; head++)
		head_fill(at + head * bytes, bytes, head_seed(seed, token, head));
}

static uint64_t token_compare(const uint8_t *at, const struct model *model, uint64_t seed,
                              uint32_t token)
{
	uint64_t bytes = model_head_bytes(model);
	uint64_t wrong = 0, this_seed;

	for (uint32_t head = 0; head < model->heads; head++, at += bytes) {
		this_seed = head_seed(seed, token, head);
		if (!head_is_right(at, bytes, this_seed))
			wrong += head_wrong_bytes(at, bytes, this_seed);
	}
	return wrong;
}

void cache_fill(struct cache *cache, uint64_t request, const uint32_t *table, uint32_t tokens)
{
	uint64_t seed;

	for (uint32_t layer = 0; layer < cache->model.layers; layer++) {
		for (uint32_t part = 0; part < cache->model.parts; part++) {
			seed = part_seed(request, layer, part);
			for (uint32_t token = 0; token < tokens; token++)
				token_fill(token_at(cache, layer, part, table, token),
				           &cache->model, seed, token);
		}
	}
}

/* The next token to look at; `tokens` behind the last, which is never stepped over. */
static uint32_t next_token(uint32_t token, uint32_t step, uint32_t tokens)
{
	uint32_t last = tokens - 1;

	if (token == last)
		return tokens;
	return step < last - token ? token + step : last;
}

uint64_t cache_compare(const struct cache *cache, uint64_t request, const uint32_t *table,
                       uint32_t tokens, uint32_t step, uint64_t *compared)
{
	uint64_t token_bytes = model_token_bytes(&cache->model);
	uint64_t seed, wrong = 0;

	*compared = 0;
	step = step ? step : 1;
	for (uint32_t layer = 0; layer < cache->model.layers; layer++) {
		for (uint32_t part = 0; part < cache->model.parts; part++) {
			seed = part_seed(request, layer, part);
			for (uint32_t token = 0; token < tokens;
			     token = next_token(token, step, tokens)) {
				wrong += token_compare(token_at(cache, layer, part, table, token),
				                       &cache->model, seed, token);
				*compared += token_bytes;
			}
		}
	}
	return wrong;
}
