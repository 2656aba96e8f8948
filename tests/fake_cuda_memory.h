/* SPDX-License-Identifier: MIT
 * Between the two halves of the tests' CUDA driver. */
#ifndef TESTS_FAKE_CUDA_MEMORY_H
#define TESTS_FAKE_CUDA_MEMORY_H

#include <stddef.h>

/* Who calls these functions has found them by their names. */
#define FAKE_CALL __attribute__((visibility("default")))

/* A driver of CUDA 10.2 has none of these. */
#ifdef FAKE_CUDA_OLD
#define NEW_CALL __attribute__((visibility("hidden")))
#else
#define NEW_CALL FAKE_CALL
#endif

enum fake_kind { NOTHING, PLAIN, MANAGED, PINNED, MAPPED, RESERVED };

struct fake_memory {
	enum fake_kind kind;
	unsigned long long begin;
	size_t len;
	int gpu;
	int fd;     /* PLAIN: what holds its bytes, */
	char *view; /* and where the driver itself gets at them */
};

/* What is at an address; of a reservation, nothing unless something is mapped there. */
struct fake_memory fake_memory_find(unsigned long long addr);

/* A file of whole pages. */
int fake_memory_file(size_t len);

/* What a call begins with: its error, 0 if it may go on. */
int fake_cuda_enter(const char *call);

/* And a GPU's context must be this thread's; which one's, or -1. */
int fake_cuda_enter_context(const char *call);
int fake_cuda_gpu(void);

#endif
