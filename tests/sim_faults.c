/* SPDX-License-Identifier: MIT
 * What goes wrong in one seed's world: a plan made before it begins. */
#include "sim_faults.h"
#include "sim_fabric.h"
#include "sim_ranks.h"
#include "sim_world.h"
#include <errno.h>
#include <string.h>

struct faults faults;

static const struct {
	enum fault fault;
	unsigned int percent; /* of the seeds that may have faults at all; 0: no roll decides */
	const char *name, *help;
} kinds[] = {
	{FAULT_AGAIN, 40, "again", "posts are refused with -EAGAIN, at random"},
	{FAULT_SLOW, 30, "slow", "a rail gets slower, and perhaps fast again"},
	{FAULT_DUPLICATE, 40, "duplicate", "an immediate arrives several times"},
	{FAULT_EMULATED, 40, "emulated", "writes and reads need the target to poll"},
	{FAULT_PAUSE, 30, "pause", "a rank stands still for a while"},
	{FAULT_CANCEL, 50, "cancel", "requests are cancelled"},
	{FAULT_ERROR, 30, "error", "pieces fail, with none, some or all bytes landed"},
	{FAULT_LATE, 50, "late", "bytes of a failed piece land after its error"},
	{FAULT_SEND_ERROR, 15, "send-error", "messages fail"},
	{FAULT_DOWN, 30, "down", "a rail fails all operations, and perhaps comes back"},
	{FAULT_HOLE, 30, "hole", "a rail swallows all operations, and perhaps lets them go"},
	{FAULT_FLAP, 20, "flap", "a rail comes and goes"},
	{FAULT_LOST_END, 20, "lost-end", "bytes land, and the completion is lost"},
	{FAULT_LOST_ARRIVAL, 20, "lost-arrival", "bytes land, and the immediate is lost"},
	{FAULT_TARGET_ERROR, 20, "target-error", "only the target hears of a failure"},
	{FAULT_DEATH, 20, "death", "a rank dies"},
	{FAULT_STRAY, 50, "stray", "a shut endpoint's emulated writes still land at the target"},
	{FAULT_DEAF, 100, "deaf", "ranks pause while messages to them fail, too"},
	{FAULT_FAILOVER, 100, "failover", "no error may reach the user while a rail is left"},
	{FAULT_EFA, 0, "efa", "endpoints that cannot be shut while anything is in flight"},
	{FAULT_MEMORY, 0, "memory", "a rail that fails may get no new endpoint"},
};

/* Those that may strike any rail at any time, and so all of them at once. */
#define FAULTS_ANYWHERE (FAULT_ERROR | FAULT_LOST_END | FAULT_LOST_ARRIVAL | FAULT_TARGET_ERROR)
#define FAULTS_OF_RAILS (FAULT_DOWN | FAULT_HOLE | FAULT_FLAP)

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

/* Left out: failover. Where rails fail on both sides at once and others swallow what they are
 * given, a peer that has a sound rail is now and then taken for dead. */
const uint32_t faults_survived = FAULT_ALL;

/* One rail's change of state, or a rank's. */
static void on_rail(void *arg, unsigned int state)
{
	struct fabric_nic *nic = arg;

	world.faults++;
	nic_set_state(nic, state);
}

static void on_rate(void *arg, unsigned int ns_per_kib)
{
	struct fabric_nic *nic = arg;

	world.faults++;
	world_trace("rail %u.%u takes %u ns per KiB", nic->rank, nic->index, ns_per_kib);
	nic->ns_per_byte = ns_per_kib / 1024.0;
}

static void on_pause(void *arg, unsigned int us)
{
	struct sim_rank *rank = arg;

	world.faults++;
	world_trace("rank %u pauses for %u us", rank->number, us);
	rank->paused_until = world.now + us * US;
}

static void on_death(void *arg, unsigned int detail)
{
	struct sim_rank *rank = arg;

	(void)detail;
	world.faults++;
	ranks_kill(rank);
}

static struct fabric_nic *some_rail(struct dice *dice)
{
	unsigned int rank = dice_roll(dice, ranks_count);

