/* SPDX-License-Identifier: MIT
 * Runs of bytes at regular distances in several dimensions -> the fewest ops. Pure. */
#ifndef KVR_BOX_H
#define KVR_BOX_H

#include <kvrail.h>

#define BOX_DIMS 5 /* layer, part, head, token; and blocks at one distance */

/* Distances between neighbours, locally and at the remote. */
struct box_dim {
	uint64_t count, local, remote;
};

/* No dimension in it touches what is inside it, nor goes on where another one ends. */
struct box {
	uint64_t len; /* of a run */
	unsigned int n;
	struct box_dim dim[BOX_DIMS];
};

/* Where ops go: only the first `max` are kept, but all are counted. */
struct op_list {
	struct kvr_op *ops;
	size_t max;
	uint64_t count;
};

/* Repeats the box: as one longer run where the repetitions touch on both sides. At most BOX_DIMS
 * times for a box; the places stay below 2^63. */
void box_add(struct box *, struct box_dim);

/* Appends the box's ops. `first` says where its first run is. */
void box_emit(const struct box *, const struct kvr_op *first, struct op_list *out);

#endif
