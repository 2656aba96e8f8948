/* SPDX-License-Identifier: MIT
 * Opens libfabric's endpoints. 0 or an error; then *call is which one failed, and what has been
 * opened is the caller's to close. */
#ifndef KVR_FABRIC_ENDPOINT_H
#define KVR_FABRIC_ENDPOINT_H

#include <stddef.h>

struct fi_info;
struct fid_av;
struct fid_cq;
struct fid_domain;
struct fid_ep;
struct fid_eq;

int endpoint_open_cq(struct fid_domain *, size_t size, struct fid_cq **out, const char **call);

/* With an address vector of its own: efa's 1.17 has it so. eq: NULL is none. */
int endpoint_open(struct fid_domain *, struct fi_info *, struct fid_eq *eq, struct fid_cq *,
                  struct fid_av **av, struct fid_ep **ep, const char **call);

#endif
