/* SPDX-License-Identifier: MIT
 * A CUDA driver for tests: what kvrail asks of it, and what tests need to have memory. */
#include "fake_cuda.h"
#include "cuda_driver.h"
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Who calls them has found them by their names. */
#pragma GCC diagnostic ignored "-Wmissing-prototypes"

#define CALL        __attribute__((visibility("default")))
#define ALLOCATIONS 256
#define GRANULARITY (2ul << 20)
#define STACK       8
#define CONTEXTS    0xc000 /* of GPU i: this plus i */

enum kind { NOTHING, PLAIN, MANAGED, PINNED, MAPPED, RESERVED };

struct allocation {
	enum kind kind;
	unsigned long long begin;
	size_t len;
	int gpu;
};

static struct {
	struct fake_cuda shown;
	pthread_mutex_t lock;
	bool started;
	struct allocation all[ALLOCATIONS];
	int handle_gpu[ALLOCATIONS]; /* of cuMemCreate's handles, from 1 */
	int handle_count;
} fake = {.shown = {.gpus = 2, .exports = true, .reachable = true, .starts = true},
          .lock = PTHREAD_MUTEX_INITIALIZER};

static _Thread_local int stack[STACK], depth;

CALL struct fake_cuda *fake_cuda(void)
{
	return &fake.shown;
}

__attribute__((constructor)) static void read_environment(void)
{
	const char *gpus = getenv("KVR_FAKE_GPUS");

	if (gpus)
		fake.shown.gpus = atoi(gpus);
}

/* What a call begins with: whether it may go on. */
static int enter(const char *call)
{
	if (!fake.started)
		return DRIVER_NOT_INITIALIZED;
	if (fake.shown.failing && !strcmp(fake.shown.failing, call))
		return fake.shown.error;
	return DRIVER_OK;
}

/* And a GPU's context must be this thread's. */
static int enter_context(const char *call)
{
	int error = enter(call);

	return error ? error : depth ? DRIVER_OK : DRIVER_INVALID_CONTEXT;
}

static int add(enum kind kind, unsigned long long begin, size_t len, int gpu)
{
	struct allocation *a = fake.all;

	pthread_mutex_lock(&fake.lock);
	while (a < fake.all + ALLOCATIONS && a->kind)
		a++;
	if (a < fake.all + ALLOCATIONS)
		*a = (struct allocation){kind, begin, len, gpu};
	pthread_mutex_unlock(&fake.lock);
	return a < fake.all + ALLOCATIONS ? DRIVER_OK : DRIVER_OUT_OF_MEMORY;
}

