/* SPDX-License-Identifier: MIT
 * kvr_reshard between ranks: every byte of every destination is compared, wherever the requests'
 * tokens do not belong too; and what is wrong at one rank, all ranks refuse. */
#include "job.h"
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define REQUESTS  3
#define LAYERS    4
#define HEADS     4
#define HEAD      6 /* bytes */
#define BLOCKS    40
#define MIB       (1u << 20)
#define MEMORY    (16 * MIB)
#define UNTOUCHED 0xee

/* Ranks 0 to sources - 1, then destinations, then a bystander. */
struct scene {
	uint32_t tp_from, pp_from, tp_to, heads, parts;
	uint32_t block_tokens_from, block_tokens_to;
	const char *order_from, *order_to;
	bool by_layer;   /* destinations: a region for each layer */
	uint32_t tokens; /* of the first request; the others have less */
};

struct cast {
	struct job job;
	const struct scene *scene;
	struct kvr_cache cache;
	struct kvr_layout layout;
	struct kvr_region *regions[LAYERS];
	uint64_t region_bytes;
	uint32_t tables[REQUESTS][BLOCKS];
	struct kvr_pages requests[REQUESTS];
};

static uint32_t source_count(const struct scene *s)
{
	return s->tp_from * s->pp_from;
}

static void set_layout(struct cast *c)
{
	const struct scene *s = c->scene;
	uint32_t rank = (uint32_t)c->job.rank;
	bool is_source = rank < source_count(s);
	uint32_t layers = is_source ? LAYERS / s->pp_from : LAYERS;

	c->cache = (struct kvr_cache){
		.size = sizeof(c->cache),
		.role = is_source ? KVR_SOURCE : KVR_DESTINATION,
		.layout = &c->layout,
		.regions = c->regions,
	};
	c->layout = (struct kvr_layout){
		.size = sizeof(c->layout),
		.first_layer = is_source ? rank / s->tp_from * layers : 0,
		.layers = layers,
		.parts = s->parts,
		.head_bytes = HEAD,
		.blocks = BLOCKS,
		.block_tokens = is_source ? s->block_tokens_from : s->block_tokens_to,
		.layer_regions = !is_source && s->by_layer,
	};
	expect_rc(kvr_layout_shard(&c->layout, s->heads, is_source ? s->tp_from : s->tp_to,
	                           is_source ? rank % s->tp_from : rank - source_count(s)),
	          0);
	expect_rc(kvr_layout_pack(&c->layout, is_source ? s->order_from : s->order_to), 0);
	c->region_bytes = (uint64_t)kvr_layout_bytes(&c->layout);
}

/* The layers' regions one behind the other in the job's memory. */
static void open_regions(struct cast *c)
{
	for (uint32_t i = 0; i < (c->layout.layer_regions ? c->layout.layers : 1); i++)
		expect_rc(kvr_region_open(c->job.kvr, c->job.memory + i * c->region_bytes,
		                          c->region_bytes, KVR_HOST, &c->regions[i]),
		          0);
}

/* Request i has every third block, in another order at every rank; 5 tokens are there already. */
static void set_requests(struct cast *c)
{
	for (uint32_t i = 0; i < REQUESTS; i++) {
		uint32_t n =
			(c->scene->tokens + c->layout.block_tokens - 1) / c->layout.block_tokens;

		expect(n * REQUESTS <= BLOCKS);
		for (uint32_t j = 0; j < n; j++)
			c->tables[i][j] = i + REQUESTS * ((j * 7 + (uint32_t)c->job.rank) % n);
		c->requests[i] = (struct kvr_pages){
			.size = sizeof(c->requests[i]),
			.local_blocks = c->tables[i],
			.local_count = n,
			.first_token = 5,
			.tokens = c->scene->tokens / (i + 1) - 5,
			.turn = i,
		};
	}
}

static uint8_t *byte_of(struct cast *c, uint32_t request, const uint32_t at[static 5])
{
	const struct kvr_layout *l = &c->layout;
	uint32_t layer = at[0] - l->first_layer,
		 block = c->tables[request][at[2] / l->block_tokens];

	return c->job.memory + layer * l->layer_regions * c->region_bytes +
	       layer * l->layer_stride + at[1] * l->part_stride + block * l->block_stride +
	       at[2] % l->block_tokens * l->token_stride +
	       (at[3] - l->first_head) * l->head_stride + at[4];
}

