/* SPDX-License-Identifier: MIT
 * How much of its rails kvrail uses: rank 0 writes to rank 1 or reads from it, call after call, and
 * the rank that receives tells the rate in Gb/s at which calls were complete, once the first was.
 * In the end every byte is compared. For softefa/rates.sh.
 *
 *   rail_share write|read BYTES[,BYTES...] COUNT CALLS SECONDS
 *
 * A call moves COUNT blocks, of these sizes in turn and in no order; CALLS of them are in flight.
 */
#include "job.h"
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PERIOD    (64ull << 20) /* of the memory, which shows the same pages again and again */
#define SIZES     8
#define IN_FLIGHT 16
#define CALLS_MAX 4096
#define DATA      0 /* counters */
#define END       1
#define HURRY     10 /* ms; so often a rank that receives looks whether all is over */
#define PATIENCE  590

struct load {
	bool is_read;
	uint64_t sizes[SIZES];
	unsigned int size_count;
	uint32_t count;
	unsigned int in_flight;
	double seconds;
	uint64_t bytes; /* of a call */
	struct kvr_op *ops;
};

/* When calls were complete. */
struct tally {
	uint32_t calls;
	double at[CALLS_MAX]; /* seconds */
};

static double seconds_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void tally_add(struct tally *tally, uint64_t calls)
{
	double now = seconds_now();

	expect(tally->calls + calls <= CALLS_MAX);
	while (calls--)
		tally->at[tally->calls++] = now;
}

/* In Gb/s: the slope of the line that fits best, as calls that are in flight together may end
 * together. At its last point as many others were in flight as at the first. */
static double tally_rate(const struct tally *tally, const struct load *load)
{
	uint32_t n = tally->calls + 1 - load->in_flight;
	double mean = 0, up = 0, down = 0;

	for (uint32_t i = 0; i < n; i++)
		mean += tally->at[i] / n;
	for (uint32_t i = 0; i < n; i++) {
		double from_middle = i - (n - 1) / 2.0;

		up += from_middle * (tally->at[i] - mean);
		down += from_middle * from_middle;
	}
	return (double)load->bytes * 8 * down / up / 1e9;
}

/* Many gigabytes of addresses, and little memory: what is at an offset is also a PERIOD further. As
 * each block goes to the offset that it comes from, all of it can be compared. */
static uint8_t *map_memory(uint64_t bytes)
{
	int fd = memfd_create("rail_share", MFD_CLOEXEC);
	uint8_t *memory = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	expect(fd >= 0 && !ftruncate(fd, PERIOD) && memory != MAP_FAILED);
	for (uint64_t at = 0; at < bytes; at += PERIOD)
		expect(mmap(memory + at, PERIOD, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
		            0) != MAP_FAILED);
	close(fd);
	return memory;
}

static uint64_t round_up(uint64_t bytes)
{
	return (bytes + PERIOD - 1) / PERIOD * PERIOD;
}

/* A step through all of `count`, so that neighbours are far apart. */
static uint32_t choose_step(uint32_t count)
{
	uint32_t step = count / 3 * 2 + 1, a, b, rest;

	for (;; step++) {
		for (a = count, b = step; b; a = b, b = rest)
			rest = a % b;
		if (a == 1)
			return step;
	}
}

static void make_ops(struct load *load, const struct job *job)
{
	uint32_t step = choose_step(load->count), place = 0;
	uint64_t *offsets = calloc(load->count, sizeof(*offsets));
	uint64_t at = 0;

	load->ops = calloc(load->count, sizeof(*load->ops));
	expect(offsets && load->ops);
	for (uint32_t i = 0; i < load->count; i++) {
		offsets[i] = at;
		at += load->sizes[i % load->size_count];
	}
	/* In turn: the i-th goes to a place of a block of its size. */
	for (uint32_t i = 0; i < load->count; i++) {
		load->ops[i] = (struct kvr_op){.local = job->region,
		                               .remote = job->remote[1],
		                               .local_offset = offsets[place],
		                               .remote_offset = offsets[place],
		                               .len = load->sizes[place % load->size_count],
		                               .count = 1};
		place = (uint32_t)(((uint64_t)place + step) % load->count);
	}
	free(offsets);
}

static void fill(uint8_t *memory, bool is_source)
{
	uint64_t *words = (uint64_t *)memory;

	for (uint64_t i = 0; i < PERIOD / 8; i++)
		words[i] = is_source ? (i + 1) * 0x9e3779b97f4a7c15 : 0;
}

