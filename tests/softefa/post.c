/* SPDX-License-Identifier: MIT
 * Posting: work requests as the provider builds them, one call per property, or as lists. */
#include "engine.h"
#include "objects.h"
#include <errno.h>
#include <string.h>

static struct qp *qp_of(struct ibv_qp_ex *ibv)
{
	return container_of(ibv, struct qp, ibv);
}

static void set_error(struct qp *qp, int error)
{
	if (!qp->build_error)
		qp->build_error = error;
}

static void wr_start(struct ibv_qp_ex *ibv)
{
	struct qp *qp = qp_of(ibv);

	pthread_mutex_lock(&qp->lock);
	qp->build_error = 0;
	qp->current = NULL;
}

/* Takes a place among the posted sends, which polling the completion frees. */
static struct op *add(struct qp *qp, enum op_kind kind, uint64_t wr_id)
{
	struct op *op = NULL;

	if (atomic_fetch_add(&qp->send_used, 1) < qp->send_limit)
		op = engine_take(qp);
	if (!op) {
		qp->send_used--;
		set_error(qp, ENOMEM);
		return NULL;
	}
	op->kind = kind;
	op->wr_id = wr_id;
	STAILQ_INSERT_TAIL(&qp->building, op, link);
	qp->current = op;
	return op;
}

/* The request that the setters speak of: none after an error. */
static struct op *current(struct ibv_qp_ex *ibv)
{
	struct qp *qp = qp_of(ibv);

	return qp->build_error ? NULL : qp->current;
}

static void wr_send(struct ibv_qp_ex *ibv)
{
	add(qp_of(ibv), OP_SEND, ibv->wr_id);
}

static void set_imm(struct op *op, __be32 imm)
{
	if (!op)
		return;
	op->has_imm = true;
	op->imm = imm;
}

static void wr_send_imm(struct ibv_qp_ex *ibv, __be32 imm)
{
	set_imm(add(qp_of(ibv), OP_SEND, ibv->wr_id), imm);
}

static struct op *add_rdma(struct ibv_qp_ex *ibv, enum op_kind kind, uint32_t rkey, uint64_t addr)
{
	struct op *op = NULL;
	uint32_t cap = kind == OP_READ ? CAP_READ : CAP_WRITE;

	if (process.shm->config.caps & cap)
		op = add(qp_of(ibv), kind, ibv->wr_id);
	else
		set_error(qp_of(ibv), EOPNOTSUPP);
	if (op) {
		op->rkey = rkey;
		op->remote_addr = addr;
	}
	return op;
}

static void wr_rdma_read(struct ibv_qp_ex *ibv, uint32_t rkey, uint64_t addr)
{
	add_rdma(ibv, OP_READ, rkey, addr);
}

static void wr_rdma_write(struct ibv_qp_ex *ibv, uint32_t rkey, uint64_t addr)
{
	add_rdma(ibv, OP_WRITE, rkey, addr);
}

static void wr_rdma_write_imm(struct ibv_qp_ex *ibv, uint32_t rkey, uint64_t addr, __be32 imm)
{
	set_imm(add_rdma(ibv, OP_WRITE, rkey, addr), imm);
}

static void set_target(struct op *op, struct ibv_ah *ah, uint32_t qpn, uint32_t qkey)
{
	op->address = ah ? container_of(ah, struct handle, ibv)->address : NO_ADDRESS;
	op->qpn = qpn;
	op->qkey = qkey;
}

static void wr_set_ud_addr(struct ibv_qp_ex *ibv, struct ibv_ah *ah, uint32_t qpn, uint32_t qkey)
{
	struct op *op = current(ibv);

	if (op)
		set_target(op, ah, qpn, qkey);
}

static int set_sges(struct op *op, size_t n, const struct ibv_sge *sges)
{
	if (n > SEND_SGES)
		return EINVAL;
	for (size_t i = 0; i < n; i++) {
		op->sge[i] = (struct shm_sge){sges[i].addr, sges[i].length, sges[i].lkey};
		op->len += sges[i].length;
	}
	op->sges = (uint32_t)n;
	return op->len > (op->kind == OP_SEND ? MTU : RDMA_MAX) ? EINVAL : 0;
}

static void wr_set_sge_list(struct ibv_qp_ex *ibv, size_t n, const struct ibv_sge *sges)
{
	struct op *op = current(ibv);
	int rc = op ? set_sges(op, n, sges) : 0;

	if (rc)
		set_error(qp_of(ibv), rc);
}

static void wr_set_sge(struct ibv_qp_ex *ibv, uint32_t lkey, uint64_t addr, uint32_t len)
{
	const struct ibv_sge sge = {.addr = addr, .length = len, .lkey = lkey};

	wr_set_sge_list(ibv, 1, &sge);
}

static int add_inline(struct op *op, const void *data, size_t len)
{
	if (op->kind != OP_SEND || len > INLINE_MAX - op->len)
		return EINVAL;
	memcpy(op->inline_data + op->len, data, len);
	op->len += (uint32_t)len;
	op->is_inline = true;
	return 0;
}

