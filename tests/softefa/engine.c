/* SPDX-License-Identifier: MIT
 * The NICs' work for one process. */
#include "engine.h"
#include "heap.h"
#include "land.h"
#include "link.h"
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#define NEVER      UINT64_MAX
#define ACTIVE     8       /* operations that a NIC works on at once */
#define AHEAD      500000  /* ns; how far before its time a part gets its place on a link */
#define LOOK_AGAIN 1000000 /* ns; at the latest, a full link is looked at again: rates change */
#define GRACE      30000   /* ns; what is left for a poller before the thread does it */
#define TURNS      64      /* events in one go: whoever polls has other things to do */
#define SLACK      1000    /* ns of the thread's timer */

static struct {
	pthread_mutex_t run;  /* of who does the work, one at a time; taken before lock */
	pthread_mutex_t lock; /* of all below */
	pthread_cond_t wake;
	struct op_list queue[MAX_NICS]; /* that still have parts without a place on the links */
	uint64_t look_at[MAX_NICS];     /* when a NIC's queue may go on */
	struct heap heap;
	_Atomic uint64_t next; /* when there is something to do */
	uint64_t sleeps_until;
	_Atomic uint64_t random;
} engine;

uint32_t engine_random(uint32_t n)
{
	uint64_t x = atomic_load_explicit(&engine.random, memory_order_relaxed);

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	atomic_store_explicit(&engine.random, x, memory_order_relaxed);
	return (uint32_t)((x >> 32) * n >> 32);
}

static uint64_t later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* The two links that an operation's bytes cross, and how the slower NIC is. */
struct path {
	struct shm_nic *from, *to;
	uint64_t latency;
};

static struct path path_of(const struct op *op)
{
	struct shm_nic *own = op_nic(op);
	struct shm_nic *peer = op_peer_nic(op);
	struct path path = {.from = own, .to = peer};

	if (op->kind == OP_READ)
		path = (struct path){.from = peer, .to = own};
	path.latency = later(own->latency_ns, peer->latency_ns);
	return path;
}

static uint64_t jitter(uint32_t share)
{
	uint64_t most = process.shm->config.jitter_ns / share;

	return most ? engine_random((uint32_t)sooner(most, UINT32_MAX)) : 0;
}

static void push(struct op *op, enum event_kind kind, uint32_t part, uint64_t due)
{
	heap_push(&engine.heap, (struct event){.due = due, .op = op, .part = part, .kind = kind});
}

/* Gives the next part of an operation its place on both links, and with it a time to land. */
static void place_part(struct op *op, uint64_t now)
{
	struct path path = path_of(op);
	uint32_t bytes = land_part_bytes(op, op->scheduled);
	uint64_t begin = now, sent = now, received = now, due;

	if (path.from->ns_per_mib)
		begin = link_reserve(&path.from->tx, op->posted,
		                     link_time(bytes, path.from->ns_per_mib), &sent);
	if (path.to->ns_per_mib)
		link_reserve(&path.to->rx, path.from->ns_per_mib ? begin : op->posted,
		             link_time(bytes, path.to->ns_per_mib), &received);
	due = later(sent, received) + path.latency + jitter(1);
	if (op->kind == OP_READ) /* it was asked for first */
		due += path.latency;
	push(op, EVENT_LAND, op->scheduled++, due);
}

/* When both links of an operation have room for a part. */
static uint64_t free_at(const struct op *op)
{
	struct path path = path_of(op);
	uint64_t at = later(path.from->ns_per_mib ? path.from->tx.free_at : 0,
	                    path.to->ns_per_mib ? path.to->rx.free_at : 0);

	return at > AHEAD ? at - AHEAD : 0;
}

/* Of operations that could all go on. The older, the likelier: were all served alike, they would
 * all end at the same time, and the link stand idle until more is posted. */
static struct op *pick(struct op *const *ready, uint32_t n)
{
	uint32_t i = 0;

	while (i + 1 < n && process.shm->config.jitter_ns && engine_random(2))
		i++;
	return ready[i];
}

/* One of the first few operations that can go on now; else NULL, and *look_at is when one can. */
static struct op *choose(const struct op_list *queue, uint64_t now, uint64_t *look_at)
{
	struct op *op, *ready[ACTIVE];
	uint32_t seen = 0, n = 0;
	uint64_t at;

	*look_at = now + LOOK_AGAIN;
	STAILQ_FOREACH(op, queue, link)
	{
		if (seen++ == ACTIVE)
			break;
		at = free_at(op);
		if (at <= now)
			ready[n++] = op;
		else
			*look_at = sooner(*look_at, at);
	}
	return n ? pick(ready, n) : NULL;
}

