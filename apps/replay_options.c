/* SPDX-License-Identifier: MIT
 * kvrail replay: its command line. */
#include "replay.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RANKS_MAX        4096 /* of one kind; the library's limit is 8,192 peers */
#define BLOCK_TOKENS_MAX 65536
#define CLOSED_MAX       1024
#define CACHE_GIB_MAX    (1 << 20)
#define NUMBER_MAX       1e6

enum {
	PREFILL = 256,
	DECODE,
	TP_PREFILL,
	TP_DECODE,
	PP_PREFILL,
	MODEL,
	BLOCK_TOKENS,
	LAYOUT,
	CACHE_GIB,
	PREFIX,
	LIMIT,
	SPEEDUP,
	CLOSED,
	CANCEL,
	LAYERWISE,
	COMPUTE,
	VERIFY,
	PLOT,
	CSV,
	RAIL_GBPS,
	STALL,
	SPOIL,
};

static const struct argp_option options[] = {
	{NULL, 0, NULL, 0, "Ranks and caches (P:D is one for prefill and one for decode):", 1},
	{"prefill", PREFILL, "P", 0, "Prefill ranks, the first P (default 1)", 0},
	{"decode", DECODE, "D", 0, "Decode ranks, the other D (default 1)", 0},
	{"tp-prefill", TP_PREFILL, "N", 0,
         "Prefill ranks that share the heads of a layer (default 1)", 0},
	{"tp-decode", TP_DECODE, "N", 0, "The same of decode ranks (default 1)", 0},
	{"pp-prefill", PP_PREFILL, "N", 0,
         "Pipeline stages of prefill, of --tp-prefill ranks each (default 1)", 0},
	{"model", MODEL, "NAME|FILE", 0,
         "A known model or a Hugging Face config.json (default qwen2.5-0.5b)", 0},
	{"block-tokens", BLOCK_TOKENS, "N|P:D", 0, "Tokens in one block of the cache (default 16)",
         0},
	{"layout", LAYOUT, "L|P:D", 0,
         "Order of the cache: nhd (default), hnd, or l, p, b, t, h (layer, K or V, block, token, "
         "head) from the outermost in: nhd is lbpth, hnd lbpht",
         0},
	{"cache-gib", CACHE_GIB, "X", 0,
         "Cache of one rank in GiB (default: room for the largest request and a few small ones)",
         0},
	{"prefix", PREFIX, NULL, 0,
         "Keep prompts' KV on the decode ranks, and send only what is not there yet", 0},
	{NULL, 0, NULL, 0, "Requests:", 2},
	{"limit", LIMIT, "N", 0, "Replay only the first N requests (default all)", 0},
	{"speedup", SPEEDUP, "X", 0,
         "Begin requests at their times in the trace, X times as fast (default: at once)", 0},
	{"closed", CLOSED, "N", 0, "N requests under way at each prefill instance", 0},
	{"cancel", CANCEL, "PERCENT", 0,
         "Cancel so many of the requests while their KV is moved, and see that nothing comes later",
         0},
	{"layerwise", LAYERWISE, NULL, 0, "Write each layer as soon as it is computed", 0},
	{"compute-ms-per-layer", COMPUTE, "X", 0, "What prefill needs for a layer of a request", 0},
	{NULL, 0, NULL, 0, "Results:", 3},
	{"verify", VERIFY, "full|sample|off", 0,
         "Compare every byte (default), four tokens of every block, or nothing", 0},
	{"plot", PLOT, "FILE", 0, "Draw the latency of each request against its size, as SVG", 0},
	{"csv", CSV, "FILE", 0, "Write size, time and latency of each request", 0},
	{"rail-gbps", RAIL_GBPS, "X", 0,
         "Gb/s of each rail, for the ideal (default: as the devices say)", 0},
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
	"that comes with the program. All ranks must be able to read it.\n\n"
	"The P ranks are P / (TP x PP) prefill instances of the model, the D ranks D / TP decode "
	"instances; a request goes from one of the former to one of the latter, and every rank "
	"compares its own shard.\n\n"
	"Exit status: 0 all bytes right; 1 something failed, or a byte was wrong; 2 wrong "
	"arguments or input.";

static const char *option_name(int key)
{
	const struct argp_option *option = options;

	while (option->key != key)
		option++;
	return option->name;
}

/* Reads a number up to `end`, which must stand there. */
static bool read_number(const char *arg, const char *stop, uint32_t max, uint32_t *out)
{
	unsigned long long value;
	char *end;

	errno = 0;
	value = strtoull(arg, &end, 10);
	if (*arg < '0' || *arg > '9' || end != stop || errno || value < 1 || value > max)
		return false;
	*out = (uint32_t)value;
	return true;
}

static error_t whole_number(struct argp_state *state, int key, const char *arg, uint32_t max,
                            uint32_t *out)
{
	if (read_number(arg, arg + strlen(arg), max, out))
		return 0;
	argp_error(state, "--%s '%s' is not a whole number from 1 to %u", option_name(key), arg,
	           max);
	return EINVAL;
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

static error_t parse_blocks(struct argp_state *state, const char *arg, struct replay_options *o)
{
	const char *colon = strchrnul(arg, ':');
	const char *decode = *colon ? colon + 1 : arg;

	if (read_number(arg, colon, BLOCK_TOKENS_MAX, &o->prefill.block_tokens) &&
	    read_number(decode, decode + strlen(decode), BLOCK_TOKENS_MAX, &o->decode.block_tokens))
		return 0;
	argp_error(state, "--block-tokens '%s' is not a whole number from 1 to %u, nor two as P:D",
	           arg, BLOCK_TOKENS_MAX);
	return EINVAL;
}

/* Each of l, p, b, t, h once; what makes sense of it is kvr_layout_pack's to say. */
static bool read_order(const char *arg, size_t len, char order[static 6])
{
	static const char *const names[][2] = {{"nhd", "lbpth"}, {"hnd", "lbpht"}};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (len == strlen(names[i][0]) && !strncmp(arg, names[i][0], len)) {
			memcpy(order, names[i][1], 6);
			return true;
		}
	for (const char *c = "lpbth"; *c; c++)
		if (len != 5 || !memchr(arg, *c, len))
			return false;
	memcpy(order, arg, len);
	order[len] = 0;
	return true;
}

static error_t parse_layout(struct argp_state *state, const char *arg, struct replay_options *o)
{
	const char *colon = strchrnul(arg, ':');
	const char *decode = *colon ? colon + 1 : arg;

	if (read_order(arg, (size_t)(colon - arg), o->prefill.order) &&
	    read_order(decode, strlen(decode), o->decode.order))
		return 0;
	argp_error(state,
	           "--layout '%s' is none of nhd, hnd, or an order of the letters lpbth, nor two "
	           "of them as P:D",
	           arg);
	return EINVAL;
}

static error_t parse_number(int key, char *arg, struct argp_state *state)
{
	struct replay_options *o = state->input;

	switch (key) {
	case PREFILL:
		return whole_number(state, key, arg, RANKS_MAX, &o->prefill.ranks);
	case DECODE:
		return whole_number(state, key, arg, RANKS_MAX, &o->decode.ranks);
	case TP_PREFILL:
		return whole_number(state, key, arg, RANKS_MAX, &o->prefill.tp);
	case TP_DECODE:
		return whole_number(state, key, arg, RANKS_MAX, &o->decode.tp);
	case PP_PREFILL:
		return whole_number(state, key, arg, RANKS_MAX, &o->prefill.pp);
	case LIMIT:
		return whole_number(state, key, arg, UINT32_MAX, &o->limit);
	case CLOSED:
		return whole_number(state, key, arg, CLOSED_MAX, &o->closed);
	case CANCEL:
		return whole_number(state, key, arg, 100, &o->cancel);
	case SPOIL:
		return whole_number(state, key, arg, UINT32_MAX, &o->spoil);
	case CACHE_GIB:
		return positive(state, key, arg, CACHE_GIB_MAX, &o->cache_gib);
	case SPEEDUP:
		return positive(state, key, arg, NUMBER_MAX, &o->speedup);
	case COMPUTE:
		return positive(state, key, arg, NUMBER_MAX, &o->layer_ms);
	case RAIL_GBPS:
		return positive(state, key, arg, NUMBER_MAX, &o->rail_gbps);
	case STALL:
		return positive(state, key, arg, NUMBER_MAX, &o->stall_seconds);
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
	case PLOT:
		o->plot = arg;
		return 0;
	case CSV:
		o->csv = arg;
		return 0;
	case VERIFY:
		return parse_verify(state, arg, &o->verify);
	case BLOCK_TOKENS:
		return parse_blocks(state, arg, o);
	case LAYOUT:
		return parse_layout(state, arg, o);
	case PREFIX:
		o->prefix = true;
		return 0;
	case LAYERWISE:
		o->layerwise = true;
		return 0;
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
	static const struct group one = {
		.ranks = 1, .tp = 1, .pp = 1, .block_tokens = 16, .order = "lbpth"};

	memset(o, 0, sizeof(*o)); /* also what lies between: ranks compare their groups */
	o->prefill = one;
	o->decode = one;
	o->model = "qwen2.5-0.5b";
	o->trace = default_trace();
	o->stall_seconds = 120;
}
