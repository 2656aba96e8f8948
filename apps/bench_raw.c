/* SPDX-License-Identifier: MIT
 * What kvrail is compared with: a loop of fi_write or fi_read on one rail, as bare as can be. It
 * goes through the library's seam to libfabric: one indirect call around each of libfabric's.
 *
 * It has as much in flight as kvrail has on a rail, and gives its core away like kvrail when there
 * is nothing to do; else a machine with few cores would favour one of them. */
#include "bench_raw.h"
#include "fabric.h"
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define EVENTS      64
#define QUEUE       256             /* like a rail's: the provider has its own operations too */
#define SERVE_POLLS 256             /* before raw_serve lets kvrail have a look */
#define IDLE_SPIN   16              /* polls before the core is given away */
#define RAW_KEY     0x6b76726177ull /* where the provider makes none; any will do */

struct raw {
	const struct app *app;
	const struct fabric_ops *fabric;
	struct fabric_nic *nic;
	struct fabric_mr *mr;
	uint8_t *memory;
	uint64_t len;
	uint64_t peer, base, key; /* the other rank's */
	uint32_t depth;
	uint64_t window_bytes;
	struct fabric_op *ops;
	struct fabric_op **free_ops; /* a stack */
	uint32_t free_count;
	uint32_t idle;   /* polls without an event */
	double moved_at; /* seconds */
};

/* What one rank must know of the other. */
struct raw_address {
	uint64_t len, base, key;
	uint8_t bytes[FABRIC_ADDRESS_MAX];
};

static void must(const struct raw *raw, ssize_t rc, const char *what)
{
	if (rc < 0)
		app_abort(raw->app, "bare loop: %s: %s", what, fabric_strerror((int)rc));
}

static void open_nic(struct raw *raw)
{
	struct fabric_limits limits = {.sends = QUEUE, .receives = QUEUE};
	struct kvr_rail rail = {.size = sizeof(rail)};
	struct fabric_list list;
	char why[FABRIC_WHY];
	int rc = -1;

	must(raw, kvr_rail_get(raw->app->kvr, 0, &rail), "first rail");
	if (limits.sends < raw->depth)
		limits.sends = raw->depth;
	if (raw->fabric->list(kvr_provider(raw->app->kvr, NULL), &list, why))
		app_abort(raw->app, "bare loop: %s", why);
	for (unsigned int i = 0; i < list.count && !raw->nic; i++) {
		if (strcmp(list.offers[i].name, rail.name))
			continue;
		rc = raw->fabric->open(&list.offers[i], &limits, &raw->nic, why);
		if (rc)
			app_abort(raw->app, "bare loop: %s", why);
	}
	if (rc)
		app_abort(raw->app, "bare loop: rail %s is gone", rail.name);
	raw->fabric->list_close(&list);
}

static void meet_peer(struct raw *raw)
{
	struct raw_address mine = {.key = raw->fabric->key(raw->mr)}, all[2];
	ssize_t len = raw->fabric->address(raw->nic, mine.bytes, sizeof(mine.bytes));
	const struct raw_address *other = &all[!raw->app->rank];

	must(raw, len, "name of its endpoint");
	mine.len = (uint64_t)len;
	mine.base = raw->fabric->base(raw->nic, raw->memory);
	must(raw, kvr_allgather(raw->app->kvr, &mine, all, sizeof(mine)), "exchange of addresses");
	if (other->len != mine.len)
		app_abort(raw->app, "bare loop: the other rank has another kind of address");
	must(raw, raw->fabric->insert(raw->nic, other->bytes, &raw->peer), "address of the other");
	raw->base = other->base;
	raw->key = other->key;
}

struct raw *raw_open(const struct app *app, const struct bench_options *options, void *memory,
                     uint64_t len)
{
	const struct fabric_memory registered = {.addr = memory, .len = len};
	struct raw *raw = calloc(1, sizeof(*raw));
	uint32_t depth =
		options->depth ? options->depth : (uint32_t)bench_setting("KVR_QUEUE_DEPTH");

	if (!raw)
		app_abort(app, "no memory");
	raw->app = app;
	raw->fabric = &fabric_libfabric;
	raw->memory = memory;
	raw->len = len;
	raw->depth = depth;
	raw->window_bytes = bench_setting("KVR_WINDOW_BYTES");
	raw->ops = calloc(depth, sizeof(*raw->ops));
	raw->free_ops = calloc(depth, sizeof(*raw->free_ops));
	if (!raw->ops || !raw->free_ops)
		app_abort(app, "no memory");
	for (uint32_t i = 0; i < depth; i++)
		raw->free_ops[raw->free_count++] = &raw->ops[i];
	open_nic(raw);
	must(raw, raw->fabric->reg(raw->nic, &registered, RAW_KEY, &raw->mr), "its memory");
	meet_peer(raw);
	return raw;
}

