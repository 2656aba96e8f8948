/* SPDX-License-Identifier: MIT
 * Addresses and descriptors whose seal is right and whose contents are not; and what one looks
 * like. */
#include "seal.h"
#include "wire.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Where things lie in the address below. */
enum {
	PROVIDER = SEAL_BYTES + 12,
	HOST = PROVIDER + 2 + 3,
	FAILURE = HOST + 2 + 4,
	RAILS = FAILURE + 2 + 8 + 4,
	FIRST_RAIL = RAILS + 4,
	ADDRESS_BYTES = FIRST_RAIL + 2 * (4 + 1 + 16),
};

/* ... and in a descriptor. */
enum {
	REGION_RAILS = SEAL_BYTES + 36,
	REGION_BYTES = REGION_RAILS + 4 + 4 + 2 * 8,
};

static uint8_t bytes[2 * KVR_ADDRESS_MAX];

static void fresh_address(void)
{
	struct wire_address address = {.provider = "efa", .host = "node", .rails = 2};

	for (int i = 0; i < 2; i++) {
		address.rail[i].len = 16;
		memset(address.rail[i].bytes, 0x11, 16);
	}
	memset(bytes, 0, sizeof(bytes));
	assert_int_equal(wire_address_encode(&address, bytes, sizeof(bytes)), ADDRESS_BYTES);
}

static void fresh_region(void)
{
	struct wire_region region = {.len = 4096, .rails = 2, .near = 3, .key = {1, 2}};

	memset(bytes, 0, sizeof(bytes));
	assert_int_equal(wire_region_encode(&region, bytes, sizeof(bytes)), REGION_BYTES);
}

/* Decodes the first len bytes, sealed, from memory of exactly that size. */
static int decode_address(size_t len)
{
	uint8_t *exact = malloc(len);
	struct wire_address out;
	uint32_t version;
	int rc;

	assert_non_null(exact);
	memcpy(exact, bytes, len);
	seal_again(exact, len);
	rc = wire_address_decode(exact, len, &out, &version);
	free(exact);
	return rc;
}

static int decode_region(size_t len)
{
	uint8_t *exact = malloc(len);
	struct wire_region out;
	uint32_t version;
	int rc;

	assert_non_null(exact);
	memcpy(exact, bytes, len);
	seal_again(exact, len);
	rc = wire_region_decode(exact, len, &out, &version);
	free(exact);
	return rc;
}

static void sealing_again_changes_nothing(void **state)
{
	uint8_t before[ADDRESS_BYTES];

	(void)state;
	fresh_address();
	memcpy(before, bytes, sizeof(before));
	seal_again(bytes, ADDRESS_BYTES);
	assert_memory_equal(bytes, before, sizeof(before));
	assert_int_equal(decode_address(ADDRESS_BYTES), 0);
	fresh_region();
	assert_int_equal(decode_region(REGION_BYTES), 0);
}

static void contents_too_short_or_too_long(void **state)
{
	(void)state;
	fresh_address();
	for (size_t len = SEAL_BYTES; len < ADDRESS_BYTES + 300; len++)
		assert_int_equal(decode_address(len), len == ADDRESS_BYTES ? 0 : -EBADMSG);
	fresh_region();
	for (size_t len = SEAL_BYTES; len < REGION_BYTES + 300; len++)
		assert_int_equal(decode_region(len), len == REGION_BYTES ? 0 : -EBADMSG);
}

/* The result of an address whose text at `at`, of `now` characters, has `len` instead. */
static int decode_with_text(size_t at, size_t now, size_t len)
{
	fresh_address();
	memmove(bytes + at + 2 + len, bytes + at + 2 + now, ADDRESS_BYTES - at - 2 - now);
	memset(bytes + at + 2, 'x', len);
	bytes[at] = len;
	bytes[at + 1] = len >> 8;
	return decode_address(ADDRESS_BYTES - now + len);
}

static void texts_too_long(void **state)
{
	static const struct {
		size_t at, now, room;
	} texts[] = {{PROVIDER, 3, 32}, {HOST, 4, 64}, {FAILURE, 0, FABRIC_WHY}};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(decode_with_text(texts[i].at, texts[i].now, texts[i].room - 1), 0);
		assert_int_equal(decode_with_text(texts[i].at, texts[i].now, texts[i].room),
		                 -EBADMSG);
		assert_int_equal(decode_with_text(texts[i].at, texts[i].now, 3000), -EBADMSG);
		fresh_address();
		bytes[texts[i].at + 1] = 0xff; /* longer than all there is */
		assert_int_equal(decode_address(ADDRESS_BYTES), -EBADMSG);
	}
}

