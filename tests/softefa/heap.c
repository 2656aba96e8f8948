/* SPDX-License-Identifier: MIT
 * What is going to happen, soonest first: a binary heap. */
#include "heap.h"
#include <stdlib.h>
#include <string.h>

#define FIRST_ROOM 1024

void heap_close(struct heap *heap)
{
	free(heap->events);
	memset(heap, 0, sizeof(*heap));
}

/* Puts `event` at i or above, moving later ones down. */
static void sift_up(struct heap *heap, size_t i, struct event event)
{
	for (; i && event.due < heap->events[(i - 1) / 2].due; i = (i - 1) / 2)
		heap->events[i] = heap->events[(i - 1) / 2];
	heap->events[i] = event;
}

/* Puts `event` at i or below, moving sooner ones up. */
static void sift_down(struct heap *heap, size_t i, struct event event)
{
	size_t child;

	for (; (child = 2 * i + 1) < heap->count; i = child) {
		if (child + 1 < heap->count &&
		    heap->events[child + 1].due < heap->events[child].due)
			child++;
		if (event.due <= heap->events[child].due)
			break;
		heap->events[i] = heap->events[child];
	}
	heap->events[i] = event;
}

bool heap_push(struct heap *heap, struct event event)
{
	size_t room = heap->room ? 2 * heap->room : FIRST_ROOM;
	struct event *events;

	if (heap->count == heap->room) {
		events = realloc(heap->events, room * sizeof(*events));
		if (!events)
			return false;
		heap->events = events;
		heap->room = room;
	}
	sift_up(heap, heap->count++, event);
	return true;
}

struct event heap_pop(struct heap *heap)
{
	struct event first = heap->events[0];

	if (--heap->count)
		sift_down(heap, 0, heap->events[heap->count]);
	return first;
}

void heap_purge(struct heap *heap, bool (*drop)(const struct event *, void *arg), void *arg)
{
	size_t kept = 0;

	for (size_t i = 0; i < heap->count; i++)
		if (!drop(&heap->events[i], arg))
			heap->events[kept++] = heap->events[i];
	heap->count = kept;
	for (size_t i = kept / 2; i-- > 0;)
		sift_down(heap, i, heap->events[i]);
}
