/* SPDX-License-Identifier: MIT
 * Batches between ranks, on the provider that KVR_PROVIDER names: every byte is compared, counters
 * move once, and what is wrong moves nothing. */
#include "job.h"
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB (1u << 20)

static void fill(struct job *job)
{
	for (size_t i = 0; i < job->bytes; i++)
		job->memory[i] = job_pattern(job->rank, i);
}

/* By memcmp, which sanitizers do not slow down. */
static void expect_all(const uint8_t *memory, size_t len, uint8_t value)
{
	expect(memory[0] == value && !memcmp(memory, memory + 1, len - 1));
}

static void expect_counter(struct job *job, uint32_t counter, uint64_t value)
{
	uint64_t seen;

	expect_rc(kvr_counter_wait(job->kvr, counter, value, JOB_TIMEOUT, &seen), 0);
	expect(seen == value);
}

/* Random batches from rank 0 into rank 1's upper half, whose expected content rank 0's pattern
 * gives; destinations never overlap within a batch. */
struct batch {
	struct kvr_op ops[64];
	size_t n;
};

static void make_batch(struct job *job, unsigned int seed, struct batch *out)
{
	uint64_t half = job->bytes / 2, at = half, len, count, gap;

	srandom(seed);
	for (out->n = 0; out->n < 64; out->n++) {
		len = 1 + random() % (random() % 8 ? 3000 : 300000);
		count = 1 + random() % 4;
		gap = random() % 3 ? 0u : (uint64_t)random() % 500;
		if (at + count * (len + gap) > job->bytes)
			break;
		out->ops[out->n] = (struct kvr_op){
			.local = job->region,
			.remote = job->remote[1],
			.local_offset = random() % (half / 2),
			.local_stride = random() % 2 ? len : (uint64_t)random() % 5000,
			.remote_offset = at,
			.remote_stride = len + gap,
			.len = len,
			.count = count,
		};
		at += count * (len + gap) + random() % 100;
	}
}

static void apply_batch(const struct batch *batch, uint8_t *expected)
{
	for (size_t i = 0; i < batch->n; i++) {
		const struct kvr_op *op = &batch->ops[i];

		for (uint64_t r = 0; r < op->count; r++)
			for (uint64_t b = 0; b < op->len; b++)
				expected[op->remote_offset + r * op->remote_stride + b] =
					job_pattern(0, op->local_offset + r * op->local_stride + b);
	}
}

static int write_ranks(const struct kvr_bootstrap *b, void *arg)
{
	unsigned int batches = *(unsigned int *)arg;
	struct job job;
	struct batch batch;
	uint8_t *expected;

	job_open(&job, b, 8 * MIB);
	fill(&job);
	expected = malloc(job.bytes);
	memcpy(expected, job.memory, job.bytes);
	job_barrier(&job); /* from here on rank 0 may write */
	for (unsigned int i = 0; i < batches; i++) {
		make_batch(&job, i, &batch);
		if (job.rank == 0) {
			job_write(&job, batch.ops, batch.n, 7);
		} else if (job.rank == 1) {
			expect_counter(&job, 7, i + 1);
			apply_batch(&batch, expected);
			expect(!memcmp(expected, job.memory, job.bytes));
		}
		job_barrier(&job);
	}
	expect_counter(&job, 7, job.rank == 1 ? batches : 0);
	free(expected);
	job_close(&job);
	return 0;
}

static void test_write(void **state)
{
	unsigned int batches = 12;

	(void)state;
	assert_int_equal(ranks_run(2, 200, write_ranks, &batches), 0);
}