/* No more of its parts get a place. */
static void cut_short(struct op *op)
{
	if (op->scheduled == op->parts)
		return;
	STAILQ_REMOVE(&engine.queue[op->qp->context->nic], op, op, link);
	op->parts = op->scheduled;
}

static void fail_queued(struct op *op, uint64_t now)
{
	op->status = EFA_UNREACHABLE;
	cut_short(op);
	if (op->landed == op->parts)
		push(op, EVENT_COMPLETE, 0, now);
}

/* Lets a NIC's queue go on as far as its links allow. */
static void schedule(uint32_t nic, uint64_t now)
{
	struct op_list *queue = &engine.queue[nic];
	uint32_t state = fabric_nic(process.host, nic)->state;
	struct op *op;

	engine.look_at[nic] = now + LOOK_AGAIN;
	if (state == NIC_BLACKHOLE)
		return;
	while ((op = STAILQ_FIRST(queue))) {
		if (state == NIC_DOWN) {
			fail_queued(op, now);
			continue;
		}
		op = choose(queue, now, &engine.look_at[nic]);
		if (!op)
			return;
		place_part(op, now);
		if (op->scheduled == op->parts)
			STAILQ_REMOVE(queue, op, op, link);
	}
}

static void release(struct op *op)
{
	pthread_mutex_lock(&engine.lock);
	STAILQ_INSERT_HEAD(&op->qp->free, op, link);
	pthread_mutex_unlock(&engine.lock);
}

static void push_locked(struct op *op, enum event_kind kind, uint32_t part, uint64_t due)
{
	pthread_mutex_lock(&engine.lock);
	push(op, kind, part, due);
	pthread_mutex_unlock(&engine.lock);
}

/* The acknowledgement of what was sent takes its way back. */
static void finish(struct op *op, uint64_t now)
{
	uint64_t delay = jitter(4);

	if (op->kind != OP_READ)
		delay += path_of(op).latency;
	if (delay) {
		push_locked(op, EVENT_COMPLETE, 0, now + delay);
		return;
	}
	land_complete(op);
	release(op);
}

static void deliver(struct op *op, uint64_t now)
{
	uint64_t again;

	if (op->status == EFA_OK && land_deliver(op, now, &again) == LAND_AGAIN)
		push_locked(op, EVENT_DELIVER, 0, again);
	else
		finish(op, now);
}

static void land(const struct event *event, uint64_t now)
{
	struct op *op = event->op;
	uint64_t again;

	if (op->status == EFA_OK) {
		switch (land_part(op, event->part, now, &again)) {
		case LAND_DONE:
			break;
		case LAND_FAILED:
			pthread_mutex_lock(&engine.lock);
			cut_short(op);
			pthread_mutex_unlock(&engine.lock);
			break;
		case LAND_AGAIN:
			push_locked(op, EVENT_LAND, event->part, again);
			return;
		}
	}
	if (++op->landed == op->parts)
		deliver(op, now);
}

static void happen(const struct event *event, uint64_t now)
{
	switch (event->kind) {
	case EVENT_LAND:
		land(event, now);
		break;
	case EVENT_DELIVER:
		deliver(event->op, now);
		break;
	case EVENT_COMPLETE:
		land_complete(event->op);
		release(event->op);
		break;
	}
}

/* Sets `next`; under the lock. */
static void plan(void)
{
	uint64_t next = engine.heap.count ? engine.heap.events[0].due : NEVER;

	for (uint32_t n = 0; n < process.shm->config.nics; n++)
		if (!STAILQ_EMPTY(&engine.queue[n]))
			next = sooner(next, engine.look_at[n]);
	engine.next = next;
}

/* The next event that is due; false if there is none. */
static bool take_due(uint64_t now, struct event *event)
{
	bool any;

	pthread_mutex_lock(&engine.lock);
	for (uint32_t n = 0; n < process.shm->config.nics; n++)
		if (engine.look_at[n] <= now && !STAILQ_EMPTY(&engine.queue[n]))
			schedule(n, now);
	any = engine.heap.count && engine.heap.events[0].due <= now;
	if (any)
		*event = heap_pop(&engine.heap);
	else
		plan();
	pthread_mutex_unlock(&engine.lock);
	return any;
}

/* A process of a paused host must not be stopped while it holds what others wait for: who pauses
 * it waits until it is not busy. */
static bool enter(void)
{
	atomic_store(&process_self()->busy, 1);
	if (atomic_load(&process.shm->host[process.host].state) != HOST_PAUSED)
		return true;
	atomic_store(&process_self()->busy, 0);
	engine.next = now_ns() + LOOK_AGAIN;
	return false;
}

static void run(void)
{
	struct event event;
	uint64_t now;

	if (pthread_mutex_trylock(&engine.run))
		return;
	if (enter()) {
		for (int turn = 0; turn < TURNS; turn++) {
			now = now_ns();
			if (!take_due(now, &event))
				break;
			happen(&event, now);
		}
		atomic_store(&process_self()->busy, 0);
	}
	pthread_mutex_unlock(&engine.run);
}

