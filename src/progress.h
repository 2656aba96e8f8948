/* SPDX-License-Identifier: MIT
 * The loop: take submitted requests, read completions, serve messages, post pieces. */
#ifndef KVR_PROGRESS_H
#define KVR_PROGRESS_H

#include <stdbool.h>

struct kvr;

/* One pass, by the holder of the engine lock; whether anything happened. */
bool progress_pass(struct kvr *);

struct wait {
	bool (*ready)(void *arg);
	void *arg;
	bool exclusive; /* ready looks at what the engine lock guards, not just at atomics */
	int timeout_ms;
};

/* Passes until ready says so, 0, or the time is over, -ETIMEDOUT; at least one pass, by this thread
 * or another. Gives the core away when idle. */
int progress_until(struct kvr *, const struct wait *);

#endif
