/* SPDX-License-Identifier: MIT
 * What the loss of rails in the midst of a request costs, on the software EFA: rank 0 writes to
 * rank 1 or reads from it, on all rails, while the fault strikes at a quarter of the bytes. Prints
 * how many ms longer it took than the rails that are left need for what was left then. In the end
 * every byte is compared. For softefa/rates.sh.
 *
 *   rail_loss SOFTEFA FAULT write|read RAILS LOST
 *
 * RAILS there are, of which the fault takes LOST. */
#include "job.h"
#include "strike.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BLOCK    (256u << 10)
#define BLOCKS   2048u
#define BYTES    ((uint64_t)BLOCK * BLOCKS)
#define WARM     2 /* requests before those that count */
#define SOUND    3 /* without a fault; the fastest counts */
#define SECONDS  100
#define COUNTER  0
#define NEVER    1
#define PATIENCE 60000 /* ms */

struct loss {
	bool is_read;
	unsigned int rails, lost;
	struct strike_board *board;
};

static double seconds_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint64_t word(uint64_t i)
{
	return (i + 1) * 0x9e3779b97f4a7c15;
}

/* Neither side is in order, so that no two blocks touch. */
static void make_ops(const struct loss *loss, const struct job *job, struct kvr_op *ops)
{
	for (uint64_t i = 0; i < BLOCKS; i++) {
		uint64_t from = i * 1021 % BLOCKS * BLOCK, to = (i * 709 + 11) % BLOCKS * BLOCK;

		ops[i] = (struct kvr_op){.local = job->region,
		                         .remote = job->remote[1],
		                         .local_offset = loss->is_read ? to : from,
		                         .remote_offset = loss->is_read ? from : to,
		                         .len = BLOCK,
		                         .count = 1};
	}
}

static double move(const struct loss *loss, struct job *job, const struct kvr_op *ops)
{
	double began = seconds_now();
	struct kvr_request *request;

	expect_rc(loss->is_read ? kvr_read(job->kvr, ops, BLOCKS, &request)
	                        : kvr_write(job->kvr, ops, BLOCKS, COUNTER, &request),
	          0);
	expect_rc(kvr_request_wait(request, PATIENCE), 0);
	expect_rc(kvr_request_close(request), 0);
	return seconds_now() - began;
}

/* Rank 0. */
static void measure(const struct loss *loss, struct job *job)
{
	double sound = 1e9, took, struck, began, left;
	struct kvr_op ops[BLOCKS];

	make_ops(loss, job, ops);
	for (int i = 0; i < WARM; i++)
		move(loss, job, ops);
	for (int i = 0; i < SOUND; i++) {
		took = move(loss, job, ops);
		sound = took < sound ? took : sound;
	}
	loss->board->begun = 1;
	kvr_counter_wait(job->kvr, NEVER, 1, 20, NULL); /* until whoever strikes has seen it */
	began = seconds_now();
	took = move(loss, job, ops);
	loss->board->over = 1;
	struck = (double)loss->board->struck_at / 1e9 - began;
	expect(struck > 0 && struck < sound);
	left = (sound - struck) * loss->rails / (loss->rails - loss->lost);
	printf("%.1f\n", (took - struck - left) * 1e3);
}

static void check(const struct job *job)
{
	const uint64_t *words = (const uint64_t *)job->memory;

	for (uint64_t i = 0; i < BLOCKS; i++) {
		uint64_t from = i * 1021 % BLOCKS * BLOCK / 8;
		uint64_t to = (i * 709 + 11) % BLOCKS * BLOCK / 8;

		for (uint64_t j = 0; j < BLOCK / 8; j++)
			expect(words[to + j] == word(from + j));
	}
}

static int run_rank(const struct kvr_bootstrap *b, void *arg)
{
	const struct loss *loss = arg;
	struct job job;

	job_open(&job, b, BYTES);
	for (uint64_t i = 0; i < BYTES / 8; i++)
		((uint64_t *)job.memory)[i] = loss->is_read == job.rank ? word(i) : 0;
	job_barrier(&job);
	if (!job.rank)
		measure(loss, &job);
	else
		while (!loss->board->over)
			kvr_counter_wait(job.kvr, NEVER, 1, 5, NULL);
	if (loss->is_read != job.rank)
		check(&job);
	while (!loss->board->lifted)
		kvr_counter_wait(job.kvr, NEVER, 1, 5, NULL);
	job_close(&job);
	return 0;
}

int main(int argc, char **argv)
{
	struct strike_board *board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE,
	                                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct strike s = {.board = board, .bytes = BYTES};
	struct loss loss = {.board = board};

	if (argc != 6 || board == MAP_FAILED || !(s.fault = strike_find(argv[2]))) {
		fprintf(stderr, "usage: rail_loss SOFTEFA FAULT write|read RAILS LOST\n");
		return 2;
	}
	s.softefa = argv[1];
	loss.is_read = !strcmp(argv[3], "read");
	loss.rails = (unsigned int)strtoul(argv[4], NULL, 10);
	loss.lost = (unsigned int)strtoul(argv[5], NULL, 10);
	kvr_set_log(job_quiet, NULL);
	s.runner = fork();
	if (!s.runner)
		_exit(ranks_run(2, SECONDS, run_rank, &loss));
	return !strike_run(&s, SECONDS) || s.status;
}
