/* SPDX-License-Identifier: MIT
 * What libfabric's queues say, as the seam's events. */
#ifndef KVR_FABRIC_EVENTS_H
#define KVR_FABRIC_EVENTS_H

#include "fabric.h"

struct fid_cq;
struct fid_eq;

/* A count, 0 if nothing has come; an error is an event. */
int events_read(struct fid_cq *, struct fabric_event *, int max);

/* Errors that belong to no operation: the event queue says little more than that there was one. A
 * count. */
int events_read_errors(struct fid_eq *, struct fabric_event *);

#endif
