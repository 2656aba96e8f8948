/* SPDX-License-Identifier: MIT
 * kvrail bench: rank 0 writes to rank 1 and reads from it, with kvrail and with a bare loop. */
#ifndef BENCH_H
#define BENCH_H

#include "app.h"

#define BENCH_SIZES_MAX 32
#define BENCH_PATIENCE  60 /* seconds without a byte, then all ends */

#define RAW_RAILS_ALL 0

struct bench_options {
	bool reads[2], contiguous[2]; /* [false]: write, paged; [true]: read, contiguous */
	uint64_t sizes[BENCH_SIZES_MAX];
	unsigned int size_count;
	double seconds; /* a row, half of it for either side */
	const char *rails;
	uint32_t depth;         /* 0: the library's own */
	unsigned int raw_rails; /* of the bare loop; RAW_RAILS_ALL */
	bool json, spoil;
};

extern const struct argp bench_argp;

void bench_options_init(struct bench_options *);

/* What the command line alone does not tell: ranks, memory, rails. All ranks call it. 0,
 * EXIT_USAGE or EXIT_FAILED. */
int bench_options_check(const struct app *, const struct bench_options *);

/* How many rails the bare loop gets; -EINVAL, said why, if a rank has fewer. Collective, once
 * kvrail is open. */
int bench_raw_rails(const struct app *, const struct bench_options *);

/* The value of a setting of the library that is a number. */
uint64_t bench_setting(const char *name);

/* One line of the table. Block local[i] of rank 0 and block remote[i] of rank 1 are the ends of
 * operation i. */
struct bench_row {
	bool is_read, is_contiguous;
	uint64_t size, seed;
	uint32_t count, per_batch; /* blocks */
	uint32_t *local, *remote;  /* room for BENCH_BLOCKS_MAX */
};

#define BENCH_BLOCKS_MAX 16384u

struct bench_rate {
	uint64_t bytes;
	double seconds;
};

struct bench_result {
	struct bench_rate kvrail, raw;
	double p50_us, p99_us;
	bool verified;
};

struct raw;

struct bench {
	struct app *app;
	const struct bench_options *options;
	uint64_t bytes;  /* of either memory */
	uint8_t *memory; /* kvrail's, and room for what the ranks tell each other */
	uint8_t *raw_memory;
	struct kvr_region *region;
	struct kvr_remote *remote; /* of the other rank */
	unsigned int raw_rails;
	struct raw *raw;
	uint64_t phases; /* that have ended */
	struct bench_row row;
	struct kvr_op *ops;   /* of the row */
	uint64_t batches;     /* started in this row */
	double *latencies_us; /* BENCH_LATENCIES_MAX */
};

#define BENCH_LATENCIES_MAX 10000u

/* bench_memory.c: which blocks, and what is in them. */
uint64_t bench_memory_bytes(const struct bench_options *); /* the largest; whole huge pages */
void bench_row_plan(struct bench_row *, uint64_t size, unsigned int number);
void bench_row_fill(const struct bench_row *, uint8_t *memory);  /* at the source */
void bench_row_clear(const struct bench_row *, uint8_t *memory); /* at the destination */

/* At the destination: the first `moved` blocks hold the source's bytes, and the others are clear.
 * Says which byte is wrong. */
bool bench_row_verify(const struct bench_row *, const uint8_t *memory, uint32_t moved);

/* bench_load.c: a row's phases. Both ranks call it. Leaves out whether the bytes are right. */
void bench_load(struct bench *, struct bench_result *);

/* Blocks that kvrail has moved in this row: known to rank 0. */
uint32_t bench_moved(const struct bench *);

#endif
