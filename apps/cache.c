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

int cache_open(const struct kvr_layout *layout, uint64_t seed, struct cache *out)
{
	struct cache cache = {.layout = *layout, .random = seed};
	ssize_t bytes = kvr_layout_bytes(layout);

	if (bytes < 0)
		return (int)bytes;
	cache.bytes = (uint64_t)bytes;
	cache.token_bytes =
		(uint64_t)layout->layers * layout->parts * layout->heads * layout->head_bytes;
	cache.free_list = calloc(layout->blocks, sizeof(cache.free_list[0]));
	if (!cache.free_list)
		return -ENOMEM;
	/* Pages of its own, because the network device will be told of them. */
	cache.memory =
		mmap(NULL, cache.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (cache.memory == MAP_FAILED) {
		free(cache.free_list);
		return -ENOMEM;
	}
	/* All there from the beginning, as a real device's registration would have it: else the
	 * first requests, whose blocks lie all over it, would be page faults most of the time. */
	madvise(cache.memory, cache.bytes, MADV_HUGEPAGE);
	memset(cache.memory, 0, cache.bytes);
	for (uint32_t block = 0; block < layout->blocks; block++)
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
	if (count > cache->layout.blocks - cache->free_count)
		abort();
	for (uint32_t i = 0; i < count; i++) {
		assert(table[i] < cache->layout.blocks);
		put_free(cache, table[i]);
	}
}

/* A layer, part and token of a request: where it lies, and what its pattern is. */
struct place {
	uint32_t layer, part, token;
};

static uint8_t *token_at(const struct cache *cache, const struct cache_kv *kv, struct place p)
{
	const struct kvr_layout *l = &cache->layout;
	uint32_t block = kv->table[p.token / l->block_tokens];

	assert(block < l->blocks);
	return cache->memory + l->offset + p.layer * l->layer_stride + p.part * l->part_stride +
	       block * l->block_stride + p.token % l->block_tokens * l->token_stride;
}

/* Fields of words, not sums of products: the pattern is the same for caches of different
 * geometry. The layer's number is the model's. */
static uint64_t token_seed(const struct cache *cache, const struct cache_kv *kv, struct place p)
{
	uint32_t layer = cache->layout.first_layer + p.layer, token = kv->first_token + p.token;
	uint64_t owner = mix(kv->request + GOLDEN);

	if (token < kv->shared) {
		owner = mix(~kv->ids[token / kv->chunk_tokens]);
		token %= kv->chunk_tokens;
	}
	return mix(mix(owner + ((uint64_t)layer << 32 | p.part)) + token * GOLDEN);
}

static uint64_t head_seed(uint64_t token_seed, uint32_t head)
{
	return mix(token_seed + head);
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

static void token_fill(const struct cache *cache, const struct cache_kv *kv, struct place p)
{
	const struct kvr_layout *l = &cache->layout;
	uint64_t seed = token_seed(cache, kv, p);
	uint8_t *at = token_at(cache, kv, p);

	for (uint32_t head = 0; head < l->heads; head++)
		head_fill(at + head * l->head_stride, l->head_bytes,
		          head_seed(seed, l->first_head + head));
}

static uint64_t token_compare(const struct cache *cache, const struct cache_kv *kv, struct place p)
{
	const struct kvr_layout *l = &cache->layout;
	uint64_t seed = token_seed(cache, kv, p), wrong = 0, this_seed;
	const uint8_t *at = token_at(cache, kv, p);

	for (uint32_t head = 0; head < l->heads; head++, at += l->head_stride) {
		this_seed = head_seed(seed, l->first_head + head);
		if (!head_is_right(at, l->head_bytes, this_seed))
			wrong += head_wrong_bytes(at, l->head_bytes, this_seed);
	}
	return wrong;
}

void cache_fill(struct cache *cache, const struct cache_kv *kv)
{
	struct place p;

	for (p.layer = kv->first_layer; p.layer < kv->first_layer + kv->layers; p.layer++)
		for (p.part = 0; p.part < cache->layout.parts; p.part++)
			for (p.token = 0; p.token < kv->tokens; p.token++)
				token_fill(cache, kv, p);
}

/* The next token to look at; `tokens` behind the last, which is never stepped over. */
static uint32_t next_token(uint32_t token, uint32_t step, uint32_t tokens)
{
	uint32_t last = tokens - 1;

	if (token == last)
		return tokens;
	return step < last - token ? token + step : last;
}

uint64_t cache_compare(const struct cache *cache, const struct cache_kv *kv, uint32_t step,
                       uint64_t *compared)
{
	const struct kvr_layout *l = &cache->layout;
	uint64_t wrong = 0;
	struct place p;

	*compared = 0;
	step = step ? step : 1;
	for (p.layer = kv->first_layer; p.layer < kv->first_layer + kv->layers; p.layer++)
		for (p.part = 0; p.part < l->parts; p.part++)
			for (p.token = 0; p.token < kv->tokens;
			     p.token = next_token(p.token, step, kv->tokens)) {
				wrong += token_compare(cache, kv, p);
				*compared += (uint64_t)l->heads * l->head_bytes;
			}
	return wrong;
}
