/* SPDX-License-Identifier: MIT
 * The settings of one context: options, else environment, else defaults. */
#ifndef KVR_CONFIG_H
#define KVR_CONFIG_H

#include <kvrail.h>
#include <stdbool.h>

#define CONFIG_LIST 512

struct config {
	char provider[32];       /* empty: choose */
	char rails[CONFIG_LIST]; /* empty: all */
	char mapping[1024];      /* a file's path; empty: as measured */
	uint64_t piece_bytes;    /* smallest cut */
	uint64_t piece_max;      /* largest, unless a cut is that large */
	uint64_t window_bytes;   /* in flight per rail, but one piece always may be */
	uint32_t queue_depth;    /* pieces in flight per rail */
	uint32_t counters;
	enum kvr_write_mode write_mode;
	int progress_threads;     /* 1, or one of the public header's KVR_THREADS_ */
	uint32_t peer_timeout_ms; /* of silence, until a peer is taken for dead */
};

/* Largest piece: enough for a NIC's full rate, small enough to balance rails. */
#define CONFIG_PIECE_MAX (1u << 20)

/* options may be NULL. -EINVAL and -E2BIG say which setting and what it takes. */
int config_load(const struct kvr_options *, struct config *out);

/* Whether a rail's name is chosen by a list such as "rdmap8*, rdmap110s0" or "^docker0, lo". An
 * empty list chooses all. */
bool config_rail_chosen(const char *list, const char *name);
bool config_rails_exclude(const char *list);

/* Whether something in a list that names rails fits none of these, of which the first is at `names`
 * and each other one `stride` bytes on: it is mistyped, perhaps. */
bool config_rails_stray(const char *list, const char *names, size_t stride, size_t count,
                        char out[static CONFIG_LIST]);

#endif
