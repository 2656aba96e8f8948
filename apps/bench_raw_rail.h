/* SPDX-License-Identifier: MIT
 * One rail of the bare loop: an endpoint of its own, and what is in flight on it. Through the
 * library's seam to libfabric: one indirect call around each of libfabric's. */
#ifndef BENCH_RAW_RAIL_H
#define BENCH_RAW_RAIL_H

#include "app.h"
#include "fabric.h"

struct raw_rail {
	const struct app *app;
	const struct fabric_ops *fabric;
	struct fabric_nic *nic;
	struct fabric_mr *mr;
	uint8_t *memory;
	uint64_t peer, base, key; /* the other rank's */
	uint32_t depth;
	struct fabric_op *ops;
	struct fabric_op **free_ops; /* a stack */
	uint32_t free_count;
	bool used; /* it has taken an operation: there is a connection */
};

/* Collective. An endpoint on kvrail's rail of that number, as the list offers it, and on the other
 * rank's; this memory registered on it. app and depth were filled in before. Ends all ranks where
 * that cannot be had. */
void raw_rail_open(struct raw_rail *, const struct fabric_list *, int number, void *memory,
                   uint64_t len);
void raw_rail_close(struct raw_rail *);

/* Whether anything happened. */
bool raw_rail_poll(struct raw_rail *);

/* `at` is an offset into this rank's memory, `there` into the other's. false: the provider takes no
 * more now, or all of the depth is in flight. */
bool raw_rail_post(struct raw_rail *, bool is_read, uint64_t at, uint64_t there, uint64_t len);

static inline uint32_t raw_rail_in_flight(const struct raw_rail *rail)
{
	return rail->depth - rail->free_count;
}

#endif
