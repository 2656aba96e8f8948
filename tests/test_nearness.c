/* SPDX-License-Identifier: MIT
 * Transfers on a made-up machine of two NUMA nodes with two rails each: real ones, over endpoints
 * on the loopback, whose names and places are made up as well, as is what the kernel says of pages.
 * KVR_PROVIDER names the provider. */
#include "context.h"
#include "job.h"
#include "machine.h"
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB    (1u << 20)
#define BYTES  (8 * MIB)
#define PAGE   4096
#define RAILS  4
#define RANKS  4 /* two at each node, so that no rail is idle for sure */
#define TARGET 3
#define A      0x03 /* rails of the first node, as bits */
#define B      0x0c
#define NODE_A 0
#define NODE_B 2

static const struct machine_rail places[RAILS] = {
	{"rdmap17s0", "0000:11:00.0"},
	{"enp18s0", "0000:12:00.1"},
	{"rdmap161s28", "0001:a1:1c.0"},
	{"rdmap162s0", "0001:a2:00.0"},
};

static int list_places(const char *provider, struct fabric_list *out, char why[FABRIC_WHY])
{
	struct fabric_offer *offers = calloc(RAILS, sizeof(*offers));
	unsigned int at = 0;
	int rc = fabric_libfabric.list(provider, out, why);

	if (rc || !offers) {
		free(offers);
		return rc ? rc : -ENOMEM;
	}
	while (at + 1 < out->count && strcmp(out->offers[at].name, "lo"))
		at++;
	for (unsigned int i = 0; i < RAILS; i++) {
		offers[i] = out->offers[at];
		offers[i].spare = false;
		memcpy(offers[i].name, places[i].name, sizeof(offers[i].name));
		memcpy(offers[i].pci, places[i].pci, sizeof(offers[i].pci));
	}
	free(out->offers);
	out->offers = offers;
	out->count = RAILS;
	return 0;
}

/* Where pages are, by what part of the memory they are in: 0 to 255. */
static struct {
	const uint8_t *memory;
	int (*node)(unsigned int part);
} pages;

static int answer(void *arg, size_t count, void *const *address, int *node)
{
	(void)arg;
	for (size_t i = 0; i < count; i++)
		node[i] = pages.node(((uintptr_t)address[i] - (uintptr_t)pages.memory) /
		                     (BYTES / 256));
	return 0;
}

static int in_halves(unsigned int part)
{
	return part < 128 ? NODE_A : NODE_B;
}

static int on_a(unsigned int part)
{
	(void)part;
	return NODE_A;
}

static int on_b(unsigned int part)
{
	(void)part;
	return NODE_B;
}

static int by_pages(unsigned int part)
{
	(void)part;
	return random() % 2 ? NODE_A : NODE_B;
}

static int untouched(unsigned int part)
{
	(void)part;
	return -ENOENT;
}

static struct kvr *open_rails(const struct kvr_bootstrap *b, const struct kvr_options *options)
{
	static struct fabric_ops ops;
	struct kvr *kvr;

	ops = fabric_libfabric;
	ops.list = list_places;
	expect_rc(context_open(b, options, &ops, 0, &kvr), 0);
	return kvr;
}

/* A rank whose pages are as `node` says from the beginning. */
static void open_job(struct job *job, const struct kvr_bootstrap *b,
                     const struct kvr_options *options, int (*node)(unsigned int))
{
	static const struct pages_source source = {.ask = answer, .page = PAGE};

	nearness_pages = &source;
	pages.node = node;
	job_open_in(job, b, open_rails(b, options), BYTES);
	pages.memory = job->memory;
	kvr_region_refresh(job->region);
	for (size_t i = 0; i < job->bytes; i++)
		job->memory[i] = job_pattern(job->rank, i);
	job_barrier(job);
}

