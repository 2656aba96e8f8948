/* SPDX-License-Identifier: MIT
 * kvrail info: a machine's devices by where they sit, as a tree and as JSON. */
#include "info.h"
#include <stdlib.h>
#include <string.h>

/* Devices of no known node come last. */
static int compare_nodes(uint64_t a, uint64_t b)
{
	if (!a || !b)
		return !a - !b;
	return (a > b) - (a < b);
}

static int compare_leaves(const void *left, const void *right)
{
	const struct info_leaf *a = left, *b = right;
	int order = compare_nodes(a->device->nodes, b->device->nodes);

	if (!order)
		order = strcmp(a->device->root, b->device->root);
	if (!order)
		order = strcmp(a->device->bridge, b->device->bridge);
	if (!order)
		order = b->gpu - a->gpu;
	/* The arrays of a machine are by index. */
	return order ? order : (a->device > b->device) - (a->device < b->device);
}

unsigned int info_leaves(const struct machine *m, struct info_leaf out[static INFO_DEVICES])
{
	unsigned int n = 0;

	for (unsigned int g = 0; g < m->map.gpus; g++, n++) {
		out[n] = (struct info_leaf){.device = &m->gpu[g], .gpu = true};
		snprintf(out[n].label, sizeof(out[n].label), "gpu:%u", g);
	}
	for (unsigned int r = 0; r < m->map.rails; r++, n++) {
		out[n] = (struct info_leaf){.device = &m->rail[r]};
		snprintf(out[n].label, sizeof(out[n].label), "%.31s", m->rail[r].name);
	}
	qsort(out, n, sizeof(*out), compare_leaves);
	for (unsigned int i = 0; i < n; i++) {
		const struct machine_device *now = out[i].device;
		const struct machine_device *before = i ? out[i - 1].device : NULL;

		out[i].other_branch = !before || now->nodes != before->nodes ||
		                      strcmp(now->root, before->root) ||
		                      strcmp(now->bridge, before->bridge);
	}
	return n;
}

unsigned int info_sections(const struct machine *m, const struct info_leaf *leaves,
                           unsigned int count, uint64_t out[static INFO_SECTIONS])
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < m->map.nodes; i++)
		out[n++] = UINT64_C(1) << i;
	for (unsigned int i = 0; i < count; i++) {
		uint64_t nodes = leaves[i].device->nodes;

		if ((nodes && !(nodes & (nodes - 1))) || (n && out[n - 1] == nodes))
			continue;
		out[n++] = nodes;
	}
	return n;
}

static const char *describe_node(const struct machine_node *node, char buf[static 128])
{
	char package[32] = "", size[32] = "";

	if (node->package >= 0)
		snprintf(package, sizeof(package), ", package %d", node->package);
	if (node->bytes)
		human_bytes(node->bytes, size);
	snprintf(buf, 128, "NUMA node %d%s%s%s", node->number, package, *size ? ", " : "", size);
	return buf;
}

const char *info_nodes(const struct machine *m, uint64_t nodes, char buf[static 128])
{
	size_t used;

	if (!nodes)
		return strcpy(buf, "No known NUMA node");
	for (unsigned int i = 0; i < m->map.nodes; i++)
		if (nodes == UINT64_C(1) << i)
			return describe_node(&m->node[i], buf);
	used = (size_t)snprintf(buf, 128, "NUMA nodes");
	for (unsigned int i = 0; i < m->map.nodes; i++)
		if (nodes >> i & 1 && used < 128)
			used += (size_t)snprintf(buf + used, 128 - used, " %d", m->node[i].number);
	return buf;
}

const char *info_speed(double gigabytes, char buf[static 32])
{
	*buf = 0;
	if (gigabytes > 0)
		snprintf(buf, 32, "%.1f GB/s", gigabytes);
	return buf;
}

const char *info_branch(const struct machine_device *device, char buf[static 128])
{
	char speed[32];

	*buf = 0;
	if (!*device->root)
		return buf;
	snprintf(buf, 128, "host bridge %s%s%s%s%s", device->root,
	         *device->bridge ? ", PCIe switch " : "", device->bridge,
	         device->uplink > 0 ? ", uplink " : "", info_speed(device->uplink, speed));
	return buf;
}

static void print_leaf(const struct info_leaf *leaf)
{
	const struct machine_device *device = leaf->device;
	char speed[32], line[160];
	int len;

	len = snprintf(line, sizeof(line), "    %-12s %-14s %-11s %s", leaf->label,
	               *device->pci ? device->pci : "-", info_speed(device->link, speed),
	               leaf->gpu ? device->name : "");
	while (len > 0 && line[len - 1] == ' ')
		line[--len] = 0;
	puts(line);
}

void info_print_tree(const struct machine *m)
{
	struct info_leaf leaves[INFO_DEVICES];
	uint64_t sections[INFO_SECTIONS];
	unsigned int n = info_leaves(m, leaves), shown;
	unsigned int count = info_sections(m, leaves, n, sections);
	char text[128];

	for (unsigned int s = 0; s < count; s++) {
		shown = 0;
		printf("%s\n", info_nodes(m, sections[s], text));
		for (unsigned int i = 0; i < n; i++) {
			if (leaves[i].device->nodes != sections[s])
				continue;
			if (leaves[i].other_branch && *info_branch(leaves[i].device, text))
				printf("  %s\n", text);
			print_leaf(&leaves[i]);
			shown++;
		}
		if (!shown)
			printf("  neither GPU nor rail\n");
	}
}

static json_t *nodes_json(const struct machine *m)
{
	json_t *nodes = json_array();

	for (unsigned int i = 0; i < m->map.nodes; i++)
		json_array_append_new(nodes, json_pack("{si si sI}", "node", m->node[i].number,
		                                       "package", m->node[i].package, "bytes",
		                                       (json_int_t)m->node[i].bytes));
	return nodes;
}

/* Speeds as the tree has them, without the noise of hwloc's floats. */
static double rounded(double gigabytes)
{
	return (double)(long)(gigabytes * 10 + 0.5) / 10;
}

static json_t *device_json(const struct machine *m, const struct machine_device *device)
{
	json_t *near = json_array();

	for (unsigned int i = 0; i < m->map.nodes; i++)
		if (device->nodes >> i & 1)
			json_array_append_new(near, json_integer(m->node[i].number));
	return json_pack("{ss ss so ss ss sf sf}", "name", device->name, "pci", device->pci,
	                 "nodes", near, "host_bridge", device->root, "switch", device->bridge,
	                 "link_gb_s", rounded(device->link), "uplink_gb_s",
	                 rounded(device->uplink));
}

json_t *info_machine_json(const struct machine *m)
{
	json_t *gpus = json_array(), *rails = json_array();

	for (unsigned int g = 0; g < m->map.gpus; g++)
		json_array_append_new(gpus, device_json(m, &m->gpu[g]));
	for (unsigned int r = 0; r < m->map.rails; r++)
		json_array_append_new(rails, device_json(m, &m->rail[r]));
	return json_pack("{so so so}", "nodes", nodes_json(m), "gpus", gpus, "rails", rails);
}
