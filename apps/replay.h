/* SPDX-License-Identifier: MIT
 * kvrail replay: what its sources share. Ranks 0 to P-1 are prefill, P to P+D-1 decode. */
#ifndef REPLAY_H
#define REPLAY_H

#include "app.h"
#include "cache.h"
#include "model.h"
#include "replay_worker.h"
#include "trace.h"

#define REPLAY_SLOTS 4 /* requests under way between one prefill and one decode rank */

enum replay_verify { VERIFY_FULL, VERIFY_SAMPLE, VERIFY_OFF };

struct replay_options {
	uint32_t prefill, decode, block_tokens;
	const char *model, *trace;
	double cache_gib; /* of one rank; 0: choose */
	uint32_t limit;   /* requests; 0: all */
	enum replay_verify verify;
	double stall_seconds; /* give up when nothing moved for so long */
	uint32_t spoil;       /* request to damage, for a look at the verifier; 0: none */
	bool json;
};

/* What every rank reads for itself, and all must read alike. */
struct replay_input {
	struct replay_options options;
	struct model model;
	struct trace trace;
	uint64_t cache_bytes; /* of one rank */
	uint32_t max_blocks;  /* of the largest request */
};

extern const struct argp replay_argp;
void replay_options_init(struct replay_options *);

/* Model, trace and sizes, checked before anything is opened. 0, or EXIT_USAGE and said why. */
int replay_input_load(const struct app *, struct replay_input *);
void replay_input_free(struct replay_input *);

/* A block table on its way from decode to prefill. */
struct replay_offer {
	uint64_t request;
	uint32_t tokens, blocks;
	uint32_t table[];
};

/* A rank of the other kind. */
struct replay_peer {
	int rank;
	struct kvr_remote *target; /* what is written to: a decode's cache, a prefill's mail */
	uint64_t layer_bytes;      /* of its cache */
	uint32_t blocks;
};

/* prefill: free, filling, waiting, moving, free. decode: free, waiting, verifying, free. */
enum slot_state {
	SLOT_FREE,
	SLOT_FILLING,   /* the worker writes the pattern */
	SLOT_WAITING,   /* for the peer: its block table, or the KV */
	SLOT_MOVING,    /* KV is being written */
	SLOT_VERIFYING, /* the worker compares */
};

/* One of the REPLAY_SLOTS between a prefill and a decode rank; each of them has its half. */
struct replay_slot {
	enum slot_state state;
	struct replay_peer *peer;
	size_t request; /* index in the trace */
	uint32_t tokens, blocks;
	uint32_t *table;             /* this rank's blocks */
	uint32_t counter;            /* moved here by the peer's writes for this slot */
	uint64_t expected;           /* its value when those of this use have all come */
	struct replay_offer *offer;  /* in this rank's mail: received (prefill), to send (decode) */
	struct kvr_request **writes; /* of this rank, for this slot; NULL when ended */
	uint32_t write_count;
	double started; /* seconds */
	struct worker_job job;
};

struct replay {
	struct app *app;
	const struct replay_input *input;
	bool is_prefill;
	uint32_t index; /* among the ranks of my kind */
	bool (*step)(struct replay *);

	struct cache cache;
	uint8_t *mail; /* one word per rank, then an offer per slot */
	uint64_t mail_bytes, offer_bytes;
	struct kvr_region *cache_region, *mail_region;
	uint32_t peer_count;
	struct replay_peer *peers;
	struct kvr_remote **done_remotes; /* rank 0: the mail of all others; they: rank 0's */
	size_t done_count;

	uint32_t slot_count, batch_blocks;
	struct replay_slot *slots; /* peer by peer */
	uint32_t *tables;          /* prefill: of all slots */
	struct kvr_request **writes;
	struct kvr_op *ops;
	struct worker worker;

	size_t next;        /* first request of mine that is not begun; trace.count: none */
	size_t mine, ended; /* requests of mine */
	uint32_t in_flight; /* requests whose KV this rank is writing */
	double busy_since, busy_seconds;
	double *latencies_ms; /* of `ended` requests, prefill only */
	uint64_t bytes, verified_bytes, wrong_bytes;
	struct kvr_stats rails[KVR_MAX_RAILS]; /* see replay_measure_rails */
};

static inline uint32_t replay_prefill_of(const struct replay_options *o, size_t request)
{
	return (uint32_t)(request % o->prefill);
}

/* Walks through all pairs of ranks before it comes back to the first. */
static inline uint32_t replay_decode_of(const struct replay_options *o, size_t request)
{
	return (uint32_t)(request / o->prefill % o->decode);
}

static inline bool replay_is_mine(const struct replay *r, size_t request)
{
	const struct replay_options *o = &r->input->options;

	return r->index ==
	       (r->is_prefill ? replay_prefill_of(o, request) : replay_decode_of(o, request));
}

/* The slot of this rank's request: the pair's requests take its slots in turn. */
static inline struct replay_slot *replay_slot_of(const struct replay *r, size_t request)
{
	const struct replay_options *o = &r->input->options;
	uint32_t peer =
		r->is_prefill ? replay_decode_of(o, request) : replay_prefill_of(o, request);
	size_t nth = request / o->prefill / o->decode;

	return &r->slots[peer * REPLAY_SLOTS + nth % REPLAY_SLOTS];
}

/* The writes that a request's KV takes, and moves the counter by. */
static inline uint32_t replay_batches(const struct replay *r, uint32_t blocks)
{
	return blocks / r->batch_blocks + (blocks % r->batch_blocks != 0);
}

/* replay_setup.c. Failures end the job, with the reason, here and in replay_slot.c. */
uint32_t replay_counters(const struct replay_options *);
void replay_setup(struct replay *, struct app *, const struct replay_input *);
void replay_teardown(struct replay *);

/* Waits, for as long as it takes, until all ranks are here: kvr_allgather does not wait for ever
 * for ranks that are still busy. */
void replay_meet(struct replay *);

/* To be called twice: `rails` is then what each rail has done between. */
void replay_measure_rails(struct replay *);

/* Offset of a slot's offer in the mail, on either side: a decode's slots number `counter`. */
uint64_t replay_offer_at(const struct replay *, uint32_t slot);

/* Takes a slot and blocks for the rank's next request; NULL where there are none. */
struct replay_slot *replay_begin(struct replay *);
void replay_end(struct replay *, struct replay_slot *); /* gives both back */

/* Has the worker fill the slot's blocks, or compare every step-th token. */
void replay_fill(struct replay *, struct replay_slot *);
void replay_compare(struct replay *, struct replay_slot *, uint32_t step);

/* Starts a write for the slot, which moves the peer's counter of it. */
void replay_write(struct replay *, struct replay_slot *, const struct kvr_op *, size_t n);
bool replay_writes_ended(struct replay *, struct replay_slot *);

/* Whether the peer's writes for this use of the slot have come; waits up to timeout_ms. */
bool replay_has_come(struct replay *, const struct replay_slot *, int timeout_ms);

/* One round over the slots; true if anything went on. */
bool replay_prefill_step(struct replay *);
bool replay_decode_step(struct replay *);

/* Gathers what all ranks did; rank 0 prints it. EXIT_OK or EXIT_FAILED, on all ranks alike. */
int replay_report(struct replay *);

#endif
