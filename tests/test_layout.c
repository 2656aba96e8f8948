/* SPDX-License-Identifier: MIT
 * Layouts and pages: those that engines have, and every way to get a field wrong, which one line of
 * log names. */
#include "plan_reference.h"
#include "sized.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "good_layout.h"
#include "refused.h"

#define ARRAY(a) (sizeof(a) / sizeof((a)[0]))

static void bytes_end_with_the_last_head(void **state)
{
	struct kvr_layout l = good;

	(void)state;
	assert_int_equal(kvr_layout_bytes(&l), 3 * 10240);
	l.offset = 100;
	l.head_stride = 9;
	l.token_stride = 64;
	l.block_stride = 1024;
	l.part_stride = 10 * 1024;
	l.layer_stride = 21 * 1024;
	assert_int_equal(kvr_layout_bytes(&l), 100 + 2 * 21504 + 10240 + 9216 + 15 * 64 + 27 + 8);
	l.layer_regions = 1;
	l.layer_stride = 0;
	assert_int_equal(kvr_layout_bytes(&l), 100 + 10240 + 9216 + 15 * 64 + 27 + 8);
	/* What steps from region to region need not step over anything. */
	l = good;
	l.layer_regions = 1;
	l.layer_stride = 3;
	assert_int_equal(kvr_layout_bytes(&l), 10240 + 2 * 3);
	/* A stride of one thing is not looked at. */
	l = good;
	l.layers = 1;
	l.layer_stride = UINT64_MAX;
	assert_int_equal(kvr_layout_bytes(&l), 10240);
	assert_int_equal(errors, 0);
}

struct wrong {
	size_t field, size;
	uint64_t value;
	int rc;
	const char *word;
};

#define WRONG(type, field, value, rc)                                                              \
	{                                                                                          \
		offsetof(struct type, field), sizeof(((struct type *)0)->field), value, rc, #field \
	}

static void set(void *object, const struct wrong *w)
{
	uint32_t narrow = (uint32_t)w->value;

	memcpy((char *)object + w->field, w->size == 8 ? (void *)&w->value : &narrow, w->size);
}

static const struct wrong wrong_layouts[] = {
	WRONG(kvr_layout, size, sizeof(good) - 1, -EINVAL),
	WRONG(kvr_layout, layers, 0, -EINVAL),
	WRONG(kvr_layout, parts, 0, -EINVAL),
	WRONG(kvr_layout, heads, 0, -EINVAL),
	WRONG(kvr_layout, head_bytes, 0, -EINVAL),
	WRONG(kvr_layout, blocks, 0, -EINVAL),
	WRONG(kvr_layout, block_tokens, 0, -EINVAL),
	WRONG(kvr_layout, copy, 1, -EINVAL),
	WRONG(kvr_layout, head_stride, 0, -EINVAL),
	WRONG(kvr_layout, head_stride, 7, -EINVAL),
	WRONG(kvr_layout, token_stride, 31, -EINVAL),
	WRONG(kvr_layout, token_stride, 0, -EINVAL),
	WRONG(kvr_layout, token_stride, 102400, -EINVAL),
	WRONG(kvr_layout, block_stride, 511, -EINVAL),
	WRONG(kvr_layout, part_stride, 5119, -EINVAL),
	WRONG(kvr_layout, layer_stride, 10239, -EINVAL),
	WRONG(kvr_layout, layer_stride, 5120, -EINVAL),
	WRONG(kvr_layout, layer_stride, 0, -EINVAL),
	WRONG(kvr_layout, layer_stride, 1ull << 62, -EOVERFLOW),
	WRONG(kvr_layout, layer_stride, UINT64_MAX, -EOVERFLOW),
	WRONG(kvr_layout, part_stride, UINT64_MAX, -EOVERFLOW),
	WRONG(kvr_layout, part_stride, INT64_MAX, -EOVERFLOW),
	WRONG(kvr_layout, block_stride, 1ull << 61, -EOVERFLOW),
	WRONG(kvr_layout, offset, UINT64_MAX, -EOVERFLOW),
	WRONG(kvr_layout, offset, (1ull << 63) - 3 * 10240, -EOVERFLOW),
	WRONG(kvr_layout, first_layer, UINT32_MAX - 2, -EOVERFLOW),
	WRONG(kvr_layout, first_head, UINT32_MAX - 3, -EOVERFLOW),
	WRONG(kvr_layout, layer_regions, 1u << 31, -EOVERFLOW),
};

