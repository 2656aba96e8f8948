/* SPDX-License-Identifier: MIT
 * Batches in parts: every byte once, whatever is cut where; and parts in turn. */
#include "batch.h"
#include "seeds.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define SEEDS    20000
#define ENDS_MAX 6
#define OPS_MAX  200
#define REGION   4000 /* bytes */

static const struct stripe_rule rule = {.min = 4096, .max = 65536};

static struct kvr_op one_op(uint64_t local, uint64_t stride, uint64_t len, uint64_t count)
{
	return (struct kvr_op){.local_offset = local,
	                       .local_stride = stride,
	                       .remote_offset = 7,
	                       .remote_stride = 2 * stride,
	                       .len = len,
	                       .count = count};
}

static void expect_op(const struct kvr_op *op, uint64_t local, uint64_t remote, uint64_t len,
                      uint64_t count)
{
	assert_int_equal(op->local_offset, local);
	assert_int_equal(op->remote_offset, remote);
	assert_int_equal(op->len, len);
	assert_int_equal(op->count, count);
}

static void whole_runs_stay_together(void **state)
{
	const struct kvr_op op = one_op(100, 50, 40, 20); /* up to 1,090 */
	const uint64_t ends[] = {600, 1090};
	struct kvr_op out[8];

	(void)state;
	/* The run at 600 is the eleventh. */
	assert_int_equal(batch_cut(&op, ends, NULL), 2);
	assert_int_equal(batch_cut(&op, ends, out), 2);
	expect_op(&out[0], 100, 7, 40, 10);
	expect_op(&out[1], 600, 1007, 40, 10);
	assert_int_equal(out[1].local_stride, 50);
	assert_int_equal(out[1].remote_stride, 100);
}

static void a_run_across_an_end_is_cut(void **state)
{
	const struct kvr_op op = one_op(100, 50, 40, 3);
	const uint64_t ends[] = {160, 161, 1000};
	struct kvr_op out[8];

	(void)state;
	assert_int_equal(batch_cut(&op, ends, out), 5);
	expect_op(&out[0], 100, 7, 40, 1);
	expect_op(&out[1], 150, 107, 10, 1);
	expect_op(&out[2], 160, 117, 1, 1);
	expect_op(&out[3], 161, 118, 29, 1);
	expect_op(&out[4], 200, 207, 40, 1);
}

static void runs_that_touch_are_one(void **state)
{
	struct kvr_op op = one_op(0, 10, 10, 100), out[4];
	const uint64_t ends[] = {505, 1000};

	(void)state;
	op.remote_stride = 10;
	assert_int_equal(batch_cut(&op, ends, out), 2);
	expect_op(&out[0], 0, 7, 505, 1);
	expect_op(&out[1], 505, 512, 495, 1);
}

/* Bytes of ops as (local, remote), in order. */
struct walk {
	const struct kvr_op *op;
	uint64_t run, byte;
};

static bool walk_on(struct walk *w, const struct kvr_op *end, uint64_t *local, uint64_t *remote)
{
	if (w->op == end)
		return false;
	*local = w->op->local_offset + w->run * w->op->local_stride + w->byte;
	*remote = w->op->remote_offset + w->run * w->op->remote_stride + w->byte;
	if (++w->byte < w->op->len)
		return true;
	w->byte = 0;
	if (++w->run < w->op->count)
		return true;
	w->run = 0;
	w->op++;
	return true;
}

/* Which stretch an offset is in. */
static unsigned int at(const uint64_t *ends, uint64_t offset)
{
	unsigned int i = 0;

	while (offset >= ends[i])
		i++;
	return i;
}

static struct kvr_op some_op(struct dice *dice)
{
	struct kvr_op op = {.len = 1 + dice_roll(dice, dice_chance(dice, 50) ? 20 : 1500)};
	uint64_t most = REGION / op.len;

	op.count = 1 + dice_roll(dice, most < 30 ? most : 30);
	op.local_stride = dice_chance(dice, 10) ? 0 : op.len;
	if (op.count > 1 && op.local_stride && dice_chance(dice, 70))
		op.local_stride += dice_roll(dice, (REGION - op.len * op.count) / op.count + 1);
	op.local_offset = dice_roll(dice, REGION - op.local_stride * (op.count - 1) - op.len + 1);
	op.remote_stride = op.len + (dice_chance(dice, 50) ? 0 : dice_roll(dice, 20));
	op.remote_offset = dice_roll(dice, 1000);
	return op;
}

