/* SPDX-License-Identifier: MIT
 * libFuzzer target for plans: whatever the layouts and tables are, they are refused, or the ops
 * stay within what kvr_layout_bytes says; and where that is little, they move every byte that the
 * layouts' definition says, once.
 *
 * A byte says how the numbers that follow are to be read: as they are, or as a small cache's. */
#include "plan_reference.h"
#include <stdlib.h>
#include <string.h>

#define BLOCKS_MAX 256
#define SMALL      (1u << 16) /* bytes of all regions of a cache that is compared */
#define OPS_MAX    1000
#define IS_SMALL   1
#define IS_READ    2
#define IS_PACKED  4
#define IS_ALIKE   8

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

	bytes = bytes < in->left ? bytes : in->left;
	memcpy(&value, in->data, bytes);
	in->data += bytes;
	in->left -= bytes;
	return value;
}

/* Whatever comes; hardly ever a layout that is right. */
static struct kvr_layout take_any(struct input *in)
{
	struct kvr_layout l = {.size = sizeof(l)};
	uint32_t *const narrow[] = {
		&l.first_layer, &l.layers,        &l.parts,        &l.first_head,
		&l.heads,       &l.head_bytes,    &l.blocks,       &l.copies,
		&l.copy,        &l.layer_regions, &l.part_regions, &l.block_tokens,
	};
	uint64_t *const wide[] = {&l.offset,       &l.layer_stride, &l.part_stride,
	                          &l.block_stride, &l.token_stride, &l.head_stride};

	for (size_t i = 0; i < sizeof(narrow) / sizeof(narrow[0]); i++)
		*narrow[i] = (uint32_t)take(in, 4);
	for (size_t i = 0; i < sizeof(wide) / sizeof(wide[0]); i++)
		*wide[i] = take(in, 8);
	return l;
}

/* Right but for its strides, which are packed, or those with some bytes more. Both sides have the
 * same parts and head_bytes. */
static struct kvr_layout take_small(struct input *in)
{
	static const char *const orders[] = {"lpbth", "lbpth", "lbpht", "blpth", "bpthl", "pbhtl"};
	struct kvr_layout l = {
		.size = sizeof(l),
		.parts = 1 + in->flags / 16 % 2,
		.head_bytes = 1 + in->flags / 32 % 4,
		.first_layer = (uint32_t)take(in, 1) % 3,
		.layers = 1 + (uint32_t)take(in, 1) % 3,
		.first_head = (uint32_t)take(in, 1) % 4,
		.heads = 1 + (uint32_t)take(in, 1) % 6,
		.blocks = 1 + (uint32_t)take(in, 1) % 24,
		.block_tokens = 1 + (uint32_t)take(in, 1) % 6,
		.copies = 1 + (uint32_t)take(in, 1) % 3,
	};
	uint64_t *const strides[] = {&l.layer_stride, &l.part_stride, &l.block_stride,
	                             &l.token_stride, &l.head_stride, &l.offset};
	uint64_t regions = take(in, 1) % 8;

	l.copy = (uint32_t)take(in, 1) % l.copies;
	kvr_layout_pack(&l, orders[take(in, 1) % 6]);
	l.layer_regions = regions == 1 ? 1 : regions == 2 ? 2 : 0;
	l.part_regions = regions == 2 ? 1 : regions == 3;
	for (size_t i = 0; !(in->flags & IS_PACKED) && i < 6; i++)
		*strides[i] += take(in, 1);
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

	if (in->flags & IS_SMALL && count > l->blocks)
		count = l->blocks;

	while (n < count) {
		uint32_t block = (uint32_t)take(in, 1) % BLOCKS_MAX;

		if (in->flags & IS_SMALL)
			block %= l->blocks;
		while (used[block])
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

static void take_pages(struct input *in, struct kvr_pages *pages)
{
	size_t width = in->flags & IS_SMALL ? 1 : 8;

	pages->first_token = take(in, width);
	pages->tokens = take(in, width);
	pages->first_layer = (uint32_t)take(in, width);
	pages->layers = (uint32_t)take(in, width);
	pages->turn = (uint32_t)take(in, width);
	if (!(in->flags & IS_SMALL))
		return;
	pages->first_token %= 32;
	pages->tokens %= 64;
	pages->first_layer %= 4;
	pages->layers %= 4;
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
	local = in.flags & IS_SMALL ? take_small(&in) : take_any(&in);
	remote = in.flags & IS_SMALL ? take_small(&in) : take_any(&in);
	if (in.flags & IS_ALIKE)
		remote = local;
	take_pages(&in, &pages);
	pages.local_count = take_table(&in, &local, blocks[0]);
	pages.remote_count = take_table(&in, &remote, blocks[1]);
	check_pair(&r, &pages);
	return 0;
}
