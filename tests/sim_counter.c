/* SPDX-License-Identifier: MIT
 * A lane between a made-up initiator and target: pieces, ENDs and LOSTs of many batches, each in
 * any order and any number of times. A batch must be handed out when the last thing that it needs
 * has come: not before, not after, not again. */
#include "counter.h"
#include "seeds.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define SEEDS     4000
#define BIG_EVERY 400 /* one seed in so many goes around the circle and fills the window */
#define BATCHES   24

enum kind { PIECE, END, LOST };

struct event {
	enum kind kind;
	uint32_t batch, piece; /* piece: counted from the batch's first */
};

/* What is to happen to a batch, and what has: the reference. */
struct batch {
	uint64_t first; /* not modulo anything */
	uint32_t count, counter;
	unsigned int losses; /* percent of the pieces */
	uint32_t missing;
	bool known, lost, done;
};

#define SEEN      1 /* flags of a piece */
#define WILL_LOSE 2

struct sim {
	struct dice dice;
	struct lane lane;
	struct batch batch[BATCHES];
	uint32_t batches, sending, posted; /* the batch being posted, its pieces so far */
	uint32_t oldest;                   /* batch that is not done */
	uint8_t *flags;                    /* of each piece since the first batch's first */
	struct event *flying;
	size_t in_flight, room, width;
	unsigned int twice; /* percent of what arrives will arrive again */
};

static uint32_t some_size(struct dice *dice, bool big)
{
	if (big)
		return 1 + dice_roll(dice, dice_chance(dice, 10) ? LANE_WINDOW : LANE_WINDOW / 4);
	return 1 + dice_roll(dice, dice_chance(dice, 10) ? 3000 : 30);
}

static void open_sim(struct sim *sim, uint64_t seed)
{
	bool big = seed % BIG_EVERY == 0;
	struct dice *dice = &sim->dice;
	uint64_t at;

	*sim = (struct sim){.dice = dice_of(seed)};
	at = dice_chance(dice, 50) ? LANE_PIECES - 1 - dice_roll(dice, 300)
	                           : dice_roll(dice, LANE_PIECES);
	sim->lane.base = at;
	sim->batches = 1 + dice_roll(dice, BATCHES);
	sim->twice = dice_roll(dice, 40);
	sim->width = 1 + dice_roll(dice, big ? LANE_WINDOW : 300);
	for (uint32_t i = 0; i < sim->batches; i++) {
		struct batch *batch = &sim->batch[i];

		batch->first = at;
		batch->count = batch->missing = some_size(dice, big);
		batch->counter = dice_roll(dice, 1000);
		batch->losses = dice_chance(dice, 15) ? 1 + dice_roll(dice, 50) : 0;
		at += batch->count;
	}
	sim->flags = calloc(at - sim->batch[0].first, 1);
	assert_non_null(sim->flags);
}

static void close_sim(struct sim *sim)
{
	lane_close(&sim->lane);
	free(sim->flags);
	free(sim->flying);
}

static uint8_t *flag_of(struct sim *sim, const struct batch *batch, uint32_t piece)
{
	return &sim->flags[batch->first + piece - sim->batch[0].first];
}

static void launch(struct sim *sim, enum kind kind, uint32_t piece)
{
	if (sim->in_flight == sim->room) {
		sim->room = sim->room ? 2 * sim->room : 64;
		sim->flying = realloc(sim->flying, sim->room * sizeof(*sim->flying));
		assert_non_null(sim->flying);
	}
	sim->flying[sim->in_flight++] = (struct event){kind, sim->sending, piece};
}

/* A lost piece never comes, or comes all the same: the initiator cannot know. */
static void post_piece(struct sim *sim, const struct batch *batch)
{
	bool lose = dice_chance(&sim->dice, batch->losses);

	if (lose)
		*flag_of(sim, batch, sim->posted) |= WILL_LOSE;
	if (!lose || dice_chance(&sim->dice, 30))
		launch(sim, PIECE, sim->posted);
	sim->posted++;
}

static void seal(struct sim *sim, const struct batch *batch)
{
	launch(sim, END, 0);
	for (uint32_t i = 0; batch->losses && i < batch->count; i++)
		if (*flag_of(sim, batch, i) & WILL_LOSE)
			launch(sim, LOST, i);
	sim->sending++;
	sim->posted = 0;
}

