/* SPDX-License-Identifier: MIT
 * Bytes from GPU to GPU, from a GPU to the host's memory, and back, on whatever provider and driver
 * there are: skipped where they do not go together. */
#include "cuda.h"
#include "cuda_memory.h"
#include "job.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK  100000ul
#define BLOCKS 64ul
#define BYTES  (BLOCK * BLOCKS)
#define OFFSET 100 /* of the region in its allocation: within a page */

/* One rank's GPU memory, and everybody's. */
struct gpu_job {
	struct job job;
	struct cuda_gpu gpu;
	uint8_t *allocation, *memory;
	uint8_t *seen; /* the host's, to look at it */
	struct kvr_region *region;
	struct kvr_remote *remote[2];
};

static void open_gpu(struct gpu_job *g)
{
	uint8_t mine[KVR_DESCRIPTOR_MAX] = {0}, all[2 * KVR_DESCRIPTOR_MAX];
	int count;
	char why[CUDA_WHY];

	count = cuda_count(why);
	expect(count > 0);
	expect_rc(cuda_gpu_open(g->job.rank % count, &g->gpu, why), 0);
	expect_rc(cuda_enter(&g->gpu, why), 0);
	g->allocation = cuda_memory_plain(OFFSET + BYTES);
	g->memory = g->allocation + OFFSET;
	g->seen = malloc(BYTES);
	expect(g->seen);
	for (size_t i = 0; i < BYTES; i++)
		g->seen[i] = job_pattern(g->job.rank, i);
	cuda_memory_fill(g->memory, g->seen, BYTES);
	expect_rc(kvr_region_open(g->job.kvr, g->memory, BYTES, g->gpu.device, &g->region), 0);
	expect(kvr_region_export(g->region, mine, sizeof(mine)) > 0);
	expect_rc(kvr_allgather(g->job.kvr, mine, all, sizeof(mine)), 0);
	for (int i = 0; i < 2; i++)
		expect_rc(kvr_remote_open(g->job.kvr, i, all + i * sizeof(mine), sizeof(mine),
		                          &g->remote[i]),
		          0);
}

static void close_gpu(struct gpu_job *g)
{
	for (int i = 0; i < 2; i++)
		expect_rc(kvr_remote_close(g->remote[i]), 0);
	job_barrier(&g->job);
	expect_rc(kvr_region_close(g->region), 0);
	cuda_memory_free(g->allocation);
	cuda_leave();
	cuda_gpu_close(&g->gpu);
	free(g->seen);
}

/* In each even block its own bytes, in each odd one those of `rank` from the block before. */
static void expect_blocks(struct gpu_job *g, const uint8_t *bytes, int rank)
{
	for (size_t i = 0; i < BYTES; i++) {
		bool odd = i / BLOCK % 2;

		if (bytes[i] != job_pattern(odd ? rank : g->job.rank, odd ? i - BLOCK : i))
			ranks_fail(__FILE__, __LINE__, "a wrong byte");
	}
}

static struct kvr_op even_to_odd(struct kvr_region *local, struct kvr_remote *remote, bool read)
{
	return (struct kvr_op){
		.local = local,
		.remote = remote,
		.local_offset = read ? BLOCK : 0,
		.remote_offset = read ? 0 : BLOCK,
		.local_stride = 2 * BLOCK,
		.remote_stride = 2 * BLOCK,
		.len = BLOCK,
		.count = BLOCKS / 2,
	};
}

static void read_blocks(struct gpu_job *g, const struct kvr_op *op)
{
	struct kvr_request *request;

	expect_rc(kvr_read(g->job.kvr, op, 1, &request), 0);
	expect_rc(kvr_request_wait(request, JOB_TIMEOUT), 0);
	expect_rc(kvr_request_close(request), 0);
}

/* Rank 0 writes to the other's GPU and to its host memory, and reads from its GPU. */
static void run_first(struct gpu_job *g)
{
	struct kvr_op to_gpu = even_to_odd(g->region, g->remote[1], false);
	struct kvr_op to_host = even_to_odd(g->region, g->job.remote[1], false);
	struct kvr_op from_gpu = even_to_odd(g->region, g->remote[1], true);

	job_write(&g->job, &to_gpu, 1, 0);
	job_write(&g->job, &to_host, 1, 1);
	read_blocks(g, &from_gpu);
}

static int transfer_ranks(const struct kvr_bootstrap *b, void *arg)
{
	struct gpu_job g = {0};
	char why[256];

	(void)arg;
	job_open(&g.job, b, BYTES);
	if (!kvr_gpu_memory(g.job.kvr, why, sizeof(why))) {
		if (!b->rank)
			printf("skipped: GPU memory is not taken: %s\n", why);
		job_close(&g.job);
		return 77;
	}
	open_gpu(&g);
	for (size_t i = 0; i < BYTES; i++)
		g.job.memory[i] = job_pattern(b->rank, i);
	job_barrier(&g.job);
	if (!b->rank)
		run_first(&g);
	for (uint32_t c = 0; b->rank && c < 2; c++)
		expect_rc(kvr_counter_wait(g.job.kvr, c, 1, JOB_TIMEOUT, NULL), 0);
	job_barrier(&g.job);
	cuda_memory_fetch(g.seen, g.memory, BYTES);
	expect_blocks(&g, g.seen, !b->rank);
	if (b->rank)
		expect_blocks(&g, g.job.memory, 0);
	close_gpu(&g);
	job_close(&g.job);
	return 0;
}

int main(void)
{
	job_need_provider();
	return ranks_run(2, 200, transfer_ranks, NULL);
}
