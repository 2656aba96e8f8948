/* SPDX-License-Identifier: MIT
 * Two KV layouts and a request's block tables -> the ops that turn one into the other. */
#include "layout.h"
#include "log.h"
#include "pages.h"
#include "table.h"
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

/* Numbers of layers, or of heads, of the model. */
struct range {
	uint32_t first, count;
};

struct kvr_plan {
	struct kvr_layout local, remote;
	bool is_read;
	struct range heads, layers; /* that both sides hold */
};

static struct range range_both(struct range a, struct range b)
{
	uint32_t first = a.first > b.first ? a.first : b.first;
	uint32_t a_end = a.first + a.count, b_end = b.first + b.count;
	uint32_t end = a_end < b_end ? a_end : b_end;

	return (struct range){first, end > first ? end - first : 0};
}

static int check_pair(const struct kvr_layout *local, const struct kvr_layout *remote)
{
	if (local->parts != remote->parts) {
		log_error("kvr_plan_open: local.parts is %u, remote.parts %u: must be the same",
		          local->parts, remote->parts);
		return -EINVAL;
	}
	if (local->head_bytes != remote->head_bytes) {
		log_error(
			"kvr_plan_open: local.head_bytes is %u, remote.head_bytes %u: must be the "
			"same, as nothing is converted",
			local->head_bytes, remote->head_bytes);
		return -EINVAL;
	}
	return 0;
}

int kvr_plan_open(const struct kvr_layout *local, const struct kvr_layout *remote,
                  enum kvr_direction direction, struct kvr_plan **out)
{
	struct kvr_plan plan = {.is_read = direction == KVR_READ}, *copy;
	int rc;

	if (direction != KVR_WRITE && direction != KVR_READ) {
		log_error("kvr_plan_open: direction is %d: must be KVR_WRITE or KVR_READ",
		          (int)direction);
		return -EINVAL;
	}
	rc = layout_read("local", local, &plan.local);
	if (!rc)
		rc = layout_read("remote", remote, &plan.remote);
	if (!rc)
		rc = check_pair(&plan.local, &plan.remote);
	if (rc)
		return rc;
	plan.heads = range_both((struct range){plan.local.first_head, plan.local.heads},
	                        (struct range){plan.remote.first_head, plan.remote.heads});
	plan.layers = range_both((struct range){plan.local.first_layer, plan.local.layers},
	                         (struct range){plan.remote.first_layer, plan.remote.layers});
	copy = malloc(sizeof(*copy));
	if (!copy)
		return -ENOMEM;
	*copy = plan;
	*out = copy;
	return 0;
}

void kvr_plan_close(struct kvr_plan *plan)
{
	free(plan);
}

static bool is_our_turn(const struct kvr_plan *plan, uint32_t turn)
{
	const struct kvr_layout *from = plan->is_read ? &plan->remote : &plan->local;
	const struct kvr_layout *to = plan->is_read ? &plan->local : &plan->remote;

	return ((uint64_t)to->copy + turn) % from->copies == from->copy;
}

/* The layers that this pair of ranks moves. */
static struct range layers_of(const struct kvr_plan *plan, const struct kvr_pages *pages)
{
	struct range wanted = {pages->first_layer, pages->layers};

	if (!is_our_turn(plan, pages->turn))
		return (struct range){0, 0};
	return pages->layers ? range_both(plan->layers, wanted) : plan->layers;
}

/* Also bounds the number of ops and all numbers on the way there. */
static int count_bytes(const struct kvr_plan *plan, const struct kvr_pages *pages, uint64_t *out)
{
	uint64_t bytes = layers_of(plan, pages).count;

	if (__builtin_mul_overflow(bytes, plan->local.parts, &bytes) ||
	    __builtin_mul_overflow(bytes, plan->heads.count, &bytes) ||
	    __builtin_mul_overflow(bytes, plan->local.head_bytes, &bytes) ||
	    __builtin_mul_overflow(bytes, pages->tokens, &bytes) || bytes > INT64_MAX) {
		log_error("pages.tokens is %llu: more than 2^63 bytes in all",
		          (unsigned long long)pages->tokens);
		return -EOVERFLOW;
	}
	*out = bytes;
	return 0;
}

ssize_t kvr_plan_bytes(const struct kvr_plan *plan, const struct kvr_pages *user)
{
	struct kvr_pages pages;
	uint64_t bytes = 0;
	int rc = pages_read(user, &pages);

	if (!rc)
		rc = count_bytes(plan, &pages, &bytes);
	return rc ? rc : (ssize_t)bytes;
}

/* Layers and parts whose regions are others on either side: those are gone through one by one. */
struct regions {
	struct kvr_region *const *local;
	struct kvr_remote *const *remote;
	struct range layers;
	uint32_t layer_step, part_step;
};

