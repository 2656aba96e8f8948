/* SPDX-License-Identifier: MIT
 * Ops -> pieces: runs that touch on both sides are joined, long ones are cut. */
#include "stripe.h"
#include <errno.h>

#define CUT_UNIT        4096u
#define PIECES_PER_RAIL 4 /* of what is left: the slower rails can take fewer */

/* The bytes from here to the end of the run, or of all runs of the op if they touch. */
static bool op_is_solid(const struct kvr_op *op)
{
	return op->count == 1 || (op->local_stride == op->len && op->remote_stride == op->len);
}

/* The unbroken stretch at the cursor. */
static struct stripe_piece stretch(const struct stripe_cursor *c)
{
	const struct kvr_op *op = &c->ops[c->op];
	uint64_t len = op_is_solid(op) ? op->len * op->count : op->len;

	return (struct stripe_piece){
		.local = op->local,
		.remote = op->remote,
		.local_offset = op->local_offset + c->run * op->local_stride + c->done,
		.remote_offset = op->remote_offset + c->run * op->remote_stride + c->done,
		.len = len - c->done,
	};
}

static void skip(struct stripe_cursor *c, uint64_t bytes)
{
	const struct kvr_op *op = &c->ops[c->op];
	bool solid = op_is_solid(op);

	c->done += bytes;
	if (c->done < (solid ? op->len * op->count : op->len))
		return;
	c->done = 0;
	if (!solid && ++c->run < op->count)
		return;
	c->run = 0;
	c->op++;
}

bool stripe_next(struct stripe_cursor *c, uint64_t cut, struct stripe_piece *out)
{
	struct stripe_piece more;

	if (c->op == c->n)
		return false;
	*out = stretch(c);
	if (out->len > cut)
		out->len = cut;
	skip(c, out->len);
	while (out->len < cut && c->op < c->n) {
		more = stretch(c);
		if (more.local != out->local || more.remote != out->remote ||
		    more.local_offset != out->local_offset + out->len ||
		    more.remote_offset != out->remote_offset + out->len)
			break;
		if (more.len > cut - out->len)
			more.len = cut - out->len;
		out->len += more.len;
		skip(c, more.len);
	}
	return true;
}

struct stripe_cursor stripe_begin(const struct kvr_op *ops, size_t n)
{
	struct stripe_cursor c = {.ops = ops, .n = n};

	for (size_t i = 0; i < n; i++)
		c.left += ops[i].len * ops[i].count;
	return c;
}

bool stripe_take(struct stripe_cursor *c, const struct stripe_rule *rule, struct stripe_piece *out)
{
	if (!stripe_next(c, stripe_cut(c->left, rule->rails, rule->min, rule->max), out))
		return false;
	c->left -= out->len;
	return true;
}

uint64_t stripe_count(const struct kvr_op *ops, size_t n, const struct stripe_rule *rule,
                      uint64_t max)
{
	struct stripe_cursor c = stripe_begin(ops, n);
	struct stripe_piece piece;
	uint64_t count = 0;

	while (count <= max && stripe_take(&c, rule, &piece))
		count++;
	return count;
}

uint64_t stripe_cut(uint64_t left, unsigned int rails, uint64_t min, uint64_t max)
{
	uint64_t cut = left / (rails * PIECES_PER_RAIL);

	if (cut >= max)
		return max;
	cut = (cut + CUT_UNIT - 1) / CUT_UNIT * CUT_UNIT;
	return cut < min ? min : cut > max ? max : cut;
}

int stripe_check(uint64_t offset, uint64_t stride, uint64_t len, uint64_t count, uint64_t size)
{
	uint64_t steps, end;

	if (__builtin_mul_overflow(stride, count - 1, &steps) ||
	    __builtin_add_overflow(offset, steps, &end) || __builtin_add_overflow(end, len, &end) ||
	    end > size)
		return -ERANGE;
	return 0;
}
