/* SPDX-License-Identifier: MIT
 * kvrail-sim: runs any number of seeds of the simulation, or tells one of them step by step. */
#include "sim_faults.h"
#include "sim_run.h"
#include <argp.h>
#include <stdio.h>
#include <stdlib.h>

struct choice {
	uint64_t first, seeds, violations;
	uint32_t mask;
	bool trace;
};

enum { FIRST = 256, SEEDS, SEED, FAULTS, LIST };

static const struct argp_option options[] = {
	{"first-seed", FIRST, "S", 0, "The first seed (1)", 0},
	{"seeds", SEEDS, "N", 0, "How many (1000)", 0},
	{"seed", SEED, "S", 0, "This one alone, and tell what happens", 0},
	{"faults", FAULTS, "LIST", 0,
         "Kinds of faults, comma separated: names, all, survived (default), none", 0},
	{"list", LIST, NULL, 0, "List the kinds of faults", 0},
	{0},
};

static uint64_t number(const char *text, struct argp_state *state)
{
	char *end;
	uint64_t n = strtoull(text, &end, 0);

	if (!*text || *end)
		argp_error(state, "\"%s\" is not a number", text);
	return n;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct choice *choice = state->input;

	switch (key) {
	case FIRST:
		choice->first = number(arg, state);
		return 0;
	case SEEDS:
		choice->seeds = number(arg, state);
		return 0;
	case SEED:
		choice->first = number(arg, state);
		choice->seeds = 1;
		choice->trace = true;
		return 0;
	case FAULTS:
		if (!faults_parse(arg, &choice->mask))
			argp_error(state, "\"%s\": see --list", arg);
		return 0;
	case LIST:
		faults_help();
		exit(0);
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

int main(int argc, char **argv)
{
	const struct argp argp = {
		options, parse,
		NULL,    "Simulated transfers under faults; exit 1 if a promise was broken",
		NULL,    NULL,
		NULL};
	struct choice choice = {.first = 1, .seeds = 1000, .mask = faults_survived};
	struct sim_sum sum = {0};
	const char *wrong;

	argp_parse(&argp, argc, argv, 0, NULL, &choice);
	for (uint64_t i = 0; i < choice.seeds; i++) {
		wrong = sim_run(choice.first + i, choice.mask, choice.trace, &sum);
		if (wrong)
			printf("seed %llu: %s\n", (unsigned long long)(choice.first + i), wrong);
	}
	printf("kvrail-sim: %llu seeds, %llu requests, %llu of them cancelled, %llu operations, "
	       "%llu faults, %llu violations\n",
	       (unsigned long long)sum.seeds, (unsigned long long)sum.requests,
	       (unsigned long long)sum.cancelled, (unsigned long long)sum.operations,
	       (unsigned long long)sum.faults, (unsigned long long)sum.violations);
	return sum.violations ? 1 : 0;
}
