/* SPDX-License-Identifier: MIT
 * A source's work in kvr_reshard: every request to every destination, a bounded number of writes at
 * a time. */
#ifndef KVR_MOVER_H
#define KVR_MOVER_H

#include <kvrail.h>
#include <stdbool.h>

#define MOVER_WRITES 64 /* in flight */

struct mover_target {
	struct kvr_plan *plan;
	struct kvr_remote **remotes; /* NULL behind the last one */
	const uint32_t **tables;     /* of each request */
	size_t *counts;
};

struct mover {
	struct kvr *kvr;
	struct kvr_region *const *regions;
	struct kvr_pages *requests; /* with this rank's tables, and layers named */
	size_t request_count;
	struct mover_target *targets;
	size_t target_count;

	/* The next write: which request, for whom, from which of its layers on. */
	size_t request, target;
	uint32_t layer;
	struct kvr_request *writes[MOVER_WRITES];
	unsigned int in_flight;
	int error; /* the first one; no write is begun after it */
	uint64_t bytes, ops;
};

/* Works until all is done, or for about timeout_ms; true when all is done. */
bool mover_run(struct mover *, int timeout_ms);

/* Cancels what is in flight, and waits for its end. */
void mover_abort(struct mover *, int error);

#endif
