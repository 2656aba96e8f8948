/* SPDX-License-Identifier: MIT
 * Instances over ranks: their layouts cover the model, and no write gets more runs than it may. */
#include "group.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BLOCKS 64

static const struct model models[] = {
	{.layers = 5, .parts = 2, .heads = 8, .head_dim = 4, .element_bytes = 2},
	{.layers = 4, .parts = 2, .heads = 2, .head_dim = 4, .element_bytes = 2},
	{.layers = 4, .parts = 1, .heads = 1, .head_dim = 9, .element_bytes = 2},
};

static struct group make_group(uint32_t tp, uint32_t pp, uint32_t block_tokens, const char *order)
{
	struct group g = {.ranks = 2 * tp * pp,
	                  .tp = tp,
	                  .pp = pp,
	                  .block_tokens = block_tokens,
	                  .blocks = BLOCKS};

	memcpy(g.order, order, 6);
	return g;
}

static void ranks_cover_the_model(void **state)
{
	static const uint32_t shapes[][2] = {{1, 1}, {2, 1}, {4, 1}, {8, 3}, {2, 4}, {1, 4}};
	struct kvr_layout all, ranks[32];

	(void)state;
	for (size_t m = 0; m < 3; m++)
		for (size_t i = 0; i < 6; i++) {
			struct group g = make_group(shapes[i][0], shapes[i][1], 16, "lbpth");
			struct group one = make_group(1, 1, 64, "lbpht");

			assert_int_equal(group_instances(&g), 2);
			assert_int_equal(group_layout(&one, &models[m], 1, &all), 0);
			for (uint32_t r = 0; r < group_size(&g); r++) {
				uint32_t rank = group_size(&g) + r; /* of the second instance */

				assert_int_equal(group_layout(&g, &models[m], rank, &ranks[r]), 0);
			}
			assert_int_equal(kvr_layout_cover(&all, ranks, group_size(&g)), 0);
		}
}

static void no_rank_needs_more_than_is_said(void **state)
{
	uint64_t bytes;

	(void)state;
	for (size_t m = 0; m < 3; m++)
		for (uint32_t tp = 1; tp <= 8; tp *= 2)
			for (uint32_t pp = 1; pp <= 4; pp++) {
				struct group g = make_group(tp, pp, 16, "lbpth");
				ssize_t most = 0;

				for (uint32_t r = 0; r < g.ranks; r++) {
					struct kvr_layout l;
					ssize_t needs;

					assert_int_equal(group_layout(&g, &models[m], r, &l), 0);
					needs = kvr_layout_bytes(&l);
					most = needs > most ? needs : most;
				}
				assert_int_equal(group_block_bytes(&g, &models[m], &bytes), 0);
				assert_int_equal(bytes * BLOCKS, most);
			}
}

/* Every other block, so that none is joined with its neighbour. */
static uint64_t count_runs(const struct group *from, const struct group *to, const struct model *m,
                           uint64_t first_token, uint64_t tokens)
{
	static struct kvr_op ops[1 << 16];
	uint32_t table[BLOCKS / 2];
	struct kvr_region *local = (struct kvr_region *)table;
	struct kvr_remote *remote = (struct kvr_remote *)table;
	struct kvr_pages pages = {.size = sizeof(pages),
	                          .local_blocks = table,
	                          .remote_blocks = table,
	                          .local_count = BLOCKS / 2,
	                          .remote_count = BLOCKS / 2,
	                          .first_token = first_token,
	                          .tokens = tokens};
	uint64_t most = 0;

	for (uint32_t i = 0; i < BLOCKS / 2; i++)
		table[i] = 2 * i;
	for (uint32_t i = 0; i < group_size(from); i++)
		for (uint32_t j = 0; j < group_size(to); j++) {
			struct kvr_layout a, b;
			struct kvr_plan *plan;
			uint64_t runs = 0;
			ssize_t n;

			group_layout(from, m, i, &a);
			group_layout(to, m, j, &b);
			assert_int_equal(kvr_plan_open(&a, &b, KVR_WRITE, &plan), 0);
			n = kvr_plan_ops(plan, &local, &remote, &pages, ops, 1 << 16);
			kvr_plan_close(plan);
			assert_in_range(n, 0, 1 << 16);
			for (ssize_t k = 0; k < n; k++)
				runs += ops[k].count;
			most = runs > most ? runs : most;
		}
	return most;
}

static void no_write_has_too_many_runs(void **state)
{
	static const char *const orders[] = {"lbpth", "lbpht", "lpbth"};
	uint64_t max_runs = 600;
	unsigned filled = 0;

	(void)state;
	for (size_t c = 0; c < 3 * 3 * 3 * 4 * 4; c++) {
		const struct model *m = &models[c % 3];
		struct group a = make_group(1u << c / 27 % 4, 1, 16, orders[c / 3 % 3]);
		struct group b = make_group(1u << c / 108 % 4, 1, 8, orders[c / 9 % 3]);
		const struct group *const groups[] = {&a, &b};
		uint32_t chunk = group_chunk(groups, m, m->layers, max_runs);
		uint64_t most = 8 * BLOCKS / 2, tokens = chunk < most ? chunk : most, runs;

		assert_true(chunk >= 1);
		/* From wherever a chunk may begin; a part of it may be there already. */
		for (uint64_t first = 0; first + tokens <= most; first += tokens) {
			runs = count_runs(&a, &b, m, first, tokens);
			assert_in_range(runs, 0, max_runs);
			filled += runs > max_runs / 4;
		}
	}
	assert_true(filled > 100); /* nor are they much smaller than they need be */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ranks_cover_the_model),
		cmocka_unit_test(no_rank_needs_more_than_is_said),
		cmocka_unit_test(no_write_has_too_many_runs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
