/* SPDX-License-Identifier: MIT
 * Whom to blame for a late piece: a silent path beside others that answer, never all of them. */
#include "health.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define MS 1000000ll

static const int64_t patience = 60 * MS;

static enum health_verdict judge(const struct health *h, const struct health_question *q,
                                 int64_t now)
{
	return health_judge(h, q, 1000 * MS, patience, now);
}

static void nobody_answers_nobody_is_blamed(void **state)
{
	struct health h = {.alive_at = 900 * MS};
	struct health_question q = {0};

	(void)state;
	assert_int_equal(judge(&h, &q, 1000 * MS + patience), HEALTH_WAIT);
	for (int64_t now = 1000 * MS + patience + 1; now < 5000 * MS; now += MS) {
		enum health_verdict verdict = judge(&h, &q, now);

		assert_int_not_equal(verdict, HEALTH_BLAME);
		if (verdict == HEALTH_ASK)
			health_ask(&q, now);
	}
}

static void the_silent_one_is_blamed(void **state)
{
	struct health silent = {0}, other = {0};
	struct health_question q = {0};
	int64_t now = 1100 * MS;

	(void)state;
	assert_int_equal(judge(&silent, &q, now), HEALTH_ASK);
	health_ask(&q, now);
	assert_false(health_alive(&other, &q, now + MS));
	assert_int_equal(judge(&silent, &q, now + 2 * MS), HEALTH_WAIT);
	assert_int_equal(judge(&silent, &q, now + 50 * MS), HEALTH_BLAME);
	assert_int_equal(judge(&other, &q, now + 50 * MS), HEALTH_WAIT);
}

static void a_slow_one_has_more_time(void **state)
{
	struct health slow = {0};
	struct health_question q = {0};

	(void)state;
	health_ask(&q, 1100 * MS);
	health_alive(&slow, &q, 1101 * MS);
	assert_int_equal(judge(&slow, &q, 2000 * MS), HEALTH_WAIT);
	assert_int_equal(judge(&slow, &q, 2001 * MS), HEALTH_BLAME);
	assert_int_equal(health_judge(&slow, &q, 0, 300 * MS, 1200 * MS), HEALTH_WAIT);
	assert_int_equal(health_judge(&slow, &q, 0, 300 * MS, 1201 * MS), HEALTH_BLAME);
}

/* Each pause is twice as long, up to a limit; after a long time of use they begin anew. */
static void pauses_grow(void **state)
{
	struct health h = {0};
	struct health_question q = {0};
	int64_t now = 10000 * MS, last = 0, pause;

	(void)state;
	assert_true(health_fail(&h, now));
	assert_false(health_fail(&h, now));
	for (int i = 0; i < 12; i++) {
		int64_t from = now;

		while (!health_wants_try(&h, now))
			now += MS;
		pause = now - from;
		assert_true(pause >= last && pause <= 2001 * MS);
		last = pause;
	}
	assert_true(last > 1900 * MS);
	assert_true(health_alive(&h, &q, now));
	assert_false(health_alive(&h, &q, now));
	assert_true(health_fail(&h, now + 10000 * MS));
	assert_false(health_wants_try(&h, now + 10040 * MS));
	assert_true(health_wants_try(&h, now + 10060 * MS));
}

static void patience_has_bounds(void **state)
{
	(void)state;
	assert_true(health_patience(1, false) >= 50 * MS);
	assert_true(health_patience(0, false) > health_patience(1, false));
	assert_true(health_patience(100 * MS, false) > 300 * MS);
	assert_true(health_patience(1, true) >= 200 * MS);
	assert_true(health_patience(0, true) > health_patience(1, true));
	for (int imitated = 0; imitated < 2; imitated++)
		assert_true(health_patience(INT64_MAX / 8, imitated) <= 2000 * MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_answers_nobody_is_blamed),
		cmocka_unit_test(the_silent_one_is_blamed),
		cmocka_unit_test(a_slow_one_has_more_time),
		cmocka_unit_test(pauses_grow),
		cmocka_unit_test(patience_has_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
