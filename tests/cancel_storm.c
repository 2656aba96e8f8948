/* SPDX-License-Identifier: MIT
 * Cancels and timeouts at moments of chance, while rails fail and return: as soon as a request has
 * ended its target is filled with canaries, of which no byte may change any more. The ranks share
 * their memory, so that nothing lies between the end of a request and the canaries. For
 * softefa/storm.sh.
 *
 *   cancel_storm CANCELS [SEED] */
#include "job.h"
#include "seeds.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define SLOTS    24u
#define BLOCK    (192u << 10)
#define RUNS_MAX 6u
#define CANARY   0xc5
#define COUNTER  0
#define NEVER    1
#define LATE     300 /* ms; what was held up and is let go would have come by then */
#define SECONDS  500 /* against hangs */

struct slot {
	struct kvr_request *request;
	struct kvr_op op;
	bool is_read, is_cancelled;
	uint8_t *source, *target;
	double cancel_at; /* seconds */
};

struct storm {
	uint32_t cancels;
	uint64_t seed;
	uint8_t *memory[2];
	_Atomic bool *is_over;
};

struct tally {
	uint32_t cancelled, won;
};

static double seconds_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void *share(size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	expect(memory != MAP_FAILED);
	return memory;
}

static void expect_canaries(const struct slot *slot, uint32_t number)
{
	for (uint32_t i = 0; i < BLOCK; i++) {
		if (slot->target[i] == CANARY)
			continue;
		fprintf(stderr, "late bytes: slot %u, a %s, offset %u: %02x\n", number,
		        slot->is_read ? "read" : "write", i, slot->target[i]);
		_exit(97);
	}
}

/* A slot has a source and a target, each in the memory of one rank. The runs leave gaps. */
static void start(const struct storm *storm, struct job *job, struct slot *slot, uint32_t number,
                  struct dice *dice)
{
	uint64_t source = 2ull * number * BLOCK, target = source + BLOCK;
	uint64_t count = 1 + dice_roll(dice, RUNS_MAX), stride = BLOCK / count;

	slot->is_read = dice_roll(dice, 2);
	slot->is_cancelled = false;
	slot->source = storm->memory[slot->is_read] + source;
	slot->target = storm->memory[!slot->is_read] + target;
	slot->op = (struct kvr_op){
		.local = job->region,
		.remote = job->remote[1],
		.local_offset = slot->is_read ? target : source,
		.remote_offset = slot->is_read ? source : target,
		.local_stride = stride,
		.remote_stride = stride,
		.len = 1 + dice_roll(dice, stride),
		.count = count,
	};
	memset(slot->source, 1 + (int)dice_roll(dice, CANARY - 1), BLOCK);
	slot->cancel_at = seconds_now() + (double)dice_roll(dice, 2000) / 1e6;
	expect_rc(slot->is_read ? kvr_read(job->kvr, &slot->op, 1, &slot->request)
	                        : kvr_write(job->kvr, &slot->op, 1, COUNTER, &slot->request),
	          0);
}

static void expect_all_there(const struct slot *slot)
{
	for (uint64_t run = 0; run < slot->op.count; run++)
		expect(!memcmp(slot->target + run * slot->op.local_stride,
		               slot->source + run * slot->op.local_stride, slot->op.len));
}

/* Whether it has ended; then its target is canaries again. */
static bool has_ended(struct slot *slot, struct tally *tally)
{
	int rc = kvr_request_wait(slot->request, 0);

	if (rc == -ETIMEDOUT) {
		if (!slot->is_cancelled && seconds_now() >= slot->cancel_at) {
			slot->is_cancelled = true;
			expect_rc(kvr_request_cancel(slot->request), 0);
		}
		return false;
	}
	if (rc)
		expect_rc(rc, -ECANCELED);
	else
		expect_all_there(slot);
	memset(slot->target, CANARY, BLOCK);
	tally->cancelled += rc != 0;
	tally->won += !rc;
	expect_rc(kvr_request_close(slot->request), 0);
	slot->request = NULL;
	return true;
}

static void serve(struct job *job, int ms)
{
	expect_rc(kvr_counter_wait(job->kvr, NEVER, 1, ms, NULL), -ETIMEDOUT);
}

static void rage(const struct storm *storm, struct job *job, struct slot *slots)
{
	struct tally tally = {0};
	struct dice dice = dice_of(storm->seed);
	unsigned int open = 0;

	do {
		for (uint32_t i = 0; i < SLOTS; i++) {
			if (!slots[i].request && tally.cancelled < storm->cancels) {
				if (slots[i].target)
					expect_canaries(&slots[i], i);
				start(storm, job, &slots[i], i, &dice);
				open++;
			}
			if (slots[i].request)
				open -= has_ended(&slots[i], &tally);
		}
	} while (open || tally.cancelled < storm->cancels);
	printf("%u cancelled, %u were done before\n", tally.cancelled, tally.won);
}

static int run_rank(const struct kvr_bootstrap *b, void *arg)
{
	const struct storm *storm = arg;
	struct slot slots[SLOTS] = {0};
	struct kvr *kvr;
	struct job job;

	expect_rc(kvr_open(b, NULL, &kvr), 0);
	job_open_at(&job, b, kvr, storm->memory[b->rank], 2ull * SLOTS * BLOCK);
	job_barrier(&job);
	if (!job.rank)
		rage(storm, &job, slots);
	else
		while (!*storm->is_over)
			serve(&job, 10);
	if (!job.rank) {
		serve(&job, LATE);
		for (uint32_t i = 0; i < SLOTS; i++)
			expect_canaries(&slots[i], i);
		*storm->is_over = true;
	}
	job_leave(&job);
	return 0;
}

int main(int argc, char **argv)
{
	size_t bytes = 2ull * SLOTS * BLOCK;
	struct storm storm = {.seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1};

	if (argc < 2 || !(storm.cancels = (uint32_t)strtoul(argv[1], NULL, 10))) {
		fprintf(stderr, "usage: cancel_storm CANCELS [SEED]\n");
		return 2;
	}
	for (int i = 0; i < 2; i++)
		memset(storm.memory[i] = share(bytes), CANARY, bytes);
	storm.is_over = share(sizeof(*storm.is_over));
	kvr_set_log(job_quiet, NULL);
	return ranks_run(2, SECONDS, run_rank, &storm);
}
