/* SPDX-License-Identifier: MIT
 * The thread that fills and compares blocks. */
#include "replay_worker.h"
#include "app.h"
#include <math.h>
#include <stdatomic.h>
#include <time.h>

static void sleep_until(double seconds)
{
	double left = seconds - seconds_now();

	if (left > 0)
		nanosleep(&(struct timespec){(time_t)left, (long)(fmod(left, 1) * 1e9)}, NULL);
}

/* As a model would, layer by layer: what is ready may be sent while the next one is made. */
static void fill(struct worker *worker, struct worker_job *job)
{
	struct cache_kv layer = job->kv;

	layer.layers = 1;
	for (uint32_t i = 0; i < job->kv.layers; i++) {
		double begun = seconds_now();

		layer.first_layer = job->kv.first_layer + i;
		cache_fill(worker->cache, &layer);
		if (job->spoil && layer.first_layer + 1 == worker->cache->layout.layers)
			*job->spoil ^= 1;
		sleep_until(begun + job->layer_seconds);
		job->ended = seconds_now();
		/* Pairs with the acquire in worker_ready: what was filled is seen there. */
		atomic_store_explicit(&job->ready, i + 1, memory_order_release);
	}
}

static void run_job(struct worker *worker, struct worker_job *job)
{
	if (job->compare)
		job->wrong = cache_compare(worker->cache, &job->kv, job->step, &job->compared);
	else
		fill(worker, job);
	/* Pairs with the acquire in worker_done: what was filled or counted is seen there. */
	atomic_store_explicit(&job->done, true, memory_order_release);
}

static struct worker_job *next_job(struct worker *worker)
{
	struct worker_job *job;

	pthread_mutex_lock(&worker->lock);
	while (STAILQ_EMPTY(&worker->jobs) && !worker->stop)
		pthread_cond_wait(&worker->changed, &worker->lock);
	job = STAILQ_FIRST(&worker->jobs);
	if (job)
		STAILQ_REMOVE_HEAD(&worker->jobs, link);
	pthread_mutex_unlock(&worker->lock);
	return job;
}

static void *work(void *arg)
{
	struct worker *worker = arg;
	struct worker_job *job;

	while ((job = next_job(worker)))
		run_job(worker, job);
	return NULL;
}

int worker_start(struct worker *worker, struct cache *cache)
{
	worker->cache = cache;
	worker->stop = false;
	STAILQ_INIT(&worker->jobs);
	pthread_mutex_init(&worker->lock, NULL);
	pthread_cond_init(&worker->changed, NULL);
	return -pthread_create(&worker->thread, NULL, work, worker);
}

void worker_stop(struct worker *worker)
{
	pthread_mutex_lock(&worker->lock);
	worker->stop = true;
	pthread_cond_signal(&worker->changed);
	pthread_mutex_unlock(&worker->lock);
	pthread_join(worker->thread, NULL);
	pthread_cond_destroy(&worker->changed);
	pthread_mutex_destroy(&worker->lock);
}

void worker_submit(struct worker *worker, struct worker_job *job)
{
	atomic_store_explicit(&job->ready, 0, memory_order_relaxed);
	atomic_store_explicit(&job->done, false, memory_order_relaxed);
	pthread_mutex_lock(&worker->lock);
	STAILQ_INSERT_TAIL(&worker->jobs, job, link);
	pthread_cond_signal(&worker->changed);
	pthread_mutex_unlock(&worker->lock);
}

uint32_t worker_ready(const struct worker_job *job)
{
	return atomic_load_explicit(&job->ready, memory_order_acquire);
}

bool worker_done(const struct worker_job *job)
{
	return atomic_load_explicit(&job->done, memory_order_acquire);
}
