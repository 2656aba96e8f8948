/* SPDX-License-Identifier: MIT
 * kvrail replay: what its sources share. The first ranks are prefill, the others decode; a request
 * goes from one instance of the model to one of the other kind, by all ranks of both. */
#ifndef REPLAY_H
#define REPLAY_H

#include "app.h"
#include "cache.h"
#include "group.h"
#include "latency.h"
#include "model.h"
#include "prefix.h"
#include "replay_worker.h"
#include "trace.h"

#define REPLAY_MAX_RUNS                                                                            \
	(1u << 16) /* of one kvr_write and peer, well below what the library takes */

enum replay_verify { VERIFY_FULL, VERIFY_SAMPLE, VERIFY_OFF };

struct replay_options {
	struct group prefill, decode;
	const char *model, *trace, *plot, *csv;
	double cache_gib; /* of one rank; 0: choose */
	uint32_t limit;   /* requests; 0: all */
	enum replay_verify verify;
	bool layerwise, prefix, json;
	double layer_ms;      /* that the prefill side computes for each layer of a request */
	double speedup;       /* 0: requests do not wait for their time */
	uint32_t closed;      /* requests under way at one prefill instance; 0: no limit */
	uint32_t cancel;      /* percent of all requests */
	double rail_gbps;     /* for the ideal; 0: as the devices say */
	double stall_seconds; /* give up when nothing moved for so long */
	uint32_t spoil;       /* request to damage, for a look at the verifier; 0: none */
};

/* What every rank reads for itself, and all must read alike. */
struct replay_input {
	struct replay_options options;
	struct model model;
	struct trace trace;
	uint64_t prefill_bytes, decode_bytes; /* of the cache of one rank, at most */
	uint32_t max_tokens;                  /* of the largest request */
	uint32_t chunk_tokens;                /* see group_chunk */
	uint32_t slots; /* requests under way between two instances, at most */
	uint32_t steps; /* layers that are written one by one, or 1 */
};

extern const struct argp replay_argp;
void replay_options_init(struct replay_options *);

/* Model, trace and sizes, checked before anything is opened. 0, or EXIT_USAGE and said why. */
int replay_input_load(const struct app *, struct replay_input *);
void replay_input_free(struct replay_input *);

/* A block table on its way from a decode to a prefill rank. */
struct replay_offer {
	uint64_t request;
	uint32_t tokens, blocks;
	uint32_t reused; /* tokens from the first on that are there already */
	uint32_t table[];
};

/* A rank of the other kind. */
struct replay_peer {
	int rank;
	struct kvr_remote *mail;
	struct kvr_remote *cache; /* of a decode rank */
	struct kvr_plan *plan;    /* from the prefill rank of the two to the other */
};

/* prefill: free, filling, waiting, moving, telling (if it was cancelled), free.
 * decode: free, waiting, verifying, free; cancelled: free, waiting, refilling, holding, checking,
 * free. */
enum slot_state {
	SLOT_FREE,
	SLOT_FILLING,   /* the worker writes the pattern; layers that are ready may go */
	SLOT_WAITING,   /* for peers: their block tables, or the KV, or that it was cancelled */
	SLOT_MOVING,    /* KV is being written */
	SLOT_TELLING,   /* peers that a request was cancelled */
	SLOT_VERIFYING, /* the worker compares */
	SLOT_REFILLING, /* the worker puts something else where KV might still come */
	SLOT_HOLDING,   /* a while, for bytes that come late */
	SLOT_CHECKING,  /* the worker compares whether some did */
};

/* A request under way between an instance of either kind; each of their ranks has its part. */
struct replay_slot {
	enum slot_state state;
	uint32_t instance, place;  /* of the other kind; which of the slots with it */
	struct replay_peer *peers; /* of that instance */
	size_t request;            /* index in the trace */
	uint32_t tokens, blocks;
	uint32_t reused; /* decode: tokens that the prefix cache had */
	uint32_t *table; /* this rank's blocks */
	uint32_t step;   /* prefill: the next to be written; decode: to come */
	bool offered;    /* prefill: all block tables are here */
	bool cancelled;
	struct kvr_request **writes; /* of this rank, for this slot */
	uint32_t write_count;
	uint64_t bytes;    /* prefill: that go from this rank */
	double offered_at; /* seconds, as the following */
	double started;    /* the first write */
	double until;      /* decode: to be held */
	struct worker_job job;
};

struct replay {
	struct app *app;
	const struct replay_input *input;
	bool is_prefill;
	const struct group *group, *others; /* my kind and the other one */
	uint32_t index;                     /* among the ranks of my kind */
	bool (*step)(struct replay *);

	struct cache cache;
	struct prefix prefix; /* decode */
	uint8_t *mail;        /* see replay_offer_at */
	uint64_t mail_bytes, offer_bytes;
	struct kvr_region *cache_region, *mail_region;
	struct replay_peer *peers;
	struct kvr_remote **done_remotes; /* rank 0: the mail of all others; they: rank 0's */
	size_t done_count;
	uint64_t meetings;

	uint32_t slot_count;
	struct replay_slot *slots; /* instance by instance of the other kind */
	uint32_t *tables;
	uint64_t *expected; /* of each counter: its value when all writes of its use have come */
	struct kvr_request **writes;
	struct kvr_op *ops;
	size_t max_ops;
	struct worker worker;

