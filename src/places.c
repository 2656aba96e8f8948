/* SPDX-License-Identifier: MIT
 * Which rails each part of a region is near to, and a request's ops sorted by that. */
#include "places.h"
#include "context.h"
#include "memory.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Whose pages are not asked for is all at home. */
static int locate(const struct kvr_region *region, struct pages_run out[static PAGES_RUNS])
{
	const struct nearness *n = &region->kvr->nearness;
	int count = 0;

	if (n->map.nodes > 1 && (n->is_here || nearness_pages != &pages_of_kernel))
		count = pages_locate(nearness_pages, region->addr, region->len, out);
	if (count > 0)
		return count;
	out[0] = (struct pages_run){.len = region->len};
	return 1;
}

static bool same_set(const struct rail_set *a, const struct rail_set *b)
{
	return a->near == b->near && a->any == b->any;
}

static void add_place(struct places *places, uint64_t end, uint64_t nodes, struct rail_set rails)
{
	unsigned int last = places->count - 1;

	places->near |= rails.near;
	if (places->count && same_set(&places->place[last].rails, &rails))
		places->place[last].nodes |= nodes;
	else
		places->place[last = places->count++] = (struct place){nodes, rails};
	places->end[last] = end;
}

static void find_places(const struct kvr_region *region, struct places *out)
{
	const struct nearness *n = &region->kvr->nearness;
	struct pages_run runs[PAGES_RUNS];
	int count;

	if (region->gpu >= 0) {
		add_place(out, region->len, 0, nearness_of_gpu(n, region->gpu));
		return;
	}
	count = locate(region, runs);
	for (int i = 0; i < count; i++)
		add_place(out, runs[i].offset + runs[i].len, runs[i].nodes,
		          nearness_of_nodes(n, runs[i].nodes));
}

int region_place(struct kvr_region *region)
{
	struct places *before = region->places, *now = calloc(1, sizeof(*now));

	if (!now)
		return -ENOMEM;
	find_places(region, now);
	if (before && before->count == now->count &&
	    !memcmp(before->end, now->end, sizeof(now->end)) &&
	    !memcmp(before->place, now->place, sizeof(now->place))) {
		free(now);
		return 0;
	}
	now->older = before;
	region->places = now;
	return 1;
}

void region_forget_places(struct kvr_region *region)
{
	struct places *places = region->places, *older;

	for (; places; places = older) {
		older = places->older;
		free(places);
	}
}

uint32_t region_near(const struct kvr_region *region)
{
	const struct places *places = region->places;

	return places->near;
}

static unsigned int place_at(const struct places *places, uint64_t offset)
{
	unsigned int i = 0;

	while (i + 1 < places->count && offset >= places->end[i])
		i++;
	return i;
}

ssize_t kvr_region_rails(const struct kvr_region *region, uint64_t offset, uint64_t len, int *rails,
                         size_t max, size_t *near)
{
	const struct places *places = region->places;
	const struct nearness *n = &region->kvr->nearness;
	struct affinity order;
	uint64_t nodes = 0, some;
	bool anywhere = false;

	if (!len || offset > region->len || len > region->len - offset)
		return -ERANGE;
	for (unsigned int i = place_at(places, offset);
	     i < places->count && (!i || places->end[i - 1] < offset + len); i++) {
		some = places->place[i].nodes ? places->place[i].nodes : n->home;
		anywhere |= !some;
		nodes |= some;
	}
	order = nearness_order(n, region->gpu, anywhere ? 0 : nodes);
	for (unsigned int i = 0; i < order.rails && i < max; i++)
		rails[i] = order.rail[i];
	if (near)
		*near = order.near;
	return order.rails;
}

int kvr_region_refresh(struct kvr_region *region)
{
	return region_place(region);
}

static bool is_in_places(const struct kvr_request *request)
{
	const struct places *places;

	for (size_t i = 0; i < request->n; i++) {
		places = request->ops[i].local->places;
		if (places->count > 1)
			return true;
	}
	return false;
}

