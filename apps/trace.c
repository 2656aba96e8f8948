/* SPDX-License-Identifier: MIT
 * Reads a request trace, line by line. */
#include "trace.h"
#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define TIMESTAMP_MAX_MS (1ull << 53) /* up to here a double holds every whole number */

struct reader {
	const char *path;
	size_t line; /* from 1 */
	char *why;
	size_t why_len;
};

__attribute__((format(printf, 2, 3))) static int bad_line(const struct reader *reader,
                                                          const char *format, ...)
{
	char what[320];
	va_list args;

	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	snprintf(reader->why, reader->why_len, "%s:%zu: %s", reader->path, reader->line, what);
	return -EINVAL;
}

static int bad_file(const struct reader *reader, int error)
{
	snprintf(reader->why, reader->why_len, "%s: %s: name a readable trace file (JSON lines)",
	         reader->path, error == EINVAL ? "not a file" : strerror(error));
	return -error;
}

static int no_memory(const struct reader *reader)
{
	snprintf(reader->why, reader->why_len, "%s:%zu: out of memory: set a limit to requests",
	         reader->path, reader->line);
	return -ENOMEM;
}

static int read_timestamp(const struct reader *reader, const json_t *object, uint64_t *out)
{
	const json_t *value = json_object_get(object, "timestamp");
	double ms = json_number_value(value);

	if (!value)
		return bad_line(reader, "timestamp is missing");
	if (!json_is_number(value))
		return bad_line(reader, "timestamp must be a number of milliseconds");
	if (ms < 0 || ms > (double)TIMESTAMP_MAX_MS)
		return bad_line(reader, "timestamp is %g: must be from 0 to %g milliseconds", ms,
		                (double)TIMESTAMP_MAX_MS);
	*out = (uint64_t)ms;
	return 0;
}

static int read_tokens(const struct reader *reader, const json_t *object, const char *field,
                       uint32_t min, uint32_t *out)
{
	const json_t *value = json_object_get(object, field);
	json_int_t tokens = json_integer_value(value);

	if (!value)
		return bad_line(reader, "%s is missing", field);
	if (!json_is_integer(value))
		return bad_line(reader, "%s must be a whole number of tokens", field);
	if (tokens < min || tokens > TRACE_MAX_TOKENS)
		return bad_line(reader,
		                "%s is %" JSON_INTEGER_FORMAT ": must be from %u to %u tokens",
		                field, tokens, min, TRACE_MAX_TOKENS);
	*out = (uint32_t)tokens;
	return 0;
}

static int check_hashes(const struct reader *reader, const json_t *array, uint32_t input_length)
{
	size_t expected = (input_length + TRACE_BLOCK_TOKENS - 1) / TRACE_BLOCK_TOKENS;
	const json_t *value;
	size_t i;

	if (!array)
		return bad_line(reader, "hash_ids is missing");
	if (!json_is_array(array))
		return bad_line(reader, "hash_ids must be an array of whole numbers");
	if (json_array_size(array) != expected)
		return bad_line(reader,
		                "hash_ids has %zu entries, but input_length %u makes %zu (one per "
		                "%u tokens)",
		                json_array_size(array), input_length, expected, TRACE_BLOCK_TOKENS);
	json_array_foreach(array, i, value) {
		if (!json_is_integer(value) || json_integer_value(value) < 0)
			return bad_line(reader, "hash_ids[%zu] must be a whole number, 0 or more",
			                i);
	}
	return 0;
}

static int read_hashes(const struct reader *reader, const json_t *object,
                       struct trace_request *request)
{
	const json_t *array = json_object_get(object, "hash_ids");
	const json_t *value;
	size_t i;
	int rc;

	rc = check_hashes(reader, array, request->input_length);
	if (rc)
		return rc;
	request->hashes = json_array_size(array);
	request->hash_ids = calloc(request->hashes, sizeof(request->hash_ids[0]));
	if (!request->hash_ids)
		return no_memory(reader);
	json_array_foreach(array, i, value)
		request->hash_ids[i] = (uint64_t)json_integer_value(value);
	return 0;
}

