/* SPDX-License-Identifier: MIT
 * Who makes the passes of progress.h: callers that wait, or the library's own threads. */
#include "engine.h"
#include "clock.h"
#include "context.h"
#include "progress.h"
#include <errno.h>
#include <sched.h>
#include <time.h>

#define GUEST_YIELDS 1000 /* at most, while somebody else is to get the lock */

/* Who waits and has nothing to do first spins, then gives the core away, then sleeps, then longer.
 * A peer may read here unseen: it sends a PING in half of IDLE_NAP. All in ns. */
#define IDLE_SPIN  16 /* passes */
#define IDLE_YIELD (500 * 1000)
#define IDLE_NAP   (100 * 1000 * 1000) /* sooner where the core is crowded: */
#define CROWDED    (100 * 1000)        /* that a yield takes */
#define CALM       (10 * 1000 * 1000)  /* without such a yield */
#define NAP        (20 * 1000)
#define IDLE_LONG  (1000 * 1000 * 1000)
#define NAP_LONG   (1500 * 1000)

enum news { NO_NEWS, READY, LEAD };

/* A caller that waits and does not lead. */
struct sleeper {
	TAILQ_ENTRY(sleeper) link;
	const struct wait *wait;
	pthread_cond_t cond;
	enum news news;
};

void engine_init(struct kvr *kvr)
{
	struct lobby *lobby = &kvr->lobby;

	pthread_mutex_init(&kvr->engine, NULL);
	pthread_mutex_init(&lobby->lock, NULL);
	pthread_cond_init(&lobby->work, NULL);
	TAILQ_INIT(&lobby->sleepers);
}

void engine_destroy(struct kvr *kvr)
{
	pthread_cond_destroy(&kvr->lobby.work);
	pthread_mutex_destroy(&kvr->lobby.lock);
	pthread_mutex_destroy(&kvr->engine);
}

void engine_lock(struct kvr *kvr)
{
	if (!pthread_mutex_trylock(&kvr->engine))
		return;
	kvr->lobby.guests++;
	pthread_mutex_lock(&kvr->engine);
	kvr->lobby.guests--;
}

void engine_unlock(struct kvr *kvr)
{
	pthread_mutex_unlock(&kvr->engine);
}

static void let_guests_in(struct kvr *kvr)
{
	for (int i = 0; kvr->lobby.guests && i < GUEST_YIELDS; i++)
		sched_yield();
}

/* With the lobby's lock, which keeps the sleeper from leaving before it is signalled. */
static void wake(struct lobby *lobby, struct sleeper *sleeper, enum news news)
{
	TAILQ_REMOVE(&lobby->sleepers, sleeper, link);
	lobby->asleep--;
	sleeper->news = news;
	pthread_cond_signal(&sleeper->cond);
}

static void wake_ready(struct kvr *kvr)
{
	struct lobby *lobby = &kvr->lobby;
	struct sleeper *sleeper, *next;

	if (!lobby->asleep)
		return;
	pthread_mutex_lock(&lobby->lock);
	for (sleeper = TAILQ_FIRST(&lobby->sleepers); sleeper; sleeper = next) {
		next = TAILQ_NEXT(sleeper, link);
		if (sleeper->wait->ready(sleeper->wait->arg))
			wake(lobby, sleeper, READY);
	}
	pthread_mutex_unlock(&lobby->lock);
}

/* By the holder of the engine lock. */
static bool pass(struct kvr *kvr, uint32_t rails)
{
	bool any = progress_pass(kvr, rails);

	if (any)
		atomic_store_explicit(&kvr->lobby.moved_at, kvr->clock, memory_order_relaxed);
	wake_ready(kvr);
	return any;
}

int kvr_progress(struct kvr *kvr)
{
	bool any;

	if (kvr->lobby.guests || pthread_mutex_trylock(&kvr->engine))
		return 1; /* another thread moves our data along */
	any = pass(kvr, PROGRESS_ALL);
	engine_unlock(kvr);
	return any;
}

/* More ranks than cores is common: whoever has nothing to do must let the others work. ns of sleep;
 * 0: by a yield. */
static int64_t rest_for(const struct kvr *kvr)
{
	int64_t now = clock_now(), idle = now - kvr->lobby.moved_at;

	if (idle > IDLE_LONG)
		return NAP_LONG;
	if (idle < IDLE_YIELD)
		return 0;
	return idle < IDLE_NAP && now - kvr->lobby.crowded_at > CALM ? 0 : NAP;
}

/* The scheduler gives as much time to those that yield as to those that work, one way or another: a
 * yield from which it takes long to return is a sign that the core is wanted. */
static void yield_core(struct kvr *kvr)
{
	int64_t before = clock_now(), after;

	clock_rest(0);
	after = clock_now();
	if (after - before > CROWDED)
		kvr->lobby.crowded_at = after;
}

static void be_idle(struct kvr *kvr, int64_t ns)
{
	if (ns)
		clock_rest(ns);
	else
		yield_core(kvr);
}

/* A pass; whether anything happened. wait: NULL, or what to ask afterwards. */
static bool turn(struct kvr *kvr, uint32_t rails, const struct wait *wait, bool *ready)
{
	bool any;

	engine_lock(kvr);
	any = pass(kvr, rails);
	if (wait)
		*ready = wait->ready(wait->arg);
	engine_unlock(kvr);
	let_guests_in(kvr);
	return any;
}

static int lead(struct kvr *kvr, const struct wait *wait, int64_t end)
{
	uint32_t idle = 0;
	bool ready;

	for (;;) {
		idle = turn(kvr, PROGRESS_ALL, wait, &ready) ? 0 : idle + 1;
		if (ready)
			return 0;
		if (clock_now() >= end)
			return -ETIMEDOUT;
		if (idle > IDLE_SPIN)
			be_idle(kvr, rest_for(kvr));
	}
}

