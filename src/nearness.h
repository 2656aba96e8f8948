/* SPDX-License-Identifier: MIT
 * Where this rank's memory and rails are, and what follows for its transfers: doc/affinity.md has
 * the rule. What is known of the machine is found out when the context opens, and stays. */
#ifndef KVR_NEARNESS_H
#define KVR_NEARNESS_H

#include "affinity.h"
#include "cuda.h"
#include "fabric.h"
#include "page_nodes.h"
#include "wire.h"
#include <stdbool.h>

struct kvr;
struct topology;

struct nearness {
	struct affinity_map map;
	char gpu_pci[AFFINITY_GPUS][16]; /* of its GPUs */
	uint64_t machine;                /* the same for ranks that share one, and its rails */
	struct affinity_share share;     /* this rank among them */
	bool is_here;        /* the map is of this machine: the kernel knows its nodes */
	uint64_t with_rails; /* nodes of the machine, bit i: node_number[i], that have some */
	uint64_t bound;      /* nodes that this rank is bound to, as bits; 0: to none */
	uint64_t home;       /* nodes of memory that nothing else is known of; 0: unknown */
	uint32_t near;       /* rails that are near to it, as bits: for messages */
	uint32_t spare;      /* rails that are near to no other rank of this machine */
};

/* What is asked for a page's node; a test may put another in its place, whose answers count
 * whatever machine the map is of. */
extern const struct pages_source *nearness_pages;

/* Before rails are chosen among the offers: tells machines apart. */
void nearness_identify(struct kvr *, const struct fabric_list *);

/* The rails have names and addresses: measures, or reads the mapping that the options name. */
int nearness_survey(struct kvr *, const struct topology *, char why[FABRIC_WHY]);

/* All ranks' addresses are there (nranks of KVR_ADDRESS_MAX bytes, which have been checked), and
 * all are peers. -ENOMEM. */
int nearness_join(struct kvr *, const uint8_t *addresses, struct wire_address *scratch);

/* A GPU's index in the map, by its PCI address, or by CUDA's number where the map is one without
 * addresses; AFFINITY_GPUS: the map does not have it; -1: for the host. */
int nearness_gpu(const struct nearness *, const struct cuda_gpu *);

/* The rails of a GPU's memory, or of host memory on some of these nodes (bits; 0: home's). */
struct rail_set nearness_of_gpu(const struct nearness *, int gpu);
struct rail_set nearness_of_nodes(const struct nearness *, uint64_t nodes);

/* The same in their order: nearest first. */
struct affinity nearness_order(const struct nearness *, int gpu, uint64_t nodes);

#endif
