/* SPDX-License-Identifier: MIT
 * A rank's usual things: an open context, one region of its own, and everybody's as remotes. */
#ifndef TESTS_JOB_H
#define TESTS_JOB_H

#include "ranks.h"
#include <stdint.h>

#define JOB_MAX_RANKS 16
#define JOB_TIMEOUT   90000 /* ms; against hangs only */

struct job {
	int rank, n;
	struct kvr *kvr;
	uint8_t *memory;
	size_t bytes;
	struct kvr_region *region;
	struct kvr_remote *remote[JOB_MAX_RANKS];
};

void job_open(struct job *, const struct kvr_bootstrap *, size_t bytes);
void job_open_in(struct job *, const struct kvr_bootstrap *, struct kvr *, size_t bytes);
void job_close(struct job *);

/* With memory of the caller's, which stays the caller's. */
void job_open_at(struct job *, const struct kvr_bootstrap *, struct kvr *, void *memory,
                 size_t bytes);
void job_leave(struct job *);

void job_barrier(struct job *);

/* Writes ops and waits for the end. */
void job_write(struct job *, const struct kvr_op *, size_t n, uint32_t counter);

/* Ends the process with 77, saying so, where KVR_PROVIDER is not to be had here. */
void job_need_provider(void);

/* Stops this rank, without a word, until another one lets it end. */
void job_fall_silent(void) __attribute__((noreturn));
void job_let_end(pid_t);

uint8_t job_pattern(int rank, size_t i); /* byte i of a rank's memory */

void job_quiet(void *arg, int level, const char *line); /* a log that drops what is expected */

#endif
