/* SPDX-License-Identifier: MIT
 * The ranks of a simulated job: contexts of one process and one thread, driven in an order that the
 * seed decides. */
#ifndef TESTS_SIM_RANKS_H
#define TESTS_SIM_RANKS_H

#include "sim_fabric.h"
#include "sim_memory.h"
#include <kvrail.h>

struct sim_rank {
	unsigned int number;
	struct kvr *kvr;
	bool idle;         /* nothing came since its last pass, which did nothing */
	bool inside;       /* it is in a call of kvrail's that waits, and drives the others */
	bool is_dead;      /* only lives on to be closed */
	bool has_given_up; /* it has taken one of the others for dead */
	bool is_news;      /* it did something that nobody has checked */
	int64_t paused_until;
	int peer[SIM_RANKS];
	struct kvr_region *region[MEMORY_ROLES][MEMORY_REGIONS];
	struct kvr_remote *remote[SIM_RANKS][MEMORY_ROLES][MEMORY_REGIONS];
};

extern struct sim_rank ranks[SIM_RANKS];
extern unsigned int ranks_count;

/* Opens some ranks with some rails each, their memory, and introduces all to each other. */
void ranks_open(struct dice *);

/* Closes one, whose requests are closed. `clean`: nothing has failed, and this must not. */
void ranks_close(struct sim_rank *, bool clean);

/* Closes a region that no request uses and opens it again, with another key; so do all others with
 * their remotes of it. Whoever still writes there is found out. */
void ranks_renew(struct sim_rank *, enum memory_role, unsigned int region);

/* Whether its user may make calls now. */
bool ranks_can_act(const struct sim_rank *);

/* Lets one rank make a pass, or where none has a reason to, time go by. */
void ranks_turn(void);

/* Whether nothing is on its way, and nobody pauses or has more to do. */
bool ranks_are_quiet(void);

void ranks_kill(struct sim_rank *);

/* From now on the dead are driven as well, so that they can be closed: all they do fails. */
void ranks_bury(void);

#endif