/* Rank 0 scatters to all, itself too, then gathers what they made of it. */
static int scatter_ranks(const struct kvr_bootstrap *b, void *arg)
{
	const uint64_t slice = 300000;
	struct kvr_op ops[2 * JOB_MAX_RANKS];
	struct kvr_request *request;
	struct job job;

	(void)arg;
	job_open(&job, b, 8 * MIB);
	fill(&job);
	job_barrier(&job);
	for (int i = 0; i < 2 * job.n; i++) /* two for each peer, not side by side */
		ops[i] = (struct kvr_op){
			.local = job.region,
			.remote = job.remote[i % job.n],
			.local_offset = i * slice,
			.remote_offset = 4 * MIB + (i / job.n) * slice,
			.len = slice,
			.count = 1,
		};
	if (!job.rank)
		job_write(&job, ops, 2 * job.n, 0);
	expect_counter(&job, 0, 1);
	for (uint64_t i = 0; i < slice; i++) {
		expect(job.memory[4 * MIB + i] == job_pattern(0, job.rank * slice + i));
		expect(job.memory[4 * MIB + slice + i] ==
		       job_pattern(0, (job.n + job.rank) * slice + i));
		job.memory[4 * MIB + i] ^= 0x55;
	}
	job_barrier(&job);
	for (int i = 0; i < job.n; i++) {
		ops[i].remote_offset = 4 * MIB;
		ops[i].local_offset = 5 * MIB + i * slice;
	}
	if (!job.rank) {
		expect_rc(kvr_read(job.kvr, ops, job.n, &request), 0);
		expect_rc(kvr_request_wait(request, JOB_TIMEOUT), 0);
		expect_rc(kvr_request_close(request), 0);
		for (uint64_t i = 0; i < job.n * slice; i++)
			expect(job.memory[5 * MIB + i] == (job_pattern(0, i) ^ 0x55));
	}
	job_barrier(&job);
	job_close(&job);
	return 0;
}

static void test_scatter_gather(void **state)
{
	(void)state;
	assert_int_equal(ranks_run(4, 200, scatter_ranks, NULL), 0);
}

/* Rank 0 hands every rank, itself too, a slice of its buffer, each longer than the one before and
 * the first one empty; then takes them back in another order. */
static int slice_ranks(const struct kvr_bootstrap *b, void *arg)
{
	uint64_t lens[JOB_MAX_RANKS], at[JOB_MAX_RANKS], there[JOB_MAX_RANKS], begin = 0;
	struct kvr_slices slices = {.size = sizeof(slices), .lens = lens, .remote_offsets = there};
	struct kvr_request *request;
	struct job job;

	(void)arg;
	job_open(&job, b, 8 * MIB);
	slices.local = job.region;
	slices.remotes = job.remote;
	slices.n = job.n;
	fill(&job);
	for (int i = 0; i < job.n; i++) {
		lens[i] = i * 70001;
		at[i] = 6 * MIB - i * 300000;
		there[i] = 2 * MIB + i;
	}
	job_barrier(&job);
	if (!job.rank) {
		expect_rc(kvr_scatter(job.kvr, &slices, 3, &request), 0);
		expect_rc(kvr_request_wait(request, JOB_TIMEOUT), 0);
		expect_rc(kvr_request_close(request), 0);
		slices.local_offsets = at;
		expect_rc(kvr_gather(job.kvr, &slices, &request), 0);
		expect_rc(kvr_request_wait(request, JOB_TIMEOUT), 0);
		expect_rc(kvr_request_close(request), 0);
	}
	expect_counter(&job, 3, job.rank > 0);
	for (int i = 0; i < job.n; begin += lens[i++])
		for (uint64_t j = 0; j < lens[i]; j++) {
			if (i == job.rank)
				expect(job.memory[there[i] + j] == job_pattern(0, begin + j));
			if (!job.rank)
				expect(job.memory[at[i] + j] == job_pattern(0, begin + j));
		}
	job_barrier(&job);
	job_close(&job);
	return 0;
}

static void test_slices(void **state)
{
	(void)state;
	assert_int_equal(ranks_run(4, 200, slice_ranks, NULL), 0);
}

/* Threads of rank 0 write at once, to both other ranks, each with a counter of its own. */
#define THREADS       4
#define THREAD_ROUNDS 25

struct thread {
	struct job *job;
	uint32_t id;
};

static void *writer(void *arg)
{
	struct thread *t = arg;
	struct kvr_op op = {
		.local = t->job->region,
		.local_offset = t->id * MIB,
		.remote_offset = t->id * MIB,
		.local_stride = 10000,
		.remote_stride = 10000,
		.len = 9000,
		.count = 100,
	};

	for (uint32_t i = 0; i < THREAD_ROUNDS; i++) {
		op.remote = t->job->remote[1 + (i + t->id) % 2];
		job_write(t->job, &op, 1, t->id);
	}
	return NULL;
}

static int thread_ranks(const struct kvr_bootstrap *b, void *arg)
{
	pthread_t threads[THREADS];
	struct thread args[THREADS];
	struct job job;
	uint64_t value;

	(void)arg;
	job_open(&job, b, 8 * MIB);
	for (uint32_t i = 0; i < THREADS; i++) {
		args[i] = (struct thread){.job = &job, .id = i};
		if (!job.rank)
			pthread_create(&threads[i], NULL, writer, &args[i]);
	}
	for (uint32_t i = 0; i < THREADS; i++) {
		if (!job.rank) {
			pthread_join(threads[i], NULL);
			continue;
		}
		value = (THREAD_ROUNDS + (job.rank - 1 == (int)(i % 2))) / 2;
		expect_rc(kvr_counter_wait(job.kvr, i, value, JOB_TIMEOUT, NULL), 0);
	}
	job_barrier(&job);
	job_close(&job);
	return 0;
}

