/* SPDX-License-Identifier: MIT
 * Settings: each by default, environment and option, and every way to get one wrong. */
#include "config.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "log_catch.h"

#define ARRAY(a) (sizeof(a) / sizeof((a)[0]))

/* The settings that are numbers. option: where kvr_options has it, 0 if it does not. */
static const struct number {
	const char *name;
	uint64_t fallback, min, max;
	size_t option, option_size;
	size_t field, field_size;
} numbers[] = {
	{"KVR_PIECE_BYTES", 65536, 4096, 1 << 20, offsetof(struct kvr_options, piece_bytes), 8,
         offsetof(struct config, piece_bytes), 8},
	{"KVR_WINDOW_BYTES", 4194304, 65536, 1ull << 32, 0, 0,
         offsetof(struct config, window_bytes), 8},
	{"KVR_QUEUE_DEPTH", 32, 1, 1024, offsetof(struct kvr_options, queue_depth), 4,
         offsetof(struct config, queue_depth), 4},
	{"KVR_COUNTERS", 1024, 1, 1 << 20, offsetof(struct kvr_options, counters), 4,
         offsetof(struct config, counters), 4},
	{"KVR_PEER_TIMEOUT", 5000, 100, 3600000, offsetof(struct kvr_options, peer_timeout_ms), 4,
         offsetof(struct config, peer_timeout_ms), 4},
};

static const char *const names[] = {
	"KVR_PROVIDER",         "KVR_RAILS",        "KVR_MAPPING",
	"KVR_PIECE_BYTES",      "KVR_WINDOW_BYTES", "KVR_QUEUE_DEPTH",
	"KVR_COUNTERS",         "KVR_PEER_TIMEOUT", "KVR_WRITE_MODE",
	"KVR_PROGRESS_THREADS", "KVR_LOG",
};

static int clean(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY(names); i++)
		unsetenv(names[i]);
	catch_log();
	return 0;
}

static uint64_t field(const struct config *config, const struct number *number)
{
	uint64_t wide;
	uint32_t narrow;

	memcpy(&wide, (const char *)config + number->field,
	       sizeof(wide) * (number->field_size == 8));
	memcpy(&narrow, (const char *)config + number->field, sizeof(narrow));
	return number->field_size == 8 ? wide : narrow;
}

static void set_option(struct kvr_options *options, const struct number *number, uint64_t value)
{
	uint32_t narrow = value;

	if (number->option_size == 8)
		memcpy((char *)options + number->option, &value, sizeof(value));
	else
		memcpy((char *)options + number->option, &narrow, sizeof(narrow));
}

static struct config load(const struct kvr_options *options)
{
	struct config config;

	memset(&config, 0x5a, sizeof(config));
	if (config_load(options, &config))
		fail_msg("%s", logged);
	assert_int_equal(errors, 0);
	return config;
}

/* Refused, with one line that names what was wrong. */
static void refuse(const struct kvr_options *options, int wanted, const char *word)
{
	struct config config;

	clean(NULL);
	assert_int_equal(config_load(options, &config), wanted);
	assert_int_equal(errors, 1);
	if (!strstr(logged, word))
		fail_msg("\"%s\" says nothing of \"%s\"", logged, word);
}

static void refuse_environment(const char *name, const char *value)
{
	struct config config;

	clean(NULL);
	setenv(name, value, 1);
	if (config_load(NULL, &config) != -EINVAL)
		fail_msg("%s=\"%s\" is not refused", name, value);
	assert_int_equal(errors, 1);
	assert_non_null(strstr(logged, name));
	unsetenv(name);
}

static void set_number(const char *name, uint64_t value)
{
	char text[32];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	setenv(name, text, 1);
}

static void nothing_set_is_all_defaults(void **state)
{
	const struct kvr_options none = {.size = sizeof(none)};
	const struct kvr_options *const ways[] = {NULL, &none};

	(void)state;
	for (size_t i = 0; i < ARRAY(ways); i++) {
		struct config config = load(ways[i]);

		assert_string_equal(config.provider, "");
		assert_string_equal(config.rails, "");
		for (size_t j = 0; j < ARRAY(numbers); j++)
			assert_int_equal(field(&config, &numbers[j]), numbers[j].fallback);
	}
}

