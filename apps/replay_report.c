/* SPDX-License-Identifier: MIT
 * kvrail replay: what all ranks did, added up and printed. */
#include "replay.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of one rank, as it goes through kvr_allgather. */
struct result {
	uint64_t is_prefill, requests, bytes, verified_bytes, wrong_bytes;
	double busy_seconds;
	int64_t rails;
	struct {
		char name[32];
		struct kvr_stats stats;
	} rail[KVR_MAX_RAILS];
};

struct summary {
	const struct replay *replay;
	const struct result *ranks;
	uint64_t requests, bytes, verified_bytes, wrong_bytes;
	/* Of each prefill rank the bytes over the time in which it had a request's KV in flight,
	 * summed: what the ranks moved together while they moved. Filling, comparing and waiting
	 * for block tables do not count. */
	double bytes_per_second;
	double p50_ms, p99_ms; /* from a request's first kvr_write to the end of its last */
	bool good;
};

static void make_result(const struct replay *r, struct result *out)
{
	struct kvr_rail rail = {.size = sizeof(rail)};

	memset(out, 0, sizeof(*out));
	out->is_prefill = r->is_prefill;
	out->requests = r->ended;
	out->bytes = r->bytes;
	out->verified_bytes = r->verified_bytes;
	out->wrong_bytes = r->wrong_bytes;
	out->busy_seconds = r->busy_seconds;
	for (int i = 0; i < kvr_rail_count(r->app->kvr) && i < KVR_MAX_RAILS; i++) {
		if (kvr_rail_get(r->app->kvr, i, &rail))
			continue;
		memcpy(out->rail[out->rails].name, rail.name, sizeof(rail.name));
		out->rail[out->rails++].stats = r->rails[i];
	}
}

