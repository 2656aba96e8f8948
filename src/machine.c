/* SPDX-License-Identifier: MIT
 * What a machine has, as plain data: its NUMA nodes, GPUs and rails, and how far apart they are. */
#include "machine.h"
#include "topology.h"
#include <hwloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define PCI_NETWORK 0x02 /* base classes of the PCI code and ID assignment specification */
#define PCI_DISPLAY 0x03
#define PCI_NVIDIA  0x10de

/* A PCI device, or a bridge's side that looks like one; NULL for a host bridge. */
static const struct hwloc_pcidev_attr_s *pci_of(hwloc_obj_t obj)
{
	if (obj->type == HWLOC_OBJ_PCI_DEVICE)
		return &obj->attr->pcidev;
	if (obj->type == HWLOC_OBJ_BRIDGE &&
	    obj->attr->bridge.upstream_type == HWLOC_OBJ_BRIDGE_PCI)
		return &obj->attr->bridge.upstream.pci;
	return NULL;
}

static bool is_host_bridge(hwloc_obj_t obj)
{
	return obj->type == HWLOC_OBJ_BRIDGE &&
	       obj->attr->bridge.upstream_type == HWLOC_OBJ_BRIDGE_HOST;
}

/* Several ports or devices lie below it, and not just one device's functions. */
static bool is_switch(hwloc_obj_t obj)
{
	hwloc_obj_t first = obj->io_first_child;

	if (obj->type != HWLOC_OBJ_BRIDGE || is_host_bridge(obj) || obj->io_arity < 2)
		return false;
	for (hwloc_obj_t child = first; child; child = child->next_sibling) {
		const struct hwloc_pcidev_attr_s *a = pci_of(first), *b = pci_of(child);

		if (child->type == HWLOC_OBJ_BRIDGE || !a || !b || a->dev != b->dev)
			return true;
	}
	return false;
}

static void survey_nodes(hwloc_topology_t t, struct machine *m)
{
	hwloc_obj_t obj = NULL, up;

	while (m->map.nodes < AFFINITY_NODES &&
	       (obj = hwloc_get_next_obj_by_type(t, HWLOC_OBJ_NUMANODE, obj))) {
		struct machine_node *node = &m->node[m->map.nodes];

		up = hwloc_get_ancestor_obj_by_type(t, HWLOC_OBJ_PACKAGE, obj);
		node->number = (int)obj->os_index;
		node->package = up ? (int)up->os_index : -1;
		node->bytes = obj->attr->numanode.local_memory;
		m->map.node_number[m->map.nodes++] = node->number;
	}
}

/* A device of all nodes is near none of them, but where there is only one, or one package. */
static uint64_t nodes_of(hwloc_topology_t t, const struct machine *m, hwloc_obj_t dev)
{
	hwloc_obj_t home = hwloc_get_non_io_ancestor_obj(t, dev);
	uint64_t nodes = 0;
	unsigned int count = 0;

	for (unsigned int i = 0; home && home->nodeset && i < m->map.nodes; i++) {
		if (!hwloc_bitmap_isset(home->nodeset, (unsigned int)m->node[i].number))
			continue;
		nodes |= UINT64_C(1) << i;
		count++;
	}
	if (count == m->map.nodes && count > 1 &&
	    hwloc_get_nbobjs_by_type(t, HWLOC_OBJ_PACKAGE) != 1)
		return 0;
	return nodes;
}

static void describe_pci(const struct hwloc_pcidev_attr_s *pci, char out[static 16])
{
	snprintf(out, 16, "%04x:%02x:%02x.%x", pci->domain & 0xffff, pci->bus, pci->dev, pci->func);
}

static void describe(hwloc_topology_t t, const struct machine *m, hwloc_obj_t dev,
                     struct machine_device *out)
{
	hwloc_obj_t up = dev;
	double speed;

