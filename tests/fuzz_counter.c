/* SPDX-License-Identifier: MIT
 * libFuzzer target for a lane: whatever a peer sends, the lane does what a reference does that
 * keeps a byte for every number and a plain list of batches. Two bytes say where the lane stands;
 * then five make an event. */
#include "counter.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define EVENT      5
#define EVENTS_MAX 1000
#define MASK       (LANE_PIECES - 1)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct event {
	enum { ARRIVE, ARRIVE_RUN, DECLARE, LOSE } kind;
	bool take; /* what is complete after it */
	uint32_t first, count, counter;
};

static struct reference {
	uint32_t base;
	uint8_t come[LANE_PIECES];
	struct lane_batch batch[EVENTS_MAX]; /* in no order */
	uint32_t batches;
} reference;

static void must(bool condition)
{
	if (!condition)
		abort();
}

static uint32_t distance_of(const struct lane_batch *batch)
{
	return piece_distance(reference.base, batch->first);
}

static int see(uint32_t piece)
{
	if (piece_distance(reference.base, piece) >= LANE_WINDOW || reference.come[piece])
		return 0;
	reference.come[piece] = 1;
	for (uint32_t i = 0; i < reference.batches; i++)
		if (piece_distance(reference.batch[i].first, piece) < reference.batch[i].count)
			reference.batch[i].missing--;
	return 1;
}

static struct lane_batch *find(uint32_t first)
{
	for (uint32_t i = 0; i < reference.batches; i++)
		if (reference.batch[i].first == first)
			return &reference.batch[i];
	return NULL;
}

static bool overlaps(uint32_t distance, uint32_t count)
{
	for (uint32_t i = 0; i < reference.batches; i++) {
		const struct lane_batch *batch = &reference.batch[i];

		if (distance < distance_of(batch) + batch->count &&
		    distance_of(batch) < distance + count)
			return true;
	}
	return false;
}

static int hear(uint32_t first, uint32_t count, uint32_t counter)
{
	uint32_t distance = piece_distance(reference.base, first);
	struct lane_batch *batch = find(first);

	if (!count || count > LANE_WINDOW)
		return -EPROTO;
	if (distance >= LANE_WINDOW)
		return distance + count > LANE_PIECES ? -EPROTO : 0;
	if (distance + count > LANE_WINDOW)
		return -EPROTO;
	if (batch)
		return batch->count == count ? 0 : -EPROTO;
	if (overlaps(distance, count))
		return -EPROTO;
	batch = &reference.batch[reference.batches++];
	*batch = (struct lane_batch){.first = first, .count = count, .counter = counter};
	for (uint32_t i = 0; i < count; i++)
		batch->missing += !reference.come[(first + i) & MASK];
	return 1;
}

static int hear_lost(uint32_t first, uint32_t count, uint32_t piece)
{
	int rc = piece_distance(first, piece) < count ? hear(first, count, LANE_NO_COUNTER)
	                                              : -EPROTO;
	struct lane_batch *batch = find(first);

	if (rc < 0 || !batch || batch->taken)
		return rc;
	batch->counter = LANE_NO_COUNTER;
	see(piece);
	return 0;
}

static struct lane_batch *find_complete(void)
{
	struct lane_batch *found = NULL;

	for (uint32_t i = 0; i < reference.batches; i++) {
		struct lane_batch *batch = &reference.batch[i];

		if (!batch->missing && !batch->taken &&
		    (!found || distance_of(batch) < distance_of(found)))
			found = batch;
	}
	return found;
}

static void pass(void)
{
	struct lane_batch *batch;

	while ((batch = find(reference.base)) && batch->taken) {
		for (uint32_t i = 0; i < batch->count; i++)
			reference.come[(batch->first + i) & MASK] = 0;
		reference.base = (batch->first + batch->count) & MASK;
		*batch = reference.batch[--reference.batches];
	}
}

static void take_all(struct lane *lane)
{
	struct lane_batch *wanted, taken;

	while ((wanted = find_complete())) {
		must(!lane_is_done(lane, wanted->first));
		must(lane_take(lane, &taken));
		must(taken.first == wanted->first && taken.count == wanted->count);
		must(taken.counter == wanted->counter);
		must(lane_is_done(lane, taken.first));
		wanted->taken = true;
		pass();
	}
	must(!lane_take(lane, &taken));
}

static void apply(struct lane *lane, const struct event *e)
{
	uint32_t piece = (e->first + e->counter) & MASK;

	switch (e->kind) {
	case ARRIVE:
		must(lane_arrive(lane, e->first) == see(e->first));
		break;
	case ARRIVE_RUN:
		for (uint32_t i = 0; i < e->count % 256; i++)
			must(lane_arrive(lane, (e->first + i) & MASK) ==
			     see((e->first + i) & MASK));
		break;
	case DECLARE:
		must(lane_declare(lane, e->first, e->count, e->counter) ==
		     hear(e->first, e->count, e->counter));
		break;
	case LOSE:
		must(lane_lose(lane, e->first, e->count, piece) ==
		     hear_lost(e->first, e->count, piece));
		break;
	}
	if (e->take)
		take_all(lane);
	must(lane->base == reference.base && lane->count == reference.batches);
}

/* Mostly near the base, where things meet. */
static struct event read_event(const uint8_t *data)
{
	uint32_t where = data[1] | data[2] << 8;
	struct event e = {
		.kind = data[0] % 4,
		.take = !(data[0] & 4),
		.first = reference.base + where % 256,
		.count = data[3],
		.counter = data[4],
	};

	if (data[0] & 8)
		e.first = reference.base - where % 256;
	else if (data[0] & 16)
		e.first = reference.base + where * 8;
	if (data[0] >= 0xe0)
		e.count = data[3] == 255 ? LANE_WINDOW : data[3] * 32;
	e.first &= MASK;
	return e;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct lane lane = {0};
	struct event e;

	if (size < 2)
		return 0;
	memset(&reference, 0, sizeof(reference));
	lane.base = reference.base = (uint32_t)(data[0] | data[1] << 8) * 8 + 7;
	data += 2;
	size -= 2;
	for (int i = 0; size >= EVENT && i < EVENTS_MAX; i++) {
		e = read_event(data);
		apply(&lane, &e);
		data += EVENT;
		size -= EVENT;
	}
	take_all(&lane);
	lane_close(&lane);
	return 0;
}
