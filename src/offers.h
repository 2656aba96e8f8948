/* SPDX-License-Identifier: MIT
 * Which NICs libfabric's providers offer. */
#ifndef KVR_OFFERS_H
#define KVR_OFFERS_H

#include "fabric.h"

/* See fabric_ops.list and list_close. An offer's handle is an fi_info of the list's. */
int offers_list(const char *provider, struct fabric_list *out, char why[FABRIC_WHY]);
void offers_close(struct fabric_list *);

#endif
