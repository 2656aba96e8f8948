/* SPDX-License-Identifier: MIT
 * The prefix cache: what is found, what is evicted first, and that no block gets lost. */
#include "prefix.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define EACH 2 /* blocks of a chunk */

static void keep(struct prefix *p, uint64_t id)
{
	const uint32_t blocks[EACH] = {(uint32_t)id * 10, (uint32_t)id * 10 + 1};

	assert_int_equal(prefix_keep(p, id, blocks), 0);
}

/* Keeps a prompt's chunks as a request that ends does: the last one first. */
static void keep_prompt(struct prefix *p, const uint64_t *ids, uint32_t n)
{
	while (n-- > 0)
		keep(p, ids[n]);
}

static void assert_evicts(struct prefix *p, uint64_t id)
{
	uint32_t blocks[EACH];

	assert_true(prefix_evict(p, blocks));
	assert_int_equal(blocks[0], id * 10);
	assert_int_equal(blocks[1], id * 10 + 1);
}

static void only_leading_chunks_are_found(void **state)
{
	const uint64_t prompt[] = {1, 2, 3}, other[] = {1, 2, 9, 3}, unknown[] = {9, 1, 2};
	uint32_t table[8];
	struct prefix p;

	(void)state;
	prefix_open(&p, EACH);
	assert_int_equal(prefix_use(&p, prompt, 3, table), 0);
	keep_prompt(&p, prompt, 3);
	assert_int_equal(prefix_use(&p, prompt, 3, table), 3);
	assert_memory_equal(table, ((uint32_t[]){10, 11, 20, 21, 30, 31}), 6 * sizeof(table[0]));
	prefix_release(&p, prompt, 3);
	assert_int_equal(prefix_use(&p, prompt, 2, table), 2); /* no more than asked for */
	prefix_release(&p, prompt, 2);
	assert_int_equal(prefix_use(&p, other, 4, table), 2);
	prefix_release(&p, other, 2);
	assert_int_equal(prefix_use(&p, unknown, 3, table), 0);
	assert_int_equal(p.chunks, 3);
	assert_int_equal(p.unused_chunks, 3);
	prefix_close(&p);
	assert_int_equal(p.chunks, 0);
}

static void a_prompt_goes_from_its_end(void **state)
{
	const uint64_t prompt[] = {1, 2, 3};
	struct prefix p;

	(void)state;
	prefix_open(&p, EACH);
	keep_prompt(&p, prompt, 3);
	assert_evicts(&p, 3);
	assert_evicts(&p, 2);
	assert_evicts(&p, 1);
	assert_false(prefix_evict(&p, NULL));
	prefix_close(&p);
}

static void the_least_recently_used_goes_first(void **state)
{
	const uint64_t a[] = {1, 2}, b[] = {3, 4};
	uint32_t table[4];
	struct prefix p;

	(void)state;
	prefix_open(&p, EACH);
	keep_prompt(&p, a, 2);
	keep_prompt(&p, b, 2);
	prefix_use(&p, a, 2, table);
	prefix_release(&p, a, 2);
	assert_evicts(&p, 4);
	assert_evicts(&p, 3);
	assert_evicts(&p, 2);
	assert_evicts(&p, 1);
	prefix_close(&p);
}

static void what_is_in_use_stays(void **state)
{
	const uint64_t prompt[] = {1, 2, 3};
	uint32_t table[6], blocks[EACH];
	struct prefix p;

	(void)state;
	prefix_open(&p, EACH);
	keep_prompt(&p, prompt, 3);
	prefix_use(&p, prompt, 2, table);
	prefix_use(&p, prompt, 1, table);
	assert_int_equal(p.unused_chunks, 1);
	assert_evicts(&p, 3);
	assert_false(prefix_evict(&p, blocks));
	prefix_release(&p, prompt, 2);
	assert_evicts(&p, 2);
	assert_false(prefix_evict(&p, blocks)); /* the other request still has chunk 1 */
	prefix_release(&p, prompt, 1);
	assert_evicts(&p, 1);
	assert_int_equal(p.chunks, 0);
	prefix_close(&p);
}

static void a_chunk_is_kept_once(void **state)
{
	const uint32_t others[EACH] = {77, 78};
	const uint64_t prompt[] = {1, 1};
	uint32_t table[4];
	struct prefix p;

	(void)state;
	prefix_open(&p, EACH);
	keep(&p, 1);
	assert_int_equal(prefix_keep(&p, 1, others), -EEXIST);
	/* A prompt that has the same chunk twice is odd, but nothing breaks. */
	assert_int_equal(prefix_use(&p, prompt, 2, table), 2);
	prefix_release(&p, prompt, 2);
	assert_int_equal(p.unused_chunks, 1);
	assert_evicts(&p, 1);
	prefix_close(&p);
}

/* Against a list that is searched from end to end. */
static void many_ids_behave_as_a_plain_list(void **state)
{
	uint64_t list[50] = {0};
	uint32_t count = 0, random = 1, blocks[EACH];
	struct prefix p;

	(void)state;
	prefix_open(&p, EACH);
	for (int i = 0; i < 5000; i++) {
		uint32_t at = 0;
		uint64_t id;

		random = random * 1664525 + 1013904223;
		id = (random >> 16) % 60;
		while (at < count && list[at] != id)
			at++;
		assert_int_equal(prefix_use(&p, &id, 1, blocks), at < count);
		if (at < count) {
			prefix_release(&p, &id, 1);
			memmove(&list[at], &list[at + 1], (--count - at) * sizeof(list[0]));
		} else {
			if (count == 50) {
				assert_evicts(&p, list[0]);
				memmove(list, &list[1], --count * sizeof(list[0]));
			}
			keep(&p, id);
		}
		list[count++] = id;
		assert_int_equal(p.chunks, count);
	}
	assert_int_equal(count, 50);
	prefix_close(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_leading_chunks_are_found),
		cmocka_unit_test(a_prompt_goes_from_its_end),
		cmocka_unit_test(the_least_recently_used_goes_first),
		cmocka_unit_test(what_is_in_use_stays),
		cmocka_unit_test(a_chunk_is_kept_once),
		cmocka_unit_test(many_ids_behave_as_a_plain_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
