/* SPDX-License-Identifier: MIT
 * A fabric that exists only in the simulated world: its NICs, their memory and their queues. */
#include "sim_fabric.h"
#include "sim_alloc.h"
#include "sim_faults.h"
#include "sim_world.h"
#include <errno.h>
#include <string.h>

struct sim_fabric sim;

/* As an endpoint's name travels. */
struct name {
	uint32_t magic, rank, index, life, door;
	uint8_t rest[12];
};

#define NAME_MAGIC     0x6d697372
#define LATE_HANDSHAKE 60 /* percent of second greetings */

static struct fabric_nic *first_nic(void)
{
	return &sim.nic[0][0];
}

#define for_each_nic(n) for (n = first_nic(); n < first_nic() + SIM_RANKS * SIM_RAILS; n++)

void sim_fabric_open(struct dice *dice)
{
	struct fabric_nic *nic;
	int64_t latency = world_span(dice, 2 * US, 50 * US);
	int64_t jitter = dice_chance(dice, 80) ? world_span(dice, US, 200 * US) : 0;
	double ns_per_byte = world_span(dice, 100, 10000) / 1000.0;

	memset(&sim, 0, sizeof(sim));
	sim.dice = world_dice(5);
	sim.virtual_addresses = dice_chance(dice, 60);
	sim.queue = dice_chance(dice, 70) ? 1024 : 4 + dice_roll(dice, 60);
	for_each_nic(nic)
	{
		nic->rank = (nic - first_nic()) / SIM_RAILS;
		nic->index = (nic - first_nic()) % SIM_RAILS;
		nic->ns_per_byte = ns_per_byte;
		nic->latency = latency;
		nic->jitter = jitter;
	}
	TAILQ_INIT(&sim.flying);
}

static void free_endpoint(struct fabric_nic *nic)
{
	free(nic->cq);
	free(nic->end.receives);
	free(nic->old.receives);
	free(nic->av);
}

void sim_fabric_close(void)
{
	struct fabric_nic *nic;

	travel_close();
	for_each_nic(nic)
	{
		if (nic->is_open) /* left so: its operations did not end */
			free_endpoint(nic);
		free(nic->held);
	}
}

void nic_set_state(struct fabric_nic *nic, enum nic_state state)
{
	static const char *const names[] = {"up", "down", "a hole"};
	size_t n = nic->held_count;

	world_trace("rail %u.%u is %s", nic->rank, nic->index, names[state]);
	nic->state = state;
	if (state == NIC_DOWN && nic->is_open && dice_chance(&world.dice, 30)) /* of the device */
		nic_push(nic, &(struct fabric_event){.error = -EIO});
	nic->held_count = 0;
	for (size_t i = 0; i < n; i++) /* again, and perhaps held again */
		world_at(world.now + dice_roll(&world.dice, 100 * US), nic->held[i].fn,
		         nic->held[i].op, nic->held[i].detail);
}

void sim_kill(unsigned int rank)
{
	world_trace("rank %u is dead", rank);
	for (unsigned int i = 0; i < SIM_RAILS; i++) {
		sim.nic[rank][i].dead = true;
		travel_kill(&sim.nic[rank][i]);
	}
}

static int sim_list(const char *provider, struct fabric_list *out, char why[FABRIC_WHY])
{
	unsigned int n = sim.rails[sim.opening];

	(void)provider;
	(void)why;
	*out = (struct fabric_list){.provider = "sim", .count = n};
	out->offers = calloc(n, sizeof(*out->offers));
	if (!out->offers)
		return -ENOMEM;
	for (unsigned int i = 0; i < n; i++) {
		out->offers[i].handle = &sim.nic[sim.opening][i];
		snprintf(out->offers[i].name, sizeof(out->offers[i].name), "sim%u", i);
	}
	return 0;
}

static void sim_list_close(struct fabric_list *list)
{
	free(list->offers);
}

static int sim_open(const struct fabric_offer *offer, const struct fabric_limits *limits,
                    struct fabric_nic **out, char why[FABRIC_WHY])
{
	struct fabric_nic *nic = offer->handle;

	(void)why;
	nic->sends_max = limits->sends < sim.queue ? limits->sends : sim.queue;
	nic->end.max = nic->old.max = limits->receives;
	nic->cq_room = 4 * (limits->sends + limits->receives);
	nic->cq = calloc(nic->cq_room, sizeof(*nic->cq));
	nic->cq_first = nic->cq_count = 0;
	nic->end.receives = calloc(nic->end.max, sizeof(*nic->end.receives));
	nic->old.receives = calloc(nic->old.max, sizeof(*nic->old.receives));
	if (!nic->cq || !nic->end.receives || !nic->old.receives)
		return -ENOMEM;
	TAILQ_INIT(&nic->old.backlog);
	nic->parts[FABRIC_OLD].closed = true;
	end_start(nic);
	*out = nic;
	return 0;
}

