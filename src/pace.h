/* SPDX-License-Identifier: MIT
 * How fast rails are, and which of them should take the next piece. Pure.
 *
 * Nobody measures in advance: what was completed, over the time in which something was in flight,
 * is a rail's rate. While much is left every rail takes a piece whenever it has room, so that a
 * fast one carries more. Towards the end a rail takes one only if it would finish it no later than
 * the others would finish all that is left of the batch: a slow rail never holds its tail, whatever
 * comes behind it. */
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
	/* ns from post to completion of the slowest pieces of late, as of slowest_at */
	int64_t slowest, slowest_at;
	bool out; /* takes nothing, and is not counted on */
};

/* The first of those in flight goes. */
void pace_begin(struct pace *, int64_t now);

/* A piece goes, ends well, or ends otherwise; now in ns. */
static inline void pace_post(struct pace *pace, uint64_t len, int64_t now)
{
	if (!pace->in_flight)
		pace_begin(pace, now);
	pace->in_flight += len;
}

void pace_complete(struct pace *, uint64_t len, int64_t posted, int64_t now);
void pace_fail(struct pace *, uint64_t len, int64_t now);

/* See slowest. Half of it is forgotten in 250 ms: after a pause of the peer's, or a slow time, the
 * next piece that gets lost is not to be waited for as long. */
int64_t pace_slowest(const struct pace *, int64_t now);

/* What all the rails to a peer do together. Good until pieces end, and not wrong then, but old. */
struct pace_view {
	const struct pace *all;
	unsigned int n, usable; /* usable: not out */
	double mean;  /* what a rail without history is taken to do; 1 where none has any */
	double total; /* of those that are usable */
};

struct pace_view pace_look(const struct pace *, unsigned int n);

static inline double pace_rate(const struct pace *pace, double mean)
{
	return pace->rate > 0 ? pace->rate : mean;
}

/* What pace_takes says towards the end. */
bool pace_takes_late(const struct pace_view *, unsigned int r, uint64_t len, uint64_t left);

/* Whether rail r should take a piece of len bytes now, of `left` (len included) that all may take.
 * True for at least one of those that are not out, so that nothing waits for ever. */
static inline bool pace_takes(const struct pace_view *view, unsigned int r, uint64_t len,
                              uint64_t left)
{
	const struct pace *pace = &view->all[r];

	/* Most pieces are far from the end: together the rails need longer than r does. */
	return (double)(pace->in_flight + len) * view->total <=
	               (double)left * pace_rate(pace, view->mean) ||
	       pace_takes_late(view, r, len, left);
}

#endif
