/* SPDX-License-Identifier: MIT
 * A CUDA driver for tests: what kvrail asks of it. */
#include "fake_cuda.h"
#include "cuda_driver.h"
#include "fake_cuda_memory.h"
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#pragma GCC diagnostic ignored "-Wmissing-prototypes"

#define STACK    8
#define CONTEXTS 0xc000 /* of GPU i: this plus i */

static struct {
	struct fake_cuda shown;
	bool started;
} fake = {.shown = {.gpus = 2, .exports = true, .reachable = true, .starts = true}};

static _Thread_local int stack[STACK], depth;

FAKE_CALL struct fake_cuda *fake_cuda(void)
{
	return &fake.shown;
}

__attribute__((constructor)) static void read_environment(void)
{
	const char *gpus = getenv("KVR_FAKE_GPUS");

	if (gpus)
		fake.shown.gpus = atoi(gpus);
}

int fake_cuda_enter(const char *call)
{
	if (!fake.started)
		return DRIVER_NOT_INITIALIZED;
	if (fake.shown.failing && !strcmp(fake.shown.failing, call))
		return fake.shown.error;
	return DRIVER_OK;
}

int fake_cuda_enter_context(const char *call)
{
	int error = fake_cuda_enter(call);

	return error ? error : depth ? DRIVER_OK : DRIVER_INVALID_CONTEXT;
}

int fake_cuda_gpu(void)
{
	return depth ? stack[depth - 1] : -1;
}

FAKE_CALL int cuInit(unsigned int flags)
{
	(void)flags;
	fake.started = fake.shown.starts;
	return !fake.shown.starts ? DRIVER_NO_DEVICE : DRIVER_OK;
}

FAKE_CALL int cuGetErrorString(int error, const char **text)
{
	*text = error == DRIVER_NO_DEVICE ? "no GPU" : "a fake error";
	return DRIVER_OK;
}

FAKE_CALL int cuDeviceGetCount(int *count)
{
	*count = fake.shown.gpus;
	return fake_cuda_enter("cuDeviceGetCount");
}

FAKE_CALL int cuDeviceGet(int *device, int ordinal)
{
	*device = ordinal;
	return ordinal < 0 || ordinal >= fake.shown.gpus ? DRIVER_INVALID_DEVICE
	                                                 : fake_cuda_enter("cuDeviceGet");
}

/* With capital letters and all eight digits of a domain, as the driver may; or nothing. */
FAKE_CALL int cuDeviceGetPCIBusId(char *text, int len, int device)
{
	snprintf(text, (size_t)len, "00000000:%02X:00.0", 0x5a + device);
	if (fake.shown.nowhere)
		*text = 0;
	return fake_cuda_enter("cuDeviceGetPCIBusId");
}

FAKE_CALL int cuDeviceGetAttribute(int *value, int attribute, int device)
{
	(void)device;
	if (attribute != DEVICE_DMA_BUF)
		return DRIVER_INVALID_VALUE;
	*value = fake.shown.exports;
	return fake_cuda_enter("cuDeviceGetAttribute");
}

FAKE_CALL int cuDevicePrimaryCtxRetain(void **context, int device)
{
	int error = fake_cuda_enter("cuDevicePrimaryCtxRetain");

	*context = (void *)(uintptr_t)(CONTEXTS + device);
	if (!error)
		__atomic_add_fetch(&fake.shown.retained[device], 1, __ATOMIC_RELAXED);
	return error;
}

FAKE_CALL int cuDevicePrimaryCtxRelease_v2(int device)
{
	__atomic_sub_fetch(&fake.shown.retained[device], 1, __ATOMIC_RELAXED);
	return DRIVER_OK;
}

FAKE_CALL int cuCtxPushCurrent_v2(void *context)
{
	int gpu = (int)((uintptr_t)context - CONTEXTS), error = fake_cuda_enter("cuCtxPushCurrent");

	if (error)
		return error;
	if (gpu < 0 || gpu >= fake.shown.gpus || fake.shown.retained[gpu] < 1 || depth == STACK)
		return DRIVER_INVALID_CONTEXT;
	stack[depth++] = gpu;
	__atomic_add_fetch(&fake.shown.pushes, 1, __ATOMIC_RELAXED);
	return DRIVER_OK;
}