static uint8_t value_of(uint32_t request, const uint32_t at[static 5])
{
	uint32_t x = request;

	for (int i = 0; i < 5; i++)
		x = x * 131 + at[i] + 1;
	return (uint8_t)((x ^ x >> 8 ^ x >> 16) % UNTOUCHED);
}

/* What `visit` does to every byte of the requests here; those already there not among them. */
static void for_each_byte(struct cast *c, void (*visit)(uint8_t *byte, uint8_t value))
{
	const struct kvr_layout *l = &c->layout;
	uint32_t at[5], end;

	for (uint32_t r = 0; r < REQUESTS; r++) {
		end = (uint32_t)(c->requests[r].first_token + c->requests[r].tokens);
		for (at[0] = l->first_layer; at[0] < l->first_layer + l->layers; at[0]++)
			for (at[1] = 0; at[1] < l->parts; at[1]++)
				for (at[2] = 5; at[2] < end; at[2]++)
					for (at[3] = l->first_head;
					     at[3] < l->first_head + l->heads; at[3]++)
						for (at[4] = 0; at[4] < HEAD; at[4]++)
							visit(byte_of(c, r, at), value_of(r, at));
	}
}

static void put(uint8_t *byte, uint8_t value)
{
	*byte = value;
}

static void compare_and_clear(uint8_t *byte, uint8_t value)
{
	expect(*byte == value);
	*byte = UNTOUCHED;
}

static void begin(struct cast *c, const struct kvr_bootstrap *b, const struct scene *scene)
{
	*c = (struct cast){.scene = scene};
	job_open(&c->job, b, MEMORY);
	memset(c->job.memory, UNTOUCHED, c->job.bytes);
	if (b->rank == b->nranks - 1) {
		c->cache.size = sizeof(c->cache);
		return;
	}
	set_layout(c);
	expect(c->region_bytes * (c->layout.layer_regions ? LAYERS : 1) <= MEMORY);
	open_regions(c);
	set_requests(c);
	if (c->cache.role == KVR_SOURCE)
		for_each_byte(c, put);
}

static void end(struct cast *c)
{
	for (int i = 0; i < LAYERS && c->regions[i]; i++)
		expect_rc(kvr_region_close(c->regions[i]), 0);
	job_close(&c->job);
}

static int reshard(struct cast *c, struct kvr_resharded *all)
{
	return kvr_reshard(c->job.kvr, &c->cache, c->requests,
	                   c->cache.role == KVR_BYSTANDER ? 0 : REQUESTS, all);
}

/* By memcmp, which sanitizers do not slow down. */
static void expect_untouched(const struct cast *c)
{
	const uint8_t *memory = c->job.memory;

	expect(memory[0] == UNTOUCHED && !memcmp(memory, memory + 1, c->job.bytes - 1));
}

static int scene_ranks(const struct kvr_bootstrap *b, void *arg)
{
	struct kvr_resharded all[JOB_MAX_RANKS];
	uint64_t written = 0, received = 0;
	struct cast c;

	begin(&c, b, arg);
	for (int round = 0; round < (c.scene->tokens < 1000 ? 2 : 1); round++) {
		expect_rc(reshard(&c, all), 0);
		if (c.cache.role == KVR_DESTINATION) {
			for_each_byte(&c, compare_and_clear);
			expect_untouched(&c);
		}
		job_barrier(&c.job);
	}
	for (int i = 0; i < b->nranks; i++) {
		written += all[i].bytes_written;
		received += all[i].bytes_received;
		expect(!all[i].bytes_written == (i >= (int)source_count(c.scene)));
	}
	expect(written == received && written);
	end(&c);
	return 0;
}

static void play(struct scene scene)
{
	int ranks = (int)(source_count(&scene) + scene.tp_to + 1);

	assert_int_equal(ranks_run(ranks, 200, scene_ranks, &scene), 0);
}

