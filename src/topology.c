/* SPDX-License-Identifier: MIT
 * A machine as hwloc sees it, or as a file that hwloc wrote has it. */
#include "topology.h"
#include <errno.h>
#include <fcntl.h>
#include <hwloc.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static hwloc_topology_t from_handle(const struct topology *t)
{
	return (hwloc_topology_t)t;
}

/* The beginning of a file as text: 0, or an errno. It never waits for a pipe's writer. */
static int read_head(const char *path, char *out, size_t size)
{
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC), error = 0;
	ssize_t len = fd < 0 ? -1 : read(fd, out, size - 1);

	if (len < 0)
		error = errno;
	out[len < 0 ? 0 : len] = 0;
	if (fd >= 0)
		close(fd);
	return error;
}

/* What a file that hwloc does not take is, from its first lines: hwloc itself does not say. */
static void explain_file(const char *path, char note[static TOPOLOGY_NOTE])
{
	char head[4096];
	int error = read_head(path, head, sizeof(head));

	if (error)
		snprintf(note, TOPOLOGY_NOTE, "%.120s: %s", path, strerror(error));
	else if (!*head)
		snprintf(note, TOPOLOGY_NOTE, "%.120s is empty", path);
	else if (!strstr(head, "<topology"))
		snprintf(note, TOPOLOGY_NOTE,
		         "%.120s was not written by hwloc: make one with lstopo FILE.xml", path);
	else
		snprintf(note, TOPOLOGY_NOTE,
		         "%.120s is truncated, damaged, or of a newer hwloc than this one (%u.%u)",
		         path, hwloc_get_api_version() >> 16, hwloc_get_api_version() >> 8 & 255);
}

/* hwloc 1 wrote no version, and left out much of the PCI bus by default. */
static void note_version(const char *path, char note[static TOPOLOGY_NOTE])
{
	char head[4096], *root, *end;

	if (read_head(path, head, sizeof(head)))
		return;
	root = strstr(head, "<topology");
	end = root ? strchr(root, '>') : NULL;
	if (!end)
		return;
	*end = 0;
	if (!strstr(root, "version="))
		snprintf(note, TOPOLOGY_NOTE,
		         "%.120s was written by hwloc 1, and may lack devices: write it anew",
		         path);
}

static int load(hwloc_topology_t t, const char *path)
{
	static const char *const unwanted[] = {"cuda", "gl", "levelzero", "nvml", "opencl", "rsmi"};

	/* What these find is not asked for, and some start a whole graphics stack for it. */
	for (size_t i = 0; i < sizeof(unwanted) / sizeof(unwanted[0]); i++)
		hwloc_topology_set_components(t, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST,
		                              unwanted[i]);
	/* A container or a batch system may keep some CPUs and nodes from this process: the
	 * machine's devices are where they are all the same. */
	if (hwloc_topology_set_flags(t, HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED))
		return -1;
	/* PCI devices are left out by default. */
	if (hwloc_topology_set_io_types_filter(t, HWLOC_TYPE_FILTER_KEEP_IMPORTANT))
		return -1;
	if (path && hwloc_topology_set_xml(t, path))
		return -1;
	return hwloc_topology_load(t);
}

struct topology *topology_read(const char *path, char note[static TOPOLOGY_NOTE])
{
	hwloc_topology_t t;

	*note = 0;
	if (hwloc_topology_init(&t)) {
		snprintf(note, TOPOLOGY_NOTE, "hwloc cannot start");
		return NULL;
	}
	if (load(t, path)) {
		hwloc_topology_destroy(t);
		if (path)
			explain_file(path, note);
		else
			snprintf(note, TOPOLOGY_NOTE, "hwloc cannot read this machine");
		return NULL;
	}
	if (path)
		note_version(path, note);
	return (struct topology *)t;
}

void topology_close(struct topology *t)
{
	if (t)
		hwloc_topology_destroy(from_handle(t));
}

bool topology_is_here(const struct topology *t)
{
	return t && hwloc_topology_is_thissystem(from_handle(t));
}

static uint64_t nodes_of_cpus(hwloc_topology_t t, hwloc_const_cpuset_t cpus)
{
	hwloc_obj_t node = NULL;
	uint64_t bound = 0, all = 0, bit;

	while ((node = hwloc_get_next_obj_by_type(t, HWLOC_OBJ_NUMANODE, node))) {
		if (node->os_index >= 64 || hwloc_bitmap_iszero(node->cpuset))
			continue;
		bit = UINT64_C(1) << node->os_index;
		all |= bit;
		if (hwloc_bitmap_intersects(node->cpuset, cpus))
			bound |= bit;
	}
	return bound == all ? 0 : bound;
}

uint64_t topology_bound_nodes(const struct topology *topology)
{
	hwloc_topology_t t = from_handle(topology);
	hwloc_bitmap_t cpus;
	uint64_t nodes = 0;

	if (!topology_is_here(topology) || !(cpus = hwloc_bitmap_alloc()))
		return 0;
	if (!hwloc_get_cpubind(t, cpus, HWLOC_CPUBIND_THREAD))
		nodes = nodes_of_cpus(t, cpus);
	hwloc_bitmap_free(cpus);
	return nodes;
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
