/* SPDX-License-Identifier: MIT
 * How bytes get from one process into another: with process_vm_writev and its sister, straight
 * into memory, in pieces that lie all over the operation. The other process takes no part in it,
 * as with a NIC; it may be stopped. */
#include "land.h"
#include "copy.h"
#include "engine.h"
#include "memory.h"
#include "reach.h"
#include <errno.h>

#define PPM 1000000u

static uint32_t common_divisor(uint32_t a, uint32_t b)
{
	uint32_t rest;

	for (; b; b = rest) {
		rest = a % b;
		a = b;
	}
	return a;
}

/* A step that visits every piece once. */
static uint32_t choose_step(uint32_t pieces)
{
	uint32_t step;

	if (pieces < 3)
		return 1;
	do {
		step = 1 + engine_random(pieces - 1);
	} while (common_divisor(step, pieces) != 1);
	return step;
}

static bool meets_fault(const struct op *op)
{
	uint32_t own = op_nic(op)->error_ppm;
	uint32_t peer = op_peer_nic(op)->error_ppm;

	return (own && engine_random(PPM) < own) || (peer && engine_random(PPM) < peer);
}

void land_prepare(struct op *op)
{
	op->pieces = op->len ? (op->len - 1) / MTU + 1 : 1;
	op->step = choose_step(op->pieces);
	op->shift = engine_random(op->pieces);
	op->parts = (op->pieces - 1) / PIECES_PER_PART + 1;
	op->order = op->qp->order[qp_slot(op->qpn)]++;
	/* All of it may have got there, and the news be lost. */
	if (op->address != NO_ADDRESS && meets_fault(op))
		op->fail_at = engine_random(op->parts + 1);
}

/* The n-th piece to land: its offset; its length in *len. */
static uint32_t piece_at(const struct op *op, uint32_t n, uint32_t *len)
{
	uint32_t piece = (uint32_t)(((uint64_t)n * op->step + op->shift) % op->pieces);
	uint32_t offset = piece * MTU;

	*len = op->len - offset < MTU ? op->len - offset : MTU;
	return offset;
}

static uint32_t part_end(const struct op *op, uint32_t part)
{
	uint32_t end = (part + 1) * PIECES_PER_PART;

	return end < op->pieces ? end : op->pieces;
}

uint32_t land_part_bytes(const struct op *op, uint32_t part)
{
	uint32_t bytes = 0, len;

	for (uint32_t n = part * PIECES_PER_PART; n < part_end(op, part); n++) {
		piece_at(op, n, &len);
		bytes += len;
	}
	return bytes;
}

/* 0 or errno. */
static int copy_part(struct op *op, uint32_t part, const struct iovec *own, uint64_t base)
{
	struct copy copy = {.owns = 0};
	uint32_t offset, len;
	int rc;

	for (uint32_t n = part * PIECES_PER_PART; n < part_end(op, part); n++) {
		offset = piece_at(op, n, &len);
		copy.owns += copy_cut(own, offset, len, copy.own + copy.owns);
		copy.peer[copy.peers++] = (struct iovec){(void *)(uintptr_t)(base + offset), len};
		copy.bytes += len;
	}
	rc = copy_run(&copy, process.shm->qp[qp_slot(op->qpn)].proc, op->kind == OP_READ);
	if (!rc)
		copy_count(op, copy.bytes);
	return rc;
}

/* With the target's memory held. 0 or errno: EFAULT if it is not to be had. */
static int copy_to_target(struct op *op, uint32_t part, const struct iovec *own)
{
	const struct shm_qp *qp = &process.shm->qp[qp_slot(op->qpn)];
	const struct memory_use use = {
		.key = op->rkey,
		.access = op->kind == OP_READ ? IBV_ACCESS_REMOTE_READ : IBV_ACCESS_REMOTE_WRITE,
		.addr = op->remote_addr,
		.len = op->len,
		.proc = qp->proc,
		.nic = qp->nic,
	};
	uint64_t base;
	int rc;

	if (!op->len)
		return 0;
	if (!memory_hold(&use, SEND_SGES, &base))
		return EFAULT;
	rc = copy_part(op, part, own, base);
	memory_release(SEND_SGES);
	return rc;
}

/* With the queue pair held. */
static enum land_result land_held(struct op *op, uint32_t part, uint64_t now, uint64_t *again)
{
	struct iovec own[SEND_SGES];
	int rc = NO_OWN_MEMORY;

	if (copy_hold_own(op, own))
		rc = copy_to_target(op, part, own);
	copy_release_own();
	return rc ? reach_lost(op, rc, EFA_REMOTE_BAD_ADDRESS, now, again) : LAND_DONE;
}

enum land_result land_part(struct op *op, uint32_t part, uint64_t now, uint64_t *again)
{
	enum land_result result;

	if (op->landed >= op->fail_at)
		return land_fail(op, EFA_REMOTE_ABORT);
	result = reach_nics(op, now, again);
	if (result != LAND_DONE || op->kind == OP_SEND)
		return result; /* a message lands where its receive says, all of it at once */
	result = reach_hold(op, now, again);
	if (result == LAND_DONE)
		result = land_held(op, part, now, again);
	reach_release();
	return result;
}
