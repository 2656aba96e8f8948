/* SPDX-License-Identifier: MIT
 * A rank that falls silent without a word, and what all ranks do together: they end with an error,
 * all of them, also those that have nothing to do with the silent one, and long before a
 * collective's own timeout. */
#include "job.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define RANKS     6
#define SILENT    2 /* rank 5 meets it in no step of an allgather */
#define LEN       10000
#define UNTOUCHED 0xee
#define BOUND     30 /* seconds; half of what an allgather waits by itself */

static int64_t seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

static void expect_failure(struct kvr *kvr)
{
	static uint8_t mine[LEN], all[RANKS * LEN];
	int64_t begin = seconds();

	memset(all, UNTOUCHED, sizeof(all));
	expect_rc(kvr_allgather(kvr, mine, all, LEN), -EHOSTUNREACH);
	expect(seconds() - begin < BOUND);
	expect(all[0] == UNTOUCHED && !memcmp(all, all + 1, sizeof(all) - 1));
}

static void write_to(struct job *job, int rank)
{
	struct kvr_op op = {
		.local = job->region, .remote = job->remote[rank], .len = LEN, .count = 1};

	job_write(job, &op, 1, 0);
}

static int allgather_ranks(const struct kvr_bootstrap *b, void *arg)
{
	pid_t pid = getpid(), pids[RANKS];
	const int *after_ms = arg;
	/* Writes that come here. */
	int coming = b->rank == SILENT - 1 ? RANKS - 2 : b->rank == SILENT + 1;
	struct job job;

	setenv("KVR_PEER_TIMEOUT", "3000", 1);
	expect_rc(b->allgather(b->arg, &pid, pids, sizeof(pid)), 0);
	job_open(&job, b, LEN);
	if (b->rank == SILENT) {
		/* In that time all that was said to it is acknowledged. */
		nanosleep(&(struct timespec){.tv_nsec = *after_ms * 1000000l}, NULL);
		job_fall_silent();
	}
	kvr_set_log(job_quiet, NULL);
	for (int i = 0; i < 3; i++)
		expect_failure(job.kvr);
	write_to(&job, b->rank == SILENT - 1 ? SILENT + 1 : SILENT - 1);
	for (int i = 0; i < job.n; i++)
		expect_rc(kvr_remote_close(job.remote[i]), 0);
	kvr_counter_wait(job.kvr, 0, coming, JOB_TIMEOUT, NULL);
	expect_rc(kvr_region_close(job.region), 0);
	expect_rc(kvr_close(job.kvr), 0);
	free(job.memory);
	job_let_end(pids[SILENT]);
	return 0;
}

static void all_allgathers_end(void **state)
{
	int after_ms[] = {0, 500};

	(void)state;
	for (int i = 0; i < 2; i++)
		assert_int_equal(ranks_run(RANKS, 200, allgather_ranks, &after_ms[i]), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_allgathers_end),
	};

	job_need_provider();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