static void test_threads(void **state)
{
	(void)state;
	assert_int_equal(ranks_run(3, 200, thread_ranks, NULL), 0);
}

/* A long batch is cancelled at different moments. Whatever the result, once it is there the target
 * may refill its memory, and nothing changes it any more. */
static int cancel_ranks(const struct kvr_bootstrap *b, void *arg)
{
	struct kvr_request *request;
	struct kvr_op op;
	struct job job;
	uint64_t counted = 0, seen;
	int rc;

	(void)arg;
	job_open(&job, b, 32 * MIB);
	op = (struct kvr_op){.local = job.region,
	                     .remote = job.remote[1],
	                     .len = 8192,
	                     .local_stride = 10000,
	                     .remote_stride = 10000,
	                     .count = 3000};
	memset(job.memory, 1, job.bytes);
	for (int i = 0; i < 20; i++) {
		job_barrier(&job);
		rc = 1;
		if (!job.rank) {
			expect_rc(kvr_write(job.kvr, &op, 1, 5, &request), 0);
			rc = kvr_request_wait(request, i / 2);
			if (rc) {
				expect_rc(rc, -ETIMEDOUT);
				expect_rc(kvr_request_close(request), -EBUSY);
				expect_rc(kvr_request_cancel(request), 0);
				rc = kvr_request_wait(request, JOB_TIMEOUT);
			}
			expect(!rc || rc == -ECANCELED);
			expect_rc(kvr_request_wait(request, 0), rc);
			expect_rc(kvr_request_close(request), 0);
			counted += !rc;
			memcpy(job.memory + job.bytes - 8, &counted, 8);
			op.len = 8;
			op.count = 1;
			op.local_offset = op.remote_offset = job.bytes - 8;
			job_write(&job, &op, 1, 6);
			op.len = 8192;
			op.count = 3000;
			op.local_offset = op.remote_offset = 0;
		} else {
			expect_counter(&job, 6, i + 1);
			memset(job.memory, 2, job.bytes - 8);
			kvr_counter_wait(job.kvr, 6, UINT64_MAX, 20, NULL);
			expect_all(job.memory, job.bytes - 8, 2);
			memcpy(&counted, job.memory + job.bytes - 8, 8);
			kvr_counter_wait(job.kvr, 5, 0, 0, &seen);
			expect(seen == counted);
		}
	}
	job_barrier(&job);
	job_close(&job);
	return 0;
}

static void test_cancel(void **state)
{
	(void)state;
	assert_int_equal(ranks_run(2, 200, cancel_ranks, NULL), 0);
}

static void refuse(struct job *job, struct kvr_op op, int rc)
{
	struct kvr_request *request = NULL;

	expect_rc(kvr_write(job->kvr, &op, 1, 0, &request), rc);
	expect_rc(kvr_read(job->kvr, &op, 1, &request), rc);
	expect(!request);
}

static void refuse_descriptor(struct job *job, const uint8_t *bytes, size_t len, int rc)
{
	struct kvr_remote *remote = NULL;

	expect_rc(kvr_remote_open(job->kvr, 1, bytes, len, &remote), rc);
	expect(!remote);
}

static void refuse_bad_descriptors(struct job *job)
{
	uint8_t bytes[KVR_DESCRIPTOR_MAX], zero[KVR_DESCRIPTOR_MAX] = {0};
	ssize_t len = kvr_region_export(job->region, bytes, sizeof(bytes));

	expect(len > 0);
	expect_rc(kvr_region_export(job->region, zero, len - 1), -ENOSPC);
	memset(zero, 0, sizeof(zero));
	refuse_descriptor(job, bytes, len, -EXDEV); /* it is rank 0's */
	refuse_descriptor(job, bytes, len - 1, -EBADMSG);
	refuse_descriptor(job, bytes, 0, -EBADMSG);
	refuse_descriptor(job, zero, sizeof(zero), -EBADMSG);
	bytes[len - 1] ^= 1;
	refuse_descriptor(job, bytes, len, -EBADMSG);
	bytes[len - 1] ^= 1;
	bytes[4]++;
	refuse_descriptor(job, bytes, len, -EPROTO);
}

