/* SPDX-License-Identifier: MIT
 * A lane: pieces and ENDs in any order, often, and each batch handed out exactly once. */
#include "counter.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define LAST     (LANE_PIECES - 1) /* the highest number; 0 follows */
#define ARRAY(a) (sizeof(a) / sizeof((a)[0]))

static void expect_none(struct lane *lane)
{
	struct lane_batch batch;

	assert_false(lane_take(lane, &batch));
}

static void expect_batch(struct lane *lane, uint32_t first, uint32_t count, uint32_t counter)
{
	struct lane_batch batch;

	assert_false(lane_is_done(lane, first));
	assert_true(lane_take(lane, &batch));
	assert_int_equal(batch.first, first);
	assert_int_equal(batch.count, count);
	assert_int_equal(batch.counter, counter);
	assert_true(lane_is_done(lane, first));
}

static void arrive(struct lane *lane, uint32_t first, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		assert_int_equal(lane_arrive(lane, (first + i) & LAST), 1);
}

/* One batch from its first piece to its being taken, and the lane stands behind it. */
static void run_batch(struct lane *lane, uint32_t first, uint32_t count, uint32_t counter)
{
	assert_int_equal(lane_declare(lane, first, count, counter), 1);
	arrive(lane, first, count);
	expect_batch(lane, first, count, counter);
	expect_none(lane);
	assert_int_equal(lane->base, (first + count) & LAST);
}

static void immediates_carry_both_numbers(void **state)
{
	static const uint32_t lanes[] = {0, 1, 4095, LANES - 1};
	static const uint32_t pieces[] = {0, 1, LANE_WINDOW, LAST};

	(void)state;
	assert_int_equal((uint64_t)LANES * LANE_PIECES, 1ull << 32);
	for (size_t i = 0; i < ARRAY(lanes) * ARRAY(pieces); i++) {
		uint32_t lane = lanes[i / ARRAY(pieces)], piece = pieces[i % ARRAY(pieces)];
		uint32_t immediate = immediate_make(lane, piece);

		assert_int_equal(immediate_lane(immediate), lane);
		assert_int_equal(immediate_piece(immediate), piece);
	}
	assert_int_equal(piece_distance(5, 5), 0);
	assert_int_equal(piece_distance(LAST, 0), 1);
	assert_int_equal(piece_distance(0, LAST), LAST);
}

static void end_may_come_at_any_time(void **state)
{
	struct lane lane = {0};

	(void)state;
	for (uint32_t before = 0; before <= 5; before++) {
		uint32_t first = 5 * before;

		arrive(&lane, first, before);
		expect_none(&lane);
		assert_int_equal(lane_declare(&lane, first, 5, before), 1);
		for (uint32_t i = before; i < 5; i++) {
			expect_none(&lane);
			arrive(&lane, first + i, 1);
		}
		expect_batch(&lane, first, 5, before);
		expect_none(&lane);
	}
	lane_close(&lane);
}

static void pieces_may_come_in_any_order(void **state)
{
	struct lane lane = {0};

	(void)state;
	assert_int_equal(lane_declare(&lane, 0, 4, 9), 1);
	arrive(&lane, 3, 1);
	arrive(&lane, 0, 1);
	arrive(&lane, 2, 1);
	expect_none(&lane);
	arrive(&lane, 1, 1);
	expect_batch(&lane, 0, 4, 9);
	expect_none(&lane);
	lane_close(&lane);
}

static void seen_twice_counts_once(void **state)
{
	struct lane lane = {0};

	(void)state;
	arrive(&lane, 0, 1);
	assert_int_equal(lane_arrive(&lane, 0), 0);
	assert_int_equal(lane_declare(&lane, 0, 3, 9), 1);
	assert_int_equal(lane_declare(&lane, 0, 3, 9), 0);
	assert_int_equal(lane_arrive(&lane, 0), 0);
	arrive(&lane, 1, 1);
	assert_int_equal(lane_arrive(&lane, 1), 0);
	assert_int_equal(lane_declare(&lane, 0, 3, 9), 0);
	expect_none(&lane);
	arrive(&lane, 2, 1);
	expect_batch(&lane, 0, 3, 9);
	expect_none(&lane);
	lane_close(&lane);
}

/* Everything about a batch comes once more when it is over. */
static void repeat_all(struct lane *lane, uint32_t first, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		assert_int_equal(lane_arrive(lane, (first + i) & LAST), 0);
	assert_int_equal(lane_declare(lane, first, count, 9), 0);
	assert_int_equal(lane_lose(lane, first, count, first), 0);
	assert_true(lane_is_done(lane, first));
	expect_none(lane);
}

