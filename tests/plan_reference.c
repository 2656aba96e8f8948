/* SPDX-License-Identifier: MIT
 * What a plan has to move, worked out byte by byte from the layouts' definition. */
#include "plan_reference.h"
#include <stdlib.h>
#include <string.h>

const char reference_too_many[] = "more ops than joined runs";

static char names[2][REFERENCE_REGIONS];

struct kvr_region *const *reference_regions(void)
{
	static struct kvr_region *regions[REFERENCE_REGIONS];

	for (size_t i = 0; i < REFERENCE_REGIONS; i++)
		regions[i] = (void *)&names[0][i];
	return regions;
}

struct kvr_remote *const *reference_remotes(void)
{
	static struct kvr_remote *remotes[REFERENCE_REGIONS];

	for (size_t i = 0; i < REFERENCE_REGIONS; i++)
		remotes[i] = (void *)&names[1][i];
	return remotes;
}

/* layer, head: of the model. */
static uint64_t place_of(const struct kvr_layout *l, uint64_t size, const uint32_t *blocks,
                         const uint64_t at[static 4])
{
	uint64_t layer = at[0] - l->first_layer, part = at[1], token = at[2];
	uint64_t head = at[3] - l->first_head;
	uint64_t region = layer * l->layer_regions + part * l->part_regions;

	return region * size + l->offset + layer * l->layer_stride + part * l->part_stride +
	       blocks[token / l->block_tokens] * l->block_stride +
	       token % l->block_tokens * l->token_stride + head * l->head_stride;
}

static bool holds(const struct kvr_layout *l, uint64_t layer, uint64_t head)
{
	return layer >= l->first_layer && layer < (uint64_t)l->first_layer + l->layers &&
	       head >= l->first_head && head < (uint64_t)l->first_head + l->heads;
}

static bool is_wanted(const struct reference *r, uint64_t layer, uint64_t head)
{
	const struct kvr_pages *p = r->pages;

	return holds(r->local, layer, head) && holds(r->remote, layer, head) &&
	       (!p->layers || (layer >= p->first_layer && layer < p->first_layer + p->layers));
}

static bool has_turn(const struct reference *r)
{
	const struct kvr_layout *from = r->direction == KVR_READ ? r->remote : r->local;
	const struct kvr_layout *to = r->direction == KVR_READ ? r->local : r->remote;

	return from->copies < 2 || (to->copy + r->pages->turn) % from->copies == from->copy;
}

static void mark_head(struct reference *r, const uint64_t at[static 4])
{
	uint64_t local = place_of(r->local, r->local_size, r->pages->local_blocks, at);
	uint64_t remote = place_of(r->remote, r->remote_size, r->pages->remote_blocks, at);

	for (uint64_t b = 0; b < r->local->head_bytes; b++)
		r->from[local + b] = (struct reference_byte){
			.to = remote + b + 1,
			.local = at[2] / r->local->block_tokens,
			.remote = at[2] / r->remote->block_tokens,
		};
	r->bytes += r->local->head_bytes;
}

static void mark_all(struct reference *r)
{
	const struct kvr_layout *l = r->local;

	for (uint64_t layer = l->first_layer; layer < l->first_layer + l->layers; layer++)
		for (uint64_t head = l->first_head; head < l->first_head + l->heads; head++)
			for (uint64_t part = 0; is_wanted(r, layer, head) && part < l->parts;
			     part++)
				for (uint64_t t = 0; t < r->pages->tokens; t++)
					mark_head(r, (uint64_t[]){layer, part,
					                          r->pages->first_token + t, head});
}

static uint64_t regions_of(const struct kvr_layout *l)
{
	return 1 + (l->layers - 1) * l->layer_regions + (l->parts - 1) * l->part_regions;
}

static bool are_near(uint64_t a, uint64_t b)
{
	return a <= b + 1 && b <= a + 1;
}

/* Whether a run goes on from the first of two local neighbours to the second. Of blocks only where
 * both tables name them one after the other, as a plan does not sort tables. */
static bool goes_on(const struct reference *r, const struct reference_byte *a,
                    const struct reference_byte *b)
{
	return a->to && b->to == a->to + 1 && (b->to - 1) % r->remote_size &&
	       are_near(a->local, b->local) && are_near(a->remote, b->remote);
}

static uint64_t count_runs(const struct reference *r)
{
	uint64_t runs = 0;

	for (uint64_t i = 0; i < r->local_places; i++)
		if (r->from[i].to &&
		    (i % r->local_size == 0 || !goes_on(r, &r->from[i - 1], &r->from[i])))
			runs++;
	return runs;
}

