/* SPDX-License-Identifier: MIT
 * What a machine has, as plain data: its NUMA nodes, GPUs and rails, and how far apart they are. */
#ifndef KVR_MACHINE_H
#define KVR_MACHINE_H

#include "affinity.h"

struct topology;

struct machine_node {
	int number;  /* the kernel's */
	int package; /* -1: not known */
	uint64_t bytes;
};

struct machine_device {
	char name[64];       /* a rail's; a GPU's model, or empty */
	char pci[16];        /* empty: not known */
	char root[24];       /* its host bridge's buses, 0000:[44-5c]; empty: none known */
	char bridge[16];     /* the switch it is on, 0000:45:00.0; empty: none */
	uint64_t nodes;      /* bit i: near node[i]; several of a package's, none: not known */
	double link, uplink; /* GB/s: its own, and the narrowest from its switch up; 0: not known */
};

struct machine {
	struct machine_node node[AFFINITY_NODES];
	struct machine_device gpu[AFFINITY_GPUS]; /* NVIDIA's, by PCI address */
	struct machine_device rail[KVR_MAX_RAILS];
	struct affinity_map map;
};

struct machine_rail {
	char name[32], pci[16]; /* an address counts before a name; it may be empty */
};

/* topology NULL: nothing is known. Rails that it does not have have no place. */
void machine_survey(const struct topology *, const struct machine_rail *, unsigned int rails,
                    struct machine *out);

/* What a job on this machine would choose its rails from, in its order, which is that of their
 * names: EFA devices (rdmap*), else all InfiniBand devices, else all network interfaces. */
#define MACHINE_RAILS 256
unsigned int machine_find_rails(const struct topology *,
                                struct machine_rail out[static MACHINE_RAILS]);

/* A sentence on rails without a place, or an empty one. */
void machine_doubts(const struct machine *, char *out, size_t len);

#endif
