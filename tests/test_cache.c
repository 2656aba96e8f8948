/* SPDX-License-Identifier: MIT
 * The paged cache: where its blocks come from, and that its pattern finds every wrong byte. */
#include "cache.h"
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define BLOCK_TOKENS 4
#define TOKENS       11 /* three blocks, the last not full */
#define UNTOUCHED    0xa5

/* Head sizes around the pattern's step of eight bytes. */
static const uint32_t head_dims[] = {1, 7, 8, 13, 64};

static struct kvr_layout small_layout(uint32_t head_bytes, uint32_t blocks, const char *order)
{
	struct kvr_layout layout = {.size = sizeof(layout),
	                            .layers = 3,
	                            .parts = 2,
	                            .heads = 2,
	                            .head_bytes = head_bytes,
	                            .blocks = blocks,
	                            .block_tokens = BLOCK_TOKENS};

	assert_int_equal(kvr_layout_pack(&layout, order), 0);
	return layout;
}

static struct cache open_cache(uint32_t head_bytes, uint32_t blocks, uint64_t seed)
{
	struct kvr_layout layout = small_layout(head_bytes, blocks, "lbpth");
	struct cache cache;

	assert_int_equal(cache_open(&layout, seed, &cache), 0);
	assert_int_equal(cache.layout.blocks, blocks);
	return cache;
}

static void fill(struct cache *cache, uint64_t request, const uint32_t *table, uint32_t tokens)
{
	struct cache_kv kv = cache_kv_of(cache, request, table, tokens);

	cache_fill(cache, &kv);
}

static uint64_t compare(const struct cache *cache, uint64_t request, const uint32_t *table,
                        uint32_t tokens, uint32_t step, uint64_t *compared)
{
	struct cache_kv kv = cache_kv_of(cache, request, table, tokens);

	return cache_compare(cache, &kv, step, compared);
}

/* The place in the table of the block that holds this byte, or -1. Written apart from cache.c. */
static int64_t token_of_byte(const struct cache *cache, const uint32_t *table, uint32_t count,
                             uint64_t offset)
{
	uint64_t token_bytes = 2 * cache->layout.head_bytes;
	uint64_t block = offset / (BLOCK_TOKENS * token_bytes * 2) % cache->layout.blocks;
	uint64_t place = offset / token_bytes % BLOCK_TOKENS;

	for (uint32_t i = 0; i < count; i++)
		if (table[i] == block)
			return (int64_t)(i * BLOCK_TOKENS + place);
	return -1;
}

static uint64_t wrong_bytes(const struct cache *cache, uint64_t request, const uint32_t *table)
{
	uint64_t compared, wrong = compare(cache, request, table, TOKENS, 1, &compared);

	assert_int_equal(compared, TOKENS * cache->token_bytes);
	return wrong;
}

/* Two different patterns still agree in one byte of 256. */
static void assert_nearly_all_wrong(uint64_t wrong, uint64_t bytes)
{
	assert_in_range(wrong, bytes - bytes / 25, bytes);
}

static void sizes_are_those_of_the_layout(void **state)
{
	struct cache cache = open_cache(8, 5, 1);

	(void)state;
	assert_int_equal(cache.free_count, 5);
	assert_int_equal(cache.token_bytes, 3 * 2 * 2 * 8);
	assert_int_equal(cache.bytes, 5 * BLOCK_TOKENS * cache.token_bytes);
	assert_int_equal((uintptr_t)cache.memory % (uintptr_t)sysconf(_SC_PAGESIZE), 0);
	cache_close(&cache);
	assert_null(cache.memory);
	cache_close(&cache);
}

static void silent(void *arg, int level, const char *line)
{
	(void)arg;
	(void)level;
	(void)line;
}

