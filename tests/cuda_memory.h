/* SPDX-License-Identifier: MIT
 * Memory of every kind that CUDA has, for tests: from the driver that the process has loaded, a
 * real one or fake_cuda.c. */
#ifndef TESTS_CUDA_MEMORY_H
#define TESTS_CUDA_MEMORY_H

#include <stddef.h>

/* All end the test where the driver fails, and want the GPU's context to be this thread's. */
void *cuda_memory_plain(size_t len);
void *cuda_memory_managed(size_t len);
void *cuda_memory_pinned(size_t len);
void cuda_memory_free(void *addr); /* of the first two */
void cuda_memory_free_pinned(void *addr);

/* Between plain and the host's memory. */
void cuda_memory_fill(void *plain, const void *from, size_t len);
void cuda_memory_fetch(void *to, const void *plain, size_t len);

/* Mappings that follow each other, and then as much that is not mapped. */
struct cuda_mapping {
	char *addr;
	size_t piece, pieces; /* bytes of a mapping; how many */
};

void cuda_memory_map(struct cuda_mapping *, int device, size_t pieces);
void cuda_memory_unmap(struct cuda_mapping *);

/* Of this thread, or NULL. */
void *cuda_memory_context(void);

#endif
