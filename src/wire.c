/* SPDX-License-Identifier: MIT
 * What ranks tell each other, as bytes: addresses, region descriptors and control messages. */
#include "wire.h"
#include "affinity.h"
#include <errno.h>
#include <string.h>
#include <xxhash.h>

/* Addresses and descriptors travel by ways we do not know, so they are sealed: magic, version,
 * length, hash of all that follows. These sixteen bytes stay the same in every version. */
#define SEAL          16
#define MAGIC_ADDRESS 0x4152564bu /* KVRA */
#define MAGIC_REGION  0x4452564bu /* KVRD */
#define MAGIC_MESSAGE 0x4d52564bu /* KVRM */

struct writer {
	uint8_t *at, *end;
	bool overflow;
};

struct reader {
	const uint8_t *at, *end;
	bool underflow;
};

static void put(struct writer *w, const void *bytes, size_t len)
{
	if ((size_t)(w->end - w->at) < len) {
		w->overflow = true;
		return;
	}
	if (len) /* bytes may be NULL */
		memcpy(w->at, bytes, len);
	w->at += len;
}

static void put_number(struct writer *w, uint64_t value, size_t len)
{
	uint8_t bytes[8];

	for (size_t i = 0; i < len; i++)
		bytes[i] = value >> 8 * i;
	put(w, bytes, len);
}

static void put_text(struct writer *w, const char *text)
{
	size_t len = strlen(text);

	put_number(w, len, 2);
	put(w, text, len);
}

static const uint8_t *get(struct reader *r, size_t len)
{
	const uint8_t *bytes = r->at;

	if ((size_t)(r->end - r->at) < len) {
		r->underflow = true;
		return NULL;
	}
	r->at += len;
	return bytes;
}

static uint64_t get_number(struct reader *r, size_t len)
{
	const uint8_t *bytes = get(r, len);
	uint64_t value = 0;

	for (size_t i = 0; bytes && i < len; i++)
		value |= (uint64_t)bytes[i] << 8 * i;
	return value;
}

static void get_text(struct reader *r, char *out, size_t size)
{
	size_t len = get_number(r, 2);
	const uint8_t *bytes = get(r, len);

	if (!bytes || len >= size || memchr(bytes, 0, len)) {
		r->underflow = true;
		return;
	}
	memcpy(out, bytes, len);
	out[len] = 0;
}

static struct writer seal_begin(void *buf, size_t len)
{
	struct writer w = {.at = buf, .end = (uint8_t *)buf + len};

	if (len < SEAL)
		w.overflow = true;
	else
		w.at += SEAL;
	return w;
}

static ssize_t seal_end(struct writer *w, void *buf, uint32_t magic)
{
	struct writer head = {.at = buf, .end = (uint8_t *)buf + SEAL};
	size_t len;

	if (w->overflow)
		return -ENOSPC;
	len = w->at - (uint8_t *)buf;
	put_number(&head, magic, 4);
	put_number(&head, WIRE_VERSION, 4);
	put_number(&head, len, 4);
	put_number(&head, XXH32((uint8_t *)buf + SEAL, len - SEAL, magic), 4);
	return len;
}

/* The order of the checks decides what a user reads: another version is a clear case of its own,
 * and its hash is none of our business. */
static int unseal(const void *buf, size_t len, uint32_t magic, struct reader *r, uint32_t *version)
{
	struct reader head = {.at = buf, .end = (const uint8_t *)buf + len};
	uint32_t claimed, hash;

	if (get_number(&head, 4) != magic)
		return -EBADMSG;
	*version = get_number(&head, 4);
	claimed = get_number(&head, 4);
	hash = get_number(&head, 4);
	if (head.underflow || claimed < SEAL || claimed > len)
		return -EBADMSG;
	if (*version != WIRE_VERSION)
		return -EPROTO;
	if (XXH32((const uint8_t *)buf + SEAL, claimed - SEAL, magic) != hash)
		return -EBADMSG;
	*r = (struct reader){.at = head.at, .end = (const uint8_t *)buf + claimed};
	return 0;
}

/* Underflow, or bytes left over, in something whose hash was right: a bug, not damage. */
static int unseal_end(const struct reader *r)
{
	return r->underflow || r->at != r->end ? -EBADMSG : 0;
}

size_t wire_sealed_length(const void *buf, size_t len)
{
	struct reader r = {.at = buf, .end = (const uint8_t *)buf + len};
	size_t claimed;

	get_number(&r, 8);
	claimed = get_number(&r, 4);
	return !r.underflow && claimed >= SEAL && claimed <= len ? claimed : 0;
}

ssize_t wire_address_encode(const struct wire_address *in, void *buf, size_t len)
{
	struct writer w = seal_begin(buf, len);

	put_number(&w, (uint32_t)in->status, 4);
	put_number(&w, in->instance, 8);
	put_text(&w, in->provider);
	put_text(&w, in->host);
	put_text(&w, in->failure);
	put_number(&w, in->machine, 8);
	put_number(&w, in->near, 4);
	put_number(&w, in->rails, 4);
	for (uint32_t i = 0; i < in->rails; i++) {
		put_number(&w, in->rail[i].epoch, 4);
		put_number(&w, in->rail[i].len, 1);
		put(&w, in->rail[i].bytes, in->rail[i].len);
	}
	return seal_end(&w, buf, MAGIC_ADDRESS);
}

