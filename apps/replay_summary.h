/* SPDX-License-Identifier: MIT
 * kvrail replay: what all ranks did, added up. */
#ifndef REPLAY_SUMMARY_H
#define REPLAY_SUMMARY_H

#include "replay.h"

#define LARGE_BYTES 10000000 /* requests whose latency is all transfer */

/* Of one rank, as it goes through kvr_allgather. */
struct result {
	uint64_t is_prefill, requests, cancelled;
	uint64_t bytes, reused_bytes, verified_bytes, wrong_bytes, late_bytes, leaked_blocks;
	uint64_t resident_half, resident_end;
	double busy_seconds;
	int64_t rails;
	char host[64];
	struct {
		char name[32];
		double bits_per_second;
		int64_t state; /* see kvr_rail */
		struct kvr_stats stats;
	} rail[KVR_MAX_RAILS];
};

struct summary {
	const struct replay *replay;
	struct result *ranks;
	uint64_t requests, cancelled;
	uint64_t bytes, reused_bytes, verified_bytes, wrong_bytes, late_bytes, leaked_blocks;
	uint64_t resident_half, resident_end; /* of the rank that grew most between them */
	/* Of each prefill rank the bytes over the time in which it had a request's KV in flight,
	 * summed: what the ranks moved together while they moved. Filling, comparing and waiting
	 * for block tables do not count. */
	double bytes_per_second;
	struct latency *latencies; /* of each request that was not cancelled */
	size_t latency_count;
	struct latency_summary ms, ideal_ms, over_ideal; /* the last of those of LARGE_BYTES */
	bool good;
};

/* Collective. Ranks that run out of memory end the job. */
void replay_summary_make(struct replay *, struct summary *);
void replay_summary_free(struct summary *);

/* Latency against size, as SVG. 0 or a negative errno. */
int replay_plot(const struct latency *, size_t count, const char *path);

/* A line for each, as comma separated values. 0 or a negative errno. */
int replay_table(const struct latency *, size_t count, const char *path);

#endif
