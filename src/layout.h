/* SPDX-License-Identifier: MIT
 * How a KV cache lies in memory: checks, and where things are. Pure. */
#ifndef KVR_LAYOUT_H
#define KVR_LAYOUT_H

#include <kvrail.h>

/* Copies and checks a layout; its log lines call it by its name. Behind it every place of the
 * layout is below 2^63, nothing in it overlaps, and copies is at least 1. */
int layout_read(const char *name, const struct kvr_layout *user, struct kvr_layout *out);

/* Where block 0 of a layer, part and head begins; all three counted from the first one held. */
static inline uint64_t layout_at(const struct kvr_layout *l, uint64_t layer, uint64_t part,
                                 uint64_t head)
{
	return l->offset + layer * l->layer_stride + part * l->part_stride + head * l->head_stride;
}

#endif