	out->nodes = nodes_of(t, m, dev);
	while (up && up->type == HWLOC_OBJ_OS_DEVICE)
		up = up->parent;
	if (!up || !pci_of(up))
		return;
	describe_pci(pci_of(up), out->pci);
	out->link = (double)pci_of(up)->linkspeed;
	while ((up = up->parent) && up->type == HWLOC_OBJ_BRIDGE && !is_host_bridge(up)) {
		if (!*out->bridge && is_switch(up))
			describe_pci(pci_of(up), out->bridge);
		speed = (double)pci_of(up)->linkspeed;
		if (*out->bridge && speed > 0 && (out->uplink <= 0 || speed < out->uplink))
			out->uplink = speed;
	}
	if (up && is_host_bridge(up))
		snprintf(out->root, sizeof(out->root), "%04x:[%02x-%02x]",
		         up->attr->bridge.downstream.pci.domain & 0xffff,
		         up->attr->bridge.downstream.pci.secondary_bus,
		         up->attr->bridge.downstream.pci.subordinate_bus);
}

static unsigned long pci_number(hwloc_obj_t dev)
{
	const struct hwloc_pcidev_attr_s *pci = &dev->attr->pcidev;

	return (unsigned long)pci->domain << 16 | (unsigned long)pci->bus << 8 |
	       (unsigned long)pci->dev << 3 | pci->func;
}

static bool pci_before(hwloc_obj_t a, hwloc_obj_t b)
{
	return pci_number(a) < pci_number(b);
}

static bool name_before(hwloc_obj_t a, hwloc_obj_t b)
{
	return strverscmp(a->name, b->name) < 0;
}

/* Into an ordered list; the last falls off a full one. */
static void insert(hwloc_obj_t *list, unsigned int *count, unsigned int max, hwloc_obj_t obj,
                   bool (*before)(hwloc_obj_t, hwloc_obj_t))
{
	unsigned int at = *count;

	while (at > 0 && before(obj, list[at - 1]))
		at--;
	if (at == max)
		return;
	*count += *count < max;
	memmove(&list[at + 1], &list[at], (*count - at - 1) * sizeof(*list));
	list[at] = obj;
}

/* Also where no CUDA is loaded, so by the bus. */
static void survey_gpus(hwloc_topology_t t, struct machine *m, hwloc_obj_t found[AFFINITY_GPUS])
{
	hwloc_obj_t dev = NULL;
	const char *model;

	while ((dev = hwloc_get_next_pcidev(t, dev)))
		if (dev->attr->pcidev.vendor_id == PCI_NVIDIA &&
		    dev->attr->pcidev.class_id >> 8 == PCI_DISPLAY)
			insert(found, &m->map.gpus, AFFINITY_GPUS, dev, pci_before);
	for (unsigned int g = 0; g < m->map.gpus; g++) {
		model = hwloc_obj_get_info_by_name(found[g], "PCIDevice");
		snprintf(m->gpu[g].name, sizeof(m->gpu[g].name), "%s", model ? model : "");
		describe(t, m, found[g], &m->gpu[g]);
	}
}

/* At a rail's address there may be something else on another machine. */
static hwloc_obj_t find_rail(hwloc_topology_t t, const struct machine_rail *rail)
{
	hwloc_obj_t dev = NULL;

	if (*rail->pci) {
		dev = hwloc_get_pcidev_by_busidstring(t, rail->pci);
		return dev && dev->attr->pcidev.class_id >> 8 == PCI_NETWORK ? dev : NULL;
	}
	while ((dev = hwloc_get_next_osdev(t, dev)))
		if (dev->name && !strcmp(dev->name, rail->name))
			break;
	return dev;
}

static uint64_t package_nodes(const struct machine *m, uint64_t nodes)
{
	uint64_t all = nodes;

	for (unsigned int i = 0; i < m->map.nodes; i++)
		for (unsigned int j = 0; j < m->map.nodes; j++)
			if (nodes >> i & 1 && m->node[i].package >= 0 &&
			    m->node[i].package == m->node[j].package)
				all |= UINT64_C(1) << j;
	return all;
}

static enum distance between_nodes(const struct machine *m, uint64_t a, uint64_t b)
{
	if (!a || !b)
		return DISTANCE_UNKNOWN;
	if (a & b)
		return DISTANCE_NODE;
	return package_nodes(m, a) & b ? DISTANCE_PACKAGE : DISTANCE_OTHER;
}

