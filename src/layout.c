/* SPDX-License-Identifier: MIT
 * How a KV cache lies in memory: checks, and the layouts that engines commonly have. */
#include "layout.h"
#include "log.h"
#include "sized.h"
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#define AXES 5

/* An axis of the cache. Letter: see kvr_layout_pack. */
struct axis {
	char letter;
	const char *stride_name, *things;
	uint64_t count, stride;
	bool has_regions; /* each of them is in a region of its own */
};

/* From the one that is innermost in most caches; see set_strides. */
static void get_axes(const struct kvr_layout *l, struct axis axes[static AXES])
{
	const struct axis all[AXES] = {
		{'h', "head_stride", "heads", l->heads, l->head_stride, false},
		{'t', "token_stride", "tokens", l->block_tokens, l->token_stride, false},
		{'b', "block_stride", "blocks", l->blocks, l->block_stride, false},
		{'p', "part_stride", "parts", l->parts, l->part_stride, l->part_regions},
		{'l', "layer_stride", "layers", l->layers, l->layer_stride, l->layer_regions},
	};

	memcpy(axes, all, sizeof(all));
}

static int bad(const char *name, const char *field, uint64_t value, int rc, const char *what)
{
	log_error("%s.%s is %llu: %s", name, field, (unsigned long long)value, what);
	return rc;
}

static int check_counts(const char *name, const struct kvr_layout *l)
{
	const struct {
		const char *field;
		uint32_t value;
	} counts[] = {
		{"layers", l->layers}, {"parts", l->parts},
		{"heads", l->heads},   {"head_bytes", l->head_bytes},
		{"blocks", l->blocks}, {"block_tokens", l->block_tokens},
	};

	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
		if (!counts[i].value)
			return bad(name, counts[i].field, 0, -EINVAL, "must be at least 1");
	if (l->copy >= l->copies)
		return bad(name, "copy", l->copy, -EINVAL, "must be less than copies");
	if (l->layers > UINT32_MAX - l->first_layer)
		return bad(name, "first_layer", l->first_layer, -EOVERFLOW,
		           "with layers, beyond 32 bits");
	if (l->heads > UINT32_MAX - l->first_head)
		return bad(name, "first_head", l->first_head, -EOVERFLOW,
		           "with heads, beyond 32 bits");
	return 0;
}

/* Those with regions of their own must each have another one. */
static int check_regions(const char *name, const struct kvr_layout *l)
{
	uint64_t layers = (uint64_t)l->layer_regions * (l->layers - 1u);
	uint64_t parts = (uint64_t)l->part_regions * (l->parts - 1u);

	if (layers > UINT32_MAX)
		return bad(name, "layer_regions", l->layer_regions, -EOVERFLOW,
		           "times layers, beyond 32 bits");
	if (parts > UINT32_MAX - layers)
		return bad(name, "part_regions", l->part_regions, -EOVERFLOW,
		           "times parts, beyond 32 bits");
	if (layers && parts && l->layer_regions <= parts && l->part_regions <= layers)
		return bad(name, "layer_regions", l->layer_regions, -EINVAL,
		           "with these part_regions, two layers and parts share a region");
	return 0;
}

static int too_large(const char *name, const char *field, uint64_t value)
{
	return bad(name, field, value, -EOVERFLOW, "the cache would end beyond 2^63 bytes");
}

/* Makes *extent what the axis covers, if one of its things covers *extent. */
static int extend(const char *name, const struct axis *axis, uint64_t *extent)
{
	uint64_t steps;

	if (__builtin_mul_overflow(axis->stride, axis->count - 1, &steps) || steps > INT64_MAX ||
	    *extent > INT64_MAX - steps)
		return too_large(name, axis->stride_name, axis->stride);
	*extent += steps;
	return 0;
}

/* By stride; those with regions of their own behind the others. */
static bool comes_before(const struct axis *a, const struct axis *b)
{
	return a->has_regions != b->has_regions ? b->has_regions : a->stride < b->stride;
}

static void sort_axes(struct axis axes[static AXES])
{
	for (int i = 1; i < AXES; i++)
		for (int j = i; j > 0 && comes_before(&axes[j], &axes[j - 1]); j--) {
			struct axis swap = axes[j];

			axes[j] = axes[j - 1];
			axes[j - 1] = swap;
		}
}

static int overlapping(const char *name, const struct axis *axis, const char *inner,
                       uint64_t extent)
{
	log_error("%s.%s is %llu: %s would overlap, as %s makes each of them %llu bytes long", name,
	          axis->stride_name, (unsigned long long)axis->stride, axis->things, inner,
	          (unsigned long long)extent);
	return -EINVAL;
}