static void late_duplicates_are_ignored(void **state)
{
	struct lane lane = {0};

	(void)state;
	run_batch(&lane, 0, 3, 9);
	repeat_all(&lane, 0, 3);
	/* Also while an older batch keeps the lane from moving on. */
	assert_int_equal(lane_declare(&lane, 3, 2, 1), 1);
	assert_int_equal(lane_declare(&lane, 5, 3, 2), 1);
	arrive(&lane, 5, 3);
	expect_batch(&lane, 5, 3, 2);
	repeat_all(&lane, 5, 3);
	repeat_all(&lane, 0, 3);
	arrive(&lane, 3, 2);
	expect_batch(&lane, 3, 2, 1);
	repeat_all(&lane, 3, 2);
	repeat_all(&lane, 5, 3);
	lane_close(&lane);
}

static void batches_complete_in_any_order(void **state)
{
	struct lane lane = {0};

	(void)state;
	assert_int_equal(lane_declare(&lane, 7, 2, 3), 1);
	arrive(&lane, 2, 3);
	assert_int_equal(lane_declare(&lane, 0, 2, 1), 1);
	arrive(&lane, 7, 2);
	expect_batch(&lane, 7, 2, 3);
	arrive(&lane, 1, 1);
	expect_none(&lane);
	assert_int_equal(lane_declare(&lane, 2, 5, 2), 1);
	arrive(&lane, 6, 1);
	arrive(&lane, 0, 1);
	expect_batch(&lane, 0, 2, 1);
	expect_none(&lane);
	assert_false(lane_is_done(&lane, 2));
	assert_true(lane_is_done(&lane, 7));
	assert_int_equal(lane.base, 2);
	arrive(&lane, 5, 1);
	expect_batch(&lane, 2, 5, 2);
	assert_int_equal(lane.base, 9);
	assert_int_equal(lane.count, 0);
	lane_close(&lane);
}

static void complete_batches_come_in_their_order(void **state)
{
	struct lane lane = {0};

	(void)state;
	arrive(&lane, 0, 6);
	for (uint32_t i = 3; i--;)
		assert_int_equal(lane_declare(&lane, 2 * i, 2, i), 1);
	for (uint32_t i = 0; i < 3; i++)
		expect_batch(&lane, 2 * i, 2, i);
	expect_none(&lane);
	lane_close(&lane);
}

/* More batches than there was room for, declared from both ends, completed from the middle. */
static void many_batches_at_once(void **state)
{
	enum { BATCHES = 200 };
	struct lane lane = {0};

	(void)state;
	for (uint32_t i = 0; i < BATCHES; i++) {
		uint32_t batch = i % 2 ? BATCHES - 1 - i / 2 : i / 2;

		assert_int_equal(lane_declare(&lane, 3 * batch, 3, batch), 1);
	}
	for (uint32_t i = 0; i < BATCHES; i++) {
		uint32_t batch = (i * 77 + 100) % BATCHES; /* 77 and 200 have no common factor */

		arrive(&lane, 3 * batch, 3);
		expect_batch(&lane, 3 * batch, 3, batch);
		expect_none(&lane);
	}
	assert_int_equal(lane.base, 3 * BATCHES);
	lane_close(&lane);
}

/* Sizes of batches that wrap at many places; the sum is odd, so no lap is like the one before. */
static void numbers_go_round(void **state)
{
	static const uint32_t sizes[] = {1, 2, 3, 64, 1000, 1023, 1024, 1025, 4999, 100000};
	struct lane lane = {0};
	uint64_t passed = 0;

	(void)state;
	for (uint32_t i = 0; passed < 5ull * LANE_PIECES; i++) {
		uint32_t first = passed & LAST, count = sizes[i % ARRAY(sizes)];

		run_batch(&lane, first, count, i);
		passed += count;
		/* As late as a duplicate can be. */
		if (passed >= LANE_WINDOW) {
			assert_int_equal(lane_arrive(&lane, (passed - LANE_WINDOW) & LAST), 0);
			assert_int_equal(lane_declare(&lane, (passed - LANE_WINDOW) & LAST, 1, 0),
			                 0);
		}
		repeat_all(&lane, first, count);
	}
	lane_close(&lane);
}

static void a_batch_may_fill_the_window(void **state)
{
	struct lane lane = {0};

	(void)state;
	for (uint32_t i = 0; i < 5; i++) {
		uint32_t first = i * LANE_WINDOW & LAST;

		run_batch(&lane, first, LANE_WINDOW, i);
		repeat_all(&lane, first, 10);
	}
	lane_close(&lane);
}

