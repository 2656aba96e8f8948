/* SPDX-License-Identifier: MIT
 * What happens to NICs and hosts while a program runs: by a schedule, or at once. */
#ifndef SOFTEFA_EVENTS_H
#define SOFTEFA_EVENTS_H

#include "shm.h"

#define EVENT_WHY 160 /* room for what is wrong with one */
#define ALL       UINT32_MAX

enum fault {
	FAULT_UP,
	FAULT_DOWN,
	FAULT_BLACKHOLE,
	FAULT_RATE,
	FAULT_LATENCY,
	FAULT_ERROR,
	FAULT_KILL,
	FAULT_PAUSE,
	FAULT_RESUME,
};

struct fault_event {
	uint64_t at; /* ns from the start; in a schedule */
	enum fault fault;
	uint32_t host, nic; /* ALL: every one */
	double value;
	char text[64]; /* as it was written */
};

/* From words: EVENT HOST[:NIC] [VALUE]. false: *why says what is wrong. */
bool event_parse(const struct shm_config *, char *const *words, int count, struct fault_event *,
                 char why[EVENT_WHY]);

/* Makes it happen now. */
void event_apply(struct shm *, const struct fault_event *);

struct schedule {
	struct fault_event *events; /* by time */
	size_t count, next;
};

/* Reads a file: a line each, SECONDS and then as above; # begins a comment. false: said why. */
bool schedule_read(const struct shm_config *, const char *path, struct schedule *);
void schedule_close(struct schedule *);

/* Makes happen what is due by `now`, ns from the start, each with a line on standard error. Returns
 * when the next is due; UINT64_MAX: none is left. */
uint64_t schedule_run(struct shm *, struct schedule *, uint64_t now);

#endif
