/* SPDX-License-Identifier: MIT
 * What it costs to post a piece: one kvr_write of many scattered blocks over sixteen rails, on a
 * fabric that does nothing but to end what it is given at the next poll. Under callgrind, with
 * --collect-atstart=no, the instructions of one part of the work are collected: see post_cost.sh.
 *
 *   post_cost PART [BLOCKS]
 *
 * Where the parts meet is seen from within the fabric, so that it does not depend on what the
 * compiler makes of the engine's functions: a pass polls all rails and then posts. */
#include "clock.h"
#include "context.h"
#include "sim_alloc.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#if defined(__has_include)
#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
#endif
#endif
#ifndef CALLGRIND_TOGGLE_COLLECT
#define CALLGRIND_TOGGLE_COLLECT ((void)0)
#define RUNNING_ON_VALGRIND      0
#define HAVE_CALLGRIND           0
#else
#define HAVE_CALLGRIND 1
#endif

#define RAILS   16
#define RING    4096 /* events and receives that a NIC holds */
#define BLOCK   4096ull
#define BLOCKS  120000
#define COUNTER 1
#define CLOCK_NS                                                                                   \
	5000 /* from one look at the clock to the next: 128 KiB per rail in three or so            \
	      */

enum { SENDER, TARGET, RANKS };

enum part {
	NOTHING,
	CHECK,    /* kvr_write, up to the first pass: checks, counts and copies the ops */
	POST,     /* from a pass's first write to its end */
	COMPLETE, /* what else a pass does: completions, messages, the end of the request */
	ARRIVE,   /* the target's passes */
	PARTS
};

static const char *const part_names[PARTS] = {"nothing", "check", "post", "complete", "arrive"};

struct fabric_mr {
	char none;
};

struct receive {
	void *buf;
	struct fabric_op *op;
};

struct fabric_nic {
	uint8_t rank, name[3]; /* name: not all zero */
	struct fabric_event events[RING];
	struct receive receives[RING];
	uint32_t first, last, first_receive, last_receive; /* go up for ever */
};

static struct {
	struct fabric_nic nic[RANKS][RAILS];
	struct fabric_mr mr;
	uint8_t opening;         /* the rank whose NICs list offers */
	enum part now, wanted;   /* wanted: to be collected */
	bool collecting, failed; /* failed: an event was lost */
	int64_t clock;
} cost;

/* Nothing that follows counts. */
static void pause_part(void)
{
	if (cost.collecting)
		CALLGRIND_TOGGLE_COLLECT;
	cost.collecting = false;
	alloc_begin_post();
}

/* What follows is the part's. */
static void resume_part(enum part part)
{
	cost.now = part;
	if (part == POST || part == COMPLETE)
		alloc_end_post();
	else
		alloc_note_other();
	if (part != cost.wanted || part == NOTHING)
		return;
	cost.collecting = true;
	CALLGRIND_TOGGLE_COLLECT;
}

static void push(struct fabric_nic *nic, const struct fabric_event *event)
{
	cost.failed |= nic->last - nic->first == RING;
	nic->events[nic->last++ % RING] = *event;
}

static int null_list(const char *provider, struct fabric_list *out, char why[FABRIC_WHY])
{
	(void)provider;
	(void)why;
	*out = (struct fabric_list){.provider = "null", .count = RAILS};
	out->offers = calloc(RAILS, sizeof(*out->offers));
	if (!out->offers)
		return -ENOMEM;
	for (unsigned int i = 0; i < RAILS; i++) {
		out->offers[i].handle = &cost.nic[cost.opening][i];
		snprintf(out->offers[i].name, sizeof(out->offers[i].name), "null%u", i);
		cost.nic[cost.opening][i].rank = cost.opening;
		memcpy(cost.nic[cost.opening][i].name, (uint8_t[]){'n', cost.opening, i}, 3);
	}
	return 0;
}

static void null_list_close(struct fabric_list *list)
{
	free(list->offers);
}

static int null_open(const struct fabric_offer *offer, const struct fabric_limits *limits,
                     struct fabric_nic **out, char why[FABRIC_WHY])
{
	(void)limits;
	(void)why;
	*out = offer->handle;
	return 0;
}

static void null_shut(struct fabric_nic *nic)
{
	(void)nic;
}

static ssize_t null_address(struct fabric_nic *nic, void *buf, size_t len)
{
	(void)len;
	memcpy(buf, nic->name, sizeof(nic->name));
	return sizeof(nic->name);
}

