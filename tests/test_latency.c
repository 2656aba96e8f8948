/* SPDX-License-Identifier: MIT
 * When requests arrive, percentiles, and what the rails could do. */
#include "latency.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void assert_near(double value, double expected)
{
	assert_true(value > expected * (1 - 1e-9) - 1e-12 && value < expected * (1 + 1e-9) + 1e-12);
}

static void arrivals_are_the_traces(void **state)
{
	struct trace_request requests[] = {
		{.timestamp_ms = 500},
		{.timestamp_ms = 500},
		{.timestamp_ms = 4500},
		{.timestamp_ms = 200}, /* before the first: a trace need not be sorted */
	};
	struct trace trace = {.count = 4, .requests = requests};

	(void)state;
	assert_near(latency_arrival(&trace, 0, 1), 0);
	assert_near(latency_arrival(&trace, 1, 1), 0);
	assert_near(latency_arrival(&trace, 2, 1), 4);
	assert_near(latency_arrival(&trace, 2, 8), 0.5);
	assert_near(latency_arrival(&trace, 2, 0.5), 8);
	assert_near(latency_arrival(&trace, 3, 1), 0);
}

static void rails_of_a_host_count_once(void **state)
{
	const struct latency_rail rails[] = {
		{"a", "eth0", 1e9}, {"a", "eth1", 2e9}, {"a", "eth0", 1e9},
		{"b", "eth0", 4e9}, {"b", "eth1", 0},
	};

	(void)state;
	assert_near(latency_rate(rails, 0), 0);
	assert_near(latency_rate(rails, 3), 3e9);
	assert_near(latency_rate(rails, 4), 7e9);
	assert_near(latency_rate(rails, 5), 0); /* one is not known */
}

static void percentiles_are_values_of_requests(void **state)
{
	struct latency all[200];
	struct latency_summary s;

	(void)state;
	for (size_t i = 0; i < 200; i++)
		all[i] = (struct latency){
			.bytes = i, .ms = (double)(i * 7 % 200 + 1), .ideal_ms = 0.5};
	assert_int_equal(latency_summarize(all, 200, LATENCY_MS, 0, &s), 0);
	assert_int_equal(s.count, 200);
	assert_near(s.p50, 100);
	assert_near(s.p90, 180);
	assert_near(s.p99, 198);
	assert_near(s.max, 200);
	assert_int_equal(latency_summarize(all, 200, LATENCY_OVER_IDEAL, 0, &s), 0);
	assert_near(s.p99, 396);
	assert_int_equal(latency_summarize(all, 200, LATENCY_IDEAL_MS, 0, &s), 0);
	assert_near(s.max, 0.5);
	assert_int_equal(latency_summarize(all, 3, LATENCY_MS, 0, &s), 0);
	assert_near(s.p50, 8); /* of 1, 8, 15 */
	assert_near(s.p90, 15);
	assert_int_equal(latency_summarize(all, 1, LATENCY_MS, 0, &s), 0);
	assert_near(s.p50, 1);
	assert_near(s.p99, 1);
}

static void small_and_unknown_ones_are_left_out(void **state)
{
	const struct latency all[] = {
		{.bytes = 10, .ms = 5, .ideal_ms = 1},
		{.bytes = 20, .ms = 6, .ideal_ms = 2},
		{.bytes = 30, .ms = 7}, /* without a rate */
	};
	struct latency_summary s;

	(void)state;
	assert_int_equal(latency_summarize(all, 3, LATENCY_MS, 20, &s), 0);
	assert_int_equal(s.count, 2);
	assert_near(s.max, 7);
	assert_int_equal(latency_summarize(all, 3, LATENCY_OVER_IDEAL, 20, &s), 0);
	assert_int_equal(s.count, 1);
	assert_near(s.max, 3);
	assert_int_equal(latency_summarize(all, 3, LATENCY_MS, 31, &s), 0);
	assert_int_equal(s.count, 0);
	assert_int_equal(latency_summarize(all, 0, LATENCY_MS, 0, &s), 0);
	assert_int_equal(s.count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(arrivals_are_the_traces),
		cmocka_unit_test(rails_of_a_host_count_once),
		cmocka_unit_test(percentiles_are_values_of_requests),
		cmocka_unit_test(small_and_unknown_ones_are_left_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
