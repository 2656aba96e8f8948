/* SPDX-License-Identifier: MIT
 * The CUDA driver, loaded when it is needed: whose memory is at an address, and what another device
 * must have to get at it. */
#ifndef KVR_CUDA_H
#define KVR_CUDA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CUDA_WHY 256 /* room for one line that says what failed and why */

enum cuda_kind {
	CUDA_NONE,    /* the host's, of which CUDA knows nothing */
	CUDA_PINNED,  /* the host's, allocated or registered by CUDA */
	CUDA_MANAGED, /* its pages move between host and GPUs */
	CUDA_PLAIN,   /* a GPU's: cuMemAlloc, cudaMalloc */
	CUDA_MAPPED,  /* a GPU's: cuMemCreate and cuMemMap, as PyTorch's expandable_segments do */
};

struct cuda_memory {
	enum cuda_kind kind;
	int device; /* of CUDA_PLAIN and CUDA_MAPPED, as CUDA counts them in this process */
};

/* A GPU whose primary context is retained. */
struct cuda_gpu {
	int device;
	char pci[16]; /* 0000:53:00.0 */
	bool exports; /* by dmabuf */
	void *context;
};

/* Memory as a file. */
struct cuda_export {
	int fd;          /* to be closed */
	uint64_t offset; /* of the memory in it */
};

/* Whether there is a driver to load, with or without a GPU. Does not start it. */
bool cuda_is_here(void);

/* How many GPUs this process may use; at least 1. -ENODEV: why says what is missing. */
int cuda_count(char why[static CUDA_WHY]);

/* Neither loads nor starts the driver: where nobody has, no memory is a GPU's. */
struct cuda_memory cuda_look(const void *addr);

/* -ENODEV: no such GPU, or none at all. */
int cuda_gpu_open(int device, struct cuda_gpu *out, char why[static CUDA_WHY]);
void cuda_gpu_close(struct cuda_gpu *);

/* Makes the GPU's context this thread's, and then the one that was before again. */
int cuda_enter(const struct cuda_gpu *, char why[static CUDA_WHY]);
void cuda_leave(void);

/* All below between cuda_enter and cuda_leave. */

/* How many of len bytes from addr on, which is of this kind, belong together: to one allocation of
 * CUDA_PLAIN; to mappings of one GPU that follow each other without a gap. */
size_t cuda_extent(const struct cuda_gpu *, enum cuda_kind, const void *addr, size_t len);

/* Whether memory at addr was made so that NICs can get at it; true where that is not known. */
bool cuda_is_reachable(const void *addr);

int cuda_export(const void *addr, size_t len, struct cuda_export *out, char why[static CUDA_WHY]);

#endif
