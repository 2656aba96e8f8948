/* SPDX-License-Identifier: MIT
 * This rank: its rails, its peers, and the engine that moves their data. */
#ifndef KVR_CONTEXT_H
#define KVR_CONTEXT_H

#include "collective.h"
#include "config.h"
#include "engine.h"
#include "memory.h"
#include "nearness.h"
#include "peer.h"
#include "rail.h"
#include <ck_stack.h>
#include <pthread.h>
#include <stdatomic.h>

/* An arrival counter, and who may yet move it. */
struct counter {
	_Atomic uint64_t value;
	_Atomic uint32_t waiters;
	_Atomic uint32_t feeders; /* living peers that have moved it */
	_Atomic uint32_t deaths;  /* of such peers, ever; ... */
	_Atomic uint32_t told;    /* ... that some wait has told of while others lived */
};

struct kvr {
	struct config config;
	const struct fabric_ops *fabric;
	char provider[32], why[FABRIC_WHY];
	int rank, nranks;
	uint64_t instance;
	uint8_t address[KVR_ADDRESS_MAX];
	size_t address_len;
	unsigned int rail_count;
	struct rail *rails;
	struct nearness nearness;
	struct counter *counters;
	_Atomic uint32_t waiters;  /* for all counters */
	_Atomic uint32_t children; /* regions, remotes and requests that are open */
	_Atomic uint64_t next_key; /* for providers that make none */
	_Atomic uint64_t next_region;
	struct lobby lobby;
	struct threads *threads; /* NULL: none */
	bool pulls;    /* this rank's writes are read by the target, see pull.h; or else */
	bool imitates; /* ... the provider makes messages of them */

	ck_stack_t submitted;       /* requests, from any thread */
	_Atomic bool cancel_wanted; /* some request was cancelled */

	/* All below, and the rails' and peers' insides, belong to whoever holds the lock. */
	pthread_mutex_t engine;
	int64_t now;         /* ns; when this pass began, see control.h */
	int64_t clock;       /* clock_now() then */
	bool renew_wanted;   /* by some rail */
	bool closing;        /* who greets us is told so */
	int64_t check_at;    /* ns; when to look again for pieces that are overdue */
	int64_t warmed_at;   /* ns; when a rail was made ready for its first peer, see post.c */
	int64_t watch_at;    /* ns; when to look again for peers whom somebody waits for */
	struct peer **peers; /* nranks of the bootstrap, then guests; a removed one is NULL */
	uint32_t peer_count, peer_room;
	TAILQ_HEAD(, peer) active;
	struct peer *lane_owner[LANES];
	uint32_t next_rail;
	TAILQ_HEAD(, kvr_region) regions;
	struct note_queue spare_notes;
	struct collective collective;
};

/* kvr_open over any fabric. instance: 0, or what tells this context from all others, where chance
 * is not wanted. */
int context_open(const struct kvr_bootstrap *, const struct kvr_options *,
                 const struct fabric_ops *, uint64_t instance, struct kvr **out);

#endif
