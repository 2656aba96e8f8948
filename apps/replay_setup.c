/* SPDX-License-Identifier: MIT
 * kvrail replay: a rank's memory, and how it comes to know that of its peers. */
#include "replay.h"
#include <stdlib.h>
#include <string.h>

#define PAGE       4096
#define BATCH_RUNS (1u << 16) /* of one kvr_write, well below what the library takes */

/* What ranks that replay the same have in common. */
struct digest {
	uint64_t requests, tokens, bytes_per_token, block_tokens, prefill, decode;
};

/* What every rank tells all others. */
struct hello {
	struct digest digest;
	uint64_t layer_bytes, blocks;
	uint32_t target_len, mail_len;
	uint8_t target[KVR_DESCRIPTOR_MAX]; /* what ranks of the other kind write to */
	uint8_t mail[KVR_DESCRIPTOR_MAX];
};

static uint64_t round_up(uint64_t n, uint64_t to)
{
	return (n + to - 1) / to * to;
}

static void must(const struct replay *r, ssize_t rc, const char *what)
{
	if (rc < 0)
		app_abort(r->app, "%s: %s", what, kvr_strerror((int)rc));
}

static void *allocate(const struct replay *r, size_t count, size_t size)
{
	void *memory = calloc(count ? count : 1, size);

	if (!memory)
		app_abort(r->app, "no memory for %zu times %zu bytes", count, size);
	return memory;
}

/* A counter for every slot of the kind of rank that has most, and one to meet by. */
uint32_t replay_counters(const struct replay_options *o)
{
	return (o->prefill > o->decode ? o->prefill : o->decode) * REPLAY_SLOTS + 1;
}

static uint32_t meeting_counter(const struct replay *r)
{
	return replay_counters(&r->input->options) - 1;
}

uint64_t replay_offer_at(const struct replay *r, uint32_t slot)
{
	return round_up((uint64_t)r->app->nranks * sizeof(uint64_t), 64) + slot * r->offer_bytes;
}

static void set_role(struct replay *r)
{
	const struct replay_options *o = &r->input->options;
	uint32_t rank = (uint32_t)r->app->rank;

	r->is_prefill = rank < o->prefill;
	r->index = r->is_prefill ? rank : rank - o->prefill;
	r->step = r->is_prefill ? replay_prefill_step : replay_decode_step;
	r->peer_count = r->is_prefill ? o->decode : o->prefill;
	r->slot_count = r->peer_count * REPLAY_SLOTS;
	r->batch_blocks = BATCH_RUNS / (r->input->model.layers * r->input->model.parts);
	if (!r->batch_blocks)
		r->batch_blocks = 1;
	for (size_t i = r->input->trace.count; i-- > 0;) {
		if (!replay_is_mine(r, i))
			continue;
		r->mine++;
		r->next = i;
	}
	if (!r->mine)
		r->next = r->input->trace.count;
}

static void open_memory(struct replay *r)
{
	const struct replay_input *in = r->input;
	struct kvr *kvr = r->app->kvr;

	must(r,
	     cache_open(&in->model, in->options.block_tokens, in->cache_bytes,
	                (uint64_t)r->app->rank, &r->cache),
	     "cache");
	must(r, kvr_region_open(kvr, r->cache.memory, r->cache.bytes, KVR_HOST, &r->cache_region),
	     "registering the cache");

	r->offer_bytes =
		round_up(sizeof(struct replay_offer) + in->max_blocks * sizeof(uint32_t), 64);
	r->mail_bytes = round_up(replay_offer_at(r, r->slot_count), PAGE);
	r->mail = aligned_alloc(PAGE, r->mail_bytes);
	if (!r->mail)
		app_abort(r->app, "no memory for block tables: %zu bytes", (size_t)r->mail_bytes);
	memset(r->mail, 0, r->mail_bytes);
	must(r, kvr_region_open(kvr, r->mail, r->mail_bytes, KVR_HOST, &r->mail_region),
	     "registering the block tables");
}

static void make_slots(struct replay *r)
{
	uint32_t max_blocks = r->input->max_blocks;
	uint32_t max_writes = r->is_prefill ? replay_batches(r, max_blocks) : 1;
	size_t max_ops = r->batch_blocks < max_blocks ? r->batch_blocks : max_blocks;

	r->slots = allocate(r, r->slot_count, sizeof(r->slots[0]));
	r->writes = allocate(r, (size_t)r->slot_count * max_writes, sizeof(r->writes[0]));
	/* The last block is not one op but one per part. */
	r->ops = allocate(r, max_ops + r->input->model.parts, sizeof(r->ops[0]));
	r->latencies_ms = allocate(r, r->mine, sizeof(r->latencies_ms[0]));
	if (r->is_prefill)
		r->tables = allocate(r, (size_t)r->slot_count * max_blocks, sizeof(r->tables[0]));
	for (uint32_t i = 0; i < r->slot_count; i++) {
		struct replay_slot *slot = &r->slots[i];

		slot->peer = &r->peers[i / REPLAY_SLOTS];
		slot->counter = i;
		slot->offer = (struct replay_offer *)(r->mail + replay_offer_at(r, i));
		slot->table =
			r->is_prefill ? r->tables + (size_t)i * max_blocks : slot->offer->table;
		slot->writes = r->writes + (size_t)i * max_writes;
	}
}

static struct digest make_digest(const struct replay_input *in)
{
	struct digest digest = {
		.requests = in->trace.count,
		.bytes_per_token = model_bytes_per_token(&in->model),
		.block_tokens = in->options.block_tokens,
		.prefill = in->options.prefill,
		.decode = in->options.decode,
	};

