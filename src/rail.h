/* SPDX-License-Identifier: MIT
 * One NIC: its endpoint, what is in flight on it, and its buffers for control messages. Not
 * thread-safe: whoever holds the context's engine lock owns the rails. */
#ifndef KVR_RAIL_H
#define KVR_RAIL_H

#include "config.h"
#include "fabric.h"
#include "wire.h"
#include <stdatomic.h>
#include <sys/queue.h>

struct peer;
struct transfer;

enum flight_kind { FLIGHT_PIECE, FLIGHT_SEND, FLIGHT_RECEIVE };

/* An operation in flight; `op` comes first, so that a completion leads back here. */
struct flight {
	struct fabric_op op;
	enum flight_kind kind;
	SLIST_ENTRY(flight) link; /* in one of the rail's free lists */
	/* PIECE: whose, NULL once nothing of it can land any more; its number; its bytes */
	struct transfer *transfer;
	uint32_t piece;
	uint64_t len;
	uint32_t there, epoch; /* the peer's rail that it goes to, also of a SEND; its epoch then */
	int64_t posted_at;     /* also of a SEND */
	bool condemned;        /* given up: sent elsewhere */
	bool ended;            /* the provider is done with it */
	bool old;              /* from an endpoint that was replaced since */
	bool greets;           /* SEND: it introduces the endpoints instead */
	struct peer *peer;     /* SEND: to whom; NULL: it is gone */
	uint32_t turn;         /* SEND: the path's turns then */
	uint8_t *buffer;       /* SEND, RECEIVE: WIRE_MESSAGE_MAX bytes of the slab */
};

SLIST_HEAD(flight_list, flight);

/* How much a rail has moved of late. */
struct rail_meter {
	uint64_t bytes; /* that had been moved ... */
	int64_t at;     /* ... by then; ns */
	double rate;    /* bytes per ns */
};

struct rail {
	const struct fabric_ops *fabric;
	struct fabric_nic *nic;
	char name[32], pci[16];
	int numa_node;
	unsigned int index; /* of this one, in the context */
	uint64_t bits_per_second;
	struct wire_endpoint endpoint;

	struct flight *flights;                     /* of pieces, see rail_flights */
	struct flight *messages;                    /* sends, then receives, and those again */
	struct flight *receiving;                   /* the half of these that is in use */
	struct flight_list pieces, sends, receives; /* free; receives: to be posted again */
	struct flight_list forsaken;                /* arrays of pieces, by their first ones */
	uint8_t *slab;
	size_t slab_bytes;
	struct fabric_mr *slab_mr;

	uint32_t depth, pieces_in_flight, sends_in_flight;
	uint32_t condemned;      /* of the pieces in flight */
	bool renew_wanted;       /* a peer asked for a new epoch */
	bool shut_waits;         /* see fabric_ops.shut_waits */
	bool warm, door_is_warm; /* see fabric_ops.warm */
	bool replaces;           /* rail_replace has begun */
	bool has_old;            /* see rail_close_old */
	bool old_ends;           /* what it had in flight when it was closed is to be told */
	bool gone;               /* no new endpoint could be had: nothing ever goes or comes */
	/* ns; since when the provider takes no message, and when it last said so; 0: not so */
	int64_t refused_at, refused_last;
	int64_t reset_at; /* ns; when it got its endpoint, if that is not the first one; 0: it is */
	int64_t drain_at; /* ns; takes no more, and is to be reset from then on; 0: not so */
	int64_t stuck_at; /* ns; since when, or a bit later, only condemned ones are; 0: not so */
	int64_t held_at;  /* ns; when a message went to where others are held back; 0: none did */
	int64_t retires_at; /* ns; since when fabric_ops.retire gives up the address; 0: it does not
	                     */
	uint64_t window, piece_max, bytes_in_flight;
	_Atomic uint32_t paths_out; /* peers for which it is out of use */
	struct kvr_stats stats;
	struct rail_meter meter;
};

/* Opens the endpoint and posts its receives. The offer, and where the rail sits, were filled in
 * before: *rail has name, pci and numa_node. */
int rail_open(struct rail *, const struct fabric_ops *, const struct fabric_offer *,
              const struct config *, char why[FABRIC_WHY]);
