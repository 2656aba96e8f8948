/* SPDX-License-Identifier: MIT
 * Opening: with made-up bootstraps, with ranks that fail, with ranks of other versions. Nobody
 * hangs, and everybody is told who it was. */
#include "ranks.h"
#include "wire.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define PRETENDED 4096
#define LONG      60 /* seconds; against hangs only, as machines are noisy */

static char last_error[1024];

static void keep_error(void *arg, int level, const char *line)
{
	(void)arg;
	if (!level)
		snprintf(last_error, sizeof(last_error), "%s", line);
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

static long resident_kib(const char *what)
{
	char line[256];
	long kib = -1;
	FILE *f = fopen("/proc/self/status", "r");

	while (kib < 0 && fgets(line, sizeof(line), f))
		if (!strncmp(line, what, strlen(what)))
			kib = atol(line + strlen(what));
	fclose(f);
	return kib;
}

/* Everybody is me. */
static int pretend(void *arg, const void *mine, void *all, size_t len)
{
	(void)arg;
	for (int i = 0; i < PRETENDED; i++)
		memcpy((char *)all + i * len, mine, len);
	return 0;
}

/* What the provider takes for its own start is not the peers'. */
static int lone_rank(const struct kvr_bootstrap *b, void *arg)
{
	struct kvr *kvr;

	(void)b;
	expect_rc(kvr_open(NULL, NULL, &kvr), 0);
	*(long *)arg = resident_kib("VmHWM:");
	expect_rc(kvr_close(kvr), 0);
	return 0;
}

static int pretended_rank(const struct kvr_bootstrap *b, void *arg)
{
	struct kvr_bootstrap many = {.rank = 17, .nranks = PRETENDED, .allgather = pretend};
	struct kvr *kvr;
	double start;
	long alone = *(const long *)arg;

	(void)b;
	start = seconds();
	expect_rc(kvr_open(&many, NULL, &kvr), 0);
	printf("4096 peers: %.3f s, %ld KiB more at the peak than alone\n", seconds() - start,
	       resident_kib("VmHWM:") - alone);
	expect(seconds() - start < LONG);                           /* the aim is 1 */
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* they keep books */
	expect(resident_kib("VmHWM:") - alone < 64 * 1024);
#endif
	start = seconds();
	expect_rc(kvr_close(kvr), 0);
	expect(seconds() - start < LONG);
	return 0;
}

static void test_many_peers(void **state)
{
	long *alone = mmap(NULL, sizeof(*alone), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
	                   -1, 0);

	(void)state;
	assert_ptr_not_equal(alone, MAP_FAILED);
	assert_int_equal(ranks_run(1, 200, lone_rank, alone), 0);
	assert_int_equal(ranks_run(1, 200, pretended_rank, alone), 0);
	munmap(alone, sizeof(*alone));
}

/* Rank 1 cannot open: all ranks get its error, and are told its number and reason. */
static int failing_ranks(const struct kvr_bootstrap *b, void *arg)
{
	struct kvr *kvr = (void *)1;

	(void)arg;
	kvr_set_log(keep_error, NULL);
	if (b->rank == 1)
		setenv("KVR_RAILS", "nosuchrail0", 1);
	expect_rc(kvr_open(b, NULL, &kvr), -ENODEV);
	expect(kvr == (void *)1);
	expect(strstr(last_error, "rank 1 ") && strstr(last_error, "nosuchrail0"));
	return 0;
}

static void test_failing_rank(void **state)
{
	(void)state;
	assert_int_equal(ranks_run(4, 200, failing_ranks, NULL), 0);
}

static int wrong_option_ranks(const struct kvr_bootstrap *b, void *arg)
{
	struct kvr_options options = {.size = sizeof(options), .queue_depth = 1};
	struct kvr *kvr;

	(void)arg;
	kvr_set_log(keep_error, NULL);
	if (b->rank == 2)
		options.queue_depth = 1000000;
	expect_rc(kvr_open(b, &options, &kvr), -EINVAL);
	expect(strstr(last_error, "rank 2 "));
	return 0;
}

static void test_wrong_option(void **state)
{
	(void)state;
	assert_int_equal(ranks_run(3, 200, wrong_option_ranks, NULL), 0);
}

/* A bootstrap that changes what rank 1 said, for all to see. */
struct tamper {
	const struct kvr_bootstrap *real;
	int byte, add;
};

static int tampered(void *arg, const void *mine, void *all, size_t len)
{
	struct tamper *t = arg;
	int rc = t->real->allgather(t->real->arg, mine, all, len);

	((uint8_t *)all)[len + t->byte] += t->add;
	return rc;
}

static int tampered_ranks(const struct kvr_bootstrap *b, void *arg)
{
	char next[64];
	const struct {
		int byte, rc;
		const char *says;
	} cases[] = {
		{4, -EPROTO, next},
		{0, -EBADMSG, "rank 1 arrived damaged"},
		{8, -EBADMSG, "rank 1 arrived damaged"},
		{30, -EBADMSG, "rank 1 arrived damaged"},
	};
	struct kvr *kvr;

	(void)arg;
	snprintf(next, sizeof(next), "rank 1 runs kvrail protocol %d", WIRE_VERSION + 1);
	kvr_set_log(keep_error, NULL);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct tamper t = {.real = b, .byte = cases[i].byte, .add = 1};
		struct kvr_bootstrap bad = {
			.rank = b->rank, .nranks = b->nranks, .allgather = tampered, .arg = &t};

		expect_rc(kvr_open(&bad, NULL, &kvr), cases[i].rc);
		expect(strstr(last_error, cases[i].says));
	}
	return 0;
}

