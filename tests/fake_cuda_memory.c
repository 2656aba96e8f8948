/* SPDX-License-Identifier: MIT
 * A CUDA driver for tests: its memory, and what tests need to have some. */
#include "fake_cuda_memory.h"
#include "cuda_driver.h"
#include "fake_cuda.h"
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#pragma GCC diagnostic ignored "-Wmissing-prototypes"

#define ALLOCATIONS 256
#define GRANULARITY (2ul << 20)

static struct {
	pthread_mutex_t lock;
	struct fake_memory all[ALLOCATIONS];
	int handle_gpu[ALLOCATIONS]; /* of cuMemCreate's handles, from 1 */
	int handle_count;
} fake = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int add(const struct fake_memory *allocation)
{
	struct fake_memory *a = fake.all;

	pthread_mutex_lock(&fake.lock);
	while (a < fake.all + ALLOCATIONS && a->kind)
		a++;
	if (a < fake.all + ALLOCATIONS)
		*a = *allocation;
	pthread_mutex_unlock(&fake.lock);
	return a < fake.all + ALLOCATIONS ? DRIVER_OK : DRIVER_OUT_OF_MEMORY;
}

int fake_memory_file(size_t len)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	int fd = memfd_create("dmabuf", MFD_CLOEXEC);

	if (fd >= 0 && ftruncate(fd, (off_t)((len + page - 1) / page * page))) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static int make(enum fake_kind kind, int access, size_t len, unsigned long long *out)
{
	struct fake_memory a = {.kind = kind,
	                        .len = len,
	                        .gpu = fake_cuda_gpu() < 0 ? 0 : fake_cuda_gpu(),
	                        .fd = -1};
	int flags = kind == PLAIN ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS;
	void *addr;

	if (kind == PLAIN && (a.fd = fake_memory_file(len)) < 0)
		return DRIVER_OUT_OF_MEMORY;
	addr = mmap(NULL, len, access, flags, a.fd, 0);
	if (kind == PLAIN)
		a.view = mmap(NULL, len, PROT_READ | PROT_WRITE, flags, a.fd, 0);
	if (addr == MAP_FAILED || a.view == MAP_FAILED)
		return DRIVER_OUT_OF_MEMORY;
	*out = a.begin = (uintptr_t)addr;
	return add(&a);
}

struct fake_memory fake_memory_find(unsigned long long addr)
{
	struct fake_memory found = {0};

	pthread_mutex_lock(&fake.lock);
	for (const struct fake_memory *a = fake.all; a < fake.all + ALLOCATIONS; a++)
		if (a->kind && addr - a->begin < a->len && (!found.kind || found.kind == RESERVED))
			found = *a;
	pthread_mutex_unlock(&fake.lock);
	if (found.kind == RESERVED)
		found.kind = NOTHING;
	return found;
}

/* Of everything of a kind that begins in a range; whether there was any. */
static int drop(enum fake_kind kind, unsigned long long begin, size_t len)
{
	int error = DRIVER_INVALID_VALUE;

	pthread_mutex_lock(&fake.lock);
	for (struct fake_memory *a = fake.all; a < fake.all + ALLOCATIONS; a++) {
		if (a->kind != kind || a->begin - begin >= len)
			continue;
		if (kind != MAPPED)
			munmap((void *)(uintptr_t)a->begin, a->len);
		if (kind == PLAIN) {
			munmap(a->view, a->len);
			close(a->fd);
		}
		a->kind = NOTHING;
		error = DRIVER_OK;
	}
	pthread_mutex_unlock(&fake.lock);
	return error;
}

FAKE_CALL int cuMemAlloc_v2(unsigned long long *addr, size_t len)
{
	int error = fake_cuda_enter_context("cuMemAlloc");

	return error ? error : make(PLAIN, PROT_NONE, len, addr);
}

FAKE_CALL int cuMemAllocManaged(unsigned long long *addr, size_t len, unsigned int flags)
{
	int error = fake_cuda_enter_context("cuMemAllocManaged");

	(void)flags;
	return error ? error : make(MANAGED, PROT_READ | PROT_WRITE, len, addr);
}

