/* SPDX-License-Identifier: MIT
 * kvrail replay --csv: a line for each request. */
#include "replay_summary.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

int replay_table(const struct latency *all, size_t count, const char *path)
{
	FILE *file = fopen(path, "we");
	int rc = 0;

	if (!file)
		return -errno;
	fputs("request,bytes,ready_ms,latency_ms,ideal_ms\n", file);
	for (size_t i = 0; i < count; i++)
		fprintf(file, "%zu,%" PRIu64 ",%.3f,%.3f,%.3f\n", all[i].request + 1, all[i].bytes,
		        all[i].ready_ms, all[i].ms, all[i].ideal_ms);
	if (ferror(file))
		rc = -EIO;
	if (fclose(file) && !rc)
		rc = -errno;
	return rc;
}
