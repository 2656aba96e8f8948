/* SPDX-License-Identifier: MIT
 * Seals any bytes as wire.c would, so that what lies behind the hash is tested too. */
#ifndef TESTS_SEAL_H
#define TESTS_SEAL_H

#include <stddef.h>
#include <stdint.h>
#include <xxhash.h>

#define SEAL_BYTES 16 /* magic, version, length, hash; four bytes each, little-endian */

static inline uint32_t seal_get(const uint8_t *bytes)
{
	return bytes[0] | bytes[1] << 8 | bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static inline void seal_put(uint8_t *bytes, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		bytes[i] = value >> 8 * i;
}

/* Makes length and hash right for len bytes that begin with magic and version. */
static inline void seal_again(uint8_t *bytes, size_t len)
{
	seal_put(bytes + 8, len);
	seal_put(bytes + 12, XXH32(bytes + SEAL_BYTES, len - SEAL_BYTES, seal_get(bytes)));
}

#endif
