/* SPDX-License-Identifier: MIT
 * libfabric's endpoints, each with what it is bound to. */
#ifndef KVR_FABRIC_ENDPOINT_H
#define KVR_FABRIC_ENDPOINT_H

#include <stdbool.h>
#include <stddef.h>

struct fi_info;
struct fid_av;
struct fid_cq;
struct fid_domain;
struct fid_ep;
struct fid_eq;
struct retiring;

/* Zeroed: not open. */
struct endpoint {
	struct fid_ep *ep;
	struct fid_cq *cq; /* its own; NULL: another's */
	struct fid_av *av; /* efa's 1.17 has it so */
	struct retiring *retiring;
};

/* eq: NULL is none; cq: another's that it shares, or NULL: one of its own, of that size. 0 or an
 * error; then *call is which one failed, and what has been opened is the caller's to close. */
int endpoint_open(struct fid_domain *, struct fi_info *, struct fid_eq *eq, struct fid_cq *cq,
                  size_t cq_size, struct endpoint *out, const char **call);
void endpoint_close(struct endpoint *);

/* Closes it in the background; whether that is done, or it was not open. */
bool endpoint_retire(struct endpoint *);

/* What is being closed stays open for good. */
void endpoint_abandon(struct endpoint *);

#endif
