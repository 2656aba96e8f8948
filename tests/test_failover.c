/* SPDX-License-Identifier: MIT
 * When an attempt at a piece is safe, that is, nothing of it can land any more: by its completion,
 * unless it is a write that was given up before; or by a later epoch of the peer's rail. */
#include "context.h"
#include "failover.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define EPOCH 5
#define PIECE 3

static struct kvr kvr;
static struct rail rail;
static struct flight flights[2];
static struct peer peer;
static struct path path;
static struct pace pace;
static struct remote_rail there;
static struct kvr_request request;
static struct transfer transfer;

static void quiet(void *arg, int level, const char *line)
{
	(void)arg;
	(void)level;
	(void)line;
}

static void open_peer(void)
{
	peer = (struct peer){.kvr = &kvr,
	                     .state = PEER_UP,
	                     .rails = 1,
	                     .path = &path,
	                     .pace = &pace,
	                     .there = &there};
	TAILQ_INIT(&peer.outbox);
	TAILQ_INIT(&peer.unacknowledged);
	TAILQ_INIT(&peer.repair);
	TAILQ_INIT(&peer.posting);
	TAILQ_INIT(&peer.awaiting);
	TAILQ_INIT(&peer.draining);
	TAILQ_INIT(&peer.pulls);
	path = (struct path){.epoch = EPOCH};
	pace = (struct pace){.in_flight = 100};
	there = (struct remote_rail){.endpoint = {.epoch = EPOCH}};
}

/* One attempt is in flight, of a write that has more to post. */
static int begin(void **state)
{
	(void)state;
	kvr_set_log(quiet, NULL);
	memset(&kvr, 0, sizeof(kvr));
	kvr.rails = &rail;
	kvr.rail_count = 1;
	TAILQ_INIT(&kvr.active);
	TAILQ_INIT(&kvr.spare_notes);
	open_peer();
	request = (struct kvr_request){.kvr = &kvr, .unfinished = 1};
	transfer = (struct transfer){
		.request = &request, .peer = &peer, .in_flight = 1, .posted = PIECE + 1};
	rail = (struct rail){.flights = flights, .depth = 1, .pieces_in_flight = 1};
	rail.bytes_in_flight = 100;
	SLIST_INIT(&rail.pieces);
	memset(flights, 0, sizeof(flights));
	flights[0] =
		(struct flight){.transfer = &transfer, .piece = PIECE, .len = 100, .epoch = EPOCH};
	return 0;
}

static int end(void **state)
{
	struct note *note;

	(void)state;
	while ((note = TAILQ_FIRST(&peer.outbox))) {
		TAILQ_REMOVE(&peer.outbox, note, link);
		free(note);
	}
	again_clear(&transfer.again);
	return 0;
}

static bool is_safe(void)
{
	assert_int_equal(transfer.in_flight, flights[0].transfer ? 1 : 0);
	return !transfer.in_flight;
}

static void give_up(void)
{
	flights[0].condemned = true;
	rail.condemned = 1;
}

/* The peer says that its rail has this epoch. */
static void renewed(uint32_t epoch)
{
	static const uint8_t address[4];

	failover_on_rail(&kvr, &peer,
	                 &(struct wire_message){.type = WIRE_RAIL,
	                                        .b = epoch,
	                                        .body = address,
	                                        .body_len = sizeof(address)});
}

static void what_is_done_is_safe(void **state)
{
	(void)state;
	failover_on_piece(&kvr, &rail, &flights[0], 0);
	assert_true(is_safe());
	assert_int_equal(rail.stats.retries, 0);
	assert_ptr_equal(SLIST_FIRST(&rail.pieces), &flights[0]);
}

/* Its bytes may lie in a buffer of the target's provider, and come behind another attempt's. */
static void a_write_that_was_given_up_is_not_safe_by_its_completion(void **state)
{
	(void)state;
	give_up();
	failover_on_piece(&kvr, &rail, &flights[0], 0);
	assert_false(is_safe());
	assert_true(SLIST_EMPTY(&rail.pieces));
	renewed(EPOCH + 1);
	assert_true(is_safe());
	assert_ptr_equal(SLIST_FIRST(&rail.pieces), &flights[0]);
}

/* What it brings comes by our own NIC, which has said that all is there. */
static void a_read_is_safe_by_its_completion(void **state)
{
	(void)state;
	request.is_read = true;
	give_up();
	failover_on_piece(&kvr, &rail, &flights[0], 0);
	assert_true(is_safe());
}

static void what_failed_goes_again_and_asks_for_a_fence(void **state)
{
	const struct note *note;

	(void)state;
	failover_on_piece(&kvr, &rail, &flights[0], -EIO);
	assert_false(is_safe());
	assert_int_equal(transfer.again.count, 1);
	assert_ptr_equal(TAILQ_FIRST(&peer.repair), &transfer);
	assert_int_equal(rail.stats.retries, 1);
	assert_int_equal(rail.stats.errors, 1);
	assert_true(path.health.out);
	note = TAILQ_FIRST(&peer.outbox);
	assert_non_null(note);
	assert_int_equal(note->message.type, WIRE_FENCE);
	assert_int_equal(note->message.a, 0);
	assert_int_equal(note->message.b, EPOCH);
	renewed(EPOCH + 1);
	assert_true(is_safe());
}

/* Only a later one: its own epoch's door is the one that it went to. */
static void an_epoch_of_before_says_nothing(void **state)
{
	(void)state;
	there.endpoint.epoch = EPOCH - 2; /* as if it had been told of late */
	give_up();
	renewed(EPOCH - 1);
	assert_false(is_safe());
	renewed(EPOCH);
	assert_false(is_safe());
	renewed(EPOCH + 1);
	assert_true(is_safe());
}

/* Messages overtake each other. */
static void an_address_of_before_is_not_taken(void **state)
{
	(void)state;
	renewed(EPOCH + 2);
	path.address = 7; /* inserted */
	renewed(EPOCH + 1);
	assert_int_equal(there.endpoint.epoch, EPOCH + 2);
	assert_int_equal(path.address, 7);
}

/* Another one's door says nothing of it. */
static void another_rail_says_nothing(void **state)
{
	(void)state;
	give_up();
	flights[0].there = 1;
	renewed(EPOCH + 1);
	assert_false(is_safe());
}

int main(void)
{
#define test(f) cmocka_unit_test_setup_teardown(f, begin, end)
	const struct CMUnitTest tests[] = {
		test(what_is_done_is_safe),
		test(a_write_that_was_given_up_is_not_safe_by_its_completion),
		test(a_read_is_safe_by_its_completion),
		test(what_failed_goes_again_and_asks_for_a_fence),
		test(an_epoch_of_before_says_nothing),
		test(an_address_of_before_is_not_taken),
		test(another_rail_says_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
