/* SPDX-License-Identifier: MIT
 * How fast rails are, and which of them should take the next piece. Pure.
 *
 * Nobody measures in advance: what was completed, over the time in which something was in flight,
 * is a rail's rate. While much is left every rail takes a piece whenever it has room, so that a
 * fast one carries more. Towards the end a rail takes one only if it would finish it no later than
 * the others would finish all that is left: a slow rail never holds the tail. */
#ifndef KVR_PACE_H
#define KVR_PACE_H

#include <stdbool.h>
#include <stdint.h>

/* One rail, towards one peer. A zeroed one has no history. */
struct pace {
	uint64_t in_flight; /* bytes */
	double bytes, busy; /* completed, over ns; what is long ago counts less and less */
	int64_t since;      /* ns; in flight and not yet counted from here on */
	double rate;        /* bytes per ns; 0: no history */
	int64_t slowest;    /* ns from post to completion of the slowest pieces of late */
	bool out;           /* takes nothing, and is not counted on */
};

/* A piece goes, ends well, or ends otherwise; now in ns. */
void pace_post(struct pace *, uint64_t len, int64_t now);
void pace_complete(struct pace *, uint64_t len, int64_t posted, int64_t now);
void pace_fail(struct pace *, uint64_t len, int64_t now);

/* Whether rail r of n should take a piece of len bytes now, of `left` (len included) that all may
 * take. True for at least one of those that are not out, so that nothing waits for ever. A rail
 * without history is taken to be like the mean of the others. */
bool pace_takes(const struct pace *, unsigned int n, unsigned int r, uint64_t len, uint64_t left);

#endif