static void check(const uint8_t *memory, uint64_t bytes)
{
	const uint64_t *words = (const uint64_t *)memory;

	for (uint64_t i = 0; i < PERIOD / 8 && i < bytes / 8; i++)
		expect(words[i] == (i + 1) * 0x9e3779b97f4a7c15);
}

static void open_job(struct job *job, const struct kvr_bootstrap *b, uint64_t bytes)
{
	struct kvr *kvr;

	expect_rc(kvr_open(b, NULL, &kvr), 0);
	bytes = round_up(bytes);
	job_open_at(job, b, kvr, map_memory(bytes), bytes);
}

static void close_job(struct job *job)
{
	job_leave(job);
	munmap(job->memory, job->bytes);
}

static struct kvr_request *start(const struct load *load, struct job *job)
{
	struct kvr_request *request;

	if (load->is_read)
		expect_rc(kvr_read(job->kvr, load->ops, load->count, &request), 0);
	else
		expect_rc(kvr_write(job->kvr, load->ops, load->count, DATA, &request), 0);
	return request;
}

/* Rank 0. One call more than are in flight at least, and some seconds from the end of the first on.
 */
static void run_calls(const struct load *load, struct job *job, struct tally *tally)
{
	struct kvr_request *requests[IN_FLIGHT];
	uint64_t started = 0, ended = 0;

	while (started < load->in_flight)
		requests[started++ % load->in_flight] = start(load, job);
	while (ended < started) {
		expect_rc(kvr_request_wait(requests[ended % load->in_flight], PATIENCE * 1000), 0);
		expect_rc(kvr_request_close(requests[ended % load->in_flight]), 0);
		ended++;
		tally_add(tally, 1);
		if (started <= load->in_flight ||
		    (started < CALLS_MAX && seconds_now() - tally->at[0] < load->seconds))
			requests[started++ % load->in_flight] = start(load, job);
	}
}

static void end_calls(struct job *job)
{
	/* Its first bytes are the same on both sides by now. */
	struct kvr_op op = {.local = job->region, .remote = job->remote[1], .len = 8, .count = 1};

	job_write(job, &op, 1, END);
}

/* Rank 1, until rank 0 has written its last word. */
static void count_arrivals(struct job *job, struct tally *tally)
{
	uint64_t seen = 0, value;
	int rc;

	do {
		rc = kvr_counter_wait(job->kvr, DATA, seen + 1, HURRY, &value);
		if (!rc)
			tally_add(tally, value - seen);
		seen = value;
	} while (!rc || kvr_counter_wait(job->kvr, END, 1, 0, NULL));
}

static int run_rank(const struct kvr_bootstrap *b, void *arg)
{
	static struct tally sent, got;
	struct load *load = arg;
	struct tally *tally = load->is_read ? &sent : &got;
	struct job job;

	open_job(&job, b, load->bytes);
	make_ops(load, &job);
	fill(job.memory, load->is_read == job.rank);
	job_barrier(&job);
	if (job.rank)
		count_arrivals(&job, &got);
	else
		run_calls(load, &job, &sent);
	if (load->is_read != job.rank) {
		check(job.memory, load->bytes);
		printf("%.4f\n", tally_rate(tally, load));
	}
	if (!job.rank)
		end_calls(&job);
	close_job(&job);
	free(load->ops);
	return 0;
}

static void usage(void)
{
	fprintf(stderr, "usage: rail_share write|read BYTES[,BYTES...] COUNT CALLS SECONDS\n");
	exit(2);
}

static void parse(int argc, char **argv, struct load *load)
{
	char *rest, *token;

	if (argc != 6)
		usage();
	load->is_read = !strcmp(argv[1], "read");
	rest = argv[2];
	while ((token = strsep(&rest, ",")) && load->size_count < SIZES)
		load->sizes[load->size_count++] = strtoull(token, NULL, 10);
	load->count = (uint32_t)strtoul(argv[3], NULL, 10);
	load->in_flight = (unsigned int)strtoul(argv[4], NULL, 10);
	load->seconds = strtod(argv[5], NULL);
	for (uint32_t i = 0; i < load->count; i++)
		load->bytes += load->sizes[i % load->size_count];
	if (!load->bytes || !load->in_flight || load->in_flight > IN_FLIGHT)
		usage();
}

int main(int argc, char **argv)
{
	struct load load = {.is_read = false};

	parse(argc, argv, &load);
	return ranks_run(2, PATIENCE, run_rank, &load);
}