void reference_open(struct reference *r)
{
	r->local_size = (uint64_t)kvr_layout_bytes(r->local);
	r->remote_size = (uint64_t)kvr_layout_bytes(r->remote);
	r->local_places = r->local_size * regions_of(r->local);
	r->from = calloc(r->local_places, sizeof(*r->from));
	r->bytes = 0;
	if (has_turn(r))
		mark_all(r);
	r->left = r->bytes;
	r->runs = count_runs(r);
}

void reference_close(struct reference *r)
{
	free(r->from);
}

static const char *check_run(struct reference *r, const struct kvr_op *op, uint64_t local_at,
                             uint64_t remote_at)
{
	uint64_t region = (uint64_t)((const char *)op->local - names[0]);
	uint64_t remote = (uint64_t)((const char *)op->remote - names[1]);

	if (region >= regions_of(r->local) || remote >= regions_of(r->remote))
		return "in a region that the layout does not have";
	if (local_at + op->len > r->local_size || remote_at + op->len > r->remote_size)
		return "leaves its region";
	for (uint64_t b = 0; b < op->len; b++) {
		uint64_t *to = &r->from[region * r->local_size + local_at + b].to;

		if (*to != remote * r->remote_size + remote_at + b + 1)
			return "moves a byte that is not wanted, elsewhere or twice";
		*to = 0;
		r->left--;
	}
	return NULL;
}

const char *reference_check(struct reference *r, const struct kvr_op *ops, size_t n)
{
	const char *wrong = NULL;

	for (size_t i = 0; i < n; i++) {
		const struct kvr_op *op = &ops[i];
		uint64_t into = r->direction == KVR_READ ? op->local_stride : op->remote_stride;

		if (!op->len || !op->count || (op->count > 1 && into < op->len))
			return "an op that no transfer takes";
		for (uint64_t run = 0; !wrong && run < op->count; run++)
			wrong = check_run(r, op, op->local_offset + run * op->local_stride,
			                  op->remote_offset + run * op->remote_stride);
		if (wrong)
			return wrong;
	}
	return r->left ? "leaves bytes out" : NULL;
}

/* Asked for fewer ops than there are, it gives the first of them and the same number. */
static const char *check_part(const struct kvr_plan *plan, const struct reference *r,
                              const struct kvr_op *ops, size_t n)
{
	size_t max = n / 2;
	struct kvr_op *part = calloc(max + 1, sizeof(*part)), none = {0};
	const char *wrong = NULL;
	ssize_t rc =
		kvr_plan_ops(plan, reference_regions(), reference_remotes(), r->pages, part, max);

	if (rc != (ssize_t)n)
		wrong = "another number when fewer are asked for";
	else if (memcmp(part, ops, max * sizeof(*ops)) || memcmp(&part[max], &none, sizeof(none)))
		wrong = "other ops, or more, when fewer are asked for";
	free(part);
	return wrong;
}

static const char *check_plan(const struct kvr_plan *plan, struct reference *r, uint64_t *count)
{
	ssize_t n = kvr_plan_ops(plan, NULL, NULL, r->pages, NULL, 0), rc;
	struct kvr_op *ops;
	const char *wrong = NULL;

	if (n < 0)
		return "a right plan is refused";
	*count = (uint64_t)n;
	if (kvr_plan_bytes(plan, r->pages) != (ssize_t)r->bytes)
		return "another number of bytes";
	ops = calloc((size_t)n + 1, sizeof(*ops));
	rc = kvr_plan_ops(plan, reference_regions(), reference_remotes(), r->pages, ops,
	                  (size_t)n + 1);
	if (rc != n)
		wrong = "another number of ops when they are filled in";
	if (!wrong)
		wrong = check_part(plan, r, ops, (size_t)n);
	if (!wrong)
		wrong = reference_check(r, ops, (size_t)n);
	if (!wrong && *count > r->runs)
		wrong = reference_too_many;
	free(ops);
	return wrong;
}

const char *reference_run(struct reference *r, uint64_t *ops)
{
	struct kvr_plan *plan;
	const char *wrong;

	if (kvr_plan_open(r->local, r->remote, r->direction, &plan))
		return "right layouts are refused";
	reference_open(r);
	wrong = check_plan(plan, r, ops);
	reference_close(r);
	kvr_plan_close(plan);
	return wrong;
}

struct kvr_pages reference_pages(const uint32_t *local, const uint32_t *remote, size_t count,
                                 uint64_t first, uint64_t tokens)
{
	return (struct kvr_pages){
		.size = sizeof(struct kvr_pages),
		.local_blocks = local,
		.remote_blocks = remote,
		.local_count = count,
		.remote_count = count,
		.first_token = first,
		.tokens = tokens,
	};
}
