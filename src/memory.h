/* SPDX-License-Identifier: MIT
 * Regions and remotes. */
#ifndef KVR_MEMORY_H
#define KVR_MEMORY_H

#include "cuda.h"
#include "fabric.h"
#include "wire.h"
#include <stdatomic.h>
#include <sys/queue.h>

struct peer;

struct kvr_region {
	struct kvr *kvr;
	TAILQ_ENTRY(kvr_region) link; /* in the context's list */
	uint8_t *addr;
	uint64_t len;
	struct cuda_gpu cuda;   /* whose memory it is; its device is -1: the host's */
	enum cuda_kind kind;    /* of a GPU's memory */
	_Atomic uint32_t users; /* ops of unfinished requests, and of peers' writes */
	struct wire_region wire;
	struct fabric_mr *mr[KVR_MAX_RAILS];
};

struct kvr_remote {
	struct kvr *kvr;
	struct peer *peer;
	_Atomic uint32_t users;
	struct wire_region wire;
};

#endif
