/* SPDX-License-Identifier: MIT
 * A batch in parts: ops whose local bytes are near the same rails make a part, with a cursor of its
 * own. The next piece is one of the part that has most left, so that the rails of all parts work at
 * the same time. Pure, and the same ops make the same pieces in the same order, as in stripe.h. */
#ifndef KVR_BATCH_H
#define KVR_BATCH_H

#include "affinity.h"
#include "stripe.h"

#define BATCH_PARTS 4

struct outlook;

struct batch_part {
	struct stripe_cursor cursor;
	struct stripe_rule rule;
	struct rail_set rails;
	struct outlook *outlook; /* the user's: what these rails can do now */
};

/* A zeroed one is empty. A copy is a place to go back to. */
struct batch {
	struct batch_part part[BATCH_PARTS];
	unsigned int count;
	uint64_t left; /* bytes, of all */
};

/* Ops of one set of rails, as the next part. They stay the caller's. rule: its rails do not count.
 */
void batch_add(struct batch *, const struct kvr_op *, size_t n, const struct rail_set *,
               const struct stripe_rule *);

/* The same at its beginning. */
struct batch batch_rewind(const struct batch *);

/* Whose turn it is: where any has something left, one that has. */
static inline unsigned int batch_next(const struct batch *batch)
{
	unsigned int best = 0;

	for (unsigned int i = 1; i < batch->count; i++)
		if (batch->part[i].cursor.left > batch->part[best].cursor.left)
			best = i;
	return best;
}

/* Takes the next piece; false at the end. *part: which one it is of. */
bool batch_take(struct batch *, unsigned int *part, struct stripe_piece *out);

/* The pieces that there are, as stripe_count. */
uint64_t batch_count(const struct batch *, uint64_t max);

/* Cuts an op where its local bytes cross one of `ends` (ascending; the last one is not below any of
 * them). Returns how many ops that makes, and fills them in where out is not NULL. */
size_t batch_cut(const struct kvr_op *, const uint64_t *ends, struct kvr_op *out);

#endif
