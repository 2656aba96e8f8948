/* SPDX-License-Identifier: MIT
 * kvrail bench: which blocks an operation takes, and what is in them. */
#include "bench.h"
#include <inttypes.h>
#include <string.h>

#define BYTES       (64u << 20) /* what a row goes through, so that no cache holds it all ... */
#define BLOCKS      4           /* ... but so many blocks at least */
#define BATCH_BYTES (8u << 20)
#define HUGE_PAGE   (2u << 20)
#define CHUNK       512 /* words that are made at a time */

static uint64_t mix(uint64_t x)
{
	/* The finalizer of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014). */
	x += 0x9e3779b97f4a7c15;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

static uint64_t bytes_for(uint64_t size)
{
	return size > BYTES / BLOCKS ? size * BLOCKS : BYTES;
}

uint64_t bench_memory_bytes(const struct bench_options *options)
{
	uint64_t most = 0;

	for (unsigned int i = 0; i < options->size_count; i++)
		if (bytes_for(options->sizes[i]) > most)
			most = bytes_for(options->sizes[i]);
	return (most + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
}

static bool any_touch(const uint32_t *blocks, uint32_t n)
{
	for (uint32_t i = 1; i < n; i++)
		if (blocks[i] == blocks[i - 1] + 1)
			return true;
	return false;
}

/* Some order in which no block is followed by its neighbour, as the blocks of a paged cache that
 * has been in use for a while. Every third order or so will do, from four blocks on. */
static void shuffle(uint32_t *blocks, uint32_t n, uint64_t seed)
{
	do {
		for (uint32_t i = n - 1; i > 0; i--) {
			uint32_t j = (uint32_t)(mix(seed++) % (i + 1)), other = blocks[j];

			blocks[j] = blocks[i];
			blocks[i] = other;
		}
	} while (any_touch(blocks, n));
}

void bench_row_plan(struct bench_row *row, uint64_t size, unsigned int number)
{
	uint64_t blocks = bytes_for(size) / size, per_batch = BATCH_BYTES / size;

	row->size = size;
	row->seed = mix(number);
	row->count = blocks < BENCH_BLOCKS_MAX ? (uint32_t)blocks : BENCH_BLOCKS_MAX;
	row->per_batch = row->count / BLOCKS;
	if (per_batch < row->per_batch)
		row->per_batch = per_batch ? (uint32_t)per_batch : 1;
	row->count -= row->count % row->per_batch;
	for (uint32_t i = 0; i < row->count; i++)
		row->local[i] = row->remote[i] = i;
	if (row->is_contiguous)
		return;
	shuffle(row->local, row->count, row->seed);
	shuffle(row->remote, row->count, ~row->seed);
}

/* Words of the n-th operation's block, from the first-th on. */
static void make_words(const struct bench_row *row, uint32_t n, uint64_t first, uint64_t *words)
{
	uint64_t key = mix(row->seed + n);

	for (uint64_t i = 0; i < CHUNK; i++) {
		uint64_t x = (key + first + i) * 0x9e3779b97f4a7c15;

		words[i] = x ^ x >> 32;
	}
}

static uint64_t chunk_length(const struct bench_row *row, uint64_t at)
{
	uint64_t chunk = CHUNK * sizeof(uint64_t);

	return row->size - at < chunk ? row->size - at : chunk;
}

void bench_row_fill(const struct bench_row *row, uint8_t *memory)
{
	const uint32_t *blocks = row->is_read ? row->remote : row->local;
	uint64_t words[CHUNK];

	for (uint32_t n = 0; n < row->count; n++)
		for (uint64_t at = 0; at < row->size; at += sizeof(words)) {
			make_words(row, n, at / sizeof(words[0]), words);
			memcpy(memory + blocks[n] * row->size + at, words, chunk_length(row, at));
		}
}

void bench_row_clear(const struct bench_row *row, uint8_t *memory)
{
	memset(memory, 0, row->count * row->size);
}

static void say_where(const struct bench_row *row, uint32_t n, uint64_t at, const uint8_t *found,
                      const uint8_t *expected)
{
	while (*found == *expected) {
		found++;
		expected++;
		at++;
	}
	app_error("wrong byte: %s number %" PRIu32 " of %" PRIu64 " bytes each, byte %" PRIu64
	          ": 0x%02x instead of 0x%02x",
	          row->is_read ? "read" : "write", n, row->size, at, *found, *expected);
}

bool bench_row_verify(const struct bench_row *row, const uint8_t *memory, uint32_t moved)
{
	const uint32_t *blocks = row->is_read ? row->local : row->remote;
	uint64_t words[CHUNK] = {0};

	for (uint32_t n = 0; n < row->count; n++) {
		const uint8_t *block = memory + blocks[n] * row->size;

		if (n == moved)
			memset(words, 0, sizeof(words));
		for (uint64_t at = 0; at < row->size; at += sizeof(words)) {
			if (n < moved)
				make_words(row, n, at / sizeof(words[0]), words);
			if (!memcmp(block + at, words, chunk_length(row, at)))
				continue;
			say_where(row, n, at, block + at, (const uint8_t *)words);
			return false;
		}
	}
	return true;
}
