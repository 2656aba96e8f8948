/* SPDX-License-Identifier: MIT
 * kvrail bench: rank 0 writes to rank 1 and reads from it, with kvrail and with a bare loop. */
#include "bench.h"
#include "bench_raw.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define HUGE_PAGE (2u << 20)

static void must(const struct bench *b, ssize_t rc, const char *what)
{
	if (rc < 0)
		app_abort(b->app, "%s: %s", what, kvr_strerror((int)rc));
}

/* Both memories alike, down to the pages that the kernel backs them with. */
static void *take_memory(const struct bench *b, uint64_t bytes)
{
	void *memory = aligned_alloc(HUGE_PAGE, bytes);
	char size[32];

	if (!memory)
		app_abort(b->app, "no memory: %s", human_bytes(bytes, size));
	madvise(memory, bytes, MADV_HUGEPAGE);
	/* Else the first to move it would be measured with page faults. */
	memset(memory, 0x5a, bytes);
	return memory;
}

static void *allocate(const struct bench *b, size_t count, size_t size)
{
	void *memory = calloc(count, size);

	if (!memory)
		app_abort(b->app, "no memory for %zu times %zu bytes", count, size);
	return memory;
}

static void open_memory(struct bench *b)
{
	uint8_t mine[KVR_DESCRIPTOR_MAX] = {0}, all[2][KVR_DESCRIPTOR_MAX];
	struct kvr *kvr = b->app->kvr;
	int other = !b->app->rank;

	b->bytes = bench_memory_bytes(b->options);
	b->memory = take_memory(b, b->bytes + HUGE_PAGE);
	b->raw_memory = take_memory(b, b->bytes + HUGE_PAGE);
	must(b, kvr_region_open(kvr, b->memory, b->bytes + HUGE_PAGE, KVR_HOST, &b->region),
	     "registering memory");
	must(b, kvr_region_export(b->region, mine, sizeof(mine)), "describing memory");
	must(b, kvr_allgather(kvr, mine, all, sizeof(mine)), "exchange of descriptors");
	must(b, kvr_remote_open(kvr, other, all[other], sizeof(all[other]), &b->remote),
	     "memory of the other rank");
}

static void setup(struct bench *b)
{
	open_memory(b);
	b->raw = raw_open(b->app, b->options, b->raw_rails, b->raw_memory, b->bytes + HUGE_PAGE);
	b->row.local = allocate(b, BENCH_BLOCKS_MAX, sizeof(*b->row.local));
	b->row.remote = allocate(b, BENCH_BLOCKS_MAX, sizeof(*b->row.remote));
	b->ops = allocate(b, BENCH_BLOCKS_MAX, sizeof(*b->ops));
	b->latencies_us = allocate(b, BENCH_LATENCIES_MAX, sizeof(*b->latencies_us));
}

static void teardown(struct bench *b)
{
	raw_close(b->raw);
	must(b, kvr_remote_close(b->remote), "closing the other rank's memory");
	must(b, kvr_region_close(b->region), "closing the memory");
	free(b->memory);
	free(b->raw_memory);
	free(b->row.local);
	free(b->row.remote);
	free(b->ops);
	free(b->latencies_us);
}

/* Both ranks meet, and each gets what rank `from` says. */
static uint64_t tell(const struct bench *b, int from, uint64_t what)
{
	uint64_t all[2];

	must(b, kvr_allgather(b->app->kvr, &what, all, sizeof(what)), "meeting");
	return all[from];
}

static void prepare_row(struct bench *b, uint64_t size, unsigned int number)
{
	struct bench_row *row = &b->row;

	bench_row_plan(row, size, number);
	b->batches = 0;
	for (uint32_t i = 0; i < row->count; i++)
		b->ops[i] = (struct kvr_op){
			.local = b->region,
			.remote = b->remote,
			.local_offset = row->local[i] * size,
			.remote_offset = row->remote[i] * size,
			.len = size,
			.count = 1,
		};
	if (b->app->rank == (row->is_read ? 1 : 0))
		bench_row_fill(row, b->memory);
	else
		bench_row_clear(row, b->memory);
	tell(b, 0, 0); /* nobody begins before that */
}

/* Whether the bytes are where they belong; rank 0 knows which must be, and the rank that has them
 * looks. */
static bool verify_row(const struct bench *b)
{
	int destination = b->row.is_read ? 0 : 1;
	uint32_t moved = (uint32_t)tell(b, 0, bench_moved(b));
	bool right = true;

	if (b->app->rank == destination) {
		b->memory[0] ^= b->options->spoil;
		right = bench_row_verify(&b->row, b->memory, moved);
	}
	return tell(b, destination, right);
}

