/* SPDX-License-Identifier: MIT
 * Addresses and descriptors: what is encoded comes back, and nothing damaged comes through. Every
 * buffer is allocated to its exact size, so that a sanitizer sees a byte read or written too far.
 */
#include "affinity.h"
#include "seeds.h"
#include "wire.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define SEEDS   2000
#define VERSION 4 /* offsets in a sealed blob: see wire.c */
#define LENGTH  8
#define SEAL    16

/* An encoded thing, and how to read it back. */
struct blob {
	uint8_t *bytes;
	size_t len;
	int (*decode)(const void *bytes, size_t len, uint32_t *version);
};

static int decode_address(const void *bytes, size_t len, uint32_t *version)
{
	struct wire_address out;

	return wire_address_decode(bytes, len, &out, version);
}

static int decode_region(const void *bytes, size_t len, uint32_t *version)
{
	struct wire_region out;

	return wire_region_decode(bytes, len, &out, version);
}

static void fill(struct dice *dice, void *out, size_t len)
{
	for (size_t i = 0; i < len; i++)
		((uint8_t *)out)[i] = dice_roll(dice, 256);
}

/* Any characters but the final 0, of any length that fits or of the longest. */
static void some_text(struct dice *dice, char *out, size_t size)
{
	size_t len = dice_chance(dice, 20) ? size - 1 : dice_roll(dice, size);

	for (size_t i = 0; i < len; i++)
		out[i] = 1 + dice_roll(dice, 255);
	out[len] = 0;
}

static struct wire_address some_address(uint64_t seed, uint32_t rails)
{
	struct dice dice = dice_of(seed);
	struct wire_address address = {.rails = rails};

	if (!rails || dice_chance(&dice, 20))
		address.status = -1 - (int32_t)dice_roll(&dice, INT32_MAX);
	fill(&dice, &address.instance, sizeof(address.instance));
	some_text(&dice, address.provider, sizeof(address.provider));
	some_text(&dice, address.host, sizeof(address.host));
	some_text(&dice, address.failure, sizeof(address.failure));
	fill(&dice, &address.machine, sizeof(address.machine));
	address.near = dice_roll(&dice, UINT32_MAX) & rails_first(rails);
	for (uint32_t i = 0; i < rails; i++) {
		address.rail[i].len = 1 + dice_roll(&dice, FABRIC_ADDRESS_MAX);
		fill(&dice, address.rail[i].bytes, address.rail[i].len);
		address.rail[i].bytes[dice_roll(&dice, address.rail[i].len)] |= 0x80;
	}
	return address;
}

static struct wire_address longest_address(void)
{
	struct wire_address address = {.status = INT32_MIN, .rails = KVR_MAX_RAILS};

	memset(address.provider, 'p', sizeof(address.provider) - 1);
	memset(address.host, 'h', sizeof(address.host) - 1);
	memset(address.failure, 'f', sizeof(address.failure) - 1);
	for (uint32_t i = 0; i < address.rails; i++) {
		address.rail[i].len = FABRIC_ADDRESS_MAX;
		memset(address.rail[i].bytes, 0xff, FABRIC_ADDRESS_MAX);
	}
	return address;
}

static struct wire_region some_region(uint64_t seed, uint32_t rails)
{
	struct dice dice = dice_of(seed);
	struct wire_region region = {.rails = rails};

	fill(&dice, &region.instance, sizeof(region.instance));
	fill(&dice, &region.counters, sizeof(region.counters));
	fill(&dice, region.key, rails * sizeof(region.key[0]));
	region.near =
		1u << dice_roll(&dice, rails) | (dice_roll(&dice, UINT32_MAX) & rails_first(rails));
	region.len = 1 + dice_roll(&dice, 1ull << (1 + dice_roll(&dice, 48)));
	region.base = dice_chance(&dice, 50) ? 0 : dice_roll(&dice, UINT64_MAX) >> 2;
	return region;
}

static uint8_t *make_room(size_t len)
{
	uint8_t *bytes = malloc(len ? len : 1);

	assert_non_null(bytes);
	return bytes;
}

