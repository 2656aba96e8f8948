/* SPDX-License-Identifier: MIT
 * libFuzzer target for what comes from other ranks as bytes; FUZZ_REGION, FUZZ_ADDRESS or
 * FUZZ_MESSAGE says which. What decodes must mean the same after it was encoded again. Every input
 * is tried as it is and, for sealed things, with its seal put right, or the hash would keep the
 * fuzzer out. */
#include "seal.h"
#include "wire.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define BUFFER 8192

#ifdef FUZZ_REGION
static void try(const uint8_t *data, size_t size)
{
	struct wire_region first, second;
	uint8_t buf[BUFFER];
	uint32_t version;
	ssize_t len;

	if (wire_region_decode(data, size, &first, &version))
		return;
	len = wire_region_encode(&first, buf, sizeof(buf));
	if (len <= 0 || (size_t)len > KVR_DESCRIPTOR_MAX ||
	    wire_region_decode(buf, len, &second, &version) ||
	    memcmp(&first, &second, sizeof(first)))
		abort();
}
#endif

#ifdef FUZZ_ADDRESS
static void try(const uint8_t *data, size_t size)
{
	static struct wire_address first, second;
	uint8_t buf[BUFFER];
	uint32_t version;
	ssize_t len;

	if (wire_address_decode(data, size, &first, &version))
		return;
	len = wire_address_encode(&first, buf, sizeof(buf));
	if (len <= 0 || wire_address_decode(buf, len, &second, &version) ||
	    first.rails != second.rails || first.status != second.status ||
	    first.instance != second.instance || first.machine != second.machine ||
	    first.near != second.near || strcmp(first.provider, second.provider) ||
	    strcmp(first.host, second.host) || strcmp(first.failure, second.failure) ||
	    memcmp(first.rail, second.rail, sizeof(first.rail)))
		abort();
}
#endif

#ifdef FUZZ_MESSAGE
static void try(const uint8_t *data, size_t size)
{
	struct wire_message first, second;
	uint8_t buf[BUFFER];
	ssize_t len;

	if (size > sizeof(buf) || wire_message_decode(data, size, &first))
		return;
	len = wire_message_encode(&first, buf, sizeof(buf));
	if (len < 0 || (size_t)len != size || memcmp(buf, data, size) ||
	    wire_message_decode(buf, len, &second))
		abort();
}
#endif

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1); /* so that one byte too far is seen */

	if (size)
		memcpy(copy, data, size);
	try(copy, size);
	wire_sealed_length(copy, size);
#ifndef FUZZ_MESSAGE
	if (size >= SEAL_BYTES) {
		seal_again(copy, size);
		try(copy, size);
	}
#endif
	free(copy);
	return 0;
}
