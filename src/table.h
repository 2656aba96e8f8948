/* SPDX-License-Identifier: MIT
 * The block tables of both sides -> ops. Pure. */
#ifndef KVR_TABLE_H
#define KVR_TABLE_H

#include "box.h"

struct table_side {
	const uint32_t *blocks;
	uint32_t block_tokens;
	uint64_t block_stride, token_stride;
};

/* The tokens [first, first + count) of a request, and what of each of them is moved: the run of
 * `len` bytes repeated in dim[]. */
struct table {
	struct table_side local, remote;
	uint64_t first, count;
	uint64_t len;
	unsigned int n;
	struct box_dim dim[BOX_DIMS - 2];
};

/* Appends the ops for all tokens. `origin` has the regions, and where block 0 begins in each. */
void table_ops(const struct table *, const struct kvr_op *origin, struct op_list *out);

#endif
