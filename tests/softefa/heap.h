/* SPDX-License-Identifier: MIT
 * What is going to happen, soonest first: a binary heap. Pure. */
#ifndef SOFTEFA_HEAP_H
#define SOFTEFA_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct op;

enum event_kind {
	EVENT_LAND,     /* a part of an operation's bytes reaches memory */
	EVENT_DELIVER,  /* all have; the receiver is to be told, or told again */
	EVENT_COMPLETE, /* the initiator is to be told */
};

struct event {
	uint64_t due; /* ns */
	struct op *op;
	uint32_t part; /* LAND */
	enum event_kind kind;
};

struct heap {
	struct event *events;
	size_t count, room;
};

void heap_close(struct heap *);

/* false: no memory. */
bool heap_push(struct heap *, struct event);

/* The soonest; there must be one. */
struct event heap_pop(struct heap *);

/* Takes out all events for which `drop` says so. */
void heap_purge(struct heap *, bool (*drop)(const struct event *, void *arg), void *arg);

#endif
