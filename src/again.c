/* SPDX-License-Identifier: MIT
 * Which pieces of a batch are to be posted once more. */
#include "again.h"
#include "counter.h"
#include <errno.h>
#include <stdlib.h>

int again_add(struct again *a, uint32_t place)
{
	uint64_t bit = 1ull << place % 64;

	if (!a->bits && !(a->bits = calloc(LANE_WINDOW / 64, sizeof(*a->bits))))
		return -ENOMEM;
	if (a->bits[place / 64] & bit)
		return 0;
	a->bits[place / 64] |= bit;
	if (!a->count++ || place < a->low)
		a->low = place;
	return 0;
}

void again_clear(struct again *a)
{
	free(a->bits);
	*a = (struct again){0};
}

void again_remove(struct again *a, uint32_t place)
{
	uint64_t bit = 1ull << place % 64;

	if (!a->bits || !(a->bits[place / 64] & bit))
		return;
	a->bits[place / 64] &= ~bit;
	a->count--;
}

static uint32_t find_first(struct again *a)
{
	while (!(a->bits[a->low / 64] >> a->low % 64 & 1))
		a->low++;
	return a->low;
}

bool again_next(struct again *a, const struct stripe_cursor *batch, const struct stripe_rule *rule,
                uint32_t *place, struct stripe_piece *out)
{
	struct stripe_cursor here;

	if (!a->count)
		return false;
	*place = find_first(a);
	if (!a->cursor.ops || a->place > *place) {
		a->cursor = stripe_begin(batch->ops, batch->n);
		a->place = 0;
	}
	for (; a->place < *place; a->place++)
		if (!stripe_take(&a->cursor, rule, out))
			return false;
	here = a->cursor;
	return stripe_take(&here, rule, out);
}
