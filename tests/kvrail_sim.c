/* SPDX-License-Identifier: MIT
 * kvrail-sim: runs any number of seeds of the simulation, or tells one of them step by step. */
#include "sim_faults.h"
#include "sim_run.h"
#include <argp.h>
#include <errno.h>
#include <kvrail.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct choice {
	uint64_t first, seeds, violations;
	uint32_t mask;
	bool trace;
};

enum { FIRST = 256, SEEDS, SEED, FAULTS, LIST };

static const struct argp_option options[] = {
	{"first-seed", FIRST, "S", 0, "The first seed (default 1)", 0},
	{"seeds", SEEDS, "N", 0, "How many (default 1000)", 0},
	{"seed", SEED, "S", 0, "This one alone, and tell what happens", 0},
	{"faults", FAULTS, "LIST", 0,
         "Kinds of faults, comma separated: names, all, survived (default), none", 0},
	{"list", LIST, NULL, 0, "List the kinds of faults", 0},
	{0},
};

static uint64_t number(const char *option, const char *text, uint64_t least,
                       struct argp_state *state)
{
	char *end;
	uint64_t n;

	errno = 0;
	n = strtoull(text, &end, 0);
	if (*text < '0' || *text > '9' || *end || errno || n < least)
		argp_error(state, "--%s '%s' is not a whole number from %d to 2^64 - 1", option,
		           text, (int)least);
	return n;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct choice *choice = state->input;

	switch (key) {
	case FIRST:
		choice->first = number("first-seed", arg, 0, state);
		return 0;
	case SEEDS:
		choice->seeds = number("seeds", arg, 1, state);
		return 0;
	case SEED:
		choice->first = number("seed", arg, 0, state);
		choice->seeds = 1;
		choice->trace = true;
		return 0;
	case FAULTS:
		if (!faults_parse(arg, &choice->mask))
			argp_error(state, "--faults '%s' has a kind that is none: see --list", arg);
		return 0;
	case LIST:
		faults_help();
		exit(0);
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* A seed is one and the same job, whatever the user's settings are. */
static void forget_settings(void)
{
	struct kvr_setting setting;

	for (size_t i = 0; !kvr_setting_get(i, &setting); i++)
		unsetenv(setting.name);
}

static int end_output(int status)
{
	if (!fflush(stdout) && !ferror(stdout))
		return status;
	fprintf(stderr, "kvrail-sim: standard output, which is not complete: %s\n",
	        strerror(errno));
	return 1;
}

int main(int argc, char **argv)
{
	const struct argp argp = {
		.options = options,
		.parser = parse,
		.doc = "Simulated transfers under faults.\vExit status: 0 all promises were kept; "
		       "1 one was broken, or the output could not be written; 2 wrong arguments.",
	};
	struct choice choice = {.first = 1, .seeds = 1000, .mask = faults_survived};
	struct sim_sum sum = {0};
	const char *wrong;

	argp_err_exit_status = 2;
	argp_parse(&argp, argc, argv, 0, NULL, &choice);
	forget_settings();
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
	return end_output(sum.violations ? 1 : 0);
}
