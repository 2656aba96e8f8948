/* SPDX-License-Identifier: MIT
 * A source's work in kvr_reshard. */
#include "mover.h"
#include "clock.h"
#include "context.h"
#include <errno.h>
#include <stdlib.h>

#define PIECES_AT_ONCE (LANE_WINDOW / 2) /* of one write to one peer, which takes twice as many */
#define NAP_MS         10

static struct kvr_pages pages_of(const struct mover *m, size_t request, size_t target)
{
	struct kvr_pages pages = m->requests[request];

	pages.remote_blocks = m->targets[target].tables[request];
	pages.remote_count = m->targets[target].counts[request];
	return pages;
}

/* At most so many as the ops make: a run is cut, or joined with the one before. */
static uint64_t count_pieces(const struct kvr *kvr, const struct kvr_op *ops, size_t n)
{
	uint64_t pieces = 0;

	for (size_t i = 0; i < n; i++)
		pieces += ops[i].count * (1 + ops[i].len / kvr->config.piece_bytes);
	return pieces;
}

/* The ops for as many layers as one write takes; there may be none. */
static ssize_t make_ops(struct mover *m, struct kvr_pages *pages, struct kvr_op **out)
{
	const struct mover_target *target = &m->targets[m->target];
	ssize_t n = kvr_plan_ops(target->plan, NULL, NULL, pages, NULL, 0);
	struct kvr_op *ops;

	while (n > 0) {
		ops = malloc((size_t)n * sizeof(*ops));
		if (!ops)
			return -ENOMEM;
		n = kvr_plan_ops(target->plan, m->regions, target->remotes, pages, ops, (size_t)n);
		*out = ops;
		if (n < 0 || pages->layers == 1 ||
		    count_pieces(m->kvr, ops, (size_t)n) <= PIECES_AT_ONCE)
			break;
		free(ops);
		*out = NULL;
		pages->layers /= 2;
		n = kvr_plan_ops(target->plan, NULL, NULL, pages, NULL, 0);
	}
	return n;
}

static void pass(struct mover *m, const struct kvr_pages *pages)
{
	const struct kvr_pages *request = &m->requests[m->request];

	m->layer += pages->layers;
	if (m->layer < request->layers)
		return;
	m->layer = 0;
	if (++m->target < m->target_count)
		return;
	m->target = 0;
	m->request++;
}

static int start_one(struct mover *m)
{
	struct kvr_pages pages = pages_of(m, m->request, m->target);
	struct kvr_op *ops = NULL;
	ssize_t n, bytes;
	int rc = 0;

	pages.first_layer += m->layer;
	pages.layers -= m->layer;
	n = make_ops(m, &pages, &ops);
	bytes = n > 0 ? kvr_plan_bytes(m->targets[m->target].plan, &pages) : n;
	if (n > 0)
		rc = kvr_write(m->kvr, ops, (size_t)n, KVR_NO_COUNTER, &m->writes[m->in_flight]);
	free(ops);
	if (n < 0 || rc)
		return n < 0 ? (int)n : rc;
	m->in_flight += n > 0;
	m->bytes += (uint64_t)bytes;
	m->ops += (uint64_t)n;
	pass(m, &pages);
	return 0;
}

static bool is_all_begun(const struct mover *m)
{
	return m->error || m->request == m->request_count || !m->target_count;
}

/* Takes the results of writes that have ended; waits so long for the first one. */
static void reap(struct mover *m, int timeout_ms)
{
	int rc;

	for (unsigned int i = m->in_flight; i-- > 0;) {
		rc = kvr_request_wait(m->writes[i], i ? 0 : timeout_ms);
		if (rc == -ETIMEDOUT)
			continue;
		if (!m->error)
			m->error = rc;
		kvr_request_close(m->writes[i]);
		m->writes[i] = m->writes[--m->in_flight];
	}
}

bool mover_run(struct mover *m, int timeout_ms)
{
	int64_t end = clock_now() + timeout_ms * 1000000ll;

	while (clock_now() < end && (m->in_flight || !is_all_begun(m))) {
		bool room = m->in_flight < MOVER_WRITES && !is_all_begun(m);

		if (room)
			m->error = start_one(m);
		reap(m, room ? 0 : NAP_MS);
	}
	return !m->in_flight && is_all_begun(m);
}

void mover_abort(struct mover *m, int error)
{
	m->error = error;
	for (unsigned int i = 0; i < m->in_flight; i++)
		kvr_request_cancel(m->writes[i]);
	while (m->in_flight)
		reap(m, -1);
}
