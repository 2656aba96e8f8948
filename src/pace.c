/* SPDX-License-Identifier: MIT
 * How fast rails are, and which of them should take the next piece. */
#include "pace.h"

#define HALF_LIFE 1e7          /* ns busy, after which history counts half, ... */
#define HALF_MIN  (2u << 20)   /* ... and bytes: completions may come many at a time */
#define SLOW_HALF 250000000ll  /* ns after which half of pace.slowest is forgotten */
#define FORGET    5000000000ll /* ns without a piece, after which it does not count at all */

void pace_begin(struct pace *pace, int64_t now)
{
	if (pace->rate > 0 && now - pace->since > FORGET)
		pace->bytes = pace->busy = pace->rate = 0;
	pace->since = now;
}

void pace_fail(struct pace *pace, uint64_t len, int64_t now)
{
	pace->in_flight -= len;
	pace->since = now;
}

int64_t pace_slowest(const struct pace *pace, int64_t now)
{
	int64_t ago = now - pace->slowest_at;
	int64_t halved = ago < 62 * SLOW_HALF ? pace->slowest >> ago / SLOW_HALF : 0;

	return halved - (int64_t)((double)halved * (ago % SLOW_HALF) / (2 * SLOW_HALF));
}

void pace_complete(struct pace *pace, uint64_t len, int64_t posted, int64_t now)
{
	pace->slowest = pace_slowest(pace, now);
	pace->slowest -= pace->slowest / 64;
	if (pace->slowest < now - posted)
		pace->slowest = now - posted;
	pace->slowest_at = now;
	pace->in_flight -= len;
	pace->bytes += (double)len;
	pace->busy += (double)(now - pace->since);
	pace->since = now;
	/* Several completions may be seen at one moment: no rate from no time. */
	if (pace->busy > 0)
		pace->rate = pace->bytes / pace->busy;
	if (pace->busy > HALF_LIFE && pace->bytes > HALF_MIN) {
		pace->bytes /= 2;
		pace->busy /= 2;
	}
}

static bool counts(const struct pace_view *view, unsigned int i)
{
	return view->rails >> i & 1 && !view->all[i].out;
}

struct pace_view pace_look(const struct pace *all, unsigned int n, uint32_t rails)
{
	struct pace_view view = {.all = all, .n = n, .rails = rails};
	unsigned int known = 0;
	double sum = 0;

	for (unsigned int i = 0; i < n; i++) {
		if (!counts(&view, i))
			continue;
		view.usable++;
		if (all[i].rate <= 0)
			continue;
		sum += all[i].rate;
		known++;
	}
	view.mean = known ? sum / known : 1;
	view.total = view.mean * view.usable;
	return view;
}

/* When the rails but r would be done with `left` if it could be split at will. One that is busy for
 * longer than that takes none of it; without such rails it is done earlier, and so on. */
static double others_done(const struct pace_view *view, unsigned int r, double left)
{
	const struct pace *all = view->all;
	double limit = 1e300, bytes, rate, done;

	for (;;) {
		bytes = left;
		rate = 0;
		for (unsigned int i = 0; i < view->n; i++) {
			double own = pace_rate(&all[i], view->mean),
			       queued = (double)all[i].in_flight;

			if (i == r || !counts(view, i) || queued >= limit * own)
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
static double other_done(const struct pace_view *view, unsigned int r, double len)
{
	const struct pace *all = view->all;
	double best = 1e300, done;

	for (unsigned int i = 0; i < view->n; i++) {
		if (i == r || !counts(view, i))
			continue;
		done = ((double)all[i].in_flight + len) / pace_rate(&all[i], view->mean);
		if (done < best)
			best = done;
	}
	return best;
}

bool pace_takes_late(const struct pace_view *view, unsigned int r, uint64_t len, uint64_t left)
{
	const struct pace *pace = &view->all[r];
	double done = (double)(pace->in_flight + len) / pace_rate(pace, view->mean);

	return done <= others_done(view, r, (double)left) ||
	       done <= other_done(view, r, (double)len);
}