/* The region's descriptor, as it is by now, is everybody's. */
static void exchange(struct job *job)
{
	uint8_t mine[KVR_DESCRIPTOR_MAX] = {0}, all[JOB_MAX_RANKS * KVR_DESCRIPTOR_MAX];

	expect(kvr_region_export(job->region, mine, sizeof(mine)) > 0);
	expect_rc(kvr_allgather(job->kvr, mine, all, sizeof(mine)), 0);
	for (int i = 0; i < job->n; i++) {
		expect_rc(kvr_remote_close(job->remote[i]), 0);
		expect_rc(kvr_remote_open(job->kvr, i, all + i * sizeof(mine), sizeof(mine),
		                          &job->remote[i]),
		          0);
	}
}

struct sums {
	uint64_t bytes[RAILS], arrivals[RAILS];
};

/* What each rail has moved so far. */
static struct sums sum_up(struct job *job)
{
	struct kvr_stats stats = {.size = sizeof(stats)};
	struct sums sums;

	for (int r = 0; r < RAILS; r++) {
		expect_rc(kvr_stats_get(job->kvr, r, &stats), 0);
		sums.bytes[r] = stats.bytes_written + stats.bytes_read;
		sums.arrivals[r] = stats.arrivals;
	}
	return sums;
}

static uint64_t moved(const uint64_t *now, const uint64_t *before, uint32_t rails)
{
	uint64_t sum = 0;

	for (int r = 0; r < RAILS; r++)
		if (rails >> r & 1)
			sum += now[r] - before[r];
	return sum;
}

/* These rails, and no others, have moved `bytes` since. */
static void expect_moved(struct job *job, const struct sums *before, uint32_t rails, uint64_t bytes)
{
	struct sums now = sum_up(job);

	expect(moved(now.bytes, before->bytes, rails) == bytes);
}

static void expect_content(const struct job *job, int from, uint64_t begin, uint64_t end)
{
	for (uint64_t i = begin; i < end; i++)
		expect(job->memory[i] == job_pattern(from, i));
}

/* Rank 0 writes all of its memory to the target, whose rails are told by what arrives. The bytes go
 * by rails of a where they are below `split`, by rails of b where they are not, at the rank that
 * moves them. */
static void write_all(struct job *job, uint64_t split, uint32_t a, uint32_t b, uint32_t arrive)
{
	struct kvr_op op = {
		.local = job->region, .remote = job->remote[TARGET], .len = BYTES, .count = 1};
	bool moves = job->rank == (job->kvr->pulls ? TARGET : 0);
	struct sums before = sum_up(job), now;

	exchange(job);
	op.remote = job->remote[TARGET];
	job_barrier(job);
	if (!job->rank)
		job_write(job, &op, 1, KVR_NO_COUNTER);
	job_barrier(job);
	now = sum_up(job);
	if (moves && a == b) {
		expect(moved(now.bytes, before.bytes, a) == BYTES);
	} else if (moves) {
		expect(moved(now.bytes, before.bytes, a) == split);
		expect(moved(now.bytes, before.bytes, b) == BYTES - split);
	}
	if (job->rank == TARGET) {
		expect_content(job, 0, 0, BYTES);
		memset(job->memory, 0, BYTES);
		if (!job->kvr->pulls)
			expect(!moved(now.arrivals, before.arrivals, ~arrive));
	}
	job_barrier(job);
}

static int halves_rank(const struct kvr_bootstrap *b, void *arg)
{
	struct job job;

	(void)arg;
	open_job(&job, b, NULL, in_halves);
	write_all(&job, BYTES / 2, A, B, A | B);
	job_close(&job);
	return 0;
}

static void halves_go_by_rails_of_their_own(void **state)
{
	(void)state;
	assert_int_equal(ranks_run(RANKS, 200, halves_rank, NULL), 0);
}