void raw_close(struct raw *raw)
{
	raw->fabric->shut(raw->nic);
	must(raw, raw->fabric->dereg(raw->mr), "its memory");
	raw->fabric->close(raw->nic);
	free(raw->ops);
	free(raw->free_ops);
	free(raw);
}

/* After a poll: `any` if it brought something. No sleeping, unlike kvrail after a while: rank 1
 * cannot see whether anything is written to it. */
static void be_idle(struct raw *raw, bool any)
{
	if (any)
		raw->idle = 0;
	else if (++raw->idle > IDLE_SPIN)
		sched_yield();
}

/* Whether anything happened. */
static bool poll_once(struct raw *raw)
{
	struct fabric_event events[EVENTS];
	int n = raw->fabric->poll(raw->nic, events, EVENTS);

	for (int i = 0; i < n; i++) {
		must(raw, events[i].error, "an operation");
		if (events[i].op)
			raw->free_ops[raw->free_count++] = events[i].op;
	}
	return n > 0;
}

void raw_serve(struct raw *raw)
{
	for (int i = 0; i < SERVE_POLLS; i++)
		be_idle(raw, poll_once(raw));
}

/* false: the provider takes no more now, or all of the depth is in flight. */
static bool post(struct raw *raw, bool is_read, struct fabric_rma *rma)
{
	struct fabric_op *op;
	int rc;

	if (!raw->free_count)
		return false;
	op = raw->free_ops[raw->free_count - 1];
	rma->mr = raw->mr;
	rma->peer = raw->peer;
	rma->key = raw->key;
	rc = is_read ? raw->fabric->read(raw->nic, rma, op) : raw->fabric->write(raw->nic, rma, op);
	if (rc == -EAGAIN)
		return false;
	must(raw, rc, is_read ? "fi_read" : "fi_write");
	raw->free_count--;
	return true;
}

static bool post_block(struct raw *raw, const struct bench_row *row, uint64_t i)
{
	uint64_t block = i % row->count;
	struct fabric_rma rma = {
		.local = raw->memory + row->local[block] * row->size,
		.len = row->size,
		.remote = raw->base + row->remote[block] * row->size,
	};

	return post(raw, row->is_read, &rma);
}

/* One turn of the loop; the time after it. */
static double turn(struct raw *raw)
{
	bool any = poll_once(raw);
	double now = seconds_now();

	be_idle(raw, any);
	if (any)
		raw->moved_at = now;
	else if (now - raw->moved_at > BENCH_PATIENCE)
		app_abort(raw->app, "bare loop: nothing moved for %d s: is rank 1 alive?",
		          BENCH_PATIENCE);
	return now;
}

/* A write's completion says that its buffer is free again: over sockets, megabytes may still be on
 * their way, while kvrail counts what has arrived. So a read of a word follows, which there comes
 * behind the writes; other providers do not need it, and do not mind. */
static void flush_writes(struct raw *raw)
{
	uint64_t word = raw->len - sizeof(uint64_t);
	struct fabric_rma rma = {
		.local = raw->memory + word,
		.len = sizeof(uint64_t),
		.remote = raw->base + word,
	};

	while (!post(raw, true, &rma))
		turn(raw);
}

/* The rail's bounds: so many operations and so many bytes, but one always may. */
static uint32_t in_flight_max(const struct raw *raw, uint64_t size)
{
	uint64_t most = raw->window_bytes / size;

	return !most ? 1 : most < raw->depth ? (uint32_t)most : raw->depth;
}

void raw_run(struct raw *raw, const struct bench_row *row, double seconds, struct bench_rate *rate)
{
	uint32_t most = in_flight_max(raw, row->size);
	double start = seconds_now(), now;
	uint64_t posted = 0;

	raw->moved_at = start;
	do {
		while (raw->depth - raw->free_count < most && post_block(raw, row, posted))
			posted++;
		now = turn(raw);
		/* One is posted even if it takes longer until there is a connection. */
	} while (now - start < seconds || !posted);
	if (!row->is_read)
		flush_writes(raw);
	while (raw->free_count < raw->depth)
		now = turn(raw);
	rate->bytes += posted * row->size;
	rate->seconds += now - start;
}
