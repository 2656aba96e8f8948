/* SPDX-License-Identifier: MIT
 * The simulated NICs' endpoints: how they begin, are replaced, and given up. */
#include "sim_fabric.h"
#include "sim_faults.h"
#include <errno.h>

struct end *end_of(struct fabric_nic *nic, uint32_t life)
{
	return life == nic->end.life ? &nic->end : life == nic->old.life ? &nic->old : NULL;
}

/* It is being closed, and its queue with it. */
bool end_is_unread(const struct fabric_nic *nic, uint32_t life)
{
	return life == nic->old.life && nic->parts[FABRIC_OLD].closes;
}

static struct sim_pair *pair_of(const struct sim_op *op)
{
	return &sim.held[op->from->rank][op->from->index][op->to->rank][op->to->index];
}

/* In order, or not at all. */
void end_hold_back(const struct sim_op *op)
{
	if (sim.stays)
		*pair_of(op) = (struct sim_pair){op->from_life, op->to_life};
}

bool end_is_held_back(const struct sim_op *op)
{
	return pair_of(op)->from == op->from_life && pair_of(op)->to == op->to_life;
}

void end_start(struct fabric_nic *nic)
{
	nic->is_open = true;
	nic->end.sends = 0;
	nic->end.life++;
	nic->end.first = nic->end.count = 0;
	TAILQ_INIT(&nic->end.backlog);
	TAILQ_INIT(&nic->waiting);
}

void end_shut(struct fabric_nic *nic)
{
	if (!nic->is_open)
		return;
	if (sim.stays && nic->end.sends)
		world_violation("rail %u.%u is shut with %u operations in flight: it would wait",
		                nic->rank, nic->index, nic->end.sends);
	for (int i = 0; sim.stays && i < 3; i++)
		if (!nic->parts[i].closed)
			world_violation("rail %u.%u is shut, and part %d is open: it would wait",
			                nic->rank, nic->index, i);
	nic->is_open = false;
	travel_shut(nic);
	nic->cq_count = nic->end.count = 0;
	travel_drop(&nic->end.backlog);
	travel_drop(&nic->waiting);
}

/* What it was stays, and gets messages. */
static void keep_old(struct fabric_nic *nic)
{
	struct receive *receives = nic->old.receives;

	if (!nic->parts[FABRIC_OLD].closed || !nic->parts[FABRIC_DOOR].closed)
		world_violation("rail %u.%u has a new endpoint while an old one, or the door, is "
		                "open",
		                nic->rank, nic->index);
	nic->parts[FABRIC_OLD] = nic->parts[FABRIC_DOOR] = (struct part){0};
	travel_drop(&nic->waiting);
	nic->old = nic->end;
	TAILQ_INIT(&nic->old.backlog);
	TAILQ_CONCAT(&nic->old.backlog, &nic->end.backlog, link);
	nic->end.receives = receives;
}

/* All that was inserted is gone with the endpoint. */
int end_reopen(struct fabric_nic *nic)
{
	nic->av_count = 0;
	if (faults_refuse_endpoint(nic)) {
		world_trace("rail %u.%u gets no new endpoint", nic->rank, nic->index);
		nic->end.life++;
		nic->parts[FABRIC_ALL] = (struct part){.closes = true};
		return -ENOMEM;
	}
	end_start(nic);
	world_trace("rail %u.%u has a new endpoint", nic->rank, nic->index);
	return 0;
}

int end_replace(struct fabric_nic *nic)
{
	keep_old(nic);
	return end_reopen(nic);
}

static bool is_any_silent(void)
{
	const struct fabric_nic *nic;

	for (nic = sim.nic[0]; nic < sim.nic[SIM_RANKS]; nic++)
		if (nic->state == NIC_HOLE)
			return true;
	return false;
}

/* Takes until the device has completed what the endpoint itself has sent, or has given it up: by a
 * NIC that is silent it may be kept for long. A door's takes long at times on a busy machine, too:
 * nobody misses that. */
static void start_closing(struct fabric_nic *nic, enum fabric_part which)
{
	static const char *const names[] = {"door", "old endpoint", "endpoint"};
	struct part *part = &nic->parts[which];
	bool slow = dice_chance(&sim.dice, 5);

	part->closes = true;
	part->at = world.now + world_span(&sim.dice, 10 * US, 5 * MS);
	part->heals_at = slow ? world.now + world_span(&sim.dice, S, 8 * S) : part->at;
	if (which == FABRIC_DOOR)
		part->at = part->heals_at;
	if (which == FABRIC_OLD)
		nic->old.count = 0;
	world_trace("rail %u.%u: its %s is being closed", nic->rank, nic->index, names[which]);
}

static bool close_part(struct fabric_nic *nic, enum fabric_part which)
{
	struct part *part = &nic->parts[which];

	if (!part->closed && !part->closes)
		start_closing(nic, which);
	if (!part->closed && world.now >= part->at && !(which == FABRIC_OLD && nic->old.sends))
		part->closed = world.now >= part->heals_at || !is_any_silent();
	if (part->closed && which == FABRIC_OLD && nic->old.life) {
		nic->old.life = 0;
		travel_drop(&nic->old.backlog);
	}
	return part->closed;
}

int end_retire(struct fabric_nic *nic, enum fabric_part which)
{
	bool closed = true;

	if (!sim.stays)
		return 0;
	if (which == FABRIC_ALL && nic->end.sends)
		world_violation("rail %u.%u is given up with operations in flight", nic->rank,
		                nic->index);
	if (which != FABRIC_OLD)
		closed &= close_part(nic, FABRIC_DOOR);
	if (which != FABRIC_DOOR)
		closed &= close_part(nic, FABRIC_OLD);
	if (which == FABRIC_ALL)
		closed &= close_part(nic, FABRIC_ALL);
	return closed ? 0 : -EAGAIN;
}

int end_renew(struct fabric_nic *nic)
{
	if (sim.stays && !nic->parts[FABRIC_DOOR].closed)
		world_violation("rail %u.%u has a new door while the old one is open", nic->rank,
		                nic->index);
	nic->door++;
	if (faults_refuse_endpoint(nic)) {
		world_trace("rail %u.%u gets no new door", nic->rank, nic->index);
		return -ENOMEM;
	}
	nic->parts[FABRIC_DOOR] = (struct part){0};
	world_trace("rail %u.%u has a new door", nic->rank, nic->index);
	return 0;
}
