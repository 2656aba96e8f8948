/* SPDX-License-Identifier: MIT
 * The promises of a request, checked when it ends, when a counter moves, and at the end of a seed.
 */
#ifndef TESTS_SIM_CHECK_H
#define TESTS_SIM_CHECK_H

#include "sim_load.h"

/* A request has ended, for its user: checks it and gives its memory back. */
void check_ended(struct load_request *, int result);

/* After a pass of a rank: ends its requests that have ended, and looks at its counters. */
void check_rank(struct sim_rank *);

/* A call that must be refused, and move nothing. */
void check_refusal(struct sim_rank *, struct dice *);

/* At the end of a seed. */
void check_all(void);

/* Names what has not ended in time. */
void check_hanging(void);

#endif
