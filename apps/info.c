/* SPDX-License-Identifier: MIT
 * kvrail info: this host's rails, where they sit, the provider, and the environment's settings; or
 * where the rails of another machine sit. */
#include "info.h"
#include "config.h"
#include "mapping.h"
#include "topology.h"
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_SVG = 256, KEY_MEMORY, KEY_MAPPING, KEY_RANK };

static const struct argp_option options[] = {
	{"json", 'j', NULL, 0, "One line of JSON on standard output", 0},
	{"topology", 't', "FILE", 0, "Of the machine that hwloc (lstopo FILE.xml) wrote this of",
         0},
	{"svg", KEY_SVG, "FILE", 0, "Write a picture of the machine there", 0},
	{"memory", KEY_MEMORY, "cpu:NODE|gpu:INDEX", 0,
         "Only say which rails carry this memory's bytes, first to last, and why", 0},
	{"rank", KEY_RANK, "I/N", 0,
         "With --memory: for rank I, from 0, of the N on the machine; default 0/1", 0},
	{"mapping", KEY_MAPPING, "FILE", 0,
         "Distances from what `kvrail info --json' wrote and you changed", 0},
	{0},
};

struct info {
	struct app app;
	const char *topology, *svg, *memory, *mapping;
	struct affinity_place place;
	struct affinity_share share;
	struct machine machine;
	struct affinity_map map; /* the machine's, or what a mapping makes of it */
};

static bool parse_rank(const char *text, struct affinity_share *out)
{
	char end;

	/* No machine has more: of counts without end, sums and products would overflow. */
	return sscanf(text, "%5u/%5u%c", &out->ordinal, &out->count, &end) == 2 &&
	       out->ordinal < out->count && strspn(text, "0123456789/") == strlen(text);
}

