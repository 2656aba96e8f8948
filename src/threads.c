/* SPDX-License-Identifier: MIT
 * The library's own threads: which rails each serves, and on which CPUs. */
#include "threads.h"
#include "context.h"
#include "log.h"
#include <errno.h>
#include <numa.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct thread {
	struct kvr *kvr;
	struct thread_plan plan;
	pthread_t id;
};

struct threads {
	unsigned int n, wanted;
	struct thread thread[KVR_MAX_RAILS];
};

/* The allowed CPUs at these rails' nodes; false: there are none, or a node is not known. */
static bool find_near(const struct thread_wish *wish, uint32_t rails, cpu_set_t *out)
{
	cpu_set_t node;

	CPU_ZERO(out);
	for (unsigned int r = 0; r < wish->rails; r++) {
		if (!(rails >> r & 1))
			continue;
		if (wish->nodes[r] < 0 || !wish->node_cpus(wish->nodes[r], &node))
			return false;
		CPU_OR(out, out, &node);
	}
	CPU_AND(out, out, wish->allowed);
	return CPU_COUNT(out);
}

static uint32_t rails_at(const struct thread_wish *wish, int node)
{
	uint32_t rails = 0;

	for (unsigned int r = 0; r < wish->rails; r++)
		if (wish->nodes[r] == node)
			rails |= 1u << r;
	return rails;
}

static unsigned int plan_nodes(const struct thread_wish *wish, struct thread_plan *out,
                               uint32_t *left)
{
	unsigned int n = 0;
	uint32_t rails;

	for (unsigned int r = 0; r < wish->rails; r++) {
		rails = rails_at(wish, wish->nodes[r]);
		if (!(*left >> r & 1) || !find_near(wish, rails, &out[n].cpus))
			continue;
		out[n++].rails = rails;
		*left &= ~rails;
	}
	return n;
}

unsigned int threads_plan(const struct thread_wish *wish, struct thread_plan *out)
{
	uint32_t left = UINT32_MAX >> (32 - wish->rails);
	unsigned int n = wish->per_node ? plan_nodes(wish, out, &left) : 0;

	if (n) {
		out[0].rails |= left;
	} else {
		out[n++].rails = left;
		if (!find_near(wish, left, &out[0].cpus))
			out[0].cpus = *wish->allowed;
	}
	for (unsigned int i = 0; i < n; i++)
		out[i].spins = CPU_COUNT(&out[i].cpus) != 1;
	return n;
}

static bool node_cpus(int node, cpu_set_t *out)
{
	struct bitmask *mask;
	int rc;

	if (numa_available() < 0 || node > numa_max_node() || !(mask = numa_allocate_cpumask()))
		return false;
	rc = numa_node_to_cpus(node, mask);
	CPU_ZERO(out);
	for (unsigned int cpu = 0; !rc && cpu < CPU_SETSIZE; cpu++)
		if (numa_bitmask_isbitset(mask, cpu))
			CPU_SET(cpu, out);
	numa_free_cpumask(mask);
	return !rc;
}

/* Of whom may take more CPUs than fit nothing is known. */
static void make_plans(struct kvr *kvr, struct threads *threads)
{
	struct thread_plan plans[KVR_MAX_RAILS];
	int nodes[KVR_MAX_RAILS];
	cpu_set_t allowed;
	struct thread_wish wish = {
		.nodes = nodes,
		.rails = kvr->rail_count,
		.per_node = kvr->config.progress_threads == KVR_THREADS_PER_NODE,
		.allowed = &allowed,
		.node_cpus = node_cpus,
	};

	if (sched_getaffinity(0, sizeof(allowed), &allowed))
		CPU_ZERO(&allowed);
	for (unsigned int r = 0; r < kvr->rail_count; r++)
		nodes[r] = kvr->rails[r].numa_node;
	threads->wanted = threads_plan(&wish, plans);
	for (unsigned int i = 0; i < threads->wanted; i++)
		threads->thread[i] = (struct thread){.kvr = kvr, .plan = plans[i]};
}

/* Without a set of its own a thread has that of its opener, which is within what is allowed. */
static void *run(void *arg)
{
	const struct thread *t = arg;
	const cpu_set_t *cpus = &t->plan.cpus;
	int rc = CPU_COUNT(cpus) ? pthread_setaffinity_np(pthread_self(), sizeof(*cpus), cpus) : 0;

	if (rc)
		log_info("a progress thread is not bound to CPUs: %s", strerror(rc));
	engine_serve(t->kvr, t->plan.rails, t->plan.spins);
	return NULL;
}

/* The application's signals are not for it to handle. */
static int start(struct thread *t)
{
	sigset_t all, before;
	int rc;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&t->id, NULL, run, t);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (!rc)
		pthread_setname_np(t->id, "kvrail");
	return -rc;
}

int threads_open(struct kvr *kvr, char why[FABRIC_WHY])
{
	struct threads *threads;
	int rc;

	engine_hold(kvr);
	if (kvr->fabric->simulated || kvr->config.progress_threads == KVR_THREADS_NONE)
		return 0;
	snprintf(why, FABRIC_WHY, "no memory");
	threads = kvr->threads = calloc(1, sizeof(*threads));
	if (!threads)
		return -ENOMEM;
	make_plans(kvr, threads);
	kvr->lobby.callers_follow = kvr->config.progress_threads == KVR_THREADS_PER_NODE;
	for (; threads->n < threads->wanted; threads->n++) {
		rc = start(&threads->thread[threads->n]);
		if (!rc)
			continue;
		snprintf(why, FABRIC_WHY,
		         "its progress thread: %s; ulimit -u bounds them, and with "
		         "KVR_PROGRESS_THREADS=0 there are none",
		         strerror(-rc));
		return rc;
	}
	return 0;
}

void threads_close(struct kvr *kvr)
{
	struct threads *threads = kvr->threads;

	engine_stop(kvr);
	for (unsigned int i = 0; threads && i < threads->n; i++)
		pthread_join(threads->thread[i].id, NULL);
	free(threads);
	kvr->threads = NULL;
}
