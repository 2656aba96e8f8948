/* SPDX-License-Identifier: MIT
 * Pieces: joined, cut, and every byte in exactly one of them, against a byte-by-byte reference. */
#include "seeds.h"
#include "stripe.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define SEEDS     20000
#define OPS_MAX   12
#define BYTES_MAX 8192 /* of one case */
#define NO_LIMIT  (UINT64_MAX - 1)
#define ARRAY(a)  (sizeof(a) / sizeof((a)[0]))

/* Regions and remotes are only compared here, never looked into. */
static struct kvr_region *const regions[] = {(void *)0x10, (void *)0x20};
static struct kvr_remote *const remotes[] = {(void *)0x30, (void *)0x40, (void *)0x50};

static struct kvr_op one_op(uint64_t local, uint64_t local_stride, uint64_t remote,
                            uint64_t remote_stride, uint64_t len, uint64_t count)
{
	return (struct kvr_op){
		.local = regions[0],
		.remote = remotes[0],
		.local_offset = local,
		.local_stride = local_stride,
		.remote_offset = remote,
		.remote_stride = remote_stride,
		.len = len,
		.count = count,
	};
}

/* All pieces cut alike. */
static uint64_t count_pieces(const struct kvr_op *ops, size_t n, uint64_t cut, uint64_t max)
{
	const struct stripe_rule rule = {.rails = 1, .min = cut, .max = cut};

	return stripe_count(ops, n, &rule, max);
}

static bool same_piece(const struct stripe_piece *a, const struct stripe_piece *b)
{
	return a->local == b->local && a->remote == b->remote &&
	       a->local_offset == b->local_offset && a->remote_offset == b->remote_offset &&
	       a->len == b->len;
}

/* The pieces of ops are these (local offset, remote offset, len), of the first pair of regions. */
static void expect_pieces(const struct kvr_op *ops, size_t n, uint64_t cut,
                          const uint64_t (*wanted)[3], size_t wanted_count)
{
	struct stripe_cursor cursor = {.ops = ops, .n = n};
	struct stripe_piece piece;

	assert_int_equal(count_pieces(ops, n, cut, NO_LIMIT), wanted_count);
	for (size_t i = 0; i < wanted_count; i++) {
		assert_true(stripe_next(&cursor, cut, &piece));
		assert_int_equal(piece.local_offset, wanted[i][0]);
		assert_int_equal(piece.remote_offset, wanted[i][1]);
		assert_int_equal(piece.len, wanted[i][2]);
	}
	assert_false(stripe_next(&cursor, cut, &piece));
	assert_false(stripe_next(&cursor, cut, &piece));
}

static void one_run_is_cut(void **state)
{
	const struct kvr_op exact = one_op(100, 0, 900, 0, 8192, 1);
	const struct kvr_op more = one_op(100, 0, 900, 0, 8193, 1);
	const uint64_t wanted[][3] = {{100, 900, 4096}, {4196, 4996, 4096}, {8292, 9092, 1}};

	(void)state;
	expect_pieces(&exact, 1, 4096, wanted, 2);
	expect_pieces(&more, 1, 4096, wanted, 3);
}

static void touching_runs_are_joined(void **state)
{
	const struct kvr_op touching = one_op(0, 10, 50, 10, 10, 7);
	const uint64_t joined[][3] = {{0, 50, 32}, {32, 82, 32}, {64, 114, 6}};

	(void)state;
	expect_pieces(&touching, 1, 32, joined, 3);
}

static void runs_apart_on_one_side_are_not_joined(void **state)
{
	const struct kvr_op apart_there = one_op(0, 10, 50, 11, 10, 3);
	const struct kvr_op apart_here = one_op(0, 12, 50, 10, 10, 3);
	const uint64_t there[][3] = {{0, 50, 10}, {10, 61, 10}, {20, 72, 10}};
	const uint64_t here[][3] = {{0, 50, 10}, {12, 60, 10}, {24, 70, 10}};

	(void)state;
	expect_pieces(&apart_there, 1, 4096, there, 3);
	expect_pieces(&apart_here, 1, 4096, here, 3);
}

static void long_runs_apart_are_cut_each(void **state)
{
	const struct kvr_op op = one_op(0, 20, 100, 15, 10, 2);
	const uint64_t wanted[][3] = {{0, 100, 8}, {8, 108, 2}, {20, 115, 8}, {28, 123, 2}};

	(void)state;
	expect_pieces(&op, 1, 8, wanted, 4);
}

static void ops_that_touch_are_joined(void **state)
{
	const struct kvr_op ops[] = {one_op(0, 0, 50, 0, 10, 1), one_op(10, 4, 60, 4, 4, 3),
	                             one_op(22, 0, 73, 0, 5, 1)};
	const uint64_t wanted[][3] = {{0, 50, 16}, {16, 66, 6}, {22, 73, 5}};

	(void)state;
	expect_pieces(ops, 3, 16, wanted, 3);
}

