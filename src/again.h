/* SPDX-License-Identifier: MIT
 * Which pieces of a batch are to be posted once more. Pure: a piece is found again by its place in
 * the order, see stripe.h. */
#ifndef KVR_AGAIN_H
#define KVR_AGAIN_H

#include "stripe.h"

/* A zeroed one is empty. */
struct again {
	uint64_t *bits; /* by place; only while there are any */
	uint32_t count, low;
	struct stripe_cursor cursor; /* where the last search got to: */
	uint32_t place;
};

/* 0, also where it was in; -ENOMEM. place: below LANE_WINDOW. */
int again_add(struct again *, uint32_t place);
void again_remove(struct again *, uint32_t place);
void again_clear(struct again *);

/* The first place that is in, and what is there, without taking it out; false if it is empty. */
bool again_next(struct again *, const struct stripe_cursor *batch, const struct stripe_rule *,
                uint32_t *place, struct stripe_piece *out);

#endif
