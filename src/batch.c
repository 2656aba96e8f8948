/* SPDX-License-Identifier: MIT
 * A batch in parts: ops whose local bytes are near the same rails make a part. */
#include "batch.h"

void batch_add(struct batch *batch, const struct kvr_op *ops, size_t n,
               const struct rail_set *rails, const struct stripe_rule *rule)
{
	struct batch_part *part = &batch->part[batch->count++];

	part->cursor = stripe_begin(ops, n);
	part->rails = *rails;
	part->rule = *rule;
	part->rule.rails = __builtin_popcount(rails->near | rails->far);
	batch->left += part->cursor.left;
}

struct batch batch_rewind(const struct batch *batch)
{
	struct batch begin = *batch;

	begin.left = 0;
	for (unsigned int i = 0; i < begin.count; i++) {
		begin.part[i].cursor =
			stripe_begin(batch->part[i].cursor.ops, batch->part[i].cursor.n);
		begin.left += begin.part[i].cursor.left;
	}
	return begin;
}

bool batch_take(struct batch *batch, unsigned int *part, struct stripe_piece *out)
{
	struct batch_part *next;

	if (!batch->left)
		return false;
	*part = batch_next(batch);
	next = &batch->part[*part];
	if (!stripe_take(&next->cursor, &next->rule, out))
		return false;
	batch->left -= out->len;
	return true;
}

uint64_t batch_count(const struct batch *batch, uint64_t max)
{
	uint64_t count = 0;

	for (unsigned int i = 0; i < batch->count && count <= max; i++)
		count += stripe_count(batch->part[i].cursor.ops, batch->part[i].cursor.n,
		                      &batch->part[i].rule, max);
	return count;
}

/* What is left of an op: `done` bytes of its first run are gone. */
struct rest {
	struct kvr_op op;
	uint64_t done;
};

/* Runs of the rest that end at or before `end`; the first one, begun or not, is whole. */
static uint64_t runs_before(const struct kvr_op *op, uint64_t end)
{
	uint64_t fit;

	if (!op->local_stride || op->count == 1)
		return op->count;
	fit = (end - op->local_offset - op->len) / op->local_stride + 1;
	return fit < op->count ? fit : op->count;
}

static void drop_runs(struct rest *rest, uint64_t runs)
{
	rest->op.local_offset += runs * rest->op.local_stride;
	rest->op.remote_offset += runs * rest->op.remote_stride;
	rest->op.count -= runs;
	rest->done = 0;
}

/* The first op of the rest that does not cross `end`. */
static struct kvr_op take_op(struct rest *rest, uint64_t end)
{
	struct kvr_op op = rest->op;
	uint64_t begin = op.local_offset + rest->done, whole = op.len - rest->done;

	if (!rest->done && whole <= end - begin) {
		op.count = runs_before(&op, end);
		drop_runs(rest, op.count);
		return op;
	}
	op.local_offset = begin;
	op.remote_offset += rest->done;
	op.len = whole < end - begin ? whole : end - begin;
	op.count = 1;
	rest->done += op.len;
	if (rest->done == rest->op.len)
		drop_runs(rest, 1);
	return op;
}

size_t batch_cut(const struct kvr_op *op, const uint64_t *ends, struct kvr_op *out)
{
	struct rest rest = {.op = *op};
	const uint64_t *end;
	struct kvr_op taken;
	size_t n = 0;

	/* Runs that touch on both sides are one. */
	if (op->local_stride == op->len && op->remote_stride == op->len) {
		rest.op.len *= op->count;
		rest.op.count = 1;
	}
	while (rest.op.count) {
		/* From the first one: runs may all be in the same place. */
		for (end = ends; rest.op.local_offset + rest.done >= *end;)
			end++;
		taken = take_op(&rest, *end);
		if (out)
			out[n] = taken;
		n++;
	}
	return n;
}
