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

static void begin_piece(const struct stripe_cursor *c, const struct kvr_op *op,
                        struct stripe_piece *out)
{
	out->local = op->local;
	out->remote = op->remote;
	out->local_offset = op->local_offset + c->run * op->local_stride + c->done;
	out->remote_offset = op->remote_offset + c->run * op->remote_stride + c->done;
	out->len = 0;
}

/* Gives at most so many bytes of the stretch at the cursor to the piece. */
static void extend(struct stripe_cursor *c, const struct kvr_op *op, uint64_t most,
                   struct stripe_piece *piece)
{
	bool solid = op_is_solid(op);
	uint64_t len = (solid ? op->len * op->count : op->len) - c->done;

	if (len > most) {
		c->done += most;
		piece->len += most;
		return;
	}
	piece->len += len;
	c->done = 0;
	if (!solid && ++c->run < op->count)
		return;
	c->run = 0;
	c->op++;
}

/* Whether what is at the cursor touches the end of the piece on both sides. */
static bool continues(const struct stripe_cursor *c, const struct kvr_op *op,
                      const struct stripe_piece *piece)
{
	return op->local_offset + c->run * op->local_stride == piece->local_offset + piece->len &&
	       op->remote_offset + c->run * op->remote_stride ==
	               piece->remote_offset + piece->len &&
	       op->local == piece->local && op->remote == piece->remote;
}

bool stripe_next(struct stripe_cursor *c, uint64_t cut, struct stripe_piece *out)
{
	const struct kvr_op *op = &c->ops[c->op];

	if (c->op == c->n)
		return false;
	begin_piece(c, op, out);
	do {
		extend(c, op, cut - out->len, out);
		op = &c->ops[c->op];
	} while (out->len < cut && c->op < c->n && continues(c, op, out));
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

	if (cut >= max || rails == 1)
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
