/* SPDX-License-Identifier: MIT
 * Request traces: good ones, the one in the tree, a published one, and every way to be bad. */
#include "trace.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define GOOD                                                                                       \
	"{\"timestamp\": 7, \"input_length\": 513, \"output_length\": 9, \"hash_ids\": [4, 5]}\n"

static char why[512];

static int load_text(const char *text, size_t limit, struct trace *out, char path[static 64])
{
	int fd, rc;

	snprintf(path, 64, "/tmp/kvrail_trace_XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
	memset(why, 0, sizeof(why));
	rc = trace_load(path, limit, out, why, sizeof(why));
	unlink(path);
	return rc;
}

static struct trace good(const char *text, size_t limit)
{
	struct trace trace;
	char path[64];

	if (load_text(text, limit, &trace, path))
		fail_msg("%s", why);
	return trace;
}

/* `lines` come behind a good one; the message must name the file, line and both words. */
static void bad(const char *lines, int line, const char *word, const char *other_word)
{
	struct trace trace, untouched;
	char text[1024], path[64], where[80];

	memset(&trace, 0x5a, sizeof(trace));
	untouched = trace;
	snprintf(text, sizeof(text), GOOD "%s\n", lines);
	assert_int_equal(load_text(text, 0, &trace, path), -EINVAL);
	assert_memory_equal(&trace, &untouched, sizeof(trace));
	snprintf(where, sizeof(where), "%s:%d: ", path, line);
	if (strncmp(why, where, strlen(where)) || !strstr(why, word) || !strstr(why, other_word) ||
	    strchr(why, '\n'))
		fail_msg("for %s the message is: %s", lines, why);
}

static void a_request_is_read(void **state)
{
	struct trace trace = good(GOOD, 0);
	const struct trace_request *r = trace.requests;

	(void)state;
	assert_int_equal(trace.count, 1);
	assert_int_equal(r->timestamp_ms, 7);
	assert_int_equal(r->input_length, 513);
	assert_int_equal(r->output_length, 9);
	assert_int_equal(r->hashes, 2);
	assert_int_equal(r->hash_ids[0], 4);
	assert_int_equal(r->hash_ids[1], 5);
	trace_free(&trace);
	assert_int_equal(trace.count, 0);
	assert_null(trace.requests);
	trace_free(&trace);
}

static void blank_lines_and_a_missing_last_line_end(void **state)
{
	struct trace trace =
		good("\n  \t\r\n" GOOD "\n\n"
	             "{\"timestamp\": 12.75, \"input_length\": 1, \"output_length\": 0, "
	             "\"hash_ids\": [0], \"more\": {}}",
	             0);

	(void)state;
	assert_int_equal(trace.count, 2);
	assert_int_equal(trace.requests[1].timestamp_ms, 12);
	assert_int_equal(trace.requests[1].output_length, 0);
	trace_free(&trace);
}

static void nothing_is_read_behind_the_limit(void **state)
{
	struct trace trace = good(GOOD GOOD GOOD "rubbish\n", 3);
	char path[64];

	(void)state;
	assert_int_equal(trace.count, 3);
	trace_free(&trace);
	trace = good(GOOD GOOD, 5);
	assert_int_equal(trace.count, 2);
	trace_free(&trace);
	assert_int_equal(load_text(GOOD "rubbish\n", 2, &trace, path), -EINVAL);
}

static void a_bad_line_is_named(void **state)
{
#define LINE(timestamp, input, output, hashes)                                                     \
	"{\"timestamp\": " timestamp ", \"input_length\": " input ", \"output_length\": " output   \
	", \"hash_ids\": " hashes "}"
	(void)state;
	bad("{\"timestamp\": 1", 2, "malformed JSON", "column");
	bad("\n\nrubbish", 4, "malformed JSON", "rubbish");
	bad(GOOD "{} {}", 3, "malformed JSON", "end of file");
	bad("[1, 2]", 2, "not a JSON object", "");
	bad("17", 2, "not a JSON object", "");
	bad("{\"input_length\": 1}", 2, "timestamp", "missing");
	bad(LINE("-1", "1", "1", "[1]"), 2, "timestamp", "-1");
	bad(LINE("-0.5", "1", "1", "[1]"), 2, "timestamp", "-0.5");
	bad(LINE("1e300", "1", "1", "[1]"), 2, "timestamp", "1e+300");
	bad(LINE("\"1\"", "1", "1", "[1]"), 2, "timestamp", "number");
	bad("{\"timestamp\": 1, \"output_length\": 1}", 2, "input_length", "missing");
	bad(LINE("1", "0", "1", "[]"), 2, "input_length", "is 0");
	bad(LINE("1", "-5", "1", "[]"), 2, "input_length", "is -5");
	bad(LINE("1", "1.5", "1", "[1]"), 2, "input_length", "whole number");
	bad(LINE("1", "null", "1", "[1]"), 2, "input_length", "whole number");
	bad(LINE("1", "16777217", "1", "[1]"), 2, "input_length", "is 16777217");
	bad(LINE("1", "4294967297", "1", "[1]"), 2, "input_length", "is 4294967297");
	bad(LINE("1", "99999999999999999999", "1", "[1]"), 2, "malformed JSON", "too big");
	bad("{\"timestamp\": 1, \"input_length\": 1}", 2, "output_length", "missing");
	bad(LINE("1", "1", "-2", "[1]"), 2, "output_length", "is -2");
	bad(LINE("1", "1", "16777217", "[1]"), 2, "output_length", "is 16777217");
	bad("{\"timestamp\": 1, \"input_length\": 1, \"output_length\": 1}", 2, "hash_ids",
	    "missing");
	bad(LINE("1", "1", "1", "7"), 2, "hash_ids", "array");
	bad(LINE("1", "1", "1", "[]"), 2, "hash_ids has 0", "makes 1");
	bad(LINE("1", "512", "1", "[1, 2]"), 2, "hash_ids has 2", "512 makes 1");
	bad(LINE("1", "513", "1", "[1]"), 2, "hash_ids has 1", "513 makes 2");
	bad(LINE("1", "513", "1", "[1, -1]"), 2, "hash_ids[1]", "whole number");
	bad(LINE("1", "513", "1", "[1.5, 1]"), 2, "hash_ids[0]", "whole number");
	bad(LINE("1", "1", "1", "[\"a\"]"), 2, "hash_ids[0]", "whole number");
#undef LINE
}

static void a_bad_file_is_named(void **state)
{
	struct trace trace;
	char path[64];

	(void)state;
	assert_int_equal(load_text("", 0, &trace, path), -EINVAL);
	assert_non_null(strstr(why, path));
	assert_non_null(strstr(why, "no request"));
	assert_int_equal(load_text("\n \n", 0, &trace, path), -EINVAL);
	assert_int_equal(trace_load("/no/such.jsonl", 0, &trace, why, sizeof(why)), -ENOENT);
	assert_non_null(strstr(why, "/no/such.jsonl"));
	assert_int_equal(trace_load("/tmp", 0, &trace, why, sizeof(why)), -EISDIR);
	assert_non_null(strstr(why, "/tmp"));
	assert_int_equal(trace_load("/dev/zero", 0, &trace, why, sizeof(why)), -EINVAL);
	assert_non_null(strstr(why, "/dev/zero: not a file"));
	assert_int_equal(trace_load("/no/such.jsonl", 0, &trace, NULL, 0), -ENOENT);
}

static void check_requests(const struct trace *trace)
{
	for (size_t i = 0; i < trace->count; i++) {
		const struct trace_request *r = &trace->requests[i];

		assert_true(r->hashes == r->input_length / 512 + (r->input_length % 512 != 0));
		assert_true(!i || r->timestamp_ms >= r[-1].timestamp_ms);
	}
}

static void the_sample_is_like_real_traffic(void **state)
{
	uint32_t shortest = UINT32_MAX, longest = 0;
	bool shared = false;
	struct trace trace;

	(void)state;
	if (trace_load(KVR_SOURCE_DIR "/apps/traces/sample.jsonl", 0, &trace, why, sizeof(why)))
		fail_msg("%s", why);
	assert_in_range(trace.count, 20, 30);
	check_requests(&trace);
	for (size_t i = 0; i < trace.count; i++) {
		const struct trace_request *r = &trace.requests[i];

		shortest = r->input_length < shortest ? r->input_length : shortest;
		longest = r->input_length > longest ? r->input_length : longest;
		shared |= i && r->hash_ids[0] == trace.requests[0].hash_ids[0];
	}
	assert_true(shared);
	assert_in_range(shortest, 100, 400);
	assert_in_range(longest, 5000, 7000);
	trace_free(&trace);
}

static void the_published_trace_is_read(void **state)
{
	const char *shared = getenv("KVR_TEST_SHARED");
	struct trace trace;
	char path[4096];

	(void)state;
	snprintf(path, sizeof(path), "%s/data/conversation_trace.jsonl",
	         shared ? shared : KVR_SOURCE_DIR "/../shared");
	if (access(path, R_OK)) {
		print_message("skipped: no %s (set KVR_TEST_SHARED)\n", path);
		skip();
	}
	if (trace_load(path, 0, &trace, why, sizeof(why)))
		fail_msg("%s", why);
	assert_int_equal(trace.count, 12031);
	check_requests(&trace);
	assert_int_equal(trace.requests[0].input_length, 6758);
	assert_int_equal(trace.requests[12030].input_length, 20774);
	assert_int_equal(trace.requests[12030].hash_ids[40], 182789);
	trace_free(&trace);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_is_read),
		cmocka_unit_test(blank_lines_and_a_missing_last_line_end),
		cmocka_unit_test(nothing_is_read_behind_the_limit),
		cmocka_unit_test(a_bad_line_is_named),
		cmocka_unit_test(a_bad_file_is_named),
		cmocka_unit_test(the_sample_is_like_real_traffic),
		cmocka_unit_test(the_published_trace_is_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
