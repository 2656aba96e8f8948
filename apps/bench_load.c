/* SPDX-License-Identifier: MIT
 * kvrail bench: the phases of a row. Rank 0 works, rank 1 serves until it is told that the phase
 * is over: by a counter that rank 0 moves once a phase.
 *
 * The bare loop and kvrail take turns in short slices, so that other users of the machine disturb
 * both alike. */
#include "bench.h"
#include "bench_raw.h"
#include <errno.h>
#include <stdlib.h>

#define DATA_COUNTER  0
#define PHASE_COUNTER 1
#define IN_FLIGHT     2    /* batches: one is on its way while the other's end is awaited */
#define SLICES        8    /* of either side, at least */
#define SLICE_MAX     1.0  /* seconds */
#define WARM          0.02 /* seconds; connects, and touches queues and caches */
#define LATENCY       0.25 /* seconds at most, and a quarter of what a row is given */
#define LATENCIES_MIN 16u
#define SLOWEST       1e6 /* bytes per second; less is nothing to wait for */

static void must(const struct bench *b, int rc, const char *what)
{
	if (rc)
		app_abort(b->app, "%s: %s", what, kvr_strerror(rc));
}

static uint64_t pieces_moved(const struct bench *b)
{
	struct kvr_stats stats = {.size = sizeof(stats)};

	must(b, kvr_stats_get(b->app->kvr, -1, &stats), "statistics");
	return stats.pieces;
}

static void finish(const struct bench *b, struct kvr_request *request)
{
	uint64_t pieces = 0, before;
	int rc, seconds = 0;

	while ((rc = kvr_request_wait(request, 1000)) == -ETIMEDOUT) {
		before = pieces;
		pieces = pieces_moved(b);
		seconds = pieces == before ? seconds + 1 : 0;
		if (seconds > BENCH_PATIENCE)
			app_abort(b->app, "nothing moved for %d s: is rank 1 alive?",
			          BENCH_PATIENCE);
	}
	must(b, rc, b->row.is_read ? "a read" : "a write");
	must(b, kvr_request_close(request), "closing a request");
}

static struct kvr_request *start(const struct bench *b, const struct kvr_op *ops, size_t n)
{
	struct kvr_request *request;

	if (b->row.is_read)
		must(b, kvr_read(b->app->kvr, ops, n, &request), "kvr_read");
	else
		must(b, kvr_write(b->app->kvr, ops, n, DATA_COUNTER, &request), "kvr_write");
	return request;
}

static struct kvr_request *start_batch(struct bench *b)
{
	const struct bench_row *row = &b->row;
	uint64_t batch = b->batches++ % (row->count / row->per_batch);

	return start(b, b->ops + batch * row->per_batch, row->per_batch);
}

uint32_t bench_moved(const struct bench *b)
{
	uint64_t blocks = b->batches * b->row.per_batch;

	return blocks < b->row.count ? (uint32_t)blocks : b->row.count;
}

/* Rank 0. No gaps between batches; at the end it waits for all. */
static void run_kvrail(struct bench *b, double seconds, struct bench_rate *rate)
{
	uint64_t batch_bytes = b->row.per_batch * b->row.size;
	struct kvr_request *requests[IN_FLIGHT];
	double began = seconds_now();
	unsigned int oldest = 0;

	for (unsigned int i = 0; i < IN_FLIGHT; i++)
		requests[i] = start_batch(b);
	for (;; oldest = (oldest + 1) % IN_FLIGHT) {
		finish(b, requests[oldest]);
		rate->bytes += batch_bytes;
		if (seconds_now() - began >= seconds)
			break;
		requests[oldest] = start_batch(b);
	}
	for (unsigned int i = 1; i < IN_FLIGHT; i++) {
		finish(b, requests[(oldest + i) % IN_FLIGHT]);
		rate->bytes += batch_bytes;
	}
	rate->seconds += seconds_now() - began;
}

