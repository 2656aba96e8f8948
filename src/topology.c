/* SPDX-License-Identifier: MIT
 * Where a rail sits in the machine, as hwloc sees it (or HWLOC_XMLFILE says). */
#include "topology.h"
#include "log.h"
#include <hwloc.h>
#include <stdio.h>
#include <string.h>

static hwloc_topology_t from_handle(const struct topology *t)
{
	return (hwloc_topology_t)t;
}

struct topology *topology_open(void)
{
	static const char *const unwanted[] = {"cuda", "gl", "levelzero", "nvml", "opencl", "rsmi"};
	hwloc_topology_t t;

	if (hwloc_topology_init(&t))
		return NULL;
	/* What these find is not asked for, and some start a whole graphics stack for it. */
	for (size_t i = 0; i < sizeof(unwanted) / sizeof(unwanted[0]); i++)
		hwloc_topology_set_components(t, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST,
		                              unwanted[i]);
	/* PCI devices are left out by default. */
	if (hwloc_topology_set_io_types_filter(t, HWLOC_TYPE_FILTER_KEEP_IMPORTANT) ||
	    hwloc_topology_load(t)) {
		log_warning("hwloc cannot read this machine's topology (HWLOC_XMLFILE?): rails "
		            "are used without regard to NUMA nodes");
		hwloc_topology_destroy(t);
		return NULL;
	}
	return (struct topology *)t;
}

void topology_close(struct topology *t)
{
	if (t)
		hwloc_topology_destroy(from_handle(t));
}

static hwloc_obj_t find_by_name(hwloc_topology_t t, const char *name)
{
	hwloc_obj_t dev = NULL;

	while ((dev = hwloc_get_next_osdev(t, dev)))
		if (dev->name && !strcmp(dev->name, name))
			return dev;
	return NULL;
}

static void fill_pci(hwloc_obj_t dev, char *pci, size_t pci_len)
{
	const struct hwloc_pcidev_attr_s *attr;

	while (dev && dev->type != HWLOC_OBJ_PCI_DEVICE)
		dev = dev->parent;
	if (!dev)
		return;
	attr = &dev->attr->pcidev;
	snprintf(pci, pci_len, "%04x:%02x:%02x.%x", attr->domain, attr->bus, attr->dev, attr->func);
}

int topology_locate(const struct topology *topology, const char *name, char *pci, size_t pci_len)
{
	hwloc_topology_t t = from_handle(topology);
	hwloc_obj_t dev, home;

	if (!topology)
		return -1;
	dev = *pci ? hwloc_get_pcidev_by_busidstring(t, pci) : find_by_name(t, name);
	if (!dev)
		return -1;
	if (!*pci)
		fill_pci(dev, pci, pci_len);
	home = hwloc_get_non_io_ancestor_obj(t, dev);
	if (!home || !home->nodeset || hwloc_bitmap_weight(home->nodeset) != 1)
		return -1;
	return hwloc_bitmap_first(home->nodeset);
}
