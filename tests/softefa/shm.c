/* SPDX-License-Identifier: MIT
 * The emulated fabric as its launcher and all its processes share it. */
#include "shm.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define LOOK_AGAIN 1024 /* turns of a waiting loop before it asks whether the other still lives */

uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

_Static_assert(!offsetof(struct shm_qp, state) && !offsetof(struct shm_cq, state) &&
                       !offsetof(struct shm_mr, state),
               "slots begin with their state");

struct shm *shm_open_dir(const char *dir, bool create)
{
	struct shm *shm;
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/" SOFTEFA_FILE, dir);
	fd = open(path, O_RDWR | O_CLOEXEC | (create ? O_CREAT | O_EXCL : 0), 0600);
	if (fd < 0)
		return NULL;
	if (create && ftruncate(fd, sizeof(*shm))) {
		close(fd);
		return NULL;
	}
	shm = mmap(NULL, sizeof(*shm), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	close(fd);
	if (shm == MAP_FAILED)
		return NULL;
	if (create) {
		shm->magic = SHM_MAGIC;
		shm->version = SHM_VERSION;
	} else if (shm->magic != SHM_MAGIC || shm->version != SHM_VERSION) {
		munmap(shm, sizeof(*shm));
		errno = EPROTO;
		return NULL;
	}
	return shm;
}

/* The 22nd field of /proc/PID/stat, behind a name that may hold anything but a last ')'. */
uint64_t process_start(int pid)
{
	char path[64], text[1024], *at;
	unsigned long long start = 0;
	ssize_t n;
	char state;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return 0;
	text[n] = 0;
	at = strrchr(text, ')');
	if (!at || sscanf(at + 1, " %c", &state) != 1 || state == 'Z' || state == 'X')
		return 0;
	for (int field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	return at && sscanf(at, "%llu", &start) == 1 ? start : 0;
}

bool proc_is_alive(const struct shm_proc *proc)
{
	return atomic_load(&proc->state) == SLOT_LIVE && process_start(proc->pid) == proc->start;
}

uint32_t proc_claim(struct shm *shm, uint32_t host)
{
	for (int round = 0; round < 2; round++) {
		for (uint32_t i = 0; i < MAX_PROCS; i++) {
			struct shm_proc *proc = &shm->proc[i];
			uint32_t free = SLOT_FREE;

			if (!atomic_compare_exchange_strong(&proc->state, &free, SLOT_CLAIMED))
				continue;
			proc->pid = getpid();
			proc->start = process_start(proc->pid);
			proc->host = host;
			proc->gone_at = 0;
			proc->busy = 0;
			for (int h = 0; h < 3; h++)
				proc->held_mr[h] = 0;
			proc->held_qp = 0;
			memset((void *)proc->knows, 0, sizeof(proc->knows));
			atomic_store(&proc->state, SLOT_LIVE);
			return i;
		}
		shm_reap(shm);
	}
	return NO_SLOT;
}

uint32_t slot_claim(struct shm *shm, const struct slots *slots)
{
	for (int round = 0; round < 2; round++) {
		for (uint32_t i = 0; i < slots->count; i++) {
			uint32_t slot = atomic_fetch_add(slots->next, 1) % slots->count;
			uint32_t free = SLOT_FREE;

			if (atomic_compare_exchange_strong(
				    (_Atomic uint32_t *)((char *)slots->first + slot * slots->size),
				    &free, SLOT_CLAIMED))
				return slot;
		}
		shm_reap(shm);
	}
	return NO_SLOT;
}

/* A process slot goes free last: until then what it left still says whose it was. */
static void reap(struct shm *shm, uint32_t p)
{
	for (uint32_t i = 0; i < MAX_QPS; i++)
		if (shm->qp[i].state == SLOT_LIVE && shm->qp[i].proc == p)
			atomic_store(&shm->qp[i].state, SLOT_FREE);
	for (uint32_t i = 0; i < MAX_CQS; i++)
		if (shm->cq[i].state == SLOT_LIVE && shm->cq[i].proc == p)
			atomic_store(&shm->cq[i].state, SLOT_FREE);
	for (uint32_t i = 0; i < MAX_MRS; i++)
		if (shm->mr[i].state == SLOT_LIVE && shm->mr[i].proc == p)
			atomic_store(&shm->mr[i].state, SLOT_FREE);
	atomic_store(&shm->proc[p].state, SLOT_FREE);
}

void shm_reap(struct shm *shm)
{
	for (uint32_t p = 0; p < MAX_PROCS; p++)
		if (shm->proc[p].state == SLOT_LIVE && !proc_is_alive(&shm->proc[p]))
			reap(shm, p);
}

/* Until `held` of a process is another slot, or the process is no more. */
static void wait_for(const struct shm_proc *proc, const _Atomic uint32_t *held, uint32_t slot)
{
	for (unsigned int turn = 1; atomic_load(held) == slot + 1; turn++) {
		sched_yield();
		if (turn % LOOK_AGAIN == 0 && !proc_is_alive(proc))
			return;
	}
}

void shm_wait_mr(struct shm *shm, uint32_t mr)
{
	for (uint32_t p = 0; p < MAX_PROCS; p++) {
		const struct shm_proc *proc = &shm->proc[p];

		if (atomic_load(&proc->state) != SLOT_LIVE)
			continue;
		for (int h = 0; h < 3; h++)
			wait_for(proc, &proc->held_mr[h], mr);
	}
}

void shm_wait_qp(struct shm *shm, uint32_t qp)
{
	for (uint32_t p = 0; p < MAX_PROCS; p++)
		if (atomic_load(&shm->proc[p].state) == SLOT_LIVE)
			wait_for(&shm->proc[p], &shm->proc[p].held_qp, qp);
}