static bool sim_shut_waits(const struct fabric_nic *nic)
{
	(void)nic;
	return sim.stays;
}

static void sim_close(struct fabric_nic *nic)
{
	end_shut(nic);
	if (nic->mrs)
		world_violation("rail %u.%u is closed with memory registered", nic->rank,
		                nic->index);
	free_endpoint(nic);
	nic->cq = NULL;
	nic->end.receives = nic->old.receives = NULL;
	nic->av = NULL;
	nic->av_count = nic->av_room = 0;
}

static ssize_t sim_address(struct fabric_nic *nic, void *buf, size_t len)
{
	struct name name = {NAME_MAGIC, nic->rank, nic->index, nic->end.life, nic->door, {0}};

	if (len < sizeof(name))
		return -ENOSPC;
	memcpy(buf, &name, sizeof(name));
	return sizeof(name);
}

static int sim_insert(struct fabric_nic *nic, const void *address, uint64_t *peer)
{
	struct destination *av;
	struct name name;

	memcpy(&name, address, sizeof(name));
	if (name.magic != NAME_MAGIC || name.rank >= SIM_RANKS || name.index >= SIM_RAILS) {
		world_violation("an address that no endpoint has is inserted");
		return -EADDRNOTAVAIL;
	}
	alloc_note_other(); /* on a peer's first use of a rail */
	if (nic->av_count == nic->av_room) {
		nic->av_room = nic->av_room ? 2 * nic->av_room : 8;
		av = realloc(nic->av, nic->av_room * sizeof(*av));
		if (!av)
			return -ENOMEM;
		nic->av = av;
	}
	nic->av[nic->av_count] =
		(struct destination){&sim.nic[name.rank][name.index], name.life, name.door};
	*peer = nic->av_count++;
	return 0;
}

static void sim_remove(struct fabric_nic *nic, uint64_t peer)
{
	if (peer >= nic->av_count)
		world_violation("an address is removed that was not inserted");
}

static int refuse(struct fabric_nic *nic, uint64_t peer)
{
	if (!nic->is_open || nic->parts[FABRIC_ALL].closes || peer >= nic->av_count) {
		world_violation("rail %u.%u: a post to a shut endpoint, or to nobody", nic->rank,
		                nic->index);
		return -EINVAL;
	}
	if (nic->end.sends >= nic->sends_max)
		return -EAGAIN;
	if (nic->state == NIC_DOWN && !nic->dead && dice_chance(&world.dice, 30)) {
		world.faults++;
		return -ENETDOWN;
	}
	if (dice_chance(&world.dice, faults.again)) {
		world.faults++;
		sim.on_news(nic->rank);
		return -EAGAIN;
	}
	return 0;
}

static bool is_inside(const struct fabric_mr *mr, const uint8_t *at, uint64_t len)
{
	return at >= mr->addr && len <= mr->len && at <= mr->addr + mr->len - len;
}

/* Nothing moves, but it takes its time and shares the fate of others. The peer's half of the
 * handshake is late more often than not. */
static int sim_greet(struct fabric_nic *nic, uint64_t peer, bool answered, struct fabric_op *user)
{
	struct sim_op *op;
	uint64_t mark = alloc_mark();
	int rc = refuse(nic, peer);

	if (peer < nic->av_count)
		nic->av[peer].greeted |= answered;
	if (rc)
		return rc;
	if (answered && dice_chance(&world.dice, LATE_HANDSHAKE)) {
		sim.on_news(nic->rank);
		return -EAGAIN;
	}
	op = travel_new(nic, SIM_READ, user);
	op->to = nic->av[peer].nic;
	op->to_life = nic->av[peer].life;
	op->to_door = nic->av[peer].door;
	travel_start(op);
	alloc_forget(mark);
	return 0;
}

/* By whichever of its names there. */
static bool has_met(const struct fabric_nic *nic, uint64_t peer)
{
	const struct destination *to = &nic->av[peer], *d = nic->av;

	while (d < nic->av + nic->av_count &&
	       !(d->greeted && d->nic == to->nic && d->life == to->life && d->door == to->door))
		d++;
	return d < nic->av + nic->av_count;
}

static int post_rma(struct fabric_nic *nic, enum sim_kind kind, const struct fabric_rma *rma,
                    struct fabric_op *user)
{
	struct sim_op *op;
	int rc;