/* Fills in at most `room` ops; what would not leave room for the rest stays whole, which can be
 * only where a region was refreshed meanwhile. Where out is NULL, only says how many there are. */
static size_t cut_all(const struct kvr_request *request, struct kvr_op *out, size_t room)
{
	const struct places *places;
	size_t n = 0, cuts;

	for (size_t i = 0; i < request->n; i++) {
		places = request->ops[i].local->places;
		cuts = batch_cut(&request->ops[i], places->end, NULL);
		if (!out) {
			n += cuts;
		} else if (n + cuts + (request->n - i - 1) <= room) {
			n += batch_cut(&request->ops[i], places->end, out + n);
		} else {
			out[n++] = request->ops[i];
		}
	}
	return n;
}

int places_cut(struct kvr_request *request)
{
	struct kvr_op *ops;
	size_t room;

	if (!is_in_places(request))
		return 0;
	room = cut_all(request, NULL, 0);
	ops = malloc(room * sizeof(*ops));
	if (!ops)
		return -ENOMEM;
	request->n = cut_all(request, ops, room);
	free(request->ops);
	request->ops = ops;
	return 0;
}

/* By an op's first byte. */
static const struct rail_set *set_of(const struct kvr_op *op)
{
	const struct places *places = op->local->places;

	return &places->place[place_at(places, op->local_offset)].rails;
}

struct sorting {
	struct rail_set set[BATCH_PARTS];
	size_t n[BATCH_PARTS], at[BATCH_PARTS];
	unsigned int count;
};

/* The number of a set, new or not; what is too much joins the last one, whose bytes then go by the
 * rails of all that are in it. */
static uint8_t number_of(struct sorting *s, const struct rail_set *set)
{
	unsigned int i = 0;

	while (i < s->count && !same_set(&s->set[i], set))
		i++;
	if (i < s->count)
		return (uint8_t)i;
	if (s->count < BATCH_PARTS) {
		s->set[s->count++] = *set;
		return (uint8_t)i;
	}
	s->set[--i].near |= set->near;
	s->set[i].any |= set->any;
	s->set[i].far = (s->set[i].far | set->far) & ~s->set[i].near;
	return (uint8_t)i;
}

/* Keeps the order of each set's. */
static void sort(struct sorting *s, struct kvr_op *ops, size_t n, struct kvr_op *sorted,
                 uint8_t *number)
{
	for (size_t i = 0; i < n; i++) {
		number[i] = number_of(s, set_of(&ops[i]));
		s->n[number[i]]++;
	}
	for (unsigned int i = 1; i < s->count; i++)
		s->at[i] = s->at[i - 1] + s->n[i - 1];
	for (size_t i = 0; i < n; i++)
		sorted[s->at[number[i]]++] = ops[i];
	memcpy(ops, sorted, n * sizeof(*ops));
}

static bool is_of_one_set(const struct kvr_op *ops, size_t n, const struct rail_set *set)
{
	for (size_t i = 1; i < n; i++)
		if (!same_set(set_of(&ops[i]), set))
			return false;
	return true;
}

int places_sort(struct kvr_op *ops, size_t n, const struct stripe_rule *rule, struct batch *out)
{
	const struct rail_set *first = set_of(ops);
	struct sorting s = {.count = 0};
	struct kvr_op *sorted;

	if (is_of_one_set(ops, n, first)) {
		batch_add(out, ops, n, first, rule);
		return 0;
	}
	sorted = malloc(n * (sizeof(*sorted) + 1));
	if (!sorted)
		return -ENOMEM;
	sort(&s, ops, n, sorted, (uint8_t *)(sorted + n));
	free(sorted);
	for (unsigned int i = 0; i < s.count; i++)
		batch_add(out, ops + s.at[i] - s.n[i], s.n[i], &s.set[i], rule);
	return 0;
}
