/* SPDX-License-Identifier: MIT
 * Rails are made ready for their first peer when memory near them is opened, each once, and no more
 * of them than the memory has pieces. */
#include "context.h"
#include "look_fabric.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static int warmed_after(struct kvr *kvr, void *memory, size_t len)
{
	struct kvr_region *region;

	assert_int_equal(kvr_region_open(kvr, memory, len, KVR_HOST, &region), 0);
	assert_int_equal(kvr_region_close(region), 0);
	/* Its writes would not be pulled: who writes here enters. */
	assert_int_equal(look.doors_warmed, look.warmed);
	return look.warmed;
}

static void once_and_as_many_as_pieces(void **state)
{
	size_t piece;
	struct kvr *kvr;
	void *memory;

	(void)state;
	assert_int_equal(context_open(NULL, NULL, &look_ops, 1, &kvr), 0);
	piece = kvr->config.piece_bytes;
	memory = calloc(2 * LOOK_RAILS, piece);
	assert_non_null(memory);
	assert_int_equal(look.warmed, 0);
	assert_int_equal(warmed_after(kvr, memory, 1), 1);
	assert_int_equal(warmed_after(kvr, memory, piece), 1);
	assert_int_equal(warmed_after(kvr, memory, piece + 1), 2);
	assert_int_equal(warmed_after(kvr, memory, 2 * LOOK_RAILS * piece), LOOK_RAILS);
	assert_int_equal(warmed_after(kvr, memory, 2 * LOOK_RAILS * piece), LOOK_RAILS);
	assert_int_equal(kvr_close(kvr), 0);
	free(memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(once_and_as_many_as_pieces)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
