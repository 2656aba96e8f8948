/* SPDX-License-Identifier: MIT
 * How fast rails are, and which of them should take the next piece. */
#include "pace.h"

#define HALF_LIFE 1e7          /* ns busy, after which history counts half */
#define FORGET    5000000000ll /* ns without a piece, after which it does not count at all */

void pace_post(struct pace *pace, uint64_t len, int64_t now)
{
	if (!pace->in_flight) {
		if (pace->rate > 0 && now - pace->since > FORGET)
			pace->bytes = pace->busy = pace->rate = 0;
		pace->since = now;
	}
	pace->in_flight += len;
}

void pace_fail(struct pace *pace, uint64_t len, int64_t now)
{
	pace->in_flight -= len;
	pace->since = now;
}

void pace_complete(struct pace *pace, uint64_t len, int64_t posted, int64_t now)
{
	pace->slowest -= pace->slowest / 64;
	if (pace->slowest < now - posted)
		pace->slowest = now - posted;
	pace->in_flight -= len;
	pace->bytes += (double)len;
	pace->busy += (double)(now - pace->since);
	pace->since = now;
	/* Several completions may be seen at one moment: no rate from no time. */
	if (pace->busy > 0)
		pace->rate = pace->bytes / pace->busy;
	if (pace->busy > HALF_LIFE) {
		pace->bytes /= 2;
		pace->busy /= 2;
	}
}

/* What a rail without history is taken to do; 1 where none has any. */
static double mean_rate(const struct pace *all, unsigned int n, unsigned int *usable)
{
	unsigned int known = 0;
	double sum = 0;

	*usable = 0;
	for (unsigned int i = 0; i < n; i++) {
		*usable += !all[i].out;
		if (all[i].out || all[i].rate <= 0)
			continue;
		sum += all[i].rate;
		known++;
	}
	return known ? sum / known : 1;
}

static double rate_of(const struct pace *pace, double mean)
{
	return pace->rate > 0 ? pace->rate : mean;
}

/* When the rails but r would be done with `left` if it could be split at will. One that is busy for
 * longer than that takes none of it; without such rails it is done earlier, and so on. */
static double others_done(const struct pace *all, unsigned int n, unsigned int r, double mean,
                          double left)
{
	double limit = 1e300, bytes, rate, done;

	for (;;) {
		bytes = left;
		rate = 0;
		for (unsigned int i = 0; i < n; i++) {
			double own = rate_of(&all[i], mean), queued = (double)all[i].in_flight;

			if (i == r || all[i].out || queued >= limit * own)
				continue;
			bytes += queued;
			rate += own;
		}
		done = rate > 0 ? bytes / rate : 1e300;
		if (done >= limit || rate <= 0)
			return rate > 0 ? done : limit;
		limit = done;
	}
}

/* When the best of the others would be done with one more piece. */
static double other_done(const struct pace *all, unsigned int n, unsigned int r, double mean,
                         double len)
{
	double best = 1e300, done;

	for (unsigned int i = 0; i < n; i++) {
		if (i == r || all[i].out)
			continue;
		done = ((double)all[i].in_flight + len) / rate_of(&all[i], mean);
		if (done < best)
			best = done;
	}
	return best;
}

bool pace_takes(const struct pace *all, unsigned int n, unsigned int r, uint64_t len, uint64_t left)
{
	unsigned int usable;
	double mean = mean_rate(all, n, &usable), own = rate_of(&all[r], mean);
	double done = (double)(all[r].in_flight + len) / own;

	/* Most pieces are far from the end. */
	if (done * mean * usable <= (double)left)
		return true;
	return done <= others_done(all, n, r, mean, (double)left) ||
	       done <= other_done(all, n, r, mean, (double)len);
}
