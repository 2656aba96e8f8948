/* SPDX-License-Identifier: MIT
 * For tests: an open rank of sixteen rails that has polled stays within its memory: what it
 * takes is libfabric 1.17's. */
#include <kvrail.h>
#include <stdio.h>
#include <sys/resource.h>

#define RAILS     16
#define LIMIT_KIB (460 * 1000000 / 1024)

int main(void)
{
	struct rusage usage;
	struct kvr *kvr;
	int rails;

	if (kvr_open(NULL, NULL, &kvr))
		return 1;
	for (int i = 0; i < 1000; i++)
		kvr_progress(kvr);
	rails = kvr_rail_count(kvr);
	kvr_close(kvr);
	getrusage(RUSAGE_SELF, &usage);
	printf("%d rails: %ld KiB at the peak, of %d\n", rails, usage.ru_maxrss, LIMIT_KIB);
	return rails != RAILS || usage.ru_maxrss > LIMIT_KIB;
}
