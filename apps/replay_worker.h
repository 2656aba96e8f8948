/* SPDX-License-Identifier: MIT
 * A thread that fills and compares blocks, so that the rank's own thread keeps moving data
 * meanwhile: neither its own transfers nor its peers' wait for the pattern. */
#ifndef REPLAY_WORKER_H
#define REPLAY_WORKER_H

#include "cache.h"
#include <pthread.h>
#include <stdbool.h>
#include <sys/queue.h>

struct worker_job {
	bool compare; /* else fill */
	struct cache_kv kv;
	double layer_seconds;     /* fill: no layer is ready sooner after the one before */
	_Atomic uint32_t ready;   /* fill: layers */
	uint8_t *spoil;           /* fill: a byte of the last layer to damage, or NULL */
	double ended;             /* fill: seconds_now() when the last one was */
	uint32_t step;            /* compare: every step-th token */
	uint64_t compared, wrong; /* compare: bytes */
	_Atomic bool done;
	STAILQ_ENTRY(worker_job) link;
};

struct worker {
	struct cache *cache;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	STAILQ_HEAD(, worker_job) jobs;
	bool stop;
};

/* 0 or a negative errno. The cache's blocks in a job's table are the worker's until it is done, or
 * their layer is ready; the free list stays the caller's. */
int worker_start(struct worker *, struct cache *);
void worker_stop(struct worker *); /* no job may be left */

/* In order. The job stays where it is until it is done. */
void worker_submit(struct worker *, struct worker_job *);
uint32_t worker_ready(const struct worker_job *);
bool worker_done(const struct worker_job *);

#endif
