/* SPDX-License-Identifier: MIT
 * Who takes the next piece: batches over rails of given rates on a virtual clock, against the time
 * that all rails together would need if bytes could be split at will. */
#include "pace.h"
#include "seeds.h"
#include "stripe.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define KIB       1024ull
#define MIB       (1024 * KIB)
#define SEEDS     3000
#define MAX_RAILS KVR_MAX_RAILS
#define DEPTH     32
#define WINDOW    (2 * MIB)
#define LATENCY   20000 /* ns */

struct flight {
	uint64_t len;
	int64_t posted, done;
};

struct model {
	unsigned int rails;
	double rate[MAX_RAILS]; /* bytes per ns, the truth */
	struct pace pace[MAX_RAILS];
	struct flight flight[MAX_RAILS][DEPTH]; /* a ring */
	unsigned int head[MAX_RAILS], count[MAX_RAILS];
	int64_t free_at[MAX_RAILS], now;
	uint64_t carried[MAX_RAILS]; /* bytes, of this batch */
};

static struct model model_of(unsigned int rails, double rate)
{
	struct model m = {.rails = rails, .now = 1};

	for (unsigned int r = 0; r < rails; r++)
		m.rate[r] = rate;
	return m;
}

static bool has_room(const struct model *m, unsigned int r)
{
	return m->count[r] < DEPTH && m->pace[r].in_flight + MIB <= WINDOW;
}

static bool takes(const struct pace *all, unsigned int n, unsigned int r, uint64_t len,
                  uint64_t left)
{
	const struct pace_view view = pace_look(all, n, UINT32_MAX);

	return pace_takes(&view, r, len, left);
}

static bool try_post(struct model *m, unsigned int r, struct stripe_cursor *c)
{
	const struct stripe_rule rule = {.rails = m->rails, .min = 64 * KIB, .max = MIB};
	struct stripe_cursor ahead = *c;
	struct stripe_piece piece;
	int64_t start = m->free_at[r] > m->now ? m->free_at[r] : m->now;

	if (!has_room(m, r) || !stripe_take(&ahead, &rule, &piece) ||
	    !takes(m->pace, m->rails, r, piece.len, c->left))
		return false;
	*c = ahead;
	pace_post(&m->pace[r], piece.len, m->now);
	m->free_at[r] = start + (int64_t)((double)piece.len / m->rate[r]);
	m->flight[r][(m->head[r] + m->count[r]++) % DEPTH] = (struct flight){
		.len = piece.len, .posted = m->now, .done = m->free_at[r] + LATENCY};
	m->carried[r] += piece.len;
	return true;
}

/* Goes on to the next completion; false if nothing is in flight. */
static bool complete(struct model *m)
{
	int64_t next = INT64_MAX;

	for (unsigned int r = 0; r < m->rails; r++)
		if (m->count[r] && m->flight[r][m->head[r]].done < next)
			next = m->flight[r][m->head[r]].done;
	if (next == INT64_MAX)
		return false;
	m->now = next > m->now ? next : m->now;
	for (unsigned int r = 0; r < m->rails; r++)
		while (m->count[r] && m->flight[r][m->head[r]].done <= m->now) {
			pace_complete(&m->pace[r], m->flight[r][m->head[r]].len,
			              m->flight[r][m->head[r]].posted, m->now);
			m->head[r] = (m->head[r] + 1) % DEPTH;
			m->count[r]--;
		}
	return true;
}

/* How much longer than the ideal the batch takes: 1 is the ideal. 0: it never ends. */
static double run(struct model *m, const struct kvr_op *ops, size_t n)
{
	struct stripe_cursor c = stripe_begin(ops, n);
	int64_t start = m->now;
	double sum = 0, ideal;
	bool more;

	memset(m->carried, 0, sizeof(m->carried));
	for (unsigned int r = 0; r < m->rails; r++)
		sum += m->rate[r];
	ideal = (double)c.left / sum;
	do {
		do {
			more = false;
			for (unsigned int r = 0; r < m->rails; r++)
				more |= try_post(m, r, &c);
		} while (more);
	} while (complete(m));
	return c.left ? 0 : (double)(m->now - start) / ideal;
}

static struct kvr_op blocks(uint64_t len, uint64_t count)
{
	return (struct kvr_op){
		.len = len, .count = count, .local_stride = 2 * len, .remote_stride = 2 * len};
}

