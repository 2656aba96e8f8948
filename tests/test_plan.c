/* SPDX-License-Identifier: MIT
 * Plans: every byte once, in no more ops than there are joined runs; and the time that one takes,
 * printed only. */
#include "plan_dice.h"
#include "plan_reference.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define SEEDS    50000
#define ARRAY(a) (sizeof(a) / sizeof((a)[0]))

static const char *random_case(uint64_t seed)
{
	struct dice dice = dice_of(seed);
	struct plan_case c;
	struct reference reference = {.local = &c.local, .remote = &c.remote, .pages = &c.pages};
	uint64_t ops;

	plan_dice(&dice, &c);
	reference.direction = c.direction;
	return reference_run(&reference, &ops);
}

static void random_plans_against_bytes(void **state)
{
	const char *wrong = seeds_run(SEEDS, random_case);

	(void)state;
	if (wrong)
		fail_msg("%s", wrong);
}

/* Two layers, K and V, of `heads` heads of 4 bytes; blocks of 4 tokens. */
static struct kvr_layout small(const char *order, uint32_t heads)
{
	struct kvr_layout l = {
		.size = sizeof(l),
		.layers = 2,
		.parts = 2,
		.heads = heads,
		.head_bytes = 4,
		.blocks = 8,
		.block_tokens = 4,
	};

	assert_int_equal(kvr_layout_pack(&l, order), 0);
	return l;
}

static size_t plan(const struct kvr_layout *local, const struct kvr_layout *remote,
                   const struct kvr_pages *pages, struct kvr_op *ops, size_t max)
{
	struct kvr_plan *p;
	ssize_t n;

	assert_int_equal(kvr_plan_open(local, remote, KVR_WRITE, &p), 0);
	n = kvr_plan_ops(p, reference_regions(), reference_remotes(), pages, ops, max);
	kvr_plan_close(p);
	assert_in_range(n, 0, max);
	return (size_t)n;
}

/* len, count, local offset and stride, remote offset and stride; strides of single runs are any. */
static void expect_op(const struct kvr_op *op, const uint64_t wanted[static 6])
{
	assert_int_equal(op->len, wanted[0]);
	assert_int_equal(op->count, wanted[1]);
	assert_int_equal(op->local_offset, wanted[2]);
	assert_int_equal(op->remote_offset, wanted[4]);
	if (op->count == 1)
		return;
	assert_int_equal(op->local_stride, wanted[3]);
	assert_int_equal(op->remote_stride, wanted[5]);
}

/* A block of one layer has 64 bytes, K and V of 32 each; a layer 512. */
static void whole_blocks_are_one_run_in_each_layer(void **state)
{
	const struct kvr_layout l = small("lbpth", 2);
	const uint32_t local[] = {5, 1}, remote[] = {2, 3}, up[] = {3, 4, 5}, down[] = {6, 5, 4};
	struct kvr_pages pages = reference_pages(local, remote, 2, 0, 8);
	struct kvr_op ops[4];

	(void)state;
	assert_int_equal(plan(&l, &l, &pages, ops, 4), 2);
	expect_op(&ops[0], (uint64_t[]){64, 2, 320, 512, 128, 512});
	expect_op(&ops[1], (uint64_t[]){64, 2, 64, 512, 192, 512});
	pages = reference_pages(up, up, 3, 0, 12);
	assert_int_equal(plan(&l, &l, &pages, ops, 4), 1);
	expect_op(&ops[0], (uint64_t[]){192, 2, 192, 512, 192, 512});
	pages = reference_pages(down, down, 3, 0, 12);
	assert_int_equal(plan(&l, &l, &pages, ops, 4), 1);
	expect_op(&ops[0], (uint64_t[]){192, 2, 256, 512, 256, 512});
	pages = reference_pages(up, down, 3, 0, 12);
	assert_int_equal(plan(&l, &l, &pages, ops, 4), 3);
}

/* Of one token, K and V are 32 bytes apart, in each layer. */
static void partial_blocks_at_both_ends(void **state)
{
	const struct kvr_layout l = small("lbpth", 2);
	const uint32_t table[] = {0, 1, 2};
	const struct kvr_pages pages = reference_pages(table, table, 3, 3, 6);
	struct kvr_op ops[8];

	(void)state;
	assert_int_equal(plan(&l, &l, &pages, ops, 8), 5);
	expect_op(&ops[0], (uint64_t[]){8, 2, 24, 32, 24, 32});
	expect_op(&ops[1], (uint64_t[]){8, 2, 536, 32, 536, 32});
	expect_op(&ops[2], (uint64_t[]){64, 2, 64, 512, 64, 512});
	expect_op(&ops[3], (uint64_t[]){8, 2, 128, 32, 128, 32});
	expect_op(&ops[4], (uint64_t[]){8, 2, 640, 32, 640, 32});
}