static void several_pieces_fit_into_the_window(void **state)
{
	static const uint64_t windows[][2] = {{4 << 20, 1 << 20},
	                                      {1ull << 32, 1 << 20},
	                                      {1 << 20, 1 << 18},
	                                      {300000, 73728},
	                                      {1 << 17, 1 << 16}}; /* no less than a cut */

	(void)state;
	for (size_t i = 0; i < ARRAY(windows); i++) {
		set_number("KVR_WINDOW_BYTES", windows[i][0]);
		assert_int_equal(load(NULL).piece_max, windows[i][1]);
	}
	unsetenv("KVR_WINDOW_BYTES");
}

static void an_empty_variable_is_none(void **state)
{
	struct config config;

	(void)state;
	for (size_t i = 0; i < ARRAY(names); i++)
		setenv(names[i], "", 1);
	config = load(NULL);
	assert_string_equal(config.provider, "");
	for (size_t i = 0; i < ARRAY(numbers); i++)
		assert_int_equal(field(&config, &numbers[i]), numbers[i].fallback);
}

static void numbers_by_environment(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY(numbers); i++) {
		const uint64_t good[] = {numbers[i].min, numbers[i].min + 1, numbers[i].max - 1,
		                         numbers[i].max};

		for (size_t j = 0; j < ARRAY(good); j++) {
			struct config config;

			clean(NULL);
			set_number(numbers[i].name, good[j]);
			config = load(NULL);
			for (size_t k = 0; k < ARRAY(numbers); k++)
				assert_int_equal(field(&config, &numbers[k]),
				                 k == i ? good[j] : numbers[k].fallback);
		}
	}
}

static void numbers_by_option_beat_the_environment(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY(numbers); i++) {
		const uint64_t good[] = {numbers[i].min, numbers[i].max};

		for (size_t j = 0; numbers[i].option && j < ARRAY(good); j++) {
			struct kvr_options options = {.size = sizeof(options)};
			struct config config;

			clean(NULL);
			set_number(numbers[i].name, numbers[i].min + 2);
			set_option(&options, &numbers[i], good[j]);
			config = load(&options);
			for (size_t k = 0; k < ARRAY(numbers); k++)
				assert_int_equal(field(&config, &numbers[k]),
				                 k == i ? good[j] : numbers[k].fallback);
		}
	}
}

static void numbers_out_of_range(void **state)
{
	char text[32];

	(void)state;
	for (size_t i = 0; i < ARRAY(numbers); i++) {
		struct kvr_options options = {.size = sizeof(options)};

		snprintf(text, sizeof(text), "%llu", (unsigned long long)numbers[i].min - 1);
		refuse_environment(numbers[i].name, text);
		snprintf(text, sizeof(text), "%llu", (unsigned long long)numbers[i].max + 1);
		refuse_environment(numbers[i].name, text);
		if (!numbers[i].option)
			continue;
		set_option(&options, &numbers[i], numbers[i].max + 1);
		refuse(&options, -EINVAL, numbers[i].name);
		if (numbers[i].min == 1)
			continue; /* 0 is none */
		set_option(&options, &numbers[i], numbers[i].min - 1);
		refuse(&options, -EINVAL, numbers[i].name);
	}
	refuse_environment("KVR_LOG", "4");
}

static void numbers_that_are_none(void **state)
{
	static const char *const garbage[] = {
		"many",
		"-1",
		"-65536",
		" ",
		"0x10000",
		"65536k",
		"65536 ",
		"1e5",
		"65536.0",
		"18446744073709551616",
		"18446744073709617152",
		"-18446744073709486080",
		"6 5",
		"+",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY(garbage); i++) {
		for (size_t j = 0; j < ARRAY(numbers); j++)
			refuse_environment(numbers[j].name, garbage[i]);
		refuse_environment("KVR_LOG", garbage[i]);
	}
}

