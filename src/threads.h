/* SPDX-License-Identifier: MIT
 * The library's own threads: which rails each serves, and on which CPUs. What they do is in
 * engine.h. */
#ifndef KVR_THREADS_H
#define KVR_THREADS_H

#include "fabric.h"
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

struct kvr;

/* What one thread is to do. */
struct thread_plan {
	uint32_t rails; /* as bits */
	cpu_set_t cpus; /* empty: those of its opener */
	bool spins;     /* it has more than one of them */
};

struct thread_wish {
	const int *nodes; /* of each rail; -1: not known */
	unsigned int rails;
	bool per_node;
	const cpu_set_t *allowed; /* CPUs, that the process may use */
	bool (*node_cpus)(int node, cpu_set_t *out);
};

/* Fills in at most one plan for each rail; how many there are. Every rail is in one of them. A
 * thread has the allowed CPUs of its rails' nodes; where there are none, or a node is not known,
 * all that are allowed. Rails at whose node no CPU is allowed get no thread of their own. */
unsigned int threads_plan(const struct thread_wish *, struct thread_plan *out);

/* As the configuration says; held, see engine.h, until the context is open. */
int threads_open(struct kvr *, char why[FABRIC_WHY]);
void threads_close(struct kvr *); /* also where there are none */

#endif
