/* SPDX-License-Identifier: MIT
 * Which rails carry which memory's bytes, and how the ranks of a node share them. */
#include "affinity.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#include <cmocka.h>

#define ARRAY(a) (sizeof(a) / sizeof((a)[0]))

static struct affinity_map map;

/* As on p5en: 16 rails in quads, 8 GPUs, a quad for two GPUs, two quads for a node. */
static int set_up(void **state)
{
	(void)state;
	memset(&map, 0, sizeof(map));
	map.rails = 16;
	map.nodes = 2;
	map.gpus = 8;
	for (unsigned int r = 0; r < 16; r++) {
		for (unsigned int n = 0; n < 2; n++)
			map.to_node[n][r] = r / 8 == n ? DISTANCE_NODE : DISTANCE_OTHER;
		for (unsigned int g = 0; g < 8; g++)
			map.to_gpu[g][r] = r / 4 == g / 2   ? DISTANCE_SWITCH
			                   : r / 8 == g / 4 ? DISTANCE_NODE
			                                    : DISTANCE_OTHER;
	}
	map.node_number[1] = 3;
	return 0;
}

static struct affinity order_of(int gpu, int node, unsigned int ordinal, unsigned int count)
{
	struct affinity a;

	assert_int_equal(affinity_order(&map, (struct affinity_place){gpu, node},
	                                (struct affinity_share){ordinal, count}, &a),
	                 1);
	assert_int_equal(a.rails, map.rails);
	return a;
}

static void expect_rails(const struct affinity *a, const unsigned char *rails, size_t count)
{
	assert_memory_equal(a->rail, rails, count);
}

static void places(void **state)
{
	static const char *const wrong[] = {
		"",       "gpu",   "gpu:", "gpu:-1", "gpu:+1",  "gpu: 1", "gpu:1 ",
		"gpu:1x", "GPU:1", "1",    "cpu:a",  "cpu:0x1", "gpux:1", "gpu:99999999999999999",
		"cpu:00", "gpu:01"};
	struct affinity_place place;

	(void)state;
	assert_int_equal(affinity_place_parse("cpu:12", &place), 0);
	assert_int_equal(place.node, 12);
	assert_int_equal(place.gpu, -1);
	assert_int_equal(affinity_place_parse("gpu:3", &place), 0);
	assert_int_equal(place.gpu, 3);
	for (size_t i = 0; i < ARRAY(wrong); i++)
		assert_int_equal(affinity_place_parse(wrong[i], &place), -EINVAL);
}

static void alone(void **state)
{
	struct affinity a = order_of(3, -1, 0, 1);

	(void)state;
	assert_int_equal(a.near, 4);
	expect_rails(&a, (unsigned char[]){4, 5, 6, 7, 0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15},
	             16);
	assert_int_equal(a.distance[3], DISTANCE_SWITCH);
	assert_int_equal(a.distance[4], DISTANCE_NODE);
	assert_int_equal(a.distance[8], DISTANCE_OTHER);
	/* By the kernel's number of the node. */
	a = order_of(-1, 3, 0, 0);
	assert_int_equal(a.near, 8);
	expect_rails(&a, (unsigned char[]){8, 9, 10, 11, 12, 13, 14, 15, 0}, 9);
}

/* Adds the rails that this rank turns to first. */
static void count_first(const struct affinity *a, unsigned int first, int *used)
{
	for (unsigned int i = 0; i < first; i++)
		used[a->rail[i]]++;
}

static void expect_even(const int *used, int each)
{
	for (unsigned int r = 0; r < map.rails; r++)
		assert_int_equal(used[r], each);
}

/* Eight ranks, a GPU each: every rail is the first choice of one, whichever rank has which GPU. */
static void ranks_with_a_gpu_each(void **state)
{
	int used[KVR_MAX_RAILS] = {0}, turned[KVR_MAX_RAILS] = {0};
	struct affinity a;

	(void)state;
	for (unsigned int i = 0; i < 8; i++) {
		a = order_of((int)i, -1, i, 8);
		assert_int_equal(a.near, 4);
		count_first(&a, 2, used);
		a = order_of((int)(i * 3 % 8), -1, i, 8);
		count_first(&a, 2, turned);
	}
	expect_even(used, 1);
	expect_even(turned, 1);
	a = order_of(1, -1, 1, 8);
	expect_rails(&a, (unsigned char[]){2, 3, 0, 1}, 4);
}

/* Two ranks per GPU, in blocks and in turn. */
static void more_ranks_than_gpus(void **state)
{
	int blocks[KVR_MAX_RAILS] = {0}, turns[KVR_MAX_RAILS] = {0};
	struct affinity a;

	(void)state;
	for (unsigned int i = 0; i < 16; i++) {
		a = order_of((int)(i / 2), -1, i, 16);
		count_first(&a, 1, blocks);
		a = order_of((int)(i % 8), -1, i, 16);
		count_first(&a, 1, turns);
	}
	expect_even(blocks, 1);
	expect_even(turns, 1);
}

static void ranks_of_host_memory(void **state)
{
	int blocks[KVR_MAX_RAILS] = {0}, turns[KVR_MAX_RAILS] = {0};
	struct affinity a;

	(void)state;
	for (unsigned int i = 0; i < 8; i++) {
		a = order_of(-1, i / 4 ? 3 : 0, i, 8);
		count_first(&a, 2, blocks);
		a = order_of(-1, i % 2 ? 3 : 0, i, 8);
		count_first(&a, 2, turns);
	}
	expect_even(blocks, 1);
	expect_even(turns, 1);
}

