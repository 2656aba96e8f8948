/* SPDX-License-Identifier: MIT
 * Which of a rank's ways to a peer can be relied on. */
#include "health.h"

#define MS           1000000ll
#define PATIENCE     (50 * MS)   /* at least */
#define PATIENCE_MAX (2000 * MS) /* at most */
#define NO_HISTORY   (250 * MS)
#define IMITATED     10 /* times as long as these two, where processes carry what is written */
#define GRACE        (20 * MS)   /* for an answer, once another path has given one; at least */
#define ASK_AGAIN    (100 * MS)  /* while nobody answers */
#define LOST_TIMES   4           /* the patience, for a piece on a path that answers, ... */
#define LOST_LEAST   (1000 * MS) /* ... whose peer may have much else to do */
#define PAUSE        (50 * MS)
#define PAUSE_MAX    (2000 * MS)
#define FORGIVEN     (5000 * MS) /* in use for that long, the pauses begin anew */

int64_t health_patience(int64_t queued, bool imitated)
{
	int64_t least = queued ? PATIENCE : NO_HISTORY;
	int64_t patience = (imitated ? IMITATED * least : least) + 4 * queued;

	return patience < PATIENCE_MAX ? patience : PATIENCE_MAX;
}

enum health_verdict health_judge(const struct health *h, const struct health_question *q,
                                 int64_t posted, int64_t patience, int64_t now)
{
	int64_t due = posted + patience;

	if (h->out)
		return HEALTH_BLAME;
	if (now <= due)
		return HEALTH_WAIT;
	if (q->asked_at <= due) /* let the last question be answered first */
		return now - q->asked_at > 2 * GRACE ? HEALTH_ASK : HEALTH_WAIT;
	if (h->alive_at > q->asked_at)
		return now - posted > LOST_TIMES * patience && now - posted > LOST_LEAST
		               ? HEALTH_BLAME
		               : HEALTH_WAIT;
	if (q->answered_at)
		return now - q->answered_at > GRACE + patience / 4 ? HEALTH_BLAME : HEALTH_WAIT;
	return now - q->asked_at > ASK_AGAIN ? HEALTH_ASK : HEALTH_WAIT;
}

void health_ask(struct health_question *q, int64_t now)
{
	*q = (struct health_question){.asked_at = now};
}

void health_answer(struct health_question *q, int64_t now)
{
	if (!q->answered_at && now > q->asked_at)
		q->answered_at = now;
}

bool health_alive(struct health *h, struct health_question *q, int64_t now)
{
	bool is_back = h->out;

	h->alive_at = now;
	health_answer(q, now);
	if (is_back) {
		h->out = false;
		h->since = now;
	}
	return is_back;
}

bool health_fail(struct health *h, int64_t now)
{
	if (h->out)
		return false;
	if (now - h->since > FORGIVEN)
		h->pause = 0;
	h->out = true;
	h->since = h->tried_at = now;
	h->pause = h->pause ? 2 * h->pause : PAUSE;
	if (h->pause > PAUSE_MAX)
		h->pause = PAUSE_MAX;
	return true;
}

bool health_wants_try(struct health *h, int64_t now)
{
	if (!h->out || now - h->tried_at < h->pause)
		return false;
	h->tried_at = now;
	h->pause = 2 * h->pause < PAUSE_MAX ? 2 * h->pause : PAUSE_MAX;
	return true;
}
