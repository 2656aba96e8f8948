/* SPDX-License-Identifier: MIT
 * Whether some ranks' caches together hold what another one wants. */
#include "layout.h"
#include "log.h"
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

/* Who holds what changes only where somebody's heads or layers begin or end: one place in between
 * stands for all up to next_head or next_layer. */
struct place {
	uint32_t layer, head;
	uint32_t next_layer, next_head;
};

static bool holds(const struct kvr_layout *l, const struct place *at)
{
	return at->layer >= l->first_layer && at->layer - l->first_layer < l->layers &&
	       at->head >= l->first_head && at->head - l->first_head < l->heads;
}

/* Brings *next down to `edge`, if that is behind `from`. */
static void stop_at(uint32_t edge, uint32_t from, uint32_t *next)
{
	if (edge > from && edge < *next)
		*next = edge;
}

static int bad(const struct place *at, const char *what, size_t i)
{
	log_error("kvr_layout_cover: head %u of layer %u: %s (sources[%zu])", at->head, at->layer,
	          what, i);
	return -EINVAL;
}

/* Copies must be all there and all different; `first` is the first one of them. */
static int check_copies(const struct kvr_layout *sources, size_t n, const struct place *at,
                        size_t first)
{
	uint32_t found = 0;

	for (size_t i = first; i < n; i++) {
		if (!holds(&sources[i], at))
			continue;
		found++;
		if (sources[i].copies != sources[first].copies)
			return bad(at, "held with different numbers of copies", i);
		for (size_t j = first; j < i; j++)
			if (holds(&sources[j], at) && sources[j].copy == sources[i].copy)
				return bad(at, "held twice as the same copy", i);
	}
	return found == sources[first].copies ? 0 : bad(at, "not all copies are there", first);
}

static int check_place(const struct kvr_layout *sources, size_t n, struct place *at)
{
	size_t first = n;

	for (size_t i = n; i-- > 0;) {
		const struct kvr_layout *s = &sources[i];

		if (holds(s, at))
			first = i;
		stop_at(s->first_head, at->head, &at->next_head);
		stop_at(s->first_head + s->heads, at->head, &at->next_head);
		stop_at(s->first_layer, at->layer, &at->next_layer);
		stop_at(s->first_layer + s->layers, at->layer, &at->next_layer);
	}
	if (first < n)
		return check_copies(sources, n, at, first);
	log_error("kvr_layout_cover: head %u of layer %u is in none of the %zu sources: see their "
	          "first_head, heads, first_layer and layers",
	          at->head, at->layer, n);
	return -EINVAL;
}

static int check_all(const struct kvr_layout *to, const struct kvr_layout *sources, size_t n)
{
	uint32_t last_layer = to->first_layer + to->layers, last_head = to->first_head + to->heads;
	struct place at = {.layer = to->first_layer};
	int rc = 0;

	for (; !rc && at.layer < last_layer; at.layer = at.next_layer) {
		at.next_layer = last_layer;
		for (at.head = to->first_head; !rc && at.head < last_head; at.head = at.next_head) {
			at.next_head = last_head;
			rc = check_place(sources, n, &at);
		}
	}
	return rc;
}

int kvr_layout_cover(const struct kvr_layout *to, const struct kvr_layout *sources, size_t n)
{
	struct kvr_layout wanted, *held;
	int rc = layout_read("to", to, &wanted);

	if (rc)
		return rc;
	held = calloc(n ? n : 1, sizeof(*held));
	if (!held)
		return -ENOMEM;
	for (size_t i = 0; !rc && i < n; i++)
		rc = layout_read("sources[]", &sources[i], &held[i]);
	if (!rc)
		rc = check_all(&wanted, held, n);
	free(held);
	return rc;
}
