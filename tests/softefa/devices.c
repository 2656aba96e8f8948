/* SPDX-License-Identifier: MIT
 * What the NICs are called and where they sit. */
#include "devices.h"
#include <errno.h>
#include <hwloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_NICS 16
#define AMAZON       0x1d0f

/* PCI buses of an instance's NICs, all with the same slot. */
static const struct instance {
	uint32_t nics;
	uint8_t slot;
	uint8_t bus[MAX_NICS];
} instances[] = {
	{4, 27, {16, 32, 144, 160}}, /* p4d.24xlarge */
	{16,
         0,
         {85, 86, 87, 88, 110, 111, 112, 113, /* p5en.48xlarge */
          135, 136, 137, 138, 160, 161, 162, 163}},
	{32, 0, {79,  80,  81,  82,  96,  97,  98,  99,  113, 114, 115, /* p5.48xlarge */
                 116, 130, 131, 132, 133, 147, 148, 149, 150, 164, 165,
                 166, 167, 181, 182, 183, 184, 198, 199, 200, 201}},
};

static void name_device(struct shm_config *config, uint32_t nic, uint32_t bus, uint32_t slot)
{
	snprintf(config->name[nic], sizeof(config->name[nic]), "rdmap%us%u", bus, slot);
	snprintf(config->pci[nic], sizeof(config->pci[nic]), "0000:%02x:%02x.0", bus & 0xff,
	         slot & 0x1f);
}

/* The smallest instance that has as many. */
static void choose_from_table(struct shm_config *config)
{
	const struct instance *instance = instances;

	if (config->nics > 4)
		instance += config->nics > 16 ? 2 : 1;
	for (uint32_t i = 0; i < config->nics; i++)
		name_device(config, i, instance->bus[i], instance->slot);
}

static int compare_pci(hwloc_obj_t a, hwloc_obj_t b)
{
	const struct hwloc_pcidev_attr_s *x = &a->attr->pcidev, *y = &b->attr->pcidev;

	return (int)((x->domain << 16 | x->bus << 8 | (unsigned int)x->dev << 3 | x->func) -
	             (y->domain << 16 | y->bus << 8 | (unsigned int)y->dev << 3 | y->func));
}

/* The export's EFA devices, in the order of their addresses: how many. */
static uint32_t find_devices(hwloc_topology_t topology, hwloc_obj_t found[MAX_NICS])
{
	hwloc_obj_t os = NULL, pci;
	uint32_t n = 0, at;

	while ((os = hwloc_get_next_osdev(topology, os))) {
		pci = os->parent;
		if (os->attr->osdev.type != HWLOC_OBJ_OSDEV_OPENFABRICS || !pci ||
		    pci->type != HWLOC_OBJ_PCI_DEVICE || pci->attr->pcidev.vendor_id != AMAZON ||
		    n == MAX_NICS)
			continue;
		for (at = n++; at && compare_pci(found[at - 1]->parent, pci) > 0; at--)
			found[at] = found[at - 1];
		found[at] = os;
	}
	return n;
}

static bool take_devices(struct shm_config *config, hwloc_topology_t topology, const char *path)
{
	const struct hwloc_pcidev_attr_s *pci;
	hwloc_obj_t found[MAX_NICS];
	uint32_t n = find_devices(topology, found);

	if (!n || n < config->nics) {
		fprintf(stderr,
		        "softefa: %s has %u EFA devices, not %u: give a smaller --nics, or an "
		        "export "
		        "of an instance with EFA (lstopo --whole-io out.xml)\n",
		        path, n, config->nics ? config->nics : 1);
		return false;
	}
	if (!config->nics)
		config->nics = n;
	for (uint32_t i = 0; i < config->nics; i++) {
		pci = &found[i]->parent->attr->pcidev;
		snprintf(config->name[i], sizeof(config->name[i]), "%.31s", found[i]->name);
		snprintf(config->pci[i], sizeof(config->pci[i]), "%04x:%02x:%02x.%x",
		         pci->domain & 0xffffu, pci->bus, pci->dev, pci->func & 7u);
	}
	return true;
}

