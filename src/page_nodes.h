/* SPDX-License-Identifier: MIT
 * Which NUMA nodes a region's pages are on: from a sample of them. */
#ifndef KVR_PAGE_NODES_H
#define KVR_PAGE_NODES_H

#include <stddef.h>
#include <stdint.h>

#define PAGES_SAMPLES 1024 /* pages that are asked for at first, at most */
#define PAGES_RUNS    16   /* parts that a region is seen to have, at most */

enum {
	PAGES_ABSENT = -1, /* not touched yet, or the kernel does not tell */
	PAGES_MIXED = -2,  /* interleaved, or in more pieces than are told apart */
};

struct pages_run {
	size_t offset, len; /* of the region; they follow each other and fill it */
	int node;           /* the kernel's number, or one of the above */
	uint64_t nodes;     /* bit N: some of it is on node N, below 64 */
};

/* As move_pages(2) with no nodes: a node or a negative errno for each address; 0, else errno. */
struct pages_source {
	int (*ask)(void *arg, size_t count, void *const *address, int *node);
	void *arg;
	size_t page; /* bytes: a power of two */
};

extern const struct pages_source pages_of_kernel;

/*
 * Pages are asked for at uneven steps, so that no interleaving hides between them, and where two
 * long runs meet, the very page is looked for: a split region of two nodes comes out as its two
 * parts. Asks again each time: pages move. Returns the number of runs, or a negative errno.
 */
int pages_locate(const struct pages_source *, const void *region, size_t len,
                 struct pages_run out[static PAGES_RUNS]);

#endif
