/* SPDX-License-Identifier: MIT
 * kvrail replay: its command line, and the model, trace and sizes that it names. */
#include "replay.h"
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RANKS_MAX        4096 /* of one kind; the library's limit is 8,192 peers */
#define BLOCK_TOKENS_MAX 65536
#define CACHE_GIB_MAX    (1 << 20)
#define CACHE_MIN        (64u << 20) /* chosen so, small requests overlap */
#define STALL_MAX        1e6
#define GIB              (1024.0 * 1024 * 1024)

enum { PREFILL = 256, DECODE, MODEL, BLOCK_TOKENS, CACHE_GIB, LIMIT, VERIFY, STALL, SPOIL };

static const struct argp_option options[] = {
	{"prefill", PREFILL, "P", 0, "Prefill ranks, the first P (default 1)", 0},
	{"decode", DECODE, "D", 0, "Decode ranks, the other D (default 1)", 0},
	{"model", MODEL, "NAME|FILE", 0,
         "A known model or a Hugging Face config.json (default qwen2.5-0.5b)", 0},
	{"block-tokens", BLOCK_TOKENS, "N", 0, "Tokens in one block of the cache (default 16)", 0},
	{"cache-gib", CACHE_GIB, "X", 0,
         "Cache of one rank in GiB (default: room for the largest request and a few small ones)",
         0},
	{"limit", LIMIT, "N", 0, "Replay only the first N requests (default all)", 0},
	{"verify", VERIFY, "full|sample|off", 0,
         "Compare every byte (default), four tokens of every block, or nothing", 0},
	{"timeout", STALL, "SECONDS", 0,
         "Give up when nothing moved for so long while a peer is waited for (default 120)", 0},
	{"spoil", SPOIL, "N", OPTION_HIDDEN, "Damage one byte of request N: it must be found", 0},
	{"json", 'j', NULL, 0, "One line of JSON on standard output", 0},
	{0},
};

static const char doc[] =
	"Moves the KV caches of a trace's requests from prefill to decode ranks, and compares them."
	"\vTRACE.jsonl has one request per line: {\"timestamp\": ms, \"input_length\": tokens, "
	"\"output_length\": tokens, \"hash_ids\": [one per 512 tokens]}; by default a small one "
	"that "
	"comes with the program. All ranks must be able to read it.\n\n"
	"Exit status: 0 all bytes right; 1 something failed, or a byte was wrong; 2 wrong "
	"arguments "
	"or input.";

static const char *option_name(int key)
{
	const struct argp_option *option = options;

	while (option->key != key)
		option++;
	return option->name;
}

static error_t whole_number(struct argp_state *state, int key, const char *arg, uint32_t max,
                            uint32_t *out)
{
	unsigned long long value;
	char *end;

	errno = 0;
	value = strtoull(arg, &end, 10);
	if (*arg < '0' || *arg > '9' || *end || errno || value < 1 || value > max) {
		argp_error(state, "--%s '%s' is not a whole number from 1 to %u", option_name(key),
		           arg, max);
		return EINVAL;
	}
	*out = (uint32_t)value;
	return 0;
}

static error_t positive(struct argp_state *state, int key, const char *arg, double max, double *out)
{
	char *end;

	*out = strtod(arg, &end);
	if (*arg && !*end && isfinite(*out) && *out > 0 && *out <= max)
		return 0;
	argp_error(state, "--%s '%s' is not a number above 0 and up to %g", option_name(key), arg,
	           max);
	return EINVAL;
}

static error_t parse_verify(struct argp_state *state, const char *arg, enum replay_verify *out)
{
	static const char *const names[] = {
		[VERIFY_FULL] = "full", [VERIFY_SAMPLE] = "sample", [VERIFY_OFF] = "off"};

	for (int i = VERIFY_FULL; i <= VERIFY_OFF; i++) {
		if (strcmp(arg, names[i]))
			continue;
		*out = (enum replay_verify)i;
		return 0;
	}
	argp_error(state, "--verify '%s' is none of full, sample, off", arg);
	return EINVAL;
}