static struct blob address_blob(const struct wire_address *address)
{
	uint8_t scratch[2 * KVR_ADDRESS_MAX];
	ssize_t len = wire_address_encode(address, scratch, sizeof(scratch));
	struct blob blob = {.len = len, .decode = decode_address};

	assert_true(len > SEAL);
	blob.bytes = make_room(len);
	assert_int_equal(wire_address_encode(address, blob.bytes, len), len);
	assert_memory_equal(blob.bytes, scratch, len);
	return blob;
}

static struct blob region_blob(const struct wire_region *region)
{
	uint8_t scratch[2 * KVR_DESCRIPTOR_MAX];
	ssize_t len = wire_region_encode(region, scratch, sizeof(scratch));
	struct blob blob = {.len = len, .decode = decode_region};

	assert_true(len > SEAL);
	blob.bytes = make_room(len);
	assert_int_equal(wire_region_encode(region, blob.bytes, len), len);
	assert_memory_equal(blob.bytes, scratch, len);
	return blob;
}

/* One of each kind, small and large, for what must hold of them all. */
static size_t every_blob(struct blob blobs[8])
{
	static const uint32_t rails[] = {1, 3, KVR_MAX_RAILS};
	struct wire_address address = some_address(77, 0);
	struct wire_region region;
	size_t n = 0;

	blobs[n++] = address_blob(&address);
	address = longest_address();
	blobs[n++] = address_blob(&address);
	for (size_t i = 0; i < 3; i++) {
		address = some_address(i, rails[i]);
		region = some_region(i, rails[i]);
		blobs[n++] = address_blob(&address);
		blobs[n++] = region_blob(&region);
	}
	return n;
}

/* Runs a check on a copy of every blob. */
static void on_every_blob(void (*check)(struct blob *))
{
	struct blob blobs[8];
	size_t n = every_blob(blobs);

	for (size_t i = 0; i < n; i++) {
		uint32_t version = 0;

		assert_int_equal(blobs[i].decode(blobs[i].bytes, blobs[i].len, &version), 0);
		assert_int_equal(version, WIRE_VERSION);
		check(&blobs[i]);
		free(blobs[i].bytes);
	}
}

static void addresses_come_back(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct wire_address in = some_address(seed, seed % (KVR_MAX_RAILS + 1)), out;
		struct blob blob = address_blob(&in);
		uint32_t version;

		memset(&out, 0x5a, sizeof(out));
		assert_int_equal(wire_address_decode(blob.bytes, blob.len, &out, &version), 0);
		free(blob.bytes);
		assert_int_equal(out.status, in.status);
		assert_int_equal(out.instance, in.instance);
		assert_string_equal(out.provider, in.provider);
		assert_string_equal(out.host, in.host);
		assert_string_equal(out.failure, in.failure);
		assert_int_equal(out.machine, in.machine);
		assert_int_equal(out.near, in.near);
		assert_int_equal(out.rails, in.rails);
		for (uint32_t i = 0; i < in.rails; i++) {
			assert_int_equal(out.rail[i].len, in.rail[i].len);
			assert_memory_equal(out.rail[i].bytes, in.rail[i].bytes, in.rail[i].len);
		}
	}
}

static void regions_come_back(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct wire_region in = some_region(seed, 1 + seed % KVR_MAX_RAILS), out;
		struct blob blob = region_blob(&in);
		uint32_t version;

		memset(&out, 0x5a, sizeof(out));
		assert_int_equal(wire_region_decode(blob.bytes, blob.len, &out, &version), 0);
		free(blob.bytes);
		assert_int_equal(out.instance, in.instance);
		assert_int_equal(out.len, in.len);
		assert_int_equal(out.base, in.base);
		assert_int_equal(out.counters, in.counters);
		assert_int_equal(out.rails, in.rails);
		assert_int_equal(out.near, in.near);
		assert_memory_equal(out.key, in.key, in.rails * sizeof(in.key[0]));
	}
}

