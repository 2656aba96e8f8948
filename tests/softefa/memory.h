/* SPDX-License-Identifier: MIT
 * Registered memory: looked up by whoever copies into it or out of it. */
#ifndef SOFTEFA_MEMORY_H
#define SOFTEFA_MEMORY_H

#include "process.h"

struct memory_use {
	uint32_t key;
	uint32_t access; /* rights that are needed; 0: own memory */
	uint64_t addr;   /* as the user of the key calls it */
	uint64_t len;
	uint32_t proc; /* whose it has to be */
	uint32_t nic;  /* on which of its host's */
};

/* Where the bytes are in their process, held until memory_release: a deregistration waits so long.
 * hold: 0 or 1 for memory of this process, 2 for a peer's. false: no such memory, or no right. */
bool memory_hold(const struct memory_use *, unsigned int hold, uint64_t *addr);
void memory_release(unsigned int hold);

#endif
