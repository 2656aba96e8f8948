/* SPDX-License-Identifier: MIT
 * The CUDA driver, loaded when it is needed. */
#include "cuda.h"
#include "cuda_driver.h"
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct symbol {
	const char *name;
	size_t offset; /* of its pointer in driver_calls */
	bool optional;
} symbols[] = {
	{"cuInit", offsetof(struct driver_calls, init)},
	{"cuGetErrorString", offsetof(struct driver_calls, error_string)},
	{"cuDeviceGetCount", offsetof(struct driver_calls, device_count)},
	{"cuDeviceGet", offsetof(struct driver_calls, device_get)},
	{"cuDeviceGetPCIBusId", offsetof(struct driver_calls, device_pci)},
	{"cuDeviceGetAttribute", offsetof(struct driver_calls, device_attribute)},
	{"cuDevicePrimaryCtxRetain", offsetof(struct driver_calls, context_retain)},
	{"cuDevicePrimaryCtxRelease_v2", offsetof(struct driver_calls, context_release)},
	{"cuCtxPushCurrent_v2", offsetof(struct driver_calls, context_push)},
	{"cuCtxPopCurrent_v2", offsetof(struct driver_calls, context_pop)},
	{"cuPointerGetAttribute", offsetof(struct driver_calls, pointer_attribute)},
	{"cuPointerGetAttributes", offsetof(struct driver_calls, pointer_attributes)},
	{"cuMemGetAddressRange_v2", offsetof(struct driver_calls, address_range)},
	{"cuMemRetainAllocationHandle", offsetof(struct driver_calls, handle_retain), true},
	{"cuMemRelease", offsetof(struct driver_calls, handle_release), true},
	{"cuMemGetHandleForAddressRange", offsetof(struct driver_calls, range_export), true},
};

/* The name of what the library lacks, or NULL. */
static const char *find_calls(void *library, struct driver_calls *out)
{
	void *found;

	for (size_t i = 0; i < sizeof(symbols) / sizeof(symbols[0]); i++) {
		found = dlsym(library, symbols[i].name);
		if (!found && !symbols[i].optional)
			return symbols[i].name;
		memcpy((char *)out + symbols[i].offset, &found, sizeof(found));
	}
	return NULL;
}

/* NULL and why: there is none to be had. With RTLD_NOLOAD as flag: nobody has loaded it. It stays
 * loaded until the process ends, as threads may be in it. */
static const struct driver_calls *driver(int flag, char why[static CUDA_WHY])
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static struct driver_calls calls;
	static void *library;
	static const char *lacks;
	const char *error;
	bool is_usable;

	pthread_mutex_lock(&lock);
	if (!library && (library = dlopen(DRIVER_LIBRARY, RTLD_NOW | flag)))
		lacks = find_calls(library, &calls);
	is_usable = library && !lacks;
	if (!library) {
		error = dlerror();
		snprintf(why, CUDA_WHY, "no CUDA driver: %s",
		         error ? error : DRIVER_LIBRARY " is not loaded");
	} else if (lacks) {
		snprintf(why, CUDA_WHY, "the CUDA driver is too old: it has no %s", lacks);
	}
	pthread_mutex_unlock(&lock);
	return is_usable ? &calls : NULL;
}

static const struct driver_calls *loaded(void)
{
	char why[CUDA_WHY];

	return driver(RTLD_NOLOAD, why);
}

static int to_errno(int error)
{
	switch (error) {
	case DRIVER_OUT_OF_MEMORY:
		return -ENOMEM;
	case DRIVER_NO_DEVICE:
	case DRIVER_INVALID_DEVICE:
		return -ENODEV;
	case DRIVER_NOT_SUPPORTED:
		return -EOPNOTSUPP;
	case DRIVER_INVALID_VALUE:
		return -EINVAL;
	default:
		return -EIO;
	}
}

static int fail(const struct driver_calls *cu, char why[static CUDA_WHY], const char *call,
                int error)
{
	const char *text = NULL;

	if (cu->error_string(error, &text) || !text)
		text = "unknown error";
	snprintf(why, CUDA_WHY, "%s: %s (CUDA's error %d)", call, text, error);
	return to_errno(error);
}

bool cuda_is_here(void)
{
	char why[CUDA_WHY];

	return driver(0, why);
}

int cuda_count(char why[static CUDA_WHY])
{
	const struct driver_calls *cu = driver(0, why);
	int error, count = 0;

	if (!cu)
		return -ENODEV;
	if ((error = cu->init(0))) {
		fail(cu, why, "cuInit", error);
		return -ENODEV;
	}
	if ((error = cu->device_count(&count))) {
		fail(cu, why, "cuDeviceGetCount", error);
		return -ENODEV;
	}
	if (count < 1)
		snprintf(why, CUDA_WHY,
		         "the CUDA driver shows no GPU; is CUDA_VISIBLE_DEVICES "
		         "empty?");
	return count < 1 ? -ENODEV : count;
}

