/* SPDX-License-Identifier: MIT
 * The nodes of a region's pages, from a kernel that answers as it is told to. */
#include "page_nodes.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define PAGE  4096
#define BASE  (UINT64_C(1) << 40) /* nothing is there; nobody looks */
#define LARGE (UINT64_C(1) << 24) /* pages: 64 GiB */

/* The node of a page, counted from BASE. */
struct kernel {
	int (*node)(size_t page);
	size_t calls, asked, refuse_at; /* refuse_at: a call's number, from 1 */
};

static int answer(void *arg, size_t count, void *const *address, int *node)
{
	struct kernel *kernel = arg;

	if (++kernel->calls == kernel->refuse_at)
		return EPERM;
	for (size_t i = 0; i < count; i++) {
		assert_int_equal((uintptr_t)address[i] % PAGE, 0);
		assert_true((uintptr_t)address[i] >= BASE);
		node[i] = kernel->node(((uintptr_t)address[i] - BASE) / PAGE);
	}
	kernel->asked += count;
	return 0;
}

static struct kernel kernel;
static struct pages_run runs[PAGES_RUNS];

static int locate(int (*node)(size_t), uint64_t offset, uint64_t len)
{
	const struct pages_source source = {.ask = answer, .arg = &kernel, .page = PAGE};
	int count;

	kernel = (struct kernel){.node = node, .refuse_at = kernel.refuse_at};
	count = pages_locate(&source, (void *)(uintptr_t)(BASE + offset), len, runs);
	/* They follow each other, and fill the region. */
	for (int i = 0; i < count; i++) {
		assert_int_equal(runs[i].offset, i ? runs[i - 1].offset + runs[i - 1].len : 0);
		assert_true(runs[i].len > 0);
	}
	if (count > 0)
		assert_int_equal(runs[count - 1].offset + runs[count - 1].len, len);
	return count;
}

static void expect_run(int at, uint64_t offset, int node, uint64_t nodes)
{
	assert_int_equal(runs[at].offset, offset);
	assert_int_equal(runs[at].node, node);
	assert_int_equal(runs[at].nodes, nodes);
}

static int all_on_two(size_t page)
{
	(void)page;
	return 2;
}

static int halves(size_t page)
{
	return page < LARGE / 2 + 12345 ? 0 : 1;
}

static int in_turn(size_t page)
{
	return page % 2 ? 3 : 1;
}

static int by_fours(size_t page)
{
	return page / 4 % 4;
}

static int untouched(size_t page)
{
	return page < LARGE / 2 ? 1 : -ENOENT;
}

/* Node 0, then interleaved over 0 and 1, then node 1. */
static int partly_in_turn(size_t page)
{
	if (page < LARGE / 4)
		return 0;
	return page < LARGE / 4 * 3 ? (int)(page % 2) : 1;
}

static int third_page(size_t page)
{
	return page == 2;
}

/* 64 parts of changing nodes. */
static int many_parts(size_t page)
{
	return (int)(page / (LARGE / 64) % 2);
}

static void one_node(void **state)
{
	(void)state;
	assert_int_equal(locate(all_on_two, 0, LARGE * PAGE), 1);
	expect_run(0, 0, 2, 4);
	assert_int_equal(kernel.calls, 1);
	assert_int_equal(kernel.asked, PAGES_SAMPLES);
	assert_int_equal(locate(all_on_two, 100, 1), 1);
	assert_int_equal(kernel.asked, 1);
	/* Two bytes on two pages. */
	assert_int_equal(locate(all_on_two, PAGE - 1, 2), 1);
	assert_int_equal(kernel.asked, 2);
}

static void two_halves(void **state)
{
	(void)state;
	assert_int_equal(locate(halves, 0, LARGE * PAGE), 2);
	expect_run(0, 0, 0, 1);
	expect_run(1, (LARGE / 2 + 12345) * PAGE, 1, 2);
	assert_true(kernel.calls < 20);
	/* A region that begins within a page. */
	assert_int_equal(locate(halves, 100, LARGE * PAGE - 100), 2);
	expect_run(1, (LARGE / 2 + 12345) * PAGE - 100, 1, 2);
}

