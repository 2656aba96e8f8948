/* SPDX-License-Identifier: MIT
 * Arrivals -> batches, exactly once. Pure.
 *
 * Every initiator has a lane at each target: a sequence of piece numbers modulo LANE_PIECES, of
 * which each batch takes the next few. A piece's immediate is (lane, piece). The target sets a bit
 * per piece, so that a piece seen twice counts once; the initiator's END says which pieces make a
 * batch, before, between or after them, for nothing is ordered. A batch is complete when its last
 * bit is set. Numbers are used again only once the whole lane behind them is complete and half of
 * all numbers lie between, so a late duplicate is told from a new piece. */
#ifndef KVR_COUNTER_H
#define KVR_COUNTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LANE_NO_COUNTER UINT32_MAX
#define LANE_BITS       13
#define PIECE_BITS      19
#define LANES           (1u << LANE_BITS)
#define LANE_PIECES     (1u << PIECE_BITS)
#define LANE_WINDOW     (LANE_PIECES / 2) /* most pieces between the oldest open one and the newest */

static inline uint32_t immediate_make(uint32_t lane, uint32_t piece)
{
	return lane << PIECE_BITS | piece;
}

static inline uint32_t immediate_lane(uint32_t immediate)
{
	return immediate >> PIECE_BITS;
}

static inline uint32_t immediate_piece(uint32_t immediate)
{
	return immediate & (LANE_PIECES - 1);
}

/* How far `piece` lies behind `base`, going up around the circle. */
static inline uint32_t piece_distance(uint32_t base, uint32_t piece)
{
	return (piece - base) & (LANE_PIECES - 1);
}

struct lane_batch {
	uint32_t first, count;
	uint32_t missing;
	uint32_t counter;
	bool taken; /* complete and handed out */
};

struct lane {
	uint32_t base;     /* every piece before it is complete */
	uint32_t capacity; /* bits, a power of two; piece p's bit is p % capacity */
	uint64_t *bits;
	struct lane_batch *batches; /* declared, not yet passed by base; ascending */
	uint32_t count, room;
	uint32_t ready; /* batches complete, not yet taken */
};

/* A zeroed lane is an open one; close frees what it grew. */
void lane_close(struct lane *);

/* A piece has arrived. 1: new; 0: seen before, and does not count; -ENOMEM. */
int lane_arrive(struct lane *, uint32_t piece);

/* An END. 1: declared; 0: known already (its batch may be complete, see lane_is_done); -EPROTO:
 * numbers that cannot be, nothing changed; -ENOMEM. */
int lane_declare(struct lane *, uint32_t first, uint32_t count, uint32_t counter);

/* Piece `piece` of the batch will never arrive: counts as arrived, and the batch's counter stays
 * where it is. Errors as lane_declare. */
int lane_lose(struct lane *, uint32_t first, uint32_t count, uint32_t piece);

/* Hands out each complete batch once, in the order of their numbers where there are several.
 * Call it until it returns false after each arrival or END. */
bool lane_take(struct lane *, struct lane_batch *out);

/* The numbers of a declared batch that have not come: writes at most max, returns how many. */
uint32_t lane_missing(const struct lane *, uint32_t first, uint32_t *numbers, uint32_t max);

/* Whether the batch that begins with `first` was complete and handed out. */
bool lane_is_done(const struct lane *, uint32_t first);

#endif