static bool choose_from_export(struct shm_config *config, const char *path)
{
	hwloc_topology_t topology;
	bool ok;

	if (hwloc_topology_init(&topology))
		return false;
	hwloc_topology_set_io_types_filter(topology, HWLOC_TYPE_FILTER_KEEP_ALL);
	ok = !hwloc_topology_set_xml(topology, path) && !hwloc_topology_load(topology);
	if (ok)
		ok = take_devices(config, topology, path);
	else
		fprintf(stderr,
		        "softefa: --topology %s is no topology that hwloc %d.%d can read: %s\n",
		        path, HWLOC_API_VERSION >> 16, HWLOC_API_VERSION >> 8 & 0xff,
		        strerror(errno));
	hwloc_topology_destroy(topology);
	return ok;
}

bool devices_choose(struct shm_config *config, const char *topology)
{
	if (topology)
		return choose_from_export(config, topology);
	if (!config->nics)
		config->nics = DEFAULT_NICS;
	choose_from_table(config);
	return true;
}

/* The first thing that went wrong ends the rest. */
struct tree {
	const char *root;
	int rc;
};

static void make_folder(struct tree *tree, const char *path)
{
	char full[4096];

	snprintf(full, sizeof(full), "%s/%s", tree->root, path);
	for (char *at = full + strlen(tree->root) + 1; !tree->rc && *at; at++) {
		if (*at != '/')
			continue;
		*at = 0;
		if (mkdir(full, 0700) && errno != EEXIST)
			tree->rc = -1;
		*at = '/';
	}
	if (!tree->rc && mkdir(full, 0700) && errno != EEXIST)
		tree->rc = -1;
}

static void make_file(struct tree *tree, const char *path, const char *text)
{
	char full[4096];
	FILE *f;

	snprintf(full, sizeof(full), "%s/%s", tree->root, path);
	f = tree->rc ? NULL : fopen(full, "we");
	if (!f || fputs(text, f) < 0)
		tree->rc = -1;
	if (f && fclose(f))
		tree->rc = -1;
}

/* Three folders below the root. */
static void make_link(struct tree *tree, const char *path, const char *target)
{
	char full[4096], to[4096];

	snprintf(full, sizeof(full), "%s/%s", tree->root, path);
	snprintf(to, sizeof(to), "../../../%s", target);
	if (!tree->rc && symlink(to, full))
		tree->rc = -1;
}

static void make_device(struct tree *tree, const struct shm_config *config, uint32_t nic)
{
	const char *name = config->name[nic], *pci = config->pci[nic];
	char device[256], path[512], text[32];

	snprintf(device, sizeof(device), "devices/pci%.7s/%s", pci, pci);
	make_folder(tree, device);
	snprintf(path, sizeof(path), "%s/driver", device);
	make_link(tree, path, "bus/pci/drivers/efa");
	snprintf(path, sizeof(path), "%s/vendor", device);
	snprintf(text, sizeof(text), "0x%04x\n", AMAZON);
	make_file(tree, path, text);
	snprintf(path, sizeof(path), "%s/device", device);
	snprintf(text, sizeof(text), "0x%04x\n", config->vendor_part_id);
	make_file(tree, path, text);
	snprintf(path, sizeof(path), "class/infiniband/%s", name);
	make_folder(tree, path);
	snprintf(path, sizeof(path), "class/infiniband/%s/device", name);
	make_link(tree, path, device);
	snprintf(path, sizeof(path), "class/infiniband_verbs/uverbs%u", nic);
	make_folder(tree, path);
}

int devices_write_sysfs(const struct shm_config *config, const char *dir)
{
	char root[256];
	struct tree tree = {.root = root};

	snprintf(root, sizeof(root), "%s/sys", dir);
	if (mkdir(root, 0700))
		return -1;
	make_folder(&tree, "bus/pci/drivers/efa");
	make_folder(&tree, "class/infiniband_verbs");
	make_file(&tree, "class/infiniband_verbs/abi_version", "6\n");
	for (uint32_t i = 0; i < config->nics; i++)
		make_device(&tree, config, i);
	return tree.rc;
}