static double per_second(const struct bench_rate *rate)
{
	return rate->seconds > 0 ? (double)rate->bytes / rate->seconds : 0;
}

static double ratio_to_raw(const struct bench_result *result)
{
	double raw = per_second(&result->raw);

	return raw > 0 ? per_second(&result->kvrail) / raw : 0;
}

/* Within the 80 columns of a terminal. */
static void print_header(const struct bench *b)
{
	int rails = kvr_rail_count(b->app->kvr);

	printf("%d rail%s for kvrail, %u for the bare loop\n", rails, rails == 1 ? "" : "s",
	       b->raw_rails);
	printf("%-5s %-10s %10s %10s %10s %6s %8s %8s  %s\n", "op", "layout", "size", "kvrail",
	       "bare", "ratio", "p50 us", "p99 us", "ok");
	fflush(stdout);
}

static void print_row(const struct bench *b, const struct bench_result *result)
{
	char size[32], kvrail[32], raw[32];

	printf("%-5s %-10s %10s %10s %10s %6.3f %8.1f %8.1f  %s\n",
	       b->row.is_read ? "read" : "write", b->row.is_contiguous ? "contiguous" : "paged",
	       human_bytes(b->row.size, size), human_rate(per_second(&result->kvrail), kvrail),
	       human_rate(per_second(&result->raw), raw), ratio_to_raw(result), result->p50_us,
	       result->p99_us, result->verified ? "yes" : "NO");
	fflush(stdout);
}

static void print_row_json(const struct bench *b, const struct bench_result *result)
{
	app_json(json_pack("{ss ss ss ss sI si si sf sf sf sf sf sb}", "event", "bench", "provider",
	                   kvr_provider(b->app->kvr, NULL), "op", b->row.is_read ? "read" : "write",
	                   "layout", b->row.is_contiguous ? "contiguous" : "paged", "size",
	                   (json_int_t)b->row.size, "rails", kvr_rail_count(b->app->kvr),
	                   "raw_rails", (int)b->raw_rails, "bytes_per_second",
	                   per_second(&result->kvrail), "raw_bytes_per_second",
	                   per_second(&result->raw), "ratio_to_raw", ratio_to_raw(result), "p50_us",
	                   result->p50_us, "p99_us", result->p99_us, "verified", result->verified));
}

static bool run_row(struct bench *b, uint64_t size, unsigned int number)
{
	struct bench_result result;

	prepare_row(b, size, number);
	bench_load(b, &result);
	result.verified = verify_row(b);
	if (!b->app->rank && b->options->json)
		print_row_json(b, &result);
	else if (!b->app->rank)
		print_row(b, &result);
	return result.verified;
}

static bool run_rows(struct bench *b)
{
	const struct bench_options *o = b->options;
	unsigned int number = 0;
	bool all_right = true;

	for (int read = 0; read < 2; read++)
		for (int contiguous = 0; contiguous < 2; contiguous++) {
			if (!o->reads[read] || !o->contiguous[contiguous])
				continue;
			b->row.is_read = read;
			b->row.is_contiguous = contiguous;
			for (unsigned int i = 0; i < o->size_count; i++)
				all_right &= run_row(b, o->sizes[i], number++);
		}
	return all_right;
}

static int run(struct app *app, const struct bench_options *options)
{
	struct kvr_options kvr_options = {
		.size = sizeof(kvr_options),
		.rails = options->rails,
		.queue_depth = options->depth,
		/* On few cores a thread disturbs the bare loop beside it, which has none. */
		.progress_threads = getenv("KVR_PROGRESS_THREADS") ? 0 : KVR_THREADS_NONE,
	};
	struct bench bench = {.app = app, .options = options};
	int raw_rails, status = app_open(app, &kvr_options);
	bool all_right;

	if (status)
		return status;
	raw_rails = bench_raw_rails(app, options);
	if (raw_rails < 0)
		return EXIT_USAGE;
	bench.raw_rails = (unsigned int)raw_rails;
	setup(&bench);
	if (!app->rank && !app->json)
		print_header(&bench);
	all_right = run_rows(&bench);
	teardown(&bench);
	return all_right ? 0 : EXIT_FAILED;
}

int bench_main(int argc, char **argv)
{
	struct bench_options options;
	struct app app = {.nranks = 1};
	int status, closed;

	bench_options_init(&options);
	status = app_start(&app, &bench_argp, argc, argv, &options);
	app.json = options.json;
	if (!status)
		status = bench_options_check(&app, &options);
	if (!status)
		status = run(&app, &options);
	closed = app_close(&app);
	return status ? status : closed;
}