/* An endpoint's name of length 0 or all zero is nobody's: libfabric's providers crash on some. */
static bool get_endpoint(struct reader *r, struct wire_endpoint *out)
{
	static const uint8_t zero[FABRIC_ADDRESS_MAX];
	const uint8_t *bytes;

	out->epoch = get_number(r, 4);
	out->len = get_number(r, 1);
	bytes = get(r, out->len);
	if (!bytes || out->len > sizeof(out->bytes) || !memcmp(bytes, zero, out->len))
		return false;
	memcpy(out->bytes, bytes, out->len);
	return true;
}

int wire_address_decode(const void *buf, size_t len, struct wire_address *out, uint32_t *version)
{
	struct reader r;
	int rc = unseal(buf, len, MAGIC_ADDRESS, &r, version);

	if (rc)
		return rc;
	memset(out, 0, sizeof(*out));
	out->status = (int32_t)get_number(&r, 4);
	out->instance = get_number(&r, 8);
	get_text(&r, out->provider, sizeof(out->provider));
	get_text(&r, out->host, sizeof(out->host));
	get_text(&r, out->failure, sizeof(out->failure));
	out->machine = get_number(&r, 8);
	out->near = get_number(&r, 4);
	out->rails = get_number(&r, 4);
	if (r.underflow || out->status > 0 || out->rails > KVR_MAX_RAILS ||
	    (!out->status && !out->rails) || out->near & ~rails_first(out->rails))
		return -EBADMSG;
	for (uint32_t i = 0; i < out->rails; i++)
		if (!get_endpoint(&r, &out->rail[i]))
			return -EBADMSG;
	return unseal_end(&r);
}

ssize_t wire_region_encode(const struct wire_region *in, void *buf, size_t len)
{
	struct writer w = seal_begin(buf, len);

	put_number(&w, in->instance, 8);
	put_number(&w, in->id, 8);
	put_number(&w, in->len, 8);
	put_number(&w, in->base, 8);
	put_number(&w, in->counters, 4);
	put_number(&w, in->rails, 4);
	put_number(&w, in->near, 4);
	for (uint32_t i = 0; i < in->rails; i++)
		put_number(&w, in->key[i], 8);
	return seal_end(&w, buf, MAGIC_REGION);
}

int wire_region_decode(const void *buf, size_t len, struct wire_region *out, uint32_t *version)
{
	struct reader r;
	int rc = unseal(buf, len, MAGIC_REGION, &r, version);

	if (rc)
		return rc;
	memset(out, 0, sizeof(*out));
	out->instance = get_number(&r, 8);
	out->id = get_number(&r, 8);
	out->len = get_number(&r, 8);
	out->base = get_number(&r, 8);
	out->counters = get_number(&r, 4);
	out->rails = get_number(&r, 4);
	out->near = get_number(&r, 4);
	if (r.underflow || !out->rails || out->rails > KVR_MAX_RAILS || !out->len || !out->near ||
	    out->near & ~rails_first(out->rails) || out->base + out->len < out->base)
		return -EBADMSG;
	for (uint32_t i = 0; i < out->rails; i++)
		out->key[i] = get_number(&r, 8);
	return unseal_end(&r);
}

ssize_t wire_message_encode(const struct wire_message *in, void *buf, size_t len)
{
	struct writer w = {.at = buf, .end = (uint8_t *)buf + len};

	put_number(&w, MAGIC_MESSAGE, 4);
	put_number(&w, WIRE_VERSION, 2);
	put_number(&w, in->type, 2);
	put_number(&w, in->to, 4);
	put_number(&w, in->body_len, 4);
	put_number(&w, in->instance, 8);
	put_number(&w, in->number, 4);
	put_number(&w, in->got.base, 4);
	put_number(&w, in->got.map, 8);
	put_number(&w, in->a, 4);
	put_number(&w, in->b, 4);
	put_number(&w, in->c, 8);
	put(&w, in->body, in->body_len);
	return w.overflow ? -ENOSPC : w.at - (uint8_t *)buf;
}

int wire_message_decode(const void *buf, size_t len, struct wire_message *out)
{
	struct reader r = {.at = buf, .end = (const uint8_t *)buf + len};
	uint32_t magic = get_number(&r, 4), version = get_number(&r, 2), type = get_number(&r, 2);

	if (r.underflow || magic != MAGIC_MESSAGE)
		return -EBADMSG;
	if (version != WIRE_VERSION)
		return -EPROTO;
	if (type < WIRE_HELLO || type > WIRE_LAST)
		return -EBADMSG;
	out->type = type;
	out->to = get_number(&r, 4);
	out->body_len = get_number(&r, 4);
	out->instance = get_number(&r, 8);
	out->number = get_number(&r, 4);
	out->got.base = get_number(&r, 4);
	out->got.map = get_number(&r, 8);
	out->a = get_number(&r, 4);
	out->b = get_number(&r, 4);
	out->c = get_number(&r, 8);
	out->body = get(&r, out->body_len);
	return unseal_end(&r);
}
