/* SPDX-License-Identifier: MIT
 * What the simulated ranks' users do: they start, watch and cancel requests. */
#ifndef TESTS_SIM_LOAD_H
#define TESTS_SIM_LOAD_H

#include "sim_ranks.h"

#define LOAD_REQUESTS 24 /* of one seed, at most */
#define LOAD_OPS      6  /* of one request, for one target */
#define LOAD_TARGETS  3

struct load_target {
	unsigned int rank;
	unsigned int source_rank;
	struct extent source, target;
	struct runs runs[LOAD_OPS];
	unsigned int n;
	bool counted;   /* its counter has moved */
	bool was_right; /* all bytes were there when the request ended */
};

struct load_request {
	uint32_t id; /* from 1; also the counter's */
	struct sim_rank *rank;
	struct kvr_request *handle;
	bool is_read, has_counter, is_cancelled, has_ended;
	struct load_target target[LOAD_TARGETS];
	unsigned int targets;
};

struct load {
	struct dice dice;
	unsigned int wanted, started;
	struct load_request request[LOAD_REQUESTS];
	uint64_t batches; /* that were posted, per target */
};

extern struct load load;

void load_open(void);

/* One rank's user perhaps does something. */
void load_act(void);

/* Whether all that was to be done has been, by the living. */
bool load_is_over(void);

/* Frees the requests of a dead rank that have ended; whether all have. */
bool load_bury(struct sim_rank *);

#endif