static void impossible_sizes_are_refused(void **state)
{
	struct kvr_layout none = small_layout(8, 5, "lbpth"), overlapping = none;
	struct kvr_layout huge = small_layout(1u << 30, 1u << 22, "lbpth");
	struct cache cache;

	(void)state;
	kvr_set_log(silent, NULL);
	none.blocks = 0;
	overlapping.token_stride--;
	assert_int_equal(cache_open(&none, 1, &cache), -EINVAL);
	assert_int_equal(cache_open(&overlapping, 1, &cache), -EINVAL);
	assert_int_equal(cache_open(&huge, 1, &cache), -ENOMEM);
	kvr_set_log(NULL, NULL);
}

static bool is_contiguous(const uint32_t *table, uint32_t count)
{
	for (uint32_t i = 1; i < count; i++)
		if (table[i] != table[i - 1] + 1)
			return false;
	return true;
}

/* Neighbours in the table that are neighbours in memory too, in either direction. */
static uint32_t neighbours(const uint32_t *table, uint32_t count)
{
	uint32_t found = 0;

	for (uint32_t i = 1; i < count; i++)
		found += table[i] == table[i - 1] + 1 || table[i - 1] == table[i] + 1;
	return found;
}

static void tables_are_scattered(void **state)
{
	uint32_t table[256];

	(void)state;
	for (uint64_t seed = 0; seed < 20; seed++) {
		struct cache cache = open_cache(1, 256, seed);

		/* Tables of all lengths, again and again: giving back must not sort them. */
		for (uint32_t round = 0; round < 10; round++) {
			for (uint32_t count = 9; count <= 256; count += 13) {
				assert_int_equal(cache_take(&cache, count, table), 0);
				assert_false(is_contiguous(table, count));
				assert_true(neighbours(table, count) < count / 2);
				cache_give(&cache, count, table);
			}
		}
		cache_close(&cache);
	}
}

static void the_seed_decides_the_table(void **state)
{
	struct cache a = open_cache(1, 64, 5), b = open_cache(1, 64, 5), c = open_cache(1, 64, 6);
	uint32_t from_a[64], from_b[64], from_c[64];

	(void)state;
	cache_take(&a, 64, from_a);
	cache_take(&b, 64, from_b);
	cache_take(&c, 64, from_c);
	assert_memory_equal(from_a, from_b, sizeof(from_a));
	assert_memory_not_equal(from_a, from_c, sizeof(from_a));
	cache_close(&a);
	cache_close(&b);
	cache_close(&c);
}

/* Every block is in exactly one place: the free list or one table. */
static void assert_conserved(const struct cache *cache, uint32_t tables[][40], uint32_t *counts)
{
	uint8_t seen[100] = {0};

	for (uint32_t i = 0; i < cache->free_count; i++)
		seen[cache->free_list[i]]++;
	for (uint32_t t = 0; t < 8; t++)
		for (uint32_t i = 0; i < counts[t]; i++)
			seen[tables[t][i]]++;
	for (uint32_t block = 0; block < 100; block++)
		assert_int_equal(seen[block], 1);
}

static void take_and_give_conserve_blocks(void **state)
{
	struct cache cache = open_cache(1, 100, 3);
	uint32_t tables[8][40], counts[8] = {0}, full = 0;
	uint32_t random = 1;

	(void)state;
	for (int i = 0; i < 5000; i++) {
		uint32_t t, count, before = cache.free_count;

		random = random * 1664525 + 1013904223;
		t = random >> 29;
		count = (random >> 16) % 41;
		if (counts[t]) {
			cache_give(&cache, counts[t], tables[t]);
			counts[t] = 0;
		} else if (cache_take(&cache, count, tables[t])) {
			assert_true(count > before);
			assert_int_equal(cache.free_count, before);
			full++;
		} else {
			counts[t] = count;
		}
		assert_conserved(&cache, tables, counts);
	}
	assert_true(full > 10);
	assert_int_equal(cache_take(&cache, 101, NULL), -ENOSPC);
	cache_close(&cache);
}

