/* SPDX-License-Identifier: MIT
 * What kvrail's subcommands share: a job's start and end, and what it says. */
#include "app.h"
#include <errno.h>
#include <kvrail_mpi.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
/* Not at the end of the process: Open MPI has unloaded its modules by then, and its leaks could not
 * be told from ours. */
#define check_leaks() __lsan_do_leak_check()
#else
#define check_leaks() ((void)0)
#endif

#define RAILS_NAMED 4 /* in the first line, before it would get too long */

static bool asks_for_help(int argc, char **argv)
{
	static const char *const words[] = {"--help", "-?", "--usage", "--version", "-V"};

	/* Also shortened, as getopt takes them; but "--" is none. */
	for (int i = 1; i < argc; i++)
		for (size_t j = 0; j < sizeof(words) / sizeof(words[0]); j++)
			if (!strcmp(argv[i], words[j]) ||
			    (strlen(argv[i]) > 2 && !strncmp(argv[i], words[j], strlen(argv[i]))))
				return true;
	return false;
}

int app_start(struct app *app, const struct argp *argp, int argc, char **argv, void *input)
{
	/* Who is rank 0 is known only after MPI_Init, so the first time nobody says anything. Help
	 * is no matter of ranks, and argp ends the process after it: before MPI has begun. */
	unsigned silent = asks_for_help(argc, argv) ? 0 : ARGP_NO_ERRS;
	int bad = argp_parse(argp, argc, argv, silent, NULL, input);

	if (app_init(app, &argc, &argv))
		return EXIT_FAILED;
	if (bad && app->rank == 0)
		argp_parse(argp, argc, argv, ARGP_NO_EXIT, NULL, input);
	return bad ? EXIT_USAGE : 0;
}

int app_init(struct app *app, int *argc, char ***argv)
{
	MPI_Comm here;
	int level;

	/* Programs have helper threads; only this one calls MPI. */
	if (MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &level)) {
		app_error("MPI_Init failed: start it with mpirun or srun, or as one rank without");
		return EXIT_FAILED;
	}
	/* So that kvr_open can say what failed. */
	MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
	MPI_Comm_rank(MPI_COMM_WORLD, &app->rank);
	MPI_Comm_size(MPI_COMM_WORLD, &app->nranks);
	app->ranks_here = 1;
	if (!MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &here)) {
		MPI_Comm_size(here, &app->ranks_here);
		MPI_Comm_free(&here);
	}
	return 0;
}

int app_agree(const struct app *app, const char *why)
{
	int mine = why ? app->rank : app->nranks;
	int first;

	if (MPI_Allreduce(&mine, &first, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD)) {
		app_error("rank %d: MPI_Allreduce failed", app->rank);
		return EXIT_FAILED;
	}
	if (first == app->nranks)
		return 0;
	if (first == app->rank && first == 0)
		app_error("%s", why);
	else if (first == app->rank)
		app_error("rank %d, unlike rank 0: %s", app->rank, why);
	return EXIT_USAGE;
}

/* "eth0, eth1", or the first and the last of many. */
static void name_rails(const struct kvr *kvr, char *buf, size_t len)
{
	int count = kvr_rail_count(kvr);
	struct kvr_rail rail = {.size = sizeof(rail)};
	size_t used = 0;

	*buf = 0;
	for (int i = 0; i < count && used < len; i++) {
		if (count > RAILS_NAMED && i > 0 && i < count - 1)
			continue;
		if (kvr_rail_get(kvr, i, &rail))
			continue;
		used += (size_t)snprintf(buf + used, len - used, "%s%s",
		                         !used                 ? ""
		                         : count > RAILS_NAMED ? " to "
		                                               : ", ",
		                         rail.name);
	}
}

void app_first_line(const struct app *app)
{
	const char *why = "";
	const char *provider = kvr_provider(app->kvr, &why);
	int count = kvr_rail_count(app->kvr);
	char names[256];

	name_rails(app->kvr, names, sizeof(names));
	fprintf(app->json ? stderr : stdout, "kvrail %s: provider %s, %d rail%s (%s): %s\n",
	        KVR_VERSION, provider, count, count == 1 ? "" : "s", names, why);
	fflush(stdout);
}

int app_open(struct app *app, const struct kvr_options *options)
{
	struct kvr_bootstrap bootstrap;
	int rc = kvr_mpi_bootstrap(MPI_COMM_WORLD, &bootstrap);

	if (!rc)
		rc = kvr_open(&bootstrap, options, &app->kvr);
	if (rc) {
		app->kvr = NULL;
		if (app->rank == 0)
			app_error("cannot open the rails: %s", kvr_strerror(rc));
		return EXIT_FAILED;
	}
	if (app->rank == 0)
		app_first_line(app);
	return 0;
}

int app_close(struct app *app)
{
	int rc = app->kvr ? kvr_close(app->kvr) : 0;
	int running = 0;

	if (rc)
		app_error("rank %d: closing: %s", app->rank, kvr_strerror(rc));
	app->kvr = NULL;
	fflush(NULL);
	check_leaks();
	MPI_Initialized(&running);
	if (running && MPI_Finalize())
		rc = -EIO;
	return rc ? EXIT_FAILED : 0;
}

/* In one write, so that lines of several ranks do not mix. */
static void print_error(const char *prefix, const char *format, va_list args)
{
	char text[1024];

	vsnprintf(text, sizeof(text), format, args);
	fflush(stdout);
	fprintf(stderr, "kvrail: %s%s\n", prefix, text);
}

void app_error(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	print_error("", format, args);
	va_end(args);
}

void app_abort(const struct app *app, const char *format, ...)
{
	char prefix[32];
	va_list args;

	snprintf(prefix, sizeof(prefix), "rank %d: ", app->rank);
	va_start(args, format);
	print_error(prefix, format, args);
	va_end(args);
	fflush(NULL);
	MPI_Abort(MPI_COMM_WORLD, EXIT_FAILED);
	_Exit(EXIT_FAILED);
}

void app_json(json_t *object)
{
	char *line = object ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(12)) : NULL;

	json_decref(object);
	if (!line) {
		app_error("no memory for a line of JSON");
		return;
	}
	printf("%s\n", line);
	fflush(stdout);
	free(line);
}
