/* SPDX-License-Identifier: MIT
 * This process's place in the emulated fabric: which host it is on, and its slot. */
#include "process.h"
#include "engine.h"
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct process process;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int joined; /* pid that has tried */

/* "rank of ranks", as one of the launchers tells it; false if none does. */
static bool find_rank(unsigned long *rank, unsigned long *ranks)
{
	static const char *const names[][2] = {
		{"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},
		{"PMIX_RANK", "SLURM_NTASKS"},
		{"SLURM_PROCID", "SLURM_NTASKS"},
	};
	const char *a, *b;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		a = getenv(names[i][0]);
		b = getenv(names[i][1]);
		if (!a || !b)
			continue;
		*rank = strtoul(a, NULL, 10);
		*ranks = strtoul(b, NULL, 10);
		if (*rank < *ranks)
			return true;
	}
	return false;
}

/* The host that a network namespace stands for: each new one takes the next. The launcher's own has
 * the first. */
static uint32_t host_of_namespace(uint64_t netns)
{
	for (uint32_t h = 0; h < process.shm->config.hosts; h++) {
		uint64_t none = 0;

		if (atomic_compare_exchange_strong(&process.shm->host[h].netns, &none, netns) ||
		    none == netns)
			return h;
	}
	return NO_SLOT;
}

static uint32_t choose_host(void)
{
	const struct shm_config *config = &process.shm->config;
	const char *named = getenv("SOFTEFA_HOST");
	unsigned long rank, ranks, host;
	struct stat netns;

	if (named && *named) {
		host = strtoul(named, NULL, 10);
		return host < config->hosts ? (uint32_t)host : NO_SLOT;
	}
	if (!stat("/proc/self/ns/net", &netns) && netns.st_ino != config->netns)
		return host_of_namespace(netns.st_ino);
	if (find_rank(&rank, &ranks))
		return (uint32_t)(rank * config->hosts / ranks);
	return 0;
}

static void join(const char *dir)
{
	struct shm *shm = process.shm ? process.shm : shm_open_dir(dir, false);

	if (!shm) {
		fprintf(stderr,
		        "softefa: no fabric in %s: %s; a host needs the /dev/shm of softefa\n", dir,
		        strerror(errno));
		return;
	}
	snprintf(process.dir, sizeof(process.dir), "%s", dir);
	process.shm = shm;
	process.host = choose_host();
	if (process.host == NO_SLOT)
		fprintf(stderr,
		        "softefa: pid %d is on no host: there are %u; check SOFTEFA_HOST, or "
		        "give softefa more --hosts\n",
		        (int)getpid(), shm->config.hosts);
	process.slot = process.host == NO_SLOT ? NO_SLOT : proc_claim(shm, process.host);
	if (process.slot != NO_SLOT && !engine_start())
		return;
	fprintf(stderr, "softefa: pid %d has no devices: no free slot or thread\n", (int)getpid());
	process.slot = NO_SLOT;
}

bool process_join(void)
{
	const char *dir = getenv(SOFTEFA_DIR_VARIABLE);
	bool is_in;

	pthread_mutex_lock(&lock);
	if (dir && joined != getpid()) {
		joined = getpid();
		join(dir);
	}
	is_in = process.shm && process.slot != NO_SLOT;
	pthread_mutex_unlock(&lock);
	return is_in;
}

void gid_make(uint32_t host, uint32_t nic, uint8_t gid[16])
{
	uint32_t id = process.shm->config.id;
	const uint8_t bytes[16] = {0xfe, 0x80, 0,        0,        0,       0,  0,    0,
	                           0x02, 0xff, id >> 24, id >> 16, id >> 8, id, host, nic};

	memcpy(gid, bytes, sizeof(bytes));
}

uint32_t gid_address(const uint8_t gid[16])
{
	uint8_t own[16];

	gid_make(gid[14], gid[15], own);
	if (memcmp(own, gid, sizeof(own)) || gid[14] >= process.shm->config.hosts ||
	    gid[15] >= process.shm->config.nics)
		return NO_ADDRESS;
	return ADDRESS(gid[14], gid[15]);
}
