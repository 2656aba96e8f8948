/* SPDX-License-Identifier: MIT
 * How bytes get from one process into another, and who is told. */
#ifndef SOFTEFA_LAND_H
#define SOFTEFA_LAND_H

#include "objects.h"

/* Cuts an operation into pieces and parts, and decides its fate where the NICs have faults. */
void land_prepare(struct op *);

/* The bytes of a part. */
uint32_t land_part_bytes(const struct op *, uint32_t part);

enum land_result {
	LAND_DONE,
	LAND_FAILED, /* op->status says why */
	LAND_AGAIN,  /* at *again, ns: a silent NIC, a peer that is dead but not yet known to be, or
	              * no receive posted */
};

/* Copies a part. */
enum land_result land_part(struct op *, uint32_t part, uint64_t now, uint64_t *again);

/* All parts have landed: tells the receiver, if it is to be told. */
enum land_result land_deliver(struct op *, uint64_t now, uint64_t *again);

/* Tells the initiator. */
void land_complete(const struct op *);

#endif