/* Rank 0: any word will do, it is the counter that counts. */
static void end_phase(struct bench *b)
{
	struct kvr_op op = {
		.local = b->region,
		.remote = b->remote,
		.local_offset = b->bytes,
		.remote_offset = b->bytes,
		.len = sizeof(uint64_t),
		.count = 1,
	};
	struct kvr_request *request;

	must(b, kvr_write(b->app->kvr, &op, 1, PHASE_COUNTER, &request), "end of a phase");
	finish(b, request);
}

/* Rank 1. Reads may need nothing of this rank, so it cannot see whether they move: it waits for as
 * long as a phase can last, and somewhat longer than rank 0, which sees better. */
static void serve(struct bench *b, bool is_raw)
{
	double batches = IN_FLIGHT * (double)b->row.per_batch * (double)b->row.size;
	double end = seconds_now() + 2 * BENCH_PATIENCE + batches / SLOWEST;
	int rc;

	b->phases++;
	do {
		if (is_raw)
			raw_serve(b->raw);
		rc = kvr_counter_wait(b->app->kvr, PHASE_COUNTER, b->phases, is_raw ? 0 : 1000,
		                      NULL);
	} while (rc == -ETIMEDOUT && seconds_now() < end);
	if (rc == -ETIMEDOUT)
		app_abort(b->app, "rank 0 is silent: is it alive?");
	must(b, rc, "waiting for rank 0");
}

static void raw_phase(struct bench *b, double seconds, struct bench_rate *rate)
{
	if (b->app->rank) {
		serve(b, true);
		return;
	}
	raw_run(b->raw, &b->row, seconds, rate);
	end_phase(b);
}

static void kvrail_phase(struct bench *b, double seconds, struct bench_rate *rate)
{
	if (b->app->rank) {
		serve(b, false);
		return;
	}
	run_kvrail(b, seconds, rate);
	end_phase(b);
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* One operation at a time, of those blocks that were moved already: so it can be told at the end
 * which ones must have changed. */
static void latency_phase(struct bench *b, struct bench_result *result)
{
	double seconds = b->options->seconds / 4, began = seconds_now(), now = began, next;
	uint32_t n = 0;

	if (b->app->rank) {
		serve(b, false);
		return;
	}
	if (seconds > LATENCY)
		seconds = LATENCY;
	while (n < LATENCIES_MIN || (n < BENCH_LATENCIES_MAX && now - began < seconds)) {
		finish(b, start(b, b->ops + n % bench_moved(b), 1));
		next = seconds_now();
		b->latencies_us[n++] = (next - now) * 1e6;
		now = next;
	}
	qsort(b->latencies_us, n, sizeof(b->latencies_us[0]), compare_doubles);
	result->p50_us = b->latencies_us[n / 2];
	result->p99_us = b->latencies_us[n * 99 / 100];
	end_phase(b);
}

static void name_row(const struct bench_row *row, char *buf, size_t len)
{
	char size[32];

	snprintf(buf, len, "%s %s %s", row->is_read ? "read" : "write",
	         row->is_contiguous ? "contiguous" : "paged", human_bytes(row->size, size));
}

void bench_load(struct bench *b, struct bench_result *result)
{
	double half = b->options->seconds / 2;
	unsigned int slices = half / SLICES > SLICE_MAX ? (unsigned int)(half / SLICE_MAX) : SLICES;
	struct bench_rate warm = {0};
	struct progress_bar bar;
	char name[64];

	*result = (struct bench_result){.verified = false};
	name_row(&b->row, name, sizeof(name));
	if (!b->app->rank)
		progress_start(&bar, name, slices);
	raw_phase(b, WARM, &warm);
	kvrail_phase(b, WARM, &warm);
	for (unsigned int i = 0; i < slices; i++) {
		raw_phase(b, half / slices, &result->raw);
		kvrail_phase(b, half / slices, &result->kvrail);
		if (!b->app->rank)
			progress_show(&bar, i + 1, result->kvrail.bytes);
	}
	latency_phase(b, result);
	if (!b->app->rank)
		progress_end(&bar);
}
