/* SPDX-License-Identifier: MIT
 * Whether an operation's target can be had now. */
#ifndef SOFTEFA_REACH_H
#define SOFTEFA_REACH_H

#include "land.h"

/* Sets the status; returns LAND_FAILED. */
enum land_result land_fail(struct op *, enum efa_status);

/* What the NICs on the way say. */
enum land_result reach_nics(struct op *, uint64_t now, uint64_t *again);

/* Holds the target's queue pair until reach_release: after its owner has destroyed it nothing
 * lands any more. */
enum land_result reach_hold(struct op *, uint64_t now, uint64_t *again);
void reach_release(void);

/* What a copy that did not go well means: rc is NO_OWN_MEMORY; ESRCH, where the target's process
 * turned out to be no more; or anything else, which is `status`. */
enum land_result reach_lost(struct op *, int rc, enum efa_status status, uint64_t now,
                            uint64_t *again);

#endif
