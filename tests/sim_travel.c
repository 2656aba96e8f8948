/* SPDX-License-Identifier: MIT
 * An operation on its way through the simulated fabric: its bytes land in parts, its completion and
 * its immediate follow, each at a time of its own. Where its endpoint is shut it ends at once. */
#include "sim_fabric.h"
#include "sim_faults.h"
#include <errno.h>
#include <string.h>

#define SERVES 6 /* parts that one poll moves, where the target does it */

struct sim_op *travel_new(struct fabric_nic *nic, enum sim_kind kind, struct fabric_op *user)
{
	struct sim_op *op = calloc(1, sizeof(*op));

	if (!op)
		abort();
	op->kind = kind;
	op->from = nic;
	op->from_life = nic->end.life;
	op->user = user;
	op->refs = 1; /* for its completion */
	nic->end.sends++;
	world.operations++;
	TAILQ_INSERT_TAIL(&sim.flying, op, all);
	return op;
}

static void forget(struct sim_op *op)
{
	TAILQ_REMOVE(&sim.flying, op, all);
	free(op->copy);
	free(op);
}

static void unref(struct sim_op *op)
{
	if (!--op->refs)
		forget(op);
}

static void later(int64_t ns, void (*fn)(void *, unsigned int), struct sim_op *op,
                  unsigned int detail)
{
	op->refs++;
	world_at(world.now + ns, fn, op, detail);
}

static int64_t jitter(const struct sim_op *op)
{
	int64_t most = op->from->jitter;

	if (!most)
		return 0;
	return dice_roll(&world.dice, dice_chance(&world.dice, 90) ? most / 8 + 1 : most);
}

static void hold_on(struct fabric_nic *nic, void (*fn)(void *, unsigned int), struct sim_op *op,
                    unsigned int detail)
{
	if (nic->held_count == nic->held_room) {
		nic->held_room = nic->held_room ? 2 * nic->held_room : 64;
		nic->held = realloc(nic->held, nic->held_room * sizeof(*nic->held));
		if (!nic->held)
			abort();
	}
	nic->held[nic->held_count++] = (struct held){fn, op, detail};
}

static bool is_held(struct sim_op *, void (*)(void *, unsigned int), unsigned int);

static struct end *target_of(const struct sim_op *op)
{
	return end_of(op->to, op->to_life);
}

static bool source_is_gone(const struct sim_op *op)
{
	return !op->from->is_open || !end_of(op->from, op->from_life) || op->from->dead;
}

static bool target_is_gone(const struct sim_op *op)
{
	const struct fabric_nic *to = op->to;

	return !to->is_open || to->dead ||
	       (op->kind == SIM_SEND ? !target_of(op)
	                             : to->end.life != op->to_life || to->door != op->to_door);
}

static void complete(struct sim_op *op, int error)
{
	struct fabric_event event = {.kind = FABRIC_DONE, .op = op->user, .error = error};

	if (op->kind == SIM_SEND && error)
		end_hold_back(op);
	op->ended = true;
	if (end_of(op->from, op->from_life))
		end_of(op->from, op->from_life)->sends--;
	if (!end_is_unread(op->from, op->from_life))
		nic_push(op->from, &event);
	unref(op);
}

static void end(void *arg, unsigned int detail)
{
	struct sim_op *op = arg;

	if (is_held(op, end, detail))
		return;
	if (!op->ended && !source_is_gone(op)) {
		if (op->fate.lost_end && !op->fate.error) {
			world.lost_ends++;
			world_trace("rail %u.%u: a completion is lost", op->from->rank,
			            op->from->index);
		} else {
			complete(op, op->fate.error);
		}
	}
	unref(op);
}

static void end_soon(struct sim_op *op, int64_t ns)
{
	if (op->ending || op->ended)
		return;
	op->ending = true;
	later(ns, end, op, 0);
}

/* Its target or a NIC is gone. The initiator hears of it in the end, except from a dead host, which
 * mostly leaves no trace: efa's device gives up by itself. */
