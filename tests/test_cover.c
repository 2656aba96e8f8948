/* SPDX-License-Identifier: MIT
 * Whether sources hold what a destination wants: each once, or as copies that are all there. */
#include <errno.h>
#include <kvrail.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "good_layout.h"
#include "refused.h"

#define ARRAY(a) (sizeof(a) / sizeof((a)[0]))

static void what_sources_lack_is_named(void **state)
{
	struct kvr_layout to = good, from[8];

	(void)state;
	to.heads = 8;
	assert_int_equal(kvr_layout_pack(&to, "lpbth"), 0);
	for (uint32_t i = 0; i < 8; i++) {
		from[i] = good;
		assert_int_equal(kvr_layout_shard(&from[i], 8, 4, i % 4), 0);
		from[i].first_layer = i / 4 * 2;
		from[i].layers = 1 + !(i / 4);
	}
	assert_int_equal(kvr_layout_cover(&to, from, 8), 0);
	assert_int_equal(kvr_layout_cover(&to, &to, 1), 0);
	expect_refused(kvr_layout_cover(&to, from, 7), -EINVAL, "head 6 of layer 2");
	expect_refused(kvr_layout_cover(&to, from, 0), -EINVAL, "head 0 of layer 0");
	from[1].first_head = 3;
	expect_refused(kvr_layout_cover(&to, from, 8), -EINVAL, "head 2 of layer 0");
	from[1].heads = 3;
	from[1].first_head = 2;
	expect_refused(kvr_layout_cover(&to, from, 8), -EINVAL, "head 4 of layer 0");
	from[1].heads = 0;
	expect_refused(kvr_layout_cover(&to, from, 8), -EINVAL, "sources[].heads");
	to.blocks = 0;
	expect_refused(kvr_layout_cover(&to, from, 8), -EINVAL, "to.blocks");
}

/* first_layer, layers, first_head, heads */
static struct kvr_layout part_of_model(const uint32_t part[static 4])
{
	struct kvr_layout l = good;

	l.first_layer = part[0];
	l.layers = part[1];
	l.first_head = part[2];
	l.heads = part[3];
	assert_int_equal(kvr_layout_pack(&l, "lpbth"), 0);
	return l;
}

/* Wherever a source begins or ends within the others. */
static void holes_and_overlaps_are_found(void **state)
{
	static const struct {
		uint32_t part[2][4];
		const char *word; /* NULL: it is right */
	} cases[] = {
		{{{0, 9, 0, 2}, {0, 9, 2, 6}}, NULL},
		{{{0, 4, 0, 8}, {4, 5, 0, 8}}, NULL},
		{{{0, 9, 0, 2}, {0, 9, 3, 5}}, "head 2 of layer 0"},
		{{{0, 9, 0, 8}, {0, 9, 3, 2}}, "head 3 of layer 0"},
		{{{0, 9, 0, 7}, {0, 9, 0, 7}}, "head 0 of layer 0"},
		{{{0, 4, 0, 8}, {5, 4, 0, 8}}, "head 0 of layer 4"},
		{{{0, 9, 0, 8}, {6, 2, 0, 8}}, "head 0 of layer 6"},
		{{{0, 9, 0, 8}, {6, 2, 5, 1}}, "head 5 of layer 6"},
		{{{0, 8, 0, 8}, {0, 1, 8, 1}}, "head 0 of layer 8"},
		{{{0, 9, 0, 7}, {0, 9, 8, 1}}, "head 7 of layer 0"},
	};
	const struct kvr_layout to = part_of_model((uint32_t[]){0, 9, 0, 8});
	struct kvr_layout from[2];

	(void)state;
	for (size_t i = 0; i < ARRAY(cases); i++) {
		from[0] = part_of_model(cases[i].part[0]);
		from[1] = part_of_model(cases[i].part[1]);
		if (cases[i].word)
			expect_refused(kvr_layout_cover(&to, from, 2), -EINVAL, cases[i].word);
		else
			assert_int_equal(kvr_layout_cover(&to, from, 2), 0);
	}
}

static void four_copies(struct kvr_layout out[4])
{
	for (uint32_t i = 0; i < 4; i++) {
		out[i] = good;
		out[i].copies = 4;
		out[i].copy = 3 - i;
	}
}

static void copies_are_all_there_once(void **state)
{
	struct kvr_layout from[4];

	(void)state;
	four_copies(from);
	assert_int_equal(kvr_layout_cover(&good, from, 4), 0);
	expect_refused(kvr_layout_cover(&good, from, 3), -EINVAL, "not all copies");
	/* Another stage's copies are others. */
	from[1].first_layer = good.layers;
	expect_refused(kvr_layout_cover(&good, from, 4), -EINVAL, "not all copies");
	from[1] = from[2];
	from[1].first_layer = good.layers;
	from[2].copies = from[0].copies = 2;
	from[0].copy = 0;
	from[3].first_layer = good.layers;
	assert_int_equal(kvr_layout_cover(&good, from, 4), 0);
}

static void copies_that_are_wrong(void **state)
{
	struct kvr_layout from[4];

	(void)state;
	four_copies(from);
	from[3].copy = 2;
	expect_refused(kvr_layout_cover(&good, from, 4), -EINVAL, "twice");
	from[3].copy = 0;
	from[3].copies = 5;
	expect_refused(kvr_layout_cover(&good, from, 4), -EINVAL, "numbers of copies");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_sources_lack_is_named),
		cmocka_unit_test(holes_and_overlaps_are_found),
		cmocka_unit_test(copies_are_all_there_once),
		cmocka_unit_test(copies_that_are_wrong),
	};

	clean(NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
