/* SPDX-License-Identifier: MIT
 * What kvrail is compared with: a loop of fi_write or fi_read on one rail or several, as bare as
 * can be. */
#ifndef BENCH_RAW_H
#define BENCH_RAW_H

#include "bench.h"

/* Collective. Endpoints of its own on the first `rails` of kvrail's rails, this memory registered
 * on each, and the other rank's. Ends all ranks where that cannot be had. */
struct raw *raw_open(const struct app *, const struct bench_options *, unsigned int rails,
                     void *memory, uint64_t len);
void raw_close(struct raw *);

/* Rank 0: the row's blocks around and around, for so many seconds and until all have ended. */
void raw_run(struct raw *, const struct bench_row *, double seconds, struct bench_rate *);

/* Rank 1: moves along what rank 0 does to its memory; returns after a while. */
void raw_serve(struct raw *);

#endif
