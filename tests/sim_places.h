/* SPDX-License-Identifier: MIT
 * Where the simulated ranks' memory and rails are: NUMA nodes and distances that the seed makes up,
 * and pages that move between them. */
#ifndef TESTS_SIM_PLACES_H
#define TESTS_SIM_PLACES_H

#include "sim_ranks.h"

/* A seed begins: what it makes up depends on nothing else. */
void places_open(void);

/* Of a rank that has no regions yet: where its rails are, unless nobody knows. */
void places_choose(struct sim_rank *);

/* All pages are somewhere else, and one of the rank's regions looks. */
void places_move(struct sim_rank *);

#endif