static void wr_set_inline_data_list(struct ibv_qp_ex *ibv, size_t n,
                                    const struct ibv_data_buf *bufs)
{
	struct op *op = current(ibv);
	int rc = 0;

	for (size_t i = 0; op && !rc && i < n; i++)
		rc = add_inline(op, bufs[i].addr, bufs[i].length);
	if (rc)
		set_error(qp_of(ibv), rc);
}

static void wr_set_inline_data(struct ibv_qp_ex *ibv, void *addr, size_t len)
{
	const struct ibv_data_buf buf = {.addr = addr, .length = len};

	wr_set_inline_data_list(ibv, 1, &buf);
}

/* All that was built is posted, or none of it. */
static int post(struct qp *qp, int error)
{
	struct op *op;

	if (!error) {
		engine_submit(qp, &qp->building);
		return 0;
	}
	STAILQ_FOREACH(op, &qp->building, link)
	qp->send_used--;
	engine_give_back(&qp->building);
	return error;
}

static int wr_complete(struct ibv_qp_ex *ibv)
{
	struct qp *qp = qp_of(ibv);
	int rc = post(qp, qp->build_error);

	pthread_mutex_unlock(&qp->lock);
	return rc;
}

static void wr_abort(struct ibv_qp_ex *ibv)
{
	post(qp_of(ibv), ECANCELED);
	pthread_mutex_unlock(&qp_of(ibv)->lock);
}

void qp_fill_calls(struct qp *qp)
{
	struct ibv_qp_ex *ibv = &qp->ibv;

	ibv->wr_start = wr_start;
	ibv->wr_complete = wr_complete;
	ibv->wr_abort = wr_abort;
	ibv->wr_send = wr_send;
	ibv->wr_send_imm = wr_send_imm;
	ibv->wr_rdma_read = wr_rdma_read;
	ibv->wr_rdma_write = wr_rdma_write;
	ibv->wr_rdma_write_imm = wr_rdma_write_imm;
	ibv->wr_set_ud_addr = wr_set_ud_addr;
	ibv->wr_set_sge = wr_set_sge;
	ibv->wr_set_sge_list = wr_set_sge_list;
	ibv->wr_set_inline_data = wr_set_inline_data;
	ibv->wr_set_inline_data_list = wr_set_inline_data_list;
}

/* The older way to post knows sends only. */
static int build_send(struct qp *qp, const struct ibv_send_wr *wr)
{
	struct op *op;
	int rc = 0;

	if (wr->opcode != IBV_WR_SEND && wr->opcode != IBV_WR_SEND_WITH_IMM)
		return EOPNOTSUPP;
	op = add(qp, OP_SEND, wr->wr_id);
	if (!op)
		return ENOMEM;
	if (wr->opcode == IBV_WR_SEND_WITH_IMM)
		set_imm(op, wr->imm_data);
	set_target(op, wr->wr.ud.ah, wr->wr.ud.remote_qpn, wr->wr.ud.remote_qkey);
	if (!(wr->send_flags & IBV_SEND_INLINE))
		return set_sges(op, (size_t)wr->num_sge, wr->sg_list);
	for (int i = 0; !rc && i < wr->num_sge; i++)
		rc = add_inline(op, (const void *)(uintptr_t)wr->sg_list[i].addr,
		                wr->sg_list[i].length);
	return rc;
}

int qp_post_send(struct ibv_qp *ibv, struct ibv_send_wr *wr, struct ibv_send_wr **bad)
{
	struct qp *qp = (struct qp *)ibv;
	int rc = 0;

	pthread_mutex_lock(&qp->lock);
	for (; wr && !rc; wr = wr->next) {
		rc = post(qp, build_send(qp, wr));
		if (rc)
			*bad = wr;
	}
	pthread_mutex_unlock(&qp->lock);
	return rc;
}

static int add_receive(const struct qp *qp, const struct ibv_recv_wr *wr)
{
	struct shm_qp *shared = qp_shared(qp);
	uint32_t tail = atomic_load_explicit(&shared->tail, memory_order_relaxed);
	struct shm_rwqe *wqe = &process.shm->receives[qp->slot][tail & (shared->rq_size - 1)];

	if (tail - atomic_load(&shared->head) >= shared->rq_limit)
		return ENOMEM;
	if (wr->num_sge < 0 || wr->num_sge > RQ_SGES)
		return EINVAL;
	*wqe = (struct shm_rwqe){.wr_id = wr->wr_id, .sges = (uint32_t)wr->num_sge};
	for (int i = 0; i < wr->num_sge; i++) {
		wqe->sge[i] = (struct shm_sge){wr->sg_list[i].addr, wr->sg_list[i].length,
		                               wr->sg_list[i].lkey};
		wqe->len += wr->sg_list[i].length;
	}
	atomic_store_explicit(&shared->tail, tail + 1, memory_order_release);
	return 0;
}

int qp_post_recv(struct ibv_qp *ibv, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad)
{
	struct qp *qp = (struct qp *)ibv;
	int rc = 0;

	pthread_mutex_lock(&qp->lock);
	for (; wr && !rc; wr = wr->next) {
		rc = add_receive(qp, wr);
		if (rc)
			*bad = wr;
	}
	pthread_mutex_unlock(&qp->lock);
	return rc;
}