static void ops_of_other_regions_are_not_joined(void **state)
{
	struct kvr_op ops[] = {one_op(0, 0, 50, 0, 10, 1), one_op(10, 0, 60, 0, 10, 1)};

	(void)state;
	assert_int_equal(count_pieces(ops, 2, 64, NO_LIMIT), 1);
	ops[1].local = regions[1];
	assert_int_equal(count_pieces(ops, 2, 64, NO_LIMIT), 2);
	ops[1] = one_op(10, 0, 60, 0, 10, 1);
	ops[1].remote = remotes[1];
	assert_int_equal(count_pieces(ops, 2, 64, NO_LIMIT), 2);
}

static void no_ops_no_pieces(void **state)
{
	struct stripe_cursor cursor = {0};
	struct stripe_piece piece;

	(void)state;
	assert_false(stripe_next(&cursor, 4096, &piece));
	assert_int_equal(count_pieces(NULL, 0, 4096, NO_LIMIT), 0);
}

static void counting_stops_above_the_limit(void **state)
{
	const struct kvr_op op = one_op(0, 2, 0, 2, 1, UINT64_MAX / 2);

	(void)state;
	assert_int_equal(count_pieces(&op, 1, 4096, 0), 1);
	assert_int_equal(count_pieces(&op, 1, 4096, 1000), 1001);
}

static void huge_runs_do_not_overflow(void **state)
{
	const struct kvr_op op = one_op(0, 1ull << 60, 0, 1ull << 60, 1ull << 60, 15);

	(void)state;
	assert_int_equal(count_pieces(&op, 1, 1ull << 58, NO_LIMIT), 60);
}

/* Every byte that ops move, in order, as a piece of one byte. */
static size_t expand(const struct kvr_op *ops, size_t n, struct stripe_piece *bytes)
{
	size_t total = 0;

	for (size_t i = 0; i < n; i++)
		for (uint64_t run = 0; run < ops[i].count; run++)
			for (uint64_t b = 0; b < ops[i].len; b++)
				bytes[total++] = (struct stripe_piece){
					.local = ops[i].local,
					.remote = ops[i].remote,
					.local_offset =
						ops[i].local_offset + run * ops[i].local_stride + b,
					.remote_offset = ops[i].remote_offset +
				                         run * ops[i].remote_stride + b,
					.len = 1,
				};
	return total;
}

/* The greedy piece of at most `cut` bytes that begins with the first of these bytes. */
static struct stripe_piece gather(const struct stripe_piece *bytes, size_t left, uint64_t cut)
{
	struct stripe_piece piece = *bytes;

	for (; piece.len < left && piece.len < cut; piece.len++) {
		const struct stripe_piece *next = &bytes[piece.len];

		if (next->local != piece.local || next->remote != piece.remote ||
		    next->local_offset != piece.local_offset + piece.len ||
		    next->remote_offset != piece.remote_offset + piece.len)
			break;
	}
	return piece;
}

static uint64_t some_stride(struct dice *dice, uint64_t len)
{
	switch (dice_roll(dice, 8)) {
	case 0:
		return len + 1 + dice_roll(dice, 50);
	case 1:
		return dice_roll(dice, len + 1); /* sources may overlap */
	default:
		return len;
	}
}

/* An op that often goes on where `last` ended, on one side or both. */
static struct kvr_op some_op(struct dice *dice, const struct kvr_op *last)
{
	uint64_t len = 1 + dice_roll(dice, dice_chance(dice, 80) ? 40 : 300);
	struct kvr_op op = one_op(dice_roll(dice, 10000), some_stride(dice, len),
	                          dice_roll(dice, 10000), some_stride(dice, len), len,
	                          1 + dice_roll(dice, dice_chance(dice, 50) ? 1 : 9));

	if (last && dice_chance(dice, 70))
		op.local_offset =
			last->local_offset + (last->count - 1) * last->local_stride + last->len;
	if (last && dice_chance(dice, 70))
		op.remote_offset =
			last->remote_offset + (last->count - 1) * last->remote_stride + last->len;
	if (dice_chance(dice, 15))
		op.local = regions[dice_roll(dice, ARRAY(regions))];
	if (dice_chance(dice, 15))
		op.remote = remotes[dice_roll(dice, ARRAY(remotes))];
	return op;
}

static size_t some_ops(struct dice *dice, struct kvr_op *ops)
{
	size_t n = 1 + dice_roll(dice, OPS_MAX), i;
	uint64_t bytes = 0;

	for (i = 0; i < n; i++) {
		ops[i] = some_op(dice, i ? &ops[i - 1] : NULL);
		bytes += ops[i].len * ops[i].count;
		if (bytes > BYTES_MAX)
			break;
	}
	return i;
}

