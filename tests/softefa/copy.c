/* SPDX-License-Identifier: MIT
 * Copies between an operation's own memory and another process's. */
#include "copy.h"
#include "memory.h"
#include <errno.h>

bool copy_hold_own(const struct op *op, struct iovec own[SEND_SGES])
{
	struct memory_use use = {.proc = process.slot, .nic = op->qp->context->nic};
	uint64_t addr;

	if (op->is_inline) {
		own[0] = (struct iovec){(void *)op->inline_data, op->len};
		return true;
	}
	for (uint32_t i = 0; i < op->sges; i++) {
		use.key = op->sge[i].lkey;
		use.addr = op->sge[i].addr;
		use.len = op->sge[i].len;
		if (op->kind == OP_READ)
			use.access = IBV_ACCESS_LOCAL_WRITE;
		if (!memory_hold(&use, i, &addr))
			return false;
		own[i] = (struct iovec){(void *)(uintptr_t)addr, use.len};
	}
	return true;
}

void copy_release_own(void)
{
	for (uint32_t i = 0; i < SEND_SGES; i++)
		memory_release(i);
}

uint32_t copy_cut(const struct iovec *from, uint32_t offset, uint32_t len, struct iovec *out)
{
	uint32_t n = 0, part;

	for (; len; from++) {
		if (offset >= from->iov_len) {
			offset -= from->iov_len;
			continue;
		}
		part = from->iov_len - offset < len ? (uint32_t)from->iov_len - offset : len;
		out[n++] = (struct iovec){(char *)from->iov_base + offset, part};
		len -= part;
		offset = 0;
	}
	return n;
}

int copy_run(const struct copy *copy, uint32_t p, bool is_read)
{
	int pid = process.shm->proc[p].pid;
	ssize_t n;

	if (!copy->bytes)
		return 0;
	n = is_read ? process_vm_readv(pid, copy->own, copy->owns, copy->peer, copy->peers, 0)
	            : process_vm_writev(pid, copy->own, copy->owns, copy->peer, copy->peers, 0);
	if (n == (ssize_t)copy->bytes)
		return 0;
	return n < 0 ? errno : EFAULT;
}

void copy_count(const struct op *op, uint32_t bytes)
{
	struct shm_nic *own = op_nic(op);
	struct shm_nic *peer = op_peer_nic(op);

	atomic_fetch_add(op->kind == OP_READ ? &peer->tx.bytes : &own->tx.bytes, bytes);
	atomic_fetch_add(op->kind == OP_READ ? &own->rx.bytes : &peer->rx.bytes, bytes);
}
