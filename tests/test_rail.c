/* SPDX-License-Identifier: MIT
 * What a rail moves of late. */
#include "rail.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define MS 1000000ll

static void run(struct rail *rail, int64_t *now, uint64_t bytes_per_ms, int ms)
{
	for (int i = 0; i < ms; i++) {
		rail->stats.bytes_written += bytes_per_ms / 2;
		rail->stats.bytes_read += bytes_per_ms / 2;
		*now += MS;
		rail_measure(rail, *now);
	}
}

static void rate_follows_what_is_moved(void **state)
{
	struct rail rail = {.index = 0};
	int64_t now = 0;

	(void)state;
	run(&rail, &now, 1000000, 3000);
	assert_in_range(rail.stats.bytes_per_second, 990000000, 1000000000);
	run(&rail, &now, 500000, 3000);
	assert_in_range(rail.stats.bytes_per_second, 495000000, 510000000);
	run(&rail, &now, 0, 250);
	assert_in_range(rail.stats.bytes_per_second, 150000000, 280000000);
	run(&rail, &now, 0, 5000);
	assert_in_range(rail.stats.bytes_per_second, 0, 1000000);
}

static void rate_does_not_depend_on_who_asks(void **state)
{
	struct rail rail = {.index = 0};

	(void)state;
	rail.stats.bytes_written = 1 << 30;
	rail_measure(&rail, 0);
	rail_measure(&rail, MS);
	assert_int_equal(rail.stats.bytes_per_second, 0); /* too short to say */
	rail_measure(&rail, 100000 * MS);
	assert_in_range(rail.stats.bytes_per_second, 10000000, 11000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rate_follows_what_is_moved),
		cmocka_unit_test(rate_does_not_depend_on_who_asks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
