/* SPDX-License-Identifier: MIT
 * The settings of one context: options, else environment, else defaults. */
#include "config.h"
#include "log.h"
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum setting_id {
	PROVIDER,
	RAILS,
	MAPPING,
	PIECE_BYTES,
	WINDOW_BYTES,
	QUEUE_DEPTH,
	COUNTERS,
	PEER_TIMEOUT,
	WRITE_MODE,
	PROGRESS_THREADS,
	LOG_LEVEL
};

/* One row per variable: all there is to know about it, also for kvrail info. */
static const struct setting {
	const char *name, *type, *fallback;
	uint64_t min, max;
	const char *help;
} settings[] = {
	[PROVIDER] = {"KVR_PROVIDER", "text", "", 0, 0,
                      "libfabric provider; empty: efa, else the first of net, tcp, tcp;ofi_rxm, "
                      "shm that has a rail"},
	[RAILS] = {"KVR_RAILS", "list", "", 0, 0,
                   "rails to use: names or globs, comma separated; a leading ^ excludes them"},
	[MAPPING] = {"KVR_MAPPING", "path", "", 0, 0,
                     "JSON with other distances from memories to rails than were measured: what "
                     "`kvrail info --json' wrote, changed"},
	[PIECE_BYTES] = {"KVR_PIECE_BYTES", "bytes", "65536", 4096, CONFIG_PIECE_MAX,
                         "cut no piece smaller than this"},
	[WINDOW_BYTES] = {"KVR_WINDOW_BYTES", "bytes", "4194304", 65536, 1ull << 32,
                          "bytes in flight per rail"},
	[QUEUE_DEPTH] = {"KVR_QUEUE_DEPTH", "number", "32", 1, 1024, "pieces in flight per rail"},
	[COUNTERS] = {"KVR_COUNTERS", "number", "1024", 1, 1u << 20, "arrival counters"},
	[PEER_TIMEOUT] = {"KVR_PEER_TIMEOUT", "ms", "5000", 100, 3600000,
                          "silence after which a peer from which something is wanted is dead"},
	[WRITE_MODE] = {"KVR_WRITE_MODE", "text", "auto", 0, 0,
                        "who moves the bytes of a write: push (its initiator), pull (its target "
                        "reads them), auto (pull where the provider only imitates writes)"},
	[PROGRESS_THREADS] = {"KVR_PROGRESS_THREADS", "text", "1", 0, 0,
                              "threads of the library's own that move data: 1, node (one per NUMA "
                              "node with rails, beside these), 0 (none: calls that wait do)"},
	[LOG_LEVEL] = {"KVR_LOG", "number", "1", 0, 3,
                       "what goes to standard error: 0 errors, 1 warnings, 2 information, "
                       "3 detail"},
};

#define SETTINGS (sizeof(settings) / sizeof(settings[0]))

static const char *setting_value(enum setting_id id)
{
	const char *value = getenv(settings[id].name);

	return value && *value ? value : settings[id].fallback;
}

int kvr_setting_get(size_t index, struct kvr_setting *out)
{
	if (index >= SETTINGS)
		return -ENOENT;
	*out = (struct kvr_setting){
		.name = settings[index].name,
		.type = settings[index].type,
		.value = setting_value(index),
		.fallback = settings[index].fallback,
		.help = settings[index].help,
	};
	return 0;
}

static int check_range(enum setting_id id, const char *origin, uint64_t value)
{
	const struct setting *s = &settings[id];

	if (value >= s->min && value <= s->max)
		return 0;
	log_error("%s %s: %llu is not between %llu and %llu (%s)", origin, s->name,
	          (unsigned long long)value, (unsigned long long)s->min, (unsigned long long)s->max,
	          s->help);
	return -EINVAL;
}

/* `option` wins where it is not zero. */
static int load_number(enum setting_id id, uint64_t option, uint64_t *out)
{
	const char *text = setting_value(id);
	char *end;

	if (option) {
		*out = option;
		return check_range(id, "option for", option);
	}
	errno = 0;
	*out = strtoull(text, &end, 10);
	if (errno || *end || strchr(text, '-')) {
		log_error("environment %s: \"%s\" is not a number (%s)", settings[id].name, text,
		          settings[id].help);
		return -EINVAL;
	}
	return check_range(id, "environment", *out);
}

static int load_text(enum setting_id id, const char *option, char *out, size_t len)
{
	const char *text = option && *option ? option : setting_value(id);

	if (strlen(text) >= len) {
		log_error("%s: longer than %zu characters", settings[id].name, len - 1);
		return -EINVAL;
	}
	strcpy(out, text);
	return 0;
}

