/* SPDX-License-Identifier: MIT
 * kvrail replay: a rank's memory, and how it comes to know that of its peers. */
#include "replay.h"
#include <stdlib.h>
#include <string.h>

#define PAGE 4096

/* What ranks that replay the same have in common. */
struct digest {
	uint64_t requests, tokens, bytes_per_token, slots, steps, chunk_tokens, cancel, prefix;
	struct group prefill, decode;
};

/* What every rank tells all others. */
struct hello {
	struct digest digest;
	uint32_t cache_len, mail_len;
	uint8_t cache[KVR_DESCRIPTOR_MAX], mail[KVR_DESCRIPTOR_MAX];
};

void replay_must(const struct replay *r, ssize_t rc, const char *what)
{
	if (rc < 0)
		app_abort(r->app, "%s: %s", what, kvr_strerror((int)rc));
}

void *replay_allocate(const struct replay *r, size_t count, size_t size)
{
	void *memory = calloc(count ? count : 1, size);

	if (!memory)
		app_abort(r->app, "no memory for %zu times %zu bytes", count, size);
	return memory;
}

static void set_role(struct replay *r)
{
	const struct replay_options *o = &r->input->options;
	uint32_t rank = (uint32_t)r->app->rank;

	r->is_prefill = rank < o->prefill.ranks;
	r->index = r->is_prefill ? rank : rank - o->prefill.ranks;
	r->group = r->is_prefill ? &o->prefill : &o->decode;
	r->others = r->is_prefill ? &o->decode : &o->prefill;
	r->step = r->is_prefill ? replay_prefill_step : replay_decode_step;
	r->slot_count = group_instances(r->others) * r->input->slots;
	r->next = r->input->trace.count;
	for (size_t i = r->input->trace.count; i-- > 0;) {
		if (!replay_is_mine(r, i))
			continue;
		r->mine++;
		r->next = i;
	}
}

static void open_cache(struct replay *r)
{
	struct kvr_layout layout;

	replay_must(r, group_layout(r->group, &r->input->model, r->index, &layout), "layout");
	replay_must(r, cache_open(&layout, (uint64_t)r->app->rank, &r->cache), "cache");
	replay_must(r,
	            kvr_region_open(r->app->kvr, r->cache.memory, r->cache.bytes, KVR_HOST,
	                            &r->cache_region),
	            "registering the cache");
	if (!r->is_prefill && r->input->options.prefix)
		prefix_open(&r->prefix, TRACE_BLOCK_TOKENS / layout.block_tokens);
}

static uint64_t round_up(uint64_t n, uint64_t to)
{
	return (n + to - 1) / to * to;
}

static void open_mail(struct replay *r)
{
	uint32_t blocks = group_blocks_for(&r->input->options.decode, r->input->max_tokens);
	uint32_t owners = r->is_prefill ? r->others->ranks : group_instances(r->others);

	r->offer_bytes =
		round_up(sizeof(struct replay_offer) + (uint64_t)blocks * sizeof(uint32_t), 64);
	r->mail_bytes = round_up(replay_offer_at(r, owners, 0), PAGE);
	r->mail = aligned_alloc(PAGE, r->mail_bytes);
	if (!r->mail)
		app_abort(r->app, "no memory for block tables: %zu bytes", (size_t)r->mail_bytes);
	memset(r->mail, 0, r->mail_bytes);
	replay_must(r,
	            kvr_region_open(r->app->kvr, r->mail, r->mail_bytes, KVR_HOST, &r->mail_region),
	            "registering the block tables");
}

/* The writes that are under way for one request. */
static size_t most_writes(const struct replay *r)
{
	size_t chunks = (r->input->max_tokens - 1) / r->input->chunk_tokens + 1;

	if (!r->is_prefill)
		return 1;
	return chunks * (r->input->options.layerwise ? r->cache.layout.layers : 1);
}

