/* SPDX-License-Identifier: MIT
 * Which pieces of a batch are to be posted once more. */
#include "again.h"
#include "counter.h"
#include <errno.h>
#include <stdlib.h>

static int make_list(struct again *a)
{
	size_t bits = LANE_WINDOW / 8;

	a->bits = calloc(1, bits + sizeof(*a->walk));
	if (!a->bits)
		return -ENOMEM;
	a->walk = (struct batch *)((char *)a->bits + bits);
	return 0;
}

int again_add(struct again *a, uint32_t place)
{
	uint64_t bit = 1ull << place % 64;

	if (!a->bits && make_list(a))
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

bool again_next(struct again *a, const struct batch *batch, uint32_t *place, unsigned int *part,
                struct stripe_piece *out)
{
	struct batch here;

	if (!a->count)
		return false;
	*place = find_first(a);
	if (!a->walk->count || a->place > *place) {
		*a->walk = batch_rewind(batch);
		a->place = 0;
	}
	for (; a->place < *place; a->place++)
		if (!batch_take(a->walk, part, out))
			return false;
	here = *a->walk;
	return batch_take(&here, part, out);
}
