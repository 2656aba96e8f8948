/* SPDX-License-Identifier: MIT
 * softefa ctl: makes something happen to a fabric that runs, or shows what it has counted. */
#include "ctl.h"
#include "events.h"
#include "report.h"
#include <argp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_MAX 4

struct ctl {
	const char *dir;
	bool json;
	char *words[WORDS_MAX];
	int count;
};

static const struct argp_option options[] = {
	{"dir", 'd', "FOLDER", 0, "The fabric's folder; default: " SOFTEFA_DIR_VARIABLE, 0},
	{"json", 'j', NULL, 0, "With stats: one line of JSON, with the NICs' states", 0},
	{0},
};

static error_t parse_key(int key, char *arg, struct argp_state *state)
{
	struct ctl *ctl = state->input;

	switch (key) {
	case 'd':
		ctl->dir = arg;
		return 0;
	case 'j':
		ctl->json = true;
		return 0;
	case ARGP_KEY_ARG:
		if (ctl->count == WORDS_MAX)
			argp_error(state, "too many words");
		else
			ctl->words[ctl->count++] = arg;
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_usage(state);
		return EINVAL;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = options,
	.parser = parse_key,
	.args_doc = "EVENT HOST[:NIC] [VALUE]\nstats",
	.doc = "Makes something happen to the software EFA that this runs in, at once.\v"
	       "Of NICs: up, down, blackhole, rate SHARE, latency US, error PERCENT. Of hosts: "
	       "kill, "
	       "pause, resume. HOST and NIC are numbers from 0, or *.",
};

static int show_stats(const struct ctl *ctl, const struct shm *shm)
{
	int rc = 0;

	if (ctl->json)
		rc = report_json(shm, stdout);
	else
		report_table(shm, stdout);
	if (!fflush(stdout) && !rc)
		return 0;
	fprintf(stderr, "softefa ctl: standard output: %s\n", strerror(errno));
	return 1;
}

int ctl_main(int argc, char **argv)
{
	struct ctl ctl = {.dir = getenv(SOFTEFA_DIR_VARIABLE)};
	struct fault_event event;
	char why[EVENT_WHY];
	struct shm *shm;

	argp_err_exit_status = 2;
	argv[0] = "softefa ctl";
	if (argp_parse(&argp, argc, argv, 0, NULL, &ctl))
		return 2;
	errno = ENOENT;
	shm = ctl.dir ? shm_open_dir(ctl.dir, false) : NULL;
	if (!shm) {
		fprintf(stderr,
		        "softefa ctl: no fabric in '%s': %s; run it below softefa, or name "
		        "its folder with --dir\n",
		        ctl.dir ? ctl.dir : "", strerror(errno));
		return 1;
	}
	if (!strcmp(ctl.words[0], "stats") && ctl.count == 1)
		return show_stats(&ctl, shm);
	if (!event_parse(&shm->config, ctl.words, ctl.count, &event, why)) {
		fprintf(stderr, "softefa ctl: %s\n", why);
		return 2;
	}
	event_apply(shm, &event);
	return 0;
}