static int make(enum kind kind, int access, size_t len, unsigned long long *out)
{
	void *addr = mmap(NULL, len, access, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (addr == MAP_FAILED)
		return DRIVER_OUT_OF_MEMORY;
	*out = (uintptr_t)addr;
	return add(kind, *out, len, depth ? stack[depth - 1] : 0);
}

/* What is at an address; of a reservation, only if nothing is mapped there. */
static struct allocation find(unsigned long long addr)
{
	struct allocation found = {0};

	pthread_mutex_lock(&fake.lock);
	for (const struct allocation *a = fake.all; a < fake.all + ALLOCATIONS; a++)
		if (a->kind && addr - a->begin < a->len && (!found.kind || found.kind == RESERVED))
			found = *a;
	pthread_mutex_unlock(&fake.lock);
	if (found.kind == RESERVED)
		found.kind = NOTHING;
	return found;
}

/* Of everything of a kind that begins in a range; whether there was any. */
static int drop(enum kind kind, unsigned long long begin, size_t len)
{
	int error = DRIVER_INVALID_VALUE;

	pthread_mutex_lock(&fake.lock);
	for (struct allocation *a = fake.all; a < fake.all + ALLOCATIONS; a++) {
		if (a->kind != kind || a->begin - begin >= len)
			continue;
		if (kind != MAPPED)
			munmap((void *)(uintptr_t)a->begin, a->len);
		a->kind = NOTHING;
		error = DRIVER_OK;
	}
	pthread_mutex_unlock(&fake.lock);
	return error;
}

CALL int cuInit(unsigned int flags)
{
	(void)flags;
	fake.started = fake.shown.starts;
	return !fake.shown.starts ? DRIVER_NO_DEVICE : DRIVER_OK;
}

CALL int cuGetErrorString(int error, const char **text)
{
	*text = error == DRIVER_NO_DEVICE ? "no GPU" : "a fake error";
	return DRIVER_OK;
}

CALL int cuDeviceGetCount(int *count)
{
	*count = fake.shown.gpus;
	return enter("cuDeviceGetCount");
}

CALL int cuDeviceGet(int *device, int ordinal)
{
	*device = ordinal;
	return ordinal < 0 || ordinal >= fake.shown.gpus ? DRIVER_INVALID_DEVICE
	                                                 : enter("cuDeviceGet");
}

/* With capital letters and all eight digits of a domain, as the driver may. */
CALL int cuDeviceGetPCIBusId(char *text, int len, int device)
{
	snprintf(text, (size_t)len, "00000000:%02X:00.0", 0x5a + device);
	return enter("cuDeviceGetPCIBusId");
}

CALL int cuDeviceGetAttribute(int *value, int attribute, int device)
{
	(void)device;
	if (attribute != DEVICE_DMA_BUF)
		return DRIVER_INVALID_VALUE;
	*value = fake.shown.exports;
	return enter("cuDeviceGetAttribute");
}

CALL int cuDevicePrimaryCtxRetain(void **context, int device)
{
	int error = enter("cuDevicePrimaryCtxRetain");

	*context = (void *)(uintptr_t)(CONTEXTS + device);
	if (!error)
		__atomic_add_fetch(&fake.shown.retained[device], 1, __ATOMIC_RELAXED);
	return error;
}

CALL int cuDevicePrimaryCtxRelease_v2(int device)
{
	__atomic_sub_fetch(&fake.shown.retained[device], 1, __ATOMIC_RELAXED);
	return DRIVER_OK;
}

CALL int cuCtxPushCurrent_v2(void *context)
{
	int gpu = (int)((uintptr_t)context - CONTEXTS), error = enter("cuCtxPushCurrent");

	if (error)
		return error;
	if (gpu < 0 || gpu >= fake.shown.gpus || fake.shown.retained[gpu] < 1 || depth == STACK)
		return DRIVER_INVALID_CONTEXT;
	stack[depth++] = gpu;
	__atomic_add_fetch(&fake.shown.pushes, 1, __ATOMIC_RELAXED);
	return DRIVER_OK;
}

CALL int cuCtxPopCurrent_v2(void **context)
{
	if (!depth)
		return DRIVER_INVALID_CONTEXT;
	*context = (void *)(uintptr_t)(CONTEXTS + stack[--depth]);
	__atomic_add_fetch(&fake.shown.pops, 1, __ATOMIC_RELAXED);
	return DRIVER_OK;
}

CALL int cuCtxGetCurrent(void **context)
{
	*context = depth ? (void *)(uintptr_t)(CONTEXTS + stack[depth - 1]) : NULL;
	return DRIVER_OK;
}

/* The sizes of the answers are those of the driver: some are a byte. */
static int answer(void *value, int attribute, const struct allocation *a)
{
	switch (attribute) {
	case POINTER_MEMORY_TYPE:
		*(int *)value = a->kind == PINNED ? MEMORY_HOST : a->kind ? MEMORY_DEVICE : 0;
		return DRIVER_OK;
	case POINTER_IS_MANAGED:
		*(char *)value = a->kind == MANAGED;
		return DRIVER_OK;
	case POINTER_DEVICE_ORDINAL:
		*(int *)value = a->gpu;
		return DRIVER_OK;
	case POINTER_GPU_DIRECT_RDMA:
		*(char *)value = fake.shown.reachable;
		return DRIVER_OK;
	default:
		return DRIVER_INVALID_VALUE;
	}
}

CALL int cuPointerGetAttribute(void *value, int attribute, unsigned long long addr)
{
	struct allocation a = find(addr);
	int error = enter("cuPointerGetAttribute");

	return error ? error : a.kind ? answer(value, attribute, &a) : DRIVER_INVALID_VALUE;
}

/* Not of all that can be asked of a pointer. */
CALL int cuPointerGetAttributes(unsigned int count, int *attributes, void **values,
                                unsigned long long addr)
{
	struct allocation a = find(addr);
	int error = enter("cuPointerGetAttributes");

	for (unsigned int i = 0; !error && i < count; i++)
		error = attributes[i] == POINTER_GPU_DIRECT_RDMA
		                ? DRIVER_INVALID_VALUE
		                : answer(values[i], attributes[i], &a);
	return error;
}

CALL int cuMemGetAddressRange_v2(unsigned long long *base, size_t *size, unsigned long long addr)
{
	struct allocation a = find(addr);
	int error = enter_context("cuMemGetAddressRange");

	*base = a.begin;
	*size = a.len;
	return error ? error : a.kind ? DRIVER_OK : DRIVER_INVALID_VALUE;
}

CALL int cuMemRetainAllocationHandle(unsigned long long *handle, void *addr)
{
	int error = enter("cuMemRetainAllocationHandle");

	if (error || find((uintptr_t)addr).kind != MAPPED)
		return error ? error : DRIVER_INVALID_VALUE;
	*handle = 1;
	__atomic_add_fetch(&fake.shown.handles, 1, __ATOMIC_RELAXED);
	return DRIVER_OK;
}

CALL int cuMemRelease(unsigned long long handle)
{
	(void)handle;
	__atomic_sub_fetch(&fake.shown.handles, 1, __ATOMIC_RELAXED);
	return DRIVER_OK;
}

/* Whole pages, the last of which may reach beyond the allocation. The file is as long as they are,
 * and has none of their bytes. */
CALL int cuMemGetHandleForAddressRange(void *handle, unsigned long long addr, size_t size, int type,
                                       unsigned long long flags)
{
	unsigned long page = (unsigned long)sysconf(_SC_PAGESIZE);
	struct allocation first = find(addr), last = find(addr + size - page);
	int error = enter_context("cuMemGetHandleForAddressRange"), fd;

	if (error)
		return error;
	if (!fake.shown.exports)
		return DRIVER_NOT_SUPPORTED;
	if (type != HANDLE_DMA_BUF_FD || flags || addr % page || size % page || !first.kind ||
	    !last.kind || first.gpu != last.gpu || first.gpu != stack[depth - 1])
		return DRIVER_INVALID_VALUE;
	fd = memfd_create("dmabuf", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, (off_t)size))
		return DRIVER_OUT_OF_MEMORY;
	*(int *)handle = fd;
	__atomic_add_fetch(&fake.shown.exported, 1, __ATOMIC_RELAXED);
	return DRIVER_OK;
}

