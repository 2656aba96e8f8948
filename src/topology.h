/* SPDX-License-Identifier: MIT
 * Where a rail sits in the machine, as hwloc sees it (or HWLOC_XMLFILE says). */
#ifndef KVR_TOPOLOGY_H
#define KVR_TOPOLOGY_H

#include <stddef.h>

struct topology;

/* NULL if hwloc cannot tell; the others take that. */
struct topology *topology_open(void);
void topology_close(struct topology *);

/* The NUMA node of a device by its PCI address, or by its name if that is empty, and then fills in
 * the address. -1: not known. */
int topology_locate(const struct topology *, const char *name, char *pci, size_t pci_len);

#endif
