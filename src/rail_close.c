/* SPDX-License-Identifier: MIT
 * A rail is closed: also where its device does not end what is in flight. */
#include "clock.h"
#include "log.h"
#include "rail.h"
#include <stdlib.h>
#include <sys/mman.h>

#define DRAIN_NS  (200 * 1000 * 1000)
#define RETIRE_NS (5000 * INT64_C(1000000))
#define REST_NS   (20 * 1000) /* while there is nothing to read */

/* Whether it is worth a wait: a piece's last bytes, or a door that a busy machine is slow to close.
 * All rails' doors began at once, and have that time together. */
static bool may_end(const struct rail *rail, int64_t since)
{
	int64_t now = clock_now();

	return (rail->pieces_in_flight + rail->sends_in_flight && now - since < DRAIN_NS) ||
	       (rail->retires_at && now - rail->retires_at < RETIRE_NS);
}

/* The endpoint itself goes when nothing is in flight any more, and is not read any more then. */
static bool begin(struct rail *rail)
{
	bool flying = rail_is_flying(rail);

	rail_retire(rail, flying ? FABRIC_DOOR : FABRIC_ALL);
	return flying;
}

static void drain_some(struct rail *rail)
{
	struct fabric_event event;
	struct flight *flight;

	if (rail->gone || rail->fabric->poll(rail->nic, &event, 1) != 1) {
		clock_rest(REST_NS);
		return;
	}
	flight = event.op ? event_flight(&event) : NULL;
	if (flight && flight->kind == FLIGHT_PIECE)
		rail_end(rail, flight);
	else if (flight)
		rail_release(rail, flight);
}

/* Waits a moment for what is in flight; whether it has all ended, and is closed. */
static bool drain(struct rail *rail)
{
	int64_t since = clock_now();
	bool flying;

	while (flying = begin(rail), may_end(rail, since)) {
		if (flying)
			drain_some(rail);
		else
			clock_rest(REST_NS);
	}
	return !rail_is_flying(rail) && !rail->retires_at;
}

/* The device may use their buffers until the process ends: they are kept in sight. */
static struct left {
	struct left *next;
	struct rail rail;
} * _Atomic all_left;

static void leave_open(const struct rail *rail)
{
	struct left *left = malloc(sizeof(*left));

	log_warning("rail %s: left open: its device does not end all operations", rail->name);
	if (!left)
		return;
	left->rail = *rail;
	left->next = all_left;
	while (!atomic_compare_exchange_weak(&all_left, &left->next, left))
		;
}

static void free_buffers(struct rail *rail)
{
	struct flight *flights;

	if (rail->slab)
		munmap(rail->slab, rail->slab_bytes);
	while ((flights = SLIST_FIRST(&rail->forsaken))) {
		SLIST_REMOVE_HEAD(&rail->forsaken, link);
		free(flights);
	}
	free(rail->flights);
	free(rail->messages);
	rail->slab = NULL;
	rail->flights = rail->messages = NULL;
}

void rail_free_left(void)
{
	struct left *left = atomic_exchange(&all_left, NULL), *next;

	for (; left; left = next) {
		next = left->next;
		left->rail.fabric->dereg(left->rail.slab_mr);
		free_buffers(&left->rail);
		free(left);
	}
}

void rail_begin_close(struct rail *rail)
{
	if (rail->nic && rail->shut_waits)
		begin(rail);
}

void rail_close(struct rail *rail)
{
	if (rail->nic && rail->shut_waits && !drain(rail)) {
		if (rail->fabric->abandon)
			rail->fabric->abandon(rail->nic);
		leave_open(rail);
		return;
	}
	/* The endpoint goes first: its receives are still posted in the slab, whose registration
	 * belongs to a domain that close would take along. */
	if (rail->nic)
		rail->fabric->shut(rail->nic);
	if (rail->slab_mr)
		rail->fabric->dereg(rail->slab_mr);
	if (rail->nic)
		rail->fabric->close(rail->nic);
	free_buffers(rail);
	rail->nic = NULL;
	rail->slab_mr = NULL;
}
