/* SPDX-License-Identifier: MIT
 * Closes an endpoint on a thread of its own. efa's fi_close spins until the device has completed
 * all that the endpoint has sent, also by itself, such as its half of a handshake: to a NIC that
 * has fallen silent that may take for ever. */
#ifndef KVR_FABRIC_RETIRE_H
#define KVR_FABRIC_RETIRE_H

#include <stdbool.h>

#define RETIRE_FIDS 3

struct fid;
struct retiring;

/* fids: closed in that order; NULL is none. */
void retire_at_once(struct fid *const fids[RETIRE_FIDS]);

/* NULL: no thread can be had, and they were closed at once. */
struct retiring *retire_start(struct fid *const fids[RETIRE_FIDS]);

/* Whether all is closed; then *retiring is gone. */
bool retire_has_ended(struct retiring **retiring);

/* They stay open for good, and the thread ends. */
void retire_abandon(struct retiring *);

#endif
