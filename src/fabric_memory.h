/* SPDX-License-Identifier: MIT
 * Memory, as libfabric registers it. */
#ifndef KVR_FABRIC_MEMORY_H
#define KVR_FABRIC_MEMORY_H

#include "fabric.h"

struct fid_domain;
struct fid_mr;
struct fi_info;

/* How a NIC, opened at an interface version, takes GPU memory: see fabric_ops.gpu. Nothing has been
 * registered there yet. */
enum fabric_memory_kind fabric_memory_gpu(const struct fi_info *, struct fid_domain *,
                                          uint32_t version);

struct fabric_mr {
	struct fid_mr *fid;
	void *desc;
};

/* See fabric_ops.reg, dereg and key. */
int fabric_memory_register(struct fid_domain *, const struct fabric_memory *, uint64_t key,
                           struct fabric_mr **out);
int fabric_memory_deregister(struct fabric_mr *);
uint64_t fabric_memory_key(const struct fabric_mr *);

#endif
