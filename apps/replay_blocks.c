/* SPDX-License-Identifier: MIT
 * kvrail replay: the blocks of a request. On a decode rank with a prefix cache the chunks of its
 * prompt that are there already are used, and all its full chunks are there when it has ended. */
#include "replay.h"

static const uint64_t *ids_of(const struct replay *r, const struct replay_slot *slot)
{
	return r->input->trace.requests[slot->request].hash_ids;
}

static bool has_prefixes(const struct replay *r)
{
	return r->prefix.chunk_blocks;
}

/* Evicts nothing unless that will do. */
static bool take(struct replay *r, uint32_t blocks, uint32_t *table)
{
	struct prefix *p = &r->prefix;
	uint32_t evicted[TRACE_BLOCK_TOKENS];

	if (r->cache.free_count + (uint64_t)p->unused_chunks * p->chunk_blocks < blocks)
		return false;
	while (cache_take(&r->cache, blocks, table)) {
		prefix_evict(p, evicted);
		cache_give(&r->cache, p->chunk_blocks, evicted);
	}
	return true;
}

bool replay_take_blocks(struct replay *r, struct replay_slot *slot)
{
	/* One token at least is sent, and computed, however much of its prompt is known. */
	uint32_t known = (slot->tokens - 1) / TRACE_BLOCK_TOKENS;
	uint32_t chunks = 0, at;

	if (has_prefixes(r))
		chunks = prefix_use(&r->prefix, ids_of(r, slot), known, slot->table);
	at = chunks * r->prefix.chunk_blocks;
	slot->reused = chunks * TRACE_BLOCK_TOKENS;
	if (take(r, slot->blocks - at, slot->table + at))
		return true;
	if (has_prefixes(r))
		prefix_release(&r->prefix, ids_of(r, slot), chunks);
	return false;
}

/* The last chunk first, see prefix_keep. A cancelled request's blocks have no KV. */
static uint32_t keep_chunks(struct replay *r, struct replay_slot *slot)
{
	uint32_t each = r->prefix.chunk_blocks, first = slot->reused / TRACE_BLOCK_TOKENS;
	uint32_t full = slot->cancelled ? first : slot->tokens / TRACE_BLOCK_TOKENS;

	for (uint32_t i = full; i-- > first;)
		if (prefix_keep(&r->prefix, ids_of(r, slot)[i], slot->table + i * each))
			cache_give(&r->cache, each, slot->table + i * each);
	prefix_release(&r->prefix, ids_of(r, slot), first);
	return full * each;
}

void replay_give_blocks(struct replay *r, struct replay_slot *slot)
{
	uint32_t kept = has_prefixes(r) ? keep_chunks(r, slot) : 0;

	cache_give(&r->cache, slot->blocks - kept, slot->table + kept);
}

uint64_t replay_leaked_blocks(struct replay *r)
{
	uint64_t kept = (uint64_t)r->prefix.unused_chunks * r->prefix.chunk_blocks;

	return r->cache.layout.blocks - r->cache.free_count - kept;
}
