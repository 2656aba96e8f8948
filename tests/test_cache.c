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

static struct model small_model(uint32_t head_dim)
{
	return (struct model){
		.layers = 3, .parts = 2, .heads = 2, .head_dim = head_dim, .element_bytes = 1};
}

static struct cache open_cache(uint32_t head_dim, uint32_t blocks, uint64_t seed)
{
	struct model model = small_model(head_dim);
	struct cache cache;

	assert_int_equal(cache_open(&model, BLOCK_TOKENS,
	                            (uint64_t)blocks * BLOCK_TOKENS * model_bytes_per_token(&model),
	                            seed, &cache),
	                 0);
	assert_int_equal(cache.blocks, blocks);
	return cache;
}

/* The place in the table of the block that holds this byte, or -1. Written apart from cache.c. */
static int64_t token_of_byte(const struct cache *cache, const uint32_t *table, uint32_t count,
                             uint64_t offset)
{
	uint64_t token_bytes = model_token_bytes(&cache->model);
	uint64_t block = offset / (BLOCK_TOKENS * token_bytes * cache->model.parts) % cache->blocks;
	uint64_t place = offset / token_bytes % BLOCK_TOKENS;

	for (uint32_t i = 0; i < count; i++)
		if (table[i] == block)
			return (int64_t)(i * BLOCK_TOKENS + place);
	return -1;
}

static uint64_t wrong_bytes(const struct cache *cache, uint64_t request, const uint32_t *table)
{
	uint64_t compared, wrong = cache_compare(cache, request, table, TOKENS, 1, &compared);

	assert_int_equal(compared, TOKENS * model_bytes_per_token(&cache->model));
	return wrong;
}

/* Two different patterns still agree in one byte of 256. */
static void assert_nearly_all_wrong(uint64_t wrong, uint64_t bytes)
{
	assert_in_range(wrong, bytes - bytes / 25, bytes);
}

static void sizes_are_whole_blocks(void **state)
{
	struct model model = small_model(8);
	uint64_t block = BLOCK_TOKENS * model_bytes_per_token(&model);
	struct cache cache;

	(void)state;
	assert_int_equal(cache_open(&model, BLOCK_TOKENS, 6 * block - 1, 1, &cache), 0);
	assert_int_equal(cache.blocks, 5);
	assert_int_equal(cache.free_count, 5);
	assert_int_equal(cache.part_bytes, BLOCK_TOKENS * 2 * 8);
	assert_int_equal(cache.block_bytes, 2 * cache.part_bytes);
	assert_int_equal(cache.layer_bytes, 5 * cache.block_bytes);
	assert_int_equal(cache.bytes, 3 * cache.layer_bytes);
	assert_int_equal((uintptr_t)cache.memory % (uintptr_t)sysconf(_SC_PAGESIZE), 0);
	assert_int_equal(cache_blocks_for(&cache, 0), 0);
	assert_int_equal(cache_blocks_for(&cache, 1), 1);
	assert_int_equal(cache_blocks_for(&cache, 4), 1);
	assert_int_equal(cache_blocks_for(&cache, 5), 2);
	assert_int_equal(cache_blocks_for(&cache, UINT32_MAX), 1u << 30);
	cache_close(&cache);
	assert_null(cache.memory);
	cache_close(&cache);
}

static void impossible_sizes_are_refused(void **state)
{
	struct model model = small_model(8), huge = small_model(UINT32_MAX), none = small_model(0);
	struct cache cache;

	(void)state;
	huge.heads = huge.element_bytes = UINT32_MAX;
	assert_int_equal(cache_open(&model, BLOCK_TOKENS, 0, 1, &cache), -EINVAL);
	assert_int_equal(cache_open(&model, BLOCK_TOKENS, 383, 1, &cache), -EINVAL);
	assert_int_equal(cache_open(&model, 0, 1 << 20, 1, &cache), -EINVAL);
	assert_int_equal(cache_open(&none, BLOCK_TOKENS, 1 << 20, 1, &cache), -EINVAL);
	assert_int_equal(cache_open(&huge, 1, UINT64_MAX, 1, &cache), -EOVERFLOW);
	assert_int_equal(cache_open(&model, 1, UINT64_MAX, 1, &cache), -EOVERFLOW);
	model.head_dim = 1 << 20;
	assert_int_equal(cache_open(&model, 1 << 20, 1ull << 62, 1, &cache), -ENOMEM);
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
		cache_fill(&cache, 70, tables[0], TOKENS);
		cache_fill(&cache, 71, tables[1], TOKENS);
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
		cache_fill(&cache, 9, table, TOKENS);
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
		cache_fill(&cache, 9, table, TOKENS);
		inside = 0;
		for (uint64_t at = 0; at < cache.bytes; at++) {
			int64_t token = token_of_byte(&cache, table, 3, at);

			cache.memory[at] ^= (uint8_t)(1u << at % 8);
			wrong = wrong_bytes(&cache, 9, table);
			assert_int_equal(wrong, token >= 0 && token < TOKENS);
			inside += wrong;
			cache.memory[at] ^= (uint8_t)(1u << at % 8);
		}
		assert_int_equal(inside, TOKENS * model_bytes_per_token(&cache.model));
		cache_close(&cache);
	}
}

