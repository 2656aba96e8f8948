/* SPDX-License-Identifier: MIT
 * Ops -> pieces: runs that touch on both sides are joined, long ones are cut. Pure, and the same
 * ops make the same pieces every time: a piece's place in their order is enough to find it again.
 */
#ifndef KVR_STRIPE_H
#define KVR_STRIPE_H

#include <kvrail.h>
#include <stdbool.h>

struct stripe_piece {
	struct kvr_region *local;
	struct kvr_remote *remote;
	uint64_t local_offset, remote_offset, len;
};

/* Where a batch has got to. A copy is a place to go back to. */
struct stripe_cursor {
	const struct kvr_op *ops;
	size_t n;
	size_t op;     /* the op ... */
	uint64_t run;  /* ... the run in it ... */
	uint64_t done; /* ... and the bytes of that run that are handed out */
	uint64_t left; /* bytes that stripe_take has not handed out yet */
};

/* How to cut: for that many rails, no piece below min for its own sake, none above max. */
struct stripe_rule {
	unsigned int rails;
	uint64_t min, max;
};

/* At the beginning of a batch; whose bytes are fewer than 2^64. */
struct stripe_cursor stripe_begin(const struct kvr_op *, size_t n);

/* Takes the next piece, of at most `cut` bytes; false at the end. */
bool stripe_next(struct stripe_cursor *, uint64_t cut, struct stripe_piece *out);

/* Takes the next piece, cut to stripe_cut() of what is left: pieces shrink towards the end, so that
 * rails of any speed end together. False at the end. */
bool stripe_take(struct stripe_cursor *, const struct stripe_rule *, struct stripe_piece *out);

/* The pieces that stripe_take will make of ops; stops counting above `max`. */
uint64_t stripe_count(const struct kvr_op *, size_t n, const struct stripe_rule *, uint64_t max);

/* The size to cut what is left of a batch to: small enough that every one of `rails` gets several,
 * at least `min`, at most `max`, a multiple of 4 KiB. One rail alone has nobody to end together
 * with: `max`. */
uint64_t stripe_cut(uint64_t left, unsigned int rails, uint64_t min, uint64_t max);

/* 0 if every run of one side lies in `size` bytes; -ERANGE if not or beyond 64 bits. */
int stripe_check(uint64_t offset, uint64_t stride, uint64_t len, uint64_t count, uint64_t size);

#endif