static void small_regions(void **state)
{
	(void)state;
	assert_int_equal(locate(third_page, 10, 5 * PAGE), 3);
	expect_run(0, 0, 0, 1);
	expect_run(1, 2 * PAGE - 10, 1, 2);
	expect_run(2, 3 * PAGE - 10, 0, 1);
	assert_int_equal(kernel.calls, 1);
	/* Interleaved, but few enough to be told apart. */
	assert_int_equal(locate(in_turn, 0, PAGES_RUNS * PAGE), PAGES_RUNS);
	expect_run(PAGES_RUNS - 1, (PAGES_RUNS - 1) * PAGE, 3, 8);
	assert_int_equal(locate(in_turn, 0, (PAGES_RUNS + 1) * PAGE), 1);
	expect_run(0, 0, PAGES_MIXED, 10);
}

static void interleaved(void **state)
{
	(void)state;
	assert_int_equal(locate(in_turn, 0, LARGE * PAGE), 1);
	expect_run(0, 0, PAGES_MIXED, 10);
	assert_int_equal(locate(in_turn, 0, UINT64_C(2048) * PAGE), 1);
	expect_run(0, 0, PAGES_MIXED, 10);
	assert_int_equal(locate(by_fours, 0, LARGE * PAGE), 1);
	expect_run(0, 0, PAGES_MIXED, 15);
}

static void interleaved_in_the_middle(void **state)
{
	int count = locate(partly_in_turn, 0, LARGE * PAGE);

	(void)state;

	assert_int_equal(count, 3);
	expect_run(0, 0, 0, 1);
	assert_int_equal(runs[1].node, PAGES_MIXED);
	assert_int_equal(runs[1].nodes, 3);
	assert_in_range(runs[1].offset, LARGE / 4 * PAGE, (LARGE / 4 + LARGE / 100) * PAGE);
	assert_int_equal(runs[2].node, 1);
	/* Where a mixed part ends is no matter of one page. */
	assert_int_equal(kernel.calls, 1);
}

static void not_touched_yet(void **state)
{
	(void)state;
	assert_int_equal(locate(untouched, 0, LARGE * PAGE), 2);
	expect_run(0, 0, 1, 2);
	expect_run(1, LARGE / 2 * PAGE, PAGES_ABSENT, 0);
}

static void too_many_parts(void **state)
{
	(void)state;
	assert_int_equal(locate(many_parts, 0, LARGE * PAGE), PAGES_RUNS);
	expect_run(0, 0, 0, 1);
	expect_run(1, LARGE / 64 * PAGE, 1, 2);
	expect_run(14, LARGE / 64 * 14 * PAGE, 0, 1);
	assert_int_equal(runs[15].node, PAGES_MIXED);
	assert_int_equal(runs[15].nodes, 3);
}

static void refusals(void **state)
{
	(void)state;
	kernel.refuse_at = 1;
	assert_int_equal(locate(halves, 0, LARGE * PAGE), -EPERM);
	kernel.refuse_at = 2;
	assert_int_equal(locate(halves, 0, LARGE * PAGE), -EPERM);
	kernel.refuse_at = 0;
	assert_int_equal(locate(halves, 0, 0), -EINVAL);
	assert_int_equal(locate(halves, 0, SIZE_MAX), -EINVAL);
}

/* What it says depends on where we are; that it says something of touched pages does not. */
static void this_kernel(void **state)
{
	size_t len = 64 * PAGE;
	char *region = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int count;

	(void)state;
	assert_true(region != MAP_FAILED);
	memset(region, 1, len);
	count = pages_locate(&pages_of_kernel, region, len, runs);
	if (count == -ENOSYS || count == -EPERM) {
		munmap(region, len);
		print_message("skipped: move_pages is not for us here\n");
		skip();
	}
	assert_true(count > 0);
	assert_true(runs[0].node >= 0);
	munmap(region, len);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_node),
		cmocka_unit_test(two_halves),
		cmocka_unit_test(small_regions),
		cmocka_unit_test(interleaved),
		cmocka_unit_test(interleaved_in_the_middle),
		cmocka_unit_test(not_touched_yet),
		cmocka_unit_test(too_many_parts),
		cmocka_unit_test(refusals),
		cmocka_unit_test(this_kernel),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