static void test_other_version(void **state)
{
	(void)state;
	assert_int_equal(ranks_run(3, 200, tampered_ranks, NULL), 0);
}

static int mixed_providers(const struct kvr_bootstrap *b, void *arg)
{
	struct kvr *kvr;

	(void)arg;
	kvr_set_log(keep_error, NULL);
	setenv("KVR_PROVIDER", b->rank ? "tcp;ofi_rxm" : "net", 1);
	expect_rc(kvr_open(b, NULL, &kvr), -EPROTO);
	expect(strstr(last_error, "uses provider") && strstr(last_error, "KVR_PROVIDER"));
	return 0;
}

static void test_mixed_providers(void **state)
{
	(void)state;
	assert_int_equal(ranks_run(2, 200, mixed_providers, NULL), 0);
}

static int broken_allgather(void *arg, const void *mine, void *all, size_t len)
{
	(void)arg;
	(void)mine;
	(void)all;
	(void)len;
	return -EIO;
}

static int bad_bootstraps(const struct kvr_bootstrap *b, void *arg)
{
	struct kvr_bootstrap none = {.rank = 0, .nranks = 2};
	struct kvr_bootstrap rank = {.rank = 2, .nranks = 2, .allgather = broken_allgather};
	struct kvr_bootstrap broken = {.rank = 0, .nranks = 2, .allgather = broken_allgather};
	struct kvr *kvr;

	(void)b;
	(void)arg;
	kvr_set_log(keep_error, NULL);
	expect_rc(kvr_open(&none, NULL, &kvr), -EINVAL);
	expect_rc(kvr_open(&rank, NULL, &kvr), -EINVAL);
	expect_rc(kvr_open(&broken, NULL, &kvr), -EIO);
	return 0;
}

static void test_bad_bootstrap(void **state)
{
	(void)state;
	assert_int_equal(ranks_run(1, 200, bad_bootstraps, NULL), 0);
}

/* Rails: what is told of them, and what is refused. */
static int rail_rank(const struct kvr_bootstrap *b, void *arg)
{
	struct {
		struct kvr_rail rail;
		uint64_t newer;
	} big = {.rail.size = sizeof(big), .newer = 7};
	struct kvr_rail rail = {.size = sizeof(rail)};
	struct kvr_stats stats = {.size = sizeof(stats)};
	const char *why, *only = getenv("KVR_RAILS");
	struct kvr *kvr;
	int count;

	(void)arg;
	expect_rc(kvr_open(b, NULL, &kvr), 0);
	count = kvr_rail_count(kvr);
	expect_rc(kvr_rail_get(kvr, 0, &rail), 0);
	if (only)
		expect(count == 1 && !strcmp(rail.name, only));
	expect_rc(kvr_rail_get(kvr, 0, &big.rail), 0);
	expect(!big.newer); /* not known to this library: zero */
	expect_rc(kvr_rail_get(kvr, count - 1, &rail), 0);
	expect_rc(kvr_rail_get(kvr, count, &rail), -EINVAL);
	expect_rc(kvr_rail_get(kvr, -1, &rail), -EINVAL);
	expect_rc(kvr_stats_get(kvr, -1, &stats), 0);
	expect(!stats.bytes_written && !stats.errors);
	expect_rc(kvr_stats_get(kvr, count, &stats), -EINVAL);
	expect(!strcmp(kvr_provider(kvr, &why), getenv("KVR_PROVIDER")) && *why);
	expect_rc(kvr_close(kvr), 0);
	return 0;
}

static void test_rails(void **state)
{
	(void)state;
	assert_int_equal(ranks_run(1, 200, rail_rank, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rails),         cmocka_unit_test(test_many_peers),
		cmocka_unit_test(test_failing_rank),  cmocka_unit_test(test_wrong_option),
		cmocka_unit_test(test_other_version), cmocka_unit_test(test_mixed_providers),
		cmocka_unit_test(test_bad_bootstrap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