static void texts_by_environment_and_option(void **state)
{
	struct kvr_options options = {.size = sizeof(options)};
	struct config config;

	(void)state;
	setenv("KVR_PROVIDER", "tcp;ofi_rxm", 1);
	setenv("KVR_RAILS", "^docker0,lo", 1);
	config = load(NULL);
	assert_string_equal(config.provider, "tcp;ofi_rxm");
	assert_string_equal(config.rails, "^docker0,lo");
	options.provider = "net";
	config = load(&options);
	assert_string_equal(config.provider, "net");
	assert_string_equal(config.rails, "^docker0,lo");
	options.provider = "";
	options.rails = "eth*";
	config = load(&options);
	assert_string_equal(config.provider, "tcp;ofi_rxm");
	assert_string_equal(config.rails, "eth*");
	assert_string_equal(config.mapping, "");
	setenv("KVR_MAPPING", "/etc/map.json", 1);
	config = load(NULL);
	assert_string_equal(config.mapping, "/etc/map.json");
	options.mapping = "map.json";
	config = load(&options);
	assert_string_equal(config.mapping, "map.json");
}

/* As long as fits, by either way, and one more. */
static void check_longest(const char *name, const char **option, struct kvr_options *options,
                          size_t room)
{
	char *text = malloc(room + 1);
	struct config config;

	assert_non_null(text);
	memset(text, 'x', room);
	text[room] = 0;
	refuse_environment(name, text);
	*option = text;
	refuse(options, -EINVAL, name);
	text[room - 1] = 0;
	clean(NULL);
	config = load(options);
	assert_string_equal(room == sizeof(config.rails) ? config.rails : config.provider, text);
	*option = NULL;
	setenv(name, text, 1);
	config = load(options);
	assert_string_equal(room == sizeof(config.rails) ? config.rails : config.provider, text);
	unsetenv(name);
	free(text);
}

static void texts_too_long(void **state)
{
	struct kvr_options options = {.size = sizeof(options)};
	struct config *sizes = NULL;

	(void)state;
	check_longest("KVR_PROVIDER", &options.provider, &options, sizeof(sizes->provider));
	check_longest("KVR_RAILS", &options.rails, &options, sizeof(sizes->rails));
}

static void an_unknown_tail_must_be_zero(void **state)
{
	struct {
		struct kvr_options known;
		unsigned char tail[24];
	} newer = {.known.size = sizeof(newer), .known.queue_depth = 5};

	(void)state;
	assert_int_equal(load(&newer.known).queue_depth, 5);
	for (size_t i = 0; i < sizeof(newer.tail); i++) {
		newer.tail[i] = 0x80;
		refuse(&newer.known, -E2BIG, "kvr_options");
		newer.tail[i] = 0;
	}
	/* What lies behind the size is not looked at. */
	newer.tail[8] = 1;
	newer.known.size = sizeof(newer.known) + 8;
	clean(NULL);
	assert_int_equal(load(&newer.known).queue_depth, 5);
}

static void an_older_caller_has_fewer_options(void **state)
{
	struct kvr_options options = {
		.size = offsetof(struct kvr_options, counters),
		.queue_depth = 5,
		.counters = 7,
		.progress_threads = 3,
	};

	(void)state;
	assert_int_equal(load(&options).queue_depth, 5);
	assert_int_equal(load(&options).counters, 1024);
	options.size = sizeof(options.size);
	assert_int_equal(load(&options).queue_depth, 32);
}

static void a_size_that_was_not_set(void **state)
{
	(void)state;
	for (size_t size = 0; size < sizeof(size); size++)
		refuse(&(struct kvr_options){.size = size}, -EINVAL, "sizeof");
}

static void progress_threads(void **state)
{
	static const struct {
		const char *word;
		int option, wanted;
	} cases[] = {
		{"", 0, 1},
		{"0", 0, KVR_THREADS_NONE},
		{"1", 0, 1},
		{"node", 0, KVR_THREADS_PER_NODE},
		{"node", 1, 1}, /* the option beats the environment */
		{"1", KVR_THREADS_NONE, KVR_THREADS_NONE},
		{"0", KVR_THREADS_PER_NODE, KVR_THREADS_PER_NODE},
	};
	struct kvr_options options = {.size = sizeof(options)};

	(void)state;
	for (size_t i = 0; i < ARRAY(cases); i++) {
		setenv("KVR_PROGRESS_THREADS", cases[i].word, 1);
		options.progress_threads = cases[i].option;
		assert_int_equal(load(&options).progress_threads, cases[i].wanted);
	}
	clean(NULL);
	options.progress_threads = 2;
	refuse(&options, -EINVAL, "progress_threads");
	options.progress_threads = -3;
	refuse(&options, -EINVAL, "progress_threads");
	refuse_environment("KVR_PROGRESS_THREADS", "2");
	refuse_environment("KVR_PROGRESS_THREADS", "nodes");
}