static void give_up(struct sim_op *op)
{
	if (op->dropped)
		return;
	op->dropped = true;
	if (op->to->dead && !sim.stays && dice_chance(&world.dice, 80))
		return;
	op->fate.error = op->fate.error ? op->fate.error : -EIO;
	world.faults++;
	end_soon(op, world_span(&world.dice, 20 * US, 2 * MS));
}

/* efa's device: the other side has been silent for long. */
static void despair(void *arg, unsigned int detail)
{
	struct sim_op *op = arg;

	(void)detail;
	if (op->to->state == NIC_HOLE && !op->ended) {
		op->desperate = op->dropped = true;
		op->fate.error = op->fate.error ? op->fate.error : -ETIMEDOUT;
		later(0, end, op, 0);
	}
	unref(op);
}

/* Whether a NIC on the way is a hole; then it goes on when that is over. */
static bool is_held(struct sim_op *op, void (*fn)(void *, unsigned int), unsigned int detail)
{
	struct fabric_nic *hole = op->from->state == NIC_HOLE ? op->from : op->to;

	if (hole->state != NIC_HOLE || (hole == op->to && op->desperate))
		return false;
	world.faults++;
	if (sim.stays && hole == op->to && !op->doomed) {
		op->doomed = true;
		later(world_span(&world.dice, S, 8 * S), despair, op, 0);
	}
	hold_on(hole, fn, op, detail);
	return true;
}

/* Whether its bytes may not land; gives it up where that is news. */
static bool is_stopped(struct sim_op *op)
{
	/* What the target's provider holds it may still put in its place. */
	bool stray =
		op->manner == BY_COPY && op->ended && faults.kinds & FAULT_STRAY && !op->from->dead;

	if (op->dropped || (source_is_gone(op) && !stray))
		return true;
	if (!target_is_gone(op) && op->from->state != NIC_DOWN && op->to->state != NIC_DOWN)
		return false;
	give_up(op);
	return true;
}

static void announce(void *arg, unsigned int detail)
{
	struct sim_op *op = arg;
	struct fabric_event event = {.kind = FABRIC_ARRIVAL, .immediate = op->immediate};

	if (is_held(op, announce, detail))
		return;
	if (!is_stopped(op)) {
		event.len = op->len;
		nic_push(op->to, &event);
	}
	unref(op);
}

/* All bytes that are to land have. */
static void finish(struct sim_op *op)
{
	if (op->notify && op->land == op->parts && !op->fate.lost_arrival)
		for (unsigned int i = 0; i <= op->fate.duplicates; i++)
			later(jitter(op) + i * world_span(&world.dice, US, 10 * MS), announce, op,
			      i);
	end_soon(op, op->from->latency + jitter(op));
}

static uint8_t *find_remote(const struct sim_op *op)
{
	const struct fabric_mr *mr = op->to->mrs;

	while (mr && mr->key != op->key)
		mr = mr->next;
	if (!mr) {
		world_violation("rail %u.%u: a key that is closed or never was, to rank %u",
		                op->from->rank, op->from->index, op->to->rank);
		return NULL;
	}
	if (op->remote < mr->base || op->len > mr->len ||
	    op->remote - mr->base > mr->len - op->len) {
		world_violation("rail %u.%u: out of a region of rank %u", op->from->rank,
		                op->from->index, op->to->rank);
		return NULL;
	}
	return mr->addr + (op->remote - mr->base);
}

static bool copy(const struct sim_op *op, unsigned int part)
{
	uint64_t at = op->cut[part], len = op->cut[part + 1] - at;
	uint8_t *remote = find_remote(op);

	if (!remote)
		return false;
	if (op->kind == SIM_READ) {
		sim.on_landing(op->local + at, remote + at, len);
		memcpy(op->local + at, remote + at, len);
	} else {
		sim.on_landing(remote + at, op->local + at, len);
		memcpy(remote + at, (op->copy ? op->copy : op->local) + at, len);
	}
	return true;
}