/* Many runs, some across the middle, from both halves in turn. */
static int scattered_rank(const struct kvr_bootstrap *b, void *arg)
{
	enum { RUN = 10000, STEP = 12288, COUNT = BYTES / STEP };
	struct job job;
	struct sums before;
	uint64_t below = 0;

	(void)arg;
	open_job(&job, b, NULL, in_halves);
	exchange(&job);
	before = sum_up(&job);
	job_barrier(&job);
	if (!job.rank) {
		struct kvr_op ops[2] = {
			{job.region, job.remote[TARGET], 0, 2 * STEP, 0, 2 * STEP, RUN,
		         (COUNT + 1) / 2},
			{job.region, job.remote[TARGET], STEP, 2 * STEP, STEP, 2 * STEP, RUN,
		         COUNT / 2},
		};

		job_write(&job, ops, 2, KVR_NO_COUNTER);
	}
	job_barrier(&job);
	for (uint64_t at = 0; at < BYTES / 2; at += STEP)
		below += at + RUN < BYTES / 2 ? RUN : BYTES / 2 - at;
	if (job.rank == (job.kvr->pulls ? TARGET : 0)) {
		expect_moved(&job, &before, A, below);
		expect_moved(&job, &before, B, COUNT * RUN - below);
	}
	for (uint64_t i = 0; job.rank == TARGET && i < COUNT; i++)
		expect_content(&job, 0, i * STEP, i * STEP + RUN);
	job_close(&job);
	return 0;
}

static void runs_across_the_middle_are_cut(void **state)
{
	(void)state;
	assert_int_equal(ranks_run(RANKS, 200, scattered_rank, NULL), 0);
}

/* By A's rails at rank 0 and B's at the target; whose reads, where it pulls, are B's own. */
static void write_a_to_b(struct job *job)
{
	if (job->kvr->pulls)
		write_all(job, 0, B, B, B);
	else
		write_all(job, 0, A, A, B);
}

/* The target's memory is on the other node: what leaves by one of A arrives by one of B. */
static int other_node_rank(const struct kvr_bootstrap *b, void *arg)
{
	struct job job;

	(void)arg;
	open_job(&job, b, NULL, b->rank == TARGET ? on_b : on_a);
	write_a_to_b(&job);
	job_close(&job);
	return 0;
}

static void the_targets_rails_are_near_its_memory(void **state)
{
	(void)state;
	assert_int_equal(ranks_run(RANKS, 200, other_node_rank, NULL), 0);
}

/* Before anybody has heard of a peer's memory, messages get to it by rails of the node where it is
 * taken to be: others cost memory there. */
static int talking_rank(const struct kvr_bootstrap *b, void *arg)
{
	struct kvr *kvr = open_rails(b, NULL);
	uint8_t mine = 0, all[RANKS];
	unsigned int n = 0;

	(void)arg;
	expect_rc(kvr_allgather(kvr, &mine, all, 1), 0);
	for (int i = 0; i < RANKS; i++) {
		for (unsigned int r = 0; kvr->peers[i]->path && r < RAILS; r++) {
			if (kvr->peers[i]->path[r].address == PEER_NOT_INSERTED)
				continue;
			expect((i < 2 ? A : B) >> kvr->peers[i]->path[r].there & 1);
			n++;
		}
	}
	expect(n);
	expect_rc(kvr_close(kvr), 0);
	return 0;
}

static void first_messages_go_to_near_rails(void **state)
{
	(void)state;
	assert_int_equal(ranks_run(RANKS, 200, talking_rank, NULL), 0);
}

static int moving_rank(const struct kvr_bootstrap *b, void *arg)
{
	struct job job;

	(void)arg;
	open_job(&job, b, NULL, on_a);
	expect_rc(kvr_region_refresh(job.region), 0);
	write_all(&job, 0, A, A, A);
	pages.node = on_b;
	expect_rc(kvr_region_refresh(job.region), 1);
	expect_rc(kvr_region_refresh(job.region), 0);
	write_all(&job, 0, B, B, B);
	pages.node = by_pages;
	expect_rc(kvr_region_refresh(job.region), 1);
	write_all(&job, 0, A | B, A | B, A | B);
	job_close(&job);
	return 0;
}

static void pages_that_moved(void **state)
{
	(void)state;
	assert_int_equal(ranks_run(RANKS, 200, moving_rank, NULL), 0);
}

/* Nobody has touched the memory: ranks that are bound to nothing share the nodes. */
static int untouched_rank(const struct kvr_bootstrap *b, void *arg)
{
	struct job job;

	(void)arg;
	open_job(&job, b, NULL, untouched);
	write_a_to_b(&job);
	job_close(&job);
	return 0;
}