/* What config_load lets through to standard error at a level of KVR_LOG. */
static size_t lines_at(const char *level)
{
	char text[512] = {0};
	FILE *file = tmpfile();
	int before = dup(STDERR_FILENO);
	size_t lines = 0;

	assert_non_null(file);
	assert_true(before >= 0);
	setenv("KVR_LOG", level, 1);
	load(NULL);
	kvr_set_log(NULL, NULL);
	fflush(stderr);
	dup2(fileno(file), STDERR_FILENO);
	log_error("a %s", "line");
	log_warning("a line");
	log_info("a line");
	log_detail("a line");
	fflush(stderr);
	dup2(before, STDERR_FILENO);
	close(before);
	rewind(file);
	while (fgets(text, sizeof(text), file)) {
		assert_non_null(strstr(text, "a line\n"));
		lines++;
	}
	fclose(file);
	kvr_set_log(on_log, NULL);
	return lines;
}

static void log_level_by_environment(void **state)
{
	(void)state;
	assert_int_equal(lines_at("0"), 1);
	assert_int_equal(lines_at("2"), 3);
	assert_int_equal(lines_at("3"), 4);
	assert_int_equal(lines_at("1"), 2);
	assert_int_equal(lines_at(""), 2);
}

static void write_modes(void **state)
{
	static const char *const words[] = {"auto", "push", "pull"};
	struct kvr_options options = {.size = sizeof(options)};
	struct config config;

	(void)state;
	for (int i = KVR_AUTO; i <= KVR_PULL; i++) {
		setenv("KVR_WRITE_MODE", words[i], 1);
		assert_int_equal(config_load(NULL, &config), 0);
		assert_int_equal(config.write_mode, i);
	}
	options.write_mode = KVR_PUSH; /* it beats the environment */
	assert_int_equal(config_load(&options, &config), 0);
	assert_int_equal(config.write_mode, KVR_PUSH);
	options.write_mode = KVR_PULL + 1;
	assert_int_equal(config_load(&options, &config), -EINVAL);
	setenv("KVR_WRITE_MODE", "pus", 1);
	assert_int_equal(config_load(NULL, &config), -EINVAL);
	unsetenv("KVR_WRITE_MODE");
	assert_int_equal(config_load(NULL, &config), 0);
	assert_int_equal(config.write_mode, KVR_AUTO);
}

static void the_table_lists_all(void **state)
{
	struct kvr_setting setting;

	(void)state;
	setenv("KVR_QUEUE_DEPTH", "77", 1);
	for (size_t i = 0; i < ARRAY(names); i++) {
		assert_int_equal(kvr_setting_get(i, &setting), 0);
		assert_string_equal(setting.name, names[i]);
		assert_true(*setting.type && *setting.help);
		assert_string_equal(setting.value,
		                    strcmp(names[i], "KVR_QUEUE_DEPTH") ? setting.fallback : "77");
	}
	memset(&setting, 0x5a, sizeof(setting));
	assert_int_equal(kvr_setting_get(ARRAY(names), &setting), -ENOENT);
	assert_int_equal(*(unsigned char *)&setting, 0x5a);
	assert_int_equal(kvr_setting_get(SIZE_MAX, &setting), -ENOENT);
}

