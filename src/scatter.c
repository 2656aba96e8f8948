/* SPDX-License-Identifier: MIT
 * kvr_scatter, kvr_gather: slices of one buffer, for many ranks, as one request. */
#include "log.h"
#include "sized.h"
#include <errno.h>
#include <kvrail.h>
#include <stdlib.h>

static int read_slices(const char *call, const struct kvr_slices *user, struct kvr_slices *out)
{
	const char *missing = NULL;
	int rc = sized_read("slices", user, out, sizeof(*out), sizeof(*out));

	if (rc)
		return rc;
	if (!out->local)
		missing = "local";
	else if (!out->remotes)
		missing = "remotes";
	else if (!out->lens)
		missing = "lens";
	if (missing) {
		log_error("%s: slices.%s is NULL", call, missing);
		return -EINVAL;
	}
	if (!out->n || out->n > SIZE_MAX / sizeof(struct kvr_op)) {
		log_error("%s: slices.n is %zu", call, out->n);
		return -EINVAL;
	}
	return 0;
}

/* Returns how many slices have bytes, or a negative errno. */
static ssize_t make_ops(const char *call, const struct kvr_slices *s, struct kvr_op *ops)
{
	uint64_t at = 0;
	ssize_t n = 0;

	for (size_t i = 0; i < s->n; i++) {
		if (s->lens[i])
			ops[n++] = (struct kvr_op){
				.local = s->local,
				.remote = s->remotes[i],
				.local_offset = s->local_offsets ? s->local_offsets[i] : at,
				.remote_offset = s->remote_offsets ? s->remote_offsets[i] : 0,
				.len = s->lens[i],
				.count = 1,
			};
		if (__builtin_add_overflow(at, s->lens[i], &at)) {
			log_error("%s: slices.lens[%zu] is %llu: beyond 64 bits in all", call, i,
			          (unsigned long long)s->lens[i]);
			return -EOVERFLOW;
		}
	}
	if (!n) {
		log_error("%s: slices.lens are all 0", call);
		return -EINVAL;
	}
	return n;
}

static int by_local_offset(const void *a, const void *b)
{
	const struct kvr_op *x = a, *y = b;

	return (x->local_offset > y->local_offset) - (x->local_offset < y->local_offset);
}

/* Sorts the ops. */
static int check_apart(struct kvr_op *ops, size_t n)
{
	qsort(ops, n, sizeof(*ops), by_local_offset);
	for (size_t i = 1; i < n; i++) {
		if (ops[i].local_offset - ops[i - 1].local_offset >= ops[i - 1].len)
			continue;
		log_error(
			"kvr_gather: slices.local_offsets: the %llu bytes at %llu overlap those at "
			"%llu",
			(unsigned long long)ops[i - 1].len,
			(unsigned long long)ops[i - 1].local_offset,
			(unsigned long long)ops[i].local_offset);
		return -EINVAL;
	}
	return 0;
}

int kvr_scatter(struct kvr *kvr, const struct kvr_slices *user, uint32_t counter,
                struct kvr_request **out)
{
	struct kvr_slices slices;
	struct kvr_op *ops;
	ssize_t n;
	int rc = read_slices("kvr_scatter", user, &slices);

	if (rc)
		return rc;
	ops = malloc(slices.n * sizeof(*ops));
	if (!ops)
		return -ENOMEM;
	n = make_ops("kvr_scatter", &slices, ops);
	rc = n < 0 ? (int)n : kvr_write(kvr, ops, (size_t)n, counter, out);
	free(ops);
	return rc;
}

int kvr_gather(struct kvr *kvr, const struct kvr_slices *user, struct kvr_request **out)
{
	struct kvr_slices slices;
	struct kvr_op *ops;
	ssize_t n;
	int rc = read_slices("kvr_gather", user, &slices);

	if (rc)
		return rc;
	ops = malloc(slices.n * sizeof(*ops));
	if (!ops)
		return -ENOMEM;
	n = make_ops("kvr_gather", &slices, ops);
	rc = n < 0 ? (int)n : check_apart(ops, (size_t)n);
	if (!rc)
		rc = kvr_read(kvr, ops, (size_t)n, out);
	free(ops);
	return rc;
}
