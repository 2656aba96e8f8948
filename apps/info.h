/* SPDX-License-Identifier: MIT
 * What kvrail info shows of a machine, in three ways. */
#ifndef INFO_H
#define INFO_H

#include "app.h"
#include "machine.h"
#include <stdio.h>

#define INFO_DEVICES  (AFFINITY_GPUS + KVR_MAX_RAILS)
#define INFO_SECTIONS (AFFINITY_NODES + INFO_DEVICES)

/* Devices in the order of a drawing: by NUMA node, host bridge and switch; GPUs before rails. */
struct info_leaf {
	const struct machine_device *device;
	char label[40]; /* gpu:0, rdmap85s0 */
	bool gpu;
	bool other_branch; /* nodes, host bridge or switch than the leaf before it has */
};

unsigned int info_leaves(const struct machine *, struct info_leaf out[static INFO_DEVICES]);

/* The sets of nodes to show devices under: each node by itself, also where it has none, then what
 * else devices are near. */
unsigned int info_sections(const struct machine *, const struct info_leaf *, unsigned int leaves,
                           uint64_t out[static INFO_SECTIONS]);

/* NUMA node 0, package 0, 32.00 GiB; NUMA nodes 0 1; No known NUMA node. Returns buf. */
const char *info_nodes(const struct machine *, uint64_t nodes, char buf[static 128]);

/* host bridge ..., PCIe switch ..., uplink ...; empty where nothing is known. Returns buf. */
const char *info_branch(const struct machine_device *, char buf[static 128]);

/* 31.5 GB/s, or empty. Returns buf. */
const char *info_speed(double gigabytes, char buf[static 32]);

void info_print_tree(const struct machine *);
json_t *info_machine_json(const struct machine *);

/* title: what is drawn. 0, or what writing the file failed with as a negative errno. */
int info_draw(const struct machine *, const char *title, const char *path);

#endif
