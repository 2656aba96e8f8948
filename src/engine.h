/* SPDX-License-Identifier: MIT
 * Who makes the passes of progress.h, which only the holder of the engine lock may.
 *
 * One of the callers that wait is the leader: it passes until it has what it waits for, which saves
 * handing that over. The others sleep until the leader finds that they have theirs, or leaves.
 * While nobody leads, the library's own threads pass (threads.h). */
#ifndef KVR_ENGINE_H
#define KVR_ENGINE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct kvr;
struct sleeper;

/* Where threads are that do not pass. Its lock comes after the engine's. */
struct lobby {
	pthread_mutex_t lock;
	TAILQ_HEAD(, sleeper) sleepers;
	_Atomic uint32_t asleep;    /* sleepers */
	_Atomic bool led;           /* some caller is the leader */
	_Atomic uint32_t leads;     /* how many there were */
	_Atomic uint32_t guests;    /* threads that want the engine lock */
	_Atomic int64_t moved_at;   /* ns, by clock_now(); when something happened, or was wanted */
	_Atomic int64_t crowded_at; /* ns; when somebody else last had work for the core */
	bool callers_follow;        /* callers never lead */
	pthread_cond_t work;        /* for the library's own threads: */
	_Atomic uint32_t resting;   /* how many of them do */
	_Atomic uint32_t kicks;     /* how often there was work for them */
	_Atomic bool stopped;       /* they are to end */
};

void engine_init(struct kvr *);
void engine_destroy(struct kvr *);

/* The lock is handed over between two passes: the one who passes would else have it again before
 * another has woken up. */
void engine_lock(struct kvr *);
void engine_unlock(struct kvr *);

struct wait {
	bool (*ready)(void *arg); /* asked by the holder of the engine lock, whoever that is */
	void *arg;
	int timeout_ms;
};

/* 0 once ready says so, or -ETIMEDOUT; after at least one pass, by this thread or another. */
int engine_wait(struct kvr *, const struct wait *);

/* What a thread of the library's own does until engine_stop(): passes on some rails, and rests
 * where nothing happens. spins: it may be ready to run for a moment before that. */
void engine_serve(struct kvr *, uint32_t rails, bool spins);

/* Something is wanted from peers: whoever passes is to be quick. */
void engine_kick(struct kvr *);

/* They are held back, as by a leader; let go; told to end. */
void engine_hold(struct kvr *);
void engine_release(struct kvr *);
void engine_stop(struct kvr *);

#endif
