/* SPDX-License-Identifier: MIT
 * A request trace: one JSON object per line, as published with the Mooncake paper. */
#ifndef TRACE_H
#define TRACE_H

#include <stddef.h>
#include <stdint.h>

#define TRACE_BLOCK_TOKENS 512        /* one hash id each */
#define TRACE_MAX_TOKENS   (1u << 24) /* a longer request is taken for a damaged line */

struct trace_request {
	uint64_t timestamp_ms;
	uint32_t input_length, output_length; /* tokens */
	size_t hashes;
	uint64_t *hash_ids;
};

struct trace {
	size_t count;
	struct trace_request *requests;
};

/* Reads the first `limit` requests (0: all). -ENOENT and other errno of the file; -EINVAL: a bad
 * line or no request at all; *why gets one line, with file and line number and what is wrong. */
int trace_load(const char *path, size_t limit, struct trace *out, char *why, size_t why_len);
void trace_free(struct trace *);

#endif
