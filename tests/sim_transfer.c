/* SPDX-License-Identifier: MIT
 * Random batches between simulated ranks, under random faults: every promise of a transfer holds,
 * after every step. A failure names its seed; KVR_TEST_SEED=<seed> repeats it alone, and kvrail-sim
 * --seed <seed> tells what happened. */
#include "seeds.h"
#include "sim_faults.h"
#include "sim_run.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#ifndef SIM_SEEDS
#define SIM_SEEDS 5000
#endif

static struct sim_sum sum;

static const char *run(uint64_t seed)
{
	return sim_run(seed, faults_survived, false, &sum);
}

static void promises_hold(void **state)
{
	const char *wrong = seeds_run(SIM_SEEDS, run);

	(void)state;
	print_message("%llu seeds, %llu operations, %llu faults\n", (unsigned long long)sum.seeds,
	              (unsigned long long)sum.operations, (unsigned long long)sum.faults);
	if (wrong)
		fail_msg("%s", wrong);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(promises_hold),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
