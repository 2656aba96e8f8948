/* SPDX-License-Identifier: MIT
 * kvrail replay: gathers what all ranks did, and adds it up. */
#include "replay_summary.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void name_rails(const struct replay *r, struct result *out)
{
	struct kvr_rail rail = {.size = sizeof(rail)};

	for (int i = 0; i < kvr_rail_count(r->app->kvr) && i < KVR_MAX_RAILS; i++) {
		if (kvr_rail_get(r->app->kvr, i, &rail))
			continue;
		memcpy(out->rail[out->rails].name, rail.name, sizeof(rail.name));
		out->rail[out->rails].state = rail.state;
		out->rail[out->rails].bits_per_second = r->input->options.rail_gbps > 0
		                                                ? r->input->options.rail_gbps * 1e9
		                                                : (double)rail.bits_per_second;
		out->rail[out->rails++].stats = r->rails[i];
	}
}

static void make_result(struct replay *r, struct result *out)
{
	memset(out, 0, sizeof(*out));
	out->is_prefill = r->is_prefill;
	/* Each request once, by the first rank of its prefill instance. */
	if (r->is_prefill && r->index % group_size(r->group) == 0) {
		out->requests = r->ended - r->cancelled;
		out->cancelled = r->cancelled;
	}
	out->bytes = r->bytes;
	out->reused_bytes = r->reused_bytes;
	out->verified_bytes = r->verified_bytes;
	out->wrong_bytes = r->wrong_bytes;
	out->late_bytes = r->late_bytes;
	out->leaked_blocks = replay_leaked_blocks(r);
	out->resident_half = r->resident_half;
	out->resident_end = r->resident_end;
	out->busy_seconds = r->busy_seconds;
	gethostname(out->host, sizeof(out->host) - 1);
	name_rails(r, out);
}

static void *gather(const struct replay *r, const void *mine, size_t len)
{
	void *all = replay_allocate(r, (size_t)r->app->nranks, len);

	replay_must(r, kvr_allgather(r->app->kvr, mine, all, len), "gathering results");
	return all;
}

/* What the rails of an instance's hosts carry together. */
static double instance_rate(const struct summary *sum, const struct group *g, uint32_t first_rank,
                            uint32_t instance)
{
	const struct result *rank = &sum->ranks[first_rank + instance * group_size(g)];
	struct latency_rail *rails =
		replay_allocate(sum->replay, (size_t)group_size(g) * KVR_MAX_RAILS, sizeof(*rails));
	size_t count = 0;
	double rate;

	for (uint32_t i = 0; i < group_size(g); i++, rank++)
		for (int64_t j = 0; j < rank->rails; j++, count++) {
			memcpy(rails[count].host, rank->host, sizeof(rank->host));
			memcpy(rails[count].name, rank->rail[j].name, sizeof(rails[count].name));
			rails[count].bits_per_second = rank->rail[j].bits_per_second;
		}
	rate = latency_rate(rails, count);
	free(rails);
	return rate;
}

static double lower_rate(const struct summary *sum, size_t request)
{
	const struct replay_options *o = &sum->replay->input->options;
	double from = instance_rate(sum, &o->prefill, 0, replay_prefill_of(o, request));
	double to = instance_rate(sum, &o->decode, o->prefill.ranks, replay_decode_of(o, request));

	return from < to ? from : to;
}

/* A request has ended when the last of its ranks has. `all` is what each rank tells, `each` of it.
 */
static struct latency join(const struct summary *sum, const struct latency *all, size_t each,
                           size_t request)
{
	const struct group *g = &sum->replay->input->options.prefill;
	size_t first =
		(size_t)replay_prefill_of(&sum->replay->input->options, request) * group_size(g);
	struct latency joined = {.request = request};
	double rate = lower_rate(sum, request);

	for (size_t rank = first; rank < first + group_size(g); rank++) {
		const struct latency *l = &all[rank * each + request / group_instances(g)];

		joined.bytes += l->bytes;
		if (l->ms <= joined.ms)
			continue;
		joined.ms = l->ms;
		joined.ready_ms = l->ready_ms;
	}
	if (rate > 0)
		joined.ideal_ms = (double)joined.bytes * 8 / rate * 1e3;
	return joined;
}

static void summarize(struct summary *sum, enum latency_what what, uint64_t min_bytes,
                      struct latency_summary *out)
{
	replay_must(sum->replay,
	            latency_summarize(sum->latencies, sum->latency_count, what, min_bytes, out),
	            "latencies");
}

static void gather_latencies(struct replay *r, struct summary *sum)
{
	size_t instances = group_instances(&r->input->options.prefill);
	size_t each = (r->input->trace.count + instances - 1) / instances;
	struct latency *mine = replay_allocate(r, each, sizeof(*mine));
	struct latency *all;

	if (r->is_prefill)
		memcpy(mine, r->latencies, r->mine * sizeof(*mine));
	all = gather(r, mine, each * sizeof(*mine));
	sum->latencies = replay_allocate(r, r->input->trace.count, sizeof(*mine));
	for (size_t i = 0; i < r->input->trace.count; i++)
		if (!replay_is_cancelled(&r->input->options, i))
			sum->latencies[sum->latency_count++] = join(sum, all, each, i);
	free(all);
	free(mine);
	summarize(sum, LATENCY_MS, 0, &sum->ms);
	summarize(sum, LATENCY_IDEAL_MS, 0, &sum->ideal_ms);
	summarize(sum, LATENCY_OVER_IDEAL, LARGE_BYTES, &sum->over_ideal);
}

/* Returns what has come to the rank, if it is one to which something comes. */
static uint64_t add_rank(struct summary *sum, const struct result *rank)
{
	sum->requests += rank->requests;
	sum->cancelled += rank->cancelled;
	sum->reused_bytes += rank->reused_bytes;
	sum->verified_bytes += rank->verified_bytes;
	sum->wrong_bytes += rank->wrong_bytes;
	sum->late_bytes += rank->late_bytes;
	sum->leaked_blocks += rank->leaked_blocks;
	if (rank->resident_end + sum->resident_half >= sum->resident_end + rank->resident_half) {
		sum->resident_half = rank->resident_half;
		sum->resident_end = rank->resident_end;
	}
	if (!rank->is_prefill)
		return rank->bytes;
	sum->bytes += rank->bytes;
	if (rank->busy_seconds > 0)
		sum->bytes_per_second += (double)rank->bytes / rank->busy_seconds;
	return 0;
}

void replay_summary_make(struct replay *r, struct summary *sum)
{
	struct result mine;
	uint64_t come = 0;

	*sum = (struct summary){.replay = r};
	make_result(r, &mine);
	sum->ranks = gather(r, &mine, sizeof(mine));
	for (int rank = 0; rank < r->app->nranks; rank++)
		come += add_rank(sum, &sum->ranks[rank]);
	gather_latencies(r, sum);
	sum->good = !sum->wrong_bytes && !sum->late_bytes && !sum->leaked_blocks &&
	            come == sum->bytes && sum->requests + sum->cancelled == r->input->trace.count &&
	            (r->input->options.verify != VERIFY_FULL ||
	             sum->verified_bytes == sum->bytes + sum->reused_bytes);
}

void replay_summary_free(struct summary *sum)
{
	free(sum->ranks);
	free(sum->latencies);
}