static void memory_that_is_nowhere_yet(void **state)
{
	(void)state;
	assert_int_equal(ranks_run(RANKS, 200, untouched_rank, NULL), 0);
}

/* Nor has anybody here, but all are bound to the first node, and have told each other so. */
static int bound_rank(const struct kvr_bootstrap *b, void *arg)
{
	cpu_set_t first;
	struct job job;
	int rails[KVR_MAX_RAILS];
	size_t near;

	(void)arg;
	CPU_ZERO(&first);
	CPU_SET(0, &first);
	setenv("HWLOC_THISSYSTEM", "1", 1);
	if (sched_setaffinity(0, sizeof(first), &first))
		return 77;
	open_job(&job, b, NULL, untouched);
	expect_rc(kvr_region_rails(job.region, 0, BYTES, rails, KVR_MAX_RAILS, &near), RAILS);
	expect(near == 2 && (1 << rails[0] | 1 << rails[1]) == A);
	for (int i = 0; i < RANKS; i++)
		expect(job.kvr->peers[i]->home == A);
	write_all(&job, 0, A | B, A | B, A);
	job_close(&job);
	return 0;
}

static void memory_of_ranks_that_are_bound(void **state)
{
	int rc = ranks_run(RANKS, 200, bound_rank, NULL);

	(void)state;
	if (rc == 77)
		skip();
	assert_int_equal(rc, 0);
}

static int half_touched(unsigned int part)
{
	return part < 128 ? NODE_A : -ENOENT;
}

static void expect_rails(const struct kvr_region *region, uint64_t offset, uint64_t len,
                         const int *wanted, size_t near)
{
	int rails[KVR_MAX_RAILS];
	size_t is_near = 99;

	expect_rc(kvr_region_rails(region, offset, len, rails, KVR_MAX_RAILS, &is_near), RAILS);
	expect(is_near == near);
	for (int i = 0; i < RAILS; i++)
		expect(rails[i] == wanted[i]);
}

/* Alone on its machine, so its beginnings are the first ones, and all other rails are idle. */
static int alone_rank(const struct kvr_bootstrap *b, void *arg)
{
	struct job job;
	struct sums before;
	struct kvr_op op;
	uint64_t helped = 0;
	uint32_t near;
	int rail = -1;

	(void)arg;
	open_job(&job, b, NULL, in_halves);
	expect_rails(job.region, 0, BYTES / 2, (int[]){0, 1, 2, 3}, 2);
	expect_rails(job.region, BYTES / 2, 1, (int[]){2, 3, 0, 1}, 2);
	expect_rails(job.region, BYTES / 2 - 1, 2, (int[]){0, 1, 2, 3}, 4);
	expect_rc(kvr_region_rails(job.region, 0, 1, &rail, 1, NULL), RAILS);
	expect(rail == 0);
	expect_rc(kvr_region_rails(job.region, BYTES, 1, &rail, 1, NULL), -ERANGE);
	expect_rc(kvr_region_rails(job.region, 0, 0, &rail, 1, NULL), -ERANGE);
	expect_rc(kvr_region_rails(job.region, 1, BYTES, &rail, 1, NULL), -ERANGE);
	/* Whoever moves it looks at its own side. */
	near = job.kvr->pulls ? B : A;
	/* One piece has near rails enough; of many, far ones take some. */
	op = (struct kvr_op){.local = job.region, .remote = job.remote[0], .len = 4096, .count = 1};
	op.remote_offset = BYTES / 2;
	before = sum_up(&job);
	job_write(&job, &op, 1, KVR_NO_COUNTER);
	expect_moved(&job, &before, near, 4096);
	op.len = BYTES / 2;
	before = sum_up(&job);
	/* Not at once: while a rail is being connected it refuses what is posted. */
	for (int i = 0; i < 1000 && !helped; i++) {
		job_write(&job, &op, 1, KVR_NO_COUNTER);
		helped = moved(sum_up(&job).bytes, before.bytes, (A | B) & ~near);
	}
	expect(helped);
	/* Of what nobody knows where it is, all rails are near. */
	pages.node = half_touched;
	expect_rc(kvr_region_refresh(job.region), 1);
	expect_rails(job.region, 0, BYTES / 2, (int[]){0, 1, 2, 3}, 2);
	expect_rails(job.region, BYTES / 2, 1, (int[]){0, 1, 2, 3}, 4);
	expect_rails(job.region, 0, BYTES, (int[]){0, 1, 2, 3}, 4);
	job_close(&job);
	return 0;
}