static void some_ends(struct dice *dice, uint64_t *ends)
{
	unsigned int n = 1 + dice_roll(dice, ENDS_MAX);
	uint64_t end = 0;

	for (unsigned int i = 0; i + 1 < n && end + 1 < REGION; i++)
		*ends++ = end += 1 + dice_roll(dice, (REGION - end - 1) / 2 + 1);
	*ends = REGION;
}

static const char *random_cut(uint64_t seed)
{
	struct dice dice = dice_of(seed);
	struct kvr_op op = some_op(&dice), out[OPS_MAX];
	struct walk whole = {.op = &op}, cut = {.op = out};
	uint64_t ends[ENDS_MAX + 1], local, remote, cut_local, cut_remote;
	size_t n;

	some_ends(&dice, ends);
	n = batch_cut(&op, ends, NULL);
	if (n > OPS_MAX || batch_cut(&op, ends, out) != n)
		return "another number of ops";
	while (walk_on(&whole, &op + 1, &local, &remote))
		if (!walk_on(&cut, out + n, &cut_local, &cut_remote) || local != cut_local ||
		    remote != cut_remote)
			return "other bytes";
	if (walk_on(&cut, out + n, &cut_local, &cut_remote))
		return "more bytes";
	for (size_t i = 0; i < n; i++)
		if (at(ends, out[i].local_offset) !=
		    at(ends, out[i].local_offset + out[i].local_stride * (out[i].count - 1) +
		                     out[i].len - 1))
			return "an op that crosses an end";
	return NULL;
}

static void cuts_keep_every_byte(void **state)
{
	const char *wrong = seeds_run(SEEDS, random_cut);

	(void)state;
	if (wrong)
		fail_msg("%s", wrong);
}

/* The part with most left goes next, so that all come to their ends together. */
static void parts_take_turns(void **state)
{
	const struct kvr_op ops[] = {one_op(0, 0, 1 << 20, 1), one_op(1 << 20, 0, 1 << 20, 1),
	                             one_op(1 << 21, 0, 3 << 20, 1)};
	const struct rail_set sets[] = {{.near = 3}, {.near = 4, .far = 8}, {.near = 16}};
	struct batch batch = {.count = 0}, again;
	uint64_t taken[3] = {0}, pieces = 0;
	struct stripe_piece piece;
	unsigned int part;

	(void)state;
	for (int i = 0; i < 3; i++)
		batch_add(&batch, &ops[i], 1, &sets[i], &rule);
	assert_int_equal(batch.left, 5 << 20);
	assert_int_equal(batch.part[0].rule.rails, 2);
	assert_int_equal(batch.part[1].rule.rails, 2);
	assert_int_equal(batch.part[2].rule.rails, 1);
	for (; batch_take(&batch, &part, &piece); pieces++) {
		for (int i = 0; i < 3; i++) /* none has much more left than the one that went */
			assert_true(batch.part[i].cursor.left <=
			            batch.part[part].cursor.left + piece.len);
		assert_int_equal(piece.local_offset, ops[part].local_offset + taken[part]);
		taken[part] += piece.len;
	}
	assert_int_equal(batch.left, 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(taken[i], ops[i].len);
	assert_int_equal(batch_count(&batch, UINT64_MAX - 1), pieces);
	assert_true(batch_count(&batch, 3) > 3);
	again = batch_rewind(&batch);
	assert_int_equal(again.left, 5 << 20);
	assert_true(batch_take(&again, &part, &piece));
	assert_int_equal(part, 2);
	assert_int_equal(piece.local_offset, 1 << 21);
}

static void nothing(void **state)
{
	struct batch batch = {.count = 0};
	struct stripe_piece piece;
	unsigned int part;

	(void)state;
	assert_false(batch_take(&batch, &part, &piece));
	assert_int_equal(batch_count(&batch, 10), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whole_runs_stay_together),
		cmocka_unit_test(a_run_across_an_end_is_cut),
		cmocka_unit_test(runs_that_touch_are_one),
		cmocka_unit_test(cuts_keep_every_byte),
		cmocka_unit_test(parts_take_turns),
		cmocka_unit_test(nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
