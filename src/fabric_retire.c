/* SPDX-License-Identifier: MIT
 * Endpoints that are closed in the background. */
#include "fabric_retire.h"
#include "clock.h"
#include <pthread.h>
#include <rdma/fabric.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define SPINS (100 * 1000 * 1000) /* ns; else it takes a few milliseconds */

struct retiring {
	pthread_t thread;
	int64_t begun; /* ns */
	bool is_idle;  /* it has only what nobody else wants of the cores */
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

	if (retiring) {
		memcpy(retiring->fids, fids, sizeof(retiring->fids));
		retiring->begun = clock_now();
	}
	if (retiring && !pthread_create(&retiring->thread, NULL, run, retiring))
		return retiring;
	free(retiring);
	retire_at_once(fids);
	return NULL;
}

static void step_back(struct retiring *retiring)
{
	if (retiring->is_idle || clock_now() - retiring->begun < SPINS)
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