FAKE_CALL int cuMemAllocHost_v2(void **addr, size_t len)
{
	unsigned long long at = 0;
	int error = fake_cuda_enter_context("cuMemAllocHost");

	if (!error)
		error = make(PINNED, PROT_READ | PROT_WRITE, len, &at);
	*addr = (void *)(uintptr_t)at;
	return error;
}

FAKE_CALL int cuMemFree_v2(unsigned long long addr)
{
	return drop(PLAIN, addr, 1) && drop(MANAGED, addr, 1) ? DRIVER_INVALID_VALUE : DRIVER_OK;
}

FAKE_CALL int cuMemFreeHost(void *addr)
{
	return drop(PINNED, (uintptr_t)addr, 1);
}

/* Of plain memory: the driver's own sight of it. */
static char *see(unsigned long long addr, size_t len)
{
	struct fake_memory a = fake_memory_find(addr);

	return a.kind == PLAIN && len <= a.len - (addr - a.begin) ? a.view + (addr - a.begin)
	                                                          : NULL;
}

FAKE_CALL int cuMemcpyHtoD_v2(unsigned long long addr, const void *from, size_t len)
{
	int error = fake_cuda_enter_context("cuMemcpyHtoD");
	char *to = see(addr, len);

	if (!error && to)
		memcpy(to, from, len);
	return error ? error : to ? DRIVER_OK : DRIVER_INVALID_VALUE;
}

FAKE_CALL int cuMemcpyDtoH_v2(void *to, unsigned long long addr, size_t len)
{
	int error = fake_cuda_enter_context("cuMemcpyDtoH");
	const char *from = see(addr, len);

	if (!error && from)
		memcpy(to, from, len);
	return error ? error : from ? DRIVER_OK : DRIVER_INVALID_VALUE;
}

FAKE_CALL int cuMemGetAllocationGranularity(size_t *out, const void *properties, int which)
{
	(void)properties;
	(void)which;
	*out = GRANULARITY;
	return fake_cuda_enter("cuMemGetAllocationGranularity");
}

FAKE_CALL int cuMemAddressReserve(unsigned long long *addr, size_t len, size_t align,
                                  unsigned long long hint, unsigned long long flags)
{
	int error = fake_cuda_enter("cuMemAddressReserve");

	(void)align;
	(void)hint;
	(void)flags;
	return error ? error : make(RESERVED, PROT_NONE, len, addr);
}

FAKE_CALL int cuMemAddressFree(unsigned long long addr, size_t len)
{
	(void)len;
	return drop(RESERVED, addr, 1);
}

/* properties begin with: type, handle types, type of location, number of the GPU. */
FAKE_CALL int cuMemCreate(unsigned long long *handle, size_t len, const void *properties,
                          unsigned long long flags)
{
	(void)flags;
	if (len % GRANULARITY || fake.handle_count + 1 == ALLOCATIONS)
		return DRIVER_INVALID_VALUE;
	*handle = (unsigned long long)++fake.handle_count;
	fake.handle_gpu[*handle] = ((const int *)properties)[3];
	fake_cuda()->handles++;
	return fake_cuda_enter("cuMemCreate");
}

FAKE_CALL int cuMemMap(unsigned long long addr, size_t len, size_t offset,
                       unsigned long long handle, unsigned long long flags)
{
	(void)flags;
	return offset ? DRIVER_INVALID_VALUE
	              : add(&(struct fake_memory){MAPPED, addr, len, fake.handle_gpu[handle]});
}

FAKE_CALL int cuMemUnmap(unsigned long long addr, size_t len)
{
	return drop(MAPPED, addr, len);
}

FAKE_CALL int cuMemSetAccess(unsigned long long addr, size_t len, const void *access, size_t count)
{
	(void)addr;
	(void)len;
	(void)access;
	(void)count;
	return DRIVER_OK;
}
