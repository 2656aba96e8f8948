/* SPDX-License-Identifier: MIT
 * One peer: its addresses, inserted on first use; the messages that wait for it; its life and
 * death. Owned, like the rails, by the holder of the context's engine lock.
 *
 * HELLO and WELCOME carry the same two numbers: the index under which the sender keeps the
 * receiver, so that later messages find it, and the lane on which the receiver may write. A peer
 * is up once it has told us its own; only then do messages and pieces go to it. */
#ifndef KVR_PEER_H
#define KVR_PEER_H

#include "counter.h"
#include "health.h"
#include "pace.h"
#include "rail.h"
#include "transfer.h"
#include "wire.h"
#include <stdatomic.h>
#include <sys/queue.h>

struct kvr;

#define PEER_NOBODY UINT32_MAX /* index_there before we know it */

enum peer_state { PEER_IDLE, PEER_GREETED, PEER_UP, PEER_DEAD };

/* A message that waits to be sent, or to be acknowledged. Its body, if any, outlives it. */
struct note {
	TAILQ_ENTRY(note) link;
	struct wire_message message;
	uint32_t tries;
	int64_t due;       /* ns; when it is sent again */
	unsigned int rail; /* that it went over */
	void *copy;        /* of its body, where it is the note's own */
};

TAILQ_HEAD(note_queue, note);

#define PEER_NOT_INSERTED UINT64_MAX

/* Whether two rails' endpoints know each other, see post.c. */
enum meeting {
	MEET_STRANGERS,
	MEET_ASKING,   /* a first greeting is under way; ... */
	MEET_ANSWERED, /* ... it has ended; ... */
	MEET_SHAKING,  /* ... a second one is under way */
	MEET_MET,
};

/* One of our rails' way to the peer. */
struct path {
	uint64_t address; /* of the peer's rail, as the fabric names it; see peer_address */
	uint32_t home;    /* which one that is to be ... */
	uint32_t there;   /* ... and is, after turns ... */
	uint32_t epoch;   /* ... and when */
	enum meeting meeting;
	int64_t greet_at; /* ns; when that began, or may again */
	uint32_t tries;   /* while out of use: with other ones of its rails */
	uint32_t turns;   /* to other ones of its rails */
	uint32_t held;    /* of its rails, as bits: to these a message failed, see reset.h */
	uint32_t pings;   /* numbers of the PINGs that went by it: of the last one, and ... */
	uint32_t stale;   /* ... of the last that went before such a failure was seen */
	bool doubted;     /* messages have gone since the last turn, or the last that got through */
	/* Messages in flight; those of them that have gone since the last turn. */
	uint32_t sends, fresh_sends;
	/* Messages that failed, or that nothing was heard of, since one got through. */
	uint32_t errors, missed;
	struct health health;
};

static inline bool peer_is_meeting(const struct path *path)
{
	return path->meeting != MEET_STRANGERS && path->meeting != MEET_MET;
}

/* The endpoint there, or here, is another one. */
static inline void peer_forget_address(struct path *path)
{
	path->address = PEER_NOT_INSERTED;
	path->meeting = MEET_STRANGERS;
}

/* One of the peer's rails. */
struct remote_rail {
	struct wire_endpoint endpoint;
	uint32_t fence_asked; /* the epoch that we asked for */
	uint32_t pinged;      /* our rail, by the last PING from there, whose number is: */
	uint32_t ping;
};

/* What a set of our rails can do for the peer. */
struct outlook {
	struct pace_view view;          /* of pace, at: */
	int64_t looked_at, stranded_at; /* ns; since when none of them can be used, 0: not so */
};

#define OUTLOOKS BATCH_PARTS /* sets that are remembered */

struct peer {
	struct kvr *kvr;
	uint32_t index; /* here */
	uint64_t instance;
	uint8_t *address; /* as it came; decoded on first use */
	size_t address_len;

	_Atomic int state; /* enum peer_state; read without the lock by kvr_write's checks */
	uint32_t rails;    /* it has: */
	uint32_t near;     /* those near to its memory, as bits; 0: not known; then: */
	uint32_t home;     /* those near to where it is taken to be; 0: not known */
	struct remote_rail *there;
	struct path *path; /* of each of our rails */
	struct pace *pace; /* likewise */
	struct health_question question;
	uint32_t index_there, lane_there;
	uint32_t lane_here; /* that it writes on */
	struct lane lane;
	bool has_lane;
	bool bye_sent, bye_received;
	bool unsettled;   /* it is to say so of our last kvr_reshard: see collective.h */
	uint32_t settled; /* the last one of which it has */
	bool has_threads; /* of the library's: it answers whatever it does */

