/* SPDX-License-Identifier: MIT
 * When requests arrive, how long they took, and how long they would have to take. Pure. */
#ifndef LATENCY_H
#define LATENCY_H

#include "trace.h"

/* Seconds after the first request of the trace, whose time passes `speedup` times as fast. */
double latency_arrival(const struct trace *, size_t request, double speedup);

/* One request's way. */
struct latency {
	size_t request; /* index in the trace */
	uint64_t bytes;
	double ready_ms; /* when all KV was ready, and had a place to go; since the replay began */
	double ms;       /* from then until all is in place */
	double ideal_ms; /* the rails' time for the bytes; 0: their rate is unknown */
};

/* A rail of a host: two ranks there have the same ones. */
struct latency_rail {
	char host[64], name[32];
	double bits_per_second; /* 0: unknown */
};

/* What all of them carry together, each counted once; 0 if one's rate is unknown. */
double latency_rate(const struct latency_rail *, size_t count);

struct latency_summary {
	size_t count;
	double p50, p90, p99, max;
};

enum latency_what { LATENCY_MS, LATENCY_IDEAL_MS, LATENCY_OVER_IDEAL };

/* Of those with at least so many bytes. A percentile is the smallest value that so many of a
 * hundred do not exceed. count 0: there are none, or the ideal is not known. -ENOMEM. */
int latency_summarize(const struct latency *, size_t count, enum latency_what, uint64_t min_bytes,
                      struct latency_summary *out);

#endif
