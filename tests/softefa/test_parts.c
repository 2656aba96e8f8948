/* SPDX-License-Identifier: MIT
 * The software EFA's pure parts: events in order of time, and a link's time handed out. */
#include "heap.h"
#include "link.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define EVENTS 5000

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static uint64_t next_random(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return *state >> 33;
}

static void test_heap(void **state)
{
	static uint64_t dues[EVENTS];
	struct heap heap = {0};
	uint64_t seed = 1;

	(void)state;
	for (int i = 0; i < EVENTS; i++) {
		dues[i] = next_random(&seed) % 1000; /* many are equal */
		assert_true(heap_push(&heap, (struct event){.due = dues[i], .part = (uint32_t)i}));
	}
	qsort(dues, EVENTS, sizeof(dues[0]), compare);
	for (int i = 0; i < EVENTS; i++)
		assert_int_equal(heap_pop(&heap).due, dues[i]);
	assert_int_equal(heap.count, 0);
	heap_close(&heap);
}

static bool is_odd(const struct event *event, void *arg)
{
	*(int *)arg += 1;
	return event->part & 1;
}

static void test_purge(void **state)
{
	struct heap heap = {0};
	uint64_t seed = 7, last = 0;
	struct event event;
	int asked = 0;

	(void)state;
	for (uint32_t i = 0; i < EVENTS; i++)
		heap_push(&heap, (struct event){.due = next_random(&seed), .part = i});
	heap_purge(&heap, is_odd, &asked);
	assert_int_equal(asked, EVENTS);
	assert_int_equal(heap.count, EVENTS / 2);
	while (heap.count) {
		event = heap_pop(&heap);
		assert_false(event.part & 1);
		assert_true(event.due >= last);
		last = event.due;
	}
	heap_close(&heap);
}

static void test_link(void **state)
{
	struct shm_link link = {.free_at = 0};
	uint64_t end;

	(void)state;
	assert_int_equal(link_time(1 << 20, 8388608), 8388608); /* a MiB at 1 Gb/s */
	assert_int_equal(link_time(125000, 8388608), 1000000);
	/* Idle: it begins when asked for; busy: when it is free; nothing is lost by being late. */
	assert_int_equal(link_reserve(&link, 1000, 50, &end), 1000);
	assert_int_equal(end, 1050);
	assert_int_equal(link_reserve(&link, 1020, 50, &end), 1050);
	assert_int_equal(link_reserve(&link, 900, 50, &end), 1100);
	assert_int_equal(link_reserve(&link, 5000, 50, &end), 5000);
	assert_int_equal(end, 5050);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_heap),
		cmocka_unit_test(test_purge),
		cmocka_unit_test(test_link),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
