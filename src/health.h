/* SPDX-License-Identifier: MIT
 * Which of a rank's ways to a peer can be relied on. Pure; times in ns, of the engine's clock.
 *
 * When a piece is overdue the peer is asked over all paths at once. If others answer and this one
 * stays silent it is out: its pieces go elsewhere, and it is tried again after a pause that doubles
 * each time. If this one answers, or other pieces still get through, the piece has more time, for
 * the rail may just be slow; then it is lost, and the path is out as well. If nobody answers, the
 * peer is busy, stopped or dead, and no path is to blame. */
#ifndef KVR_HEALTH_H
#define KVR_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

struct health {
	bool out;
	int64_t alive_at; /* the last sign of life: a piece or an answer */
	int64_t since;    /* in use, or out */
	int64_t tried_at, pause;
};

/* The last time that a peer was asked over all paths, and the first sign of life after it, on any
 * of them; 0: none. */
struct health_question {
	int64_t asked_at, answered_at;
};

/* How long a piece may take, on a path with so much queued (ns, from its own history; 0: none).
 * imitated: it is a write that the provider makes of messages, packet by packet, which processes
 * have to answer that may not run just then. */
int64_t health_patience(int64_t queued, bool imitated);

enum health_verdict {
	HEALTH_WAIT,
	HEALTH_ASK,   /* over all paths; say so by health_ask() */
	HEALTH_BLAME, /* then health_fail() */
};

/* The oldest piece on the path, posted at `posted`, is still on its way. */
enum health_verdict health_judge(const struct health *, const struct health_question *,
                                 int64_t posted, int64_t patience, int64_t now);

void health_ask(struct health_question *, int64_t now);

/* A sign of life; whether the path has come back by it, having been out. The same of a path that is
 * to stay out. */
bool health_alive(struct health *, struct health_question *, int64_t now);
void health_answer(struct health_question *, int64_t now);

/* It is out; whether that is news. */
bool health_fail(struct health *, int64_t now);

/* Out, and its pause is over: try it now. */
bool health_wants_try(struct health *, int64_t now);

#endif
