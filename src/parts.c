/* SPDX-License-Identifier: MIT
 * A batch in parts: ops whose local bytes are near the same rails make a part. */
#include "parts.h"

void parts_add(struct parts *parts, const struct kvr_op *ops, size_t n,
               const struct rail_set *rails, const struct stripe_rule *rule)
{
	struct part *part = &parts->part[parts->count++];

	part->cursor = stripe_begin(ops, n);
	part->rails = *rails;
	part->rule = *rule;
	part->rule.rails = __builtin_popcount(rails->near | rails->far);
	parts->left += part->cursor.left;
}

struct parts parts_rewind(const struct parts *parts)
{
	struct parts begin = *parts;

	begin.left = 0;
	for (unsigned int i = 0; i < begin.count; i++) {
		begin.part[i].cursor =
			stripe_begin(parts->part[i].cursor.ops, parts->part[i].cursor.n);
		begin.left += begin.part[i].cursor.left;
	}
	return begin;
}

bool parts_take(struct parts *parts, unsigned int *part, struct stripe_piece *out)
{
	struct part *next;

	*part = parts_next(parts);
	next = &parts->part[*part];
	if (!stripe_take(&next->cursor, &next->rule, out))
		return false;
	parts->left -= out->len;
	return true;
}

uint64_t parts_count(const struct parts *parts, uint64_t max)
{
	uint64_t count = 0;

	for (unsigned int i = 0; i < parts->count && count <= max; i++)
		count += stripe_count(parts->part[i].cursor.ops, parts->part[i].cursor.n,
		                      &parts->part[i].rule, max);
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

size_t parts_cut(const struct kvr_op *op, const uint64_t *ends, struct kvr_op *out)
{
	struct rest rest = {.op = *op};
	struct kvr_op taken;
	size_t n = 0;

	/* Runs that touch on both sides are one. */
	if (op->local_stride == op->len && op->remote_stride == op->len) {
		rest.op.len *= op->count;
		rest.op.count = 1;
	}
	while (rest.op.count) {
		while (rest.op.local_offset + rest.done >= *ends)
			ends++;
		taken = take_op(&rest, *ends);
		if (out)
			out[n] = taken;
		n++;
	}
	return n;
}