static void make_slots(struct replay *r)
{
	uint32_t max_blocks = group_blocks_for(r->group, r->input->max_tokens);
	size_t max_writes = most_writes(r);

	r->slots = replay_allocate(r, r->slot_count, sizeof(r->slots[0]));
	r->writes = replay_allocate(r, r->slot_count * max_writes, sizeof(struct kvr_request *));
	r->max_ops = group_size(r->others);
	r->ops = replay_allocate(r, r->max_ops, sizeof(r->ops[0]));
	r->expected = replay_allocate(r, replay_counters(r->input), sizeof(r->expected[0]));
	r->latencies = replay_allocate(r, r->mine, sizeof(r->latencies[0]));
	if (r->is_prefill)
		r->tables = replay_allocate(r, (size_t)r->slot_count * max_blocks,
		                            sizeof(r->tables[0]));
	for (uint32_t i = 0; i < r->slot_count; i++) {
		struct replay_slot *slot = &r->slots[i];

		slot->instance = i / r->input->slots;
		slot->place = i % r->input->slots;
		slot->peers = &r->peers[slot->instance * group_size(r->others)];
		slot->table = r->tables + (size_t)i * max_blocks;
		if (!r->is_prefill)
			slot->table = ((struct replay_offer *)(r->mail +
			                                       replay_offer_at(r, slot->instance,
			                                                       slot->place)))
			                      ->table;
		slot->writes = r->writes + i * max_writes;
	}
}

static struct digest make_digest(const struct replay_input *in)
{
	struct digest digest;

	memset(&digest, 0, sizeof(digest)); /* also what lies between */
	digest.requests = in->trace.count;
	digest.bytes_per_token = model_bytes_per_token(&in->model);
	digest.slots = in->slots;
	digest.steps = in->steps;
	digest.chunk_tokens = in->chunk_tokens;
	digest.cancel = in->options.cancel;
	digest.prefix = in->options.prefix;
	memcpy(&digest.prefill, &in->options.prefill, sizeof(digest.prefill));
	memcpy(&digest.decode, &in->options.decode, sizeof(digest.decode));
	for (size_t i = 0; i < in->trace.count; i++)
		digest.tokens += in->trace.requests[i].input_length;
	return digest;
}

static uint32_t export_region(const struct replay *r, const struct kvr_region *region, uint8_t *buf)
{
	ssize_t len = kvr_region_export(region, buf, KVR_DESCRIPTOR_MAX);

	replay_must(r, len, "describing memory to others");
	return (uint32_t)len;
}

static struct hello *exchange(struct replay *r)
{
	struct hello *all = replay_allocate(r, (size_t)r->app->nranks, sizeof(*all));
	struct hello mine;

	memset(&mine, 0, sizeof(mine));
	mine.digest = make_digest(r->input);
	mine.mail_len = export_region(r, r->mail_region, mine.mail);
	mine.cache_len = export_region(r, r->cache_region, mine.cache);
	replay_must(r, kvr_allgather(r->app->kvr, &mine, all, sizeof(mine)),
	            "exchange of descriptors");
	for (int rank = 0; rank < r->app->nranks; rank++)
		if (memcmp(&all[rank].digest, &mine.digest, sizeof(mine.digest)))
			app_abort(r->app,
			          "rank %d has another trace, model or block size: all "
			          "must read the same files",
			          rank);
	return all;
}

static struct kvr_remote *open_remote(struct replay *r, int rank, const void *buf, size_t len)
{
	struct kvr_remote *remote;
	int rc = kvr_remote_open(r->app->kvr, rank, buf, len, &remote);

	if (rc)
		app_abort(r->app, "memory of rank %d: %s", rank, kvr_strerror(rc));
	return remote;
}

/* From the prefill rank of the two to the other, on either side. */
static struct kvr_plan *open_plan(struct replay *r, uint32_t peer)
{
	struct kvr_layout theirs;
	struct kvr_plan *plan;

