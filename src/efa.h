/* SPDX-License-Identifier: MIT
 * What EFA devices can do, where libfabric does not say it. */
#ifndef KVR_EFA_H
#define KVR_EFA_H

#include <stdbool.h>

struct efa_devices {
	unsigned int count;
	bool all_read; /* from a peer's memory by themselves; false if there are none */
};

/* Asks libefa, if libfabric has brought it along. */
struct efa_devices efa_devices(void);

#endif
