/* SPDX-License-Identifier: MIT
 * Scatter and gather: what is wrong is named and goes no further; test_transfer.c moves bytes. */
#include "context.h"
#include "memory.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "refused.h"

#define BYTES 1000

/* As much of a context as kvr_write's checks look at. */
static struct kvr kvr;
static struct peer peer;
static struct kvr_region region = {.kvr = &kvr, .len = BYTES};
static struct kvr_remote remote = {.kvr = &kvr, .peer = &peer, .wire = {.len = 500, .counters = 1}};
static struct kvr_remote *const remotes[] = {&remote, &remote, &remote};

static void refuse_scatter(const struct kvr_slices *slices, int rc, const char *word)
{
	struct kvr_request *request = NULL;

	expect_refused(kvr_scatter(&kvr, slices, 0, &request), rc, word);
	assert_null(request);
}

static void refuse_gather(const struct kvr_slices *slices, int rc, const char *word)
{
	struct kvr_request *request = NULL;

	expect_refused(kvr_gather(&kvr, slices, &request), rc, word);
	assert_null(request);
}

static void refuse(const struct kvr_slices *slices, int rc, const char *word)
{
	refuse_scatter(slices, rc, word);
	refuse_gather(slices, rc, word);
}

static struct kvr_slices slices_of(const uint64_t *local_offsets, const uint64_t *lens, size_t n)
{
	return (struct kvr_slices){
		.size = sizeof(struct kvr_slices),
		.local = &region,
		.remotes = remotes,
		.local_offsets = local_offsets,
		.lens = lens,
		.n = n,
	};
}

static void what_is_missing_is_named(void **state)
{
	const uint64_t lens[] = {10, 20, 30}, none[] = {0, 0, 0};
	const struct kvr_slices good = slices_of(NULL, lens, 3);
	struct kvr_slices s = good;

	(void)state;
	s.size--;
	refuse(&s, -EINVAL, "slices.size");
	s = good;
	s.local = NULL;
	refuse(&s, -EINVAL, "slices.local ");
	s = good;
	s.remotes = NULL;
	refuse(&s, -EINVAL, "slices.remotes");
	s = good;
	s.lens = NULL;
	refuse(&s, -EINVAL, "slices.lens");
	s = good;
	s.n = 0;
	refuse(&s, -EINVAL, "slices.n");
	s.n = SIZE_MAX / 2;
	refuse(&s, -EINVAL, "slices.n");
	s = slices_of(NULL, none, 3);
	refuse(&s, -EINVAL, "slices.lens are all 0");
	refuse(NULL, -EINVAL, "slices is NULL");
}

static void packed_slices_beyond_64_bits(void **state)
{
	const uint64_t lens[] = {1ull << 63, 1ull << 63};
	const struct kvr_slices s = slices_of(NULL, lens, 2);

	(void)state;
	refuse(&s, -EOVERFLOW, "slices.lens[1]");
}

/* Also in another order than that of memory, and where a slice of no bytes lies between. */
static void gathered_slices_must_not_overlap(void **state)
{
	const uint64_t lens[] = {100, 0, 101}, at[] = {100, 150, 0};
	const struct kvr_slices s = slices_of(at, lens, 3);

	(void)state;
	refuse_gather(&s, -EINVAL, "slices.local_offsets: the 101 bytes at 0");
}

/* kvr_write's and kvr_read's own checks say with which numbers the ops come to them. */
static void slices_become_ops(void **state)
{
	const uint64_t lens[] = {0, 300, 501}, at[] = {0, 10, 400}, there[] = {0, 0, 5};
	struct kvr_slices s = slices_of(NULL, lens, 3);

	(void)state;
	refuse(&s, -ERANGE,
	       "op 1: leaves its remote region (1 runs of 501 bytes; local offset 300");
	s.local_offsets = at;
	refuse(&s, -ERANGE, "local offset 400");
	s.remote_offsets = there;
	refuse(&s, -ERANGE, "remote offset 5 ");
	s.lens = (uint64_t[]){0, 999, 0};
	refuse(&s, -ERANGE, "op 0: leaves its local region (1 runs of 999 bytes; local offset 10");
}

static void the_counter_is_handed_on(void **state)
{
	const uint64_t lens[] = {10};
	const struct kvr_slices s = slices_of(NULL, lens, 1);
	struct kvr_request *request = NULL;

	(void)state;
	expect_refused(kvr_scatter(&kvr, &s, 1, &request), -EINVAL, "counter");
	assert_null(request);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_missing_is_named),
		cmocka_unit_test(packed_slices_beyond_64_bits),
		cmocka_unit_test(gathered_slices_must_not_overlap),
		cmocka_unit_test(slices_become_ops),
		cmocka_unit_test(the_counter_is_handed_on),
	};

	clean(NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
