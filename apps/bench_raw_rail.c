/* SPDX-License-Identifier: MIT
 * One rail of the bare loop: an endpoint of its own, and what is in flight on it. */
#include "bench_raw_rail.h"
#include <stdlib.h>
#include <string.h>

#define EVENTS  64
#define QUEUE   256             /* like a rail's: the provider has its own operations too */
#define RAW_KEY 0x6b76726177ull /* where the provider makes none; any will do */

/* What one rank must know of the other. */
struct raw_address {
	uint64_t len, base, key;
	uint8_t bytes[FABRIC_ADDRESS_MAX];
};

static void must(const struct raw_rail *rail, ssize_t rc, const char *what)
{
	if (rc < 0)
		app_abort(rail->app, "bare loop: %s: %s", what, fabric_strerror((int)rc));
}

static void open_nic(struct raw_rail *rail, const struct fabric_list *list, int number)
{
	struct fabric_limits limits = {.sends = QUEUE, .receives = QUEUE};
	struct kvr_rail kvrails = {.size = sizeof(kvrails)};
	char why[FABRIC_WHY];

	must(rail, kvr_rail_get(rail->app->kvr, number, &kvrails), "its rail");
	if (limits.sends < rail->depth)
		limits.sends = rail->depth;
	for (unsigned int i = 0; i < list->count && !rail->nic; i++)
		if (!strcmp(list->offers[i].name, kvrails.name) &&
		    rail->fabric->open(&list->offers[i], &limits, &rail->nic, why))
			app_abort(rail->app, "bare loop: %s", why);
	if (!rail->nic)
		app_abort(rail->app, "bare loop: rail %s is gone", kvrails.name);
}

static void meet_peer(struct raw_rail *rail)
{
	struct raw_address mine = {.key = rail->fabric->key(rail->mr)}, all[2];
	ssize_t len = rail->fabric->address(rail->nic, mine.bytes, sizeof(mine.bytes));
	const struct raw_address *other = &all[!rail->app->rank];

	must(rail, len, "name of its endpoint");
	mine.len = (uint64_t)len;
	mine.base = rail->fabric->base(rail->nic, rail->memory);
	must(rail, kvr_allgather(rail->app->kvr, &mine, all, sizeof(mine)),
	     "exchange of addresses");
	if (other->len != mine.len)
		app_abort(rail->app, "bare loop: the other rank has another kind of address");
	must(rail, rail->fabric->insert(rail->nic, other->bytes, &rail->peer),
	     "address of the other");
	rail->base = other->base;
	rail->key = other->key;
}

void raw_rail_open(struct raw_rail *rail, const struct fabric_list *list, int number, void *memory,
                   uint64_t len)
{
	const struct fabric_memory registered = {.addr = memory, .len = len};

	rail->fabric = &fabric_libfabric;
	rail->memory = memory;
	rail->ops = calloc(rail->depth, sizeof(*rail->ops));
	rail->free_ops = calloc(rail->depth, sizeof(*rail->free_ops));
	if (!rail->ops || !rail->free_ops)
		app_abort(rail->app, "no memory");
	for (uint32_t i = 0; i < rail->depth; i++)
		rail->free_ops[rail->free_count++] = &rail->ops[i];
	open_nic(rail, list, number);
	must(rail, rail->fabric->reg(rail->nic, &registered, RAW_KEY, &rail->mr), "its memory");
	meet_peer(rail);
}

void raw_rail_close(struct raw_rail *rail)
{
	rail->fabric->shut(rail->nic);
	must(rail, rail->fabric->dereg(rail->mr), "its memory");
	rail->fabric->close(rail->nic);
	free(rail->ops);
	free(rail->free_ops);
}

bool raw_rail_poll(struct raw_rail *rail)
{
	struct fabric_event events[EVENTS];
	int n = rail->fabric->poll(rail->nic, events, EVENTS);

	for (int i = 0; i < n; i++) {
		must(rail, events[i].error, "an operation");
		if (events[i].op)
			rail->free_ops[rail->free_count++] = events[i].op;
	}
	return n > 0;
}

bool raw_rail_post(struct raw_rail *rail, bool is_read, uint64_t at, uint64_t there, uint64_t len)
{
	const struct fabric_rma rma = {
		.local = rail->memory + at,
		.mr = rail->mr,
		.len = len,
		.peer = rail->peer,
		.remote = rail->base + there,
		.key = rail->key,
	};
	struct fabric_op *op;
	int rc;

	if (!rail->free_count)
		return false;
	op = rail->free_ops[rail->free_count - 1];
	rc = is_read ? rail->fabric->read(rail->nic, &rma, op)
	             : rail->fabric->write(rail->nic, &rma, op);
	if (rc == -EAGAIN)
		return false;
	must(rail, rc, is_read ? "fi_read" : "fi_write");
	rail->free_count--;
	rail->used = true;
	return true;
}
