/* SPDX-License-Identifier: MIT
 * kvrail bench: its command line, and whether this job can do what it asks for. */
#include "bench.h"
#include "fabric.h"
#include <errno.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define SIZE_MOST    (1ull << 48)
#define DEPTH_MAX    1024
#define SECONDS_MOST 86400.0

enum { OP = 256, LAYOUT, BLOCK_SIZE, DURATION, RAILS, RAW_RAILS, DEPTH, SPOIL };

static const struct argp_option options[] = {
	{"op", OP, "write|read|both", 0, "What rank 0 does (default both)", 0},
	{"layout", LAYOUT, "paged|contiguous|both", 0,
         "Blocks in shuffled order, or one after the other (default both)", 0},
	{"size", BLOCK_SIZE, "LIST", 0,
         "Bytes of a block: numbers with K, M, G or KiB, MiB, GiB, comma separated (default "
         "4K,16K,64K,256K,1M,4M,16M)",
         0},
	{"duration", DURATION, "SECONDS", 0,
         "Time of a row, half for kvrail, half for the bare loop (default 1)", 0},
	{"rails", RAILS, "LIST", 0,
         "Rails for kvrail: names or globs, comma separated; a leading ^ excludes them (default "
         "KVR_RAILS, or all)",
         0},
	{"raw-rails", RAW_RAILS, "N|all", 0,
         "Rails for the bare loop: the first N of kvrail's, or all of them (default 1)", 0},
	{"depth", DEPTH, "N", 0, "Operations in flight per rail (default KVR_QUEUE_DEPTH)", 0},
	{"spoil", SPOIL, NULL, OPTION_HIDDEN, "Damage one byte of each row: it must be found", 0},
	{"json", 'j', NULL, 0, "Lines of JSON on standard output", 0},
	{0},
};

static const char doc[] =
	"Write and read rates of kvrail between two ranks, beside those of a bare libfabric loop."
	"\vStart it with mpirun -n 2. Rank 0 writes to rank 1 and reads from it. The bare loop is "
	"fi_write or fi_read on the first rail alone, or on the first --raw-rails, on endpoints of "
	"its own, over the same order of blocks, with as much in flight on a rail as kvrail has: "
	"--depth operations, but not above KVR_WINDOW_BYTES, and at least one. Its writes are "
	"followed by a small read, so that its time, too, ends when the bytes are there. It and "
	"kvrail take turns in short slices. "
	"p50 and p99 are those of one operation at a time. What kvrail moved is compared byte for "
	"byte.\n\n"
	"Exit status: 0 all bytes right; 1 something failed, or a byte was wrong; 2 wrong "
	"arguments.";

/* One of an option's two names, or both. */
static error_t parse_choice(struct argp_state *state, const char *arg, const char *const names[3],
                            bool chosen[2])
{
	bool both = !strcmp(arg, "both");

	chosen[0] = both || !strcmp(arg, names[0]);
	chosen[1] = both || !strcmp(arg, names[1]);
	if (chosen[0] || chosen[1])
		return 0;
	argp_error(state, "%s '%s' is none of %s, %s, both", names[2], arg, names[0], names[1]);
	return EINVAL;
}

/* 0, or -EINVAL. */
static int parse_size(const char *text, uint64_t *out)
{
	static const struct {
		const char *name;
		unsigned int shift;
	} units[] = {{"", 0},     {"K", 10}, {"KiB", 10}, {"M", 20},
	             {"MiB", 20}, {"G", 30}, {"GiB", 30}};
	char *end;

	errno = 0;
	*out = strtoull(text, &end, 10);
	if (*text < '0' || *text > '9' || errno)
		return -EINVAL;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcasecmp(end, units[i].name))
			continue;
		if (!*out || *out > SIZE_MOST >> units[i].shift)
			return -EINVAL;
		*out <<= units[i].shift;
		return 0;
	}
	return -EINVAL;
}

static error_t parse_sizes(struct argp_state *state, const char *arg, struct bench_options *o)
{
	char *copy = strdup(arg), *rest = copy, *token;
	error_t rc = copy ? 0 : ENOMEM;

	o->size_count = 0;
	while (!rc && (token = strsep(&rest, ","))) {
		if (o->size_count == BENCH_SIZES_MAX) {
			argp_error(state, "--size: more than %d sizes", BENCH_SIZES_MAX);
			rc = EINVAL;
		} else if (parse_size(token, &o->sizes[o->size_count++])) {
			argp_error(state,
			           "--size '%s' is not a size such as 4096, 64K or 1MiB, above 0",
			           token);
			rc = EINVAL;
		}
	}
	free(copy);
	return rc;
}

static error_t parse_seconds(struct argp_state *state, const char *arg, double *out)
{
	char *end;

	*out = strtod(arg, &end);
	if (*arg && !*end && isfinite(*out) && *out > 0 && *out <= SECONDS_MOST)
		return 0;
	argp_error(state, "--duration '%s' is not a number above 0 and up to %.0f", arg,
	           SECONDS_MOST);
	return EINVAL;
}

static error_t parse_depth(struct argp_state *state, const char *arg, uint32_t *out)
{
	char *end;
	unsigned long value = strtoul(arg, &end, 10);

	*out = (uint32_t)value;
	if (*arg >= '0' && *arg <= '9' && !*end && value >= 1 && value <= DEPTH_MAX)
		return 0;
	argp_error(state, "--depth '%s' is not a whole number from 1 to %d", arg, DEPTH_MAX);
	return EINVAL;
}