static void refuse_bad_ops(struct job *job)
{
	const struct kvr_op good = {.local = job->region,
	                            .remote = job->remote[1],
	                            .len = 4096,
	                            .count = 2,
	                            .local_stride = 4096,
	                            .remote_stride = 4096};
	struct kvr_request *request;
	struct kvr_op op;

#define REFUSE(field, value, rc)                                                                   \
	do {                                                                                       \
		op = good;                                                                         \
		op.field = (value);                                                                \
		refuse(job, op, rc);                                                               \
	} while (0)
	REFUSE(local, NULL, -EINVAL);
	REFUSE(remote, NULL, -EINVAL);
	REFUSE(len, 0, -EINVAL);
	REFUSE(count, 0, -EINVAL);
	REFUSE(len, job->bytes + 1, -EINVAL); /* as its runs then overlap */
	REFUSE(count, UINT64_MAX, -ERANGE);
	REFUSE(local_offset, job->bytes - 8191, -ERANGE);
	REFUSE(remote_offset, job->bytes - 8191, -ERANGE);
	REFUSE(local_offset, UINT64_MAX - 4095, -ERANGE);
	REFUSE(remote_offset, UINT64_MAX - 100, -ERANGE);
	REFUSE(local_stride, UINT64_MAX - 4096, -ERANGE);
	REFUSE(remote_stride, UINT64_MAX, -ERANGE);
#undef REFUSE
	op = good;
	expect_rc(kvr_write(job->kvr, &op, 0, 0, &request), -EINVAL);
	expect_rc(kvr_write(job->kvr, &op, 1, 1024, &request), -EINVAL);
	op.len = 1;
	op.count = 300000;
	op.local_stride = op.remote_stride = 2;
	expect_rc(kvr_write(job->kvr, &op, 1, 0, &request), -E2BIG);
	op.count = 2;
	op.remote_stride = 0;
	expect_rc(kvr_write(job->kvr, &op, 1, 0, &request), -EINVAL);
	expect_rc(kvr_counter_wait(job->kvr, 1024, 0, 0, NULL), -EINVAL);
}

/* Whatever is refused moves nothing: the counters and the memory of rank 1 tell. */
static int refuse_ranks(const struct kvr_bootstrap *b, void *arg)
{
	struct kvr_request *request;
	struct kvr_region *region;
	struct kvr_op op;
	struct job job;

	(void)arg;
	job_open(&job, b, 4 * MIB);
	memset(job.memory, job.rank + 1, job.bytes);
	job_barrier(&job);
	kvr_set_log(job_quiet, NULL);
	if (!job.rank) {
		refuse_bad_ops(&job);
		refuse_bad_descriptors(&job);
		expect_rc(kvr_region_open(job.kvr, NULL, 10, KVR_HOST, &region), -EINVAL);
		expect_rc(kvr_region_open(job.kvr, job.memory, 0, KVR_HOST, &region), -EINVAL);
		expect_rc(kvr_region_open(job.kvr, job.memory, 4096, KVR_HOST - 1, &region),
		          -EINVAL);
		expect_rc(kvr_close(job.kvr), -EBUSY);
	}
	if (job.rank)
		expect_all(job.memory, job.bytes, 2);
	job_barrier(&job);
	if (!job.rank) {
		op = (struct kvr_op){
			.local = job.region, .remote = job.remote[1], .len = 4 * MIB, .count = 1};
		expect_rc(kvr_write(job.kvr, &op, 1, KVR_NO_COUNTER, &request), 0);
		expect_rc(kvr_region_close(job.region), -EBUSY);
		expect_rc(kvr_remote_close(job.remote[1]), -EBUSY);
		expect_rc(kvr_request_wait(request, JOB_TIMEOUT), 0);
		expect_rc(kvr_request_close(request), 0);
	}
	job_barrier(&job);
	if (job.rank)
		expect_all(job.memory, job.bytes, 1);
	for (uint32_t c = 0; c < 1024; c++)
		expect_counter(&job, c, 0);
	job_close(&job);
	return 0;
}

static void test_refuse(void **state)
{
	(void)state;
	assert_int_equal(ranks_run(2, 200, refuse_ranks, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_write),  cmocka_unit_test(test_scatter_gather),
		cmocka_unit_test(test_slices), cmocka_unit_test(test_threads),
		cmocka_unit_test(test_cancel), cmocka_unit_test(test_refuse),
	};

	job_need_provider();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
