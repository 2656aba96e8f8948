/* SPDX-License-Identifier: MIT
 * Structs of the user's that begin with their size, and may be another version's. */
#ifndef KVR_SIZED_H
#define KVR_SIZED_H

#include <stddef.h>

/* Copies `known` bytes, what the user's version lacks as zeros. Fails with a line of log, which
 * calls the struct by its name, below `least` bytes (-EINVAL), or where what we do not know is not
 * zero
 * (-E2BIG). */
int sized_read(const char *name, const void *user, void *out, size_t least, size_t known);

#endif