#define expect_within(value, percent)                                                              \
	do {                                                                                       \
		double v = (value);                                                                \
		if (!(v > 0) || v > 1 + (percent) / 100.0)                                         \
			fail_msg("%s: %.4f of the ideal, wanted %.4f", #value, v,                  \
			         1 + (percent) / 100.0);                                           \
	} while (0)

static void equal_rails_share(void **state)
{
	struct model m = model_of(16, 0.125);
	struct kvr_op whole = blocks(1024 * MIB, 1), paged = blocks(256 * KIB, 4096);

	(void)state;
	expect_within(run(&m, &whole, 1), 1);
	for (unsigned int r = 0; r < 16; r++)
		assert_in_range(m.carried[r], 60 * MIB, 68 * MIB);
	expect_within(run(&m, &paged, 1), 1);
}

static void one_at_a_tenth_does_not_hold_the_tail(void **state)
{
	struct model m = model_of(16, 0.125);
	struct kvr_op whole = blocks(1024 * MIB, 1), small = blocks(64 * KIB, 2000);

	(void)state;
	m.rate[5] /= 10;
	expect_within(run(&m, &whole, 1), 2);
	expect_within(run(&m, &whole, 1), 2);
	assert_in_range(m.carried[5], 5 * MIB, 8 * MIB); /* its share is 6.8 MiB */
	expect_within(run(&m, &small, 1), 3);
}

static void half_at_half(void **state)
{
	struct model m = model_of(16, 0.125);
	struct kvr_op whole = blocks(1024 * MIB, 1);

	(void)state;
	for (unsigned int r = 0; r < 8; r++)
		m.rate[r] /= 2;
	expect_within(run(&m, &whole, 1), 1);
	expect_within(run(&m, &whole, 1), 1);
}

static void mixed_sizes(void **state)
{
	struct model m = model_of(12, 0.03125);
	struct kvr_op ops[200];

	(void)state;
	for (size_t i = 0; i < 200; i++)
		ops[i] = i % 2 ? blocks(MIB, 1) : blocks(64 * KIB, 1);
	expect_within(run(&m, ops, 200), 2);
	expect_within(run(&m, ops, 200), 2);
}

static void many_blocks_are_as_good_as_few(void **state)
{
	struct model m = model_of(16, 0.125);
	struct kvr_op few = blocks(64 * KIB, 1000), many = blocks(64 * KIB, 100000);

	(void)state;
	expect_within(run(&m, &few, 1), 2);
	expect_within(run(&m, &many, 1), 0.1);
}

/* It was at full rate, and is at a tenth now: what it had taken is lost time, but no more. */
static void a_rail_that_slows_down_is_noticed(void **state)
{
	struct model m = model_of(16, 0.125);
	struct kvr_op whole = blocks(1024 * MIB, 1);

	(void)state;
	expect_within(run(&m, &whole, 1), 1);
	m.rate[3] /= 10;
	expect_within(run(&m, &whole, 1), 2);
	m.rate[3] *= 10;
	run(&m, &whole, 1);
	expect_within(run(&m, &whole, 1), 1);
}

/* A rail that was slow and is idle for long is tried again; one that is out takes nothing. */
static void history_fades(void **state)
{
	struct pace pace[2] = {{0}};

	(void)state;
	for (int64_t i = 0; i < 20; i++) {
		pace_post(&pace[0], MIB, i * 1000000);
		pace_complete(&pace[0], MIB, i * 1000000, i * 1000000 + 100000);
		pace_post(&pace[1], MIB, i * 1000000);
		pace_complete(&pace[1], MIB, i * 1000000, i * 1000000 + 900000);
	}
	assert_true(takes(pace, 2, 0, MIB, MIB));
	assert_false(takes(pace, 2, 1, MIB, MIB));
	assert_true(takes(pace, 2, 1, MIB, 100 * MIB));
	pace[0].out = true;
	assert_true(takes(pace, 2, 1, MIB, MIB));
	pace[0].out = false;
	pace_post(&pace[1], MIB, 10000000000);
	pace_fail(&pace[1], MIB, 10000000001);
	assert_true(takes(pace, 2, 1, MIB, MIB));
}

