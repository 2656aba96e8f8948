/* SPDX-License-Identifier: MIT
 * A world of virtual time: what is to happen, when, and one seed that decides all of it. There is
 * one world at a time, for neither a clock nor a fabric's table of calls can say which is meant. */
#ifndef TESTS_SIM_WORLD_H
#define TESTS_SIM_WORLD_H

#include "seeds.h"
#include <stdbool.h>
#include <stdint.h>

#define US 1000ll /* ns */
#define MS (1000 * US)
#define S  (1000 * MS)

struct world {
	uint64_t seed;
	struct dice dice; /* of the network and of who runs next */
	int64_t now;      /* ns */
	bool trace;
	uint64_t requests, cancelled; /* that ended, and how many of them with -ECANCELED */
	uint64_t operations, faults, lost_ends, violations;
	uint64_t digest;     /* of all that was ever reported: the same seed gives the same one */
	char violation[256]; /* the first */
};

extern struct world world;

void world_open(uint64_t seed, bool trace);
void world_close(void);

/* Dice that depend on the seed and on nothing else; for each use its own, so that a fault left out
 * leaves the work as it is. */
struct dice world_dice(unsigned int use);

/* Lets fn(arg, detail) happen at a moment; what is due at the same one happens in this order. */
void world_at(int64_t at, void (*fn)(void *arg, unsigned int detail), void *arg,
              unsigned int detail);

/* When the next thing happens; INT64_MAX: nothing will. */
int64_t world_next(void);

/* Lets all happen that is due up to `until`, which is then now. */
void world_advance(int64_t until);

/* A random span: from low to high, the small ones as likely as the great ones. */
int64_t world_span(struct dice *, int64_t low, int64_t high);

/* Takes something that happened into the digest. */
void world_digest(uint64_t what);

void world_trace(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A promise was broken. The first one ends the seed. */
void world_violation(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