static void beyond_the_window_is_the_past(void **state)
{
	struct lane lane = {.base = LAST - 10};

	(void)state;
	assert_int_equal(lane_arrive(&lane, (lane.base + LANE_WINDOW) & LAST), 0);
	assert_int_equal(lane_arrive(&lane, lane.base - 1), 0);
	assert_true(lane_is_done(&lane, lane.base - 1));
	assert_true(lane_is_done(&lane, (lane.base + LANE_WINDOW) & LAST));
	assert_false(lane_is_done(&lane, lane.base));
	assert_false(lane_is_done(&lane, (lane.base + LANE_WINDOW - 1) & LAST));
	assert_int_equal(lane_arrive(&lane, (lane.base + LANE_WINDOW - 1) & LAST), 1);
	assert_int_equal(lane_arrive(&lane, (lane.base + LANE_WINDOW - 1) & LAST), 0);
	lane_close(&lane);
}

static void impossible_ends_are_refused(void **state)
{
	static const struct {
		uint32_t first, count;
	} bad[] = {
		{100, 0},               /* nothing */
		{100, LANE_WINDOW + 1}, /* more than can be */
		{100, UINT32_MAX},
		{101, UINT32_MAX},
		{0, LANE_PIECES},
		{LANE_PIECES, 1}, /* no such number */
		{UINT32_MAX, 1},
		{101, LANE_WINDOW}, /* reaches beyond the window */
		{100 + LANE_WINDOW - 1, 2},
		{200, 9},
		{200, 11}, /* another count than it had */
		{195, 6},
		{199, 2},
		{195, 100}, /* overlaps from below, covers */
		{209, 1},
		{209, 5},
		{201, 1}, /* from above, within */
		{195, 26},
		{211, 20}, /* the next one */
	};
	struct lane lane = {.base = 100};

	(void)state;
	assert_int_equal(lane_declare(&lane, 200, 10, 1), 1);
	assert_int_equal(lane_declare(&lane, 220, 10, 2), 1);
	for (size_t i = 0; i < ARRAY(bad); i++) {
		if (lane_declare(&lane, bad[i].first, bad[i].count, 9) != -EPROTO)
			fail_msg("%u pieces from %u", bad[i].count, bad[i].first);
		if (lane_lose(&lane, bad[i].first, bad[i].count, bad[i].first) != -EPROTO)
			fail_msg("lost: %u pieces from %u", bad[i].count, bad[i].first);
	}
	/* Nothing of it has left a trace, and what just fits is welcome. */
	assert_int_equal(lane.count, 2);
	run_batch(&lane, 100, 100, 3);
	assert_int_equal(lane_declare(&lane, 210, 10, 4), 1);
	arrive(&lane, 200, 30);
	expect_batch(&lane, 200, 10, 1);
	expect_batch(&lane, 210, 10, 4);
	expect_batch(&lane, 220, 10, 2);
	lane_close(&lane);
}

/* Begins in the past, and ends where pieces are still expected. */
static void ends_across_the_base_are_refused(void **state)
{
	struct lane lane = {.base = 100};

	(void)state;
	assert_int_equal(lane_declare(&lane, 90, 11, 1), -EPROTO);
	assert_int_equal(lane_lose(&lane, 90, 11, 95), -EPROTO);
	assert_int_equal(lane_declare(&lane, LAST - 10, 112, 1), -EPROTO);
	assert_int_equal(lane_declare(&lane, 90, 10, 1), 0);
	expect_none(&lane);
	lane_close(&lane);
}

static void a_lost_piece_stops_the_counter(void **state)
{
	struct lane lane = {0};

	(void)state;
	/* END first. */
	assert_int_equal(lane_declare(&lane, 0, 3, 7), 1);
	arrive(&lane, 0, 2);
	assert_int_equal(lane_lose(&lane, 0, 3, 2), 0);
	expect_batch(&lane, 0, 3, LANE_NO_COUNTER);
	/* LOST first: it says itself what the batch is. */
	assert_int_equal(lane_lose(&lane, 3, 3, 4), 0);
	expect_none(&lane);
	assert_int_equal(lane_declare(&lane, 3, 3, 7), 0);
	arrive(&lane, 5, 1);
	expect_none(&lane);
	arrive(&lane, 3, 1);
	expect_batch(&lane, 3, 3, LANE_NO_COUNTER);
	/* All lost, some twice. */
	assert_int_equal(lane_lose(&lane, 6, 2, 7), 0);
	assert_int_equal(lane_lose(&lane, 6, 2, 7), 0);
	expect_none(&lane);
	assert_int_equal(lane_lose(&lane, 6, 2, 6), 0);
	expect_batch(&lane, 6, 2, LANE_NO_COUNTER);
	/* The next batch is none of this. */
	run_batch(&lane, 8, 2, 7);
	lane_close(&lane);
}

