/* SPDX-License-Identifier: MIT
 * What is used of the CUDA driver's interface, declared here: nothing of CUDA is needed to build.
 * tests/test_cuda_numbers.c compares the numbers with those of cuda.h, where there is one. */
#ifndef KVR_CUDA_DRIVER_H
#define KVR_CUDA_DRIVER_H

#include <stddef.h>

#define DRIVER_LIBRARY "libcuda.so.1"

enum { /* results */
       DRIVER_OK = 0,
       DRIVER_INVALID_VALUE = 1,
       DRIVER_OUT_OF_MEMORY = 2,
       DRIVER_NOT_INITIALIZED = 3,
       DRIVER_NO_DEVICE = 100,
       DRIVER_INVALID_DEVICE = 101,
       DRIVER_INVALID_CONTEXT = 201,
       DRIVER_NOT_SUPPORTED = 801,
};

enum { /* what can be asked of a pointer; into an int that is 0, as some answers are shorter */
       POINTER_MEMORY_TYPE = 2,
       POINTER_IS_MANAGED = 8,
       POINTER_DEVICE_ORDINAL = 9,
       POINTER_GPU_DIRECT_RDMA = 15, /* whether it was made fit for that */
};

enum { /* answers to the first; 0: the memory is none of CUDA's */
       MEMORY_HOST = 1,
       MEMORY_DEVICE = 2,
};

enum { /* what can be asked of a device */
       DEVICE_DMA_BUF = 124,
};

enum { /* what an address range is exported as */
       HANDLE_DMA_BUF_FD = 1,
};

/* Addresses and handles have 64 bits; a device is what device_get says. */
struct driver_calls {
	int (*init)(unsigned int flags);
	int (*error_string)(int error, const char **text);
	int (*device_count)(int *count);
	int (*device_get)(int *device, int ordinal);
	int (*device_pci)(char *text, int len, int device);
	int (*device_attribute)(int *value, int attribute, int device);
	int (*context_retain)(void **context, int device); /* the device's primary one */
	int (*context_release)(int device);
	int (*context_push)(void *context);
	int (*context_pop)(void **context);
	int (*pointer_attribute)(void *value, int attribute, unsigned long long address);
	int (*pointer_attributes)(unsigned int count, int *attributes, void **values,
	                          unsigned long long address);
	int (*address_range)(unsigned long long *base, size_t *size, unsigned long long address);
	/* From here on NULL where the driver is older: 11.0, 11.0, 11.7. */
	int (*handle_retain)(unsigned long long *handle, void *address);
	int (*handle_release)(unsigned long long handle);
	int (*range_export)(void *handle, unsigned long long address, size_t size, int type,
	                    unsigned long long flags);
};

#endif
