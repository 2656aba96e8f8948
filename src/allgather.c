/* SPDX-License-Identifier: MIT
 * kvr_allgather: in log2(n) steps, so that each rank meets few peers (Bruck et al., "Efficient
 * algorithms for all-to-all communications in multiport message-passing systems", IEEE TPDS 8(11),
 * 1997). In step k a rank gets from rank + 2^k what that one has so far. */
#include "context.h"
#include "control.h"
#include "log.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_MS 60000 /* without a step */

static bool step_is_over(void *arg)
{
	return collective_is_over(arg) || collective_is_hopeless(arg);
}

static bool step_is_asked(void *arg)
{
	return collective_is_asked(arg) || collective_is_hopeless(arg);
}

static int wait_for(struct kvr *kvr, bool (*ready)(void *))
{
	struct wait wait = {.ready = ready, .arg = kvr, .timeout_ms = TIMEOUT_MS};
	const struct collective *c = &kvr->collective;
	char from[96], to[96];
	int rc;

	engine_kick(kvr);
	rc = engine_wait(kvr, &wait);
	if (rc)
		log_error("kvr_allgather: nothing from %s or %s for %d s: do all ranks make this "
		          "call?",
		          peer_name(c->from, from), peer_name(c->to, to), TIMEOUT_MS / 1000);
	return rc;
}

/* Gets `count` blocks from rank + distance behind the first `distance` ones of `blocks`, and gives
 * as many of the first ones to rank - distance. */
static int run_step(struct kvr *kvr, uint8_t *blocks, size_t len, int distance, int count)
{
	struct collective *c = &kvr->collective;
	int n = kvr->nranks, rc;

	engine_lock(kvr);
	c->from = kvr->peers[(kvr->rank + distance) % n];
	c->to = kvr->peers[(kvr->rank + n - distance) % n];
	c->into = blocks + (size_t)distance * len;
	c->size = c->wanted = (uint64_t)count * len;
	rc = collective_ask(kvr);
	engine_unlock(kvr);
	if (rc || (rc = wait_for(kvr, step_is_asked)))
		return rc;
	engine_lock(kvr);
	rc = collective_give(kvr, blocks, (uint64_t)count * len);
	engine_unlock(kvr);
	return rc ? rc : wait_for(kvr, step_is_over);
}

/* Behind a step, however it went. Blocks go with those that failed. */
static int end_step(struct kvr *kvr, int rc)
{
	struct collective *c = &kvr->collective;

	engine_lock(kvr);
	if (!rc && collective_is_hopeless(kvr))
		rc = -EHOSTUNREACH;
	if (rc == -EHOSTUNREACH)
		collective_break(kvr);
	control_drop_bodies(c->to);
	c->into = NULL;
	c->step++;
	engine_unlock(kvr);
	return rc;
}

int kvr_allgather(struct kvr *kvr, const void *mine, void *all, size_t len)
{
	struct collective *c = &kvr->collective;
	int n = kvr->nranks, rc = 0, count;
	uint8_t *blocks = calloc(n, len ? len : 1); /* of rank, rank + 1, ... */

	if (!blocks)
		return -ENOMEM;
	memcpy(blocks, mine, len);
	engine_lock(kvr);
	c->sequence++;
	c->step = 0;
	engine_unlock(kvr);
	for (int distance = 1; !rc && distance < n; distance *= 2) {
		count = distance < n - distance ? distance : n - distance;
		rc = end_step(kvr, run_step(kvr, blocks, len, distance, count));
	}
	for (int i = 0; !rc && i < n; i++)
		memcpy((uint8_t *)all + (size_t)((kvr->rank + i) % n) * len,
		       blocks + (size_t)i * len, len);
	free(blocks);
	return rc;
}
