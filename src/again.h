/* SPDX-License-Identifier: MIT
 * Which pieces of a batch are to be posted once more. Pure: a piece is found again by its place in
 * the order, see stripe.h. */
#ifndef KVR_AGAIN_H
#define KVR_AGAIN_H

#include "batch.h"

/* A zeroed one is empty. */
struct again {
	uint64_t *bits;     /* by place; only while there are any, and so is: */
	struct batch *walk; /* where the last search got to, ... */
	uint32_t place;     /* ... and how far that is */
	uint32_t count, low;
};

/* 0, also where it was in; -ENOMEM. place: below LANE_WINDOW. */
int again_add(struct again *, uint32_t place);
void again_remove(struct again *, uint32_t place);
void again_clear(struct again *);

/* The first place that is in, and what is there and of which part, without taking it out; false if
 * it is empty. batch: wherever it has got to. */
bool again_next(struct again *, const struct batch *batch, uint32_t *place, unsigned int *part,
                struct stripe_piece *out);

#endif
