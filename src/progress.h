/* SPDX-License-Identifier: MIT
 * The loop: take submitted requests, read completions, serve messages, post pieces. */
#ifndef KVR_PROGRESS_H
#define KVR_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct kvr;

#define PROGRESS_ALL UINT32_MAX

/* One pass, by the holder of the engine lock; whether anything happened. rails: those that are
 * polled and posted on, as bits. */
bool progress_pass(struct kvr *, uint32_t rails);

#endif