/* Strides must nest: each steps over all that the smaller ones cover. */
static int check_strides(const char *name, const struct kvr_layout *l, uint64_t *bytes)
{
	struct axis axes[AXES];
	const char *inner = "head_bytes";
	uint64_t extent = l->head_bytes;
	int rc;

	if (l->block_tokens > 1 && l->blocks > 1 && l->token_stride > l->block_stride)
		return bad(name, "token_stride", l->token_stride, -EINVAL,
		           "must be less than block_stride: a block holds its tokens");
	get_axes(l, axes);
	sort_axes(axes);
	for (int i = 0; i < AXES; i++) {
		if (axes[i].count == 1)
			continue;
		if (!axes[i].has_regions && axes[i].stride < extent)
			return overlapping(name, &axes[i], inner, extent);
		rc = extend(name, &axes[i], &extent);
		if (rc)
			return rc;
		inner = axes[i].stride_name;
	}
	if (l->offset > INT64_MAX - extent)
		return too_large(name, "offset", l->offset);
	*bytes = l->offset + extent;
	return 0;
}

static int read_fields(const char *name, const struct kvr_layout *user, struct kvr_layout *out)
{
	int rc = sized_read(name, user, out, sizeof(*out), sizeof(*out));

	if (!rc && !out->copies)
		out->copies = 1;
	return rc;
}

static int check(const char *name, const struct kvr_layout *l, uint64_t *bytes)
{
	int rc = check_counts(name, l);

	if (!rc)
		rc = check_regions(name, l);
	return rc ? rc : check_strides(name, l, bytes);
}

int layout_read(const char *name, const struct kvr_layout *user, struct kvr_layout *out)
{
	uint64_t bytes;
	int rc = read_fields(name, user, out);

	return rc ? rc : check(name, out, &bytes);
}

ssize_t kvr_layout_bytes(const struct kvr_layout *user)
{
	struct kvr_layout layout;
	uint64_t bytes = 0;
	int rc = read_fields("layout", user, &layout);

	if (!rc)
		rc = check("layout", &layout, &bytes);
	return rc ? rc : (ssize_t)bytes;
}

static int bad_order(const char *order, char letter, const char *what)
{
	log_error("kvr_layout_pack: order \"%s\": %c %s", order, letter, what);
	return -EINVAL;
}

static int check_order(const char *order, const struct axis axes[static AXES])
{
	for (const char *c = order; *c; c++)
		if (!strchr("lpbth", *c) || strchr(c + 1, *c))
			return bad_order(order, *c, "is unknown, or there twice");
	for (int i = 0; i < AXES; i++) {
		if (axes[i].has_regions && strchr(order, axes[i].letter))
			return bad_order(order, axes[i].letter, "has regions of its own");
		if (!axes[i].has_regions && !strchr(order, axes[i].letter))
			return bad_order(order, axes[i].letter, "is missing");
	}
	return 0;
}

/* What stands behind an axis in the order is packed inside it. */
static int pack_axis(const char *order, uint64_t head_bytes, struct axis axes[static AXES],
                     int which)
{
	struct axis *axis = &axes[which];
	const char *at = strchr(order, axis->letter);

	axis->stride = at ? head_bytes : 0;
	for (int i = 0; at && i < AXES; i++) {
		if (!strchr(at + 1, axes[i].letter))
			continue;
		if (__builtin_mul_overflow(axis->stride, axes[i].count, &axis->stride)) {
			log_error("kvr_layout_pack: %s: beyond 64 bits", axes[i].things);
			return -EOVERFLOW;
		}
	}
	return 0;
}

static void set_strides(struct kvr_layout *l, const struct axis axes[static AXES])
{
	l->head_stride = axes[0].stride;
	l->token_stride = axes[1].stride;
	l->block_stride = axes[2].stride;
	l->part_stride = axes[3].stride;
	l->layer_stride = axes[4].stride;
}

int kvr_layout_pack(struct kvr_layout *user, const char *order)
{
	struct kvr_layout layout;
	struct axis axes[AXES];
	uint64_t bytes;
	int rc = read_fields("layout", user, &layout);

	if (!rc)
		rc = check_counts("layout", &layout);
	if (rc)
		return rc;
	get_axes(&layout, axes);
	rc = check_order(order ? order : "", axes);
	for (int i = 0; !rc && i < AXES; i++)
		rc = pack_axis(order, layout.head_bytes, axes, i);
	if (rc)
		return rc;
	set_strides(&layout, axes);
	rc = check("layout", &layout, &bytes);
	if (!rc)
		set_strides(user, axes);
	return rc;
}

int kvr_layout_shard(struct kvr_layout *user, uint32_t heads, uint32_t ranks, uint32_t rank)
{
	struct kvr_layout layout;
	int rc = read_fields("layout", user, &layout);

	if (rc)
		return rc;
	if (!heads || !ranks || rank >= ranks || (heads % ranks && ranks % heads)) {
		log_error(
			"kvr_layout_shard: heads %u over ranks %u, rank %u: one of both must be a "
			"multiple of the other, and rank less than ranks",
			heads, ranks, rank);
		return -EINVAL;
	}
	user->heads = heads > ranks ? heads / ranks : 1;
	user->copies = ranks > heads ? ranks / heads : 1;
	user->first_head = rank / user->copies * user->heads;
	user->copy = rank % user->copies;
	return 0;
}
