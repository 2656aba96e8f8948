/* SPDX-License-Identifier: MIT
 * The library's own threads, as KVR_PROGRESS_THREADS has them: they serve peers while the rank
 * computes, cost little when nothing happens, stay on their CPUs, and end with their context. */
#include "job.h"
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define BYTES    (1u << 20)
#define COMPUTES 8.0 /* seconds; after five, peers would take a rank for dead */

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Without a call of the library's. */
static void compute(double seconds)
{
	double end = now() + seconds;

	while (now() < end)
		;
}

static void move(struct job *job, bool is_read, uint64_t offset)
{
	struct kvr_op op = {.local = job->region,
	                    .remote = job->remote[1],
	                    .local_offset = offset,
	                    .remote_offset = offset,
	                    .len = BYTES / 4,
	                    .count = 1};
	struct kvr_request *request;

	if (is_read)
		expect_rc(kvr_read(job->kvr, &op, 1, &request), 0);
	else
		expect_rc(kvr_write(job->kvr, &op, 1, 0, &request), 0);
	expect_rc(kvr_request_wait(request, JOB_TIMEOUT), 0);
	expect_rc(kvr_request_close(request), 0);
}

/* Rank 0 writes to rank 1 and reads from it, the whole time. */
static uint64_t visit(struct job *job, double until)
{
	uint64_t visits = 0;

	while (now() < until) {
		memset(job->memory, (int)(visits + 1), BYTES / 4);
		move(job, false, 0);
		memset(job->memory + BYTES / 4, 0, BYTES / 4);
		move(job, true, BYTES / 4);
		for (uint32_t i = BYTES / 4; i < BYTES / 2; i++)
			expect(job->memory[i] == job_pattern(1, i));
		visits++;
		usleep(visits < 10 ? 1000 : 300000);
	}
	return visits;
}

static int compute_ranks(const struct kvr_bootstrap *b, void *arg)
{
	uint64_t seen, visits[2] = {0};
	struct job job;

	(void)arg;
	job_open(&job, b, BYTES);
	for (uint32_t i = 0; i < BYTES; i++)
		job.memory[i] = job_pattern(job.rank, i);
	job_barrier(&job);
	if (job.rank)
		compute(COMPUTES);
	else
		visits[0] = visit(&job, now() + COMPUTES - 1);
	expect_rc(kvr_allgather(job.kvr, &visits[0], visits, sizeof(visits[0])), 0);
	expect(visits[0]);
	if (job.rank) {
		kvr_counter_wait(job.kvr, 0, 0, 0, &seen);
		expect(seen == visits[0]);
		for (uint32_t i = 0; i < BYTES / 4; i++)
			expect(job.memory[i] == (uint8_t)visits[0]);
	}
	job_close(&job);
	return 0;
}

static void a_rank_that_computes_serves_its_peers(void **state)
{
	(void)state;
	assert_int_equal(ranks_run(2, 200, compute_ranks, NULL), 0);
}

