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

/* The target's process turned out to be no more, in the midst of a copy. */
enum land_result reach_lost(struct op *, uint64_t now, uint64_t *again);

#endif