static void texts_with_a_zero_inside(void **state)
{
	(void)state;
	fresh_address();
	bytes[HOST + 2 + 1] = 0;
	assert_int_equal(decode_address(ADDRESS_BYTES), -EBADMSG);
}

static void too_many_rails(void **state)
{
	static const uint32_t rails[] = {KVR_MAX_RAILS + 1, 0x10002, 0x80000000, UINT32_MAX};

	(void)state;
	for (size_t i = 0; i < sizeof(rails) / sizeof(rails[0]); i++) {
		fresh_address();
		seal_put(bytes + RAILS, rails[i]);
		/* There is something for each. */
		for (size_t at = FIRST_RAIL; at + 21 <= sizeof(bytes); at += 21) {
			memset(bytes + at, 0x11, 21);
			bytes[at + 4] = 16;
		}
		assert_int_equal(decode_address(FIRST_RAIL + 21 * (KVR_MAX_RAILS + 1)), -EBADMSG);
		fresh_region();
		seal_put(bytes + REGION_RAILS, rails[i]);
		assert_int_equal(decode_region(REGION_RAILS + 4 + 4 + 8 * (KVR_MAX_RAILS + 1)),
		                 -EBADMSG);
	}
}

static void endpoint_names_too_long(void **state)
{
	static const uint8_t lengths[] = {FABRIC_ADDRESS_MAX, FABRIC_ADDRESS_MAX + 1, 255};

	(void)state;
	for (size_t i = 0; i < sizeof(lengths); i++) {
		fresh_address();
		seal_put(bytes + RAILS, 1);
		bytes[FIRST_RAIL + 4] = lengths[i];
		memset(bytes + FIRST_RAIL + 5, 0x11, lengths[i]);
		assert_int_equal(decode_address(FIRST_RAIL + 5 + lengths[i]),
		                 lengths[i] == FABRIC_ADDRESS_MAX ? 0 : -EBADMSG);
	}
}

/* A header that claims less than a header, or is none. */
static void claims_below_a_header_count_as_none(void **state)
{
	uint8_t head[SEAL_BYTES] = "KVRD";

	(void)state;
	for (uint8_t claimed = 0; claimed <= SEAL_BYTES; claimed++) {
		head[8] = claimed;
		assert_int_equal(wire_sealed_length(head, SEAL_BYTES),
		                 claimed == SEAL_BYTES ? SEAL_BYTES : 0);
	}
}

/* Formats are for other builds to read: a change must not go unnoticed. */
static void a_region_looks_like_this(void **state)
{
	static const uint8_t wanted[] = {
		'K', 'V', 'R', 'D', WIRE_VERSION, 0, 0, 0, 68, 0, 0, 0, 0xef, 0xfd, 0xa1, 0xec,
	};
	static const uint8_t body[] = {
		8, 7, 6, 5, 4, 3, 2, 1, 7,    0,    0, 0, 0, 0, 0, 0,    0, 16,
		0, 0, 0, 0, 0, 0, 0, 0, 1,    0,    0, 0, 0, 0, 9, 0,    0, 0,
		1, 0, 0, 0, 1, 0, 0, 0, 0xef, 0xbe, 0, 0, 0, 0, 0, 0x80,
	};
	struct wire_region region = {.instance = 0x0102030405060708,
	                             .id = 7,
	                             .len = 4096,
	                             .base = 65536,
	                             .counters = 9,
	                             .rails = 1,
	                             .near = 1,
	                             .key = {0x800000000000beef}};
	uint8_t buf[KVR_DESCRIPTOR_MAX];

	(void)state;
	assert_int_equal(wire_region_encode(&region, buf, sizeof(buf)), SEAL_BYTES + sizeof(body));
	assert_memory_equal(buf, wanted, sizeof(wanted));
	assert_memory_equal(buf + SEAL_BYTES, body, sizeof(body));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sealing_again_changes_nothing),
		cmocka_unit_test(contents_too_short_or_too_long),
		cmocka_unit_test(texts_too_long),
		cmocka_unit_test(texts_with_a_zero_inside),
		cmocka_unit_test(too_many_rails),
		cmocka_unit_test(endpoint_names_too_long),
		cmocka_unit_test(claims_below_a_header_count_as_none),
		cmocka_unit_test(a_region_looks_like_this),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
