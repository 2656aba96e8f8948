/* SPDX-License-Identifier: MIT
 * Memory, as libfabric registers it. */
#ifndef KVR_FABRIC_MEMORY_H
#define KVR_FABRIC_MEMORY_H

#include "fabric.h"

struct fid_domain;
struct fid_mr;
struct fi_info;

/* How a NIC, opened at an interface version, takes GPU memory: see fabric_ops.gpu. */
enum fabric_memory_kind fabric_memory_gpu(const struct fi_info *, uint32_t version);

/* See fabric_ops.reg. */
int fabric_memory_register(struct fid_domain *, const struct fabric_memory *, uint64_t key,
                           struct fid_mr **out);

#endif