	return &sim.nic[rank][dice_roll(dice, sim.rails[rank])];
}

static int64_t some_moment(struct dice *dice)
{
	return world.now + world_span(dice, 10 * US, 30 * MS);
}

static void plan_slow(struct dice *dice)
{
	struct fabric_nic *nic = some_rail(dice);
	unsigned int rate = nic->ns_per_byte * 1024;
	int64_t at = some_moment(dice);

	world_at(at, on_rate, nic, rate * (2 + dice_roll(dice, 40)));
	if (dice_chance(dice, 50))
		world_at(at + world_span(dice, 100 * US, 100 * MS), on_rate, nic, rate);
}

static void plan_outage(struct dice *dice, enum nic_state state)
{
	struct fabric_nic *nic = some_rail(dice);
	int64_t at = some_moment(dice);

	faults.wounded[nic->rank] |= 1u << nic->index;
	world_at(at, on_rail, nic, state);
	if (dice_chance(dice, 60))
		world_at(at + world_span(dice, 10 * US, 2 * S), on_rail, nic, NIC_UP);
}

static void plan_flapping(struct dice *dice)
{
	struct fabric_nic *nic = some_rail(dice);
	int64_t at = some_moment(dice), period = world_span(dice, 50 * US, 500 * MS);
	unsigned int times = 1 + dice_roll(dice, 8);

	faults.wounded[nic->rank] |= 1u << nic->index;
	for (unsigned int i = 0; i < times; i++, at += 2 * period) {
		world_at(at, on_rail, nic, dice_chance(dice, 50) ? NIC_DOWN : NIC_HOLE);
		world_at(at + period, on_rail, nic, NIC_UP);
	}
}

static void plan_pause(struct dice *dice)
{
	struct sim_rank *rank = &ranks[dice_roll(dice, ranks_count)];

	world_at(some_moment(dice), on_pause, rank, world_span(dice, 50, 3000000));
}

static void plan_death(struct dice *dice)
{
	unsigned int rank = dice_roll(dice, ranks_count);

	faults.mortal |= 1u << rank;
	world_at(some_moment(dice), on_death, &ranks[rank], 0);
}

static void plan_events(struct dice *dice)
{
	unsigned int times;

	for (times = dice_roll(dice, 4); faults.kinds & FAULT_SLOW && times; times--)
		plan_slow(dice);
	for (times = dice_roll(dice, 4); faults.kinds & FAULT_DOWN && times; times--)
		plan_outage(dice, NIC_DOWN);
	for (times = dice_roll(dice, 4); faults.kinds & FAULT_HOLE && times; times--)
		plan_outage(dice, NIC_HOLE);
	for (times = dice_roll(dice, 3); faults.kinds & FAULT_FLAP && times; times--)
		plan_flapping(dice);
	for (times = dice_roll(dice, 4); faults.kinds & FAULT_PAUSE && times; times--)
		plan_pause(dice);
	if (faults.kinds & FAULT_DEATH)
		plan_death(dice);
}

static unsigned int rate_if(struct dice *dice, enum fault kind, unsigned int most)
{
	unsigned int rate = 1 + dice_roll(dice, most);

	return faults.kinds & kind ? rate : 0;
}

