/* SPDX-License-Identifier: MIT
 * What EFA devices can do, where libfabric does not say it. */
#ifndef KVR_EFA_H
#define KVR_EFA_H

#include <stdbool.h>

/* Whether there are EFA devices, and all of them can read from a peer's memory by themselves.
 * Asks libefa, if libfabric has brought it along. */
bool efa_devices_read(void);

#endif
