/* SPDX-License-Identifier: MIT
 * Copies between an operation's own memory and another process's: with process_vm_writev and its
 * sister, so that the other takes no part in it, as with a NIC; it may be stopped. */
#ifndef SOFTEFA_COPY_H
#define SOFTEFA_COPY_H

#include "objects.h"
#include <sys/uio.h>

#define PIECES_PER_PART 16u

struct copy {
	struct iovec own[PIECES_PER_PART * SEND_SGES], peer[PIECES_PER_PART];
	uint32_t owns, peers, bytes;
};

/* Holds the operation's own memory, up to SEND_SGES of it, and says where it is. */
bool copy_hold_own(const struct op *, struct iovec own[SEND_SGES]);
void copy_release_own(void);

/* The stretch [offset, offset + len) of a list of buffers, as buffers: how many. */
uint32_t copy_cut(const struct iovec *from, uint32_t offset, uint32_t len, struct iovec *out);

#define NO_OWN_MEMORY (-1) /* instead of an errno: the operation's own is not to be had */

/* 0 or errno: ESRCH where the process in slot `proc` is no more. */
int copy_run(const struct copy *, uint32_t proc, bool is_read);

/* Bytes that went over the operation's two links. */
void copy_count(const struct op *, uint32_t bytes);

#endif
