/* SPDX-License-Identifier: MIT
 * What kvrail is compared with: one thread's loop of fi_write or fi_read, as bare as can be. It
 * goes from rail to rail; each that has room takes the next blocks of the row.
 *
 * It has as much in flight on a rail as kvrail, and gives its core away like kvrail when there is
 * nothing to do; else a machine with few cores would favour one of them. */
#include "bench_raw.h"
#include "bench_raw_rail.h"
#include <sched.h>
#include <stdlib.h>

#define SERVE_POLLS 256 /* before raw_serve lets kvrail have a look */
#define IDLE_SPIN   16  /* rounds of polls before the core is given away */

struct raw {
	const struct app *app;
	struct raw_rail *rails;
	unsigned int rail_count;
	uint64_t len; /* of the memory */
	uint64_t window_bytes;
	uint32_t idle;   /* rounds of polls without an event */
	double moved_at; /* seconds */
};

static void *allocate(const struct app *app, size_t count, size_t size)
{
	void *memory = calloc(count, size);

	if (!memory)
		app_abort(app, "bare loop: no memory");
	return memory;
}

struct raw *raw_open(const struct app *app, const struct bench_options *options, unsigned int rails,
                     void *memory, uint64_t len)
{
	struct raw *raw = allocate(app, 1, sizeof(*raw));
	struct fabric_list list;
	char why[FABRIC_WHY];

	raw->app = app;
	raw->rails = allocate(app, rails, sizeof(*raw->rails));
	raw->rail_count = rails;
	raw->len = len;
	raw->window_bytes = bench_setting("KVR_WINDOW_BYTES");
	if (fabric_libfabric.list(kvr_provider(app->kvr, NULL), &list, why))
		app_abort(app, "bare loop: %s", why);
	for (unsigned int r = 0; r < rails; r++) {
		raw->rails[r].app = app;
		raw->rails[r].depth = options->depth ? options->depth
		                                     : (uint32_t)bench_setting("KVR_QUEUE_DEPTH");
		raw_rail_open(&raw->rails[r], &list, (int)r, memory, len);
	}
	fabric_libfabric.list_close(&list);
	return raw;
}

void raw_close(struct raw *raw)
{
	for (unsigned int r = 0; r < raw->rail_count; r++)
		raw_rail_close(&raw->rails[r]);
	free(raw->rails);
	free(raw);
}

/* After a round: `any` if it brought something. No sleeping, unlike kvrail after a while: rank 1
 * cannot see whether anything is written to it. */
static void be_idle(struct raw *raw, bool any)
{
	if (any)
		raw->idle = 0;
	else if (++raw->idle > IDLE_SPIN)
		sched_yield();
}

static bool poll_rails(struct raw *raw)
{
	bool any = false;

	for (unsigned int r = 0; r < raw->rail_count; r++)
		any |= raw_rail_poll(&raw->rails[r]);
	return any;
}

void raw_serve(struct raw *raw)
{
	for (unsigned int polls = 0; polls < SERVE_POLLS; polls += raw->rail_count)
		be_idle(raw, poll_rails(raw));
}

/* The time after a round. */
static double end_round(struct raw *raw, bool any)
{
	double now = seconds_now();

	be_idle(raw, any);
	if (any)
		raw->moved_at = now;
	else if (now - raw->moved_at > BENCH_PATIENCE)
		app_abort(raw->app, "bare loop: nothing moved for %d s: is rank 1 alive?",
		          BENCH_PATIENCE);
	return now;
}

static bool post_block(struct raw_rail *rail, const struct bench_row *row, uint64_t i)
{
	uint64_t block = i % row->count;

	return raw_rail_post(rail, row->is_read, row->local[block] * row->size,
	                     row->remote[block] * row->size, row->size);
}

/* Posts the row's blocks from number *next on, on each rail up to `most` in flight. */
static double load_round(struct raw *raw, const struct bench_row *row, uint32_t most,
                         uint64_t *next)
{
	bool any = false;

	for (unsigned int r = 0; r < raw->rail_count; r++) {
		struct raw_rail *rail = &raw->rails[r];

		while (raw_rail_in_flight(rail) < most && post_block(rail, row, *next))
			++*next;
		any |= raw_rail_poll(rail);
	}
	return end_round(raw, any);
}

/* A write's completion says that its buffer is free again: over sockets, megabytes may still be on
 * their way, while kvrail counts what has arrived. So a read of a word follows, which there comes
 * behind the writes; other providers do not need it, and do not mind. */
static void flush_writes(struct raw *raw)
{
	uint64_t word = raw->len - sizeof(uint64_t);

	for (unsigned int r = 0; r < raw->rail_count; r++)
		while (!raw_rail_post(&raw->rails[r], true, word, word, sizeof(uint64_t)))
			end_round(raw, poll_rails(raw));
}

static bool all_used(const struct raw *raw)
{
	for (unsigned int r = 0; r < raw->rail_count; r++)
		if (!raw->rails[r].used)
			return false;
	return true;
}

static bool any_in_flight(const struct raw *raw)
{
	for (unsigned int r = 0; r < raw->rail_count; r++)
		if (raw_rail_in_flight(&raw->rails[r]))
			return true;
	return false;
}

/* A rail's bounds: so many operations and so many bytes, but one always may. */
static uint32_t in_flight_max(const struct raw *raw, uint64_t size)
{
	uint64_t most = raw->window_bytes / size;

	return !most ? 1 : most < raw->rails->depth ? (uint32_t)most : raw->rails->depth;
}

void raw_run(struct raw *raw, const struct bench_row *row, double seconds, struct bench_rate *rate)
{
	uint32_t most = in_flight_max(raw, row->size);
	double start = seconds_now(), now;
	uint64_t posted = 0;

	raw->moved_at = start;
	do {
		now = load_round(raw, row, most, &posted);
		if (now - start > seconds + BENCH_PATIENCE)
			app_abort(raw->app, "bare loop: a rail has taken nothing for %d s",
			          BENCH_PATIENCE);
		/* Every rail is used, even if it takes longer until all are connected. */
	} while (now - start < seconds || !posted || !all_used(raw));
	if (!row->is_read)
		flush_writes(raw);
	while (any_in_flight(raw))
		now = end_round(raw, poll_rails(raw));
	rate->bytes += posted * row->size;
	rate->seconds += now - start;
}
