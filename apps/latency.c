/* SPDX-License-Identifier: MIT
 * Arrivals, percentiles and ideals. */
#include "latency.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

double latency_arrival(const struct trace *trace, size_t request, double speedup)
{
	uint64_t first = trace->requests[0].timestamp_ms;
	uint64_t ms = trace->requests[request].timestamp_ms;

	return ms > first ? (double)(ms - first) / 1e3 / speedup : 0;
}

double latency_rate(const struct latency_rail *rails, size_t count)
{
	double sum = 0;

	for (size_t i = 0; i < count; i++) {
		size_t j = 0;

		while (j < i && (strcmp(rails[i].host, rails[j].host) ||
		                 strcmp(rails[i].name, rails[j].name)))
			j++;
		if (j < i)
			continue;
		if (rails[i].bits_per_second <= 0)
			return 0;
		sum += rails[i].bits_per_second;
	}
	return sum;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double percentile(const double *sorted, size_t count, size_t percent)
{
	return sorted[(count * percent + 99) / 100 - 1];
}

static double value_of(const struct latency *l, enum latency_what what)
{
	if (what == LATENCY_MS)
		return l->ms;
	return what == LATENCY_IDEAL_MS ? l->ideal_ms : l->ms / l->ideal_ms;
}

int latency_summarize(const struct latency *all, size_t count, enum latency_what what,
                      uint64_t min_bytes, struct latency_summary *out)
{
	double *values = calloc(count + 1, sizeof(*values));
	size_t n = 0;

	if (!values)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		if (all[i].bytes >= min_bytes && (what == LATENCY_MS || all[i].ideal_ms > 0))
			values[n++] = value_of(&all[i], what);
	qsort(values, n, sizeof(*values), by_value);
	*out = (struct latency_summary){.count = n};
	if (n) {
		out->p50 = percentile(values, n, 50);
		out->p90 = percentile(values, n, 90);
		out->p99 = percentile(values, n, 99);
		out->max = values[n - 1];
	}
	free(values);
	return 0;
}