static void check_truncation(struct blob *blob)
{
	uint32_t version;

	for (size_t len = 0; len < blob->len; len++) {
		uint8_t *shorter = make_room(len);

		memcpy(shorter, blob->bytes, len);
		assert_int_equal(blob->decode(shorter, len, &version), -EBADMSG);
		assert_int_equal(wire_sealed_length(shorter, len), 0);
		free(shorter);
	}
}

static void truncated_is_refused(void **state)
{
	(void)state;
	on_every_blob(check_truncation);
}

/* A length that was cut with the rest, so that only the contents are too short. */
static void check_shortened(struct blob *blob)
{
	uint32_t version;

	for (size_t len = 0; len < blob->len; len++) {
		uint8_t *shorter = make_room(blob->len);

		memcpy(shorter, blob->bytes, blob->len);
		shorter[LENGTH] = len;
		shorter[LENGTH + 1] = len >> 8;
		assert_int_equal(blob->decode(shorter, blob->len, &version), -EBADMSG);
		free(shorter);
	}
}

static void shortened_is_refused(void **state)
{
	(void)state;
	on_every_blob(check_shortened);
}

static void check_flips(struct blob *blob)
{
	int rc, wanted;
	uint32_t version;

	for (size_t bit = 0; bit < 8 * blob->len; bit++) {
		wanted = bit / 8 >= VERSION && bit / 8 < LENGTH ? -EPROTO : -EBADMSG;
		blob->bytes[bit / 8] ^= 1u << bit % 8;
		rc = blob->decode(blob->bytes, blob->len, &version);
		if (rc != wanted)
			fail_msg("bit %zu flipped: %d", bit, rc);
		blob->bytes[bit / 8] ^= 1u << bit % 8;
	}
}

static void every_flipped_bit_is_refused(void **state)
{
	(void)state;
	on_every_blob(check_flips);
}

static void check_other_kind(struct blob *blob)
{
	struct wire_address address;
	struct wire_region region;
	struct wire_message message;
	uint32_t version;
	int rc;

	if (blob->decode == decode_address)
		rc = wire_region_decode(blob->bytes, blob->len, &region, &version);
	else
		rc = wire_address_decode(blob->bytes, blob->len, &address, &version);
	assert_int_equal(rc, -EBADMSG);
	assert_int_equal(wire_message_decode(blob->bytes, blob->len, &message), -EBADMSG);
}

static void another_kind_is_refused(void **state)
{
	(void)state;
	on_every_blob(check_other_kind);
}

static void zeros_are_refused(void **state)
{
	uint8_t zeros[KVR_ADDRESS_MAX] = {0};
	struct wire_message message;
	uint32_t version;

	(void)state;
	for (size_t len = 0; len <= sizeof(zeros); len++) {
		assert_int_equal(decode_address(zeros, len, &version), -EBADMSG);
		assert_int_equal(decode_region(zeros, len, &version), -EBADMSG);
		assert_int_equal(wire_message_decode(zeros, len, &message), -EBADMSG);
		assert_int_equal(wire_sealed_length(zeros, len), 0);
	}
}

/* Whatever another version puts behind the seal, its number is what the user must hear. */
static void check_version(struct blob *blob)
{
	uint32_t version = 0;

	blob->bytes[VERSION] = 0x78;
	blob->bytes[VERSION + 1] = 0x56;
	blob->bytes[VERSION + 2] = 0x34;
	blob->bytes[VERSION + 3] = 0x12;
	memset(blob->bytes + LENGTH + 4, 0x5a, blob->len - LENGTH - 4);
	assert_int_equal(blob->decode(blob->bytes, blob->len, &version), -EPROTO);
	assert_int_equal(version, 0x12345678);
	assert_int_equal(blob->decode(blob->bytes, blob->len - 1, &version), -EBADMSG);
}

static void another_version_is_reported(void **state)
{
	(void)state;
	on_every_blob(check_version);
}

static void check_padding(struct blob *blob)
{
	uint8_t *padded = make_room(blob->len + 100);
	uint32_t version;

	memcpy(padded, blob->bytes, blob->len);
	memset(padded + blob->len, 0x5a, 100);
	assert_int_equal(blob->decode(padded, blob->len + 100, &version), 0);
	assert_int_equal(wire_sealed_length(padded, blob->len + 100), blob->len);
	assert_int_equal(wire_sealed_length(padded, blob->len), blob->len);
	free(padded);
}

