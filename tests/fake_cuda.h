/* SPDX-License-Identifier: MIT
 * A CUDA driver for tests: a library with the soname of the real one, so that a program that is
 * linked with it, or finds it by LD_LIBRARY_PATH, has GPUs. Their memory is addresses that fault
 * when a CPU touches them. Calls that need a context want one of the right GPU.
 *
 * KVR_FAKE_GPUS in the environment: how many there are; default 2. */
#ifndef TESTS_FAKE_CUDA_H
#define TESTS_FAKE_CUDA_H

#include <stdbool.h>

#define FAKE_GPUS_MAX 8

/* Everything is 0 at first but gpus and the first three bools. */
struct fake_cuda {
	int gpus;
	bool exports;   /* by dmabuf */
	bool reachable; /* memory is fit for GPUDirect RDMA */
	bool starts;    /* cuInit works */
	bool nowhere;   /* GPUs have no PCI address */
	/* How often: */
	int retained[FAKE_GPUS_MAX]; /* less the releases */
	int pushes, pops;
	int handles; /* of allocations, retained and not released */
	int exported;
	/* A call that fails, and its result. */
	const char *failing;
	int error;
};

/* Its only one. */
struct fake_cuda *fake_cuda(void);

#endif