static void giving_more_than_there_are_aborts(void **state)
{
	struct cache cache = open_cache(1, 4, 1);
	uint32_t block = 0;
	int status;
	pid_t child = fork();

	(void)state;
	if (!child) {
		signal(SIGABRT, SIG_DFL);
		cache_give(&cache, 1, &block);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	cache_close(&cache);
}

static void what_is_filled_compares(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(head_dims) / sizeof(head_dims[0]); i++) {
		struct cache cache = open_cache(head_dims[i], 16, 2);
		uint32_t tables[2][3];

		cache_take(&cache, 3, tables[0]);
		cache_take(&cache, 3, tables[1]);
		fill(&cache, 70, tables[0], TOKENS);
		fill(&cache, 71, tables[1], TOKENS);
		assert_int_equal(wrong_bytes(&cache, 70, tables[0]), 0);
		assert_int_equal(wrong_bytes(&cache, 71, tables[1]), 0);
		cache_close(&cache);
	}
}

static void nothing_else_is_written(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(head_dims) / sizeof(head_dims[0]); i++) {
		struct cache cache = open_cache(head_dims[i], 16, 4);
		uint32_t table[3];

		memset(cache.memory, UNTOUCHED, cache.bytes);
		cache_take(&cache, 3, table);
		fill(&cache, 9, table, TOKENS);
		for (uint64_t at = 0; at < cache.bytes; at++) {
			int64_t token = token_of_byte(&cache, table, 3, at);

			if (token < 0 || token >= TOKENS)
				assert_int_equal(cache.memory[at], UNTOUCHED);
		}
		cache_close(&cache);
	}
}

static void every_wrong_byte_is_found(void **state)
{
	uint64_t inside, wrong;
	uint32_t table[3];

	(void)state;
	for (size_t i = 0; i < sizeof(head_dims) / sizeof(head_dims[0]); i++) {
		struct cache cache = open_cache(head_dims[i], 5, 4);

		cache_take(&cache, 3, table);
		fill(&cache, 9, table, TOKENS);
		inside = 0;
		for (uint64_t at = 0; at < cache.bytes; at++) {
			int64_t token = token_of_byte(&cache, table, 3, at);

			cache.memory[at] ^= (uint8_t)(1u << at % 8);
			wrong = wrong_bytes(&cache, 9, table);
			assert_int_equal(wrong, token >= 0 && token < TOKENS);
			inside += wrong;
			cache.memory[at] ^= (uint8_t)(1u << at % 8);
		}
		assert_int_equal(inside, TOKENS * cache.token_bytes);
		cache_close(&cache);
	}
}

static void wrong_bytes_are_counted(void **state)
{
	struct cache cache = open_cache(13, 5, 4);
	uint32_t table[3];

	(void)state;
	cache_take(&cache, 3, table);
	fill(&cache, 9, table, TOKENS);
	for (uint64_t at = 0; at < cache.bytes; at++)
		cache.memory[at] ^= 0x10;
	assert_int_equal(wrong_bytes(&cache, 9, table), TOKENS * cache.token_bytes);
	cache_close(&cache);
}

static void bytes_in_the_wrong_place_are_wrong(void **state)
{
	struct cache cache = open_cache(64, 16, 8);
	uint64_t bytes = cache.token_bytes, compared;
	uint32_t table[3], swapped[3];

	(void)state;
	cache_take(&cache, 3, table);
	fill(&cache, 9, table, TOKENS);
	assert_nearly_all_wrong(wrong_bytes(&cache, 10, table), TOKENS * bytes);
	assert_nearly_all_wrong(wrong_bytes(&cache, 9ull << 32, table), TOKENS * bytes);
	memcpy(swapped, (uint32_t[]){table[1], table[0], table[2]}, sizeof(swapped));
	assert_nearly_all_wrong(wrong_bytes(&cache, 9, swapped), 2 * BLOCK_TOKENS * bytes);
	/* A block one place early. */
	assert_nearly_all_wrong(compare(&cache, 9, table + 1, 4, 1, &compared), 4 * bytes);
	cache_close(&cache);
}

