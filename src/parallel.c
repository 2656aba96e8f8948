/* SPDX-License-Identifier: MIT
 * A thread for each rail. */
#include "parallel.h"
#include <kvrail.h>
#include <pthread.h>

struct errand {
	void (*fn)(void *arg, unsigned int r);
	void *arg;
	unsigned int rail;
	pthread_t thread;
	bool has_thread;
};

static void *run(void *arg)
{
	const struct errand *errand = arg;

	errand->fn(errand->arg, errand->rail);
	return NULL;
}

void parallel_each(uint32_t rails, bool in_turn, void (*fn)(void *arg, unsigned int r), void *arg)
{
	struct errand errands[KVR_MAX_RAILS];
	unsigned int n = 0;

	for (unsigned int r = 0; r < KVR_MAX_RAILS; r++) {
		struct errand *errand = &errands[n];

		if (!(rails >> r & 1))
			continue;
		*errand = (struct errand){.fn = fn, .arg = arg, .rail = r};
		/* The last one has nobody to wait for. */
		errand->has_thread = !in_turn && rails >> r != 1 &&
		                     !pthread_create(&errand->thread, NULL, run, errand);
		if (!errand->has_thread)
			run(errand);
		n++;
	}
	for (unsigned int i = 0; i < n; i++)
		if (errands[i].has_thread)
			pthread_join(errands[i].thread, NULL);
}
