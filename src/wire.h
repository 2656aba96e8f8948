/* SPDX-License-Identifier: MIT
 * What ranks tell each other, as bytes: addresses, region descriptors and control messages. Pure:
 * little-endian, no pointers, and whatever is decoded has been checked. */
#ifndef KVR_WIRE_H
#define KVR_WIRE_H

#include "channel.h"
#include "fabric.h"
#include <kvrail.h>

#define WIRE_VERSION     7    /* raise with any change to a format or to the protocol */
#define WIRE_MESSAGE_MAX 4096 /* a control message with its body */
#define WIRE_HEADER      56   /* of it, before the body */

/* One rank, as it introduces itself. */
struct wire_address {
	int32_t status;    /* 0, or the errno with which this rank could not open */
	uint64_t instance; /* random: tells contexts apart, also successive ones */
	char provider[32];
	char host[64];
	char failure[FABRIC_WHY];
	uint64_t machine; /* the same for ranks that share one */
	uint32_t near;    /* its rails that are near to where it is bound, as bits; 0: it is not */
	uint32_t rails;
	struct wire_endpoint {
		uint32_t epoch; /* how often the address has changed */
		uint8_t len;
		uint8_t bytes[FABRIC_ADDRESS_MAX];
	} rail[KVR_MAX_RAILS];
};

/* A region, as its owner's peers may use it. */
struct wire_region {
	uint64_t instance; /* the owner's */
	uint64_t id;       /* of all that instance has opened */
	uint64_t len;
	uint64_t base;     /* what a peer adds an offset to: an address, or 0 */
	uint32_t counters; /* the owner has */
	uint32_t rails;
	uint32_t near; /* those that are near to some of it, as bits */
	uint64_t key[KVR_MAX_RAILS];
};

enum wire_type {
	/* body: my address. a: your index here, b: your lane here, c: whether I have threads */
	WIRE_HELLO = 1,
	WIRE_WELCOME, /* a, b, c as in HELLO, which it answers; no body */
	WIRE_END,     /* a: first piece, b: pieces, c: counter. All are posted */
	WIRE_LOST,    /* a, b: as END, whose counter must not move; c: a piece that will not come */
	WIRE_DONE,    /* a: first piece, c: 0 or errno. The batch is all visible */
	WIRE_READY,   /* allgather a, step b: send me yours */
	WIRE_CHUNK,   /* body: bytes of allgather a, step b, at offset c */
	WIRE_BROKEN,  /* my allgathers from number a on fail, as rank b is gone */
	WIRE_SETTLED, /* nothing of mine lands any more of kvr_reshard a, or of one before */
	WIRE_WANT,    /* a: as END; body: numbers (4 bytes each) that have not come */
	WIRE_FENCE,   /* give your rail a an epoch above b: see failover.h */
	WIRE_RAIL,    /* my rail a has epoch b, body: its address */
	WIRE_PULL,   /* a: batch, b: its lists if this is the last one, c: counter; body: see pull.c
	              */
	WIRE_STOP,   /* a: batch that is to end early */
	WIRE_PULLED, /* a: batch, c: 0 or errno. It is all visible, or has ended */
	WIRE_BYE,    /* I am done with you: nothing of mine will come any more */
	/* These have no number of the channel's, and are not sent again. */
	WIRE_ACK,  /* only what every message's head says */
	WIRE_PING, /* from rail a, of epoch c and this address, to the receiver's rail b ... */
	WIRE_PONG, /* ... got there; over any rail, with that PING's own number */
};

#define WIRE_LAST WIRE_PONG

#define WIRE_PULL_STOPPED UINT64_MAX /* c: the batch was cancelled, and has no more ops */

/* Whether messages of the type are numbered, and sent until they are acknowledged. */
static inline bool wire_is_numbered(enum wire_type type)
{
	return type < WIRE_ACK;
}

struct wire_message {
	enum wire_type type;
	uint32_t to;       /* the sender's index at the receiver; ~0 in a HELLO */
	uint64_t instance; /* the sender's */
	uint32_t number;   /* see channel.h */
	struct channel_half got;
	uint32_t a, b;
	uint64_t c;
	const uint8_t *body;
	uint32_t body_len;
};

/* Encoders return the length, or -ENOSPC. Decoders return 0; -EBADMSG: truncated, damaged or
 * something else; -EPROTO: of another version of kvrail, then *version says which. */
ssize_t wire_address_encode(const struct wire_address *, void *buf, size_t len);
int wire_address_decode(const void *buf, size_t len, struct wire_address *out, uint32_t *version);
ssize_t wire_region_encode(const struct wire_region *, void *buf, size_t len);
int wire_region_decode(const void *buf, size_t len, struct wire_region *out, uint32_t *version);
ssize_t wire_message_encode(const struct wire_message *, void *buf, size_t len);
int wire_message_decode(const void *buf, size_t len, struct wire_message *out);

/* The length of the encoded thing that buf begins with, as its header claims; 0 if that is more
 * than len or nothing of ours. */
size_t wire_sealed_length(const void *buf, size_t len);

#endif