void engine_hold(struct kvr *kvr)
{
	kvr->lobby.led = true;
}

/* Whoever sleeps first goes on, else the library's own threads. */
void engine_release(struct kvr *kvr)
{
	struct lobby *lobby = &kvr->lobby;

	pthread_mutex_lock(&lobby->lock);
	lobby->led = false;
	if (!TAILQ_EMPTY(&lobby->sleepers))
		wake(lobby, TAILQ_FIRST(&lobby->sleepers), LEAD);
	else if (lobby->resting)
		pthread_cond_broadcast(&lobby->work);
	pthread_mutex_unlock(&lobby->lock);
}

static struct timespec moment(int64_t ns)
{
	return (struct timespec){.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
}

/* With the lobby's lock. */
static enum news sleep_until(struct lobby *lobby, struct sleeper *sleeper, int64_t end)
{
	struct timespec until = moment(end);
	int rc = 0;

	pthread_cond_init(&sleeper->cond, NULL);
	TAILQ_INSERT_TAIL(&lobby->sleepers, sleeper, link);
	lobby->asleep++;
	while (!sleeper->news && rc != ETIMEDOUT)
		rc = pthread_cond_clockwait(&sleeper->cond, &lobby->lock, CLOCK_MONOTONIC, &until);
	if (!sleeper->news) {
		TAILQ_REMOVE(&lobby->sleepers, sleeper, link);
		lobby->asleep--;
	}
	pthread_cond_destroy(&sleeper->cond);
	return sleeper->news;
}

/* -EAGAIN: there is nobody to follow. */
static int follow(struct kvr *kvr, const struct wait *wait, int64_t end)
{
	struct lobby *lobby = &kvr->lobby;
	struct sleeper sleeper = {.wait = wait};
	int rc = 0;

	engine_lock(kvr);
	if (wait->ready(wait->arg)) {
		engine_unlock(kvr);
		return 0;
	}
	pthread_mutex_lock(&lobby->lock);
	engine_unlock(kvr);
	if (!lobby->led && !lobby->callers_follow)
		rc = -EAGAIN;
	else if (!sleep_until(lobby, &sleeper, end))
		rc = -ETIMEDOUT;
	else if (sleeper.news == LEAD)
		rc = -EAGAIN;
	pthread_mutex_unlock(&lobby->lock);
	return rc;
}

int engine_wait(struct kvr *kvr, const struct wait *wait)
{
	struct lobby *lobby = &kvr->lobby;
	int64_t end = INT64_MAX;
	int rc = -EAGAIN;

	if (!wait->timeout_ms) {
		kvr_progress(kvr);
		return wait->ready(wait->arg) ? 0 : -ETIMEDOUT;
	}
	if (wait->timeout_ms > 0)
		end = clock_now() + wait->timeout_ms * 1000000ll;
	while (rc == -EAGAIN) {
		if (lobby->callers_follow || atomic_exchange(&lobby->led, true)) {
			rc = follow(kvr, wait, end);
			continue;
		}
		lobby->leads++;
		rc = lead(kvr, wait, end);
		engine_release(kvr);
	}
	return rc;
}

void engine_kick(struct kvr *kvr)
{
	struct lobby *lobby = &kvr->lobby;

	lobby->moved_at = clock_now();
	lobby->kicks++;
	if (!lobby->resting || lobby->led)
		return;
	pthread_mutex_lock(&lobby->lock);
	pthread_cond_broadcast(&lobby->work);
	pthread_mutex_unlock(&lobby->lock);
}

void engine_stop(struct kvr *kvr)
{
	pthread_mutex_lock(&kvr->lobby.lock);
	kvr->lobby.stopped = true;
	pthread_cond_broadcast(&kvr->lobby.work);
	pthread_mutex_unlock(&kvr->lobby.lock);
}

/* Sleeps until there is work, seen from `kicks` on, or for so long; while some caller leads, until
 * none does. */
static void rest(struct kvr *kvr, uint32_t kicks, int64_t ns)
{
	struct lobby *lobby = &kvr->lobby;
	struct timespec until = moment(clock_now() + ns);

	pthread_mutex_lock(&lobby->lock);
	lobby->resting++;
	if (!lobby->led && lobby->kicks == kicks && !lobby->stopped)
		pthread_cond_clockwait(&lobby->work, &lobby->lock, CLOCK_MONOTONIC, &until);
	while (lobby->led && !lobby->stopped)
		pthread_cond_wait(&lobby->work, &lobby->lock);
	lobby->resting--;
	pthread_mutex_unlock(&lobby->lock);
}

/* Callers that wait for a short time, and again, shall not have to wake it each time. */
static void make_way(struct kvr *kvr)
{
	struct lobby *lobby = &kvr->lobby;
	uint32_t leads = lobby->leads, kicks = lobby->kicks;

	clock_rest(NAP);
	if (lobby->led && lobby->leads == leads)
		rest(kvr, kicks, 0);
}

void engine_serve(struct kvr *kvr, uint32_t rails, bool spins)
{
	struct lobby *lobby = &kvr->lobby;
	uint32_t kicks;
	int64_t ns;

	while (!lobby->stopped) {
		kicks = lobby->kicks;
		if (lobby->led) {
			make_way(kvr);
			continue;
		}
		if (turn(kvr, rails, NULL, NULL))
			continue;
		ns = rest_for(kvr);
		if (ns == NAP_LONG)
			rest(kvr, kicks, ns);
		else
			be_idle(kvr, spins ? ns : NAP);
	}
}
