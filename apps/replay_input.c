/* SPDX-License-Identifier: MIT
 * kvrail replay: the model, trace and sizes that its command line names, checked together. */
#include "replay.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CACHE_MIN    (64u << 20) /* chosen so, small requests overlap */
#define SLOTS        4           /* requests under way between two instances, unless closed */
#define COUNTERS_MAX (1u << 20)  /* the library's limit */
#define WHY_MAX      1024        /* characters */
#define GIB          (1024.0 * 1024 * 1024)

/* Where the first thing that is wrong is explained. */
struct why {
	char *text;
	size_t len;
};

#define wrong(why, rc, ...) (snprintf((why)->text, (why)->len, __VA_ARGS__), (rc))

static int check_ranks(const struct app *app, const struct replay_options *o, const struct why *why)
{
	uint32_t p = o->prefill.ranks, d = o->decode.ranks;

	if ((uint32_t)app->nranks != p + d)
		return wrong(why, -EINVAL,
		             "--prefill %u and --decode %u need %u ranks, but this job has %d: "
		             "start it with mpirun -n %u kvrail replay --prefill %u --decode %u",
		             p, d, p + d, app->nranks, p + d, p, d);
	if (p % group_size(&o->prefill))
		return wrong(why, -EINVAL,
		             "--prefill %u is no multiple of --tp-prefill %u times --pp-prefill %u",
		             p, o->prefill.tp, o->prefill.pp);
	if (d % o->decode.tp)
		return wrong(why, -EINVAL, "--decode %u is no multiple of --tp-decode %u", d,
		             o->decode.tp);
	return 0;
}

static int check_heads(const struct model *model, const char *flag, const struct group *g,
                       const struct why *why)
{
	if (model->heads % g->tp == 0 || g->tp % model->heads == 0)
		return 0;
	return wrong(
		why, -EINVAL,
		"%s %u does not fit the %u KV heads of %s: one must be a multiple of the other",
		flag, g->tp, model->heads, model->name);
}

static int check_shards(const struct replay_input *in, const struct why *why)
{
	const struct replay_options *o = &in->options;
	int rc = check_heads(&in->model, "--tp-prefill", &o->prefill, why);

	if (!rc)
		rc = check_heads(&in->model, "--tp-decode", &o->decode, why);
	if (rc)
		return rc;
	if (o->prefill.pp > in->model.layers)
		return wrong(why, -EINVAL, "--pp-prefill %u is more than the %u layers of %s",
		             o->prefill.pp, in->model.layers, in->model.name);
	if (o->prefix && TRACE_BLOCK_TOKENS % o->decode.block_tokens)
		return wrong(
			why, -EINVAL,
			"--prefix needs blocks of which %u tokens are a multiple, and decode's "
			"--block-tokens is %u",
			TRACE_BLOCK_TOKENS, o->decode.block_tokens);
	return 0;
}

/* What the trace asks of a group's caches, in blocks of all that a rank holds. */
struct demand {
	uint64_t block_bytes;
	uint64_t largest, total;
	size_t largest_request;
};

static int measure(const struct replay_input *in, const struct group *g, struct demand *d,
                   const struct why *why)
{
	uint64_t ignored;
	int rc;

	*d = (struct demand){.block_bytes = 0};
	rc = group_block_bytes(g, &in->model, &d->block_bytes);
	for (size_t i = 0; i < in->trace.count; i++) {
		uint64_t blocks = group_blocks_for(g, in->trace.requests[i].input_length);

		d->total += blocks;
		if (blocks <= d->largest)
			continue;
		d->largest = blocks;
		d->largest_request = i;
	}
	if (!rc && !__builtin_mul_overflow(d->block_bytes, 2 * d->largest, &ignored))
		return 0;
	return wrong(why, -EOVERFLOW, "request %zu has %u tokens: too many for model %s",
	             d->largest_request + 1, in->trace.requests[d->largest_request].input_length,
	             in->model.name);
}

/* A quarter more than the largest request needs, so that small ones overlap with it; never more
 * than all requests together. */
static uint64_t choose_cache(const struct demand *d)
{
	uint64_t blocks = d->largest + d->largest / 4;

	if (blocks < CACHE_MIN / d->block_bytes)
		blocks = CACHE_MIN / d->block_bytes;
	return (blocks < d->total ? blocks : d->total) * d->block_bytes;
}

static int check_cache(const struct replay_input *in, const struct demand *d, uint64_t bytes,
                       const struct why *why)
{
	uint64_t needed = d->largest * d->block_bytes;
	char has[32], needs[32];

	if (bytes >= needed)
		return 0;
	/* Rounded up: what is advised must do. */
	return wrong(why, -ENOSPC,
	             "a cache of %s per rank is too small for request %zu, which needs %s (%u "
	             "tokens of %s): use --cache-gib %.2f or more, or --limit",
	             human_bytes(bytes, has), d->largest_request + 1, human_bytes(needed, needs),
	             in->trace.requests[d->largest_request].input_length, in->model.name,
	             ceil((double)needed / GIB * 100) / 100);
}