static void alone_on_the_machine(void **state)
{
	(void)state;
	assert_int_equal(ranks_run(1, 200, alone_rank, NULL), 0);
}

static void write_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");

	expect(file && fputs(text, file) >= 0 && !fclose(file));
}

/* The mapping turns the nodes round, and leaves out a rail of each. */
static int mapped_rank(const struct kvr_bootstrap *b, void *arg)
{
	const struct kvr_options options = {.size = sizeof(options), .mapping = arg};
	struct job job;

	if (!b->rank)
		write_file(arg,
		           "{\"cpu:0\": [{\"distance\": \"node\", \"rails\": [\"rdmap162s0\"]},"
		           "{\"distance\": \"other\", \"rails\": [\"rdmap17s0\"]}],"
		           "\"cpu:2\": [{\"distance\": \"node\", \"rails\": [\"enp18s0\"]}]}");
	b->allgather(b->arg, "", (char[RANKS]){0}, 1);
	open_job(&job, b, &options, in_halves);
	/* The first rail is near to nobody now, and so helps. */
	write_all(&job, BYTES / 2, 1 << 3 | 1 << 0, 1 << 1, 1 << 3 | 1 << 1);
	job_close(&job);
	return 0;
}

static void a_mapping_overrules(void **state)
{
	char path[] = "/tmp/test_nearness.XXXXXX";
	int fd = mkstemp(path), rc;

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	rc = ranks_run(RANKS, 200, mapped_rank, path);
	unlink(path);
	assert_int_equal(rc, 0);
}

/* It names one node only: memory at the other one takes all rails for equally near. */
static int left_out_rank(const struct kvr_bootstrap *b, void *arg)
{
	const struct kvr_options options = {.size = sizeof(options), .mapping = arg};
	struct job job;
	int rail;
	size_t near;

	open_job(&job, b, &options, in_halves);
	expect_rc(kvr_region_rails(job.region, 0, BYTES / 2, &rail, 1, &near), 1);
	expect(rail == 1 && near == 1);
	expect_rc(kvr_region_rails(job.region, BYTES / 2, 1, &rail, 1, &near), RAILS);
	expect(near == RAILS);
	job_close(&job);
	return 0;
}

static void a_mapping_of_one_node(void **state)
{
	char path[] = "/tmp/test_nearness.XXXXXX";
	int fd = mkstemp(path), rc;

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	write_file(path, "{\"cpu:0\": [{\"distance\": \"root\", \"rails\": [\"enp18s0\"]}]}");
	rc = ranks_run(RANKS, 200, left_out_rank, path);
	unlink(path);
	assert_int_equal(rc, 0);
}

static char log_text[8192];

static void keep_log(void *arg, int level, const char *line)
{
	size_t used = strlen(log_text);

	(void)arg;
	if (level <= 1)
		snprintf(log_text + used, sizeof(log_text) - used, "%s\n", line);
}

static int refused_rank(const struct kvr_bootstrap *b, void *arg)
{
	const struct kvr_options options = {.size = sizeof(options), .mapping = arg};
	struct kvr *kvr;

	kvr_set_log(keep_log, NULL);
	expect_rc(kvr_open(b, &options, &kvr), -ENOENT);
	expect(strstr(log_text, "KVR_MAPPING /no/such/mapping: No such file"));
	return 0;
}

static void a_mapping_that_is_not_there(void **state)
{
	char path[] = "/no/such/mapping";

	(void)state;
	assert_int_equal(ranks_run(1, 200, refused_rank, path), 0);
}