static int null_insert(struct fabric_nic *nic, const void *address, uint64_t *peer)
{
	const uint8_t *name = address;

	(void)nic;
	*peer = (uintptr_t)&cost.nic[name[1]][name[2]];
	return 0;
}

static void null_remove(struct fabric_nic *nic, uint64_t peer)
{
	(void)nic;
	(void)peer;
}

static int null_reg(struct fabric_nic *nic, const struct fabric_memory *memory, uint64_t key,
                    struct fabric_mr **out)
{
	(void)nic;
	(void)memory;
	(void)key;
	*out = &cost.mr;
	return 0;
}

static int null_dereg(struct fabric_mr *mr)
{
	(void)mr;
	return 0;
}

static uint64_t null_key(const struct fabric_mr *mr)
{
	(void)mr;
	return 1;
}

static uint64_t null_base(const struct fabric_nic *nic, const void *addr)
{
	(void)nic;
	(void)addr;
	return 0;
}

/* For POST callgrind turns collecting off and on at each call of this function, whose name it is
 * given, so that nothing in here counts; at a pass's first call that is on and off, and put right.
 */
static int null_write(struct fabric_nic *nic, const struct fabric_rma *rma, struct fabric_op *op)
{
	bool collecting = cost.wanted == POST;

	if (cost.collecting != collecting)
		CALLGRIND_TOGGLE_COLLECT;
	cost.collecting = collecting;
	cost.now = POST;
	alloc_begin_post();
	push(nic, &(struct fabric_event){.kind = FABRIC_DONE, .op = op});
	push((struct fabric_nic *)rma->peer,
	     &(struct fabric_event){.kind = FABRIC_ARRIVAL, .immediate = rma->immediate});
	alloc_end_post();
	return 0;
}

static int null_send(struct fabric_nic *nic, const void *buf, size_t len, struct fabric_mr *mr,
                     uint64_t peer, struct fabric_op *op)
{
	struct fabric_nic *to = (struct fabric_nic *)peer;
	const struct receive *receive = &to->receives[to->first_receive % RING];

	(void)mr;
	pause_part();
	if (to->first_receive != to->last_receive) {
		to->first_receive++;
		memcpy(receive->buf, buf, len);
		push(nic, &(struct fabric_event){.kind = FABRIC_DONE, .op = op});
		push(to,
		     &(struct fabric_event){.kind = FABRIC_MESSAGE, .op = receive->op, .len = len});
		receive = NULL;
	}
	resume_part(cost.now);
	return receive ? -EAGAIN : 0;
}

static int null_recv(struct fabric_nic *nic, void *buf, size_t len, struct fabric_mr *mr,
                     struct fabric_op *op)
{
	(void)len;
	(void)mr;
	pause_part();
	nic->receives[nic->last_receive++ % RING] = (struct receive){buf, op};
	resume_part(cost.now);
	return 0;
}

static int null_poll(struct fabric_nic *nic, struct fabric_event *events, int max)
{
	int n = 0;

	pause_part();
	while (n < max && nic->first != nic->last)
		events[n++] = nic->events[nic->first++ % RING];
	resume_part(nic->rank == TARGET ? ARRIVE : COMPLETE);
	return n;
}

static const struct fabric_ops null_ops = {
	.simulated = true,
	.list = null_list,
	.list_close = null_list_close,
	.open = null_open,
	.shut = null_shut,
	.close = null_shut,
	.address = null_address,
	.insert = null_insert,
	.remove = null_remove,
	.reg = null_reg,
	.dereg = null_dereg,
	.key = null_key,
	.base = null_base,
	.write = null_write,
	.send = null_send,
	.recv = null_recv,
	.poll = null_poll,
};

static int64_t null_now(void)
{
	return cost.clock += CLOCK_NS;
}

static void null_rest(int64_t ns)
{
	(void)ns;
}

static void must(const char *call, int rc)
{
	if (rc >= 0)
		return;
	fprintf(stderr, "post_cost: %s: %s\n", call, kvr_strerror(rc));
	exit(1);
}

struct job {
	struct kvr *kvr[RANKS];
	struct kvr_region *region[RANKS];
	struct kvr_remote *remote;
	struct kvr_op *ops;
	size_t blocks;
};

/* Never touched: nothing moves. Every second block is used. */
static void open_rank(struct job *job, uint8_t rank)
{
	size_t len = 2 * BLOCK * job->blocks;
	void *memory = mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must("mmap", memory == MAP_FAILED ? -ENOMEM : 0);
	cost.opening = rank;
	must("opening a context",
	     context_open(NULL, NULL, &null_ops, 4u * (rank + 1), &job->kvr[rank]));
	must("kvr_region_open",
	     kvr_region_open(job->kvr[rank], memory, len, KVR_HOST, &job->region[rank]));
}