static int read_request(const struct reader *reader, const json_t *object,
                        struct trace_request *request)
{
	int rc;

	if (!json_is_object(object))
		return bad_line(reader, "not a JSON object: one request per line is needed");
	rc = read_timestamp(reader, object, &request->timestamp_ms);
	if (!rc)
		rc = read_tokens(reader, object, "input_length", 1, &request->input_length);
	if (!rc)
		rc = read_tokens(reader, object, "output_length", 0, &request->output_length);
	if (!rc)
		rc = read_hashes(reader, object, request);
	return rc;
}

static int read_line(const struct reader *reader, const char *line, size_t length,
                     struct trace_request *request)
{
	json_error_t error;
	json_t *object = json_loadb(line, length, JSON_DECODE_ANY, &error);
	int rc;

	if (!object)
		return bad_line(reader, "malformed JSON at column %d: %s", error.column,
		                error.text);
	rc = read_request(reader, object, request);
	json_decref(object);
	return rc;
}

static int append(struct trace *trace, const struct trace_request *request)
{
	size_t count = trace->count;
	struct trace_request *more;

	/* Full at every power of two: no capacity to keep. */
	if (!(count & (count - 1))) {
		more = reallocarray(trace->requests, count ? 2 * count : 1, sizeof(*more));
		if (!more)
			return -ENOMEM;
		trace->requests = more;
	}
	trace->requests[trace->count++] = *request;
	return 0;
}

static bool is_blank(const char *line, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (!isspace((unsigned char)line[i]))
			return false;
	return true;
}

/* Stops at the limit, so the head of a large file costs no more than that. */
static int read_requests(struct reader *reader, FILE *file, size_t limit, struct trace *trace)
{
	struct trace_request request;
	char *line = NULL;
	size_t size = 0;
	ssize_t length;
	int rc = 0;

	while (!rc && (!limit || trace->count < limit)) {
		errno = 0;
		length = getline(&line, &size, file);
		if (length < 0) {
			if (!feof(file))
				rc = bad_file(reader, errno ? errno : EIO);
			break;
		}
		reader->line++;
		if (is_blank(line, (size_t)length))
			continue;
		request = (struct trace_request){.hashes = 0};
		rc = read_line(reader, line, (size_t)length, &request);
		if (!rc && append(trace, &request)) {
			free(request.hash_ids);
			rc = no_memory(reader);
		}
	}
	free(line);
	return rc;
}

/* Not a device: /dev/zero is one endless line. */
static int open_file(const struct reader *reader, FILE **out)
{
	FILE *file = fopen(reader->path, "re");
	struct stat status = {.st_mode = 0};

	if (!file)
		return bad_file(reader, errno);
	fstat(fileno(file), &status);
	if (!(S_ISREG(status.st_mode) || S_ISFIFO(status.st_mode))) {
		fclose(file);
		return bad_file(reader, S_ISDIR(status.st_mode) ? EISDIR : EINVAL);
	}
	*out = file;
	return 0;
}

int trace_load(const char *path, size_t limit, struct trace *out, char *why, size_t why_len)
{
	struct reader reader = {.path = path, .why = why, .why_len = why_len};
	struct trace trace = {.count = 0};
	FILE *file = NULL;
	int rc = open_file(&reader, &file);

	if (rc)
		return rc;
	rc = read_requests(&reader, file, limit, &trace);
	fclose(file);
	if (!rc && !trace.count) {
		snprintf(why, why_len, "%s: no request in it: one JSON object per line is needed",
		         path);
		rc = -EINVAL;
	}
	if (rc)
		trace_free(&trace);
	else
		*out = trace;
	return rc;
}

void trace_free(struct trace *trace)
{
	for (size_t i = 0; i < trace->count; i++)
		free(trace->requests[i].hash_ids);
	free(trace->requests);
	*trace = (struct trace){.count = 0};
}