/* What spills over to far rails is spread over them too. */
static void far_rails_are_spread(void **state)
{
	int used[KVR_MAX_RAILS] = {0};
	struct affinity a;

	(void)state;
	for (unsigned int i = 0; i < 8; i++) {
		a = order_of(-1, 0, i, 8);
		used[a.rail[8]]++;
	}
	for (unsigned int r = 0; r < 16; r++)
		assert_int_equal(used[r], r >= 8);
}

/* Whatever the shares: each rail once, nearest first, and the near ones are the nearest. */
static void every_rail_once(void **state)
{
	struct affinity a;
	uint32_t seen;

	(void)state;
	for (unsigned int count = 0; count < 40; count++) {
		for (unsigned int i = 0; i < 8 * (count + 1); i++) {
			a = order_of((int)(i % 8), -1, i / 8, count);
			seen = 0;
			for (unsigned int r = 0; r < 16; r++) {
				seen |= 1u << a.rail[r];
				assert_int_equal(a.distance[r], map.to_gpu[i % 8][a.rail[r]]);
				assert_true(!r || a.distance[r] >= a.distance[r - 1]);
			}
			assert_int_equal(seen, 0xffff);
			assert_int_equal(a.near, 4);
		}
	}
}

static void unknown_memory(void **state)
{
	int used[KVR_MAX_RAILS] = {0};
	struct affinity a;

	(void)state;
	for (unsigned int i = 0; i < 16; i++) {
		assert_int_equal(affinity_order(&map, (struct affinity_place){8, -1},
		                                (struct affinity_share){i, 16}, &a),
		                 0);
		assert_int_equal(a.rails, 16);
		assert_int_equal(a.near, 16);
		assert_int_equal(a.distance[0], DISTANCE_UNKNOWN);
		count_first(&a, 1, used);
	}
	expect_even(used, 1);
	assert_int_equal(affinity_order(&map, (struct affinity_place){-1, 1},
	                                (struct affinity_share){0, 1}, &a),
	                 0);
	assert_int_equal(a.near, 16);
}

static void rails_left_out(void **state)
{
	struct affinity a;

	(void)state;
	memset(map.to_gpu[0], DISTANCE_NEVER, 16);
	map.to_gpu[0][9] = DISTANCE_OTHER;
	map.to_gpu[0][2] = DISTANCE_UNKNOWN;
	affinity_order(&map, (struct affinity_place){0, -1}, (struct affinity_share){0, 1}, &a);
	assert_int_equal(a.rails, 2);
	assert_int_equal(a.near, 1);
	expect_rails(&a, (unsigned char[]){9, 2}, 2);
}

/* Its own index where that is near; else the near ones evenly. */
static void targets(void **state)
{
	int used[KVR_MAX_RAILS] = {0};
	const uint32_t near = 0x000f, far = 0x0f00, few = 1 << 6 | 1 << 1 | 1 << 5;

	(void)state;
	for (unsigned int r = 0; r < 4; r++) {
		assert_int_equal(affinity_target(near, r), r);
		assert_int_equal(affinity_target(far, r), 8 + r);
	}
	for (unsigned int r = 0; r < 16; r++)
		used[affinity_target(far, r)]++;
	for (unsigned int r = 0; r < 16; r++)
		assert_int_equal(used[r], r >= 8 && r < 12 ? 4 : 0);
	assert_int_equal(affinity_target(few, 5), 5);
	assert_int_equal(affinity_target(few, 6), 6);
	assert_int_equal(affinity_target(few, 7), 5);
	assert_int_equal(affinity_target(few, 0), 1);
	assert_int_equal(affinity_target(UINT32_MAX, 31), 31);
}

static void bits(void **state)
{
	(void)state;
	assert_int_equal(rails_first(1), 1);
	assert_int_equal(rails_first(31), INT32_MAX);
	assert_int_equal(rails_first(32), UINT32_MAX);
}

static void words(void **state)
{
	(void)state;
	for (enum distance d = DISTANCE_SWITCH; d <= DISTANCE_NEVER; d++) {
		assert_non_null(distance_name(d));
		assert_non_null(distance_reason(d));
	}
	assert_string_equal(distance_name(DISTANCE_UNKNOWN), "unknown");
	assert_string_equal(distance_reason(DISTANCE_NODE), "same NUMA node");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(places, set_up),
		cmocka_unit_test_setup(alone, set_up),
		cmocka_unit_test_setup(ranks_with_a_gpu_each, set_up),
		cmocka_unit_test_setup(more_ranks_than_gpus, set_up),
		cmocka_unit_test_setup(ranks_of_host_memory, set_up),
		cmocka_unit_test_setup(far_rails_are_spread, set_up),
		cmocka_unit_test_setup(every_rail_once, set_up),
		cmocka_unit_test_setup(unknown_memory, set_up),
		cmocka_unit_test_setup(rails_left_out, set_up),
		cmocka_unit_test(targets),
		cmocka_unit_test(bits),
		cmocka_unit_test_setup(words, set_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