static void wrong_bytes_are_counted(void **state)
{
	struct cache cache = open_cache(13, 5, 4);
	uint32_t table[3];

	(void)state;
	cache_take(&cache, 3, table);
	cache_fill(&cache, 9, table, TOKENS);
	for (uint64_t at = 0; at < cache.bytes; at++)
		cache.memory[at] ^= 0x10;
	assert_int_equal(wrong_bytes(&cache, 9, table),
	                 TOKENS * model_bytes_per_token(&cache.model));
	cache_close(&cache);
}

static void bytes_in_the_wrong_place_are_wrong(void **state)
{
	struct cache cache = open_cache(64, 16, 8);
	uint64_t bytes = model_bytes_per_token(&cache.model), compared;
	uint32_t table[3], swapped[3];

	(void)state;
	cache_take(&cache, 3, table);
	cache_fill(&cache, 9, table, TOKENS);
	assert_nearly_all_wrong(wrong_bytes(&cache, 10, table), TOKENS * bytes);
	assert_nearly_all_wrong(wrong_bytes(&cache, 9ull << 32, table), TOKENS * bytes);
	memcpy(swapped, (uint32_t[]){table[1], table[0], table[2]}, sizeof(swapped));
	assert_nearly_all_wrong(wrong_bytes(&cache, 9, swapped), 2 * BLOCK_TOKENS * bytes);
	/* A block one place early. */
	assert_nearly_all_wrong(cache_compare(&cache, 9, table + 1, 4, 1, &compared), 4 * bytes);
	cache_close(&cache);
}

/* Everything but one thing is right: that must show too. */
static void each_of_the_places_matters(void **state)
{
	struct cache cache = open_cache(64, 16, 8);
	uint64_t head_bytes = model_head_bytes(&cache.model);
	const struct {
		uint64_t distance, bytes;
	} moves[] = {
		{cache.layer_bytes, cache.part_bytes}, /* another layer's */
		{cache.part_bytes, cache.part_bytes},  /* V for K */
		{2 * head_bytes, head_bytes},          /* the next token's */
		{head_bytes, head_bytes},              /* the next head's */
		{head_bytes / 2, head_bytes / 2},      /* half a head for the other */
	};
	uint32_t table[3];
	uint8_t *at;

	(void)state;
	cache_take(&cache, 3, table);
	at = cache.memory + table[0] * cache.block_bytes;
	for (size_t i = 0; i < sizeof(moves) / sizeof(moves[0]); i++) {
		cache_fill(&cache, 9, table, TOKENS);
		memcpy(at, at + moves[i].distance, moves[i].bytes);
		assert_nearly_all_wrong(wrong_bytes(&cache, 9, table), moves[i].bytes);
	}
	cache_close(&cache);
}

static void a_step_looks_at_the_first_and_last(void **state)
{
	struct cache cache = open_cache(8, 5, 4);
	uint64_t token_bytes = model_token_bytes(&cache.model), compared;
	uint64_t bytes = model_bytes_per_token(&cache.model);
	uint32_t table[3];

	(void)state;
	cache_take(&cache, 3, table);
	cache_fill(&cache, 9, table, TOKENS);
	/* Tokens 0, 4, 8 and 10. */
	assert_int_equal(cache_compare(&cache, 9, table, TOKENS, 4, &compared), 0);
	assert_int_equal(compared, 4 * bytes);
	cache.memory[table[2] * cache.block_bytes + 1 * token_bytes] ^= 1;
	assert_int_equal(cache_compare(&cache, 9, table, TOKENS, 4, &compared), 0);
	cache.memory[table[2] * cache.block_bytes + 2 * token_bytes] ^= 1;
	assert_int_equal(cache_compare(&cache, 9, table, TOKENS, 4, &compared), 1);
	assert_int_equal(cache_compare(&cache, 9, table, TOKENS, UINT32_MAX, &compared), 1);
	assert_int_equal(compared, 2 * bytes);
	assert_int_equal(cache_compare(&cache, 9, table, 1, 1000, &compared), 0);
	assert_int_equal(compared, bytes);
	assert_int_equal(cache_compare(&cache, 9, table, 0, 1, &compared), 0);
	assert_int_equal(compared, 0);
	assert_int_equal(cache_compare(&cache, 9, table, TOKENS, 0, &compared), 2);
	assert_int_equal(compared, TOKENS * bytes);
	cache_close(&cache);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_are_whole_blocks),
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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