/* Everything but one thing is right: that must show too. */
static void each_of_the_places_matters(void **state)
{
	struct cache cache = open_cache(64, 16, 8);
	uint64_t head_bytes = cache.layout.head_bytes;
	const struct {
		uint64_t distance, bytes;
	} moves[] = {
		{cache.layout.layer_stride, cache.layout.part_stride}, /* another layer's */
		{cache.layout.part_stride, cache.layout.part_stride},  /* V for K */
		{2 * head_bytes, head_bytes},                          /* the next token's */
		{head_bytes, head_bytes},                              /* the next head's */
		{head_bytes / 2, head_bytes / 2}, /* half a head for the other */
	};
	uint32_t table[3];
	uint8_t *at;

	(void)state;
	cache_take(&cache, 3, table);
	at = cache.memory + table[0] * cache.layout.block_stride;
	for (size_t i = 0; i < sizeof(moves) / sizeof(moves[0]); i++) {
		fill(&cache, 9, table, TOKENS);
		memcpy(at, at + moves[i].distance, moves[i].bytes);
		assert_nearly_all_wrong(wrong_bytes(&cache, 9, table), moves[i].bytes);
	}
	cache_close(&cache);
}

static void a_step_looks_at_the_first_and_last(void **state)
{
	struct cache cache = open_cache(8, 5, 4);
	uint64_t token_bytes = cache.layout.token_stride, compared;
	uint64_t bytes = cache.token_bytes;
	uint32_t table[3];

	(void)state;
	cache_take(&cache, 3, table);
	fill(&cache, 9, table, TOKENS);
	/* Tokens 0, 4, 8 and 10. */
	assert_int_equal(compare(&cache, 9, table, TOKENS, 4, &compared), 0);
	assert_int_equal(compared, 4 * bytes);
	cache.memory[table[2] * cache.layout.block_stride + 1 * token_bytes] ^= 1;
	assert_int_equal(compare(&cache, 9, table, TOKENS, 4, &compared), 0);
	cache.memory[table[2] * cache.layout.block_stride + 2 * token_bytes] ^= 1;
	assert_int_equal(compare(&cache, 9, table, TOKENS, 4, &compared), 1);
	assert_int_equal(compare(&cache, 9, table, TOKENS, UINT32_MAX, &compared), 1);
	assert_int_equal(compared, 2 * bytes);
	assert_int_equal(compare(&cache, 9, table, 1, 1000, &compared), 0);
	assert_int_equal(compared, bytes);
	assert_int_equal(compare(&cache, 9, table, 0, 1, &compared), 0);
	assert_int_equal(compared, 0);
	assert_int_equal(compare(&cache, 9, table, TOKENS, 0, &compared), 2);
	assert_int_equal(compared, TOKENS * bytes);
	cache_close(&cache);
}

/* One head of the whole model's cache to where the shard has it. */
static void move(const struct cache *from, struct cache *to, const uint32_t *table, uint32_t head,
                 const struct kvr_layout *l)
{
	for (uint32_t layer = 0; layer < l->layers; layer++)
		for (uint32_t part = 0; part < l->parts; part++)
			for (uint32_t token = 0; token < TOKENS; token++) {
				uint32_t block = table[token / BLOCK_TOKENS],
					 t = token % BLOCK_TOKENS;
				const struct kvr_layout *f = &from->layout;

				memcpy(to->memory + layer * l->layer_stride +
				               part * l->part_stride + block * l->block_stride +
				               t * l->token_stride,
				       from->memory + (layer + l->first_layer) * f->layer_stride +
				               part * f->part_stride + block * f->block_stride +
				               t * f->token_stride + head * f->head_stride,
				       l->head_bytes);
			}
}

/* Head 1 of layers 1 and 2, kept in another order, has the bytes of the whole model's. */
static void a_shard_has_the_models_bytes(void **state)
{
	struct cache whole = open_cache(8, 16, 2), shard;
	struct kvr_layout layout = small_layout(8, 16, "lbpth");
	uint32_t table[3];

	(void)state;
	layout.first_layer = 1;
	layout.layers = 2;
	assert_int_equal(kvr_layout_shard(&layout, 2, 2, 1), 0);
	assert_int_equal(kvr_layout_pack(&layout, "pblht"), 0);
	assert_int_equal(cache_open(&layout, 1, &shard), 0);
	cache_take(&whole, 3, table);
	fill(&whole, 9, table, TOKENS);
	move(&whole, &shard, table, 1, &layout);
	assert_int_equal(wrong_bytes(&shard, 9, table), 0);
	move(&whole, &shard, table, 0, &layout);
	assert_nearly_all_wrong(wrong_bytes(&shard, 9, table), TOKENS * shard.token_bytes);
	cache_close(&whole);
	cache_close(&shard);
}

