/* SPDX-License-Identifier: MIT
 * A machine as hwloc sees it, or as a file that hwloc wrote has it. */
#ifndef KVR_TOPOLOGY_H
#define KVR_TOPOLOGY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOPOLOGY_NOTE 256

struct topology;

/* The file, or this machine (or what HWLOC_XMLFILE names) for NULL. note: why it is NULL, or what
 * there is to be said all the same, such as an old version; empty if nothing. */
struct topology *topology_read(const char *path, char note[static TOPOLOGY_NOTE]);

/* HWLOC_XMLFILE's, or this machine's; logs what is wrong. NULL if hwloc cannot tell; the others
 * take that. */
struct topology *topology_open(void);
void topology_close(struct topology *);

/* Whether it is this machine's, so that the kernel means the same nodes; not for NULL. */
bool topology_is_here(const struct topology *);

/* The nodes that this thread may run on, bit N for the kernel's number N below 64. 0: not known, or
 * all of them. */
uint64_t topology_bound_nodes(const struct topology *);

/* The NUMA node of a device by its PCI address, or by its name if that is empty, and then fills in
 * the address. -1: not known. */
int topology_locate(const struct topology *, const char *name, char *pci, size_t pci_len);

#endif
