/* SPDX-License-Identifier: MIT
 * Which rails carry which memory's bytes, and in which order: doc/affinity.md has the rule. */
#ifndef KVR_AFFINITY_H
#define KVR_AFFINITY_H

#include <kvrail.h>

#define AFFINITY_NODES 64
#define AFFINITY_GPUS  32

/* From a rail to memory, nearest first. */
enum distance {
	DISTANCE_SWITCH,  /* a PCIe switch between them */
	DISTANCE_ROOT,    /* the same host bridge */
	DISTANCE_NODE,    /* the same NUMA node */
	DISTANCE_PACKAGE, /* another NUMA node of the same package (sub-NUMA clusters) */
	DISTANCE_OTHER,   /* another package */
	DISTANCE_UNKNOWN, /* one of them has no known place */
	DISTANCE_NEVER,   /* a mapping leaves the rail out for this memory */
};

/* Every rail's distance to every memory: measured by machine.c, or read by mapping.c. */
struct affinity_map {
	unsigned int rails, nodes, gpus;
	char rail_name[KVR_MAX_RAILS][32];
	int node_number[AFFINITY_NODES]; /* the kernel's */
	unsigned char to_node[AFFINITY_NODES][KVR_MAX_RAILS];
	unsigned char to_gpu[AFFINITY_GPUS][KVR_MAX_RAILS];
};

struct affinity_place {
	int gpu;  /* its index by PCI address, which is CUDA's where all are alike; -1: host memory
	           */
	int node; /* of host memory, the kernel's number */
};

/* This rank among the ranks of its node. One alone, or count 0: nothing to share. */
struct affinity_share {
	unsigned int ordinal, count;
};

/* Rails in the order of preference. The first `near` are the nearest there are, all alike. */
struct affinity {
	unsigned int rails, near;
	unsigned char rail[KVR_MAX_RAILS], distance[KVR_MAX_RAILS];
};

/* Rails as bits, bit r for rail r: what carries bytes of one place, as transfers look at it. */
struct rail_set {
	uint32_t near;
	uint32_t far; /* known to be idle: they help where the near ones need longer */
	uint32_t any; /* all that may, when none of the near ones can */
};

/* Bits of the first n rails. */
static inline uint32_t rails_first(unsigned int n)
{
	return n < 32 ? (UINT32_C(1) << n) - 1 : UINT32_MAX;
}

/* "cpu:0" or "gpu:3". -EINVAL: neither. */
int affinity_place_parse(const char *text, struct affinity_place *out);

/* A place that the map does not have is equally far from every rail. 1 if it has it, else 0. */
int affinity_order(const struct affinity_map *, struct affinity_place, struct affinity_share,
                   struct affinity *out);

/* The target's rail for a piece that leaves by the initiator's `rail`: the same index where that is
 * near the target's memory (bits, not 0), else a near one that all the others' pieces do not choose
 * too. */
unsigned int affinity_target(uint32_t near, unsigned int rail);

/* "switch", "root", ..., as in a mapping; and in words. */
const char *distance_name(enum distance);
const char *distance_reason(enum distance);

#endif