static const char *random_case(uint64_t seed)
{
	static struct stripe_piece bytes[BYTES_MAX];
	struct dice dice = dice_of(seed);
	struct kvr_op ops[OPS_MAX];
	size_t n = some_ops(&dice, ops), total = expand(ops, n, bytes), at = 0, pieces = 0;
	uint64_t cut = 1 + dice_roll(&dice, dice_chance(&dice, 50) ? 64 : 2 * BYTES_MAX);
	struct stripe_cursor cursor = {.ops = ops, .n = n}, before;
	struct stripe_piece piece, wanted;

	for (; at < total; at += piece.len, pieces++) {
		before = cursor;
		if (!stripe_next(&cursor, cut, &piece))
			return "ends too early";
		wanted = gather(bytes + at, total - at, cut);
		if (!same_piece(&piece, &wanted))
			return "another piece than the bytes make";
		if (dice_chance(&dice, 20)) {
			cursor = before;
			stripe_next(&cursor, cut, &wanted);
			if (!same_piece(&piece, &wanted))
				return "another piece the second time";
		}
	}
	if (stripe_next(&cursor, cut, &piece))
		return "goes on behind the end";
	if (count_pieces(ops, n, cut, NO_LIMIT) != pieces)
		return "another count than there are pieces";
	return NULL;
}

static void random_ops_against_bytes(void **state)
{
	const char *wrong = seeds_run(SEEDS, random_case);

	(void)state;
	if (wrong)
		fail_msg("%s", wrong);
}

/* Of every combination of these numbers, the check says what 128 bits say. */
static void check_against_128_bits(void **state)
{
	static const uint64_t edge[] = {
		0,
		1,
		2,
		4095,
		4096,
		1ull << 31,
		1ull << 32,
		(1ull << 32) + 1,
		(1ull << 63) - 1,
		1ull << 63,
		UINT64_MAX - 4096,
		UINT64_MAX - 1,
		UINT64_MAX,
	};
	size_t n = ARRAY(edge), all = n * n * n * n * n;

	(void)state;
	for (size_t i = 0; i < all; i++) {
		uint64_t offset = edge[i % n], stride = edge[i / n % n], len = edge[i / n / n % n];
		uint64_t count = edge[i / n / n / n % n], size = edge[i / n / n / n / n];
		unsigned __int128 end = (unsigned __int128)(count - 1) * stride + offset + len;

		if (!count)
			continue;
		if (stripe_check(offset, stride, len, count, size) != (end > size ? -ERANGE : 0))
			fail_msg("offset %#lx stride %#lx len %#lx count %#lx size %#lx", offset,
			         stride, len, count, size);
	}
}

static void check_at_the_last_byte(void **state)
{
	(void)state;
	assert_int_equal(stripe_check(0, 0, 100, 1, 100), 0);
	assert_int_equal(stripe_check(1, 0, 100, 1, 100), -ERANGE);
	assert_int_equal(stripe_check(4, 32, 16, 4, 116), 0);
	assert_int_equal(stripe_check(4, 32, 16, 4, 115), -ERANGE);
	/* A single run makes no step. */
	assert_int_equal(stripe_check(0, UINT64_MAX, 100, 1, 100), 0);
}

static void cut_gives_every_rail_several(void **state)
{
	(void)state;
	for (unsigned int rails = 2; rails <= KVR_MAX_RAILS; rails++) {
		for (uint64_t bytes = 1; bytes < 1ull << 40; bytes = bytes * 3 + 5) {
			uint64_t cut = stripe_cut(bytes, rails, 65536, 1 << 20);

			assert_in_range(cut, 65536, 1 << 20);
			assert_int_equal(cut % 4096, 0);
			/* Not less than two for each, unless that is below the minimum. */
			if (cut > 65536)
				assert_true(bytes / cut >= 2 * rails);
			/* Nor needlessly small. */
			if (cut < 1 << 20)
				assert_true(bytes / cut <= 8 * rails);
		}
	}
}

static void cut_keeps_its_bounds(void **state)
{
	(void)state;
	assert_int_equal(stripe_cut(1, 2, 4096, 1 << 20), 4096);
	/* One rail has nobody to end together with. */
	assert_int_equal(stripe_cut(1, 1, 4096, 1 << 20), 1 << 20);
	assert_int_equal(stripe_cut(UINT64_MAX, 1, 4096, 1 << 20), 1 << 20);
	assert_int_equal(stripe_cut(UINT64_MAX, 32, 1 << 20, 1 << 20), 1 << 20);
	/* 16 pieces of 4 rails; rounded up to the next page. */
	assert_int_equal(stripe_cut(16 * 131072, 4, 65536, 1 << 20), 131072);
	assert_int_equal(stripe_cut(16 * 131073, 4, 65536, 1 << 20), 131072 + 4096);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_run_is_cut),
		cmocka_unit_test(touching_runs_are_joined),
		cmocka_unit_test(runs_apart_on_one_side_are_not_joined),
		cmocka_unit_test(long_runs_apart_are_cut_each),
		cmocka_unit_test(ops_that_touch_are_joined),
		cmocka_unit_test(ops_of_other_regions_are_not_joined),
		cmocka_unit_test(no_ops_no_pieces),
		cmocka_unit_test(counting_stops_above_the_limit),
		cmocka_unit_test(huge_runs_do_not_overflow),
		cmocka_unit_test(random_ops_against_bytes),
		cmocka_unit_test(check_against_128_bits),
		cmocka_unit_test(check_at_the_last_byte),
		cmocka_unit_test(cut_gives_every_rail_several),
		cmocka_unit_test(cut_keeps_its_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
