/* SPDX-License-Identifier: MIT
 * Memory of every kind that CUDA has, for tests. */
#include "cuda_memory.h"
#include "cuda_driver.h"
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { OF_DEVICE = 1, PINNED = 1, READ_WRITE = 3, ATTACH_GLOBAL = 1 };

struct location {
	int type, id;
};

struct properties {
	int type, handle_types;
	struct location location;
	void *windows;
	unsigned char compression, gpu_direct_rdma;
	unsigned short usage;
	unsigned char reserved[4];
};

struct access {
	struct location location;
	int flags;
};

static struct {
	int (*alloc)(unsigned long long *addr, size_t len);
	int (*alloc_managed)(unsigned long long *addr, size_t len, unsigned int flags);
	int (*alloc_host)(void **addr, size_t len);
	int (*release)(unsigned long long addr);
	int (*release_host)(void *addr);
	int (*fill)(unsigned long long addr, const void *from, size_t len);
	int (*fetch)(void *to, unsigned long long addr, size_t len);
	int (*granularity)(size_t *out, const struct properties *, int which);
	int (*reserve)(unsigned long long *addr, size_t len, size_t align, unsigned long long hint,
	               unsigned long long flags);
	int (*unreserve)(unsigned long long addr, size_t len);
	int (*create)(unsigned long long *handle, size_t len, const struct properties *,
	              unsigned long long flags);
	int (*forget)(unsigned long long handle);
	int (*map)(unsigned long long addr, size_t len, size_t offset, unsigned long long handle,
	           unsigned long long flags);
	int (*unmap)(unsigned long long addr, size_t len);
	int (*allow)(unsigned long long addr, size_t len, const struct access *, size_t count);
	int (*context)(void **out);
} driver;

static void must(const char *call, int error)
{
	if (!error)
		return;
	fprintf(stderr, "%s: CUDA's error %d\n", call, error);
	exit(1);
}

static void *find(const char *name)
{
	static void *library;
	void *call;

	if (!library)
		library = dlopen(DRIVER_LIBRARY, RTLD_NOW);
	call = library ? dlsym(library, name) : NULL;
	must(name, call ? 0 : -1);
	return call;
}

static void find_all(void)
{
	*(void **)&driver.alloc = find("cuMemAlloc_v2");
	*(void **)&driver.alloc_managed = find("cuMemAllocManaged");
	*(void **)&driver.alloc_host = find("cuMemAllocHost_v2");
	*(void **)&driver.release = find("cuMemFree_v2");
	*(void **)&driver.release_host = find("cuMemFreeHost");
	*(void **)&driver.fill = find("cuMemcpyHtoD_v2");
	*(void **)&driver.fetch = find("cuMemcpyDtoH_v2");
	*(void **)&driver.granularity = find("cuMemGetAllocationGranularity");
	*(void **)&driver.reserve = find("cuMemAddressReserve");
	*(void **)&driver.unreserve = find("cuMemAddressFree");
	*(void **)&driver.create = find("cuMemCreate");
	*(void **)&driver.forget = find("cuMemRelease");
	*(void **)&driver.map = find("cuMemMap");
	*(void **)&driver.unmap = find("cuMemUnmap");
	*(void **)&driver.allow = find("cuMemSetAccess");
	*(void **)&driver.context = find("cuCtxGetCurrent");
}

static void load(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, find_all);
}

void *cuda_memory_plain(size_t len)
{
	unsigned long long addr = 0;

	load();
	must("cuMemAlloc", driver.alloc(&addr, len));
	return (void *)addr;
}

void *cuda_memory_managed(size_t len)
{
	unsigned long long addr = 0;

	load();
	must("cuMemAllocManaged", driver.alloc_managed(&addr, len, ATTACH_GLOBAL));
	return (void *)addr;
}

void *cuda_memory_pinned(size_t len)
{
	void *addr = NULL;

	load();
	must("cuMemAllocHost", driver.alloc_host(&addr, len));
	return addr;
}

void cuda_memory_free(void *addr)
{
	must("cuMemFree", driver.release((unsigned long long)addr));
}

void cuda_memory_free_pinned(void *addr)
{
	must("cuMemFreeHost", driver.release_host(addr));
}

void cuda_memory_fill(void *plain, const void *from, size_t len)
{
	must("cuMemcpyHtoD", driver.fill((unsigned long long)plain, from, len));
}

void cuda_memory_fetch(void *to, const void *plain, size_t len)
{
	must("cuMemcpyDtoH", driver.fetch(to, (unsigned long long)plain, len));
}

void cuda_memory_map(struct cuda_mapping *m, int device, size_t pieces)
{
	const struct properties properties = {
		.type = PINNED, .location = {OF_DEVICE, device}, .gpu_direct_rdma = 1};
	const struct access access = {.location = {OF_DEVICE, device}, .flags = READ_WRITE};
	unsigned long long addr = 0, handle;

	load();
	m->pieces = pieces;
	must("cuMemGetAllocationGranularity", driver.granularity(&m->piece, &properties, 0));
	must("cuMemAddressReserve", driver.reserve(&addr, 2 * pieces * m->piece, 0, 0, 0));
	for (size_t i = 0; i < pieces; i++) {
		must("cuMemCreate", driver.create(&handle, m->piece, &properties, 0));
		must("cuMemMap", driver.map(addr + i * m->piece, m->piece, 0, handle, 0));
		must("cuMemRelease", driver.forget(handle));
	}
	must("cuMemSetAccess", driver.allow(addr, pieces * m->piece, &access, 1));
	m->addr = (char *)addr;
}

void cuda_memory_unmap(struct cuda_mapping *m)
{
	unsigned long long addr = (unsigned long long)m->addr;

	must("cuMemUnmap", driver.unmap(addr, m->pieces * m->piece));
	must("cuMemAddressFree", driver.unreserve(addr, 2 * m->pieces * m->piece));
}

void *cuda_memory_context(void)
{
	void *context = NULL;

	load();
	must("cuCtxGetCurrent", driver.context(&context));
	return context;
}
