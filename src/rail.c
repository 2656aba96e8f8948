/* SPDX-License-Identifier: MIT
 * One NIC: its endpoint, what is in flight on it, and its buffers for control messages. */
#include "rail.h"
#include "log.h"
#include <errno.h>
#include <numa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define SENDS    32 /* control messages in flight */
#define RECEIVES 32 /* control messages a burst may bring before we poll */

/* What the provider's own queues must hold besides: acknowledgements, emulated writes in pieces of
 * its own. At 256 entries an efa endpoint costs half of what it does at its default size. */
#define PROVIDER_QUEUE 256

/* On the rail's own node where that is known and possible. */
static void *slab_alloc(size_t bytes, int numa_node)
{
	void *slab = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (slab == MAP_FAILED)
		return NULL;
	if (numa_node >= 0 && numa_available() >= 0)
		numa_tonode_memory(slab, bytes, numa_node);
	return slab;
}

static void fill_list(struct rail *rail, struct flight_list *list, enum flight_kind kind,
                      struct flight *flights, uint32_t n)
{
	SLIST_INIT(list);
	for (uint32_t i = 0; i < n; i++) {
		flights[i].kind = kind;
		if (kind != FLIGHT_PIECE)
			flights[i].buffer =
				rail->slab +
				(&flights[i] - rail->flights - rail->depth) * WIRE_MESSAGE_MAX;
		SLIST_INSERT_HEAD(list, &flights[i], link);
	}
}

static int open_buffers(struct rail *rail)
{
	int rc;

	rail->flights = calloc(rail->depth + SENDS + RECEIVES, sizeof(*rail->flights));
	rail->slab_bytes = (SENDS + RECEIVES) * WIRE_MESSAGE_MAX;
	rail->slab = slab_alloc(rail->slab_bytes, rail->numa_node);
	if (!rail->flights || !rail->slab)
		return -ENOMEM;
	fill_list(rail, &rail->pieces, FLIGHT_PIECE, rail->flights, rail->depth);
	fill_list(rail, &rail->sends, FLIGHT_SEND, rail->flights + rail->depth, SENDS);
	fill_list(rail, &rail->receives, FLIGHT_RECEIVE, rail->flights + rail->depth + SENDS,
	          RECEIVES);
	rc = rail->fabric->reg(rail->nic, rail->slab, rail->slab_bytes, 1, &rail->slab_mr);
	return rc;
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

int rail_open(struct rail *rail, const struct fabric_ops *fabric, const struct fabric_offer *offer,
              const struct config *config, char why[FABRIC_WHY])
{
	struct fabric_limits limits = {.sends = PROVIDER_QUEUE, .receives = PROVIDER_QUEUE};
	ssize_t n;
	int rc;

	rail->fabric = fabric;
	rail->depth = config->queue_depth;
	rail->window = config->window_bytes;
	if (limits.sends < rail->depth + SENDS)
		limits.sends = rail->depth + SENDS;
	rc = fabric->open(offer, &limits, &rail->nic, why);
	if (rc)
		return rc;
	n = fabric->address(rail->nic, rail->endpoint.bytes, sizeof(rail->endpoint.bytes));
	if (n < 0 || n > FABRIC_ADDRESS_MAX) {
		snprintf(why, FABRIC_WHY, "rail %s: its endpoint's name cannot be had: %s",
		         rail->name, fabric_strerror(n < 0 ? n : -ENAMETOOLONG));
		rail_close(rail);
		return n < 0 ? n : -ENAMETOOLONG;
	}
	rail->endpoint.len = n;
	if ((rc = open_buffers(rail)) || (rc = post_receives(rail))) {
		snprintf(why, FABRIC_WHY, "rail %s: buffers for messages: %s", rail->name,
		         fabric_strerror(rc));
		rail_close(rail);
	}
	return rc;
}

void rail_close(struct rail *rail)
{
	/* The endpoint goes first: its receives are still posted in the slab, whose registration
	 * belongs to a domain that close would take along. */
	if (rail->nic)
		rail->fabric->shut(rail->nic);
	if (rail->slab_mr)
		rail->fabric->dereg(rail->slab_mr);
	if (rail->nic)
		rail->fabric->close(rail->nic);
	if (rail->slab)
		munmap(rail->slab, rail->slab_bytes);
	free(rail->flights);
	rail->nic = NULL;
	rail->slab_mr = NULL;
	rail->slab = NULL;
	rail->flights = NULL;
}

int rail_post(struct rail *rail, const struct fabric_rma *rma, bool is_read,
              struct transfer *transfer, uint32_t piece)
{
	struct flight *flight = SLIST_FIRST(&rail->pieces);
	int rc = is_read ? rail->fabric->read(rail->nic, rma, &flight->op)
	                 : rail->fabric->write(rail->nic, rma, &flight->op);

	if (rc)
		return rc;
	SLIST_REMOVE_HEAD(&rail->pieces, link);
	flight->transfer = transfer;
	flight->piece = piece;
	flight->len = rma->len;
	rail->pieces_in_flight++;
	rail->bytes_in_flight += rma->len;
	return 0;
}

int rail_send(struct rail *rail, const struct wire_message *message, uint64_t to, struct peer *peer)
{
	struct flight *flight = SLIST_FIRST(&rail->sends);
	ssize_t len;
	int rc;

	if (!flight)
		return -EAGAIN;
	len = wire_message_encode(message, flight->buffer, WIRE_MESSAGE_MAX);
	if (len < 0)
		return len;
	rc = rail->fabric->send(rail->nic, flight->buffer, len, rail->slab_mr, to, &flight->op);
	if (rc)
		return rc;
	SLIST_REMOVE_HEAD(&rail->sends, link);
	flight->peer = peer;
	rail->sends_in_flight++;
	return 0;
}

int rail_poll(struct rail *rail, struct fabric_event *events, int max)
{
	if (!SLIST_EMPTY(&rail->receives))
		post_receives(rail);
	return rail->fabric->poll(rail->nic, events, max);
}

void rail_forget(struct rail *rail, const struct peer *peer)
{
	for (uint32_t i = 0; rail->flights && i < rail->depth + SENDS; i++)
		if (rail->flights[i].kind == FLIGHT_SEND && rail->flights[i].peer == peer)
			rail->flights[i].peer = NULL;
}

void rail_release(struct rail *rail, struct flight *flight)
{
	switch (flight->kind) {
	case FLIGHT_PIECE:
		rail->pieces_in_flight--;
		rail->bytes_in_flight -= flight->len;
		SLIST_INSERT_HEAD(&rail->pieces, flight, link);
		break;
	case FLIGHT_SEND:
		rail->sends_in_flight--;
		SLIST_INSERT_HEAD(&rail->sends, flight, link);
		break;
	case FLIGHT_RECEIVE:
		SLIST_INSERT_HEAD(&rail->receives, flight, link);
		break;
	}
}