	struct channel channel;
	struct note_queue outbox, unacknowledged; /* both in the order of their numbers */
	uint32_t sends_in_flight, bodies;         /* bodies: of notes in both */
	int64_t refused_at;                       /* ns; since when near rails take no message; 0 */
	int64_t owes_at;                          /* ns; when to acknowledge; 0: nothing */
	uint32_t pongs;                           /* owed to its rails, as bits */
	int64_t heard_at;                         /* ns; or when we began to wait for something */
	int64_t wanted_at;                        /* ns; when something was last wanted from it */
	int64_t ping_at;                          /* ns; the next one ... */
	unsigned int ping_rail;                   /* ... and where */
	int64_t doubt_at; /* ns; when the first message went since one got through; 0: none has */
	int64_t turn_at;  /* ns; when all paths may turn again */
	uint64_t *fed;    /* a bit for each counter that it has moved */

	struct transfer_queue repair;   /* those with pieces to post again; in another queue, too */
	struct transfer_queue posting;  /* the first one is being posted */
	struct transfer_queue awaiting; /* writes, all posted, in the order of their pieces */
	struct transfer_queue draining; /* that wait for their last completions only */
	uint32_t next_piece;            /* of our lane there */
	uint32_t next_pull;             /* number of our next write that it reads */
	uint32_t unlisted; /* of those in awaiting, some of whose ops it was not told */
	TAILQ_HEAD(, pull_batch) pulls; /* its writes that we read */
	uint64_t left;                  /* bytes not posted yet, of all in posting */
	int64_t probe_at;               /* ns; when to look for awaiting ones to ask after */

	struct outlook outlook[OUTLOOKS];
	unsigned int next_outlook;

	_Atomic uint32_t remotes; /* open here */
	bool active;
	TAILQ_ENTRY(peer) link; /* in the context's list of active ones */
};

/* Adds a peer with an encoded address, checked by the caller; NULL: no memory. */
struct peer *peer_add(struct kvr *, const void *address, size_t len, uint64_t instance);
void peer_free(struct kvr *, struct peer *);
struct peer *peer_find(struct kvr *, uint64_t instance);

/* A path goes to another one of the peer's rails. */
void peer_turn(struct path *, uint32_t there);

/* Its memory is near to these of its rails: our paths go there from now on. */
void peer_aim(struct kvr *, struct peer *, uint32_t near);

/* Greets the peer, on first use. */
int peer_connect(struct kvr *, struct peer *);

/* For peer_address(): makes its address known to the fabric. */
int peer_insert(struct kvr *, struct peer *, unsigned int r);

/* Its address on our rail r, inserted on first use: with efa, a rail's first one costs 40 MB. */
static inline int peer_address(struct kvr *kvr, struct peer *peer, unsigned int r, uint64_t *out)
{
	int rc = peer->path[r].address == PEER_NOT_INSERTED ? peer_insert(kvr, peer, r) : 0;

	*out = peer->path[r].address;
	return rc;
}

/* Who says HELLO, made known here if it was not; NULL: nobody that we talk to. */
struct peer *peer_meet(struct kvr *, const struct wire_message *);

/* A message of the peer's came. */
void peer_on_hello(struct kvr *, struct peer *, const struct wire_message *);
void peer_on_welcome(struct kvr *, struct peer *, const struct wire_message *);
void peer_on_bye(struct kvr *, struct peer *);

/* Nothing of ours will come any more: to one that was talked to. */
void peer_say_bye(struct kvr *, struct peer *);

/* Whether something of ours is to move to or from it. */
static inline bool peer_has_transfers(const struct peer *peer)
{
	return !TAILQ_EMPTY(&peer->posting) || !TAILQ_EMPTY(&peer->awaiting) ||
	       !TAILQ_EMPTY(&peer->draining);
}

/* Answers a BYE once no transfer to the peer is left. */
void peer_settle(struct kvr *, struct peer *);

/* Whether both sides have said BYE and nothing is on its way; or have said so long ago, as nobody
 * can know that the last acknowledgement got there. */
bool peer_is_over(const struct kvr *, const struct peer *);

/* The peer cannot be reached: says so once, and drops what waits for it; whoever waits for a
 * counter that it moved learns so. Its transfers are the caller's to end. */
void peer_die(struct kvr *, struct peer *, const struct rail *, int error);

/* A batch of its has arrived: moves the counter. -EINVAL: there is no such one. */
int peer_count(struct kvr *, struct peer *, uint32_t counter);

/* Whether somebody waits for a counter that it has moved. */
bool peer_is_awaited(const struct kvr *, const struct peer *);

/* A line for logs: "peer 3 (node7)". Returns buf. */
const char *peer_name(const struct peer *, char buf[static 96]);

/* Its silence counts from now on, as nothing is wanted from it. For a moment that changes nothing:
 * where two requests to the dead follow each other the second is not to wait for as long again. */
void peer_rest(struct kvr *, struct peer *);

/* Puts a peer that has something to do on the list that progress works through. */
void peer_activate(struct kvr *, struct peer *);

#endif
