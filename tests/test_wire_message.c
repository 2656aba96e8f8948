/* SPDX-License-Identifier: MIT
 * Control messages: what is encoded comes back, and nothing else is taken for one. Every buffer is
 * allocated to its exact size, so that a sanitizer sees a byte read or written too far. */
#include "seeds.h"
#include "wire.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define MESSAGES 5000

static uint8_t *make_room(size_t len)
{
	uint8_t *bytes = malloc(len ? len : 1);

	assert_non_null(bytes);
	return bytes;
}

static void fill(struct dice *dice, void *out, size_t len)
{
	for (size_t i = 0; i < len; i++)
		((uint8_t *)out)[i] = dice_roll(dice, 256);
}

static struct wire_message some_message(struct dice *dice, const uint8_t *body, enum wire_type type)
{
	struct wire_message message = {.type = type, .body = body};

	fill(dice, &message.to, sizeof(message.to));
	fill(dice, &message.instance, sizeof(message.instance));
	fill(dice, &message.number, sizeof(message.number));
	fill(dice, &message.got.base, sizeof(message.got.base));
	fill(dice, &message.got.map, sizeof(message.got.map));
	fill(dice, &message.a, sizeof(message.a));
	fill(dice, &message.b, sizeof(message.b));
	fill(dice, &message.c, sizeof(message.c));
	if (dice_chance(dice, 70))
		message.body_len = dice_roll(dice, WIRE_MESSAGE_MAX - WIRE_HEADER + 1);
	return message;
}

/* Comes back whole; and not at all if a byte is missing or too many. */
static void check_message(const struct wire_message *in)
{
	size_t len = WIRE_HEADER + in->body_len;
	uint8_t *bytes = make_room(len), *longer = make_room(len + 1);
	struct wire_message out;

	assert_int_equal(wire_message_encode(in, bytes, len), len);
	assert_int_equal(wire_message_decode(bytes, len, &out), 0);
	assert_int_equal(out.type, in->type);
	assert_int_equal(out.to, in->to);
	assert_int_equal(out.instance, in->instance);
	assert_int_equal(out.number, in->number);
	assert_int_equal(out.got.base, in->got.base);
	assert_int_equal(out.got.map, in->got.map);
	assert_int_equal(out.a, in->a);
	assert_int_equal(out.b, in->b);
	assert_int_equal(out.c, in->c);
	assert_int_equal(out.body_len, in->body_len);
	assert_ptr_equal(out.body, bytes + WIRE_HEADER);
	assert_memory_equal(out.body, in->body, in->body_len);
	memcpy(longer, bytes, len);
	longer[len] = 0;
	assert_int_equal(wire_message_decode(longer, len + 1, &out), -EBADMSG);
	free(longer);
	bytes = realloc(bytes, len - 1);
	assert_int_equal(wire_message_decode(bytes, len - 1, &out), -EBADMSG);
	free(bytes);
}

static void messages_come_back(void **state)
{
	static uint8_t body[WIRE_MESSAGE_MAX];
	struct dice dice = dice_of(5);
	struct wire_message message;

	(void)state;
	fill(&dice, body, sizeof(body));
	for (int i = 0; i < MESSAGES; i++) {
		message = some_message(&dice, body, WIRE_HELLO + i % WIRE_LAST);
		check_message(&message);
	}
}

static void messages_need_no_body(void **state)
{
	uint8_t buf[WIRE_HEADER];
	struct wire_message in = {.type = WIRE_END, .a = 1, .b = 2, .c = 3}, out;

	(void)state;
	assert_int_equal(wire_message_encode(&in, buf, sizeof(buf)), WIRE_HEADER);
	assert_int_equal(wire_message_decode(buf, sizeof(buf), &out), 0);
	assert_int_equal(out.body_len, 0);
}

static void truncated_messages_are_refused(void **state)
{
	uint8_t whole[WIRE_HEADER + 8] = {0};
	struct wire_message in = {.type = WIRE_CHUNK, .body = whole, .body_len = 8}, out;

	(void)state;
	assert_int_equal(wire_message_encode(&in, whole, sizeof(whole)), sizeof(whole));
	for (size_t len = 0; len < sizeof(whole); len++) {
		uint8_t *shorter = make_room(len);

		memcpy(shorter, whole, len);
		assert_int_equal(wire_message_decode(shorter, len, &out), -EBADMSG);
		free(shorter);
	}
}

/* Messages have no hash: what a flip must hit is what says that it is a message, and how long. */
static void damaged_heads_of_messages_are_refused(void **state)
{
	static const uint8_t body[8] = {0};
	uint8_t whole[WIRE_HEADER + 8];
	struct wire_message in = {.type = WIRE_BYE, .body = body, .body_len = 8}, out;
	int rc;

	(void)state;
	assert_int_equal(wire_message_encode(&in, whole, sizeof(whole)), sizeof(whole));
	for (size_t bit = 0; bit < 8 * 16; bit++) {
		whole[bit / 8] ^= 1u << bit % 8;
		rc = wire_message_decode(whole, sizeof(whole), &out);
		if (bit < 8 * 4 || bit >= 8 * 12)
			assert_int_equal(rc, -EBADMSG); /* magic, length */
		else if (bit < 8 * 6)
			assert_int_equal(rc, -EPROTO);
		else if (!rc)
			assert_in_range(out.type, WIRE_HELLO, WIRE_LAST);
		whole[bit / 8] ^= 1u << bit % 8;
	}
}

static void unknown_messages_are_refused(void **state)
{
	static const uint16_t unknown[] = {0, WIRE_LAST + 1, 0x101, 0xffff};
	uint8_t buf[WIRE_HEADER];
	struct wire_message in = {.type = WIRE_END, .body = buf}, out;

	(void)state;
	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
		assert_int_equal(wire_message_encode(&in, buf, sizeof(buf)), WIRE_HEADER);
		buf[6] = unknown[i];
		buf[7] = unknown[i] >> 8;
		assert_int_equal(wire_message_decode(buf, sizeof(buf), &out), -EBADMSG);
	}
}

static void small_buffers_are_left_alone(void **state)
{
	const struct wire_message message = {
		.type = WIRE_CHUNK, .body = (const void *)"0123", .body_len = 4};

	(void)state;
	for (size_t len = 0; len < WIRE_HEADER + 4; len++) {
		uint8_t *small = make_room(len);

		assert_int_equal(wire_message_encode(&message, small, len), -ENOSPC);
		free(small);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(small_buffers_are_left_alone),
		cmocka_unit_test(messages_come_back),
		cmocka_unit_test(messages_need_no_body),
		cmocka_unit_test(truncated_messages_are_refused),
		cmocka_unit_test(damaged_heads_of_messages_are_refused),
		cmocka_unit_test(unknown_messages_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