	double epoch;              /* seconds, when the trace begins */
	size_t next;               /* first request of mine that is not begun; trace.count: none */
	size_t mine, begun, ended; /* requests of mine */
	size_t cancelled;          /* of those ended */
	uint32_t in_flight;        /* requests whose KV this rank is writing */
	double typical_seconds;    /* that they take lately */
	double busy_since, busy_seconds;
	struct latency *latencies; /* of `mine` requests in their order, prefill only */
	uint64_t bytes, reused_bytes, verified_bytes, wrong_bytes, late_bytes;
	uint64_t resident_half, resident_end;  /* memory of this process, see replay_report.c */
	struct kvr_stats rails[KVR_MAX_RAILS]; /* see replay_measure_rails */
};

static inline uint32_t replay_prefill_of(const struct replay_options *o, size_t request)
{
	return (uint32_t)(request % group_instances(&o->prefill));
}

/* Walks through all pairs of instances before it comes back to the first. */
static inline uint32_t replay_decode_of(const struct replay_options *o, size_t request)
{
	return (uint32_t)(request / group_instances(&o->prefill) % group_instances(&o->decode));
}

static inline bool replay_is_mine(const struct replay *r, size_t request)
{
	const struct replay_options *o = &r->input->options;

	return r->index / group_size(r->group) ==
	       (r->is_prefill ? replay_prefill_of(o, request) : replay_decode_of(o, request));
}

/* Drawn by lot, but every rank draws the same. */
bool replay_is_cancelled(const struct replay_options *, size_t request);

/* replay_setup.c. Failures end the job, with the reason, here and in the files below. */
void replay_setup(struct replay *, struct app *, const struct replay_input *);
void replay_teardown(struct replay *);
void replay_must(const struct replay *, ssize_t rc, const char *what);
void *replay_allocate(const struct replay *, size_t count, size_t size);

/* To be called twice: `rails` is then what each rail has done between. */
void replay_measure_rails(struct replay *);

/* replay_mail.c: what stands where in a rank's mail, and which counter says that it has come. A
 * prefill rank gets block tables from decode ranks, a decode rank gets KV, step by step, and news
 * of what was cancelled from prefill instances. */
uint32_t replay_counters(const struct replay_input *);
uint32_t replay_offer_counter(const struct replay_input *, uint32_t decode_rank, uint32_t place);
uint32_t replay_kv_counter(const struct replay_input *, uint32_t instance, uint32_t place,
                           uint32_t step);
uint32_t replay_cancel_counter(const struct replay_input *, uint32_t instance, uint32_t place);

/* Of a prefill rank's offers, decode rank by decode rank, and of those that a decode rank sends,
 * instance by instance. The bytes of the mail are where the offer behind the last one begins. */
uint64_t replay_offer_at(const struct replay *, uint32_t owner, uint32_t place);
uint64_t replay_word_at(const struct replay *, uint32_t prefill_rank, uint32_t place);

/* Whether the writes that this counter is expected to count have come; waits up to timeout_ms. */
bool replay_has_come(struct replay *, uint32_t counter, int timeout_ms);

/* Waits, for as long as it takes, until all ranks are here: kvr_allgather does not wait for ever
 * for ranks that are still busy. */
void replay_meet(struct replay *);

/* replay_slot.c. Takes a slot and blocks for the rank's next request; NULL where there are none,
 * or where its time has not come. */
struct replay_slot *replay_begin(struct replay *);
void replay_end(struct replay *, struct replay_slot *);

/* Whether the peer has a part in that step of the request; in any, for REPLAY_ALL. */
#define REPLAY_ALL UINT32_MAX
bool replay_concerns(const struct replay *, const struct replay_slot *, uint32_t peer,
                     uint32_t step);
/* Tokens and layers of a step, but for the tables. */
struct kvr_pages replay_pages(const struct replay *, const struct replay_slot *, uint32_t step);

/* The worker's job for the slot, of its tokens from first_token on; to be completed. */
struct worker_job *replay_job(struct replay *, struct replay_slot *, uint32_t first_token);

/* Starts a write for the slot, which moves a counter of each peer in it. */
void replay_write(struct replay *, struct replay_slot *, const struct kvr_op *, size_t n,
                  uint32_t counter);
bool replay_writes_ended(struct replay *, struct replay_slot *);

/* replay_blocks.c: a slot's blocks, from the free list or the prefix cache. */
bool replay_take_blocks(struct replay *, struct replay_slot *);
void replay_give_blocks(struct replay *, struct replay_slot *);
uint64_t replay_leaked_blocks(struct replay *); /* when all requests have ended */

/* replay_cancel.c: prefill asks for the end of what was begun, and tells decode when it has come;
 * decode then looks for bytes that come nevertheless. */
void replay_cancel_if_due(struct replay *, struct replay_slot *);
void replay_tell_cancelled(struct replay *, struct replay_slot *);
void replay_expect_cancelled(struct replay *, struct replay_slot *);
bool replay_cancelled_step(struct replay *, struct replay_slot *);

/* One round over the slots; true if anything went on. */
bool replay_prefill_step(struct replay *);
bool replay_decode_step(struct replay *);

/* Waits a millisecond for what the slot, which is waiting, waits for. */
void replay_prefill_wait(struct replay *, struct replay_slot *);
void replay_decode_wait(struct replay *, struct replay_slot *);

/* Gathers what all ranks did; rank 0 prints it. EXIT_OK or EXIT_FAILED, on all ranks alike. */
int replay_report(struct replay *);

#endif
