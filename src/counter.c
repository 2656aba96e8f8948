/* SPDX-License-Identifier: MIT
 * Arrivals -> batches, exactly once. */
#include "counter.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PIECE_MASK   (LANE_PIECES - 1)
#define MIN_CAPACITY 1024u

void lane_close(struct lane *lane)
{
	free(lane->bits);
	free(lane->batches);
	memset(lane, 0, sizeof(*lane));
}

static bool bit_get(const struct lane *lane, uint32_t piece)
{
	uint32_t i = piece & (lane->capacity - 1);

	return lane->bits[i / 64] >> i % 64 & 1;
}

static void bit_flip(struct lane *lane, uint32_t piece)
{
	uint32_t i = piece & (lane->capacity - 1);

	lane->bits[i / 64] ^= 1ull << i % 64;
}

/* Makes room for bits of the pieces base to base + distance. */
static int grow(struct lane *lane, uint32_t distance)
{
	struct lane bigger = *lane;

	if (distance < lane->capacity)
		return 0;
	bigger.capacity = lane->capacity ? lane->capacity : MIN_CAPACITY;
	while (bigger.capacity <= distance)
		bigger.capacity *= 2;
	bigger.bits = calloc(bigger.capacity / 64, sizeof(*bigger.bits));
	if (!bigger.bits)
		return -ENOMEM;
	for (uint32_t i = 0; i < lane->capacity; i++)
		if (bit_get(lane, lane->base + i))
			bit_flip(&bigger, lane->base + i);
	free(lane->bits);
	*lane = bigger;
	return 0;
}

static struct lane_batch *find_batch(struct lane *lane, uint32_t piece)
{
	uint32_t distance = piece_distance(lane->base, piece), low = 0, high = lane->count, mid;

	while (low < high) {
		mid = (low + high) / 2;
		if (piece_distance(lane->base, lane->batches[mid].first) <= distance)
			low = mid + 1;
		else
			high = mid;
	}
	if (!low ||
	    piece_distance(lane->batches[low - 1].first, piece) >= lane->batches[low - 1].count)
		return NULL;
	return &lane->batches[low - 1];
}

int lane_arrive(struct lane *lane, uint32_t piece)
{
	uint32_t distance = piece_distance(lane->base, piece);
	struct lane_batch *batch;
	int rc;

	if (distance >= LANE_WINDOW)
		return 0; /* behind base: complete long ago */
	if ((rc = grow(lane, distance)))
		return rc;
	if (bit_get(lane, piece))
		return 0;
	bit_flip(lane, piece);
	batch = find_batch(lane, piece);
	if (batch && !--batch->missing)
		lane->ready++;
	return 1;
}

static int make_room(struct lane *lane)
{
	uint32_t room = lane->room ? 2 * lane->room : 8;
	struct lane_batch *batches;

	if (lane->count < lane->room)
		return 0;
	batches = realloc(lane->batches, room * sizeof(*batches));
	if (!batches)
		return -ENOMEM;
	lane->batches = batches;
	lane->room = room;
	return 0;
}

/* Where a batch belongs among the declared ones: its index, -EEXIST, or -EPROTO if it overlaps. */
static int find_place(const struct lane *lane, uint32_t first, uint32_t count)
{
	uint32_t distance = piece_distance(lane->base, first), other, i;

	for (i = 0; i < lane->count; i++) {
		other = piece_distance(lane->base, lane->batches[i].first);
		if (other == distance)
			return lane->batches[i].count == count ? -EEXIST : -EPROTO;
		if (other > distance)
			return distance + count > other ? -EPROTO : (int)i;
		if (other + lane->batches[i].count > distance)
			return -EPROTO;
	}
	return i;
}

int lane_declare(struct lane *lane, uint32_t first, uint32_t count, uint32_t counter)
{
	uint32_t distance = piece_distance(lane->base, first);
	struct lane_batch batch = {.first = first, .count = count, .counter = counter};
	int place, rc;

	if (first > PIECE_MASK || !count || count > LANE_WINDOW)
		return -EPROTO;
	if (distance >= LANE_WINDOW) /* behind base, where all is complete */
		return piece_distance(first, lane->base) < count ? -EPROTO : 0;
	if (distance + count > LANE_WINDOW)
		return -EPROTO;
	place = find_place(lane, first, count);
	if (place < 0)
		return place == -EEXIST ? 0 : place;
	if ((rc = make_room(lane)) || (rc = grow(lane, distance + count - 1)))
		return rc;
	for (uint32_t i = 0; i < count; i++)
		batch.missing += !bit_get(lane, first + i);
	memmove(&lane->batches[place + 1], &lane->batches[place],
	        (lane->count - place) * sizeof(batch));
	lane->batches[place] = batch;
	lane->count++;
	lane->ready += !batch.missing;
	return 1;
}

int lane_lose(struct lane *lane, uint32_t first, uint32_t count, uint32_t piece)
{
	struct lane_batch *batch;
	int rc;

	if (piece_distance(first, piece) >= count)
		return -EPROTO;
	rc = lane_declare(lane, first, count, LANE_NO_COUNTER);
	if (rc < 0 || lane_is_done(lane, first))
		return rc < 0 ? rc : 0;
	batch = find_batch(lane, first);
	if (!batch)
		return -EPROTO;
	batch->counter = LANE_NO_COUNTER;
	rc = lane_arrive(lane, piece);
	return rc < 0 ? rc : 0;
}

/* Moves base over the complete batches at its front; their numbers are free again. */
static void advance(struct lane *lane)
{
	uint32_t passed = 0;
	struct lane_batch *batch;

	for (; passed < lane->count; passed++) {
		batch = &lane->batches[passed];
		if (!batch->taken || batch->first != lane->base)
			break;
		for (uint32_t i = 0; i < batch->count; i++)
			bit_flip(lane, batch->first + i);
		lane->base = (batch->first + batch->count) & PIECE_MASK;
	}
	lane->count -= passed;
	memmove(lane->batches, lane->batches + passed, lane->count * sizeof(*lane->batches));
}

bool lane_take(struct lane *lane, struct lane_batch *out)
{
	for (uint32_t i = 0; lane->ready && i < lane->count; i++) {
		if (lane->batches[i].taken || lane->batches[i].missing)
			continue;
		lane->batches[i].taken = true;
		*out = lane->batches[i];
		lane->ready--;
		advance(lane);
		return true;
	}
	return false;
}

bool lane_is_done(const struct lane *lane, uint32_t first)
{
	if (piece_distance(lane->base, first) >= LANE_WINDOW)
		return true;
	for (uint32_t i = 0; i < lane->count; i++)
		if (lane->batches[i].first == first)
			return lane->batches[i].taken;
	return false;
}

uint32_t lane_missing(const struct lane *lane, uint32_t first, uint32_t *numbers, uint32_t max)
{
	const struct lane_batch *batch = lane->batches;
	uint32_t n = 0;

	while (batch < lane->batches + lane->count && batch->first != first)
		batch++;
	if (batch == lane->batches + lane->count || batch->taken)
		return 0;
	for (uint32_t i = 0; i < batch->count && n < max; i++)
		if (!bit_get(lane, first + i))
			numbers[n++] = (first + i) & PIECE_MASK;
	return n;
}
