/* SPDX-License-Identifier: MIT
 * kvrail replay: prints what all ranks did. */
#include "replay_summary.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Whichever side moved them: writes that are pulled are read by their target. */
static uint64_t rail_bytes(const struct result *result, int64_t rail)
{
	const struct kvr_stats *stats = &result->rail[rail].stats;

	return stats->bytes_written + stats->bytes_read;
}

static json_t *rail_json(int rank, const struct result *result, int64_t rail)
{
	const struct kvr_stats *stats = &result->rail[rail].stats;

	return json_pack(
		"{si ss sI sI sI sI sI sI sI sI sI}", "rank", rank, "name", result->rail[rail].name,
		"bytes", (json_int_t)rail_bytes(result, rail), "bytes_written",
		(json_int_t)stats->bytes_written, "bytes_read", (json_int_t)stats->bytes_read,
		"pieces", (json_int_t)stats->pieces, "errors", (json_int_t)stats->errors, "retries",
		(json_int_t)stats->retries, "resets", (json_int_t)stats->resets, "bytes_per_second",
		(json_int_t)stats->bytes_per_second, "state", (json_int_t)result->rail[rail].state);
}

static json_t *rails_json(const struct summary *sum)
{
	json_t *rails = json_array();

	for (int rank = 0; rank < sum->replay->app->nranks; rank++)
		for (int64_t i = 0; i < sum->ranks[rank].rails; i++)
			json_array_append_new(rails, rail_json(rank, &sum->ranks[rank], i));
	return rails;
}

/* null where there is none. */
static json_t *latency_json(const struct latency_summary *l, double scale)
{
	if (!l->count)
		return json_null();
	return json_pack("{sf sf sf sf}", "p50", l->p50 * scale, "p90", l->p90 * scale, "p99",
	                 l->p99 * scale, "max", l->max * scale);
}

/* Of the requests of LARGE_BYTES: how many layers' transfers their latencies are. */
static double layers_of(const struct summary *sum)
{
	return sum->replay->input->model.layers;
}

static json_t *counts_json(const struct summary *sum)
{
	return json_pack("{ss ss sI sI sI sI sI sI sI sI}", "event", "summary", "provider",
	                 kvr_provider(sum->replay->app->kvr, NULL), "requests",
	                 (json_int_t)sum->requests, "bytes", (json_int_t)sum->bytes,
	                 "verified_bytes", (json_int_t)sum->verified_bytes, "mismatches",
	                 (json_int_t)sum->wrong_bytes, "reused_bytes",
	                 (json_int_t)sum->reused_bytes, "cancelled", (json_int_t)sum->cancelled,
	                 "late_bytes", (json_int_t)sum->late_bytes, "leaked_blocks",
	                 (json_int_t)sum->leaked_blocks);
}

static void print_json(const struct summary *sum)
{
	json_t *object = counts_json(sum);

	json_object_update_new(
		object, json_pack("{sf so so so so s{sI sI} so}", "bytes_per_second",
	                          sum->bytes_per_second, "latency_ms", latency_json(&sum->ms, 1),
	                          "ideal_ms", latency_json(&sum->ideal_ms, 1), "ratio_to_ideal",
	                          latency_json(&sum->over_ideal, 1), "unhidden_layers",
	                          latency_json(&sum->over_ideal, layers_of(sum)), "resident_bytes",
	                          "half", (json_int_t)sum->resident_half, "end",
	                          (json_int_t)sum->resident_end, "rails", rails_json(sum)));
	app_json(object);
}

static uint64_t kind_bytes(const struct summary *sum, bool is_prefill)
{
	uint64_t bytes = 0;

	for (int rank = 0; rank < sum->replay->app->nranks; rank++)
		for (int64_t i = 0; i < sum->ranks[rank].rails; i++)
			if (sum->ranks[rank].is_prefill == is_prefill)
				bytes += rail_bytes(&sum->ranks[rank], i);
	return bytes;
}

