/* SPDX-License-Identifier: MIT
 * What the NICs are called and where they sit: as on an instance, or as an hwloc export says. */
#ifndef SOFTEFA_DEVICES_H
#define SOFTEFA_DEVICES_H

#include "shm.h"

/* Names for config->nics devices (as many as there are where it is 0), from an export of hwloc's if
 * there is one. false: said why on standard error. */
bool devices_choose(struct shm_config *config, const char *topology);

/* Writes the part of /sys that libfabric's efa provider follows, below dir/sys. 0 or -1. */
int devices_write_sysfs(const struct shm_config *config, const char *dir);

#endif