static void heads_merged(void **state)
{
	(void)state;
	play((struct scene){4, 1, 2, HEADS, 2, 8, 8, "lbpth", "lbpth", false, 70});
}

static void heads_split_into_larger_blocks_head_major(void **state)
{
	(void)state;
	play((struct scene){1, 1, 4, HEADS, 2, 8, 16, "lbpth", "bpht", true, 70});
}

/* More runs in one request than one write takes. */
static void many_runs_in_parts(void **state)
{
	(void)state;
	play((struct scene){1, 1, 1, HEADS, 2, 2048, 2048, "lbpth", "lbpht", false, 9000});
}

static void stages_into_one(void **state)
{
	(void)state;
	play((struct scene){2, 2, 1, HEADS, 2, 16, 8, "lpbth", "blpth", false, 70});
}

static void one_latent_to_every_rank(void **state)
{
	(void)state;
	play((struct scene){3, 1, 4, 1, 1, 8, 8, "lpbth", "lpbth", false, 70});
}

static const struct scene two_to_two = {2, 1, 2, HEADS, 2, 8, 8, "lbpth", "lbpth", false, 70};

/* Every rank in turn breaks something, and all are told. */
static int wrong_ranks(const struct kvr_bootstrap *b, void *arg)
{
	static const uint32_t outside[] = {BLOCKS, BLOCKS, BLOCKS, BLOCKS, BLOCKS,
	                                   BLOCKS, BLOCKS, BLOCKS, BLOCKS};
	struct kvr_resharded all[JOB_MAX_RANKS];
	struct cast c, good;

	begin(&c, b, arg);
	good = c;
	kvr_set_log(job_quiet, NULL);
	for (int who = 0; who < 4; who++) {
		bool mine = b->rank == who;

		c.layout.head_stride = mine ? 1 : good.layout.head_stride;
		expect_rc(reshard(&c, all), -EINVAL);
		c.layout = good.layout;
		c.layout.first_head += mine ? HEADS : 0; /* which then nobody covers, or wants */
		expect_rc(reshard(&c, all), -EINVAL);
		c.layout = good.layout;
		c.requests[1].tokens += mine;
		expect_rc(reshard(&c, all), -EINVAL);
		c.requests[1] = good.requests[1];
		if (mine)
			c.requests[2].local_blocks = outside;
		expect_rc(reshard(&c, all), -ERANGE);
		memcpy(c.requests, good.requests, sizeof(c.requests));
		c.cache.role = mine ? (enum kvr_role)7 : good.cache.role;
		expect_rc(reshard(&c, all), -EINVAL);
		c.cache.role = good.cache.role;
		c.layout.head_bytes = mine ? HEAD - 1 : HEAD; /* only a plan tells */
		expect_rc(reshard(&c, all), -EINVAL);
		c.layout = good.layout;
	}
	if (good.cache.role != KVR_SOURCE)
		expect_untouched(&c);
	for (int i = 0; i < REQUESTS; i++)
		c.requests[i].local_blocks = c.tables[i];
	c.cache.layout = &c.layout;
	c.cache.regions = c.regions;
	expect_rc(reshard(&c, all), 0);
	if (good.cache.role == KVR_DESTINATION)
		for_each_byte(&c, compare_and_clear);
	end(&c);
	return 0;
}

static void what_is_wrong_at_one_rank_all_refuse(void **state)
{
	struct scene scene = two_to_two;

	(void)state;
	assert_int_equal(ranks_run(5, 200, wrong_ranks, &scene), 0);
}

/* Leaves without a word when the first bytes have come. */
static void *leave(void *arg)
{
	struct cast *c = arg;
	const volatile uint8_t *byte = byte_of(c, 0, (uint32_t[]){0, 0, 5, 0, 0});

	while (*byte == UNTOUCHED)
		;
	_exit(0);
}

