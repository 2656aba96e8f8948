/* SPDX-License-Identifier: MIT
 * One NIC: its endpoint, what is in flight on it, and its buffers for control messages. */
#include "rail.h"
#include "clock.h"
#include "log.h"
#include <errno.h>
#include <numa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define SENDS    32 /* control messages in flight */
#define RECEIVES 32 /* control messages a burst may bring before we poll */
#define MESSAGES (SENDS + 2 * RECEIVES)

/* ns, of rail_measure() */
#define METER_STEP 20e6
#define METER_HALF 250e6

/* What the provider's own queues must hold besides: acknowledgements, emulated writes in pieces of
 * its own. At 256 entries an efa endpoint costs half of what it does at its default size. */
#define PROVIDER_QUEUE 256

/* The topology may be another machine's. */
static bool has_node(int node)
{
	return node >= 0 && numa_available() >= 0 && node <= numa_max_node() &&
	       numa_bitmask_isbitset(numa_all_nodes_ptr, (unsigned int)node);
}

/* On the rail's own node where that is known and possible. */
static void *slab_alloc(size_t bytes, int numa_node)
{
	void *slab = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (slab == MAP_FAILED)
		return NULL;
	if (has_node(numa_node))
		numa_tonode_memory(slab, bytes, numa_node);
	return slab;
}

static void fill_list(struct rail *rail, struct flight_list *list, enum flight_kind kind,
                      struct flight *flights, uint32_t n)
{
	SLIST_INIT(list);
	for (uint32_t i = 0; i < n; i++) {
		flights[i].kind = kind;
		flights[i].ended = true;
		if (kind != FLIGHT_PIECE)
			flights[i].buffer =
				rail->slab + (&flights[i] - rail->messages) * WIRE_MESSAGE_MAX;
		SLIST_INSERT_HEAD(list, &flights[i], link);
	}
}

static void fill_receives(struct rail *rail)
{
	fill_list(rail, &rail->receives, FLIGHT_RECEIVE, rail->receiving, RECEIVES);
}

static void fill_messages(struct rail *rail)
{
	fill_list(rail, &rail->sends, FLIGHT_SEND, rail->messages, SENDS);
	fill_receives(rail);
	rail->sends_in_flight = 0;
	rail->refused_at = 0;
}

static int open_buffers(struct rail *rail)
{
	struct fabric_memory memory;

	rail->flights = calloc(rail_flights(rail), sizeof(*rail->flights));
	rail->messages = calloc(MESSAGES, sizeof(*rail->messages));
	rail->slab_bytes = MESSAGES * WIRE_MESSAGE_MAX;
	rail->slab = slab_alloc(rail->slab_bytes, rail->numa_node);
	if (!rail->flights || !rail->messages || !rail->slab)
		return -ENOMEM;
	fill_list(rail, &rail->pieces, FLIGHT_PIECE, rail->flights, rail_flights(rail));
	rail->receiving = rail->messages + SENDS;
	fill_messages(rail);
	memory = (struct fabric_memory){.addr = rail->slab, .len = rail->slab_bytes};
	return rail->fabric->reg(rail->nic, &memory, 1, &rail->slab_mr);
}

static int post_receives(struct rail *rail)
{
	struct flight *flight;
	int rc;

	while ((flight = SLIST_FIRST(&rail->receives))) {
		rc = rail->fabric->recv(rail->nic, flight->buffer, WIRE_MESSAGE_MAX, rail->slab_mr,
		                        &flight->op);
		if (rc)
			return rc == -EAGAIN ? 0 : rc;
		SLIST_REMOVE_HEAD(&rail->receives, link);
	}
	return 0;
}

static int learn_address(struct rail *rail)
{
	ssize_t n = rail->fabric->address(rail->nic, rail->endpoint.bytes,
	                                  sizeof(rail->endpoint.bytes));

	if (n < 0 || n > FABRIC_ADDRESS_MAX)
		return n < 0 ? n : -ENAMETOOLONG;
	rail->endpoint.len = n;
	return 0;
}