static void padding_is_ignored(void **state)
{
	(void)state;
	on_every_blob(check_padding);
}

static void refuse_address(const struct wire_address *address)
{
	struct blob blob = address_blob(address);
	uint32_t version;

	assert_int_equal(decode_address(blob.bytes, blob.len, &version), -EBADMSG);
	free(blob.bytes);
}

static void addresses_of_nobody_are_refused(void **state)
{
	struct wire_address address = some_address(1, 3);

	(void)state;
	address.status = 0;
	address.rails = 0;
	refuse_address(&address);
	address.rails = 3;
	address.status = 1;
	refuse_address(&address);
	address.status = 0;
	address.rail[2].len = 0;
	refuse_address(&address);
	address.rail[2].len = 16;
	memset(address.rail[2].bytes, 0, 16);
	refuse_address(&address);
	memset(address.rail[2].bytes, 1, 16);
	address.near = 1u << 3;
	refuse_address(&address);
	address.near = 0;
	address.rail[2].len = FABRIC_ADDRESS_MAX;
	memset(address.rail[2].bytes, 0, FABRIC_ADDRESS_MAX);
	refuse_address(&address);
}

static void refuse_region(const struct wire_region *region)
{
	struct blob blob = region_blob(region);
	uint32_t version;

	assert_int_equal(decode_region(blob.bytes, blob.len, &version), -EBADMSG);
	free(blob.bytes);
}

static void regions_of_nothing_are_refused(void **state)
{
	struct wire_region region = some_region(1, 3);

	(void)state;
	region.len = 0;
	refuse_region(&region);
	region.len = 4096;
	region.base = UINT64_MAX - 4094;
	refuse_region(&region);
	region.base = UINT64_MAX;
	refuse_region(&region);
	region.base = 0;
	region.near = 0;
	refuse_region(&region);
	region.near = 1u << 3;
	refuse_region(&region);
	region.near = 1;
	region.rails = 0;
	refuse_region(&region);
}

static void check_room(struct blob *blob)
{
	struct wire_address address;
	struct wire_region region;
	bool is_address = blob->decode == decode_address;
	uint32_t version;

	if (is_address)
		wire_address_decode(blob->bytes, blob->len, &address, &version);
	else
		wire_region_decode(blob->bytes, blob->len, &region, &version);
	for (size_t len = 0; len < blob->len; len++) {
		uint8_t *small = make_room(len);

		assert_int_equal(is_address ? wire_address_encode(&address, small, len)
		                            : wire_region_encode(&region, small, len),
		                 -ENOSPC);
		free(small);
	}
}

static void small_buffers_are_left_alone(void **state)
{
	(void)state;
	on_every_blob(check_room);
}

static void public_limits_suffice(void **state)
{
	struct wire_address address = longest_address();
	struct wire_region region = some_region(3, KVR_MAX_RAILS);
	uint8_t buf[KVR_ADDRESS_MAX];
	ssize_t len = wire_address_encode(&address, buf, KVR_ADDRESS_MAX);

	(void)state;
	assert_true(len > 0);
	/* A HELLO carries it. */
	assert_true(WIRE_HEADER + len <= WIRE_MESSAGE_MAX);
	assert_true(wire_region_encode(&region, buf, KVR_DESCRIPTOR_MAX) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_come_back),
		cmocka_unit_test(regions_come_back),
		cmocka_unit_test(truncated_is_refused),
		cmocka_unit_test(shortened_is_refused),
		cmocka_unit_test(every_flipped_bit_is_refused),
		cmocka_unit_test(another_kind_is_refused),
		cmocka_unit_test(zeros_are_refused),
		cmocka_unit_test(another_version_is_reported),
		cmocka_unit_test(padding_is_ignored),
		cmocka_unit_test(addresses_of_nobody_are_refused),
		cmocka_unit_test(regions_of_nothing_are_refused),
		cmocka_unit_test(small_buffers_are_left_alone),
		cmocka_unit_test(public_limits_suffice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
