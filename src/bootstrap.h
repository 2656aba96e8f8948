/* SPDX-License-Identifier: MIT
 * The one exchange of addresses that a job starts with. */
#ifndef KVR_BOOTSTRAP_H
#define KVR_BOOTSTRAP_H

#include "context.h"

/* Tells all ranks this one's address, or that it could not open (status and why), and adds them
 * all as peers. Returns the same error on every rank if any of them failed or does not fit; it is
 * logged, with that rank's number. Writes kvr->address. */
int bootstrap_exchange(struct kvr *, const struct kvr_bootstrap *, int status, const char *why);

/* A rail's endpoint has changed: kvr->address says so from now on. */
void bootstrap_renew_address(struct kvr *);

#endif