static void rails_by_name(void **state)
{
	static const struct {
		const char *list, *name;
		int chosen;
	} cases[] = {
		{"", "eth0", 1},
		{"eth0", "eth0", 1},
		{"eth0", "eth01", 0},
		{"eth0", "eth", 0},
		{"eth0,eth1", "eth1", 1},
		{"eth0,eth1", "eth2", 0},
		{"eth0,,eth1,", "eth1", 1},
		{",", "eth0", 0},
		{"rdmap8*,rdmap110s0", "rdmap85s0", 1},
		{"rdmap8*,rdmap110s0", "rdmap110s0", 1},
		{"rdmap8*,rdmap110s0", "rdmap111s0", 0},
		{"rdmap8[5-6]s?", "rdmap86s0", 1},
		{"rdmap8[5-6]s?", "rdmap87s0", 0},
		{"*", "anything", 1},
		{"^lo", "lo", 0},
		{"^lo", "eth0", 1},
		{"^lo,docker*", "docker0", 0},
		{"^lo,docker*", "eth0", 1},
		{"^*", "eth0", 0},
		{"^", "eth0", 1},
		{"eth0, eth1", "eth1", 1},
		{"\teth0 ,eth1\n", "eth0", 1},
		{"\teth0 ,eth1\n", "eth1", 1},
		{"eth0 eth1", "eth1", 0},
		{" ^ lo, docker0", "docker0", 0},
		{" ^ lo, docker0", "lo", 0},
		{" ^ lo, docker0", "eth0", 1},
		{"^lo,^ docker0", "docker0", 0},
		{"^lo,^docker0", "eth0", 1},
		{"eth0,^eth1", "eth1", 0},
		{"eth0,^eth1", "eth2", 0},
		{" ", "eth0", 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY(cases); i++)
		if (!config_rail_chosen(cases[i].list, cases[i].name) != !cases[i].chosen)
			fail_msg("\"%s\" and %s", cases[i].list, cases[i].name);
}

static void rails_that_are_mistyped(void **state)
{
	static const char here[3][8] = {"eth0", "eth1", "ib0"};
	static const struct {
		const char *list, *stray;
	} cases[] = {
		{"", NULL},
		{"eth0,ib*", NULL},
		{"^docker0", NULL},
		{" ^docker0", NULL},
		{"eth0, eth", "eth"},
		{"ib1* ,eth0", "ib1*"},
		{"eth0,^eth1", "^eth1"},
		{"eth0 eth1", "eth0 eth1"},
	};
	char stray[CONFIG_LIST];
	bool is_there;

	(void)state;
	for (size_t i = 0; i < ARRAY(cases); i++) {
		is_there = config_rails_stray(cases[i].list, here[0], sizeof(here[0]), 3, stray);
		assert_int_equal(is_there, cases[i].stray != NULL);
		if (is_there)
			assert_string_equal(stray, cases[i].stray);
	}
}

/* The last name of the longest list that a configuration can hold. */
static void rails_by_a_long_list(void **state)
{
	struct config config;
	char *list = config.rails, *last = list + sizeof(config.rails) - 1 - strlen("eth7");

	(void)state;
	memset(list, ',', sizeof(config.rails));
	strcpy(last, "eth7");
	assert_true(config_rail_chosen(list, "eth7"));
	assert_false(config_rail_chosen(list, "eth"));
	*list = '^';
	assert_false(config_rail_chosen(list, "eth7"));
	assert_true(config_rail_chosen(list, "eth8"));
}

/* As after an open that failed half-way. */
static void closing_nothing(void **state)
{
	(void)state;
	assert_int_equal(kvr_request_close(NULL), 0);
	assert_int_equal(kvr_remote_close(NULL), 0);
	assert_int_equal(kvr_region_close(NULL), 0);
	kvr_plan_close(NULL);
	assert_int_equal(kvr_close(NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(nothing_set_is_all_defaults, clean),
		cmocka_unit_test_setup(several_pieces_fit_into_the_window, clean),
		cmocka_unit_test_setup(an_empty_variable_is_none, clean),
		cmocka_unit_test_setup(numbers_by_environment, clean),
		cmocka_unit_test_setup(numbers_by_option_beat_the_environment, clean),
		cmocka_unit_test_setup(numbers_out_of_range, clean),
		cmocka_unit_test_setup(numbers_that_are_none, clean),
		cmocka_unit_test_setup(texts_by_environment_and_option, clean),
		cmocka_unit_test_setup(texts_too_long, clean),
		cmocka_unit_test_setup(an_unknown_tail_must_be_zero, clean),
		cmocka_unit_test_setup(an_older_caller_has_fewer_options, clean),
		cmocka_unit_test_setup(a_size_that_was_not_set, clean),
		cmocka_unit_test_setup(progress_threads, clean),
		cmocka_unit_test_setup(log_level_by_environment, clean),
		cmocka_unit_test_setup(write_modes, clean),
		cmocka_unit_test_setup(the_table_lists_all, clean),
		cmocka_unit_test_setup(rails_by_name, clean),
		cmocka_unit_test_setup(rails_that_are_mistyped, clean),
		cmocka_unit_test_setup(rails_by_a_long_list, clean),
		cmocka_unit_test(closing_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
