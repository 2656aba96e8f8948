/* SPDX-License-Identifier: MIT
 * Chunks of prompts whose KV a decode rank still has: which of a request's blocks need not be sent.
 * A chunk has an id, which stands for it and all before it, and always as many blocks. Those that
 * no request uses are evicted least recently used. Not thread-safe. */
#ifndef PREFIX_H
#define PREFIX_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct prefix_chunk;

struct prefix {
	uint32_t chunk_blocks;
	uint32_t chunks, unused_chunks;    /* there are */
	void *by_id;                       /* a tree, see tsearch(3) */
	TAILQ_HEAD(, prefix_chunk) unused; /* the least recently used first */
};

void prefix_open(struct prefix *, uint32_t chunk_blocks);
void prefix_close(struct prefix *);

/* How many of the first chunks are there, of n at most. Their blocks go to table; they stay until
 * prefix_release, with the same ids. */
uint32_t prefix_use(struct prefix *, const uint64_t *ids, uint32_t n, uint32_t *table);
void prefix_release(struct prefix *, const uint64_t *ids, uint32_t n);

/* The chunk's blocks are the prefix cache's from now on. -EEXIST: it is there already, with other
 * blocks; -ENOMEM. To be called for a prompt's last chunk first: the first ones, without which
 * the others are of no use, are evicted last. */
int prefix_keep(struct prefix *, uint64_t id, const uint32_t *blocks);

/* Takes out the least recently used chunk; its blocks go to `blocks`. false: all are in use. */
bool prefix_evict(struct prefix *, uint32_t *blocks);

#endif