/* Head 1 of two, from every token of a block, K and V: 8 runs at one distance. */
static void a_head_out_of_many_is_one_op_for_each_block_and_layer(void **state)
{
	const struct kvr_layout both = small("lbpth", 2);
	struct kvr_layout one = small("lbpth", 1);
	const uint32_t local[] = {3, 0}, remote[] = {1, 5};
	const struct kvr_pages pages = reference_pages(local, remote, 2, 0, 8);
	struct kvr_op ops[8];

	(void)state;
	one.first_head = 1;
	assert_int_equal(plan(&both, &one, &pages, ops, 8), 4);
	expect_op(&ops[0], (uint64_t[]){4, 8, 196, 8, 32, 4});
	expect_op(&ops[1], (uint64_t[]){4, 8, 196 + 512, 8, 32 + 256, 4});
	expect_op(&ops[2], (uint64_t[]){4, 8, 4, 8, 160, 4});
	expect_op(&ops[3], (uint64_t[]){4, 8, 4 + 512, 8, 160 + 256, 4});
}

/* Where blocks follow one another, so do these runs, through K and V. */
static void a_head_out_of_many_in_blocks_that_touch(void **state)
{
	const struct kvr_layout both = small("lbpth", 2);
	struct kvr_layout one = small("lbpth", 1);
	const uint32_t local[] = {3, 4}, remote[] = {5, 6}, down[] = {4, 3};
	struct kvr_pages pages = reference_pages(local, remote, 2, 0, 8);
	struct kvr_op ops[8];

	(void)state;
	one.first_head = 1;
	assert_int_equal(plan(&both, &one, &pages, ops, 8), 2);
	expect_op(&ops[0], (uint64_t[]){4, 16, 196, 8, 160, 4});
	expect_op(&ops[1], (uint64_t[]){4, 16, 196 + 512, 8, 160 + 256, 4});
	pages = reference_pages(down, down, 2, 0, 8);
	assert_int_equal(plan(&both, &one, &pages, ops, 8), 2);
	expect_op(&ops[0], (uint64_t[]){4, 16, 196, 8, 96, 4});
}

/* Joined before they are looked at for distances, else 7 would go with 3. */
static void blocks_that_touch_belong_together(void **state)
{
	const struct kvr_layout l = small("lbpth", 2);
	const uint32_t up[] = {1, 5, 6, 7}, down[] = {1, 7, 6, 5};
	struct kvr_pages pages = reference_pages(up, up, 4, 0, 16);
	struct kvr_op ops[8];

	(void)state;
	assert_int_equal(plan(&l, &l, &pages, ops, 8), 2);
	expect_op(&ops[0], (uint64_t[]){64, 2, 64, 512, 64, 512});
	expect_op(&ops[1], (uint64_t[]){192, 2, 320, 512, 320, 512});
	pages = reference_pages(down, down, 4, 0, 16);
	assert_int_equal(plan(&l, &l, &pages, ops, 8), 2);
	expect_op(&ops[1], (uint64_t[]){192, 2, 320, 512, 320, 512});
}

/* Allowed at the source only; but nowhere may it lead to other blocks. */
static void a_block_that_is_there_twice(void **state)
{
	const uint32_t twice[] = {3, 3}, up[] = {1, 2}, back[] = {1, 3, 1};
	struct kvr_layout l = small("lbpth", 2);
	struct kvr_pages pages = reference_pages(twice, up, 2, 0, 8);
	struct kvr_op ops[4];

	(void)state;
	l.layers = 1;
	assert_int_equal(plan(&l, &l, &pages, ops, 4), 2);
	expect_op(&ops[0], (uint64_t[]){64, 1, 192, 0, 64, 0});
	expect_op(&ops[1], (uint64_t[]){64, 1, 192, 0, 128, 0});
	pages = reference_pages(up, twice, 2, 0, 8);
	assert_int_equal(plan(&l, &l, &pages, ops, 4), 2);
	pages = reference_pages(back, back, 3, 0, 12);
	assert_int_equal(plan(&l, &l, &pages, ops, 4), 2);
	expect_op(&ops[0], (uint64_t[]){64, 2, 64, 128, 64, 128});
	expect_op(&ops[1], (uint64_t[]){64, 1, 64, 0, 64, 0});
}

static void blocks_at_one_distance_are_one_op(void **state)
{
	const uint32_t local[] = {1, 3, 5, 7}, remote[] = {0, 3, 6, 9};
	const struct kvr_pages pages = reference_pages(local, remote, 4, 0, 16);
	struct kvr_layout l = small("lbpth", 2);
	struct kvr_op ops[4];

	(void)state;
	l.layers = 1;
	l.blocks = 10;
	assert_int_equal(plan(&l, &l, &pages, ops, 4), 1);
	expect_op(&ops[0], (uint64_t[]){64, 4, 64, 128, 0, 192});
}

