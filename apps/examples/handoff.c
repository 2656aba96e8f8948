/* SPDX-License-Identifier: MIT
 * Hands the KV cache of one request from prefill to decode, layer by layer: each is sent while the
 * next is computed, and used once it is there. The last rank decodes; the others share the heads
 * among them, and have other blocks and another order: mpirun -n 3 build/handoff */
#include <errno.h>
#include <kvrail_mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LAYERS = 4, HEADS = 4, TOKENS = 100, BLOCKS = 16, MAX_OPS = 2 * TOKENS * HEADS };

/* What decode tells prefill: where its cache is, and which blocks it has for the request. */
struct offer {
	unsigned char descriptor[KVR_DESCRIPTOR_MAX];
	uint32_t table[BLOCKS]; /* from the request's first token on */
};

struct rank {
	struct kvr *kvr;
	int index, last; /* this rank, and the one that decodes */
	struct kvr_layout layout;
	unsigned char *cache;
	struct kvr_region *region;
	struct offer mine;
};

static void must(ssize_t rc, const char *what)
{
	if (rc >= 0)
		return;
	fprintf(stderr, "%s: %s\n", what, kvr_strerror((int)rc));
	MPI_Abort(MPI_COMM_WORLD, 1);
}

static struct kvr_layout layout_of(const struct rank *r, int rank)
{
	struct kvr_layout layout = {sizeof(layout), 0, LAYERS, .parts = 2, .head_bytes = 256};
	uint32_t ranks = rank == r->last ? 1 : (uint32_t)r->last;

	layout.blocks = BLOCKS;
	layout.block_tokens = rank == r->last ? 64 : 16;
	must(kvr_layout_shard(&layout, HEADS, ranks, (uint32_t)rank % ranks), "heads");
	must(kvr_layout_pack(&layout, rank == r->last ? "lbpht" : "lbpth"), "order");
	return layout;
}

static void open_rank(struct rank *r)
{
	struct kvr_bootstrap job;
	size_t bytes;

	must(kvr_mpi_bootstrap(MPI_COMM_WORLD, &job), "bootstrap");
	must(job.nranks < 2 || job.nranks > HEADS + 1 ? -EINVAL : 0, "start it as 2, 3 or 5 ranks");
	must(kvr_open(&job, NULL, &r->kvr), "open");
	r->index = job.rank;
	r->last = job.nranks - 1;
	r->layout = layout_of(r, r->index);
	bytes = (size_t)kvr_layout_bytes(&r->layout);
	r->cache = calloc(1, bytes);
	must(kvr_region_open(r->kvr, r->cache, bytes, KVR_HOST, &r->region), "region");
	must(kvr_region_export(r->region, r->mine.descriptor, KVR_DESCRIPTOR_MAX), "export");
	for (uint32_t i = 0; i < BLOCKS; i++)
		r->mine.table[i] = BLOCKS - 1 - i; /* any that are free */
}

/* The model's work: prefill makes a layer of KV, decode reads it. Returns bytes that are wrong. */
static int use_layer(const struct rank *r, uint32_t layer)
{
	const struct kvr_layout *l = &r->layout;
	int wrong = 0;

	for (uint32_t i = 0; i < 2 * TOKENS * l->heads; i++) {
		uint32_t part = i % 2, token = i / 2 % TOKENS, head = i / 2 / TOKENS;
		unsigned char *kv = r->cache + layer * l->layer_stride + part * l->part_stride +
		                    r->mine.table[token / l->block_tokens] * l->block_stride +
		                    token % l->block_tokens * l->token_stride +
		                    head * l->head_stride;
		uint32_t value = layer * 31 + part * 3 + token * 7 + l->first_head + head + 1;

		if (r->index != r->last)
			memset(kv, (int)value, l->head_bytes);
		for (uint32_t byte = 0; byte < l->head_bytes; byte++)
			wrong += kv[byte] != value % 256;
	}
	return wrong;
}

static void prefill(struct rank *r, const struct offer *to)
{
	struct kvr_pages pages = {sizeof(pages), r->mine.table, to->table, BLOCKS, BLOCKS};
	struct kvr_layout theirs = layout_of(r, r->last);
	struct kvr_request *writes[LAYERS];
	static struct kvr_op ops[MAX_OPS];
	struct kvr_remote *remote;
	struct kvr_plan *plan;
	ssize_t n;

	must(kvr_remote_open(r->kvr, r->last, to->descriptor, KVR_DESCRIPTOR_MAX, &remote), "open");
	must(kvr_plan_open(&r->layout, &theirs, KVR_WRITE, &plan), "plan");
	pages.tokens = TOKENS;
	pages.layers = 1;
	for (uint32_t layer = 0; layer < LAYERS; layer++) {
		use_layer(r, layer);
		pages.first_layer = layer;
		n = kvr_plan_ops(plan, &r->region, &remote, &pages, ops, MAX_OPS);
		must(n, "ops");
		/* Counter `layer` goes up by one at decode when this layer's bytes are there. */
		must(kvr_write(r->kvr, ops, (size_t)n, layer, &writes[layer]), "write");
	}
	for (uint32_t layer = 0; layer < LAYERS; layer++) {
		must(kvr_request_wait(writes[layer], -1), "wait");
		must(kvr_request_close(writes[layer]), "close");
	}
	kvr_plan_close(plan);
	must(kvr_remote_close(remote), "close");
}

/* A write of each layer comes from each prefill rank; the next ones may still be on their way. */
static int decode(struct rank *r)
{
	int wrong = 0;

	for (uint32_t layer = 0; layer < LAYERS; layer++) {
		must(kvr_counter_wait(r->kvr, layer, (uint64_t)r->last, -1, NULL), "counter");
		wrong += use_layer(r, layer);
		printf("layer %u is here, %d bytes are wrong\n", layer, wrong);
	}
	return wrong;
}

int main(int argc, char **argv)
{
	struct rank r = {NULL};
	static struct offer all[HEADS + 1];
	int wrong = 0;

	MPI_Init(&argc, &argv);
	open_rank(&r);
	/* In a server the offer comes with the request, by whatever way the two sides talk. */
	must(kvr_allgather(r.kvr, &r.mine, all, sizeof(r.mine)), "offers");
	if (r.index == r.last)
		wrong = decode(&r);
	else
		prefill(&r, &all[r.last]);
	must(kvr_region_close(r.region), "region"); /* nobody writes here any more */
	must(kvr_close(r.kvr), "close");
	free(r.cache);
	return MPI_Finalize() || wrong;
}
