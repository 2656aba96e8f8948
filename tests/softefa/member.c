/* SPDX-License-Identifier: MIT
 * For tests: takes part in the fabric that it is started in, and counts on standard output. */
#include <dlfcn.h>
#include <stdio.h>
#include <time.h>

#define PERIOD 50000000 /* ns */

struct ibv_device;

int main(void)
{
	const struct timespec nap = {.tv_nsec = PERIOD};
	struct ibv_device **(*list)(int *);
	int devices = 0;

	/* Not linked with libibverbs, so that the preloaded library is all there can be. */
	*(void **)&list = dlsym(RTLD_DEFAULT, "ibv_get_device_list");
	if (!list || !list(&devices) || !devices) {
		fprintf(stderr, "member: no devices: run it under softefa\n");
		return 77;
	}
	for (int i = 0; i < 1200; i++) {
		if (printf("%d\n", i) < 0 || fflush(stdout))
			return 1;
		nanosleep(&nap, NULL);
	}
	return 0;
}
