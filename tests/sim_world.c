/* SPDX-License-Identifier: MIT
 * A world of virtual time: a heap of what is to happen. */
#include "sim_world.h"
#include <stdarg.h>
#include <string.h>

struct happening {
	int64_t at;
	uint64_t order;
	void (*fn)(void *arg, unsigned int detail);
	void *arg;
	unsigned int detail;
};

struct world world;

static struct {
	struct happening *heap;
	size_t count, room;
	uint64_t order;
} calendar;

static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 32) * 0x9e3779b97f4a7c15;
	x = (x ^ x >> 29) * 0xd6e8feb86659fd93;
	return x ^ x >> 32;
}

void world_digest(uint64_t what)
{
	world.digest = mix(world.digest ^ what) + world.now;
}

struct dice world_dice(unsigned int use)
{
	return dice_of(mix(world.seed * 8 + use));
}

void world_open(uint64_t seed, bool trace)
{
	world = (struct world){.seed = seed, .trace = trace, .now = S};
	world.dice = world_dice(0);
	calendar.count = 0;
	calendar.order = 0;
}

void world_close(void)
{
	free(calendar.heap);
	memset(&calendar, 0, sizeof(calendar));
}

static bool is_before(const struct happening *a, const struct happening *b)
{
	return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void make_room(void)
{
	if (calendar.count < calendar.room)
		return;
	calendar.room = calendar.room ? 2 * calendar.room : 1024;
	calendar.heap = realloc(calendar.heap, calendar.room * sizeof(*calendar.heap));
	if (!calendar.heap)
		abort();
}

void world_at(int64_t at, void (*fn)(void *, unsigned int), void *arg, unsigned int detail)
{
	struct happening h = {at, calendar.order++, fn, arg, detail};
	size_t i, parent;

	make_room();
	for (i = calendar.count++; i; i = parent) {
		parent = (i - 1) / 2;
		if (!is_before(&h, &calendar.heap[parent]))
			break;
		calendar.heap[i] = calendar.heap[parent];
	}
	calendar.heap[i] = h;
}

static struct happening take_first(void)
{
	struct happening first = calendar.heap[0], last = calendar.heap[--calendar.count];
	size_t i = 0, child;

	while ((child = 2 * i + 1) < calendar.count) {
		if (child + 1 < calendar.count &&
		    is_before(&calendar.heap[child + 1], &calendar.heap[child]))
			child++;
		if (is_before(&last, &calendar.heap[child]))
			break;
		calendar.heap[i] = calendar.heap[child];
		i = child;
	}
	calendar.heap[i] = last;
	return first;
}

int64_t world_next(void)
{
	return calendar.count ? calendar.heap[0].at : INT64_MAX;
}

void world_advance(int64_t until)
{
	struct happening h;

	while (calendar.count && calendar.heap[0].at <= until) {
		h = take_first();
		if (h.at > world.now)
			world.now = h.at;
		h.fn(h.arg, h.detail);
	}
	if (until > world.now)
		world.now = until;
}

int64_t world_span(struct dice *dice, int64_t low, int64_t high)
{
	int64_t top = low;
	unsigned int doublings = 0;

	for (; top < high; top *= 2)
		doublings++;
	top = low << dice_roll(dice, doublings + 1);
	top = top / 2 + (int64_t)dice_roll(dice, top);
	return top < low ? low : top > high ? high : top;
}

static void say(const char *what, const char *format, va_list args)
{
	char line[256];

	vsnprintf(line, sizeof(line), format, args);
	printf("%12.3f us  %s%s\n", (world.now - S) / 1e3, what, line);
}

void world_trace(const char *format, ...)
{
	va_list args;

	if (!world.trace)
		return;
	va_start(args, format);
	say("", format, args);
	va_end(args);
}

void world_violation(const char *format, ...)
{
	va_list args;

	if (!world.violations++) {
		va_start(args, format);
		vsnprintf(world.violation, sizeof(world.violation), format, args);
		va_end(args);
	}
	if (!world.trace)
		return;
	va_start(args, format);
	say("VIOLATION: ", format, args);
	va_end(args);
}