void rail_close(struct rail *); /* also of a half-open or zeroed one */

/* Begins what rail_close waits for: all rails' at once. */
void rail_begin_close(struct rail *);

/* Frees the buffers of those that rail_close had to leave open, as their devices did not end all:
 * for simulations, whose devices are gone. */
void rail_free_left(void);

/* Brings stats.bytes_per_second up to date; ns of clock_now(). */
void rail_measure(struct rail *, int64_t now);

/* Whether a piece may go now. */
static inline bool rail_has_room(const struct rail *rail)
{
	return rail->pieces_in_flight < rail->depth && !rail->drain_at && !rail->gone &&
	       !SLIST_EMPTY(&rail->pieces) &&
	       (!rail->pieces_in_flight || rail->bytes_in_flight + rail->piece_max <= rail->window);
}

/* Whether anything is in flight, or was given up by rail_forsake. */
static inline bool rail_is_flying(const struct rail *rail)
{
	return rail->pieces_in_flight + rail->sends_in_flight || !SLIST_EMPTY(&rail->forsaken);
}

/* See fabric_ops.retire; whether it is given up. */
bool rail_retire(struct rail *, enum fabric_part);

/* Posts a piece; there was room. The caller fills in whose it is. -EAGAIN: not now. */
int rail_post(struct rail *, const struct fabric_rma *, bool is_read, struct flight **out);

/* The provider is done with a piece. Its flight is free once its transfer is NULL as well. */
void rail_end(struct rail *, struct flight *);

/* Nothing of the piece can land any more. */
void rail_settle(struct rail *, struct flight *);

/* Flights of pieces: some are free. */
static inline uint32_t rail_flights(const struct rail *rail)
{
	return 2 * rail->depth;
}

/* None of the pieces in flight has to do with a transfer any more, but the provider does not end
 * them: it keeps their flights, and other pieces get new ones. -ENOMEM. */
int rail_forsake(struct rail *);

/* A new endpoint: whatever was in flight has ended, see fabric_ops.shut; receives are posted, and
 * nobody knows its address yet. After an error there is none, and all that has ended, too. */
int rail_reset(struct rail *);

/* Likewise where shut waits, see fabric_ops.replace: what is in flight goes on. -EAGAIN: the door
 * is still being given up, call again. */
int rail_replace(struct rail *);

/* Closes what was replaced, when all pieces on it have ended or been given up; whether that is done
 * now. Then rail_poll tells that the rest has ended, too, and has_old is false. */
bool rail_close_old(struct rail *);

/* What its first peer would have to wait for is done now, see fabric_ops.warm. */
void rail_warm(struct rail *);
void rail_warm_door(struct rail *); /* likewise, the first that writes or reads here */

/* A new address for what peers start, see fabric_ops.renew. -EAGAIN: the old one is still being
 * given up, call again. Another error: there is none; but the old one is given up. */
int rail_renew(struct rail *);

/* Sends a message to the peer at fabric address `to`; the caller fills in where that is. -EAGAIN:
 * not now. */
int rail_send(struct rail *, const struct wire_message *, uint64_t to, struct peer *, int64_t now,
              struct flight **out);

/* Introduces the endpoint to the peer's at fabric address `to`: fabric_ops.greet. -EAGAIN: not now.
 */
int rail_greet(struct rail *, uint64_t to, bool answered, struct peer *, struct flight **out);

/* Whether no message has been able to go for so many ns, or more than half of the places have been
 * taken for that long. */
bool rail_is_blocked(const struct rail *, int64_t ns, int64_t now);

/* Messages in flight to a peer that were sent after `since`, with that `turn`. */
uint32_t rail_sends(const struct rail *, const struct peer *, uint32_t turn, int64_t since);

/* Whether more than half of its places for messages are taken. */
bool rail_is_crowded(const struct rail *);

/* Polls; a count of events. Their flights are still out of the free lists: rail_release gives
 * each back once it has been looked at. */
int rail_poll(struct rail *, struct fabric_event *, int max);
void rail_release(struct rail *, struct flight *);

/* What is still being sent to the peer is nobody's any more. */
void rail_forget(struct rail *, const struct peer *);

static inline struct flight *event_flight(const struct fabric_event *event)
{
	return (struct flight *)event->op;
}

#endif