/* The others are told, and the source has nothing in flight any more: its memory can go. */
static int leaving_ranks(const struct kvr_bootstrap *b, void *arg)
{
	struct cast c;
	pthread_t thread;
	int rc;

	setenv("KVR_PEER_TIMEOUT", "5000", 1);
	begin(&c, b, arg);
	if (c.cache.role == KVR_DESTINATION)
		expect(!pthread_create(&thread, NULL, leave, &c));
	kvr_set_log(job_quiet, NULL);
	rc = reshard(&c, NULL);
	expect(rc && rc != -ETIMEDOUT);
	for (int i = 0; i < c.job.n; i++)
		expect_rc(kvr_remote_close(c.job.remote[i]), 0);
	if (c.regions[0])
		expect_rc(kvr_region_close(c.regions[0]), 0);
	expect_rc(kvr_region_close(c.job.region), 0);
	expect(kvr_close(c.job.kvr) != -EBUSY);
	free(c.job.memory);
	return 0;
}

/* Only where the provider always notices: see test_peers.c. */
static void a_rank_that_leaves(void **state)
{
	struct scene scene = {1, 1, 1, HEADS, 2, 2048, 2048, "lbpth", "lbpht", false, 9000};

	(void)state;
	if (strcmp(getenv("KVR_PROVIDER"), "net") || strcmp(getenv("KVR_RAILS"), "lo"))
		skip();
	assert_int_equal(ranks_run(3, 200, leaving_ranks, &scene), 0);
}

#define COPIES 500 /* of one request: they take much longer than a silent rank is waited for */

static void *fall_silent(void *arg)
{
	(void)arg;
	nanosleep(&(struct timespec){.tv_sec = 1, .tv_nsec = 500000000}, NULL);
	job_fall_silent();
}

/* A rank that has nothing to move falls silent in the middle: the call ends with an error at the
 * others, the source has nothing in flight any more, and nothing lands at the destination. */
static int silent_ranks(const struct kvr_bootstrap *b, void *arg)
{
	struct kvr_pages *copies = malloc(COPIES * sizeof(*copies));
	pid_t pid = getpid(), pids[3];
	struct cast c;
	pthread_t thread;

	setenv("KVR_PEER_TIMEOUT", "3000", 1);
	expect_rc(b->allgather(b->arg, &pid, pids, sizeof(pid)), 0);
	begin(&c, b, arg);
	for (int i = 0; i < COPIES; i++)
		copies[i] = c.requests[0];
	if (c.cache.role == KVR_BYSTANDER)
		expect(!pthread_create(&thread, NULL, fall_silent, NULL));
	kvr_set_log(job_quiet, NULL);
	expect_rc(kvr_reshard(c.job.kvr, &c.cache, copies,
	                      c.cache.role == KVR_BYSTANDER ? 0 : COPIES, NULL),
	          -EHOSTUNREACH);
	if (c.cache.role == KVR_BYSTANDER)
		pthread_join(thread, NULL);
	expect_rc(kvr_region_close(c.regions[0]), 0);
	memset(c.job.memory, UNTOUCHED, c.job.bytes);
	nanosleep(&(struct timespec){.tv_sec = 2}, NULL);
	expect_untouched(&c);
	for (int i = 0; i < c.job.n; i++)
		expect_rc(kvr_remote_close(c.job.remote[i]), 0);
	expect_rc(kvr_region_close(c.job.region), 0);
	expect_rc(kvr_close(c.job.kvr), 0);
	job_let_end(pids[2]);
	free(c.job.memory);
	free(copies);
	return 0;
}

static void a_rank_that_falls_silent(void **state)
{
	struct scene scene = {1, 1, 1, HEADS, 2, 2048, 2048, "lbpth", "lbpht", false, 9000};

	(void)state;
	/* Stopped where it holds one of libfabric's locks there, it would stop the others. */
	if (!strcmp(getenv("KVR_PROVIDER"), "shm"))
		skip();
	assert_int_equal(ranks_run(3, 200, silent_ranks, &scene), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(heads_merged),
		cmocka_unit_test(heads_split_into_larger_blocks_head_major),
		cmocka_unit_test(many_runs_in_parts),
		cmocka_unit_test(stages_into_one),
		cmocka_unit_test(one_latent_to_every_rank),
		cmocka_unit_test(what_is_wrong_at_one_rank_all_refuse),
		cmocka_unit_test(a_rank_that_leaves),
		cmocka_unit_test(a_rank_that_falls_silent),
	};

	job_need_provider();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
