/* SPDX-License-Identifier: MIT
 * kvrail info: the rails of this host, the provider, and the environment's settings. */
#include "app.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct argp_option options[] = {
	{"json", 'j', NULL, 0, "One line of JSON on standard output", 0},
	{0},
};

static error_t parse_key(int key, char *arg, struct argp_state *state)
{
	struct app *app = state->input;

	switch (key) {
	case 'j':
		app->json = true;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "unexpected argument '%s'", arg);
		return EINVAL;
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

static void print_json(const struct kvr *kvr)
{
	const char *why = "";
	const char *provider = kvr_provider(kvr, &why);

	app_json(json_pack("{ss ss ss so so}", "event", "info", "provider", provider, "why", why,
	                   "rails", rails_json(kvr), "environment", environment_json()));
}

int info_main(int argc, char **argv)
{
	const struct argp argp = {options,
	                          parse_key,
	                          NULL,
	                          "The rails of this host, the provider, and the environment's "
	                          "settings.",
	                          NULL,
	                          NULL,
	                          NULL};
	struct app app = {.nranks = 1, .ranks_here = 1};
	int rc;

	if (argp_parse(&argp, argc, argv, 0, NULL, &app))
		return EXIT_USAGE;
	rc = kvr_open(NULL, NULL, &app.kvr);
	if (rc) {
		app_error("cannot open the rails: %s", kvr_strerror(rc));
		return EXIT_FAILED;
	}
	app_first_line(&app);
	if (app.json) {
		print_json(app.kvr);
	} else {
		print_rails(app.kvr);
		print_environment();
	}
	return app_close(&app);
}
