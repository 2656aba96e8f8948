/* SPDX-License-Identifier: MIT
 * The numbers of the messages between two ranks, by which each of them is handled once. */
#include "channel.h"

static bool has(const struct channel_half *half, uint32_t number)
{
	uint32_t ahead = number - half->base;

	return ahead < CHANNEL_WINDOW ? half->map >> ahead & 1 : (int32_t)ahead < 0;
}

bool channel_receive(struct channel *c, uint32_t number)
{
	struct channel_half *half = &c->theirs;

	if (number - half->base >= CHANNEL_WINDOW || has(half, number))
		return false;
	half->map |= 1ull << (number - half->base);
	for (; half->map & 1; half->map >>= 1)
		half->base++;
	return true;
}

void channel_acknowledge(struct channel *c, const struct channel_half *theirs)
{
	struct channel_half *ours = &c->ours;
	uint32_t ahead = theirs->base - ours->base;

	/* An older one than we know says nothing new but, perhaps, in its map. */
	if (ahead > c->next - ours->base)
		return;
	ours->map = ahead < CHANNEL_WINDOW ? ours->map >> ahead : 0;
	ours->base += ahead;
	ours->map |= theirs->map;
	if (c->next - ours->base < CHANNEL_WINDOW)
		ours->map &= (1ull << (c->next - ours->base)) - 1;
	for (; ours->map & 1; ours->map >>= 1)
		ours->base++;
}

bool channel_is_acknowledged(const struct channel *c, uint32_t number)
{
	return has(&c->ours, number);
}
