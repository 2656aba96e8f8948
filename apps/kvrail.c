/* SPDX-License-Identifier: MIT
 * The kvrail program: finds the subcommand and hands over to it. */
#include "app.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *argp_program_version = "kvrail " KVR_VERSION;

static const struct command {
	const char *name;
	int (*main)(int argc, char **argv);
	char *title; /* what its messages begin with */
} commands[] = {
	{"info", info_main, "kvrail info"},
	{"bench", bench_main, "kvrail bench"},
	{"replay", replay_main, "kvrail replay"},
};

#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

struct choice {
	const struct command *command;
	int argc;
	char **argv;
};

static const char doc[] =
	"Moves paged KV cache between the ranks of a job over every network rail of a node.\v"
	"Commands:\n"
	"  info    the rails of this host, the provider, the environment's settings\n"
	"  bench   write and read rates, beside those of a bare libfabric loop\n"
	"  replay  a request trace's KV caches from prefill to decode ranks, verified\n"
	"\n"
	"`kvrail COMMAND --help' tells more. bench and replay are started by mpirun or srun.\n"
	"Exit status: 0 all well; 1 something failed while running; 2 wrong arguments or input.";

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < COMMANDS; i++)
		if (!strcmp(name, commands[i].name))
			return &commands[i];
	return NULL;
}

static error_t parse_key(int key, char *arg, struct argp_state *state)
{
	struct choice *choice = state->input;

	switch (key) {
	case ARGP_KEY_ARG:
		choice->command = find_command(arg);
		if (!choice->command)
			argp_error(state, "unknown command '%s': known are info, bench, replay",
			           arg);
		/* The rest is the command's, options too. */
		choice->argc = state->argc - state->next + 1;
		choice->argv = state->argv + state->next - 1;
		state->next = state->argc;
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "a command is missing: info, bench or replay");
		return EINVAL;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* What was closed when we were started is held by something that cannot be written to: else a file
 * or socket of ours would take its place, and our words would go there. */
static void hold_streams(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDONLY);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

/* Words that did not get there make a good status a bad one. */
static int end_output(int status)
{
	if (!fflush(stdout) && !ferror(stdout))
		return status;
	app_error("standard output, which is not complete: %s", strerror(errno));
	return status ? status : EXIT_FAILED;
}

int main(int argc, char **argv)
{
	const struct argp argp = {
		.parser = parse_key, .args_doc = "COMMAND [ARGUMENT...]", .doc = doc};
	struct choice choice = {.argc = 0};

	hold_streams();
	argp_err_exit_status = EXIT_USAGE;
	if (argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &choice))
		return EXIT_USAGE;
	choice.argv[0] = choice.command->title;
	return end_output(choice.command->main(choice.argc, choice.argv));
}
