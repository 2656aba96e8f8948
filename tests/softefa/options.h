/* SPDX-License-Identifier: MIT
 * softefa's command line. */
#ifndef SOFTEFA_OPTIONS_H
#define SOFTEFA_OPTIONS_H

#include "shm.h"

struct options {
	struct shm_config config;
	uint64_t latency_ns;
	const char *topology, *schedule;
	bool stats;
	const char *stats_json; /* a file, instead of the table */
	char **command;
};

/* Fills it in; ends the process with status 2, having said why, where it cannot. */
void options_parse(struct options *, int argc, char **argv);

#endif
