/* SPDX-License-Identifier: MIT
 * libFuzzer target for plans: whatever the layouts and tables are, they are refused, or the ops
 * stay within what kvr_layout_bytes says; and where that is little, they move every byte that the
 * layouts' definition says, once.
 *
 * A byte says how the numbers that follow are to be read: as they are, or small. */
#include "plan_reference.h"
#include <stdlib.h>
#include <string.h>

#define BLOCKS_MAX 256
#define SMALL      (1u << 16) /* bytes of all regions of a cache that is compared */
#define OPS_MAX    1000
#define IS_SMALL   1
#define IS_READ    2
#define IS_PACKED  4

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	const uint8_t *data;
	size_t left;
	int flags;
};

static void must(bool condition)
{
	if (!condition)
		abort();
}

static uint64_t take(struct input *in, size_t bytes)
{
	uint64_t value = 0;

	if (in->flags & IS_SMALL)
		bytes = bytes == 8 ? 2 : 1;
	bytes = bytes < in->left ? bytes : in->left;
	memcpy(&value, in->data, bytes);
	in->data += bytes;
	in->left -= bytes;
	return value;
}

static struct kvr_layout take_layout(struct input *in)
{
	struct kvr_layout l = {.size = sizeof(l)};
	uint32_t *const narrow[] = {
		&l.first_layer, &l.layers,     &l.parts,         &l.first_head,
		&l.heads,       &l.head_bytes, &l.blocks,        &l.block_tokens,
		&l.copies,      &l.copy,       &l.layer_regions, &l.part_regions,
	};
	uint64_t *const wide[] = {&l.offset,       &l.layer_stride, &l.part_stride,
	                          &l.block_stride, &l.token_stride, &l.head_stride};

	for (size_t i = 0; i < sizeof(narrow) / sizeof(narrow[0]); i++)
		*narrow[i] = (uint32_t)take(in, 4) % (in->flags & IS_SMALL ? 12 : UINT32_MAX);
	for (size_t i = 0; i < sizeof(wide) / sizeof(wide[0]); i++)
		*wide[i] = take(in, 8);
	if (in->flags & IS_PACKED)
		kvr_layout_pack(&l, l.layer_regions && l.part_regions ? "bth"
		                    : l.layer_regions                 ? "bpht"
		                    : l.part_regions                  ? "lbth"
		                                                      : "lbpth");
	return l;
}

static uint64_t regions_of(const struct kvr_layout *l)
{
	return 1 + (l->layers - 1ull) * l->layer_regions + (l->parts - 1ull) * l->part_regions;
}

/* Every block at most once: the reference does not take one twice. */
static size_t take_table(struct input *in, const struct kvr_layout *l, uint32_t *table)
{
	uint8_t used[BLOCKS_MAX] = {0};
	size_t n = 0, count = take(in, 1);

	while (n < count) {
		uint32_t block = (uint32_t)take(in, 1) % BLOCKS_MAX;

		for (size_t tries = 0; used[block] && tries < BLOCKS_MAX; tries++)
			block = (block + 1) % BLOCKS_MAX;
		used[block] = 1;
		table[n++] = l->blocks > BLOCKS_MAX ? block * (l->blocks / BLOCKS_MAX) : block;
	}
	return n;
}

static void must_stay_inside(const struct kvr_op *op, uint64_t local, uint64_t remote)
{
	uint64_t end;

	must(op->len && op->count);
	must(!__builtin_mul_overflow(op->local_stride, op->count - 1, &end));
	must(!__builtin_add_overflow(end, op->local_offset, &end));
	must(end <= local && op->len <= local - end);
	must(!__builtin_mul_overflow(op->remote_stride, op->count - 1, &end));
	must(!__builtin_add_overflow(end, op->remote_offset, &end));
	must(end <= remote && op->len <= remote - end);
}

static void check_bounds(const struct kvr_plan *plan, const struct kvr_pages *pages, uint64_t local,
                         uint64_t remote)
{
	static struct kvr_op ops[OPS_MAX];
	ssize_t n =
		kvr_plan_ops(plan, reference_regions(), reference_remotes(), pages, ops, OPS_MAX);
	uint64_t bytes = 0;

	must(n == kvr_plan_ops(plan, NULL, NULL, pages, NULL, 0) || n < 0);
	for (ssize_t i = 0; i < n && i < OPS_MAX; i++) {
		must_stay_inside(&ops[i], local, remote);
		bytes += ops[i].len * ops[i].count;
	}
	must(n < 0 || n > OPS_MAX || (ssize_t)bytes == kvr_plan_bytes(plan, pages));
}

static void check_pair(struct reference *r, struct kvr_pages *pages)
{
	uint64_t local = (uint64_t)kvr_layout_bytes(r->local);
	uint64_t remote = (uint64_t)kvr_layout_bytes(r->remote), ops;
	struct kvr_plan *plan;

	if (regions_of(r->local) > REFERENCE_REGIONS || regions_of(r->remote) > REFERENCE_REGIONS ||
	    kvr_plan_open(r->local, r->remote, r->direction, &plan))
		return;
	check_bounds(plan, pages, local, remote);
	if (local <= SMALL && local * regions_of(r->local) <= SMALL && remote <= SMALL &&
	    kvr_plan_ops(plan, NULL, NULL, pages, NULL, 0) >= 0) {
		const char *wrong = reference_run(r, &ops);

		/* Where only the last token of a block touches the next one, there are more. */
		must(!wrong || wrong == reference_too_many);
	}
	kvr_plan_close(plan);
}

static void ignore(void *arg, int level, const char *line)
{
	(void)arg;
	(void)level;
	(void)line;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint32_t blocks[2][BLOCKS_MAX];
	struct input in = {data + 1, size - 1, size ? *data : 0};
	struct kvr_layout local, remote;
	struct kvr_pages pages = {
		.size = sizeof(pages), .local_blocks = blocks[0], .remote_blocks = blocks[1]};
	struct reference r = {&local, &remote, &pages};

	if (!size)
		return 0;
	kvr_set_log(ignore, NULL);
	r.direction = in.flags & IS_READ ? KVR_READ : KVR_WRITE;
	local = take_layout(&in);
	remote = take_layout(&in);
	pages.first_token = take(&in, 8);
	pages.tokens = take(&in, 8);
	pages.first_layer = (uint32_t)take(&in, 4);
	pages.layers = (uint32_t)take(&in, 4);
	pages.turn = (uint32_t)take(&in, 4);
	if (in.flags & IS_SMALL) {
		pages.first_token %= 64;
		pages.tokens %= 64;
	}
	pages.local_count = take_table(&in, &local, blocks[0]);
	pages.remote_count = take_table(&in, &remote, blocks[1]);
	check_pair(&r, &pages);
	return 0;
}