static double cpu_seconds(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* A tenth of a core, where a hundredth is meant: only who spins is found out. */
static void expect_rest(struct job *job, bool waits)
{
	double began, used = cpu_seconds();

	began = now();
	if (waits)
		expect_rc(kvr_counter_wait(job->kvr, 1, 1, 2000, NULL), -ETIMEDOUT);
	else
		sleep(2);
	used = (cpu_seconds() - used) / (now() - began);
	printf("%s: %.2f %% of a core\n", waits ? "waiting" : "idle", 100 * used);
	expect(used < 0.1);
}

static int idle_ranks(const struct kvr_bootstrap *b, void *arg)
{
	struct job job;

	(void)arg;
	job_open(&job, b, BYTES);
	if (!job.rank)
		move(&job, false, 0);
	job_barrier(&job);
	usleep(1200000);
	expect_rest(&job, false);
	expect_rc(kvr_counter_wait(job.kvr, 1, 1, 1200, NULL), -ETIMEDOUT);
	expect_rest(&job, true);
	job_close(&job);
	return 0;
}

static void an_idle_rank_rests(void **state)
{
	(void)state;
	assert_int_equal(ranks_run(2, 200, idle_ranks, NULL), 0);
}

/* fn for each of the library's threads in this process; how many there are. */
static int each_thread(void (*fn)(pid_t))
{
	struct dirent *entry;
	char path[300], name[32];
	DIR *tasks = opendir("/proc/self/task");
	FILE *file;
	int n = 0;

	expect(tasks);
	while ((entry = readdir(tasks))) {
		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", entry->d_name);
		file = *entry->d_name == '.' ? NULL : fopen(path, "r");
		if (!file)
			continue;
		if (fgets(name, sizeof(name), file) && !strcmp(name, "kvrail\n")) {
			n++;
			if (fn)
				fn((pid_t)atoi(entry->d_name));
		}
		fclose(file);
	}
	closedir(tasks);
	return n;
}

static bool is_bound(pid_t tid)
{
	cpu_set_t mine, its, both;

	expect(!sched_getaffinity(0, sizeof(mine), &mine));
	expect(!sched_getaffinity(tid, sizeof(its), &its));
	CPU_AND(&both, &its, &mine);
	return CPU_EQUAL(&both, &its);
}

/* It binds itself, which a busy machine may let it do late. */
static void expect_bound(pid_t tid)
{
	double end = now() + 20;

	while (!is_bound(tid) && now() < end)
		usleep(1000);
	expect(is_bound(tid));
}

static void expect_no_signals(pid_t tid)
{
	char path[64], line[128];
	unsigned long long blocked = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/status", (int)tid);
	file = fopen(path, "r");
	expect(file);
	while (fgets(line, sizeof(line), file))
		sscanf(line, "SigBlk: %llx", &blocked);
	fclose(file);
	for (int signal = 1; signal < 32; signal++)
		expect(signal == 9 || signal == 19 || blocked >> (signal - 1) & 1);
}

/* A thread has its name a moment after it began. */
static void wait_for_threads(int wanted)
{
	double end = now() + 20;

	while (each_thread(NULL) != wanted && now() < end)
		usleep(1000);
	expect(each_thread(NULL) == wanted);
}

/* All plain providers have their rails at one node. */
static int threads_wanted(void)
{
	const char *mode = getenv("KVR_PROGRESS_THREADS");

	return !mode || strcmp(mode, "0") ? 1 : 0;
}

/* With one CPU only for all that a rank has. */
static int bound_ranks(const struct kvr_bootstrap *b, void *arg)
{
	cpu_set_t all, one;
	struct job job;
	int cpu = 0;

	(void)arg;
	expect(!sched_getaffinity(0, sizeof(all), &all));
	while (!CPU_ISSET(cpu, &all))
		cpu++;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	expect(!sched_setaffinity(0, sizeof(one), &one));
	job_open(&job, b, BYTES);
	wait_for_threads(threads_wanted());
	each_thread(expect_bound);
	each_thread(expect_no_signals);
	for (int i = 0; i < 50; i++) {
		if (!job.rank)
			move(&job, i % 2, 0);
		if (i % 10 == 0)
			job_barrier(&job);
	}
	job_close(&job);
	wait_for_threads(0);
	return 0;
}

static void a_thread_stays_on_its_cpus(void **state)
{
	(void)state;
	assert_int_equal(ranks_run(2, 200, bound_ranks, NULL), 0);
}

#define WAITERS 6

struct waiter {
	struct job *job;
	uint32_t counter;
	int timeout_ms, rc;
	pthread_t thread;
};

static void *wait_for_counter(void *arg)
{
	struct waiter *w = arg;

	w->rc = kvr_counter_wait(w->job->kvr, w->counter, 1, w->timeout_ms, NULL);
	return NULL;
}

/* The first of them leads, as long as it waits; each of the others goes on when it has to. */
static void wait_all(struct job *job, int first_ms, int step_ms, int wanted)
{
	struct waiter waiters[WAITERS];

	for (uint32_t i = 0; i < WAITERS; i++) {
		waiters[i] = (struct waiter){
			.job = job, .counter = 2 + i, .timeout_ms = first_ms + (int)i * step_ms};
		expect(!pthread_create(&waiters[i].thread, NULL, wait_for_counter, &waiters[i]));
		usleep(1000);
	}
	for (uint32_t i = 0; i < WAITERS; i++) {
		pthread_join(waiters[i].thread, NULL);
		expect_rc(waiters[i].rc, wanted);
	}
}

static int waiting_ranks(const struct kvr_bootstrap *b, void *arg)
{
	struct job job;

	(void)arg;
	job_open(&job, b, BYTES);
	wait_all(&job, 20, 20, -ETIMEDOUT);
	wait_all(&job, 20 * WAITERS, -20, -ETIMEDOUT);
	job_barrier(&job);
	for (uint32_t i = 0; i < WAITERS && !job.rank; i++) {
		struct kvr_op op = {
			.local = job.region, .remote = job.remote[1], .len = 4096, .count = 1};

		usleep(20000);
		job_write(&job, &op, 1, 2 + (i * 5 + 3) % WAITERS); /* in some order */
	}
	if (job.rank)
		wait_all(&job, JOB_TIMEOUT, 0, 0);
	job_barrier(&job);
	job_close(&job);
	return 0;
}

static void many_callers_wait(void **state)
{
	(void)state;
	assert_int_equal(ranks_run(2, 200, waiting_ranks, NULL), 0);
}

static int refuse(void *arg, const void *mine, void *all, size_t len)
{
	(void)arg;
	(void)mine;
	(void)all;
	(void)len;
	return -EIO;
}

static int failing_rank(const struct kvr_bootstrap *b, void *arg)
{
	struct kvr_bootstrap broken = {.rank = 0, .nranks = 2, .allgather = refuse};
	struct kvr *kvr = NULL;

	(void)arg;
	kvr_set_log(job_quiet, NULL);
	expect_rc(kvr_open(&broken, NULL, &kvr), -EIO);
	wait_for_threads(0);
	for (int i = 0; i < 5; i++) {
		expect_rc(kvr_open(b, NULL, &kvr), 0);
		expect_rc(kvr_close(kvr), 0);
		wait_for_threads(0);
	}
	return 0;
}

static void threads_end_with_their_context(void **state)
{
	(void)state;
	assert_int_equal(ranks_run(1, 200, failing_rank, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_rank_that_computes_serves_its_peers),
		cmocka_unit_test(an_idle_rank_rests),
		cmocka_unit_test(a_thread_stays_on_its_cpus),
		cmocka_unit_test(many_callers_wait),
		cmocka_unit_test(threads_end_with_their_context),
	};

	job_need_provider();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
