/* SPDX-License-Identifier: MIT
 * kvrail replay: moves the KV caches of a trace's requests from prefill to decode ranks. */
#include "replay.h"
#include <sched.h>
#include <stdio.h>

/* Looks for ranks that wait for a peer in vain. */
struct watchdog {
	double looked_at, moved_at; /* seconds */
	uint64_t pieces;            /* all that rails sent and got, at the last look */
};

static uint64_t pieces_moved(const struct replay *r)
{
	struct kvr_stats stats = {.size = sizeof(stats)};

	return kvr_stats_get(r->app->kvr, -1, &stats) ? 0 : stats.pieces + stats.arrivals;
}

/* Only while the worker has nothing to do: as long as it has, this rank waits for itself. */
static const struct replay_slot *waits_for_peer(const struct replay *r)
{
	const struct replay_slot *waiting = NULL;

	for (uint32_t i = 0; i < r->slot_count; i++) {
		enum slot_state state = r->slots[i].state;

		if (state == SLOT_FILLING || state == SLOT_VERIFYING)
			return NULL;
		if (state != SLOT_FREE && !waiting)
			waiting = &r->slots[i];
	}
	return waiting;
}

static const char *what_it_waits_for(const struct replay *r, const struct replay_slot *slot)
{
	if (slot->state == SLOT_MOVING)
		return "its KV to be written to";
	return r->is_prefill ? "its block table from" : "its KV from";
}

static void watch(const struct replay *r, struct watchdog *dog)
{
	const struct replay_slot *slot = waits_for_peer(r);
	double now = seconds_now();
	uint64_t pieces;

	if (!slot)
		dog->moved_at = now;
	if (now - dog->looked_at < 1)
		return;
	dog->looked_at = now;
	pieces = pieces_moved(r);
	if (pieces != dog->pieces)
		dog->moved_at = now;
	dog->pieces = pieces;
	if (now - dog->moved_at > r->input->options.stall_seconds)
		app_abort(r->app,
		          "nothing moved for %.0f s: request %zu waits for %s rank %d; is it alive "
		          "and reachable? (--timeout allows more)",
		          now - dog->moved_at, slot->request + 1, what_it_waits_for(r, slot),
		          slot->peer->rank);
}

/* While KV is in flight the end of each request is timed, so no sleeping then. Else: a
 * millisecond, in which the library moves what peers need of this rank. */
static void wait_a_little(struct replay *r)
{
	if (r->in_flight) {
		kvr_progress(r->app->kvr);
		sched_yield();
		return;
	}
	for (uint32_t i = 0; i < r->slot_count; i++) {
		if (r->slots[i].state != SLOT_WAITING)
			continue;
		replay_has_come(r, &r->slots[i], 1);
		return;
	}
	/* Only the worker is busy: a value that no counter reaches. */
	kvr_counter_wait(r->app->kvr, 0, UINT64_MAX, 1, NULL);
}

static void move_all(struct replay *r)
{
	struct watchdog dog = {.moved_at = seconds_now()};
	struct progress_bar bar;

	if (r->app->rank == 0)
		progress_start(&bar, "prefill rank 0", r->mine);
	while (r->ended < r->mine) {
		if (r->step(r)) {
			dog.moved_at = seconds_now();
		} else {
			watch(r, &dog);
			wait_a_little(r);
		}
		if (r->app->rank == 0)
			progress_show(&bar, r->ended, r->bytes);
	}
	if (r->app->rank == 0)
		progress_end(&bar);
}

static void say_what(const struct app *app, const struct replay_input *in)
{
	char token[32], cache[32];

	if (app->rank || app->json)
		return;
	printf("replay of %zu requests from %s: %s, %s per token; %u prefill and %u decode ranks, "
	       "each with a cache of %s in blocks of %u tokens\n",
	       in->trace.count, in->options.trace, in->model.name,
	       human_bytes(model_bytes_per_token(&in->model), token), in->options.prefill,
	       in->options.decode, human_bytes(in->cache_bytes, cache), in->options.block_tokens);
	fflush(stdout);
}

static int run(struct app *app, const struct replay_input *in)
{
	struct kvr_options options = {.size = sizeof(options),
	                              .counters = replay_counters(&in->options)};
	struct replay replay;
	int status = app_open(app, &options);

	if (status)
		return status;
	say_what(app, in);
	replay_setup(&replay, app, in);
	move_all(&replay);
	replay_measure_rails(&replay);
	replay_meet(&replay);
	status = replay_report(&replay);
	replay_teardown(&replay);
	return status;
}

int replay_main(int argc, char **argv)
{
	struct replay_input input = {.trace = {.count = 0}};
	struct app app = {.nranks = 1};
	int status, closed;

	replay_options_init(&input.options);
	status = app_start(&app, &replay_argp, argc, argv, &input.options);
	app.json = input.options.json;
	if (!status)
		status = replay_input_load(&app, &input);
	if (!status)
		status = run(&app, &input);
	replay_input_free(&input);
	closed = app_close(&app);
	return status ? status : closed;
}
