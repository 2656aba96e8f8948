/* SPDX-License-Identifier: MIT
 * softefa's command line. */
#include "options.h"
#include <argp.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define GBPS_MIN 1e-6 /* but for 0; a MiB then takes hours */
#define GBPS_MAX 10000.0
#define US_MAX   10e6
#define MS_MAX   3600e3

enum key {
	KEY_NICS = 256,
	KEY_DEVICE,
	KEY_GBPS,
	KEY_LATENCY,
	KEY_JITTER,
	KEY_HOSTS,
	KEY_DEAD,
	KEY_REG,
	KEY_TOPOLOGY,
	KEY_SEED,
	KEY_SCHEDULE,
	KEY_STATS,
};

static const struct argp_option known[] = {
	{"nics", KEY_NICS, "N", 0, "NICs of each host; default 16, or those of --topology", 0},
	{"device", KEY_DEVICE, "KIND", 0,
         "What they can do: p4d reads; p5 reads and writes; p5en (default) also writes with an "
         "immediate for which no receive is posted",
         0},
	{"gbps", KEY_GBPS, "X", 0, "Rate of a NIC, each way; default: as fast as it goes", 0},
	{"latency-us", KEY_LATENCY, "X", 0, "One way; default 0", 0},
	{"jitter-us", KEY_JITTER, "X", 0, "At most that is added; default 20; 0 keeps order", 0},
	{"hosts", KEY_HOSTS, "H", 0, "Ranks go to H hosts in blocks; default 1", 0},
	{"dead-ms", KEY_DEAD, "X", 0, "Until a dead peer is noticed; default 1000", 0},
	{"reg-us-per-mib", KEY_REG, "X", 0, "What registering memory takes; default 0", 0},
	{"topology", KEY_TOPOLOGY, "FILE", 0,
         "Names and places of the NICs from an hwloc export, which the program gets as its own "
         "(HWLOC_XMLFILE)",
         0},
	{"seed", KEY_SEED, "S", 0, "Of what is random; default 1", 0},
	{"schedule", KEY_SCHEDULE, "FILE", 0,
         "What happens when: lines of SECONDS EVENT HOST[:NIC] [VALUE]; events as for softefa ctl",
         0},
	{"stats", KEY_STATS, "FILE", OPTION_ARG_OPTIONAL,
         "At the end, what the NICs have counted: a table, or JSON in FILE", 0},
	{0},
};

static const struct device {
	const char *name;
	uint32_t part_id, caps;
} devices[] = {
	{"p4d", 0xefa0, CAP_READ | CAP_RNR_RETRY | CAP_CQ_SGID},
	{"p5", 0xefa1, CAP_READ | CAP_RNR_RETRY | CAP_CQ_SGID | CAP_WRITE},
	{"p5en", 0xefa2, CAP_READ | CAP_RNR_RETRY | CAP_CQ_SGID | CAP_WRITE | CAP_UNSOLICITED},
};

static const char *option_name(int key)
{
	const struct argp_option *option = known;

	while (option->key != key)
		option++;
	return option->name;
}

/* Real numbers from `least` to `most`; argp_error ends the process. */
static double real(struct argp_state *state, int key, const char *arg, double least, double most)
{
	char *end;
	double value = strtod(arg, &end);

	if (end == arg || *end || !isfinite(value) || value < least || value > most)
		argp_error(state, "--%s '%s' is not a number from %g to %g", option_name(key), arg,
		           least, most);
	return value;
}

static uint64_t whole(struct argp_state *state, int key, const char *arg, uint64_t least,
                      uint64_t most)
{
	unsigned long long value;
	char *end;

	errno = 0;
	value = strtoull(arg, &end, 10);
	if (end == arg || *end || errno || *arg == '-' || value < least || value > most)
		argp_error(state, "--%s '%s' is not a whole number from %llu to %llu",
		           option_name(key), arg, (unsigned long long)least,
		           (unsigned long long)most);
	return value;
}