static enum distance to_gpu(const struct machine *m, unsigned int gpu, hwloc_obj_t gpu_obj,
                            unsigned int rail, hwloc_obj_t rail_obj)
{
	for (hwloc_obj_t a = rail_obj; a; a = a->parent) {
		for (hwloc_obj_t b = gpu_obj; b; b = b->parent) {
			if (a != b || a->type != HWLOC_OBJ_BRIDGE)
				continue;
			return is_host_bridge(a) ? DISTANCE_ROOT : DISTANCE_SWITCH;
		}
	}
	return between_nodes(m, m->rail[rail].nodes, m->gpu[gpu].nodes);
}

void machine_survey(const struct topology *topology, const struct machine_rail *rails,
                    unsigned int count, struct machine *m)
{
	hwloc_topology_t t = (hwloc_topology_t)topology;
	hwloc_obj_t gpu_obj[AFFINITY_GPUS], rail_obj;

	memset(m, 0, sizeof(*m));
	m->map.rails = count;
	if (t) {
		survey_nodes(t, m);
		survey_gpus(t, m, gpu_obj);
	}
	for (unsigned int r = 0; r < count; r++) {
		struct machine_device *rail = &m->rail[r];

		snprintf(m->map.rail_name[r], sizeof(m->map.rail_name[r]), "%s", rails[r].name);
		snprintf(rail->name, sizeof(rail->name), "%s", rails[r].name);
		memcpy(rail->pci, rails[r].pci, sizeof(rail->pci));
		rail_obj = t ? find_rail(t, &rails[r]) : NULL;
		if (rail_obj)
			describe(t, m, rail_obj, rail);
		for (unsigned int n = 0; n < m->map.nodes; n++)
			m->map.to_node[n][r] =
				(unsigned char)between_nodes(m, rail->nodes, UINT64_C(1) << n);
		for (unsigned int g = 0; g < m->map.gpus; g++)
			m->map.to_gpu[g][r] = (unsigned char)to_gpu(m, g, gpu_obj[g], r, rail_obj);
	}
}

/* 2: an EFA device, 1: another InfiniBand device, 0: another interface, -1: none of these. */
static int rail_kind(hwloc_obj_t dev)
{
	if (!dev->name)
		return -1;
	if (dev->attr->osdev.type == HWLOC_OBJ_OSDEV_OPENFABRICS)
		return strncmp(dev->name, "rdmap", 5) ? 1 : 2;
	return dev->attr->osdev.type == HWLOC_OBJ_OSDEV_NETWORK ? 0 : -1;
}

unsigned int machine_find_rails(const struct topology *topology,
                                struct machine_rail out[static MACHINE_RAILS])
{
	hwloc_topology_t t = (hwloc_topology_t)topology;
	hwloc_obj_t found[MACHINE_RAILS], dev = NULL;
	const struct machine nowhere = {.map.nodes = 0};
	struct machine_device device;
	unsigned int count = 0;
	int best = 0;

	if (!t)
		return 0;
	while ((dev = hwloc_get_next_osdev(t, dev)))
		if (rail_kind(dev) > best)
			best = rail_kind(dev);
	while ((dev = hwloc_get_next_osdev(t, dev)))
		if (rail_kind(dev) == best)
			insert(found, &count, MACHINE_RAILS, dev, name_before);
	for (unsigned int r = 0; r < count; r++) {
		memset(&device, 0, sizeof(device));
		describe(t, &nowhere, found[r], &device);
		snprintf(out[r].name, sizeof(out[r].name), "%s", found[r]->name);
		memcpy(out[r].pci, device.pci, sizeof(out[r].pci));
	}
	return count;
}

void machine_doubts(const struct machine *m, char *out, size_t len)
{
	unsigned int lost = 0;
	const char *first = "";

	for (unsigned int r = m->map.rails; r-- > 0;) {
		if (m->rail[r].nodes)
			continue;
		first = m->rail[r].name;
		lost++;
	}
	*out = 0;
	if (!lost)
		return;
	if (lost == m->map.rails)
		snprintf(out, len,
		         "the topology has a NUMA node for none of the %u rails (%s): if it is a "
		         "file, of another machine? They are all taken for equally near",
		         lost, first);
	else
		snprintf(out, len,
		         "the topology has no NUMA node for %u of %u rails (first %s): they are "
		         "used last",
		         lost, m->map.rails, first);
}