static bool is_mapped(const struct driver_calls *cu, const void *addr)
{
	unsigned long long handle;

	if (!cu->handle_retain || !cu->handle_release ||
	    cu->handle_retain(&handle, (void *)(uintptr_t)addr))
		return false;
	cu->handle_release(handle);
	return true;
}

struct cuda_memory cuda_look(const void *addr)
{
	int asked[] = {POINTER_MEMORY_TYPE, POINTER_IS_MANAGED, POINTER_DEVICE_ORDINAL};
	const struct driver_calls *cu = loaded();
	struct cuda_memory memory = {.device = -1};
	int type = 0, device = -1, managed = 0;
	void *values[] = {&type, &managed, &device};

	/* Its errors: not started yet; or no context has such memory. */
	if (!cu || cu->pointer_attributes(3, asked, values, (uintptr_t)addr) || !type)
		return memory;
	if (managed) {
		memory.kind = CUDA_MANAGED;
	} else if (type == MEMORY_HOST) {
		memory.kind = CUDA_PINNED;
	} else {
		memory.kind = is_mapped(cu, addr) ? CUDA_MAPPED : CUDA_PLAIN;
		memory.device = device;
	}
	return memory;
}

/* As the kernel and hwloc write it: four digits, small letters. */
static int find_pci(const struct driver_calls *cu, int device, char out[static 16])
{
	unsigned int domain, bus, slot, function;
	char text[32] = "";
	int error = cu->device_pci(text, sizeof(text), device);

	if (error)
		return error;
	if (sscanf(text, "%x:%x:%x.%x", &domain, &bus, &slot, &function) != 4)
		*out = 0;
	else
		snprintf(out, 16, "%04x:%02x:%02x.%x", domain & 0xffff, bus & 0xff, slot & 0xff,
		         function & 7);
	return 0;
}

int cuda_gpu_open(int device, struct cuda_gpu *out, char why[static CUDA_WHY])
{
	struct cuda_gpu gpu = {.device = device};
	int count = cuda_count(why), error, handle, exports = 0;
	const struct driver_calls *cu;

	if (count < 0)
		return count;
	cu = loaded();
	if (device < 0 || device >= count) {
		snprintf(why, CUDA_WHY, "there is no GPU %d: CUDA shows this process 0 to %d",
		         device, count - 1);
		return -ENODEV;
	}
	if ((error = cu->device_get(&handle, device)))
		return fail(cu, why, "cuDeviceGet", error);
	if ((error = find_pci(cu, handle, gpu.pci)))
		return fail(cu, why, "cuDeviceGetPCIBusId", error);
	/* Older drivers do not know the question. */
	gpu.exports = cu->range_export && !cu->device_attribute(&exports, DEVICE_DMA_BUF, handle) &&
	              exports;
	if ((error = cu->context_retain(&gpu.context, handle)))
		return fail(cu, why, "cuDevicePrimaryCtxRetain", error);
	*out = gpu;
	return 0;
}

void cuda_gpu_close(struct cuda_gpu *gpu)
{
	const struct driver_calls *cu = loaded();
	int handle;

	if (gpu->context && !cu->device_get(&handle, gpu->device))
		cu->context_release(handle);
	gpu->context = NULL;
}

int cuda_enter(const struct cuda_gpu *gpu, char why[static CUDA_WHY])
{
	const struct driver_calls *cu = loaded();
	int error = cu->context_push(gpu->context);

	return error ? fail(cu, why, "cuCtxPushCurrent", error) : 0;
}

void cuda_leave(void)
{
	void *context;

	loaded()->context_pop(&context);
}

size_t cuda_extent(const struct cuda_gpu *gpu, enum cuda_kind kind, const void *addr, size_t len)
{
	const struct driver_calls *cu = loaded();
	unsigned long long begin = (uintptr_t)addr, at = begin, base;
	struct cuda_memory memory;
	size_t size;

	do {
		memory = cuda_look((const void *)(uintptr_t)at);
		if (memory.kind != kind || memory.device != gpu->device ||
		    cu->address_range(&base, &size, at) || base + size <= at)
			break;
		at = base + size;
	} while (kind == CUDA_MAPPED && at - begin < len);
	return at - begin < len ? at - begin : len;
}

bool cuda_is_reachable(const void *addr)
{
	int reachable = 0;

	return loaded()->pointer_attribute(&reachable, POINTER_GPU_DIRECT_RDMA, (uintptr_t)addr) ||
	       reachable;
}

/* Whole pages are exported. */
int cuda_export(const void *addr, size_t len, struct cuda_export *out, char why[static CUDA_WHY])
{
	const struct driver_calls *cu = loaded();
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	uintptr_t first = (uintptr_t)addr & ~(page - 1);
	uintptr_t end = ((uintptr_t)addr + len + page - 1) & ~(page - 1);
	int fd = -1, error = cu->range_export(&fd, first, end - first, HANDLE_DMA_BUF_FD, 0);

	if (error)
		return fail(cu, why, "cuMemGetHandleForAddressRange", error);
	*out = (struct cuda_export){.fd = fd, .offset = (uintptr_t)addr - first};
	return 0;
}
