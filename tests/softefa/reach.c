/* SPDX-License-Identifier: MIT
 * Whether an operation's target can be had now: what the NICs on the way say, and the queue pair at
 * its end. */
#include "reach.h"
#include "copy.h"
#include "process.h"
#include <errno.h>

#define PARK      2000000u  /* ns; how often a silent NIC is looked at again */
#define ALIVE_FOR 50000000u /* ns; how long it is believed that a process lives */

/* Per peer process, when it was last seen alive. */
static uint64_t seen_alive[MAX_PROCS];

enum land_result land_fail(struct op *op, enum efa_status status)
{
	op->status = status;
	return LAND_FAILED;
}

/* The process is seen to be dead by this one; how long that takes to be known begins with the
 * first who sees it. */
static void note_death(struct shm_proc *proc, uint64_t now)
{
	uint64_t not_yet = 0;

	atomic_compare_exchange_strong(&proc->gone_at, &not_yet, now);
}

static bool is_dead(uint32_t p, uint64_t now)
{
	struct shm_proc *proc = &process.shm->proc[p];

	if (!proc->gone_at && now - seen_alive[p] > ALIVE_FOR) {
		if (proc_is_alive(proc))
			seen_alive[p] = now;
		else
			note_death(proc, now);
	}
	return proc->gone_at;
}

static enum land_result wait_for_death(struct op *op, uint32_t p, uint64_t now, uint64_t *again)
{
	*again = process.shm->proc[p].gone_at + process.shm->config.dead_ns;
	return *again > now ? LAND_AGAIN : land_fail(op, EFA_UNRESPONSIVE);
}

enum land_result reach_nics(struct op *op, uint64_t now, uint64_t *again)
{
	uint32_t own = op_nic(op)->state;
	uint32_t peer = op_peer_nic(op)->state;

	if (own == NIC_DOWN)
		return land_fail(op, EFA_UNREACHABLE);
	if (peer == NIC_DOWN)
		return land_fail(op, EFA_UNRESPONSIVE);
	*again = now + PARK;
	return own == NIC_BLACKHOLE || peer == NIC_BLACKHOLE ? LAND_AGAIN : LAND_DONE;
}

enum land_result reach_hold(struct op *op, uint64_t now, uint64_t *again)
{
	uint32_t slot = qp_slot(op->qpn), host = op->address / MAX_NICS;
	const struct shm_qp *qp = &process.shm->qp[slot];

	atomic_store(&process_self()->held_qp, slot + 1);
	if (atomic_load(&qp->state) != SLOT_LIVE || qp_number(slot) != op->qpn ||
	    qp->host != host || qp->nic != op->address % MAX_NICS || qp->qkey != op->qkey)
		return land_fail(op, EFA_REMOTE_BAD_QPN);
	if (is_dead(qp->proc, now))
		return wait_for_death(op, qp->proc, now, again);
	if (op->kind != OP_SEND && !proc_knows(&process.shm->proc[qp->proc], qp->nic,
	                                       ADDRESS(process.host, op->qp->context->nic)))
		return land_fail(op, EFA_UNKNOWN_PEER);
	return LAND_DONE;
}

void reach_release(void)
{
	atomic_store_explicit(&process_self()->held_qp, 0, memory_order_release);
}

enum land_result reach_lost(struct op *op, int rc, enum efa_status status, uint64_t now,
                            uint64_t *again)
{
	uint32_t p = process.shm->qp[qp_slot(op->qpn)].proc;

	if (rc == NO_OWN_MEMORY)
		return land_fail(op, EFA_INVALID_LKEY);
	if (rc != ESRCH)
		return land_fail(op, status);
	note_death(&process.shm->proc[p], now);
	return wait_for_death(op, p, now, again);
}
