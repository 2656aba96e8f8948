/* SPDX-License-Identifier: MIT
 * Who is told when an operation's bytes are there: the receiver, by a receive that it has posted
 * or without one, and the initiator. */
#include "copy.h"
#include "memory.h"
#include "reach.h"
#include <errno.h>

#define RNR_PAUSE    50000u /* ns before a receiver that was not ready is asked again */
#define RNR_TRIES    8u     /* for each of the queue pair's retries */
#define RNR_FOR_EVER 7u     /* its number of retries that means no end */

/* Takes the oldest receive of a queue pair; false: none is posted. Anybody may take it from under
 * us while we read it, and then the head has moved. */
static bool take_receive(uint32_t slot, struct shm_rwqe *out)
{
	struct shm_qp *qp = &process.shm->qp[slot];
	uint32_t head = atomic_load(&qp->head);

	do {
		if (head == atomic_load(&qp->tail))
			return false;
		*out = process.shm->receives[slot][head & (qp->rq_size - 1)];
	} while (!atomic_compare_exchange_weak(&qp->head, &head, head + 1));
	return true;
}

/* Copies a message into a receive's buffers. 0 or errno. */
static int fill_receive(const struct op *op, const struct shm_rwqe *wqe, const struct iovec *own)
{
	const struct shm_qp *qp = &process.shm->qp[qp_slot(op->qpn)];
	struct memory_use use = {
		.access = IBV_ACCESS_LOCAL_WRITE, .proc = qp->proc, .nic = qp->nic};
	uint32_t done = 0;
	uint64_t addr;
	int rc = 0;

	for (uint32_t i = 0; !rc && done < op->len; i++) {
		struct copy copy = {.peers = 1, .bytes = op->len - done};

		use.key = wqe->sge[i].lkey;
		use.addr = wqe->sge[i].addr;
		use.len = wqe->sge[i].len;
		if (use.len < copy.bytes)
			copy.bytes = (uint32_t)use.len;
		copy.owns = copy_cut(own, done, copy.bytes, copy.own);
		if (!memory_hold(&use, SEND_SGES, &addr))
			return EFAULT;
		copy.peer[0] = (struct iovec){(void *)(uintptr_t)addr, copy.bytes};
		rc = copy_run(&copy, qp->proc, false);
		memory_release(SEND_SGES);
		done += copy.bytes;
	}
	return rc;
}

/* An arrival behind a later one of the same sender's is out of order. */
static void count_arrival(const struct op *op)
{
	struct shm_nic *nic = op_peer_nic(op);
	uint32_t *newest = &op->qp->delivered[qp_slot(op->qpn)];

	atomic_fetch_add(&nic->arrivals, 1);
	if ((int32_t)(op->order + 1 - *newest) < 0)
		atomic_fetch_add(&nic->reordered, 1);
	else
		*newest = op->order + 1;
}

static void tell_receiver(const struct op *op, const struct shm_rwqe *wqe, enum efa_status status)
{
	const struct shm_cqe cqe = {
		.wr_id = wqe ? wqe->wr_id : 0,
		.status = status,
		.opcode = op->kind == OP_WRITE ? IBV_WC_RECV_RDMA_WITH_IMM : IBV_WC_RECV,
		.flags = op->has_imm ? IBV_WC_WITH_IMM : 0,
		.len = op->len,
		.imm = op->imm,
		.qpn = op->qpn,
		.src_qpn = op->qp->ibv.qp_base.qp_num,
		.src_host = (uint8_t)process.host,
		.src_nic = (uint8_t)op->qp->context->nic,
		.is_arrival = 1,
		.is_unsolicited = !wqe,
	};

	count_arrival(op);
	cq_push(process.shm->qp[qp_slot(op->qpn)].recv_cq, &cqe);
}

static enum land_result not_ready(struct op *op, uint64_t now, uint64_t *again)
{
	atomic_fetch_add(&op_nic(op)->rnr, 1);
	*again = now + RNR_PAUSE;
	if (op->qp->rnr_retry == RNR_FOR_EVER || op->tries++ < RNR_TRIES * op->qp->rnr_retry)
		return LAND_AGAIN;
	return land_fail(op, EFA_REMOTE_RNR);
}

static enum land_result deliver_message(struct op *op, const struct shm_rwqe *wqe, uint64_t now,
                                        uint64_t *again)
{
	struct iovec own[SEND_SGES];
	int rc = NO_OWN_MEMORY;

	if (wqe->len < op->len) {
		tell_receiver(op, wqe, EFA_BAD_LENGTH);
		return land_fail(op, EFA_REMOTE_BAD_LENGTH);
	}
	if (copy_hold_own(op, own))
		rc = fill_receive(op, wqe, own);
	copy_release_own();
	if (!rc)
		copy_count(op, op->len);
	if (rc != NO_OWN_MEMORY && rc != ESRCH)
		tell_receiver(op, wqe, rc ? EFA_INVALID_LKEY : EFA_OK);
	return rc ? reach_lost(op, rc, EFA_REMOTE_ABORT, now, again) : LAND_DONE;
}

static enum land_result deliver_held(struct op *op, uint64_t now, uint64_t *again)
{
	const struct shm_qp *qp = &process.shm->qp[qp_slot(op->qpn)];
	struct shm_rwqe wqe;

	if (op->kind == OP_WRITE && qp->unsolicited) {
		tell_receiver(op, NULL, EFA_OK);
		return LAND_DONE;
	}
	if (!take_receive(qp_slot(op->qpn), &wqe))
		return not_ready(op, now, again);
	if (op->kind == OP_SEND)
		return deliver_message(op, &wqe, now, again);
	tell_receiver(op, &wqe, EFA_OK);
	return LAND_DONE;
}

enum land_result land_deliver(struct op *op, uint64_t now, uint64_t *again)
{
	enum land_result result;

	if (op->kind != OP_SEND && !op->has_imm)
		result = LAND_DONE;
	else if ((result = reach_nics(op, now, again)) == LAND_DONE &&
	         (result = reach_hold(op, now, again)) == LAND_DONE)
		result = deliver_held(op, now, again);
	reach_release();
	if (result == LAND_DONE && op->landed >= op->fail_at)
		return land_fail(op, EFA_REMOTE_ABORT);
	return result;
}

static void count_op(const struct op *op)
{
	struct shm_nic *nic = op_nic(op);

	if (op->status != EFA_OK)
		atomic_fetch_add(&nic->failed, 1);
	else if (op->kind == OP_READ)
		atomic_fetch_add(&nic->reads, 1);
	else
		atomic_fetch_add(op->kind == OP_SEND ? &nic->sends : &nic->writes, 1);
}

void land_complete(const struct op *op)
{
	const struct shm_cqe cqe = {
		.wr_id = op->wr_id,
		.status = op->status,
		/* The driver's own way: a read ends as a send does. */
		.opcode = op->kind == OP_WRITE ? IBV_WC_RDMA_WRITE : IBV_WC_SEND,
		.len = op->len,
		.qpn = op->qp->ibv.qp_base.qp_num,
	};

	count_op(op);
	cq_push(op->qp->send_cq->slot, &cqe);
}