static void *gather(const struct replay *r, const void *mine, size_t len)
{
	void *all = calloc((size_t)r->app->nranks, len);
	int rc;

	if (!all)
		app_abort(r->app, "no memory for the results of %d ranks", r->app->nranks);
	rc = kvr_allgather(r->app->kvr, mine, all, len);
	if (rc)
		app_abort(r->app, "gathering results: %s", kvr_strerror(rc));
	return all;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* The smallest value that `percent` of all do not exceed. */
static double percentile(const double *sorted, size_t count, size_t percent)
{
	return count ? sorted[(count * percent + 99) / 100 - 1] : 0;
}

/* Prefill rank 0 has the most requests, so its share is what every rank sends. */
static void gather_latencies(const struct replay *r, struct summary *sum)
{
	size_t prefill = r->input->options.prefill, requests = r->input->trace.count;
	size_t most = (requests + prefill - 1) / prefill, count = 0;
	double *mine = calloc(most, sizeof(*mine));
	double *all;

	if (!mine)
		app_abort(r->app, "no memory for %zu latencies", most);
	if (r->is_prefill)
		memcpy(mine, r->latencies_ms, r->ended * sizeof(*mine));
	all = gather(r, mine, most * sizeof(*mine));
	for (size_t rank = 0; rank < prefill; rank++) {
		memmove(&all[count], &all[rank * most], sum->ranks[rank].requests * sizeof(*all));
		count += sum->ranks[rank].requests;
	}
	qsort(all, count, sizeof(*all), by_value);
	sum->p50_ms = percentile(all, count, 50);
	sum->p99_ms = percentile(all, count, 99);
	free(all);
	free(mine);
}

static void add_up(const struct replay *r, struct summary *sum)
{
	uint64_t come = 0;

	for (int rank = 0; rank < r->app->nranks; rank++) {
		const struct result *result = &sum->ranks[rank];

		sum->verified_bytes += result->verified_bytes;
		sum->wrong_bytes += result->wrong_bytes;
		if (!result->is_prefill) {
			come += result->bytes;
			continue;
		}
		sum->requests += result->requests;
		sum->bytes += result->bytes;
		if (result->busy_seconds > 0)
			sum->bytes_per_second += (double)result->bytes / result->busy_seconds;
	}
	sum->good = !sum->wrong_bytes && come == sum->bytes &&
	            sum->requests == r->input->trace.count &&
	            (r->input->options.verify != VERIFY_FULL || sum->verified_bytes == sum->bytes);
}

/* Whichever side moved them: writes that are pulled are read by their target. */
static uint64_t rail_bytes(const struct result *result, int64_t rail)
{
	const struct kvr_stats *stats = &result->rail[rail].stats;

	return stats->bytes_written + stats->bytes_read;
}

static json_t *rail_json(int rank, const struct result *result, int64_t rail)
{
	const struct kvr_stats *stats = &result->rail[rail].stats;

	return json_pack("{si ss sI sI sI sI sI sI}", "rank", rank, "name", result->rail[rail].name,
	                 "bytes", (json_int_t)rail_bytes(result, rail), "bytes_written",
	                 (json_int_t)stats->bytes_written, "bytes_read",
	                 (json_int_t)stats->bytes_read, "errors", (json_int_t)stats->errors,
	                 "retries", (json_int_t)stats->retries, "resets",
	                 (json_int_t)stats->resets);
}

static json_t *rails_json(const struct summary *sum)
{
	json_t *rails = json_array();

	for (int rank = 0; rank < sum->replay->app->nranks; rank++)
		for (int64_t i = 0; i < sum->ranks[rank].rails; i++)
			json_array_append_new(rails, rail_json(rank, &sum->ranks[rank], i));
	return rails;
}

static void print_json(const struct summary *sum)
{
	app_json(json_pack("{ss ss sI sI sI sI sf s{sf sf} so}", "event", "summary", "provider",
	                   kvr_provider(sum->replay->app->kvr, NULL), "requests",
	                   (json_int_t)sum->requests, "bytes", (json_int_t)sum->bytes,
	                   "verified_bytes", (json_int_t)sum->verified_bytes, "mismatches",
	                   (json_int_t)sum->wrong_bytes, "bytes_per_second", sum->bytes_per_second,
	                   "latency_ms", "p50", sum->p50_ms, "p99", sum->p99_ms, "rails",
	                   rails_json(sum)));
}

static void print_rails(const struct summary *sum)
{
	char size[32];

	printf("\n%-6s %-8s %-16s %s\n", "rank", "kind", "rail", "written");
	for (int rank = 0; rank < sum->replay->app->nranks; rank++) {
		const struct result *result = &sum->ranks[rank];

		/* A prefill rank's rail without bytes is news; decode ranks send little. */
		for (int64_t i = 0; i < result->rails; i++)
			if (result->is_prefill || rail_bytes(result, i))
				printf("%-6d %-8s %-16s %s\n", rank,
				       result->is_prefill ? "prefill" : "decode",
				       result->rail[i].name,
				       human_bytes(rail_bytes(result, i), size));
	}
}

static void print_table(const struct summary *sum)
{
	static const char *const how[] = {[VERIFY_FULL] = "every byte",
	                                  [VERIFY_SAMPLE] = "some tokens of every block",
	                                  [VERIFY_OFF] = "nothing"};
	char size[32];

	printf("requests    %" PRIu64 "\n", sum->requests);
	printf("KV moved    %s\n", human_bytes(sum->bytes, size));
	printf("verified    %s (%s)\n", human_bytes(sum->verified_bytes, size),
	       how[sum->replay->input->options.verify]);
	printf("mismatches  %" PRIu64 " bytes\n", sum->wrong_bytes);
	printf("rate        %s, summed over prefill ranks while they write\n",
	       human_rate(sum->bytes_per_second, size));
	printf("latency     p50 %.3f ms, p99 %.3f ms\n", sum->p50_ms, sum->p99_ms);
	print_rails(sum);
}

int replay_report(struct replay *r)
{
	struct summary sum = {.replay = r};
	struct result mine, *ranks;

	make_result(r, &mine);
	ranks = gather(r, &mine, sizeof(mine));
	sum.ranks = ranks;
	add_up(r, &sum);
	gather_latencies(r, &sum);
	if (r->app->rank == 0) {
		if (r->app->json)
			print_json(&sum);
		else
			print_table(&sum);
		if (!sum.good)
			app_error("replay failed: %" PRIu64 " wrong bytes, %" PRIu64 " of %zu "
			          "requests moved, %" PRIu64 " bytes verified of %" PRIu64,
			          sum.wrong_bytes, sum.requests, r->input->trace.count,
			          sum.verified_bytes, sum.bytes);
	}
	free(ranks);
	return sum.good ? EXIT_OK : EXIT_FAILED;
}
