/* SPDX-License-Identifier: MIT
 * Pieces that go once more: each is found again by its place, whatever the order. */
#include "again.h"
#include "counter.h"
#include "seeds.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define SEEDS  300
#define PIECES 400

static struct kvr_op some_op(struct dice *dice)
{
	uint64_t len = 1 + dice_roll(dice, 300000);

	return (struct kvr_op){.len = len,
	                       .count = 1 + dice_roll(dice, 9),
	                       .local_offset = dice_roll(dice, 1 << 20),
	                       .local_stride = len + dice_roll(dice, 2),
	                       .remote_stride = len + dice_roll(dice, 2)};
}

static const char *random_batch(uint64_t seed)
{
	struct dice dice = dice_of(seed);
	const struct stripe_rule rule = {.rails = 4, .min = 4096, .max = 65536};
	struct stripe_piece piece[PIECES], found;
	struct kvr_op ops[] = {some_op(&dice), some_op(&dice), some_op(&dice)};
	const struct rail_set rails = {.near = 15};
	struct batch batch = {.count = 0}, walk;
	bool in[PIECES] = {false};
	struct again again = {0};
	uint32_t n = 0, place, left = 0;
	const char *wrong = NULL;

	unsigned int part[PIECES], found_part;

	batch_add(&batch, ops, 1, &rails, &rule);
	batch_add(&batch, ops + 1, 2, &rails, &rule);
	walk = batch;
	while (n < PIECES && batch_take(&walk, &part[n], &piece[n]))
		n++;
	for (int step = 0; !wrong && step < 500; step++) {
		place = dice_roll(&dice, n);
		if (step < 400 && dice_chance(&dice, 50)) {
			left += !in[place];
			in[place] = true;
			if (again_add(&again, place))
				wrong = "no memory";
		} else if (again_next(&again, &walk, &place, &found_part, &found)) {
			if (!in[place])
				wrong = "a piece that is not in";
			else if (memcmp(&found, &piece[place], sizeof(found)) ||
			         found_part != part[place])
				wrong = "another piece than the first time";
			left -= in[place];
			in[place] = false;
			again_remove(&again, place);
		} else if (left) {
			wrong = "none, though some are in";
		}
		if (again.count != left)
			wrong = "a wrong count";
	}
	again_clear(&again);
	return wrong;
}

static void seeded(void **state)
{
	const char *wrong = seeds_run(SEEDS, random_batch);

	(void)state;
	if (wrong)
		fail_msg("%s", wrong);
}

static void the_last_place_fits(void **state)
{
	struct again again = {0};

	(void)state;
	again_remove(&again, 7);
	assert_int_equal(again_add(&again, LANE_WINDOW - 1), 0);
	assert_int_equal(again_add(&again, LANE_WINDOW - 1), 0);
	assert_int_equal(again.count, 1);
	again_clear(&again);
	assert_int_equal(again.count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(seeded),
		cmocka_unit_test(the_last_place_fits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
