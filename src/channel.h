/* SPDX-License-Identifier: MIT
 * The numbers of the messages between two ranks, by which each of them is handled once however
 * often and over whatever rail it is sent. Pure.
 *
 * A message is sent until it is acknowledged. Every message says what its sender has got: all
 * before a number, and a map of those from it on. No order is kept. */
#ifndef KVR_CHANNEL_H
#define KVR_CHANNEL_H

#include <stdbool.h>
#include <stdint.h>

#define CHANNEL_WINDOW 64 /* messages between the oldest unacknowledged one and the newest */

struct channel_half {
	uint32_t base; /* every one before it is there ... */
	uint64_t map;  /* ... and of those from it on, these */
};

/* A zeroed one is open. */
struct channel {
	uint32_t next;            /* number of our next message */
	struct channel_half ours; /* acknowledged */
	struct channel_half theirs;
};

/* Whether one more may be numbered now; then its number. */
static inline bool channel_has_room(const struct channel *c)
{
	return c->next - c->ours.base < CHANNEL_WINDOW;
}

static inline uint32_t channel_number(struct channel *c)
{
	return c->next++;
}

/* One of theirs came. True: handle it; false: it came before, or cannot be. */
bool channel_receive(struct channel *, uint32_t number);

/* They say what they have got; what cannot be is ignored. */
void channel_acknowledge(struct channel *, const struct channel_half *);

/* Whether they have got our message. */
bool channel_is_acknowledged(const struct channel *, uint32_t number);

#endif
