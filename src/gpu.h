/* SPDX-License-Identifier: MIT
 * Regions of GPU memory: what is refused, and how rails get to it. */
#ifndef KVR_GPU_H
#define KVR_GPU_H

#include <stdint.h>

struct kvr_region;

/* Fills in region->cuda and region->kind; its address, length and context are there. The errors of
 * kvr_region_open, which are logged. */
int gpu_open(struct kvr_region *, int cuda_device);
void gpu_close(struct kvr_region *);

/* Registers a region of GPU memory on a rail; from any thread. Errors are logged. */
int gpu_register(struct kvr_region *, unsigned int rail, uint64_t key);

#endif