static error_t parse_raw_rails(struct argp_state *state, const char *arg, unsigned int *out)
{
	char *end;
	unsigned long value = strtoul(arg, &end, 10);

	*out = (unsigned int)value;
	if (*arg >= '0' && *arg <= '9' && !*end && value >= 1 && value <= KVR_MAX_RAILS)
		return 0;
	*out = RAW_RAILS_ALL;
	if (!strcmp(arg, "all"))
		return 0;
	argp_error(state, "--raw-rails '%s' is neither a whole number from 1 to %d nor 'all'", arg,
	           KVR_MAX_RAILS);
	return EINVAL;
}

static error_t parse_key(int key, char *arg, struct argp_state *state)
{
	static const char *const ops[] = {"write", "read", "--op"};
	static const char *const layouts[] = {"paged", "contiguous", "--layout"};
	struct bench_options *o = state->input;

	switch (key) {
	case OP:
		return parse_choice(state, arg, ops, o->reads);
	case LAYOUT:
		return parse_choice(state, arg, layouts, o->contiguous);
	case BLOCK_SIZE:
		return parse_sizes(state, arg, o);
	case DURATION:
		return parse_seconds(state, arg, &o->seconds);
	case RAILS:
		o->rails = arg;
		return 0;
	case RAW_RAILS:
		return parse_raw_rails(state, arg, &o->raw_rails);
	case DEPTH:
		return parse_depth(state, arg, &o->depth);
	case SPOIL:
		o->spoil = true;
		return 0;
	case 'j':
		o->json = true;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "unexpected argument '%s'", arg);
		return EINVAL;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

const struct argp bench_argp = {options, parse_key, NULL, doc, NULL, NULL, NULL};

void bench_options_init(struct bench_options *o)
{
	*o = (struct bench_options){
		.reads = {true, true},
		.contiguous = {true, true},
		.seconds = 1,
		.raw_rails = 1,
	};
	for (uint64_t size = 4096; size <= 16u << 20; size *= 4)
		o->sizes[o->size_count++] = size;
}

static const char *setting_text(const char *name)
{
	struct kvr_setting setting;

	for (size_t i = 0; !kvr_setting_get(i, &setting); i++)
		if (!strcmp(setting.name, name))
			return setting.value;
	return "";
}

uint64_t bench_setting(const char *name)
{
	return strtoull(setting_text(name), NULL, 10);
}

static int check_memory(const struct app *app, const struct bench_options *o, char *why, size_t len)
{
	/* Twice: kvrail and the bare loop each have their own. */
	double wanted = 2.0 * app->ranks_here * (double)bench_memory_bytes(o);
	double memory = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
	char size[32], wants[32], has[32];
	uint64_t largest = 0;

	if (wanted <= memory)
		return 0;
	for (unsigned int i = 0; i < o->size_count; i++)
		if (o->sizes[i] > largest)
			largest = o->sizes[i];
	snprintf(why, len,
	         "--size: blocks of %s need %s on this host, which has %s: use smaller ones",
	         human_bytes(largest, size), human_bytes((uint64_t)wanted, wants),
	         human_bytes((uint64_t)memory, has));
	return -ENOMEM;
}

static bool any_matches(const struct fabric_list *list, const char *pattern)
{
	for (unsigned int i = 0; i < list->count; i++)
		if (!fnmatch(pattern, list->offers[i].name, 0))
			return true;
	return false;
}

static void say_no_rail(const struct fabric_list *list, const char *pattern, char *why, size_t len)
{
	size_t at = (size_t)snprintf(why, len, "--rails '%s' is no rail of %s, which has:", pattern,
	                             list->provider);

	for (unsigned int i = 0; i < list->count && at < len; i++)
		at += (size_t)snprintf(why + at, len - at, " %s", list->offers[i].name);
}

/* kvr_open would refuse a list that leaves none, but not a name in it that is none; and to it that
 * is no matter of the command line. A provider that is not there is for kvr_open to say. */
static int check_rails(const char *rails, char *why, size_t len)
{
	char *copy = rails ? strdup(rails) : NULL, *rest = copy, *token;
	struct fabric_list list;
	char ignored[FABRIC_WHY];
	int rc = 0;

	if (!copy || *copy == '^' ||
	    fabric_libfabric.list(setting_text("KVR_PROVIDER"), &list, ignored)) {
		free(copy);
		return 0;
	}
	while (!rc && (token = strsep(&rest, ",")))
		if (!any_matches(&list, token)) {
			say_no_rail(&list, token, why, len);
			rc = -ENODEV;
		}
	fabric_libfabric.list_close(&list);
	free(copy);
	return rc;
}

int bench_options_check(const struct app *app, const struct bench_options *o)
{
	char why[512] = "";
	int rc = 0;

	if (app->nranks != 2) {
		snprintf(why, sizeof(why),
		         "bench needs 2 ranks, but this job has %d: start it with mpirun -n 2 "
		         "kvrail bench",
		         app->nranks);
		rc = -EINVAL;
	}
	if (!rc)
		rc = check_memory(app, o, why, sizeof(why));
	if (!rc)
		rc = check_rails(o->rails, why, sizeof(why));
	return app_agree(app, rc ? why : NULL);
}

int bench_raw_rails(const struct app *app, const struct bench_options *o)
{
	int mine = kvr_rail_count(app->kvr), all[2], fewer, rc;

	rc = kvr_allgather(app->kvr, &mine, all, sizeof(mine));
	if (rc)
		app_abort(app, "exchange of numbers of rails: %s", kvr_strerror(rc));
	fewer = all[1] < all[0];
	if (o->raw_rails == RAW_RAILS_ALL)
		return all[fewer];
	if (o->raw_rails <= (unsigned int)all[fewer])
		return (int)o->raw_rails;
	if (!app->rank)
		app_error("--raw-rails %u: rank %d has %d rail%s: use at most that, or 'all'",
		          o->raw_rails, fewer, all[fewer], all[fewer] == 1 ? "" : "s");
	return -EINVAL;
}