static void a_piece_both_lost_and_come_counts_once(void **state)
{
	struct lane lane = {0};

	(void)state;
	assert_int_equal(lane_declare(&lane, 0, 3, 7), 1);
	arrive(&lane, 1, 1);
	assert_int_equal(lane_lose(&lane, 0, 3, 1), 0);
	arrive(&lane, 0, 1);
	expect_none(&lane);
	assert_int_equal(lane_lose(&lane, 0, 3, 2), 0);
	expect_batch(&lane, 0, 3, LANE_NO_COUNTER);
	assert_int_equal(lane_arrive(&lane, 2), 0);
	expect_none(&lane);
	lane_close(&lane);
}

/* A LOST that cannot be must not make a batch, or the END to come would lose its counter. */
static void a_lost_piece_of_another_batch_is_refused(void **state)
{
	struct lane lane = {0};

	(void)state;
	assert_int_equal(lane_lose(&lane, 2, 3, 5), -EPROTO);
	assert_int_equal(lane_lose(&lane, 2, 3, 1), -EPROTO);
	assert_int_equal(lane.count, 0);
	run_batch(&lane, 0, 2, 1);
	assert_int_equal(lane_declare(&lane, 2, 3, 7), 1);
	assert_int_equal(lane_lose(&lane, 2, 3, 5), -EPROTO);
	assert_int_equal(lane_lose(&lane, 2, 4, 3), -EPROTO);
	arrive(&lane, 2, 3);
	expect_batch(&lane, 2, 3, 7);
	lane_close(&lane);
}

/* Bits stay when the lane grows around the circle's end. */
static void growing_keeps_what_has_come(void **state)
{
	static const uint32_t distances[] = {0,    1,    63,    1023,   1024,
	                                     1025, 5000, 65536, 200000, LANE_WINDOW - 1};
	struct lane lane = {.base = LAST - 3000};
	uint32_t before = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY(distances); i++) {
		uint32_t piece = (lane.base + distances[i]) & LAST;

		assert_int_equal(lane_arrive(&lane, piece), 1);
		assert_true(lane.capacity >= before);
		before = lane.capacity;
		for (size_t j = 0; j <= i; j++)
			assert_int_equal(lane_arrive(&lane, (lane.base + distances[j]) & LAST), 0);
	}
	assert_true(lane.capacity <= LANE_WINDOW);
	assert_int_equal(lane_declare(&lane, lane.base, 66, 1), 1);
	for (uint32_t i = 2; i < 66; i++)
		assert_int_equal(lane_arrive(&lane, lane.base + i), i != 63);
	expect_batch(&lane, LAST - 3000, 66, 1);
	lane_close(&lane);
}

static void a_quiet_lane_holds_no_memory(void **state)
{
	struct lane lane = {.base = 77};

	(void)state;
	expect_none(&lane);
	assert_false(lane_is_done(&lane, 77));
	assert_null(lane.bits);
	assert_null(lane.batches);
	lane_close(&lane);
	assert_int_equal(lane.base, 0);
	lane_close(&lane);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(immediates_carry_both_numbers),
		cmocka_unit_test(end_may_come_at_any_time),
		cmocka_unit_test(pieces_may_come_in_any_order),
		cmocka_unit_test(seen_twice_counts_once),
		cmocka_unit_test(late_duplicates_are_ignored),
		cmocka_unit_test(batches_complete_in_any_order),
		cmocka_unit_test(complete_batches_come_in_their_order),
		cmocka_unit_test(many_batches_at_once),
		cmocka_unit_test(numbers_go_round),
		cmocka_unit_test(a_batch_may_fill_the_window),
		cmocka_unit_test(beyond_the_window_is_the_past),
		cmocka_unit_test(impossible_ends_are_refused),
		cmocka_unit_test(ends_across_the_base_are_refused),
		cmocka_unit_test(a_lost_piece_stops_the_counter),
		cmocka_unit_test(a_piece_both_lost_and_come_counts_once),
		cmocka_unit_test(a_lost_piece_of_another_batch_is_refused),
		cmocka_unit_test(growing_keeps_what_has_come),
		cmocka_unit_test(a_quiet_lane_holds_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