FAKE_CALL int cuCtxPopCurrent_v2(void **context)
{
	if (!depth)
		return DRIVER_INVALID_CONTEXT;
	*context = (void *)(uintptr_t)(CONTEXTS + stack[--depth]);
	__atomic_add_fetch(&fake.shown.pops, 1, __ATOMIC_RELAXED);
	return DRIVER_OK;
}

FAKE_CALL int cuCtxGetCurrent(void **context)
{
	*context = depth ? (void *)(uintptr_t)(CONTEXTS + stack[depth - 1]) : NULL;
	return DRIVER_OK;
}

/* The sizes of the answers are those of the driver: some are a byte. */
static int answer(void *value, int attribute, const struct fake_memory *a)
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

FAKE_CALL int cuPointerGetAttribute(void *value, int attribute, unsigned long long addr)
{
	struct fake_memory a = fake_memory_find(addr);
	int error = fake_cuda_enter("cuPointerGetAttribute");

	return error ? error : a.kind ? answer(value, attribute, &a) : DRIVER_INVALID_VALUE;
}

/* Not of all that can be asked of a pointer. */
FAKE_CALL int cuPointerGetAttributes(unsigned int count, int *attributes, void **values,
                                     unsigned long long addr)
{
	struct fake_memory a = fake_memory_find(addr);
	int error = fake_cuda_enter("cuPointerGetAttributes");

	for (unsigned int i = 0; !error && i < count; i++)
		error = attributes[i] == POINTER_GPU_DIRECT_RDMA
		                ? DRIVER_INVALID_VALUE
		                : answer(values[i], attributes[i], &a);
	return error;
}

FAKE_CALL int cuMemGetAddressRange_v2(unsigned long long *base, size_t *size,
                                      unsigned long long addr)
{
	struct fake_memory a = fake_memory_find(addr);
	int error = fake_cuda_enter_context("cuMemGetAddressRange");

	*base = a.begin;
	*size = a.len;
	return error ? error : a.kind ? DRIVER_OK : DRIVER_INVALID_VALUE;
}

NEW_CALL int cuMemRetainAllocationHandle(unsigned long long *handle, void *addr)
{
	int error = fake_cuda_enter("cuMemRetainAllocationHandle");

	if (error || fake_memory_find((uintptr_t)addr).kind != MAPPED)
		return error ? error : DRIVER_INVALID_VALUE;
	*handle = 1;
	__atomic_add_fetch(&fake.shown.handles, 1, __ATOMIC_RELAXED);
	return DRIVER_OK;
}

FAKE_CALL int cuMemRelease(unsigned long long handle)
{
	(void)handle;
	__atomic_sub_fetch(&fake.shown.handles, 1, __ATOMIC_RELAXED);
	return DRIVER_OK;
}

/* Whole pages, the last of which may reach beyond the allocation. The file has their bytes where
 * they are the first of a plain allocation, else only their length. */
NEW_CALL int cuMemGetHandleForAddressRange(void *handle, unsigned long long addr, size_t size,
                                           int type, unsigned long long flags)
{
	unsigned long page = (unsigned long)sysconf(_SC_PAGESIZE);
	struct fake_memory first = fake_memory_find(addr),
			   last = fake_memory_find(addr + size - page);
	int error = fake_cuda_enter_context("cuMemGetHandleForAddressRange"), fd;

	if (error)
		return error;
	if (!fake.shown.exports)
		return DRIVER_NOT_SUPPORTED;
	if (type != HANDLE_DMA_BUF_FD || flags || addr % page || size % page || !first.kind ||
	    !last.kind || first.gpu != last.gpu || first.gpu != stack[depth - 1])
		return DRIVER_INVALID_VALUE;
	fd = first.kind == PLAIN && first.begin == addr ? fcntl(first.fd, F_DUPFD_CLOEXEC, 0)
	                                                : fake_memory_file(size);
	if (fd < 0)
		return DRIVER_OUT_OF_MEMORY;
	*(int *)handle = fd;
	__atomic_add_fetch(&fake.shown.exported, 1, __ATOMIC_RELAXED);
	return DRIVER_OK;
}
