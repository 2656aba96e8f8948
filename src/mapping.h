/* SPDX-License-Identifier: MIT
 * Every rail's distance to every memory as JSON that a person may edit. */
#ifndef KVR_MAPPING_H
#define KVR_MAPPING_H

#include "affinity.h"

struct json_t;

/* {"cpu:0": [{"distance": "node", "rails": ["eth0"]}, ...], "gpu:0": ...}; NULL: no memory. */
struct json_t *mapping_json(const struct affinity_map *);

/*
 * Reads such an object, or what `kvrail info --json` wrote, which has it as `mapping`. map comes
 * with this process's rails and their names, and what is known of the machine's nodes and GPUs; the
 * file may add some, and all distances are the file's. A rail that a memory's list leaves out is
 * never used for it; a memory that the file leaves out takes all rails for equally near. -EINVAL,
 * or what reading the file ended with: why names file and field. Else why has what is doubtful
 * (rails that only one of both has, memory that only the file has), or nothing.
 */
int mapping_load(const char *path, struct affinity_map *map, char *why, size_t why_len);

#endif
