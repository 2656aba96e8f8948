/* SPDX-License-Identifier: MIT
 * What kvrail's subcommands share. */
#ifndef APP_H
#define APP_H

#include <argp.h>
#include <jansson.h>
#include <kvrail.h>
#include <stdbool.h>

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 }; /* see README: exit status */

int info_main(int argc, char **argv);
int bench_main(int argc, char **argv);
int replay_main(int argc, char **argv);

/* An MPI job with an open context. After app_open returns no MPI function is called until
 * app_close, which finalizes MPI; but for app_abort, on the way down. */
struct app {
	int rank, nranks;
	int ranks_here; /* ranks on this host, this one included */
	bool json;
	struct kvr *kvr;
};

/* Parses the command line and starts MPI. Every rank sees the same line, so all of them end alike
 * and only rank 0 speaks of it. 0, EXIT_USAGE or EXIT_FAILED; app_close after all. --help does not
 * return. */
int app_start(struct app *, const struct argp *, int argc, char **argv, void *input);

/* app_start's second half, for those that parse by themselves: MPI_Init. 0 or EXIT_FAILED. */
int app_init(struct app *, int *argc, char ***argv);

/* All ranks call it with what they made of their input: `why` is NULL where all is well. If it is
 * not, the first such rank says why, and all get EXIT_USAGE. Between app_init and app_open. */
int app_agree(const struct app *, const char *why);

/* kvr_open, and rank 0 prints the first line that says which provider, how many rails and why
 * (standard error with --json). 0 or EXIT_FAILED, said why. */
int app_open(struct app *, const struct kvr_options *);
void app_first_line(const struct app *);

/* Of an app in whatever state. 0 or EXIT_FAILED. */
int app_close(struct app *);

/* One line on standard error, from this rank: "kvrail: ...". */
void app_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The same, with the rank, and the end of all ranks: for failures that others would wait for. */
_Noreturn void app_abort(const struct app *, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* One JSON object on a line of standard output; takes the reference, also of NULL, which is what
 * json_pack returns without memory. */
void app_json(json_t *object);

/* A progress bar on the terminal that standard error, or the launcher's, goes to; else nothing. */
struct progress_bar {
	const char *what;
	uint64_t total;
	double shown_at; /* seconds */
	bool visible;
	int fd; /* the terminal, while visible */
};

void progress_start(struct progress_bar *, const char *what, uint64_t total);
void progress_show(struct progress_bar *, uint64_t done, uint64_t bytes);
void progress_end(struct progress_bar *);

/* 1.50 GiB; 12.3 MB/s. Returns buf. */
const char *human_bytes(uint64_t bytes, char buf[static 32]);
const char *human_rate(double bytes_per_second, char buf[static 32]);

double seconds_now(void); /* CLOCK_MONOTONIC */

#endif
