/* SPDX-License-Identifier: MIT
 * One seed, from beginning to end. */
#ifndef TESTS_SIM_RUN_H
#define TESTS_SIM_RUN_H

#include <stdbool.h>
#include <stdint.h>

struct sim_sum {
	uint64_t seeds, requests, cancelled, operations, faults, violations;
	uint64_t digest; /* the last seed's: it tells whether two runs were the same */
};

/* Adds what happened to the sum. Returns NULL, or the first promise that was broken, until the next
 * call. Faults of the mask only: see sim_faults.h. */
const char *sim_run(uint64_t seed, uint32_t mask, bool trace, struct sim_sum *);

#endif