/* K and V of each layer on their own here, layers there. */
static void regions_are_found_by_layer_and_part(void **state)
{
	struct kvr_layout local = small("lpbth", 2), remote = small("lpbth", 2);
	const uint32_t table[] = {6};
	const struct kvr_pages pages = reference_pages(table, table, 1, 0, 4);
	struct kvr_op ops[8];

	(void)state;
	local.layer_regions = 2;
	local.part_regions = 1;
	assert_int_equal(kvr_layout_pack(&local, "bth"), 0);
	remote.layer_regions = 1;
	assert_int_equal(kvr_layout_pack(&remote, "pbth"), 0);
	assert_int_equal(plan(&local, &remote, &pages, ops, 8), 4);
	for (int i = 0; i < 4; i++) {
		expect_op(&ops[i], (uint64_t[]){32, 1, 192, 0, 192 + (i % 2 ? 256 : 0), 0});
		assert_ptr_equal(ops[i].local, reference_regions()[i]);
		assert_ptr_equal(ops[i].remote, reference_remotes()[i / 2]);
	}
}

/* Reading, the one who reads is the destination: of two that hold the same it reads one. */
static void reading_has_the_same_sources_as_writing(void **state)
{
	struct kvr_layout from = small("lbpth", 2), to = small("lbpth", 2);
	struct kvr_pages pages = reference_pages(NULL, NULL, 0, 0, 4);
	struct kvr_plan *writes, *reads;

	(void)state;
	from.copies = 3;
	from.copy = 2;
	to.copies = 4;
	to.copy = 1;
	assert_int_equal(kvr_plan_open(&from, &to, KVR_WRITE, &writes), 0);
	assert_int_equal(kvr_plan_open(&to, &from, KVR_READ, &reads), 0);
	for (pages.turn = 0; pages.turn < 12; pages.turn++) {
		ssize_t wanted = pages.turn % 3 == 1 ? 4 * 2 * 2 * 2 * 4 : 0;

		assert_int_equal(kvr_plan_bytes(writes, &pages), wanted);
		assert_int_equal(kvr_plan_bytes(reads, &pages), wanted);
	}
	kvr_plan_close(writes);
	kvr_plan_close(reads);
}

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* Planning a request of so many blocks, their order mixed up, as Llama-3.1-70B has them in one of 8
 * layers; the time of the fastest of some. */
static void print_time(const char *what, const struct kvr_layout *local,
                       const struct kvr_layout *remote, uint64_t tokens, struct kvr_op *ops,
                       size_t max)
{
	size_t locals = tokens / local->block_tokens, remotes = tokens / remote->block_tokens;
	uint32_t *tables = calloc(locals + remotes, sizeof(*tables));
	struct kvr_pages pages = {
		.size = sizeof(pages),
		.local_blocks = tables,
		.remote_blocks = tables + locals,
		.local_count = locals,
		.remote_count = remotes,
		.tokens = tokens,
	};
	struct dice dice = dice_of(1);
	double best = 1e9, start;
	size_t n = 0;

	for (size_t i = 0; i < locals + remotes; i++) {
		size_t first = i < locals ? 0 : locals, j = first + dice_roll(&dice, i - first + 1);

		tables[i] = tables[j];
		tables[j] = (uint32_t)(i - first);
	}
	for (int i = 0; i < 5; i++) {
		start = now_ms();
		n = plan(local, remote, &pages, ops, max);
		start = now_ms() - start;
		best = start < best ? start : best;
	}
	print_message("%-34s %7zu local blocks, %7zu ops: %6.2f ms\n", what, locals, n, best);
	free(tables);
}

static void what_planning_takes(void **state)
{
	const uint32_t blocks = 120000;
	const size_t max = 4 * blocks;
	struct kvr_op *ops = malloc(max * sizeof(*ops));
	struct kvr_layout all = small("lbpth", 8), half, other;

	(void)state;
	all.head_bytes = 256;
	all.layers = 8;
	all.blocks = blocks;
	all.block_tokens = 16;
	assert_int_equal(kvr_layout_pack(&all, "lbpth"), 0);
	print_time("the same on both sides", &all, &all, blocks * 16, ops, max);
	other = all;
	assert_int_equal(kvr_layout_pack(&other, "lpbth"), 0);
	print_time("K and V together, to apart", &all, &other, blocks * 16, ops, max);
	other.block_tokens = 64;
	assert_int_equal(kvr_layout_pack(&other, "lbpth"), 0);
	print_time("blocks of 16 tokens, to 64", &all, &other, blocks * 16, ops, max);
	half = all;
	half.layers = all.layers = 1;
	half.heads = 4;
	assert_int_equal(kvr_layout_pack(&half, "lbpth"), 0);
	print_time("half of the heads, one layer", &all, &half, blocks * 16, ops, max);
	print_time("one layer", &all, &all, blocks * 16, ops, max);
	free(ops);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_plans_against_bytes),
		cmocka_unit_test(whole_blocks_are_one_run_in_each_layer),
		cmocka_unit_test(partial_blocks_at_both_ends),
		cmocka_unit_test(a_head_out_of_many_is_one_op_for_each_block_and_layer),
		cmocka_unit_test(a_head_out_of_many_in_blocks_that_touch),
		cmocka_unit_test(blocks_that_touch_belong_together),
		cmocka_unit_test(a_block_that_is_there_twice),
		cmocka_unit_test(blocks_at_one_distance_are_one_op),
		cmocka_unit_test(regions_are_found_by_layer_and_part),
		cmocka_unit_test(reading_has_the_same_sources_as_writing),
		cmocka_unit_test(what_planning_takes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