int rail_open(struct rail *rail, const struct fabric_ops *fabric, const struct fabric_offer *offer,
              const struct config *config, char why[FABRIC_WHY])
{
	struct fabric_limits limits = {.sends = PROVIDER_QUEUE, .receives = PROVIDER_QUEUE};
	int rc;

	rail->fabric = fabric;
	rail->depth = config->queue_depth;
	rail->window = config->window_bytes;
	rail->piece_max = config->piece_max;
	if (limits.sends < rail->depth + SENDS)
		limits.sends = rail->depth + SENDS;
	rc = fabric->open(offer, &limits, &rail->nic, why);
	if (rc)
		return rc;
	rail->meter.at = clock_now();
	rail->shut_waits = fabric->shut_waits && fabric->shut_waits(rail->nic);
	if ((rc = learn_address(rail))) {
		snprintf(why, FABRIC_WHY, "rail %s: its endpoint's name cannot be had: %s",
		         rail->name, fabric_strerror(rc));
		rail_close(rail);
		return rc;
	}
	if ((rc = open_buffers(rail)) || (rc = post_receives(rail))) {
		snprintf(why, FABRIC_WHY, "rail %s: buffers for messages: %s", rail->name,
		         fabric_strerror(rc));
		rail_close(rail);
	}
	return rc;
}

bool rail_retire(struct rail *rail, enum fabric_part part)
{
	if (!rail->fabric->retire || rail->fabric->retire(rail->nic, part) != -EAGAIN)
		rail->retires_at = 0;
	else if (!rail->retires_at)
		rail->retires_at = clock_now();
	return !rail->retires_at;
}

int rail_post(struct rail *rail, const struct fabric_rma *rma, bool is_read, struct flight **out)
{
	struct flight *flight = SLIST_FIRST(&rail->pieces);
	int rc = is_read ? rail->fabric->read(rail->nic, rma, &flight->op)
	                 : rail->fabric->write(rail->nic, rma, &flight->op);

	if (rc)
		return rc;
	SLIST_REMOVE_HEAD(&rail->pieces, link);
	flight->len = rma->len;
	flight->condemned = flight->ended = flight->old = false;
	rail->pieces_in_flight++;
	rail->bytes_in_flight += rma->len;
	rail->stuck_at = 0;
	*out = flight;
	return 0;
}

void rail_end(struct rail *rail, struct flight *flight)
{
	if (flight->ended)
		return;
	flight->ended = true;
	rail->pieces_in_flight--;
	rail->bytes_in_flight -= flight->len;
	rail->condemned -= flight->condemned;
	rail->refused_at = 0;
	if (!flight->transfer)
		SLIST_INSERT_HEAD(&rail->pieces, flight, link);
}

void rail_settle(struct rail *rail, struct flight *flight)
{
	if (!flight->transfer)
		return;
	flight->transfer = NULL;
	if (flight->ended)
		SLIST_INSERT_HEAD(&rail->pieces, flight, link);
}

int rail_forsake(struct rail *rail)
{
	struct flight *flights = calloc(rail_flights(rail), sizeof(*flights));

	if (!flights)
		return -ENOMEM;
	log_warning("rail %s: its device does not end %u operations: others get places of their "
	            "own",
	            rail->name, rail->pieces_in_flight);
	/* Should it end some after all nobody is to care. */
	for (uint32_t i = 0; i < rail_flights(rail); i++)
		rail->flights[i].ended = true;
	SLIST_INSERT_HEAD(&rail->forsaken, rail->flights, link);
	rail->flights = flights;
	fill_list(rail, &rail->pieces, FLIGHT_PIECE, flights, rail_flights(rail));
	rail->pieces_in_flight = rail->condemned = 0;
	rail->bytes_in_flight = 0;
	rail->stuck_at = 0;
	return 0;
}