/* A greeting has no bytes. */
static void move(struct sim_op *op, unsigned int part)
{
	if (op->len && !copy(op, part)) {
		op->fate.error = -EACCES;
		op->dropped = true;
		end_soon(op, 0);
		return;
	}
	if (!--op->left)
		finish(op);
}

static void land(void *arg, unsigned int part)
{
	struct sim_op *op = arg;

	if (is_held(op, land, part))
		return;
	if (!is_stopped(op))
		move(op, part);
	unref(op);
}

static void deliver(struct sim_op *op)
{
	struct end *to = target_of(op);
	struct receive *receive = &to->receives[to->first];
	struct fabric_event event = {.kind = FABRIC_MESSAGE, .op = receive->op, .len = op->len};

	to->first = (to->first + 1) % to->max;
	to->count--;
	if (op->len > receive->len) {
		world_violation("a message of %llu bytes for a buffer of %zu",
		                (unsigned long long)op->len, receive->len);
		event.len = receive->len;
	}
	memcpy(receive->buf, op->copy, event.len);
	nic_push(op->to, &event);
	end_soon(op, op->from->latency + jitter(op));
}

static void reach(void *arg, unsigned int detail)
{
	struct sim_op *op = arg;

	if (is_held(op, reach, detail))
		return;
	if (is_stopped(op)) {
		unref(op);
	} else if (op->kind == SIM_SEND && end_is_held_back(op)) {
		end_soon(op, op->from->latency);
		unref(op);
	} else if (op->kind != SIM_SEND) {
		TAILQ_INSERT_TAIL(&op->to->waiting, op, link);
		sim.on_news(op->to->rank);
	} else if (target_of(op)->count && TAILQ_EMPTY(&target_of(op)->backlog)) {
		deliver(op);
		unref(op);
	} else {
		TAILQ_INSERT_TAIL(&target_of(op)->backlog, op, link);
	}
}

void travel_receive(struct fabric_nic *nic)
{
	struct sim_op *op;

	while (nic->end.count && (op = TAILQ_FIRST(&nic->end.backlog))) {
		TAILQ_REMOVE(&nic->end.backlog, op, link);
		if (!is_stopped(op))
			deliver(op);
		unref(op);
	}
}

/* An error that nobody but the target hears of: the completion is lost. */
static bool fails_at_target(struct sim_op *op)
{
	if (!op->fate.target_error)
		return false;
	op->dropped = true;
	world.lost_ends++;
	nic_push(op->to, &(struct fabric_event){.error = -EIO});
	return true;
}

void travel_serve(struct fabric_nic *nic)
{
	struct sim_op *op;
	bool any = false;

	for (int i = 0; i < SERVES && (op = TAILQ_FIRST(&nic->waiting)); i++) {
		TAILQ_REMOVE(&nic->waiting, op, link);
		if (op->from->state == NIC_HOLE || nic->state == NIC_HOLE) {
			TAILQ_INSERT_TAIL(&nic->waiting, op, link);
			continue;
		}
		any = true;
		if (fails_at_target(op) || is_stopped(op)) {
			unref(op);
			continue;
		}
		move(op, op->next++);
		if (op->left && !op->dropped)
			TAILQ_INSERT_TAIL(&nic->waiting, op, link);
		else
			unref(op);
	}
	/* What a hole holds is no reason to look again. */
	if (any && !TAILQ_EMPTY(&nic->waiting))
		sim.on_news(nic->rank);
}

void travel_drop(struct sim_queue *queue)
{
	struct sim_op *op;

	while ((op = TAILQ_FIRST(queue))) {
		TAILQ_REMOVE(queue, op, link);
		give_up(op);
		unref(op);
	}
}

/* When the last of its bytes would be there, were it alone with others of its NICs. */
static int64_t transfer_time(struct sim_op *op)
{
	struct fabric_nic *giver = op->kind == SIM_READ ? op->to : op->from;
	struct fabric_nic *taker = op->kind == SIM_READ ? op->from : op->to;
	int64_t start = giver->tx_free > world.now ? giver->tx_free : world.now;

	giver->tx_free = start + op->len * giver->ns_per_byte;
	if (taker->rx_free < giver->tx_free)
		taker->rx_free = giver->tx_free;
	if (taker->ns_per_byte > giver->ns_per_byte)
		taker->rx_free += op->len * (taker->ns_per_byte - giver->ns_per_byte);
	return taker->rx_free + giver->latency - world.now;
}