/* Two requests with the first chunk in common: their KV is the same there, and nowhere else. */
static void shared_chunks_are_the_same(void **state)
{
	struct cache cache = open_cache(64, 16, 2);
	const uint64_t ids[2][2] = {{5, 6}, {5, 7}};
	struct cache_kv kv[2];
	uint32_t table[3];
	uint64_t compared;

	(void)state;
	cache_take(&cache, 3, table);
	for (int i = 0; i < 2; i++) {
		kv[i] = cache_kv_of(&cache, 70 + (uint64_t)i, table, TOKENS);
		kv[i].ids = ids[i];
		kv[i].shared = 2 * BLOCK_TOKENS;
		kv[i].chunk_tokens = BLOCK_TOKENS;
	}
	cache_fill(&cache, &kv[0]);
	assert_int_equal(cache_compare(&cache, &kv[0], 1, &compared), 0);
	assert_nearly_all_wrong(cache_compare(&cache, &kv[1], 1, &compared),
	                        (TOKENS - BLOCK_TOKENS) * cache.token_bytes);
	/* The chunk alone, and what stands behind it. */
	kv[1].tokens = BLOCK_TOKENS;
	assert_int_equal(cache_compare(&cache, &kv[1], 1, &compared), 0);
	kv[0].first_token = BLOCK_TOKENS;
	kv[0].table = table + 1;
	kv[0].tokens = TOKENS - BLOCK_TOKENS;
	assert_int_equal(cache_compare(&cache, &kv[0], 1, &compared), 0);
	assert_int_equal(compared, kv[0].tokens * cache.token_bytes);
	cache_close(&cache);
}

static void layers_can_be_filled_one_by_one(void **state)
{
	struct cache cache = open_cache(64, 16, 2);
	uint64_t compared;
	uint32_t table[3];

	(void)state;
	cache_take(&cache, 3, table);
	fill(&cache, 8, table, TOKENS);
	for (uint32_t layer = 0; layer < 3; layer++) {
		struct cache_kv kv = cache_kv_of(&cache, 9, table, TOKENS);

		assert_nearly_all_wrong(wrong_bytes(&cache, 9, table),
		                        (3 - layer) * TOKENS * cache.token_bytes / 3);
		kv.first_layer = layer;
		kv.layers = 1;
		cache_fill(&cache, &kv);
		assert_int_equal(cache_compare(&cache, &kv, 1, &compared), 0);
		assert_int_equal(compared, TOKENS * cache.token_bytes / 3);
	}
	assert_int_equal(wrong_bytes(&cache, 9, table), 0);
	cache_close(&cache);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_are_those_of_the_layout),
		cmocka_unit_test(impossible_sizes_are_refused),
		cmocka_unit_test(tables_are_scattered),
		cmocka_unit_test(the_seed_decides_the_table),
		cmocka_unit_test(take_and_give_conserve_blocks),
		cmocka_unit_test(giving_more_than_there_are_aborts),
		cmocka_unit_test(what_is_filled_compares),
		cmocka_unit_test(nothing_else_is_written),
		cmocka_unit_test(every_wrong_byte_is_found),
		cmocka_unit_test(wrong_bytes_are_counted),
		cmocka_unit_test(bytes_in_the_wrong_place_are_wrong),
		cmocka_unit_test(each_of_the_places_matters),
		cmocka_unit_test(a_step_looks_at_the_first_and_last),
		cmocka_unit_test(a_shard_has_the_models_bytes),
		cmocka_unit_test(shared_chunks_are_the_same),
		cmocka_unit_test(layers_can_be_filled_one_by_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