static void wrong_layouts_are_named(void **state)
{
	struct kvr_plan *plan = NULL;
	struct kvr_layout l;
	char word[64];

	(void)state;
	for (size_t i = 0; i < ARRAY(wrong_layouts); i++) {
		const struct wrong *w = &wrong_layouts[i];

		l = good;
		set(&l, w);
		expect_refused(kvr_layout_bytes(&l), w->rc, w->word);
		snprintf(word, sizeof(word), "local.%s ", w->word);
		expect_refused(kvr_plan_open(&l, &good, KVR_WRITE, &plan), w->rc, word);
		snprintf(word, sizeof(word), "remote.%s ", w->word);
		expect_refused(kvr_plan_open(&good, &l, KVR_READ, &plan), w->rc, word);
		assert_null(plan);
	}
	expect_refused(kvr_layout_bytes(NULL), -EINVAL, "NULL");
}

static void the_last_numbers_that_are_right(void **state)
{
	struct kvr_layout l = good;

	(void)state;
	l.offset = (1ull << 63) - 1 - 3 * 10240;
	l.first_layer = UINT32_MAX - 3;
	l.first_head = UINT32_MAX - 4;
	assert_int_equal(kvr_layout_bytes(&l), INT64_MAX);
	l.layer_regions = 2;
	l.part_regions = 1;
	assert_true(kvr_layout_bytes(&l) > 0);
	l.part_regions = 3;
	l.layer_regions = 1;
	assert_true(kvr_layout_bytes(&l) > 0);
	l.part_regions = 2; /* layer 2 of K would be layer 0 of V */
	expect_refused(kvr_layout_bytes(&l), -EINVAL, "layer_regions");
	l.part_regions = 1;
	expect_refused(kvr_layout_bytes(&l), -EINVAL, "layer_regions");
	l.part_regions = UINT32_MAX;
	expect_refused(kvr_layout_bytes(&l), -EOVERFLOW, "part_regions");
}

static void a_newer_version_may_set_what_we_know(void **state)
{
	struct {
		struct kvr_layout layout;
		uint64_t more;
	} l = {good, 0};

	(void)state;
	l.layout.size = sizeof(l);
	assert_int_equal(kvr_layout_bytes(&l.layout), 3 * 10240);
	l.more = 1;
	expect_refused(kvr_layout_bytes(&l.layout), -E2BIG, "layout.size");
}

/* What an older version's struct lacks is zero, not what lies behind it. */
static void an_older_version_sets_less(void **state)
{
	const size_t user[] = {2 * sizeof(size_t), 5, 7};
	size_t ours[] = {1, 1, 1};

	(void)state;
	assert_int_equal(sized_read("it", user, ours, 2 * sizeof(size_t), sizeof(ours)), 0);
	assert_int_equal(ours[1], 5);
	assert_int_equal(ours[2], 0);
}

static void pairs_must_fit(void **state)
{
	struct kvr_plan *plan = NULL;
	struct kvr_layout l = good;

	(void)state;
	l.parts = 1;
	expect_refused(kvr_plan_open(&l, &good, KVR_WRITE, &plan), -EINVAL, "parts");
	l = good;
	l.head_bytes = 4;
	expect_refused(kvr_plan_open(&good, &l, KVR_WRITE, &plan), -EINVAL, "head_bytes");
	expect_refused(kvr_plan_open(&good, &good, (enum kvr_direction)2, &plan), -EINVAL,
	               "direction");
	assert_null(plan);
}

static const uint32_t table[] = {9, 0, 10};

static const struct kvr_pages good_pages = {
	.size = sizeof(good_pages),
	.local_blocks = table,
	.remote_blocks = table,
	.local_count = 2,
	.remote_count = 2,
	.first_token = 3,
	.tokens = 29,
};

static const struct wrong wrong_pages[] = {
	WRONG(kvr_pages, size, sizeof(good_pages) - 1, -EINVAL),
	WRONG(kvr_pages, tokens, 0, -EINVAL),
	WRONG(kvr_pages, tokens, UINT64_MAX - 2, -EOVERFLOW),
	WRONG(kvr_pages, layers, UINT32_MAX, 0),
};

static const struct wrong wrong_tables[] = {
	WRONG(kvr_pages, local_blocks, 0, -EINVAL),
	WRONG(kvr_pages, remote_blocks, 0, -EINVAL),
	WRONG(kvr_pages, local_count, 1, -EINVAL),
	WRONG(kvr_pages, remote_count, 0, -EINVAL),
};