/* Only rails of the view are waited for, and who helps them must be worth it. */
static void helpers(void **state)
{
	struct pace pace[3] = {{.rate = 1}, {.rate = 1}, {.rate = 1}};
	struct pace_view view = pace_look(pace, 3, 3);

	(void)state;
	assert_int_equal(view.usable, 2);
	/* Two rails need as long for four pieces as the third for two, for which it has none. */
	assert_true(pace_helps(&view, 2, MIB, 4 * MIB));
	assert_false(pace_helps(&view, 2, MIB, 4 * MIB - 1));
	pace[2].in_flight = MIB;
	assert_false(pace_helps(&view, 2, MIB, 4 * MIB));
	assert_true(pace_helps(&view, 2, MIB, 8 * MIB));
	pace[2].in_flight = 0;
	pace[2].rate = 0.5;
	assert_false(pace_helps(&view, 2, MIB, 4 * MIB));
	/* That one is free is no reason for a busy one to leave the last piece, unless it counts.
	 */
	pace[0].in_flight = pace[1].in_flight = 4 * MIB;
	assert_true(pace_takes(&view, 0, MIB, MIB));
	view = pace_look(pace, 3, 7);
	assert_false(pace_takes(&view, 0, MIB, MIB));
	/* Nobody is there to be helped. */
	pace[0].out = pace[1].out = true;
	view = pace_look(pace, 3, 3);
	assert_int_equal(view.usable, 0);
	assert_false(pace_helps(&view, 2, MIB, 100 * MIB));
}

/* Whatever rates are believed, of now or of before, and whatever is in flight, somebody takes the
 * last piece. */
static const char *somebody_takes(uint64_t seed)
{
	struct dice dice = dice_of(seed);
	struct pace pace[MAX_RAILS] = {{0}};
	unsigned int n = 1 + dice_roll(&dice, MAX_RAILS), usable = 0, takers = 0;
	uint64_t len = 1 + dice_roll(&dice, MIB), left = len + dice_roll(&dice, 3) * len;
	uint32_t mask = dice_chance(&dice, 50) ? UINT32_MAX : dice_roll(&dice, UINT32_MAX);
	struct pace_view view = pace_look(pace, n, mask);

	for (unsigned int r = 0; r < n; r++) {
		pace[r].in_flight = dice_chance(&dice, 50) ? dice_roll(&dice, 4 * MIB) : 0;
		pace[r].rate = dice_chance(&dice, 70) ? (1 + dice_roll(&dice, 10000)) / 1e4 : 0;
		pace[r].out = dice_chance(&dice, 20);
		usable += mask >> r & 1 && !pace[r].out;
	}
	if (dice_chance(&dice, 70))
		view = pace_look(pace, n, mask);
	for (unsigned int r = 0; r < n; r++)
		takers += mask >> r & 1 && !pace[r].out && pace_takes(&view, r, len, left);
	return usable && !takers ? "nobody takes the piece" : NULL;
}

/* Random rails and blocks, the second time round, when the rates are known. What one more piece of
 * the best rail, or a block that cannot be cut, takes is granted. */
static const char *random_batch(uint64_t seed)
{
	static char why[100];
	struct dice dice = dice_of(seed);
	struct model m = model_of(1 + dice_roll(&dice, 16), 0.1);
	struct kvr_op ops[4];
	double took, sum = 0, best = 0, bytes = 0, slack;

	for (unsigned int r = 0; r < m.rails; r++) {
		m.rate[r] *= (10 + (double)dice_roll(&dice, 91)) / 100;
		sum += m.rate[r];
		best = m.rate[r] > best ? m.rate[r] : best;
	}
	for (size_t i = 0; i < 4; i++) {
		ops[i] = blocks((1 + dice_roll(&dice, 64)) * 16 * KIB, 1 + dice_roll(&dice, 400));
		bytes += (double)(ops[i].len * ops[i].count);
	}
	run(&m, ops, 4);
	took = run(&m, ops, 4);
	slack = (2 * MIB / best + 4 * LATENCY) / (bytes / sum);
	snprintf(why, sizeof(why), "%.4f of the ideal, %u rails, slack %.4f", took, m.rails, slack);
	return took > 0 && took < 1.03 + slack ? NULL : why;
}

static void seeded(void **state)
{
	const char *wrong = seeds_run(20 * SEEDS, somebody_takes);

	(void)state;
	if (!wrong)
		wrong = seeds_run(SEEDS, random_batch);
	if (wrong)
		fail_msg("%s", wrong);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(equal_rails_share),
		cmocka_unit_test(one_at_a_tenth_does_not_hold_the_tail),
		cmocka_unit_test(half_at_half),
		cmocka_unit_test(mixed_sizes),
		cmocka_unit_test(many_blocks_are_as_good_as_few),
		cmocka_unit_test(a_rail_that_slows_down_is_noticed),
		cmocka_unit_test(history_fades),
		cmocka_unit_test(helpers),
		cmocka_unit_test(seeded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
