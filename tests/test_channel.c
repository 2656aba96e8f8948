/* SPDX-License-Identifier: MIT
 * Numbered messages over a link that loses, doubles and reorders: each is handled once. */
#include "channel.h"
#include "seeds.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define SEEDS    5000
#define MESSAGES 300
#define IN_AIR   40

struct packet {
	uint32_t number;
	bool numbered;
	struct channel_half ack;
};

struct side {
	struct channel channel;
	uint32_t first;
	uint8_t handled[MESSAGES];
	struct packet air[IN_AIR]; /* on the way to the other side */
	unsigned int count;
};

static void put(struct side *side, struct dice *dice, struct packet packet)
{
	packet.ack = side->channel.theirs;
	if (side->count < IN_AIR && !dice_chance(dice, 20))
		side->air[side->count++] = packet;
	if (side->count < IN_AIR && dice_chance(dice, 20))
		side->air[side->count++] = packet;
}

static void send_some(struct side *side, struct dice *dice)
{
	struct channel *c = &side->channel;

	if (c->next - side->first < MESSAGES && channel_has_room(c) && dice_chance(dice, 50)) {
		put(side, dice, (struct packet){channel_number(c), true, {0}});
		return;
	}
	for (uint32_t n = c->ours.base; n != c->next; n++)
		if (!channel_is_acknowledged(c, n) && dice_chance(dice, 30))
			put(side, dice, (struct packet){n, true, {0}});
	put(side, dice, (struct packet){0});
}

static const char *take_some(struct side *from, struct side *to, struct dice *dice)
{
	unsigned int i;
	struct packet packet;

	if (!from->count)
		return NULL;
	i = dice_roll(dice, from->count);
	packet = from->air[i];
	from->air[i] = from->air[--from->count];
	channel_acknowledge(&to->channel, &packet.ack);
	if (packet.numbered && channel_receive(&to->channel, packet.number) &&
	    to->handled[packet.number - from->first]++)
		return "handled twice";
	return NULL;
}

static bool is_over(const struct side *side)
{
	return side->channel.next - side->first == MESSAGES &&
	       side->channel.ours.base == side->channel.next;
}

static const char *lossy_link(uint64_t seed)
{
	struct dice dice = dice_of(seed);
	struct side side[2];
	const char *wrong = NULL;

	memset(side, 0, sizeof(side));
	for (int i = 0; i < 2; i++) { /* their numbers may wrap */
		side[i].first = (uint32_t)-dice_roll(&dice, 2 * MESSAGES);
		side[i].channel.next = side[i].channel.ours.base = side[i].first;
		side[1 - i].channel.theirs.base = side[i].first;
	}
	for (int step = 0; !wrong && step < 200000; step++) {
		int i = dice_roll(&dice, 2);

		if (dice_chance(&dice, 40))
			send_some(&side[i], &dice);
		wrong = take_some(&side[i], &side[1 - i], &dice);
		if (is_over(&side[0]) && is_over(&side[1]))
			break;
	}
	if (wrong)
		return wrong;
	if (!is_over(&side[0]) || !is_over(&side[1]))
		return "does not end";
	for (int i = 0; i < MESSAGES; i++)
		if (side[0].handled[i] != 1 || side[1].handled[i] != 1)
			return "acknowledged, and not handled";
	return NULL;
}

static void seeded(void **state)
{
	const char *wrong = seeds_run(SEEDS, lossy_link);

	(void)state;
	if (wrong)
		fail_msg("%s", wrong);
}

static void acknowledgements_that_cannot_be(void **state)
{
	struct channel c = {.next = 5};

	(void)state;
	channel_acknowledge(&c, &(struct channel_half){.base = 6});
	assert_int_equal(c.ours.base, 0);
	channel_acknowledge(&c, &(struct channel_half){.map = UINT64_MAX});
	assert_int_equal(c.ours.base, 5);
	assert_false(channel_is_acknowledged(&c, 5));
	assert_false(channel_is_acknowledged(&c, 68));
	assert_true(channel_is_acknowledged(&c, 4));
	assert_false(channel_receive(&c, 64));
	assert_false(channel_receive(&c, UINT32_MAX));
	assert_true(channel_receive(&c, 63));
	assert_false(channel_receive(&c, 63));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(seeded),
		cmocka_unit_test(acknowledgements_that_cannot_be),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
