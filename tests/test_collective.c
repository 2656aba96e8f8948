/* SPDX-License-Identifier: MIT
 * What comes for an allgather: only what is for the running step, and fits; and what is heard of a
 * rank that is gone, or of one that has settled. Whole calls are in test_silence.c. */
#include "collective.h"
#include "context.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define SEQUENCE  7
#define STEP      2
#define SIZE      100
#define UNTOUCHED 0xee

static struct kvr kvr;
static struct peer from, to;
static uint8_t blocks[3 * SIZE]; /* the step's are those in the middle */
static const uint8_t bytes[2 * SIZE] = {1, 2, 3};

static void quiet(void *arg, int level, const char *line)
{
	(void)arg;
	(void)level;
	(void)line;
}

/* In the middle of a step, of which nothing has come. */
static int begin(void **state)
{
	(void)state;
	memset(&kvr, 0, sizeof(kvr));
	memset(blocks, UNTOUCHED, sizeof(blocks));
	from = (struct peer){.state = PEER_UP};
	to = (struct peer){.state = PEER_UP};
	TAILQ_INIT(&to.outbox);
	TAILQ_INIT(&to.unacknowledged);
	kvr.collective = (struct collective){.sequence = SEQUENCE,
	                                     .step = STEP,
	                                     .into = blocks + SIZE,
	                                     .size = SIZE,
	                                     .wanted = SIZE,
	                                     .from = &from,
	                                     .to = &to};
	kvr_set_log(quiet, NULL);
	return 0;
}

static void chunk(uint32_t sequence, uint32_t step, uint64_t at, uint32_t len)
{
	collective_on_chunk(&kvr, &(struct wire_message){.type = WIRE_CHUNK,
	                                                 .a = sequence,
	                                                 .b = step,
	                                                 .c = at,
	                                                 .body = bytes,
	                                                 .body_len = len});
}

static void expect_nothing_came(void)
{
	assert_int_equal(kvr.collective.wanted, SIZE);
	for (size_t i = 0; i < sizeof(blocks); i++)
		assert_int_equal(blocks[i], UNTOUCHED);
}

static void a_chunk_goes_to_its_place(void **state)
{
	(void)state;
	chunk(SEQUENCE, STEP, SIZE - 3, 3);
	assert_int_equal(kvr.collective.wanted, SIZE - 3);
	assert_int_equal(blocks[2 * SIZE - 4], UNTOUCHED);
	assert_memory_equal(blocks + 2 * SIZE - 3, bytes, 3);
	assert_int_equal(blocks[2 * SIZE], UNTOUCHED);
}

/* Where the ranks do not pass the same length, or are not in the same call. */
static void what_does_not_belong_is_dropped(void **state)
{
	(void)state;
	chunk(SEQUENCE, STEP, SIZE - 3, 4);
	chunk(SEQUENCE, STEP, SIZE, 1);
	chunk(SEQUENCE, STEP, 1000000, 1);
	chunk(SEQUENCE, STEP, UINT64_MAX - 1, 3);
	chunk(SEQUENCE, STEP, 0, SIZE + 1);
	chunk(SEQUENCE - 1, STEP, 0, 3);
	chunk(SEQUENCE + 1, STEP, 0, 3);
	chunk(SEQUENCE, STEP - 1, 0, 3);
	kvr.collective.into = NULL;
	chunk(SEQUENCE, STEP, 0, 3);
	expect_nothing_came();
}

static void ready(uint32_t sequence, uint32_t step)
{
	collective_on_ready(&kvr,
	                    &(struct wire_message){.type = WIRE_READY, .a = sequence, .b = step});
}

static void who_asks_is_remembered_by_step(void **state)
{
	(void)state;
	ready(SEQUENCE, STEP - 1);
	ready(SEQUENCE - 1, STEP);
	ready(SEQUENCE, COLLECTIVE_STEPS);
	assert_false(collective_is_asked(&kvr));
	ready(SEQUENCE, STEP);
	assert_true(collective_is_asked(&kvr));
	ready(SEQUENCE + 1, STEP);
	assert_true(collective_is_asked(&kvr));
}