/* What was said of the old endpoint holds whether or not there is a new one. */
static int start_again(struct rail *rail, int rc)
{
	rail->endpoint.epoch++;
	rail->stuck_at = 0;
	if (!rc && !(rc = learn_address(rail)))
		rc = post_receives(rail);
	rail->gone = rc;
	return rc;
}

int rail_reset(struct rail *rail)
{
	rail->fabric->shut(rail->nic);
	fill_messages(rail);
	return start_again(rail, rail->fabric->reopen(rail->nic));
}

static void mark_old(struct flight *f, const struct flight *end)
{
	for (; f < end; f++)
		f->old = !f->ended;
}

int rail_replace(struct rail *rail)
{
	rail->replaces = !rail_retire(rail, FABRIC_DOOR);
	if (rail->replaces)
		return -EAGAIN;
	mark_old(rail->flights, rail->flights + rail_flights(rail));
	mark_old(rail->messages, rail->messages + SENDS);
	rail->has_old = true;
	rail->receiving += rail->receiving == rail->messages + SENDS ? RECEIVES : -RECEIVES;
	fill_receives(rail);
	return start_again(rail, rail->fabric->replace(rail->nic));
}

static bool has_old_pieces(const struct rail *rail)
{
	const struct flight *f, *end = rail->flights + rail_flights(rail);

	for (f = rail->flights; f < end; f++)
		if (f->old && !f->ended && !f->condemned)
			return true;
	return false;
}

bool rail_close_old(struct rail *rail)
{
	if (!rail->has_old || rail->old_ends || has_old_pieces(rail))
		return false;
	rail->old_ends = rail->fabric->retire(rail->nic, FABRIC_OLD) != -EAGAIN;
	return rail->old_ends;
}

static int end_some(struct flight *f, const struct flight *end, struct fabric_event *events,
                    int max)
{
	int n = 0;

	for (; f < end && n < max; f++)
		if (f->old && !f->ended)
			events[n++] = (struct fabric_event){.error = -ECANCELED, .op = &f->op};
	return n;
}

/* What the provider has not ended of an endpoint that is closed; 0: that is all. */
static int end_old(struct rail *rail, struct fabric_event *events, int max)
{
	int n = end_some(rail->flights, rail->flights + rail_flights(rail), events, max);

	n += end_some(rail->messages, rail->messages + SENDS, events + n, max - n);
	rail->has_old = rail->old_ends = n;
	return n;
}

/* Where it fails the first peer meets with the same, and says so. */
void rail_warm(struct rail *rail)
{
	if (!rail->warm && rail->fabric->warm)
		rail->fabric->warm(rail->nic, false);
	rail->warm = true;
}

void rail_warm_door(struct rail *rail)
{
	if (!rail->door_is_warm && rail->fabric->warm)
		rail->fabric->warm(rail->nic, true);
	rail->door_is_warm = true;
}

int rail_renew(struct rail *rail)
{
	int rc;

	if (rail->replaces || !rail_retire(rail, FABRIC_DOOR))
		return -EAGAIN;
	rail->endpoint.epoch++;
	rc = rail->gone ? -ENETDOWN : rail->fabric->renew(rail->nic);
	if (!rc)
		rc = learn_address(rail);
	rail->gone = rc;
	return rc;
}

static void take_send(struct rail *rail, struct flight *flight, struct peer *peer)
{
	SLIST_REMOVE_HEAD(&rail->sends, link);
	flight->ended = flight->old = flight->greets = false;
	flight->peer = peer;
	rail->sends_in_flight++;
}