static int load_write_mode(int option, enum kvr_write_mode *out)
{
	static const char *const names[] = {
		[KVR_AUTO] = "auto", [KVR_PUSH] = "push", [KVR_PULL] = "pull"};
	const char *text = setting_value(WRITE_MODE);

	if (option > KVR_AUTO && option <= KVR_PULL) {
		*out = option;
		return 0;
	}
	for (int i = KVR_AUTO; !option && i <= KVR_PULL; i++) {
		if (!strcmp(text, names[i])) {
			*out = i;
			return 0;
		}
	}
	if (option)
		log_error("kvr_options.write_mode is %d: KVR_AUTO, KVR_PUSH or KVR_PULL is wanted",
		          option);
	else
		log_error("environment %s: \"%s\" is none of auto, push, pull",
		          settings[WRITE_MODE].name, text);
	return -EINVAL;
}

static int load_threads(int option, int *out)
{
	const char *text = setting_value(PROGRESS_THREADS);

	if (option == 1 || option == KVR_THREADS_NONE || option == KVR_THREADS_PER_NODE)
		*out = option;
	else if (!option && !strcmp(text, "0"))
		*out = KVR_THREADS_NONE;
	else if (!option && !strcmp(text, "1"))
		*out = 1;
	else if (!option && !strcmp(text, "node"))
		*out = KVR_THREADS_PER_NODE;
	else if (option) {
		log_error("kvr_options.progress_threads is %d: 1, KVR_THREADS_NONE or "
		          "KVR_THREADS_PER_NODE is wanted",
		          option);
		return -EINVAL;
	} else {
		log_error("environment %s: \"%s\" is none of 0, 1, node",
		          settings[PROGRESS_THREADS].name, text);
		return -EINVAL;
	}
	return 0;
}

/* Copies what the caller's version of the struct has; a newer caller's extra must be zero. */
static int load_options(const struct kvr_options *user, struct kvr_options *out)
{
	const unsigned char *bytes = (const void *)user;

	memset(out, 0, sizeof(*out));
	if (!user)
		return 0;
	if (user->size < sizeof(user->size)) {
		log_error("kvr_options.size is %zu: set it to sizeof(struct kvr_options)",
		          user->size);
		return -EINVAL;
	}
	for (size_t i = sizeof(*out); i < user->size; i++) {
		if (bytes[i]) {
			log_error("kvr_options has %zu bytes, this library knows %zu: an option "
			          "is set that it does not have",
			          user->size, sizeof(*out));
			return -E2BIG;
		}
	}
	memcpy(out, user, user->size < sizeof(*out) ? user->size : sizeof(*out));
	return 0;
}

/* A quarter of the window: more than one piece is to be in flight, however small it is. */
static uint64_t piece_max(const struct config *config)
{
	uint64_t quarter = config->window_bytes / 4 & ~UINT64_C(4095);

	if (quarter > CONFIG_PIECE_MAX)
		return CONFIG_PIECE_MAX;
	return quarter > config->piece_bytes ? quarter : config->piece_bytes;
}

int config_load(const struct kvr_options *user, struct config *out)
{
	struct kvr_options options;
	uint64_t depth, counters, timeout, level;
	int rc;

	if ((rc = load_number(LOG_LEVEL, 0, &level)))
		return rc;
	log_set_level(level);
	if ((rc = load_options(user, &options)) ||
	    (rc = load_text(PROVIDER, options.provider, out->provider, sizeof(out->provider))) ||
	    (rc = load_text(RAILS, options.rails, out->rails, sizeof(out->rails))) ||
	    (rc = load_text(MAPPING, options.mapping, out->mapping, sizeof(out->mapping))) ||
	    (rc = load_number(PIECE_BYTES, options.piece_bytes, &out->piece_bytes)) ||
	    (rc = load_number(WINDOW_BYTES, 0, &out->window_bytes)) ||
	    (rc = load_number(QUEUE_DEPTH, options.queue_depth, &depth)) ||
	    (rc = load_number(COUNTERS, options.counters, &counters)) ||
	    (rc = load_number(PEER_TIMEOUT, options.peer_timeout_ms, &timeout)) ||
	    (rc = load_write_mode(options.write_mode, &out->write_mode)) ||
	    (rc = load_threads(options.progress_threads, &out->progress_threads)))
		return rc;
	out->piece_max = piece_max(out);
	out->queue_depth = depth;
	out->counters = counters;
	out->peer_timeout_ms = timeout;
	return 0;
}