void engine_poke(void)
{
	uint64_t next = atomic_load_explicit(&engine.next, memory_order_relaxed);

	if (next != NEVER && next <= now_ns())
		run();
}

static void sleep_until(uint64_t at)
{
	struct timespec t = {.tv_sec = (time_t)(at / 1000000000u), .tv_nsec = at % 1000000000u};

	engine.sleeps_until = at;
	if (at == NEVER)
		pthread_cond_wait(&engine.wake, &engine.lock);
	else
		pthread_cond_timedwait(&engine.wake, &engine.lock, &t);
	engine.sleeps_until = 0;
}

static void *work(void *arg)
{
	uint64_t next;

	(void)arg;
	prctl(PR_SET_NAME, "softefa");
	prctl(PR_SET_TIMERSLACK, SLACK, 0, 0, 0);
	for (;;) {
		pthread_mutex_lock(&engine.lock);
		next = engine.next;
		if (next != NEVER)
			next += GRACE;
		if (next > now_ns())
			sleep_until(next);
		pthread_mutex_unlock(&engine.lock);
		if (engine.next <= now_ns())
			run();
	}
	return arg;
}

static int start_thread(void)
{
	sigset_t all, before;
	pthread_t thread;
	int rc;

	/* Signals are the program's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&thread, NULL, work, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc)
		return -1;
	pthread_detach(thread);
	return 0;
}

int engine_start(void)
{
	pthread_condattr_t attr;

	heap_close(&engine.heap);
	memset(&engine, 0, sizeof(engine));
	pthread_mutex_init(&engine.run, NULL);
	pthread_mutex_init(&engine.lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&engine.wake, &attr);
	pthread_condattr_destroy(&attr);
	for (uint32_t n = 0; n < MAX_NICS; n++)
		STAILQ_INIT(&engine.queue[n]);
	engine.next = NEVER;
	engine.random = (process.shm->config.seed + 1) * 0x9e3779b97f4a7c15u + process.slot;
	return start_thread();
}

struct op *engine_take(struct qp *qp)
{
	struct op *op;

	pthread_mutex_lock(&engine.lock);
	op = STAILQ_FIRST(&qp->free);
	if (op)
		STAILQ_REMOVE_HEAD(&qp->free, link);
	pthread_mutex_unlock(&engine.lock);
	if (op)
		*op = (struct op){.qp = qp, .fail_at = NO_SLOT};
	return op;
}

void engine_give_back(struct op_list *ops)
{
	struct op *op = STAILQ_FIRST(ops);

	if (!op)
		return;
	pthread_mutex_lock(&engine.lock);
	STAILQ_CONCAT(&op->qp->free, ops);
	pthread_mutex_unlock(&engine.lock);
}

/* An address that is nobody's is known as such only after a while. */
static void enqueue(struct op_list *queue, struct op *op, uint64_t now)
{
	if (op->address != NO_ADDRESS) {
		STAILQ_INSERT_TAIL(queue, op, link);
		return;
	}
	op->status = EFA_UNREACHABLE;
	push(op, EVENT_COMPLETE, 0, now + process.shm->config.dead_ns);
}

void engine_submit(struct qp *qp, struct op_list *ops)
{
	uint32_t nic = qp->context->nic;
	uint64_t now = now_ns();
	struct op *op;

	STAILQ_FOREACH(op, ops, link)
	{
		op->posted = now;
		land_prepare(op);
	}
	pthread_mutex_lock(&engine.lock);
	while ((op = STAILQ_FIRST(ops))) {
		STAILQ_REMOVE_HEAD(ops, link);
		enqueue(&engine.queue[nic], op, now);
	}
	engine.look_at[nic] = now;
	engine.next = sooner(engine.next, now);
	if (engine.sleeps_until > now + GRACE)
		pthread_cond_signal(&engine.wake);
	pthread_mutex_unlock(&engine.lock);
}

static bool is_of(const struct event *event, void *qp)
{
	return event->op->qp == qp;
}

void engine_forget(struct qp *qp)
{
	struct op_list *queue = &engine.queue[qp->context->nic];
	struct op *op, *next;

	pthread_mutex_lock(&engine.run);
	pthread_mutex_lock(&engine.lock);
	for (op = STAILQ_FIRST(queue); op; op = next) {
		next = STAILQ_NEXT(op, link);
		if (op->qp == qp)
			STAILQ_REMOVE(queue, op, op, link);
	}
	heap_purge(&engine.heap, is_of, qp);
	pthread_mutex_unlock(&engine.lock);
	pthread_mutex_unlock(&engine.run);
}
