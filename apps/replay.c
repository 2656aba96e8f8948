/* SPDX-License-Identifier: MIT
 * kvrail replay: moves the KV caches of a trace's requests from prefill to decode ranks. */
#include "replay.h"
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

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

		if (state != SLOT_FREE && state != SLOT_WAITING && state != SLOT_MOVING &&
		    state != SLOT_TELLING)
			return NULL;
		if (state != SLOT_FREE && !waiting)
			waiting = &r->slots[i];
	}
	return waiting;
}

static const char *what_it_waits_for(const struct replay *r, const struct replay_slot *slot)
{
	if (slot->state == SLOT_MOVING || slot->state == SLOT_TELLING)
		return "what it writes to";
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
		          slot->peers[0].rank);
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
		if (r->is_prefill)
			replay_prefill_wait(r, &r->slots[i]);
		else
			replay_decode_wait(r, &r->slots[i]);
		return;
	}
	/* Only the worker is busy: a value that no counter reaches. */
	kvr_counter_wait(r->app->kvr, 0, UINT64_MAX, 1, NULL);
}

/* Of this process in memory; 0 if it is unknown. */
static uint64_t resident_bytes(void)
{
	FILE *file = fopen("/proc/self/statm", "re");
	unsigned long long pages = 0;

	if (!file)
		return 0;
	if (fscanf(file, "%*u %llu", &pages) != 1)
		pages = 0;
	fclose(file);
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
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
		if (!r->resident_half && r->ended >= r->mine / 2)
			r->resident_half = resident_bytes();
		if (r->app->rank == 0)
			progress_show(&bar, r->ended, r->bytes);
	}
	r->resident_end = resident_bytes();
	if (r->app->rank == 0)
		progress_end(&bar);
}

static void say_group(const char *kind, const struct group *g, uint64_t bytes)
{
	char cache[32];

	printf("; %u %s ranks (TP %u, PP %u, %s), each with a cache of %s in blocks of %u tokens",
	       g->ranks, kind, g->tp, g->pp, g->order, human_bytes(bytes, cache), g->block_tokens);
}

static bool is_plain(const struct replay_options *o)
{
	const struct group *p = &o->prefill, *d = &o->decode;

	return group_size(p) == 1 && group_size(d) == 1 && p->block_tokens == d->block_tokens &&
	       !strcmp(p->order, d->order);
}

static void say_what(const struct app *app, const struct replay_input *in)
{
	const struct replay_options *o = &in->options;
	char token[32], cache[32];

	if (app->rank || app->json)
		return;
	printf("replay of %zu requests from %s: %s, %s per token", in->trace.count, o->trace,
	       in->model.name, human_bytes(model_bytes_per_token(&in->model), token));
	if (is_plain(o)) {
		printf("; %u prefill and %u decode ranks, each with a cache of %s in blocks of %u "
		       "tokens\n",
		       o->prefill.ranks, o->decode.ranks, human_bytes(in->prefill_bytes, cache),
		       o->prefill.block_tokens);
	} else {
		say_group("prefill", &o->prefill, in->prefill_bytes);
		say_group("decode", &o->decode, in->decode_bytes);
		puts("");
	}
	fflush(stdout);
}

static int run(struct app *app, const struct replay_input *in)
{
	struct kvr_options options = {.size = sizeof(options), .counters = replay_counters(in)};
	struct replay replay;
	int status = app_open(app, &options);

	if (status)
		return status;
	say_what(app, in);
	replay_setup(&replay, app, in);
	replay_meet(&replay);
	replay_measure_rails(&replay);
	replay.epoch = seconds_now();
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