static void cut_up(struct sim_op *op)
{
	uint64_t most = op->len < SIM_PARTS ? op->len : SIM_PARTS;

	op->parts = 1 + (most > 1 ? dice_roll(&world.dice, most) : 0);
	for (unsigned int i = 0; i <= op->parts; i++)
		op->cut[i] = op->len * i / op->parts;
	op->land = op->parts;
	if (op->fate.error) /* then some, none or all */
		op->land = dice_roll(&world.dice, op->parts + 1);
	op->left = op->land;
}

static void choose_manner(struct sim_op *op)
{
	if (op->kind == SIM_SEND || op->fate.error || !(faults.kinds & FAULT_EMULATED))
		return;
	op->manner = op->kind == SIM_WRITE && !op->delivered && dice_chance(&world.dice, 60)
	                     ? BY_COPY
	                     : BY_TARGET;
	if (op->manner == BY_TARGET)
		return;
	op->copy = malloc(op->len);
	if (!op->copy)
		abort();
	memcpy(op->copy, op->local, op->len);
	end_soon(op, jitter(op) / 8 + 500);
}

static void send_parts(struct sim_op *op, int64_t time)
{
	unsigned int first = dice_roll(&world.dice, op->parts);
	int64_t early = time > 2 * US ? time / 2 : time;

	for (unsigned int i = 0; i < op->land; i++)
		later(early + dice_roll(&world.dice, time - early + 1) + jitter(op) +
		              (op->fate.late ? world_span(&world.dice, 10 * US, 20 * MS) : 0),
		      land, op, (first + i) % op->parts);
	if (op->fate.late || !op->land)
		end_soon(op, time + jitter(op));
}

void travel_start(struct sim_op *op)
{
	static const char *const kinds[] = {
		[SIM_SEND] = "message", [SIM_READ] = "read", [SIM_WRITE] = "write"};
	int64_t time;

	world_trace("rail %u.%u to %u.%u: %s of %llu bytes%s%s", op->from->rank, op->from->index,
	            op->to->rank, op->to->index, kinds[op->kind], (unsigned long long)op->len,
	            op->from->dead ? ", of a dead host" : "",
	            op->to_life != op->to->end.life ? ", to an address of before" : "");
	if (op->from->dead) {
		op->dropped = true;
		complete(op, -ECONNABORTED);
		return;
	}
	faults_choose_fate(op);
	cut_up(op);
	choose_manner(op);
	time = transfer_time(op);
	if (op->kind == SIM_SEND && op->fate.error)
		end_soon(op, time);
	else if (op->kind == SIM_SEND || op->manner != BY_DEVICE)
		later(time + jitter(op), reach, op, 0);
	else
		send_parts(op, time);
}

void travel_shut(struct fabric_nic *nic)
{
	struct sim_op *op, *next;

	for (op = TAILQ_FIRST(&sim.flying); op; op = next) {
		next = TAILQ_NEXT(op, all);
		if (op->from != nic || op->from_life != nic->end.life || op->ended)
			continue;
		op->ended = true;
		unref(op);
	}
}

void travel_kill(struct fabric_nic *nic)
{
	struct sim_op *op, *next;

	for (op = TAILQ_FIRST(&sim.flying); op; op = next) {
		next = TAILQ_NEXT(op, all);
		if (op->from != nic || op->ended)
			continue;
		op->dropped = true;
		complete(op, -ECONNABORTED);
	}
}

void travel_close(void)
{
	struct sim_op *op, *next;

	for (op = TAILQ_FIRST(&sim.flying); op; op = next) {
		next = TAILQ_NEXT(op, all);
		forget(op);
	}
}