static void choose_device(struct argp_state *state, struct shm_config *config, const char *arg)
{
	for (size_t i = 0; i < sizeof(devices) / sizeof(devices[0]); i++) {
		if (strcmp(devices[i].name, arg))
			continue;
		config->vendor_part_id = devices[i].part_id;
		config->caps = devices[i].caps;
		return;
	}
	argp_error(state, "--device '%s' is none of p4d, p5, p5en", arg);
}

/* What is kept in the fabric's file. */
static error_t parse_config(int key, char *arg, struct argp_state *state, struct shm_config *config)
{
	double gbps;

	switch (key) {
	case KEY_NICS:
		config->nics = (uint32_t)whole(state, key, arg, 1, MAX_NICS);
		return 0;
	case KEY_DEVICE:
		choose_device(state, config, arg);
		return 0;
	case KEY_GBPS:
		gbps = real(state, key, arg, 0, GBPS_MAX);
		if (gbps > 0 && gbps < GBPS_MIN)
			argp_error(state, "--gbps '%s' is neither 0 nor at least %g", arg,
			           GBPS_MIN);
		config->ns_per_mib = gbps > 0 ? (uint64_t)(8.0 * 0x100000 / gbps + 0.5) : 0;
		return 0;
	case KEY_JITTER:
		config->jitter_ns = (uint64_t)(real(state, key, arg, 0, US_MAX) * 1e3);
		return 0;
	case KEY_HOSTS:
		config->hosts = (uint32_t)whole(state, key, arg, 1, MAX_HOSTS);
		return 0;
	case KEY_DEAD:
		config->dead_ns = (uint64_t)(real(state, key, arg, 0, MS_MAX) * 1e6);
		return 0;
	case KEY_REG:
		config->reg_ns_per_mib = (uint64_t)(real(state, key, arg, 0, US_MAX) * 1e3);
		return 0;
	case KEY_SEED:
		config->seed = whole(state, key, arg, 0, UINT64_MAX);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static error_t parse_key(int key, char *arg, struct argp_state *state)
{
	struct options *options = state->input;

	switch (key) {
	case KEY_LATENCY:
		options->latency_ns = (uint64_t)(real(state, key, arg, 0, US_MAX) * 1e3);
		return 0;
	case KEY_TOPOLOGY:
		options->topology = arg;
		return 0;
	case KEY_SCHEDULE:
		options->schedule = arg;
		return 0;
	case KEY_STATS:
		options->stats = true;
		options->stats_json = arg;
		return 0;
	case ARGP_KEY_ARG: /* the command's own options are not ours */
		options->command = &state->argv[state->next - 1];
		state->next = state->argc;
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "no command to run: softefa [OPTION...] -- COMMAND...");
		return EINVAL;
	default:
		return parse_config(key, arg, state, &options->config);
	}
}

static const struct argp argp = {
	.options = known,
	.parser = parse_key,
	.args_doc = "-- COMMAND...\nctl EVENT HOST[:NIC] [VALUE]\nctl stats [--json]",
	.doc = "Runs a command on emulated hosts with emulated EFA NICs, under libfabric's own efa "
	       "provider. None of its figures is a figure of EFA.\v"
	       "A process's host is that of its rank, or SOFTEFA_HOST in its environment; "
	       "SOFTEFA_NICS=0,3 shows it these NICs only. FI_EFA_ENABLE_SHM_TRANSFER=0 is set "
	       "where it is not set, so that bytes stay on the NICs. Exit status: the command's; "
	       "128 and the signal's number where one ended it; 2 for wrong arguments; 1 also "
	       "where "
	       "the command ended well and --stats could not be written.",
};

void options_parse(struct options *options, int argc, char **argv)
{
	*options = (struct options){.config = {.hosts = 1,
	                                       .vendor_part_id = devices[2].part_id,
	                                       .caps = devices[2].caps,
	                                       .jitter_ns = 20000,
	                                       .dead_ns = 1000000000,
	                                       .seed = 1}};
	argp_err_exit_status = 2;
	if (argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, options))
		exit(2);
}