	for (size_t i = 0; i < in->trace.count; i++)
		digest.tokens += in->trace.requests[i].input_length;
	return digest;
}

static uint32_t export_region(const struct replay *r, const struct kvr_region *region, uint8_t *buf)
{
	ssize_t len = kvr_region_export(region, buf, KVR_DESCRIPTOR_MAX);

	must(r, len, "describing memory to others");
	return (uint32_t)len;
}

static struct hello *exchange(struct replay *r)
{
	struct hello *all = allocate(r, (size_t)r->app->nranks, sizeof(*all));
	struct hello mine;

	memset(&mine, 0, sizeof(mine));
	mine.digest = make_digest(r->input);
	mine.layer_bytes = r->cache.layer_bytes;
	mine.blocks = r->cache.blocks;
	mine.mail_len = export_region(r, r->mail_region, mine.mail);
	mine.target_len =
		export_region(r, r->is_prefill ? r->mail_region : r->cache_region, mine.target);
	must(r, kvr_allgather(r->app->kvr, &mine, all, sizeof(mine)), "exchange of descriptors");
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

static void meet_peers(struct replay *r, const struct hello *all)
{
	int first = r->is_prefill ? (int)r->input->options.prefill : 0;

	r->peers = allocate(r, r->peer_count, sizeof(r->peers[0]));
	for (uint32_t i = 0; i < r->peer_count; i++) {
		int rank = first + (int)i;

		r->peers[i] = (struct replay_peer){
			.rank = rank,
			.target = open_remote(r, rank, all[rank].target, all[rank].target_len),
			.layer_bytes = all[rank].layer_bytes,
			.blocks = (uint32_t)all[rank].blocks,
		};
	}
	/* Rank 0 meets all, the others rank 0. */
	r->done_count = r->app->rank ? 1 : (size_t)r->app->nranks - 1;
	r->done_remotes = allocate(r, r->done_count, sizeof(struct kvr_remote *));
	for (size_t i = 0; i < r->done_count; i++) {
		int rank = r->app->rank ? 0 : (int)i + 1;

		r->done_remotes[i] = open_remote(r, rank, all[rank].mail, all[rank].mail_len);
	}
}

void replay_setup(struct replay *r, struct app *app, const struct replay_input *input)
{
	struct hello *all;

	*r = (struct replay){.app = app, .input = input};
	set_role(r);
	open_memory(r);
	all = exchange(r);
	meet_peers(r, all);
	free(all);
	make_slots(r);
	must(r, worker_start(&r->worker, &r->cache), "starting a thread");
	replay_measure_rails(r);
}

void replay_measure_rails(struct replay *r)
{
	struct kvr_stats now = {.size = sizeof(now)};

	for (int i = 0; i < kvr_rail_count(r->app->kvr) && i < KVR_MAX_RAILS; i++) {
		const struct kvr_stats *before = &r->rails[i];

		must(r, kvr_stats_get(r->app->kvr, i, &now), "statistics");
		r->rails[i] = (struct kvr_stats){
			.bytes_written = now.bytes_written - before->bytes_written,
			.bytes_read = now.bytes_read - before->bytes_read,
			.errors = now.errors - before->errors,
			.retries = now.retries - before->retries,
			.resets = now.resets - before->resets,
		};
	}
}

/* A word to each of done_remotes: rank 0 writes its word 0 to word 0 of all, the others each their
 * own to rank 0, so that no two write to the same place. */
static void tell_done(struct replay *r)
{
	struct kvr_op *ops = allocate(r, r->done_count, sizeof(*ops));
	struct kvr_request *request;
	uint64_t at = (uint64_t)r->app->rank * sizeof(uint64_t);

	for (size_t i = 0; i < r->done_count; i++)
		ops[i] = (struct kvr_op){
			.local = r->mail_region,
			.remote = r->done_remotes[i],
			.local_offset = at,
			.remote_offset = at,
			.len = sizeof(uint64_t),
			.count = 1,
		};
	must(r, kvr_write(r->app->kvr, ops, r->done_count, meeting_counter(r), &request),
	     "meeting");
	must(r, kvr_request_wait(request, -1), "meeting");
	must(r, kvr_request_close(request), "meeting");
	free(ops);
}

void replay_meet(struct replay *r)
{
	uint64_t others = r->app->rank ? 1 : (uint64_t)r->app->nranks - 1;

	/* Without a limit of its own: each rank that is not here yet still has a request under
	 * way, and thereby ranks that give up if it gets stuck. */
	if (r->app->rank)
		tell_done(r);
	must(r, kvr_counter_wait(r->app->kvr, meeting_counter(r), others, -1, NULL), "meeting");
	if (!r->app->rank)
		tell_done(r);
}

void replay_teardown(struct replay *r)
{
	worker_stop(&r->worker);
	for (uint32_t i = 0; i < r->peer_count; i++)
		must(r, kvr_remote_close(r->peers[i].target), "closing a remote");
	for (size_t i = 0; i < r->done_count; i++)
		must(r, kvr_remote_close(r->done_remotes[i]), "closing a remote");
	must(r, kvr_region_close(r->cache_region), "closing the cache's region");
	must(r, kvr_region_close(r->mail_region), "closing the block tables' region");
	cache_close(&r->cache);
	free(r->mail);
	free(r->peers);
	free(r->done_remotes);
	free(r->slots);
	free(r->tables);
	free(r->writes);
	free(r->ops);
	free(r->latencies_ms);
}