int rail_send(struct rail *rail, const struct wire_message *message, uint64_t to, struct peer *peer,
              int64_t now, struct flight **out)
{
	struct flight *flight = SLIST_FIRST(&rail->sends);
	ssize_t len;
	int rc;

	if (rail->gone)
		return -ENETDOWN;
	if (!flight)
		return -EAGAIN;
	len = wire_message_encode(message, flight->buffer, WIRE_MESSAGE_MAX);
	if (len < 0)
		return len;
	rc = rail->fabric->send(rail->nic, flight->buffer, len, rail->slab_mr, to, &flight->op);
	if (rc == -EAGAIN) {
		if (!rail->refused_at)
			rail->refused_at = now;
		rail->refused_last = now;
	}
	if (rc)
		return rc;
	rail->refused_at = 0;
	take_send(rail, flight, peer);
	flight->posted_at = now;
	*out = flight;
	return 0;
}

int rail_greet(struct rail *rail, uint64_t to, bool answered, struct peer *peer,
               struct flight **out)
{
	struct flight *flight = SLIST_FIRST(&rail->sends);
	int rc;

	if (rail->gone)
		return -ENETDOWN;
	if (!flight)
		return -EAGAIN;
	if ((rc = rail->fabric->greet(rail->nic, to, answered, &flight->op)))
		return rc;
	take_send(rail, flight, peer);
	flight->greets = true;
	*out = flight;
	return 0;
}

bool rail_is_crowded(const struct rail *rail)
{
	return rail->sends_in_flight > SENDS / 2;
}

uint32_t rail_sends(const struct rail *rail, const struct peer *peer, uint32_t turn, int64_t since)
{
	const struct flight *f = rail->messages, *end = f + SENDS;
	uint32_t n = 0;

	for (; f < end; f++)
		n += !f->ended && !f->greets && f->peer == peer && f->turn == turn &&
		     f->posted_at > since;
	return n;
}

/* A refusal says nothing about the time after it, in which perhaps nobody had anything to send;
 * nor, with nothing in flight, about the endpoint: a peer that is gone is refused as well. */
bool rail_is_blocked(const struct rail *rail, int64_t ns, int64_t now)
{
	const struct flight *f = rail->messages, *end = f + SENDS;
	uint32_t old = 0;

	if (rail->pieces_in_flight + rail->sends_in_flight && rail->refused_at &&
	    rail->refused_last - rail->refused_at > ns)
		return true;
	for (; rail_is_crowded(rail) && f < end; f++)
		old += !f->ended && now - f->posted_at > ns;
	return old > SENDS / 2;
}

void rail_measure(struct rail *rail, int64_t now)
{
	uint64_t bytes = rail->stats.bytes_written + rail->stats.bytes_read;
	struct rail_meter *meter = &rail->meter;
	double passed = (double)(now - meter->at), old;

	if (passed < METER_STEP)
		return;
	old = METER_HALF / (METER_HALF + passed);
	meter->rate = meter->rate * old + (double)(bytes - meter->bytes) / passed * (1 - old);
	meter->bytes = bytes;
	meter->at = now;
	rail->stats.bytes_per_second = (uint64_t)(meter->rate * 1e9);
}

int rail_poll(struct rail *rail, struct fabric_event *events, int max)
{
	int n;

	if (rail->gone)
		return 0;
	if (!SLIST_EMPTY(&rail->receives))
		post_receives(rail);
	if (rail->old_ends && (n = end_old(rail, events, max)))
		return n;
	return rail->fabric->poll(rail->nic, events, max);
}

void rail_forget(struct rail *rail, const struct peer *peer)
{
	for (uint32_t i = 0; rail->messages && i < SENDS; i++)
		if (rail->messages[i].peer == peer)
			rail->messages[i].peer = NULL;
}

void rail_release(struct rail *rail, struct flight *flight)
{
	switch (flight->kind) {
	case FLIGHT_PIECE:
		break; /* see rail_end */
	case FLIGHT_SEND:
		flight->ended = true;
		rail->sends_in_flight--;
		rail->refused_at = 0;
		SLIST_INSERT_HEAD(&rail->sends, flight, link);
		break;
	case FLIGHT_RECEIVE:
		if (flight >= rail->receiving && flight < rail->receiving + RECEIVES)
			SLIST_INSERT_HEAD(&rail->receives, flight, link);
		break;
	}
}