	alloc_begin_post();
	if ((rc = refuse(nic, rma->peer)))
		return rc;
	if (rma->mr->nic != nic || !is_inside(rma->mr, rma->local, rma->len)) {
		world_violation("rail %u.%u: a post from memory that is not registered there",
		                nic->rank, nic->index);
		return -EINVAL;
	}
	if (sim_shut_waits(nic) && !has_met(nic, rma->peer))
		world_violation("rail %u.%u: a piece before the endpoints have met", nic->rank,
		                nic->index);
	op = travel_new(nic, kind, user);
	op->to = nic->av[rma->peer].nic;
	op->to_life = nic->av[rma->peer].life;
	op->to_door = nic->av[rma->peer].door;
	op->local = rma->local;
	op->len = rma->len;
	op->remote = rma->remote;
	op->key = rma->key;
	op->notify = kind == SIM_WRITE && rma->notify;
	op->immediate = rma->immediate;
	op->delivered = rma->delivered;
	travel_start(op);
	alloc_end_post();
	return 0;
}

static int sim_write(struct fabric_nic *nic, const struct fabric_rma *rma, struct fabric_op *user)
{
	return post_rma(nic, SIM_WRITE, rma, user);
}

static int sim_read(struct fabric_nic *nic, const struct fabric_rma *rma, struct fabric_op *user)
{
	return post_rma(nic, SIM_READ, rma, user);
}

static int sim_send(struct fabric_nic *nic, const void *buf, size_t len, struct fabric_mr *mr,
                    uint64_t peer, struct fabric_op *user)
{
	struct sim_op *op;
	int rc;

	alloc_note_other();
	if ((rc = refuse(nic, peer)))
		return rc;
	if (mr->nic != nic || !is_inside(mr, buf, len)) {
		world_violation("a message from memory that is not registered");
		return -EINVAL;
	}
	op = travel_new(nic, SIM_SEND, user);
	op->to = nic->av[peer].nic;
	op->to_life = nic->av[peer].life;
	op->len = len;
	op->copy = malloc(len);
	if (!op->copy)
		abort();
	memcpy(op->copy, buf, len);
	travel_start(op);
	return 0;
}

static int sim_recv(struct fabric_nic *nic, void *buf, size_t len, struct fabric_mr *mr,
                    struct fabric_op *user)
{
	struct end *end = &nic->end;
	size_t at = (end->first + end->count) % end->max;

	(void)mr;
	if (end->count == end->max || dice_chance(&world.dice, faults.again))
		return -EAGAIN;
	end->receives[at] = (struct receive){buf, len, user};
	end->count++;
	travel_receive(nic);
	return 0;
}

void nic_push(struct fabric_nic *nic, const struct fabric_event *event)
{
	if (nic->cq_count == nic->cq_room) {
		world_violation("the completion queue of rail %u.%u overruns", nic->rank,
		                nic->index);
		return;
	}
	world_digest(nic->rank * SIM_RAILS + nic->index);
	world_digest((uint64_t)event->immediate << 32 | event->len << 2 | event->kind);
	nic->cq[(nic->cq_first + nic->cq_count++) % nic->cq_room] = *event;
	sim.on_news(nic->rank);
}

static int sim_poll(struct fabric_nic *nic, struct fabric_event *events, int max)
{
	int n = 0;

	if (!nic->is_open || nic->parts[FABRIC_ALL].closes)
		world_violation("rail %u.%u is polled while it is given up", nic->rank, nic->index);
	alloc_note_other();
	if (!TAILQ_EMPTY(&nic->waiting))
		travel_serve(nic);
	if (nic->cq_count && max > 1 && dice_chance(&world.dice, 20))
		max = 1 + dice_roll(&world.dice, max);
	for (; n < max && nic->cq_count; n++) {
		events[n] = nic->cq[nic->cq_first];
		nic->cq_first = (nic->cq_first + 1) % nic->cq_room;
		nic->cq_count--;
	}
	return n;
}

const struct fabric_ops sim_fabric_ops = {
	.simulated = true,
	.list = sim_list,
	.list_close = sim_list_close,
	.open = sim_open,
	.shut = end_shut,
	.shut_waits = sim_shut_waits,
	.reopen = end_reopen,
	.replace = end_replace,
	.retire = end_retire,
	.renew = end_renew,
	.close = sim_close,
	.address = sim_address,
	.insert = sim_insert,
	.remove = sim_remove,
	.reg = registry_reg,
	.dereg = registry_dereg,
	.key = registry_key,
	.base = registry_base,
	.write = sim_write,
	.read = sim_read,
	.greet = sim_greet,
	.send = sim_send,
	.recv = sim_recv,
	.poll = sim_poll,
};
