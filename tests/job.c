/* SPDX-License-Identifier: MIT
 * A rank's usual things: an open context, one region of its own, and everybody's as remotes. */
#include "job.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096

void job_open(struct job *job, const struct kvr_bootstrap *b, size_t bytes)
{
	struct kvr *kvr;

	expect_rc(kvr_open(b, NULL, &kvr), 0);
	job_open_in(job, b, kvr, bytes);
}

void job_open_at(struct job *job, const struct kvr_bootstrap *b, struct kvr *kvr, void *memory,
                 size_t bytes)
{
	uint8_t mine[KVR_DESCRIPTOR_MAX] = {0}, all[JOB_MAX_RANKS * KVR_DESCRIPTOR_MAX];

	*job = (struct job){
		.rank = b->rank, .n = b->nranks, .kvr = kvr, .memory = memory, .bytes = bytes};
	expect_rc(kvr_region_open(job->kvr, job->memory, bytes, KVR_HOST, &job->region), 0);
	expect(kvr_region_export(job->region, mine, sizeof(mine)) > 0);
	expect_rc(kvr_allgather(job->kvr, mine, all, sizeof(mine)), 0);
	for (int i = 0; i < job->n; i++)
		expect_rc(kvr_remote_open(job->kvr, i, all + i * sizeof(mine), sizeof(mine),
		                          &job->remote[i]),
		          0);
}

void job_open_in(struct job *job, const struct kvr_bootstrap *b, struct kvr *kvr, size_t bytes)
{
	void *memory = aligned_alloc(PAGE, (bytes + PAGE - 1) / PAGE * PAGE);

	expect(memory);
	job_open_at(job, b, kvr, memory, bytes);
}

void job_barrier(struct job *job)
{
	uint8_t mine = 0, all[JOB_MAX_RANKS];

	expect_rc(kvr_allgather(job->kvr, &mine, all, 1), 0);
}

void job_leave(struct job *job)
{
	for (int i = 0; i < job->n; i++)
		expect_rc(kvr_remote_close(job->remote[i]), 0);
	job_barrier(job); /* nobody uses our memory any more */
	expect_rc(kvr_region_close(job->region), 0);
	expect_rc(kvr_close(job->kvr), 0);
}

void job_close(struct job *job)
{
	job_leave(job);
	free(job->memory);
}

void job_write(struct job *job, const struct kvr_op *ops, size_t n, uint32_t counter)
{
	struct kvr_request *request;

	expect_rc(kvr_write(job->kvr, ops, n, counter, &request), 0);
	expect_rc(kvr_request_wait(request, JOB_TIMEOUT), 0);
	expect_rc(kvr_request_close(request), 0);
}

void job_fall_silent(void)
{
	raise(SIGSTOP);
	_exit(0);
}

/* It may not have stopped yet. */
void job_let_end(pid_t pid)
{
	while (!kill(pid, SIGCONT))
		nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
}

uint8_t job_pattern(int rank, size_t i)
{
	return (i * 131 + (i >> 8) * 31 + (i >> 16) * 7 + rank * 57 + 1) & 0xff;
}

void job_quiet(void *arg, int level, const char *line)
{
	(void)arg;
	(void)level;
	(void)line;
}

static int provider_rank(const struct kvr_bootstrap *b, void *arg)
{
	struct kvr *kvr;

	(void)arg;
	kvr_set_log(job_quiet, NULL);
	if (kvr_open(b, NULL, &kvr))
		return 77;
	kvr_close(kvr);
	return 0;
}

/* In a process of its own: libfabric must not start before the ranks are forked. */
void job_need_provider(void)
{
	if (ranks_run(1, 200, provider_rank, NULL) != 77)
		return;
	printf("skipped: no provider %s here\n", getenv("KVR_PROVIDER"));
	exit(77);
}
