/* SPDX-License-Identifier: MIT
 * The time, as all of kvrail sees it. */
#include "clock.h"
#include <sched.h>
#include <time.h>

static int64_t monotonic_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static void real_rest(int64_t ns)
{
	struct timespec nap = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};

	if (ns)
		nanosleep(&nap, NULL);
	else
		sched_yield();
}

int64_t (*clock_now)(void) = monotonic_now;
void (*clock_rest)(int64_t ns) = real_rest;
