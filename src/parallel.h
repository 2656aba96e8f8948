/* SPDX-License-Identifier: MIT
 * Slow things that are done for many rails at once: opening, registering. */
#ifndef KVR_PARALLEL_H
#define KVR_PARALLEL_H

#include <stdbool.h>
#include <stdint.h>

/* Calls fn(arg, r) for each r of `rails` (bits), and comes back when all have: each on a thread of
 * its own. Where none can be had, or `in_turn`, here, one after the other. */
void parallel_each(uint32_t rails, bool in_turn, void (*fn)(void *arg, unsigned int r), void *arg);

#endif
