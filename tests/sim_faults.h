/* SPDX-License-Identifier: MIT
 * What goes wrong in one seed's world: a plan made before it begins. */
#ifndef TESTS_SIM_FAULTS_H
#define TESTS_SIM_FAULTS_H

#include "sim_fabric.h"
#include <stdbool.h>
#include <stdint.h>

/* Kinds of faults, as bits of a mask; sim_faults.c names and explains each. */
enum fault {
	FAULT_AGAIN = 1 << 0,
	FAULT_SLOW = 1 << 1,
	FAULT_DUPLICATE = 1 << 2,
	FAULT_EMULATED = 1 << 3,
	FAULT_PAUSE = 1 << 4,
	FAULT_CANCEL = 1 << 5,
	FAULT_ERROR = 1 << 6,
	FAULT_LATE = 1 << 7,
	FAULT_SEND_ERROR = 1 << 8,
	FAULT_DOWN = 1 << 9,
	FAULT_HOLE = 1 << 10,
	FAULT_FLAP = 1 << 11,
	FAULT_LOST_END = 1 << 12,
	FAULT_LOST_ARRIVAL = 1 << 13,
	FAULT_TARGET_ERROR = 1 << 14,
	FAULT_DEATH = 1 << 15,
	FAULT_STRAY = 1 << 16,
	FAULT_DEAF = 1 << 17,
	FAULT_ALL = (1 << 18) - 1,
	/* Not faults. A demand: an error must not reach the user while a rail is left. */
	FAULT_FAILOVER = 1 << 18,
	/* Another kind of fabric, efa's: see sim_fabric.stays. */
	FAULT_EFA = 1 << 19,
	FAULT_MEMORY = 1 << 20,
};

/* What the engine survives as it is: the default. */
extern const uint32_t faults_survived;

struct faults {
	uint32_t kinds;          /* of this seed */
	unsigned int again;      /* percent of posts */
	unsigned int duplicates; /* percent of arrivals */
	unsigned int errors, send_errors, lost_ends, lost_arrivals, target_errors; /* per mille */
	uint32_t wounded[SIM_RANKS]; /* rails that fail at some time, as bits */
	uint32_t mortal;             /* ranks that die at some time */
};

extern struct faults faults;

/* Makes the seed's plan, with kinds of the mask only, and puts it in the calendar. The rails are
 * there. */
void faults_plan(uint32_t mask);

/* What is to become of an operation; fills its fate in. */
void faults_choose_fate(struct sim_op *);

/* Whether this seed's plan excuses that a request of `rank` to `targets` (bits) failed so. */
bool faults_excuse(unsigned int rank, unsigned int targets, int error);

/* Whether the NIC gets no new endpoint now. */
bool faults_refuse_endpoint(const struct fabric_nic *);

/* Whether closing must succeed all the same. */
bool faults_are_mild(void);

/* The kinds that a comma-separated list names; false: there is an unknown one. */
bool faults_parse(const char *list, uint32_t *mask);
void faults_help(void);

#endif
