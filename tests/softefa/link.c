/* SPDX-License-Identifier: MIT
 * One direction of a NIC, shared by all processes of its host. */
#include "link.h"

uint64_t link_reserve(struct shm_link *link, uint64_t from, uint64_t duration, uint64_t *end)
{
	uint64_t free_at = atomic_load_explicit(&link->free_at, memory_order_relaxed), begin;

	do {
		begin = free_at > from ? free_at : from;
		*end = begin + duration;
	} while (!atomic_compare_exchange_weak(&link->free_at, &free_at, *end));
	return begin;
}
