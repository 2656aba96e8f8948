/* SPDX-License-Identifier: MIT
 * Completions, their errors, and others. */
#include "fabric_events.h"
#include <errno.h>
#include <rdma/fi_eq.h>
#include <rdma/fi_errno.h>
#include <stdlib.h>

static void fill_event(const struct fi_cq_data_entry *entry, struct fabric_event *out)
{
	*out = (struct fabric_event){.op = entry->op_context, .len = entry->len};
	if (entry->flags & FI_REMOTE_WRITE) {
		out->kind = FABRIC_ARRIVAL;
		out->immediate = entry->data;
	} else if (entry->flags & FI_RECV) {
		out->kind = FABRIC_MESSAGE;
	}
}

int events_read(struct fid_cq *cq, struct fabric_event *events, int max)
{
	struct fi_cq_data_entry entries[64];
	struct fi_cq_err_entry err = {0};
	ssize_t n = fi_cq_read(cq, entries, max < 64 ? max : 64);

	if (n == -FI_EAGAIN)
		return 0;
	if (n > 0) {
		for (ssize_t i = 0; i < n; i++)
			fill_event(&entries[i], &events[i]);
		return n;
	}
	if (n == -FI_EAVAIL && fi_cq_readerr(cq, &err, 0) == 1) {
		events[0] = (struct fabric_event){.op = err.op_context,
		                                  .error = err.err ? -abs(err.err) : -EIO};
		return 1;
	}
	events[0] = (struct fabric_event){.error = n ? (int)n : -EIO};
	return 1;
}

int events_read_errors(struct fid_eq *eq, struct fabric_event *out)
{
	struct fi_eq_err_entry err = {0};
	uint32_t event;
	char buf[256];

	if (fi_eq_read(eq, &event, buf, sizeof(buf), 0) != -FI_EAVAIL ||
	    fi_eq_readerr(eq, &err, 0) < 0)
		return 0;
	*out = (struct fabric_event){.error = err.err ? -err.err : -EIO};
	return 1;
}