/* Posts one thing more, if there is any and the window allows. */
static bool post(struct sim *sim)
{
	const struct batch *batch = &sim->batch[sim->sending];
	uint64_t piece = batch->first + sim->posted;

	if (sim->sending == sim->batches || sim->in_flight >= sim->width)
		return false;
	if (sim->posted == batch->count)
		seal(sim, batch);
	else if (piece - sim->batch[sim->oldest].first < LANE_WINDOW)
		post_piece(sim, batch);
	else
		return false;
	return true;
}

/* 1 if new, as the lane should say. */
static int see(struct sim *sim, struct batch *batch, uint32_t piece)
{
	uint8_t *flag = flag_of(sim, batch, piece);

	if (*flag & SEEN)
		return 0;
	*flag |= SEEN;
	batch->missing--;
	return 1;
}

/* Gives the event to the lane and to the reference; whether they agree on it. */
static bool apply(struct sim *sim, const struct event *e)
{
	struct batch *batch = &sim->batch[e->batch];
	uint32_t first = batch->first % LANE_PIECES;
	uint32_t piece = (batch->first + e->piece) % LANE_PIECES;
	int wanted;

	switch (e->kind) {
	case PIECE:
		wanted = see(sim, batch, e->piece);
		return lane_arrive(&sim->lane, piece) == wanted;
	case END:
		wanted = !batch->known;
		batch->known = true;
		return lane_declare(&sim->lane, first, batch->count, batch->counter) == wanted;
	default:
		if (!batch->done) {
			batch->known = batch->lost = true;
			see(sim, batch, e->piece);
		}
		return lane_lose(&sim->lane, first, batch->count, piece) == 0;
	}
}

/* The one batch that the last event may have completed must be there now, and no other. */
static const char *check_taken(struct sim *sim, struct batch *batch)
{
	uint32_t first = batch->first % LANE_PIECES;
	uint32_t counter = batch->lost ? LANE_NO_COUNTER : batch->counter;
	struct lane_batch taken;

	if (batch->known && !batch->missing && !batch->done) {
		if (lane_is_done(&sim->lane, first))
			return "done before it was taken";
		if (!lane_take(&sim->lane, &taken))
			return "complete, and not handed out";
		if (taken.first != first || taken.count != batch->count)
			return "another batch than the one that is complete";
		if (taken.counter != counter)
			return "the wrong counter";
		batch->done = true;
	}
	if (lane_take(&sim->lane, &taken))
		return "handed out, and not complete or not for the first time";
	if (lane_is_done(&sim->lane, first) != batch->done)
		return "done, or not done, without reason";
	while (sim->oldest < sim->batches && sim->batch[sim->oldest].done)
		sim->oldest++;
	return NULL;
}

/* So long after its batch that no network would still deliver it, and that its number may already
 * mean another piece. */
static bool is_too_late(const struct sim *sim, const struct event *e)
{
	uint64_t at = sim->batch[e->batch].first + (e->kind == PIECE ? e->piece : 0);

	return sim->oldest == sim->batches || sim->batch[sim->oldest].first > at + LANE_WINDOW;
}

static const char *deliver(struct sim *sim)
{
	size_t i = dice_roll(&sim->dice, sim->in_flight);
	struct event e = sim->flying[i];

	if (is_too_late(sim, &e)) {
		sim->flying[i] = sim->flying[--sim->in_flight];
		return NULL;
	}
	if (!dice_chance(&sim->dice, sim->twice))
		sim->flying[i] = sim->flying[--sim->in_flight];
	if (!apply(sim, &e))
		return "an event is taken for new or known, and is not";
	return check_taken(sim, &sim->batch[e.batch]);
}

static const char *run(struct sim *sim)
{
	const struct batch *last = &sim->batch[sim->batches - 1];
	const char *wrong = NULL;

	while (!wrong && (sim->in_flight || sim->sending < sim->batches)) {
		if (dice_chance(&sim->dice, 60) && post(sim))
			continue;
		if (sim->in_flight)
			wrong = deliver(sim);
	}
	if (wrong)
		return wrong;
	if (sim->oldest < sim->batches)
		return "a batch never completes";
	if (sim->lane.base != (last->first + last->count) % LANE_PIECES || sim->lane.count)
		return "the lane does not end behind the last batch";
	return NULL;
}

static const char *simulate(uint64_t seed)
{
	struct sim sim;
	const char *wrong;

	open_sim(&sim, seed);
	wrong = run(&sim);
	close_sim(&sim);
	return wrong;
}

static void every_batch_exactly_once(void **state)
{
	const char *wrong = seeds_run(SEEDS, simulate);

	(void)state;
	if (wrong)
		fail_msg("%s", wrong);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_batch_exactly_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