static void introduce(struct job *job)
{
	uint8_t address[KVR_ADDRESS_MAX], descriptor[KVR_DESCRIPTOR_MAX];
	ssize_t n = kvr_address(job->kvr[TARGET], address, sizeof(address));
	int peer = kvr_peer_add(job->kvr[SENDER], address, n);

	must("kvr_peer_add", peer);
	n = kvr_region_export(job->region[TARGET], descriptor, sizeof(descriptor));
	must("kvr_region_export", n);
	must("kvr_remote_open",
	     kvr_remote_open(job->kvr[SENDER], peer, descriptor, n, &job->remote));
}

/* From the first to the last, to the last to the first. */
static void fill_ops(struct job *job)
{
	job->ops = calloc(job->blocks, sizeof(*job->ops));
	must("no memory", job->ops ? 0 : -ENOMEM);
	for (size_t i = 0; i < job->blocks; i++)
		job->ops[i] = (struct kvr_op){
			.local = job->region[SENDER],
			.remote = job->remote,
			.local_offset = 2 * BLOCK * i,
			.remote_offset = 2 * BLOCK * (job->blocks - 1 - i),
			.len = BLOCK,
			.count = 1,
		};
}

static void serve_target(struct job *job)
{
	do {
		pause_part();
		resume_part(ARRIVE);
	} while (kvr_progress(job->kvr[TARGET]) > 0);
	pause_part();
}

static void write_blocks(struct job *job, size_t n)
{
	struct kvr_request *request;
	int rc;

	resume_part(CHECK);
	rc = kvr_write(job->kvr[SENDER], job->ops, n, COUNTER, &request);
	pause_part();
	must("kvr_write", rc);
	do {
		serve_target(job);
		resume_part(COMPLETE);
		rc = kvr_request_wait(request, 0);
		pause_part();
	} while (rc == -ETIMEDOUT);
	must("kvr_request_wait", rc);
	must("kvr_request_close", kvr_request_close(request));
}

/* The target's counter went up twice, and every block was a piece. */
static void check(const struct job *job, uint64_t allocations)
{
	struct kvr_stats stats = {.size = sizeof(stats)};
	uint64_t counter = 0;

	must("kvr_counter_wait", kvr_counter_wait(job->kvr[TARGET], COUNTER, 2, 0, &counter));
	must("kvr_stats_get", kvr_stats_get(job->kvr[SENDER], -1, &stats));
	printf("post_cost: %zu pieces, %llu allocations while they were posted\n", job->blocks,
	       (unsigned long long)allocations);
	if (counter == 2 && stats.pieces == job->blocks + 1 && !cost.failed && !allocations)
		return;
	printf("post_cost: failed: counter at %llu, %llu pieces, events lost: %d\n",
	       (unsigned long long)counter, (unsigned long long)stats.pieces, cost.failed);
	exit(1);
}

static void close_job(struct job *job)
{
	must("kvr_remote_close", kvr_remote_close(job->remote));
	for (int rank = 0; rank < RANKS; rank++)
		must("kvr_region_close", kvr_region_close(job->region[rank]));
	free(job->ops);
}

static enum part parse_part(const char *name)
{
	for (int part = 0; part < PARTS; part++)
		if (!strcmp(name, part_names[part]))
			return part;
	fprintf(stderr, "usage: post_cost nothing|check|post|complete|arrive [BLOCKS]\n");
	exit(2);
}

int main(int argc, char **argv)
{
	enum part wanted = parse_part(argc > 1 ? argv[1] : "");
	struct job job = {.blocks = argc > 2 ? strtoull(argv[2], NULL, 0) : BLOCKS};

	if (wanted != NOTHING && !HAVE_CALLGRIND) {
		printf("skipped: built without valgrind/callgrind.h\n");
		return 77;
	}
	clock_now = null_now;
	clock_rest = null_rest;
	for (uint8_t rank = 0; rank < RANKS; rank++)
		open_rank(&job, rank);
	introduce(&job);
	fill_ops(&job);
	write_blocks(&job, 1); /* they know each other, and have their memory */
	alloc_between_posts();
	cost.wanted = wanted;
	write_blocks(&job, job.blocks);
	cost.wanted = NOTHING;
	check(&job, alloc_between_posts());
	close_job(&job);
	return 0;
}
