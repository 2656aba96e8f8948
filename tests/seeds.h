/* SPDX-License-Identifier: MIT
 * Seeded cases: a failure names its seed, and KVR_TEST_SEED=<seed> runs that case alone. */
#ifndef TESTS_SEEDS_H
#define TESTS_SEEDS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

struct dice {
	unsigned short state[3];
};

static inline struct dice dice_of(uint64_t seed)
{
	return (struct dice){{seed, seed >> 16, seed >> 32}};
}

/* 0 to n - 1. */
static inline uint64_t dice_roll(struct dice *dice, uint64_t n)
{
	uint64_t high = nrand48(dice->state), low = nrand48(dice->state);

	return (high << 31 | low) % n;
}

static inline bool dice_chance(struct dice *dice, unsigned int percent)
{
	return dice_roll(dice, 100) < percent;
}

/* Runs the case of every seed from 1 to n, which returns NULL or what went wrong. Returns NULL, or
 * that with its seed. */
static inline const char *seeds_run(uint64_t n, const char *(*run)(uint64_t seed))
{
	static char why[256];
	const char *only = getenv("KVR_TEST_SEED"), *wrong;
	uint64_t first = only ? strtoull(only, NULL, 0) : 1, last = only ? first : n;

	for (uint64_t seed = first; seed <= last; seed++) {
		wrong = run(seed);
		if (!wrong)
			continue;
		snprintf(why, sizeof(why), "KVR_TEST_SEED=%llu: %s", (unsigned long long)seed,
		         wrong);
		return why;
	}
	return NULL;
}

#endif
