/* SPDX-License-Identifier: MIT
 * Plans between groups of ranks as engines have them: every destination gets all that it holds,
 * once, whatever the two sides' tensor and pipeline parallelism, block sizes and orders. */
#include "plan_reference.h"
#include "seeds.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define ARRAY(a) (sizeof(a) / sizeof((a)[0]))
#define RANKS    16 /* of a group, at most */
#define TOKENS   200
#define BLOCKS   64

/* A group of ranks, on either side. */
struct side {
	uint32_t tp, pp, block_tokens;
	const char *order;
};

static struct kvr_layout rank_layout(const struct side *side, uint32_t heads, uint32_t parts,
                                     uint32_t rank)
{
	struct kvr_layout l = {
		.size = sizeof(l),
		.layers = 4 / side->pp,
		.parts = parts,
		.head_bytes = 4,
		.blocks = BLOCKS,
		.block_tokens = side->block_tokens,
	};

	l.first_layer = rank / side->tp * l.layers;
	assert_int_equal(kvr_layout_shard(&l, heads, side->tp, rank % side->tp), 0);
	assert_int_equal(kvr_layout_pack(&l, side->order), 0);
	return l;
}

static void mixed_table(struct dice *dice, uint32_t *table)
{
	for (uint32_t i = 0; i < BLOCKS; i++) {
		uint64_t j = dice_roll(dice, i + 1);

		table[i] = table[j];
		table[j] = i;
	}
}

/* Every rank of `to` gets all bytes that it holds, once. */
static void expect_all_to_all(const struct side *from, const struct side *to, uint32_t heads,
                              uint32_t parts)
{
	uint32_t local[BLOCKS] = {0}, remote[BLOCKS] = {0}, ranks = from->tp * from->pp;
	struct kvr_pages pages = reference_pages(local, remote, BLOCKS, 5, TOKENS);
	struct kvr_layout sources[RANKS], target;
	struct dice dice = dice_of(from->tp * 100 + to->tp);
	const char *wrong = NULL;
	uint64_t bytes, ops;

	mixed_table(&dice, local);
	mixed_table(&dice, remote);
	for (uint32_t i = 0; i < ranks; i++)
		sources[i] = rank_layout(from, heads, parts, i);
	for (uint32_t j = 0; j < to->tp * to->pp; j++) {
		target = rank_layout(to, heads, parts, j);
		assert_int_equal(kvr_layout_cover(&target, sources, ranks), 0);
		pages.turn = j % 3 ? 0 : 7;
		bytes = (uint64_t)target.layers * parts * target.heads * 4 * TOKENS;
		for (uint32_t i = 0; !wrong && i < ranks; i++) {
			struct reference r = {&sources[i], &target, &pages, KVR_WRITE};

			wrong = reference_run(&r, &ops);
			bytes -= r.bytes;
		}
		if (wrong)
			fail_msg("TP %u to %u, %u heads: %s", from->tp, to->tp, heads, wrong);
		assert_int_equal(bytes, 0);
	}
}

static void any_tp_to_any_tp(void **state)
{
	static const uint32_t tp[][2] = {{8, 4}, {4, 8}, {2, 1}, {1, 8}, {8, 8}, {1, 1}};
	static const uint32_t heads[] = {8, 4, 2};

	(void)state;
	for (size_t i = 0; i < ARRAY(tp); i++)
		for (size_t h = 0; h < ARRAY(heads); h++)
			expect_all_to_all(&(struct side){tp[i][0], 1, 16, "lbpth"},
			                  &(struct side){tp[i][1], 1, 16, "lpbth"}, heads[h], 2);
}

static void unequal_blocks(void **state)
{
	const struct side small_blocks = {4, 1, 16, "lbpth"}, large = {2, 1, 64, "lbpth"};

	(void)state;
	expect_all_to_all(&small_blocks, &large, 8, 2);
	expect_all_to_all(&large, &small_blocks, 8, 2);
	expect_all_to_all(&(struct side){1, 1, 24, "lbpth"}, &large, 8, 2);
}

static void token_major_and_head_major(void **state)
{
	const struct side nhd = {2, 1, 16, "lbpth"}, hnd = {4, 1, 16, "lbpht"};

	(void)state;
	expect_all_to_all(&nhd, &hnd, 8, 2);
	expect_all_to_all(&hnd, &nhd, 8, 2);
	expect_all_to_all(&hnd, &(struct side){2, 1, 64, "blpht"}, 8, 2);
}

static void pipeline_stages(void **state)
{
	const struct side two = {2, 2, 16, "lbpth"};

	(void)state;
	expect_all_to_all(&two, &(struct side){4, 1, 16, "lbpth"}, 8, 2);
	expect_all_to_all(&(struct side){1, 4, 16, "lpbth"}, &two, 8, 2);
}

static void mla_to_every_rank(void **state)
{
	(void)state;
	expect_all_to_all(&(struct side){8, 1, 16, "lbpth"}, &(struct side){4, 1, 64, "lbpth"}, 1,
	                  1);
	expect_all_to_all(&(struct side){2, 1, 64, "lbpth"}, &(struct side){8, 1, 16, "lbpth"}, 1,
	                  1);
}

/* How often each source has a turn, over `turns` requests to all of the other group. */
static void count_turns(uint32_t from, uint32_t to, uint32_t turns, uint32_t times[static RANKS])
{
	struct kvr_pages pages = reference_pages(NULL, NULL, 0, 0, 10);
	const struct side sources = {from, 1, 16, "lbpth"}, targets = {to, 1, 16, "lbpth"};
	struct kvr_layout local, remote;
	struct kvr_plan *p;

	memset(times, 0, RANKS * sizeof(*times));
	for (uint32_t i = 0; i < from * to; i++) {
		local = rank_layout(&sources, 1, 1, i % from);
		remote = rank_layout(&targets, 1, 1, i / from);
		assert_int_equal(kvr_plan_open(&local, &remote, KVR_WRITE, &p), 0);
		for (pages.turn = 0; pages.turn < turns; pages.turn++)
			times[i % from] += kvr_plan_bytes(p, &pages) > 0;
		kvr_plan_close(p);
	}
}

static void those_who_hold_the_same_share_the_work(void **state)
{
	uint32_t times[RANKS];

	(void)state;
	count_turns(8, 8, 1, times);
	for (int i = 0; i < 8; i++)
		assert_int_equal(times[i], 1);
	count_turns(2, 8, 1, times);
	for (int i = 0; i < 2; i++)
		assert_int_equal(times[i], 4);
	count_turns(8, 2, 8, times);
	for (int i = 0; i < 8; i++)
		assert_int_equal(times[i], 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_tp_to_any_tp),
		cmocka_unit_test(unequal_blocks),
		cmocka_unit_test(token_major_and_head_major),
		cmocka_unit_test(pipeline_stages),
		cmocka_unit_test(mla_to_every_rank),
		cmocka_unit_test(those_who_hold_the_same_share_the_work),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