static void wrong_pages_are_named(void **state)
{
	struct kvr_region *const *regions = reference_regions();
	struct kvr_remote *const *remotes = reference_remotes();
	struct kvr_pages pages = good_pages;
	struct kvr_op ops[64] = {0}, none = {0};
	struct kvr_plan *plan;

	(void)state;
	assert_int_equal(kvr_plan_open(&good, &good, KVR_WRITE, &plan), 0);
	for (size_t i = 0; i < ARRAY(wrong_pages); i++) {
		pages = good_pages;
		set(&pages, &wrong_pages[i]);
		if (!wrong_pages[i].rc) {
			pages.first_layer = 1;
			expect_refused(kvr_plan_bytes(plan, &pages), -EOVERFLOW, "first_layer");
			continue;
		}
		expect_refused(kvr_plan_bytes(plan, &pages), wrong_pages[i].rc,
		               wrong_pages[i].word);
		expect_refused(kvr_plan_ops(plan, regions, remotes, &pages, ops, 64),
		               wrong_pages[i].rc, wrong_pages[i].word);
	}
	for (size_t i = 0; i < ARRAY(wrong_tables); i++) {
		pages = good_pages;
		set(&pages, &wrong_tables[i]);
		expect_refused(kvr_plan_ops(plan, regions, remotes, &pages, ops, 64),
		               wrong_tables[i].rc, wrong_tables[i].word);
	}
	expect_refused(kvr_plan_ops(plan, regions, remotes, NULL, ops, 64), -EINVAL, "pages");
	assert_memory_equal(&ops[0], &none, sizeof(none));
	kvr_plan_close(plan);
}

static void blocks_outside_of_the_cache(void **state)
{
	struct kvr_pages pages = good_pages;
	struct kvr_plan *plan;

	(void)state;
	assert_int_equal(kvr_plan_open(&good, &good, KVR_WRITE, &plan), 0);
	assert_true(kvr_plan_ops(plan, NULL, NULL, &pages, NULL, 0) > 0);
	pages.local_count = pages.remote_count = 3;
	pages.tokens = 30; /* one more, in block 10 of 10 */
	expect_refused(kvr_plan_ops(plan, NULL, NULL, &pages, NULL, 0), -ERANGE,
	               "local_blocks[2] is 10");
	pages.local_blocks = (uint32_t[]){0, 1, 2};
	expect_refused(kvr_plan_ops(plan, NULL, NULL, &pages, NULL, 0), -ERANGE,
	               "remote_blocks[2] is 10");
	pages.local_count = 2;
	expect_refused(kvr_plan_ops(plan, NULL, NULL, &pages, NULL, 0), -EINVAL, "local_count");
	/* What comes before the first token is not looked at. */
	pages = good_pages;
	pages.local_blocks = pages.remote_blocks = (uint32_t[]){UINT32_MAX, 1};
	pages.first_token = 16;
	pages.tokens = 16;
	assert_true(kvr_plan_ops(plan, NULL, NULL, &pages, NULL, 0) > 0);
	kvr_plan_close(plan);
}

static void regions_and_ops_that_are_missing(void **state)
{
	struct kvr_region *regions[3];
	struct kvr_remote *remotes[3];
	struct kvr_layout by_layer = good;
	struct kvr_op ops[64] = {0}, none = {0};
	struct kvr_plan *plan;

	(void)state;
	memcpy(regions, reference_regions(), sizeof(regions));
	memcpy(remotes, reference_remotes(), sizeof(remotes));
	by_layer.layer_regions = 1;
	assert_int_equal(kvr_plan_open(&by_layer, &good, KVR_WRITE, &plan), 0);
	expect_refused(kvr_plan_ops(plan, NULL, remotes, &good_pages, ops, 64), -EINVAL, "local");
	expect_refused(kvr_plan_ops(plan, regions, NULL, &good_pages, ops, 64), -EINVAL, "remote");
	expect_refused(kvr_plan_ops(plan, regions, remotes, &good_pages, NULL, 64), -EINVAL, "ops");
	regions[2] = NULL;
	expect_refused(kvr_plan_ops(plan, regions, remotes, &good_pages, ops, 64), -EINVAL,
	               "layer 2");
	regions[2] = regions[0];
	remotes[0] = NULL;
	expect_refused(kvr_plan_ops(plan, regions, remotes, &good_pages, ops, 64), -EINVAL,
	               "remote of layer 0");
	assert_memory_equal(&ops[0], &none, sizeof(none));
	/* Only to count them, none is looked at. */
	assert_true(kvr_plan_ops(plan, (void *)8, (void *)8, &good_pages, (void *)8, 0) > 0);
	kvr_plan_close(plan);
}

static void bytes_beyond_64_bits(void **state)
{
	struct kvr_layout l = good;
	struct kvr_pages pages = good_pages;
	struct kvr_plan *plan;

	(void)state;
	l.layers = UINT32_MAX;
	l.layer_regions = 1;
	assert_int_equal(kvr_plan_open(&l, &l, KVR_WRITE, &plan), 0);
	pages.tokens = 1ull << 40;
	expect_refused(kvr_plan_bytes(plan, &pages), -EOVERFLOW, "tokens");
	kvr_plan_close(plan);
	assert_int_equal(kvr_plan_open(&good, &good, KVR_WRITE, &plan), 0);
	pages.tokens = 1ull << 56; /* of 192 bytes: between 2^63 and 2^64 */
	expect_refused(kvr_plan_bytes(plan, &pages), -EOVERFLOW, "tokens");
	pages.tokens = 1ull << 55;
	assert_int_equal(kvr_plan_bytes(plan, &pages), 192ll << 55);
	kvr_plan_close(plan);
}