static int check_memory(const struct app *app, uint64_t bytes, const struct why *why)
{
	double memory = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
	char each[32], all[32];

	if ((double)bytes * app->ranks_here <= memory)
		return 0;
	return wrong(why, -ENOMEM,
	             "%d ranks on one host with a cache of %s each do not fit in its %s of memory: "
	             "use --limit, a smaller model, a smaller --cache-gib, or more hosts",
	             app->ranks_here, human_bytes(bytes, each), human_bytes((uint64_t)memory, all));
}

/* Sets the blocks of each rank of the group. */
static int size_cache(const struct app *app, struct replay_input *in, struct group *g,
                      uint64_t *bytes, const struct why *why)
{
	const struct replay_options *o = &in->options;
	struct demand demand;
	uint64_t blocks;
	int rc = measure(in, g, &demand, why);

	if (rc)
		return rc;
	*bytes = o->cache_gib > 0 ? (uint64_t)(o->cache_gib * GIB) : choose_cache(&demand);
	rc = check_cache(in, &demand, *bytes, why);
	if (!rc)
		rc = check_memory(app, *bytes, why);
	if (rc)
		return rc;
	blocks = *bytes / demand.block_bytes;
	g->blocks = blocks < UINT32_MAX ? (uint32_t)blocks : UINT32_MAX;
	*bytes = g->blocks * demand.block_bytes;
	return 0;
}

static void keep_line(void *text, int level, const char *line)
{
	(void)level;
	snprintf(text, WHY_MAX, "%s", line);
}

/* The order of the cache, of which the library says what is wrong. */
static int check_layout(const struct replay_input *in, const struct group *g, const struct why *why)
{
	char line[WHY_MAX] = "";
	struct kvr_layout layout;
	int rc;

	kvr_set_log(keep_line, line);
	rc = group_layout(g, &in->model, 0, &layout);
	kvr_set_log(NULL, NULL);
	return rc ? wrong(why, rc, "--layout %s: %s", g->order, line) : 0;
}

/* How requests are cut into writes, and how many may be under way: every one has its counters. */
static int set_slots(struct replay_input *in, const struct why *why)
{
	const struct replay_options *o = &in->options;
	const struct group *const groups[] = {&o->prefill, &o->decode};
	uint64_t counters;

	in->slots = o->closed ? o->closed : SLOTS;
	in->steps = o->layerwise ? in->model.layers : 1;
	in->chunk_tokens = group_chunk(groups, &in->model, o->layerwise ? 1 : in->model.layers,
	                               REPLAY_MAX_RUNS);
	for (size_t i = 0; i < in->trace.count; i++)
		if (in->trace.requests[i].input_length > in->max_tokens)
			in->max_tokens = in->trace.requests[i].input_length;
	counters = (uint64_t)(o->prefill.ranks + o->decode.ranks) * in->slots * (in->steps + 1);
	if (counters < COUNTERS_MAX)
		return 0;
	return wrong(why, -E2BIG,
	             "%u ranks, %u requests under way and %u layers make too many counters: use a "
	             "smaller --closed, or no --layerwise",
	             o->prefill.ranks + o->decode.ranks, in->slots, in->steps);
}

/* Before hours of work are for nothing. */
static int check_file(const struct app *app, const char *option, const char *path,
                      const struct why *why)
{
	FILE *file = !app->rank && path ? fopen(path, "ae") : NULL;

	if (file)
		fclose(file);
	else if (!app->rank && path)
		return wrong(why, -errno, "--%s %s: %s", option, path, strerror(errno));
	return 0;
}

static int load(const struct app *app, struct replay_input *in, const struct why *why)
{
	struct replay_options *o = &in->options;
	int rc = check_ranks(app, o, why);

	if (!rc)
		rc = model_find(o->model, &in->model, why->text, why->len);
	if (!rc)
		rc = check_shards(in, why);
	if (!rc)
		rc = trace_load(o->trace, o->limit, &in->trace, why->text, why->len);
	if (!rc)
		rc = size_cache(app, in, &o->prefill, &in->prefill_bytes, why);
	if (!rc)
		rc = size_cache(app, in, &o->decode, &in->decode_bytes, why);
	if (!rc)
		rc = check_layout(in, &o->prefill, why);
	if (!rc)
		rc = check_layout(in, &o->decode, why);
	if (!rc)
		rc = set_slots(in, why);
	if (!rc && o->plot && o->csv && !strcmp(o->plot, o->csv))
		rc = wrong(why, -EINVAL, "--plot and --csv both name %s", o->plot);
	if (!rc)
		rc = check_file(app, "plot", o->plot, why);
	return rc ? rc : check_file(app, "csv", o->csv, why);
}

int replay_input_load(const struct app *app, struct replay_input *in)
{
	char text[WHY_MAX] = "";
	int rc = load(app, in, &(struct why){text, sizeof(text)});

	return app_agree(app, rc ? text : NULL);
}

void replay_input_free(struct replay_input *in)
{
	trace_free(&in->trace);
}