void faults_plan(uint32_t mask)
{
	struct dice dice = world_dice(1);
	bool calm = dice_chance(&dice, 15);

	for (size_t i = 0; i < KINDS; i++) {
		/* Each roll is made, so that a kind left out changes nothing else. */
		bool chosen = kinds[i].percent && dice_chance(&dice, kinds[i].percent);

		if (chosen && (!calm || kinds[i].fault == FAULT_FAILOVER))
			faults.kinds |= kinds[i].fault & mask;
	}
	faults.kinds |= mask & FAULT_MEMORY;
	/* Each operation ends, unless a NIC on its way is silent, and no message fails but by a
	 * NIC. */
	if (sim.stays)
		faults.kinds &= ~(FAULT_LOST_END | FAULT_TARGET_ERROR | FAULT_SEND_ERROR);
	if (faults.kinds & FAULT_PAUSE && !(faults.kinds & FAULT_DEAF))
		faults.kinds &= ~FAULT_SEND_ERROR;
	faults.again = rate_if(&dice, FAULT_AGAIN, 40);
	faults.duplicates = rate_if(&dice, FAULT_DUPLICATE, 30);
	faults.errors = rate_if(&dice, FAULT_ERROR, 60);
	faults.send_errors = rate_if(&dice, FAULT_SEND_ERROR, 60);
	faults.lost_ends = rate_if(&dice, FAULT_LOST_END, 30);
	faults.lost_arrivals = rate_if(&dice, FAULT_LOST_ARRIVAL, 30);
	faults.target_errors = rate_if(&dice, FAULT_TARGET_ERROR, 60);
	plan_events(&dice);
}

static bool strikes(unsigned int per_mille)
{
	if (!per_mille || dice_roll(&world.dice, 1000) >= per_mille)
		return false;
	world.faults++;
	return true;
}

bool faults_refuse_endpoint(const struct fabric_nic *nic)
{
	return faults.kinds & FAULT_MEMORY && faults.wounded[nic->rank] >> nic->index & 1 &&
	       dice_chance(&sim.dice, 20);
}

void faults_choose_fate(struct sim_op *op)
{
	unsigned int errors = op->kind == SIM_SEND ? faults.send_errors : faults.errors;

	if (strikes(errors)) {
		op->fate.error = dice_chance(&world.dice, 50) ? -EIO : -ETIMEDOUT;
		op->fate.late = faults.kinds & FAULT_LATE && dice_chance(&world.dice, 50);
		op->fate.lost_arrival = dice_chance(&world.dice, 50);
		return;
	}
	op->fate.lost_end = strikes(faults.lost_ends);
	op->fate.lost_arrival = strikes(faults.lost_arrivals);
	op->fate.target_error = strikes(faults.target_errors);
	while (op->notify && op->fate.duplicates < 4 && strikes(faults.duplicates * 10))
		op->fate.duplicates++;
}

static bool has_sound_rail(unsigned int rank)
{
	return faults.wounded[rank] != (1u << sim.rails[rank]) - 1;
}

bool faults_excuse(unsigned int rank, unsigned int targets, int error)
{
	unsigned int all = targets | 1u << rank;
	bool sound = true;

	for (unsigned int i = 0; i < ranks_count; i++)
		sound &= !(all >> i & 1) || has_sound_rail(i);
	if (!sound || all & faults.mortal || faults.kinds & FAULTS_ANYWHERE)
		return error == -EHOSTUNREACH || !(faults.kinds & FAULT_FAILOVER);
	return faults.kinds & FAULTS_OF_RAILS && !(faults.kinds & FAULT_FAILOVER);
}

bool faults_are_mild(void)
{
	return !(faults.kinds & (FAULTS_OF_RAILS | FAULT_DEATH | FAULT_LOST_END |
	                         FAULT_LOST_ARRIVAL | FAULT_TARGET_ERROR));
}

bool faults_parse(const char *list, uint32_t *mask)
{
	char copy[512], *save, *token;
	size_t i;

	*mask = 0;
	snprintf(copy, sizeof(copy), "%s", list);
	for (token = strtok_r(copy, ",", &save); token; token = strtok_r(NULL, ",", &save)) {
		for (i = 0; i < KINDS && strcmp(token, kinds[i].name); i++)
			;
		if (i < KINDS)
			*mask |= kinds[i].fault;
		else if (!strcmp(token, "all"))
			*mask |= FAULT_ALL;
		else if (!strcmp(token, "survived"))
			*mask |= faults_survived;
		else if (strcmp(token, "none"))
			return false;
	}
	return true;
}

void faults_help(void)
{
	for (size_t i = 0; i < KINDS; i++)
		printf("  %-13s %s%s\n", kinds[i].name, kinds[i].help,
		       kinds[i].fault & faults_survived ? "" : " (not by default)");
}