/* Of the kind of rank that moves the KV; there a rail without bytes is news. */
static void print_rails(const struct summary *sum)
{
	bool prefill = kind_bytes(sum, true) >= kind_bytes(sum, false);
	char size[32];

	printf("\n%-6s %-8s %-16s %s\n", "rank", "kind", "rail", prefill ? "written" : "read");
	for (int rank = 0; rank < sum->replay->app->nranks; rank++) {
		const struct result *result = &sum->ranks[rank];

		for (int64_t i = 0; result->is_prefill == prefill && i < result->rails; i++)
			printf("%-6d %-8s %-16s %s\n", rank, prefill ? "prefill" : "decode",
			       result->rail[i].name, human_bytes(rail_bytes(result, i), size));
	}
}

static void print_latency(const char *what, const struct latency_summary *l, double scale,
                          const char *unit)
{
	if (l->count)
		printf("%-11s p50 %.3f, p90 %.3f, p99 %.3f, max %.3f%s\n", what, l->p50 * scale,
		       l->p90 * scale, l->p99 * scale, l->max * scale, unit);
}

static void print_latencies(const struct summary *sum)
{
	print_latency("latency", &sum->ms, 1, " ms");
	print_latency("ideal", &sum->ideal_ms, 1, " ms");
	print_latency("over ideal", &sum->over_ideal, 1, "");
	if (sum->replay->input->options.layer_ms > 0)
		print_latency("unhidden", &sum->over_ideal, layers_of(sum), " layers");
}

static void print_table(const struct summary *sum)
{
	static const char *const how[] = {[VERIFY_FULL] = "every byte",
	                                  [VERIFY_SAMPLE] = "some tokens of every block",
	                                  [VERIFY_OFF] = "nothing"};
	const struct replay_options *o = &sum->replay->input->options;
	char size[32];

	printf("requests    %" PRIu64 "\n", sum->requests);
	if (o->cancel)
		printf("cancelled   %" PRIu64 ", after which %" PRIu64 " bytes came\n",
		       sum->cancelled, sum->late_bytes);
	printf("KV moved    %s\n", human_bytes(sum->bytes, size));
	if (o->prefix)
		printf("KV reused   %s\n", human_bytes(sum->reused_bytes, size));
	printf("verified    %s (%s)\n", human_bytes(sum->verified_bytes, size), how[o->verify]);
	printf("mismatches  %" PRIu64 " bytes\n", sum->wrong_bytes);
	printf("rate        %s, summed over prefill ranks while they write\n",
	       human_rate(sum->bytes_per_second, size));
	print_latencies(sum);
	print_rails(sum);
}

static void say_failure(const struct summary *sum)
{
	app_error("replay failed: %" PRIu64 " wrong bytes, %" PRIu64 " late, %" PRIu64
	          " blocks lost, %" PRIu64 " of %zu requests moved and %" PRIu64
	          " cancelled, %" PRIu64 " bytes verified of %" PRIu64,
	          sum->wrong_bytes, sum->late_bytes, sum->leaked_blocks, sum->requests,
	          sum->replay->input->trace.count, sum->cancelled, sum->verified_bytes,
	          sum->bytes + sum->reused_bytes);
}

static bool write_file(const struct summary *sum, const char *option, const char *path,
                       int (*write)(const struct latency *, size_t, const char *))
{
	int rc = path ? write(sum->latencies, sum->latency_count, path) : 0;

	if (rc)
		app_error("--%s %s: %s", option, path, strerror(-rc));
	return !rc;
}

int replay_report(struct replay *r)
{
	const struct replay_options *o = &r->input->options;
	struct summary sum;
	bool good;

	replay_summary_make(r, &sum);
	good = sum.good;
	if (r->app->rank == 0) {
		if (r->app->json)
			print_json(&sum);
		else
			print_table(&sum);
		if (!sum.good)
			say_failure(&sum);
		good &= write_file(&sum, "plot", o->plot, replay_plot);
		good &= write_file(&sum, "csv", o->csv, replay_table);
	}
	replay_summary_free(&sum);
	return good ? EXIT_OK : EXIT_FAILED;
}
