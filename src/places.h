/* SPDX-License-Identifier: MIT
 * Which rails each part of a region is near to, and a request's ops sorted by that. */
#ifndef KVR_PLACES_H
#define KVR_PLACES_H

#include "batch.h"
#include "page_nodes.h"
#include <stdatomic.h>

struct kvr_region;
struct kvr_request;
struct transfer;

/* They follow each other and fill the region. */
struct place {
	uint64_t nodes; /* as bits; 0: not known */
	struct rail_set rails;
};

/* Never changed once a region has it: who is reading it must not be disturbed. */
struct places {
	struct places *older; /* kept until the region is closed */
	unsigned int count;
	uint32_t near; /* of any of them */
	uint64_t end[PAGES_RUNS];
	struct place place[PAGES_RUNS];
};

/* Finds out where a registered region is, and what that means for its transfers from now on. 1: not
 * where it was. */
int region_place(struct kvr_region *);
void region_forget_places(struct kvr_region *);

/* Rails near some of the region, as its descriptor says. */
uint32_t region_near(const struct kvr_region *);

/* Cuts a request's ops where the rails near their local bytes change. -ENOMEM. */
int places_cut(struct kvr_request *);

/* A transfer's ops as parts. They are put into another order where there are several. -ENOMEM. */
int places_sort(struct kvr_op *, size_t n, const struct stripe_rule *, struct batch *out);

#endif
