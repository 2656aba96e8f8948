/* SPDX-License-Identifier: MIT
 * Which threads there are, which rails each serves, and on which CPUs. */
#include "threads.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define CPUS  64 /* of the machine: 16 at each of four nodes, in turn */
#define NODES 4

static bool node_cpus(int node, cpu_set_t *out)
{
	CPU_ZERO(out);
	for (int cpu = node; node < NODES && cpu < CPUS; cpu += NODES)
		CPU_SET(cpu, out);
	return node < NODES;
}

static cpu_set_t all_cpus(void)
{
	cpu_set_t all;

	CPU_ZERO(&all);
	for (int cpu = 0; cpu < CPUS; cpu++)
		CPU_SET(cpu, &all);
	return all;
}

static cpu_set_t cpus_of(int node)
{
	cpu_set_t cpus;

	node_cpus(node, &cpus);
	return cpus;
}

static cpu_set_t one_cpu(int cpu)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(cpu, &cpus);
	return cpus;
}

static struct thread_wish wish_for(const int *nodes, unsigned int rails, bool per_node,
                                   const cpu_set_t *allowed)
{
	return (struct thread_wish){.nodes = nodes,
	                            .rails = rails,
	                            .per_node = per_node,
	                            .allowed = allowed,
	                            .node_cpus = node_cpus};
}

static void expect_plan(const struct thread_plan *plan, uint32_t rails, cpu_set_t cpus)
{
	assert_int_equal(plan->rails, rails);
	assert_true(CPU_EQUAL(&plan->cpus, &cpus));
	assert_int_equal(plan->spins, CPU_COUNT(&cpus) != 1);
}

static void one_thread_beside_all_rails(void **state)
{
	const int nodes[] = {2, 2, 2, 2}, two[] = {2, 1}, unknown[] = {2, -1}, gone[] = {2, 7};
	cpu_set_t all = all_cpus(), near = cpus_of(2), other = cpus_of(1), both;
	struct thread_plan plan[4];
	struct thread_wish wish = wish_for(nodes, 4, false, &all);

	(void)state;
	assert_int_equal(threads_plan(&wish, plan), 1);
	expect_plan(plan, 0xf, near);
	wish = wish_for(two, 2, false, &all);
	assert_int_equal(threads_plan(&wish, plan), 1);
	CPU_OR(&both, &near, &other);
	expect_plan(plan, 3, both);
	wish = wish_for(unknown, 2, false, &all);
	assert_int_equal(threads_plan(&wish, plan), 1);
	expect_plan(plan, 3, all);
	wish = wish_for(gone, 2, false, &all);
	assert_int_equal(threads_plan(&wish, plan), 1);
	expect_plan(plan, 3, all);
}

/* Where the launcher bound the rank counts more than where its rails are. */
static void within_what_is_allowed(void **state)
{
	const int nodes[] = {2, 2};
	cpu_set_t allowed = one_cpu(6);
	struct thread_plan plan[2];
	struct thread_wish wish = wish_for(nodes, 2, false, &allowed);

	(void)state;
	CPU_SET(7, &allowed);
	assert_int_equal(threads_plan(&wish, plan), 1);
	expect_plan(plan, 3, one_cpu(6)); /* at node 2; 7 is at node 3 */
	allowed = one_cpu(5);
	assert_int_equal(threads_plan(&wish, plan), 1);
	expect_plan(plan, 3, one_cpu(5));
	CPU_SET(9, &allowed);
	assert_int_equal(threads_plan(&wish, plan), 1);
	expect_plan(plan, 3, allowed);
	CPU_ZERO(&allowed);
	assert_int_equal(threads_plan(&wish, plan), 1);
	expect_plan(plan, 3, allowed);
}

static void one_thread_for_each_node(void **state)
{
	const int nodes[] = {1, 0, 1, -1, 3};
	cpu_set_t all = all_cpus(), allowed = cpus_of(0), third = cpus_of(3);
	struct thread_plan plan[5];
	struct thread_wish wish = wish_for(nodes, 5, true, &all);

	(void)state;
	assert_int_equal(threads_plan(&wish, plan), 3);
	expect_plan(&plan[0], 1 | 4 | 8, cpus_of(1)); /* and the rail that is nowhere */
	expect_plan(&plan[1], 2, cpus_of(0));
	expect_plan(&plan[2], 16, cpus_of(3));
	CPU_OR(&allowed, &allowed, &third);
	wish.allowed = &allowed;
	assert_int_equal(threads_plan(&wish, plan), 2);
	expect_plan(&plan[0], 1 | 2 | 4 | 8, cpus_of(0));
	expect_plan(&plan[1], 16, cpus_of(3));
	allowed = cpus_of(2); /* where there is no rail */
	assert_int_equal(threads_plan(&wish, plan), 1);
	expect_plan(&plan[0], 31, cpus_of(2));
}

static void every_rail_once(void **state)
{
	int nodes[32];
	cpu_set_t all = all_cpus();
	struct thread_plan plan[32];
	uint32_t seen;
	unsigned int n;

	(void)state;
	for (unsigned int rails = 1; rails <= 32; rails++) {
		for (unsigned int r = 0; r < rails; r++)
			nodes[r] = (int)(r * 7 % 6) - 1; /* -1 to 4, of which 4 is not there */
		struct thread_wish wish = wish_for(nodes, rails, true, &all);

		n = threads_plan(&wish, plan);
		seen = 0;
		for (unsigned int i = 0; i < n; i++) {
			assert_int_equal(seen & plan[i].rails, 0);
			seen |= plan[i].rails;
		}
		assert_int_equal(seen, UINT32_MAX >> (32 - rails));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_thread_beside_all_rails),
		cmocka_unit_test(within_what_is_allowed),
		cmocka_unit_test(one_thread_for_each_node),
		cmocka_unit_test(every_rail_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