static error_t parse_key(int key, char *arg, struct argp_state *state)
{
	struct info *info = state->input;

	switch (key) {
	case 'j':
		info->app.json = true;
		return 0;
	case 't':
		info->topology = arg;
		return 0;
	case KEY_SVG:
		info->svg = arg;
		return 0;
	case KEY_MAPPING:
		info->mapping = arg;
		return 0;
	case KEY_MEMORY:
		info->memory = arg;
		if (affinity_place_parse(arg, &info->place))
			argp_error(state, "--memory %s: it takes cpu:NODE or gpu:INDEX", arg);
		return 0;
	case KEY_RANK:
		if (!parse_rank(arg, &info->share))
			argp_error(state, "--rank %s: it takes I/N, with I from 0 to N - 1", arg);
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "unexpected argument '%s'", arg);
		return EINVAL;
	case ARGP_KEY_END:
		if (info->share.count && !info->memory)
			argp_error(state, "--rank says nothing without --memory");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* 200 Gb/s; "-" where the provider does not say. */
static const char *speed(uint64_t bits_per_second, char buf[static 32])
{
	if (bits_per_second)
		snprintf(buf, 32, "%.4g", (double)bits_per_second / 1e9);
	else
		strcpy(buf, "-");
	return buf;
}

static void print_rails(const struct kvr *kvr)
{
	struct kvr_rail rail = {.size = sizeof(rail)};
	char numa[16], gbps[32];

	printf("\n%-16s %-14s %-5s %s\n", "rail", "pci", "numa", "Gb/s");
	for (int i = 0; i < kvr_rail_count(kvr); i++) {
		if (kvr_rail_get(kvr, i, &rail))
			continue;
		if (rail.numa_node < 0)
			strcpy(numa, "-");
		else
			snprintf(numa, sizeof(numa), "%d", rail.numa_node);
		printf("%-16s %-14s %-5s %s\n", rail.name, *rail.pci ? rail.pci : "-", numa,
		       speed(rail.bits_per_second, gbps));
	}
}

static void print_gpu_memory(const struct kvr *kvr)
{
	char why[256];
	int taken = kvr_gpu_memory(kvr, why, sizeof(why));

	printf("\nGPU memory: %s: %s\n", taken ? "taken" : "not taken", why);
}

static json_t *gpu_memory_json(const struct kvr *kvr)
{
	char why[256];
	int taken = kvr_gpu_memory(kvr, why, sizeof(why));

	return json_pack("{sb ss}", "taken", taken, "why", why);
}

static const char *or_empty(const char *text)
{
	return text ? text : "";
}

static void print_environment(void)
{
	struct kvr_setting s;

	printf("\n%-18s %-16s %-10s %s\n", "environment", "value", "default", "meaning");
	for (size_t i = 0; !kvr_setting_get(i, &s); i++)
		printf("%-18s %-16s %-10s %s\n", s.name, *or_empty(s.value) ? s.value : "-",
		       *or_empty(s.fallback) ? s.fallback : "-", s.help);
}

static json_t *rails_json(const struct kvr *kvr)
{
	struct kvr_rail rail = {.size = sizeof(rail)};
	json_t *rails = json_array();

	for (int i = 0; i < kvr_rail_count(kvr); i++)
		if (!kvr_rail_get(kvr, i, &rail))
			json_array_append_new(rails, json_pack("{ss ss si sI}", "name", rail.name,
			                                       "pci", rail.pci, "numa",
			                                       rail.numa_node, "bits_per_second",
			                                       (json_int_t)rail.bits_per_second));
	return rails;
}

static json_t *environment_json(void)
{
	json_t *settings = json_array();
	struct kvr_setting s;

	for (size_t i = 0; !kvr_setting_get(i, &s); i++)
		json_array_append_new(settings,
		                      json_pack("{ss ss ss ss ss}", "name", s.name, "type", s.type,
		                                "value", or_empty(s.value), "default",
		                                or_empty(s.fallback), "help", s.help));
	return settings;
}

/* What both kinds of machine have; takes `event`. */
static void print_json(const struct info *info, json_t *event)
{
	if (event && !json_object_set_new(event, "machine", info_machine_json(&info->machine)) &&
	    !json_object_set_new(event, "mapping", mapping_json(&info->map))) {
		app_json(event);
		return;
	}
	json_decref(event);
	app_json(NULL);
}

static json_t *here_json(const struct kvr *kvr)
{
	const char *why = "";
	const char *provider = kvr_provider(kvr, &why);

	return json_pack("{ss ss ss so so so}", "event", "info", "provider", provider, "why", why,
	                 "rails", rails_json(kvr), "gpu_memory", gpu_memory_json(kvr),
	                 "environment", environment_json());
}

static void print_order(const struct info *info)
{
	struct affinity order;
	int known = affinity_order(&info->map, info->place, info->share, &order);

	if (!known)
		app_error("%s is not known here: every rail is equally near", info->memory);
	printf("\n%-3s %-16s %-5s %s\n", "", "rail", "when", "why");
	for (unsigned int i = 0; i < order.rails; i++)
		printf("%-3u %-16s %-5s %s\n", i + 1, info->map.rail_name[order.rail[i]],
		       i < order.near ? "near" : "far", distance_reason(order.distance[i]));
}

static json_t *order_json(const struct info *info)
{
	json_t *rails = json_array();
	struct affinity order;

	affinity_order(&info->map, info->place, info->share, &order);
	for (unsigned int i = 0; i < order.rails; i++)
		json_array_append_new(rails, json_pack("{ss sb ss}", "name",
		                                       info->map.rail_name[order.rail[i]], "near",
		                                       i < order.near, "distance",
		                                       distance_name(order.distance[i])));
	return json_pack("{ss ss so}", "event", "memory", "memory", info->memory, "rails", rails);
}

static const char *setting(const char *name)
{
	struct kvr_setting s;

	for (size_t i = 0; !kvr_setting_get(i, &s); i++)
		if (!strcmp(s.name, name))
			return or_empty(s.value);
	return "";
}

/* Surveys the machine and reads the mapping. 0 or EXIT_USAGE. */
static int survey(struct info *info, const struct topology *topology,
                  const struct machine_rail *rails, unsigned int count)
{
	const char *mapping = info->mapping ? info->mapping : setting("KVR_MAPPING");
	const char *origin = info->mapping ? "--mapping" : "KVR_MAPPING";
	char why[512];

	machine_survey(topology, rails, count, &info->machine);
	machine_doubts(&info->machine, why, sizeof(why));
	if (*why)
		app_error("%s", why);
	info->map = info->machine.map;
	if (!*mapping)
		return 0;
	if (mapping_load(mapping, &info->map, why, sizeof(why))) {
		app_error("%s %s", origin, why);
		return EXIT_USAGE;
	}
	if (*why)
		app_error("%s %s", origin, why);
	return 0;
}

/* 2 NUMA nodes, 1 GPU, 16 rails */
static const char *summary(const struct machine *m, char buf[static 80])
{
	const struct affinity_map *map = &m->map;

	snprintf(buf, 80, "%u NUMA node%s, %u GPU%s, %u rail%s", map->nodes,
	         map->nodes == 1 ? "" : "s", map->gpus, map->gpus == 1 ? "" : "s", map->rails,
	         map->rails == 1 ? "" : "s");
	return buf;
}

/* The picture, where one is asked for. 0 or EXIT_FAILED. */
static int picture(const struct info *info)
{
	char title[200], file[512], text[80];
	int rc;

	if (!info->svg)
		return 0;
	snprintf(file, sizeof(file), "%s", info->topology ? info->topology : "this host");
	snprintf(title, sizeof(title), "%.100s: %s", basename(file), summary(&info->machine, text));
	rc = info_draw(&info->machine, title, info->svg);
	if (rc)
		app_error("--svg %s: %s", info->svg, strerror(-rc));
	return rc ? EXIT_FAILED : 0;
}

static void print_machine(const struct info *info)
{
	printf("\n");
	info_print_tree(&info->machine);
}

/* Those that a job there would use, with KVR_RAILS as it is here. 0: it could not. */
static unsigned int choose_rails(const struct info *info, const struct topology *topology,
                                 struct machine_rail rails[static MACHINE_RAILS])
{
	unsigned int all = machine_find_rails(topology, rails), n = 0;
	const char *list = setting("KVR_RAILS");
	char stray[CONFIG_LIST];

	if (config_rails_stray(list, rails[0].name, sizeof(rails[0]), all, stray))
		app_error("KVR_RAILS \"%s\": no rail there is called %s", list, stray);
	for (unsigned int i = 0; i < all; i++)
		if (config_rail_chosen(list, rails[i].name))
			rails[n++] = rails[i];
	if (!all)
		app_error("--topology %s has no rails: no InfiniBand device, no network interface",
		          info->topology);
	else if (!n)
		app_error("KVR_RAILS \"%s\" leaves none of the %u rails of --topology %s", list,
		          all, info->topology);
	else if (n > KVR_MAX_RAILS)
		app_error(
			"--topology %s has %u rails, of which at most %d can be used: choose with "
			"KVR_RAILS",
			info->topology, n, KVR_MAX_RAILS);
	return n > KVR_MAX_RAILS ? 0 : n;
}

static int show_file(struct info *info)
{
	struct machine_rail rails[MACHINE_RAILS];
	char note[TOPOLOGY_NOTE], text[80];
	struct topology *topology = topology_read(info->topology, note);
	unsigned int count;
	int rc;

	if (*note)
		app_error("--topology %s", note);
	if (!topology)
		return EXIT_USAGE;
	count = choose_rails(info, topology, rails);
	rc = count ? survey(info, topology, rails, count) : EXIT_USAGE;
	topology_close(topology);
	if (rc)
		return rc;
	if (info->memory && info->app.json)
		app_json(order_json(info));
	else if (info->app.json)
		/* null: a name that is not UTF-8. */
		print_json(info, json_pack("{ss so?}", "event", "info", "topology",
		                           json_string(info->topology)));
	else
		printf("%s: %s\n", info->topology, summary(&info->machine, text));
	if (!info->app.json && info->memory)
		print_order(info);
	else if (!info->app.json)
		print_machine(info);
	return picture(info);
}

static int survey_here(struct info *info)
{
	struct machine_rail rails[KVR_MAX_RAILS] = {0};
	struct kvr_rail rail = {.size = sizeof(rail)};
	unsigned int count = 0;
	char note[TOPOLOGY_NOTE];
	struct topology *topology = topology_read(NULL, note);
	int rc;

	for (int i = 0; i < kvr_rail_count(info->app.kvr); i++) {
		if (kvr_rail_get(info->app.kvr, i, &rail))
			continue;
		memcpy(rails[count].name, rail.name, sizeof(rail.name));
		memcpy(rails[count++].pci, rail.pci, sizeof(rail.pci));
	}
	rc = survey(info, topology, rails, count);
	topology_close(topology);
	return rc;
}

static int show_here(struct info *info)
{
	int rc = kvr_open(NULL, NULL, &info->app.kvr);

	if (rc) {
		app_error("cannot open the rails: %s", kvr_strerror(rc));
		return EXIT_FAILED;
	}
	app_first_line(&info->app);
	rc = survey_here(info);
	if (!rc && info->memory && info->app.json) {
		app_json(order_json(info));
	} else if (!rc && info->app.json) {
		print_json(info, here_json(info->app.kvr));
	} else if (!rc && info->memory) {
		print_order(info);
	} else if (!rc) {
		print_rails(info->app.kvr);
		print_gpu_memory(info->app.kvr);
		print_machine(info);
		print_environment();
	}
	if (!rc)
		rc = picture(info);
	return app_close(&info->app) ? EXIT_FAILED : rc;
}

int info_main(int argc, char **argv)
{
	const struct argp argp = {
		options,
		parse_key,
		NULL,
		"The rails of this host and where they sit, the provider, and the "
		"environment's settings.",
		NULL,
		NULL,
		NULL};
	struct info info = {.app = {.nranks = 1, .ranks_here = 1}};

	if (argp_parse(&argp, argc, argv, 0, NULL, &info))
		return EXIT_USAGE;
	return info.topology ? show_file(&info) : show_here(&info);
}
