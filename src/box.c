/* SPDX-License-Identifier: MIT
 * Runs of bytes at regular distances in several dimensions -> the fewest ops. */
#include "box.h"
#include <stdbool.h>

/* The longer run may now touch its neighbours in other dimensions. */
static void lengthen(struct box *box, uint64_t times)
{
	struct box old = *box;

	box->len *= times;
	box->n = 0;
	for (unsigned int i = 0; i < old.n; i++)
		box_add(box, old.dim[i]);
}

/* Whether the outer one's first step leads to where the inner one's next step would. */
static bool goes_on(const struct box_dim *inner, const struct box_dim *outer)
{
	return outer->local == inner->count * inner->local &&
	       outer->remote == inner->count * inner->remote;
}

static bool fuse(struct box_dim *dim, const struct box_dim *other)
{
	if (goes_on(other, dim))
		*dim = (struct box_dim){dim->count * other->count, other->local, other->remote};
	else if (goes_on(dim, other))
		dim->count *= other->count;
	else
		return false;
	return true;
}

void box_add(struct box *box, struct box_dim dim)
{
	unsigned int i = 0;

	if (dim.count == 1)
		return;
	if (dim.local == box->len && dim.remote == box->len) {
		lengthen(box, dim.count);
		return;
	}
	while (i < box->n) {
		if (fuse(&dim, &box->dim[i]))
			box->dim[i] = box->dim[--box->n];
		else
			i++;
	}
	box->dim[box->n++] = dim;
}

/* Ops that the dimensions from the i-th on take, if not one of them is an op's own. */
static uint64_t ops_from(const struct box *box, unsigned int i)
{
	uint64_t ops = 1;

	for (; i < box->n; i++)
		ops *= box->dim[i].count;
	return ops;
}

static void emit_from(const struct box *box, unsigned int i, struct kvr_op op, struct op_list *out)
{
	if (out->count >= out->max) {
		out->count += ops_from(box, i);
		return;
	}
	if (i == box->n) {
		out->ops[out->count++] = op;
		return;
	}
	for (uint64_t j = 0; j < box->dim[i].count; j++) {
		emit_from(box, i + 1, op, out);
		op.local_offset += box->dim[i].local;
		op.remote_offset += box->dim[i].remote;
	}
}

void box_emit(const struct box *box, const struct kvr_op *first, struct op_list *out)
{
	struct kvr_op op = *first;
	struct box rest = *box;
	unsigned int longest = 0;

	op.len = box->len;
	op.count = 1;
	if (box->n) {
		for (unsigned int i = 1; i < box->n; i++)
			if (box->dim[i].count > box->dim[longest].count)
				longest = i;
		op.count = box->dim[longest].count;
		op.local_stride = box->dim[longest].local;
		op.remote_stride = box->dim[longest].remote;
		rest.dim[longest] = rest.dim[--rest.n];
	}
	emit_from(&rest, 0, op, out);
}