static void a_step_awaits_both_sides(void **state)
{
	struct note given = {.message = {.type = WIRE_CHUNK, .a = SEQUENCE}};

	(void)state;
	assert_true(collective_awaits(&kvr, &from) && collective_awaits(&kvr, &to));
	ready(SEQUENCE, STEP);
	assert_false(collective_awaits(&kvr, &to));
	TAILQ_INSERT_TAIL(&to.unacknowledged, &given, link);
	assert_true(collective_awaits(&kvr, &to));
	chunk(SEQUENCE, STEP, 0, SIZE);
	assert_false(collective_awaits(&kvr, &from) || collective_is_over(&kvr));
	TAILQ_REMOVE(&to.unacknowledged, &given, link);
	assert_true(collective_is_over(&kvr));
}

/* One that died or closed after it had done its part does no harm. */
static void who_is_gone_matters_while_it_is_awaited(void **state)
{
	struct note other = {.message = {.type = WIRE_RAIL, .body = bytes, .body_len = 1}};

	(void)state;
	ready(SEQUENCE, STEP);
	to.state = PEER_DEAD;
	assert_false(collective_is_hopeless(&kvr));
	from.bye_received = true;
	assert_true(collective_is_hopeless(&kvr));
	chunk(SEQUENCE, STEP, 0, SIZE);
	assert_false(collective_is_hopeless(&kvr));
	to.bye_received = true;
	to.bodies = 1;
	TAILQ_INSERT_TAIL(&to.unacknowledged, &other, link); /* it will not answer that any more */
	assert_false(collective_is_hopeless(&kvr) || !collective_is_over(&kvr));
	kvr.collective.sequence++; /* `to` has not asked for the next one, and never will */
	assert_true(collective_is_hopeless(&kvr));
}

static void broken(uint32_t sequence)
{
	collective_on_broken(
		&kvr, &(struct wire_message){.type = WIRE_BROKEN, .a = sequence, .b = sequence});
}

static void all_are_broken_from_the_first_one_on(void **state)
{
	struct collective *c = &kvr.collective;

	(void)state;
	broken(SEQUENCE + 2);
	broken(SEQUENCE + 1);
	broken(SEQUENCE + 3);
	assert_false(collective_is_hopeless(&kvr));
	c->sequence++;
	assert_true(collective_is_hopeless(&kvr));
	c->sequence = SEQUENCE + 100;
	assert_true(collective_is_hopeless(&kvr));
	assert_int_equal(c->gone, SEQUENCE + 2);
}

static void settled(uint32_t reshard)
{
	collective_on_settled(&kvr, &from,
	                      &(struct wire_message){.type = WIRE_SETTLED, .a = reshard});
}

static void a_source_settles_its_reshard(void **state)
{
	(void)state;
	kvr.collective.reshards = 3;
	from.active = true; /* it need not be woken */
	settled(2);
	collective_await_settled(&kvr, &from);
	assert_false(collective_is_settled(&from));
	settled(2);
	assert_false(collective_is_settled(&from));
	settled(3);
	assert_true(collective_is_settled(&from));
	settled(2); /* overtaken */
	collective_await_settled(&kvr, &from);
	assert_true(collective_is_settled(&from));
	kvr.collective.reshards = 4;
	collective_await_settled(&kvr, &from);
	assert_false(collective_is_settled(&from));
	from.state = PEER_DEAD;
	assert_true(collective_is_settled(&from));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(a_chunk_goes_to_its_place, begin),
		cmocka_unit_test_setup(what_does_not_belong_is_dropped, begin),
		cmocka_unit_test_setup(who_asks_is_remembered_by_step, begin),
		cmocka_unit_test_setup(a_step_awaits_both_sides, begin),
		cmocka_unit_test_setup(who_is_gone_matters_while_it_is_awaited, begin),
		cmocka_unit_test_setup(all_are_broken_from_the_first_one_on, begin),
		cmocka_unit_test_setup(a_source_settles_its_reshard, begin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
