/* SPDX-License-Identifier: MIT
 * Registered memory. A key is a slot and its generation, so that a stale one is known as such. */
#include "memory.h"
#include "objects.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#undef ibv_reg_mr
#undef ibv_reg_mr_iova

#define SLOT_BITS 18

_Static_assert(MAX_MRS == 1u << SLOT_BITS, "a key's layout");

struct memory {
	struct ibv_mr ibv;
	void *map; /* of a dmabuf, ours to unmap */
	size_t map_len;
};

/* A NIC takes its time to learn the pages. */
static void take_time(size_t len)
{
	uint64_t ns =
		(uint64_t)((double)len * (double)process.shm->config.reg_ns_per_mib / 0x100000);
	struct timespec t = {.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = ns % 1000000000u};

	if (ns)
		nanosleep(&t, NULL);
}

static struct memory *memory_register(struct ibv_pd *pd, void *addr, uint64_t iova, size_t len,
                                      unsigned int access)
{
	struct memory *memory = calloc(1, sizeof(*memory));
	uint32_t slot = memory ? slot_claim(process.shm, SLOTS_OF(process.shm, mr)) : NO_SLOT;
	struct shm_mr *mr;

	if (slot == NO_SLOT) {
		free(memory);
		errno = ENOMEM;
		return NULL;
	}
	mr = &process.shm->mr[slot];
	mr->key = ((mr->key >> SLOT_BITS) + 1) << SLOT_BITS | slot;
	mr->proc = process.slot;
	mr->host = process.host;
	mr->nic = context_of(pd->context)->nic;
	mr->access = access;
	mr->iova = iova;
	mr->len = len;
	mr->addr = (uintptr_t)addr;
	take_time(len);
	atomic_store(&mr->state, SLOT_LIVE);
	memory->ibv = (struct ibv_mr){
		.context = pd->context,
		.pd = pd,
		.addr = (void *)(uintptr_t)iova,
		.length = len,
		.handle = mr->key,
		.lkey = mr->key,
		.rkey = mr->key,
	};
	return memory;
}

static struct ibv_mr *register_at(struct ibv_pd *pd, void *addr, uint64_t iova, size_t len,
                                  unsigned int access)
{
	struct memory *memory = memory_register(pd, addr, iova, len, access);

	return memory ? &memory->ibv : NULL;
}

EXPORT struct ibv_mr *ibv_reg_mr(struct ibv_pd *pd, void *addr, size_t len, int access)
{
	return register_at(pd, addr, (uintptr_t)addr, len, (unsigned int)access);
}

EXPORT struct ibv_mr *ibv_reg_mr_iova(struct ibv_pd *pd, void *addr, size_t len, uint64_t iova,
                                      int access)
{
	return register_at(pd, addr, iova, len, (unsigned int)access);
}

EXPORT struct ibv_mr *ibv_reg_mr_iova2(struct ibv_pd *pd, void *addr, size_t len, uint64_t iova,
                                       unsigned int access)
{
	return register_at(pd, addr, iova, len, access);
}

EXPORT struct ibv_mr *ibv_reg_dmabuf_mr(struct ibv_pd *pd, uint64_t offset, size_t len,
                                        uint64_t iova, int fd, int access)
{
	uint64_t before = offset % (uint64_t)sysconf(_SC_PAGESIZE);
	size_t map_len = len + before;
	uint8_t *map = mmap(NULL, map_len, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
	                    (off_t)(offset - before));
	struct memory *memory;

	if (map == MAP_FAILED)
		return NULL;
	memory = memory_register(pd, map + before, iova, len, (unsigned int)access);
	if (!memory) {
		munmap(map, map_len);
		return NULL;
	}
	memory->map = map;
	memory->map_len = map_len;
	return &memory->ibv;
}

EXPORT int ibv_dereg_mr(struct ibv_mr *ibv)
{
	struct memory *memory = container_of(ibv, struct memory, ibv);
	uint32_t slot = ibv->handle & (MAX_MRS - 1);

	atomic_store(&process.shm->mr[slot].state, SLOT_CLAIMED);
	shm_wait_mr(process.shm, slot);
	atomic_store(&process.shm->mr[slot].state, SLOT_FREE);
	if (memory->map)
		munmap(memory->map, memory->map_len);
	free(memory);
	return 0;
}

static bool allows(const struct shm_mr *mr, const struct memory_use *use)
{
	return mr->key == use->key && mr->proc == use->proc && mr->nic == use->nic &&
	       (mr->access & use->access) == use->access && use->addr >= mr->iova &&
	       use->len <= mr->len && use->addr - mr->iova <= mr->len - use->len;
}

bool memory_hold(const struct memory_use *use, unsigned int hold, uint64_t *addr)
{
	uint32_t slot = use->key & (MAX_MRS - 1);
	const struct shm_mr *mr = &process.shm->mr[slot];

	/* Held first, looked at then: whoever deregisters does it the other way around. */
	atomic_store(&process_self()->held_mr[hold], slot + 1);
	if (atomic_load(&mr->state) == SLOT_LIVE && allows(mr, use)) {
		*addr = mr->addr + (use->addr - mr->iova);
		return true;
	}
	memory_release(hold);
	return false;
}

void memory_release(unsigned int hold)
{
	atomic_store_explicit(&process_self()->held_mr[hold], 0, memory_order_release);
}
