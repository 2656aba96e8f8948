/* SPDX-License-Identifier: MIT
 * One direction of a NIC, shared by all processes of its host: bytes take their time on it. */
#ifndef SOFTEFA_LINK_H
#define SOFTEFA_LINK_H

#include "shm.h"

/* How long `bytes` take at a rate. */
static inline uint64_t link_time(uint64_t bytes, uint64_t ns_per_mib)
{
	return bytes * ns_per_mib >> 20;
}

/* Takes the next free stretch that is long enough and begins no earlier than `from`: returns its
 * begin, and its end in *end. A stretch in the past is as good as any: whoever comes late for work
 * that was ready in time has lost nothing. */
uint64_t link_reserve(struct shm_link *, uint64_t from, uint64_t duration, uint64_t *end);

#endif