	replay_must(r, group_layout(r->others, &r->input->model, peer, &theirs), "layout");
	replay_must(r,
	            kvr_plan_open(&r->cache.layout, &theirs, r->is_prefill ? KVR_WRITE : KVR_READ,
	                          &plan),
	            "planning");
	return plan;
}

static void meet_peers(struct replay *r, const struct hello *all)
{
	int first = r->is_prefill ? (int)r->group->ranks : 0;

	r->peers = replay_allocate(r, r->others->ranks, sizeof(r->peers[0]));
	for (uint32_t i = 0; i < r->others->ranks; i++) {
		int rank = first + (int)i;

		r->peers[i] = (struct replay_peer){
			.rank = rank,
			.mail = open_remote(r, rank, all[rank].mail, all[rank].mail_len),
			.plan = open_plan(r, i),
		};
		if (r->is_prefill)
			r->peers[i].cache =
				open_remote(r, rank, all[rank].cache, all[rank].cache_len);
	}
	/* Rank 0 meets all, the others rank 0. */
	r->done_count = r->app->rank ? 1 : (size_t)r->app->nranks - 1;
	r->done_remotes = replay_allocate(r, r->done_count, sizeof(struct kvr_remote *));
	for (size_t i = 0; i < r->done_count; i++) {
		int rank = r->app->rank ? 0 : (int)i + 1;

		r->done_remotes[i] = open_remote(r, rank, all[rank].mail, all[rank].mail_len);
	}
}

void replay_setup(struct replay *r, struct app *app, const struct replay_input *input)
{
	struct hello *all;

	*r = (struct replay){.app = app, .input = input, .typical_seconds = 1e-3};
	set_role(r);
	open_cache(r);
	open_mail(r);
	all = exchange(r);
	meet_peers(r, all);
	free(all);
	make_slots(r);
	replay_must(r, worker_start(&r->worker, &r->cache), "starting a thread");
}

void replay_measure_rails(struct replay *r)
{
	struct kvr_stats now = {.size = sizeof(now)};

	for (int i = 0; i < kvr_rail_count(r->app->kvr) && i < KVR_MAX_RAILS; i++) {
		const struct kvr_stats *before = &r->rails[i];

		replay_must(r, kvr_stats_get(r->app->kvr, i, &now), "statistics");
		r->rails[i] = (struct kvr_stats){
			.bytes_written = now.bytes_written - before->bytes_written,
			.bytes_read = now.bytes_read - before->bytes_read,
			.pieces = now.pieces - before->pieces,
			.errors = now.errors - before->errors,
			.retries = now.retries - before->retries,
			.resets = now.resets - before->resets,
			.bytes_per_second = now.bytes_per_second,
		};
	}
}

static void close_peer(struct replay *r, struct replay_peer *peer)
{
	kvr_plan_close(peer->plan);
	replay_must(r, kvr_remote_close(peer->mail), "closing a remote");
	if (peer->cache)
		replay_must(r, kvr_remote_close(peer->cache), "closing a remote");
}

void replay_teardown(struct replay *r)
{
	worker_stop(&r->worker);
	for (uint32_t i = 0; i < r->others->ranks; i++)
		close_peer(r, &r->peers[i]);
	for (size_t i = 0; i < r->done_count; i++)
		replay_must(r, kvr_remote_close(r->done_remotes[i]), "closing a remote");
	replay_must(r, kvr_region_close(r->cache_region), "closing the cache's region");
	replay_must(r, kvr_region_close(r->mail_region), "closing the block tables' region");
	if (r->prefix.chunk_blocks)
		prefix_close(&r->prefix);
	cache_close(&r->cache);
	free(r->mail);
	free(r->peers);
	free(r->done_remotes);
	free(r->slots);
	free(r->tables);
	free(r->writes);
	free(r->ops);
	free(r->expected);
	free(r->latencies);
}