static void packed(const char *order, const uint64_t wanted[static 5])
{
	struct kvr_layout l = good;

	l.layer_regions = !strchr(order, 'l');
	l.part_regions = strchr(order, 'p') ? 0 : l.layer_regions ? 3 : 1;
	assert_int_equal(kvr_layout_pack(&l, order), 0);
	assert_int_equal(l.layer_stride, wanted[0]);
	assert_int_equal(l.part_stride, wanted[1]);
	assert_int_equal(l.block_stride, wanted[2]);
	assert_int_equal(l.token_stride, wanted[3]);
	assert_int_equal(l.head_stride, wanted[4]);
}

static void refuse_order(const char *order, const char *word)
{
	struct kvr_layout l = good;

	expect_refused(kvr_layout_pack(&l, order), -EINVAL, word);
	assert_memory_equal(&l, &good, sizeof(l));
}

static void layouts_are_packed_in_any_order(void **state)
{
	struct kvr_layout l = good;

	(void)state;
	packed("lpbth", (uint64_t[]){10240, 5120, 512, 32, 8});
	packed("lbpth", (uint64_t[]){10240, 512, 1024, 32, 8});
	packed("lbpht", (uint64_t[]){10240, 512, 1024, 8, 128});
	packed("blpth", (uint64_t[]){1024, 512, 3072, 32, 8});
	packed("bpth", (uint64_t[]){0, 512, 1024, 32, 8});
	packed("bth", (uint64_t[]){0, 0, 512, 32, 8});
	refuse_order("lpbt", "h is missing");
	refuse_order("", "h is missing");
	refuse_order(NULL, "h is missing");
	refuse_order("lpbthh", "h is unknown, or there twice");
	refuse_order("lpbthx", "x is unknown");
	refuse_order("lptbh", "token_stride");
	l.layer_regions = 1;
	expect_refused(kvr_layout_pack(&l, "lpbth"), -EINVAL, "l has regions");
	l = good;
	l.head_bytes = l.heads = l.block_tokens = UINT32_MAX;
	expect_refused(kvr_layout_pack(&l, "lpbth"), -EOVERFLOW, "64 bits");
	l = good;
	l.parts = 0;
	expect_refused(kvr_layout_pack(&l, "lpbth"), -EINVAL, "parts");
}

static void expect_shard(uint32_t heads, uint32_t ranks, uint32_t rank, const uint32_t wanted[4])
{
	struct kvr_layout l = good;

	assert_int_equal(kvr_layout_shard(&l, heads, ranks, rank), 0);
	assert_int_equal(l.first_head, wanted[0]);
	assert_int_equal(l.heads, wanted[1]);
	assert_int_equal(l.copies, wanted[2]);
	assert_int_equal(l.copy, wanted[3]);
}

static void refuse_shard(uint32_t heads, uint32_t ranks, uint32_t rank)
{
	struct kvr_layout l = good;

	expect_refused(kvr_layout_shard(&l, heads, ranks, rank), -EINVAL, "heads");
	assert_memory_equal(&l, &good, sizeof(l));
}

static void heads_are_cut_as_engines_do(void **state)
{
	(void)state;
	expect_shard(8, 4, 3, (uint32_t[]){6, 2, 1, 0});
	expect_shard(8, 1, 0, (uint32_t[]){0, 8, 1, 0});
	expect_shard(8, 8, 7, (uint32_t[]){7, 1, 1, 0});
	expect_shard(2, 8, 3, (uint32_t[]){0, 1, 4, 3});
	expect_shard(2, 8, 4, (uint32_t[]){1, 1, 4, 0});
	expect_shard(1, 8, 5, (uint32_t[]){0, 1, 8, 5});
	refuse_shard(0, 4, 0);
	refuse_shard(8, 0, 0);
	refuse_shard(8, 4, 4);
	refuse_shard(8, 3, 0);
	refuse_shard(2, 3, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_end_with_the_last_head),
		cmocka_unit_test(wrong_layouts_are_named),
		cmocka_unit_test(the_last_numbers_that_are_right),
		cmocka_unit_test(a_newer_version_may_set_what_we_know),
		cmocka_unit_test(an_older_version_sets_less),
		cmocka_unit_test(pairs_must_fit),
		cmocka_unit_test(wrong_pages_are_named),
		cmocka_unit_test(blocks_outside_of_the_cache),
		cmocka_unit_test(regions_and_ops_that_are_missing),
		cmocka_unit_test(bytes_beyond_64_bits),
		cmocka_unit_test(layouts_are_packed_in_any_order),
		cmocka_unit_test(heads_are_cut_as_engines_do),
	};

	clean(NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