static error_t parse_number(int key, char *arg, struct argp_state *state)
{
	struct replay_options *o = state->input;

	switch (key) {
	case PREFILL:
		return whole_number(state, key, arg, RANKS_MAX, &o->prefill);
	case DECODE:
		return whole_number(state, key, arg, RANKS_MAX, &o->decode);
	case BLOCK_TOKENS:
		return whole_number(state, key, arg, BLOCK_TOKENS_MAX, &o->block_tokens);
	case LIMIT:
		return whole_number(state, key, arg, UINT32_MAX, &o->limit);
	case SPOIL:
		return whole_number(state, key, arg, UINT32_MAX, &o->spoil);
	case CACHE_GIB:
		return positive(state, key, arg, CACHE_GIB_MAX, &o->cache_gib);
	case STALL:
		return positive(state, key, arg, STALL_MAX, &o->stall_seconds);
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static error_t parse_key(int key, char *arg, struct argp_state *state)
{
	struct replay_options *o = state->input;

	switch (key) {
	case MODEL:
		o->model = arg;
		return 0;
	case VERIFY:
		return parse_verify(state, arg, &o->verify);
	case 'j':
		o->json = true;
		return 0;
	case ARGP_KEY_ARG:
		if (state->arg_num) {
			argp_error(state, "one trace only: '%s' is too many", arg);
			return EINVAL;
		}
		o->trace = arg;
		return 0;
	default:
		return parse_number(key, arg, state);
	}
}

const struct argp replay_argp = {options, parse_key, "[TRACE.jsonl]", doc, NULL, NULL, NULL};

/* In the build tree the one of the sources; installed, the one that was installed along. */
static const char *default_trace(void)
{
	return access(KVRAIL_SOURCE_TRACES "/sample.jsonl", R_OK) ? KVRAIL_TRACES "/sample.jsonl"
	                                                          : KVRAIL_SOURCE_TRACES
	               "/sample.jsonl";
}

void replay_options_init(struct replay_options *o)
{
	*o = (struct replay_options){
		.prefill = 1,
		.decode = 1,
		.block_tokens = 16,
		.model = "qwen2.5-0.5b",
		.trace = default_trace(),
		.stall_seconds = 120,
	};
}

static int check_ranks(const struct app *app, const struct replay_options *o, char *why, size_t len)
{
	uint32_t wanted = o->prefill + o->decode;

	if ((uint32_t)app->nranks == wanted)
		return 0;
	snprintf(why, len,
	         "--prefill %u and --decode %u need %u ranks, but this job has %d: start it with "
	         "mpirun -n %u kvrail replay --prefill %u --decode %u",
	         o->prefill, o->decode, wanted, app->nranks, wanted, o->prefill, o->decode);
	return -EINVAL;
}

/* What the trace asks of a cache, in blocks of all layers. */
struct demand {
	uint64_t block_bytes;
	uint64_t largest, total;
	size_t largest_request;
};

static int measure(const struct replay_input *in, struct demand *d, char *why, size_t len)
{
	uint32_t per_block = in->options.block_tokens;
	uint64_t ignored;

	*d = (struct demand){.block_bytes = model_bytes_per_token(&in->model) * per_block};
	for (size_t i = 0; i < in->trace.count; i++) {
		uint32_t tokens = in->trace.requests[i].input_length;
		uint64_t blocks = tokens / per_block + (tokens % per_block != 0);

		d->total += blocks;
		if (blocks <= d->largest)
			continue;
		d->largest = blocks;
		d->largest_request = i;
	}
	if (!__builtin_mul_overflow(d->block_bytes, 2 * d->largest, &ignored))
		return 0;
	snprintf(why, len, "request %zu has %u tokens: too many for model %s",
	         d->largest_request + 1, in->trace.requests[d->largest_request].input_length,
	         in->model.name);
	return -EOVERFLOW;
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

static int check_cache(const struct replay_input *in, const struct demand *d, char *why, size_t len)
{
	uint64_t needed = d->largest * d->block_bytes;
	char has[32], needs[32];

	if (in->cache_bytes >= needed)
		return 0;
	/* Rounded up: what is advised must do. */
	snprintf(why, len,
	         "a cache of %s per rank is too small for request %zu, which needs %s (%u tokens "
	         "of %s): use --cache-gib %.2f or more, or --limit",
	         human_bytes(in->cache_bytes, has), d->largest_request + 1,
	         human_bytes(needed, needs), in->trace.requests[d->largest_request].input_length,
	         in->model.name, ceil((double)needed / GIB * 100) / 100);
	return -ENOSPC;
}

static int check_memory(const struct app *app, const struct replay_input *in, char *why, size_t len)
{
	double memory = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
	char each[32], all[32];

	if ((double)in->cache_bytes * app->ranks_here <= memory)
		return 0;
	snprintf(why, len,
	         "%d ranks on one host with a cache of %s each do not fit in its %s of memory: use "
	         "--limit, a smaller model, a smaller --cache-gib, or more hosts",
	         app->ranks_here, human_bytes(in->cache_bytes, each),
	         human_bytes((uint64_t)memory, all));
	return -ENOMEM;
}

static int load(const struct app *app, struct replay_input *in, char *why, size_t len)
{
	const struct replay_options *o = &in->options;
	struct demand demand;
	int rc = check_ranks(app, o, why, len);

	if (!rc)
		rc = model_find(o->model, &in->model, why, len);
	if (!rc)
		rc = trace_load(o->trace, o->limit, &in->trace, why, len);
	if (!rc)
		rc = measure(in, &demand, why, len);
	if (rc)
		return rc;
	in->max_blocks = (uint32_t)demand.largest;
	in->cache_bytes = o->cache_gib > 0 ? (uint64_t)(o->cache_gib * GIB) : choose_cache(&demand);
	rc = check_cache(in, &demand, why, len);
	return rc ? rc : check_memory(app, in, why, len);
}

int replay_input_load(const struct app *app, struct replay_input *in)
{
	char why[1024] = "";
	int rc = load(app, in, why, sizeof(why));

	return app_agree(app, rc ? why : NULL);
}

void replay_input_free(struct replay_input *in)
{
	trace_free(&in->trace);
}
