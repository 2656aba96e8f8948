/* SPDX-License-Identifier: MIT
 * Endpoints that are closed in the background. */
#include "fabric_retire.h"
#include <pthread.h>
#include <rdma/fabric.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SPINS (200 * 1000 * 1000) /* ns of a core; else it takes a few milliseconds */

struct retiring {
	pthread_t thread;
	bool is_idle; /* it has only what nobody else wants of the cores */
	struct fid *fids[RETIRE_FIDS];
	_Atomic bool ended;
};

void retire_at_once(struct fid *const fids[RETIRE_FIDS])
{
	for (int i = 0; i < RETIRE_FIDS; i++)
		if (fids[i])
			fi_close(fids[i]);
}

static void *run(void *arg)
{
	struct retiring *retiring = arg;

	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
	retire_at_once(retiring->fids);
	/* Pairs with retire_has_ended: all has been done when this is seen. */
	atomic_store_explicit(&retiring->ended, true, memory_order_release);
	return NULL;
}

struct retiring *retire_start(struct fid *const fids[RETIRE_FIDS])
{
	struct retiring *retiring = calloc(1, sizeof(*retiring));

	if (retiring)
		memcpy(retiring->fids, fids, sizeof(retiring->fids));
	if (retiring && !pthread_create(&retiring->thread, NULL, run, retiring))
		return retiring;
	free(retiring);
	retire_at_once(fids);
	return NULL;
}

/* What a thread has had of the cores: on a busy machine one that does not spin may take long, and
 * longer if it stepped back. ns. */
static int64_t time_spent(pthread_t thread)
{
	struct timespec t;
	clockid_t clock;

	if (pthread_getcpuclockid(thread, &clock) || clock_gettime(clock, &t))
		return 0;
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static void step_back(struct retiring *retiring)
{
	if (retiring->is_idle || time_spent(retiring->thread) < SPINS)
		return;
	retiring->is_idle = true;
	pthread_setschedparam(retiring->thread, SCHED_IDLE, &(struct sched_param){0});
}

bool retire_has_ended(struct retiring **retiring)
{
	if (!atomic_load_explicit(&(*retiring)->ended, memory_order_acquire)) {
		step_back(*retiring);
		return false;
	}
	pthread_join((*retiring)->thread, NULL);
	free(*retiring);
	*retiring = NULL;
	return true;
}

void retire_abandon(struct retiring *retiring)
{
#ifdef __SANITIZE_THREAD__ /* which takes a thread for wrong that ends within fi_close */
	pthread_detach(retiring->thread);
#else
	pthread_cancel(retiring->thread);
	pthread_join(retiring->thread, NULL);
	free(retiring);
#endif
}