static struct regions regions_of(const struct kvr_plan *plan, struct range layers,
                                 struct kvr_region *const *local, struct kvr_remote *const *remote)
{
	bool by_layer = plan->local.layer_regions || plan->remote.layer_regions;
	bool by_part = plan->local.part_regions || plan->remote.part_regions;

	return (struct regions){local, remote, layers, by_layer ? 1 : layers.count,
	                        by_part ? 1 : plan->local.parts};
}

static uint64_t region_index(const struct kvr_layout *l, uint32_t layer, uint32_t part)
{
	return (uint64_t)(layer - l->first_layer) * l->layer_regions +
	       (uint64_t)part * l->part_regions;
}

/* Where block 0 of a layer and part begins on both sides, with the first head of both. */
static struct kvr_op origin_of(const struct kvr_plan *plan, const struct regions *regions,
                               uint32_t layer, uint32_t part)
{
	const struct kvr_layout *local = &plan->local, *remote = &plan->remote;
	uint32_t head = plan->heads.first;
	struct kvr_op op = {
		.local_offset = layout_at(local, layer - local->first_layer, part,
	                                  head - local->first_head),
		.remote_offset = layout_at(remote, layer - remote->first_layer, part,
	                                   head - remote->first_head),
	};

	if (regions->local && regions->remote) {
		op.local = regions->local[region_index(local, layer, part)];
		op.remote = regions->remote[region_index(remote, layer, part)];
	}
	return op;
}

static int check_regions(const struct kvr_plan *plan, const struct regions *r)
{
	struct kvr_op op;

	if (!r->local || !r->remote) {
		log_error("kvr_plan_ops: the array of %s is NULL",
		          r->local ? "remotes" : "local regions");
		return -EINVAL;
	}
	for (uint32_t i = 0; i < r->layers.count; i += r->layer_step)
		for (uint32_t part = 0; part < plan->local.parts; part += r->part_step) {
			op = origin_of(plan, r, r->layers.first + i, part);
			if (op.local && op.remote)
				continue;
			log_error("kvr_plan_ops: the %s of layer %u, part %u is NULL",
			          op.local ? "remote" : "local region", r->layers.first + i, part);
			return -EINVAL;
		}
	return 0;
}

static struct table_side side_of(const struct kvr_layout *l, const uint32_t *blocks)
{
	return (struct table_side){blocks, l->block_tokens, l->block_stride, l->token_stride};
}

static struct table table_of(const struct kvr_plan *plan, const struct kvr_pages *pages,
                             const struct regions *regions)
{
	const struct kvr_layout *local = &plan->local, *remote = &plan->remote;
	struct table table = {
		.local = side_of(local, pages->local_blocks),
		.remote = side_of(remote, pages->remote_blocks),
		.first = pages->first_token,
		.count = pages->tokens,
		.len = local->head_bytes,
	};

	table.dim[table.n++] =
		(struct box_dim){plan->heads.count, local->head_stride, remote->head_stride};
	table.dim[table.n++] =
		(struct box_dim){regions->part_step, local->part_stride, remote->part_stride};
	table.dim[table.n++] =
		(struct box_dim){regions->layer_step, local->layer_stride, remote->layer_stride};
	return table;
}

static void put_ops(const struct kvr_plan *plan, const struct kvr_pages *pages,
                    const struct regions *r, struct op_list *out)
{
	struct table table = table_of(plan, pages, r);
	uint64_t each = 0, before;
	struct kvr_op origin;

	for (uint32_t i = 0; i < r->layers.count; i += r->layer_step)
		for (uint32_t part = 0; part < plan->local.parts; part += r->part_step) {
			/* All have as many ops as the first one. */
			if (each && out->count >= out->max) {
				out->count += each;
				continue;
			}
			before = out->count;
			origin = origin_of(plan, r, r->layers.first + i, part);
			table_ops(&table, &origin, out);
			each = out->count - before;
		}
}

ssize_t kvr_plan_ops(const struct kvr_plan *plan, struct kvr_region *const *local,
                     struct kvr_remote *const *remote, const struct kvr_pages *user,
                     struct kvr_op *ops, size_t max)
{
	struct op_list list = {.ops = ops, .max = max};
	struct regions regions;
	struct kvr_pages pages;
	uint64_t bytes;
	int rc = pages_read(user, &pages);

	if (!rc)
		rc = pages_check(&pages, &plan->local, &plan->remote);
	if (!rc)
		rc = count_bytes(plan, &pages, &bytes);
	if (rc || !bytes)
		return rc;
	regions = regions_of(plan, layers_of(plan, &pages), max ? local : NULL, remote);
	if (max && !ops) {
		log_error("kvr_plan_ops: ops is NULL, max %zu", max);
		return -EINVAL;
	}
	if (max && (rc = check_regions(plan, &regions)))
		return rc;
	put_ops(plan, &pages, &regions, &list);
	return (ssize_t)list.count;
}
