/* SPDX-License-Identifier: MIT
 * The prefix cache: a tree by id, and a list by last use of what is not in use. */
#include "prefix.h"
#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

struct prefix_chunk {
	uint64_t id; /* first: what the tree compares, as a key has nothing else */
	uint32_t uses;
	TAILQ_ENTRY(prefix_chunk) link; /* while uses is 0 */
	uint32_t blocks[];
};

static int by_id(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static struct prefix_chunk *find(const struct prefix *p, uint64_t id)
{
	struct prefix_chunk *const *node = tfind(&id, &p->by_id, by_id);

	return node ? *node : NULL;
}

static void put_unused(struct prefix *p, struct prefix_chunk *chunk)
{
	TAILQ_INSERT_TAIL(&p->unused, chunk, link);
	p->unused_chunks++;
}

static void take_unused(struct prefix *p, struct prefix_chunk *chunk)
{
	TAILQ_REMOVE(&p->unused, chunk, link);
	p->unused_chunks--;
}

static void take_out(struct prefix *p, struct prefix_chunk *chunk)
{
	take_unused(p, chunk);
	tdelete(chunk, &p->by_id, by_id);
	free(chunk);
	p->chunks--;
}

void prefix_open(struct prefix *p, uint32_t chunk_blocks)
{
	*p = (struct prefix){.chunk_blocks = chunk_blocks};
	TAILQ_INIT(&p->unused);
}

void prefix_close(struct prefix *p)
{
	while (!TAILQ_EMPTY(&p->unused))
		take_out(p, TAILQ_FIRST(&p->unused));
}

uint32_t prefix_use(struct prefix *p, const uint64_t *ids, uint32_t n, uint32_t *table)
{
	uint32_t i;

	for (i = 0; i < n; i++) {
		struct prefix_chunk *chunk = find(p, ids[i]);

		if (!chunk)
			break;
		if (!chunk->uses++)
			take_unused(p, chunk);
		memcpy(&table[(uint64_t)i * p->chunk_blocks], chunk->blocks,
		       p->chunk_blocks * sizeof(table[0]));
	}
	return i;
}

void prefix_release(struct prefix *p, const uint64_t *ids, uint32_t n)
{
	while (n-- > 0) {
		struct prefix_chunk *chunk = find(p, ids[n]);

		if (!--chunk->uses)
			put_unused(p, chunk);
	}
}

int prefix_keep(struct prefix *p, uint64_t id, const uint32_t *blocks)
{
	struct prefix_chunk *chunk;

	if (find(p, id))
		return -EEXIST;
	chunk = malloc(sizeof(*chunk) + p->chunk_blocks * sizeof(blocks[0]));
	if (!chunk)
		return -ENOMEM;
	chunk->id = id;
	chunk->uses = 0;
	memcpy(chunk->blocks, blocks, p->chunk_blocks * sizeof(blocks[0]));
	if (!tsearch(chunk, &p->by_id, by_id)) {
		free(chunk);
		return -ENOMEM;
	}
	put_unused(p, chunk);
	p->chunks++;
	return 0;
}

bool prefix_evict(struct prefix *p, uint32_t *blocks)
{
	struct prefix_chunk *oldest = TAILQ_FIRST(&p->unused);

	if (!oldest)
		return false;
	memcpy(blocks, oldest->blocks, p->chunk_blocks * sizeof(blocks[0]));
	take_out(p, oldest);
	return true;
}