CALL int cuMemAlloc_v2(unsigned long long *addr, size_t len)
{
	int error = enter_context("cuMemAlloc");

	return error ? error : make(PLAIN, PROT_NONE, len, addr);
}

CALL int cuMemAllocManaged(unsigned long long *addr, size_t len, unsigned int flags)
{
	int error = enter_context("cuMemAllocManaged");

	(void)flags;
	return error ? error : make(MANAGED, PROT_READ | PROT_WRITE, len, addr);
}

CALL int cuMemAllocHost_v2(void **addr, size_t len)
{
	unsigned long long at = 0;
	int error = enter_context("cuMemAllocHost");

	if (!error)
		error = make(PINNED, PROT_READ | PROT_WRITE, len, &at);
	*addr = (void *)(uintptr_t)at;
	return error;
}

CALL int cuMemFree_v2(unsigned long long addr)
{
	return drop(PLAIN, addr, 1) && drop(MANAGED, addr, 1) ? DRIVER_INVALID_VALUE : DRIVER_OK;
}

CALL int cuMemFreeHost(void *addr)
{
	return drop(PINNED, (uintptr_t)addr, 1);
}

CALL int cuMemGetAllocationGranularity(size_t *out, const void *properties, int which)
{
	(void)properties;
	(void)which;
	*out = GRANULARITY;
	return enter("cuMemGetAllocationGranularity");
}

CALL int cuMemAddressReserve(unsigned long long *addr, size_t len, size_t align,
                             unsigned long long hint, unsigned long long flags)
{
	int error = enter("cuMemAddressReserve");

	(void)align;
	(void)hint;
	(void)flags;
	return error ? error : make(RESERVED, PROT_NONE, len, addr);
}

CALL int cuMemAddressFree(unsigned long long addr, size_t len)
{
	(void)len;
	return drop(RESERVED, addr, 1);
}

/* properties begin with: type, handle types, type of location, number of the GPU. */
CALL int cuMemCreate(unsigned long long *handle, size_t len, const void *properties,
                     unsigned long long flags)
{
	(void)flags;
	if (len % GRANULARITY || fake.handle_count + 1 == ALLOCATIONS)
		return DRIVER_INVALID_VALUE;
	*handle = (unsigned long long)++fake.handle_count;
	fake.handle_gpu[*handle] = ((const int *)properties)[3];
	fake.shown.handles++;
	return enter("cuMemCreate");
}

CALL int cuMemMap(unsigned long long addr, size_t len, size_t offset, unsigned long long handle,
                  unsigned long long flags)
{
	(void)flags;
	return offset ? DRIVER_INVALID_VALUE : add(MAPPED, addr, len, fake.handle_gpu[handle]);
}

CALL int cuMemUnmap(unsigned long long addr, size_t len)
{
	return drop(MAPPED, addr, len);
}

CALL int cuMemSetAccess(unsigned long long addr, size_t len, const void *access, size_t count)
{
	(void)addr;
	(void)len;
	(void)access;
	(void)count;
	return DRIVER_OK;
}