struct doubt {
	const char *file, *wanted;
};

/* Whatever the topology is, the bytes get there. */
static int doubtful_rank(const struct kvr_bootstrap *b, void *arg)
{
	const struct doubt *doubt = arg;
	struct job job;

	setenv("HWLOC_XMLFILE", doubt->file, 1);
	kvr_set_log(keep_log, NULL);
	open_job(&job, b, NULL, in_halves);
	if (!strstr(log_text, doubt->wanted))
		fprintf(stderr, "%s: %s\n", doubt->file, log_text);
	expect(strstr(log_text, doubt->wanted));
	write_all(&job, 0, ~0u, ~0u, ~0u);
	job_close(&job);
	return 0;
}

static void doubtful_topologies(void **state)
{
	static const struct doubt doubts[] = {
		{KVR_SOURCE_DIR "/tests/topology/broken.xml", "truncated, damaged"},
		{KVR_SOURCE_DIR "/tests/topology/hwloc9.xml", "newer hwloc"},
		{KVR_SOURCE_DIR "/tests/topology/hwloc1.xml", "written by hwloc 1"},
		{KVR_SOURCE_DIR "/tests/topology/clusters.xml", "none of the 4 rails"},
		{KVR_SOURCE_DIR "/no/such.xml", "No such file"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(doubts) / sizeof(doubts[0]); i++)
		assert_int_equal(ranks_run(RANKS, 200, doubtful_rank, (void *)&doubts[i]), 0);
}

/* CUDA's numbers need not be in the order of the addresses. */
static void gpus_by_address(void **state)
{
	const struct nearness n = {
		.map = {.rails = 4, .gpus = 2, .to_gpu = {{4, 4, 0, 4}, {4, 0, 4, 4}}},
		.gpu_pci = {"0000:53:00.0", "0000:64:00.0"},
		.spare = 3};
	struct cuda_gpu gpu = {.device = 0, .pci = "0000:64:00.0"};
	struct rail_set rails;

	(void)state;
	assert_int_equal(nearness_gpu(&n, &gpu), 1);
	rails = nearness_of_gpu(&n, 1);
	assert_int_equal(rails.near, 2);
	assert_int_equal(rails.far, 1);
	assert_int_equal(rails.any, 15);
	/* Another one, whatever its number; and one whose address the driver does not tell. */
	gpu = (struct cuda_gpu){.device = 1, .pci = "0001:64:00.0"};
	rails = nearness_of_gpu(&n, nearness_gpu(&n, &gpu));
	assert_int_equal(rails.near, 15);
	gpu = (struct cuda_gpu){.device = 1};
	assert_int_equal(nearness_gpu(&n, &gpu), 1);
	gpu = (struct cuda_gpu){.device = -1};
	assert_int_equal(nearness_gpu(&n, &gpu), -1);
	/* A mapping knows nothing of addresses. */
	gpu = (struct cuda_gpu){.device = 1, .pci = "0001:64:00.0"};
	assert_int_equal(nearness_gpu(&(struct nearness){.map.gpus = 2}, &gpu), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(halves_go_by_rails_of_their_own),
		cmocka_unit_test(runs_across_the_middle_are_cut),
		cmocka_unit_test(the_targets_rails_are_near_its_memory),
		cmocka_unit_test(first_messages_go_to_near_rails),
		cmocka_unit_test(pages_that_moved),
		cmocka_unit_test(memory_that_is_nowhere_yet),
		cmocka_unit_test(memory_of_ranks_that_are_bound),
		cmocka_unit_test(alone_on_the_machine),
		cmocka_unit_test(a_mapping_overrules),
		cmocka_unit_test(a_mapping_of_one_node),
		cmocka_unit_test(a_mapping_that_is_not_there),
		cmocka_unit_test(doubtful_topologies),
		cmocka_unit_test(gpus_by_address),
	};

	job_need_provider();
	setenv("HWLOC_XMLFILE", KVR_SOURCE_DIR "/tests/topology/two-nodes.xml", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
