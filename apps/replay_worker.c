/* SPDX-License-Identifier: MIT
 * The thread that fills and compares blocks. */
#include "replay_worker.h"
#include <stdatomic.h>

static void run_job(struct worker *worker, struct worker_job *job)
{
	if (job->compare)
		job->wrong = cache_compare(worker->cache, job->request, job->table, job->tokens,
		                           job->step, &job->compared);
	else
		cache_fill(worker->cache, job->request, job->table, job->tokens);
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
	atomic_store_explicit(&job->done, false, memory_order_relaxed);
	pthread_mutex_lock(&worker->lock);
	STAILQ_INSERT_TAIL(&worker->jobs, job, link);
	pthread_cond_signal(&worker->changed);
	pthread_mutex_unlock(&worker->lock);
}

bool worker_done(const struct worker_job *job)
{
	return atomic_load_explicit(&job->done, memory_order_acquire);
}
