/* SPDX-License-Identifier: MIT
 * Queue pairs: made, set up, destroyed. */
#include "engine.h"
#include "objects.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FLAGS_OFFSET      12 /* of efadv_qp_init_attr.flags, which older headers do not name */
#define FLAG_UNSOLICITED  1
#define DEFAULT_RNR_RETRY 7

/* Those of this process, by slot. */
static struct qp *_Atomic own[MAX_QPS];

struct qp *qp_find(uint32_t slot)
{
	return own[slot];
}

static void open_receives(const struct qp *qp, const struct ibv_qp_init_attr_ex *attr,
                          bool unsolicited)
{
	struct shm_qp *shared = qp_shared(qp);

	shared->generation++;
	shared->proc = process.slot;
	shared->host = process.host;
	shared->nic = qp->context->nic;
	shared->recv_cq = ((struct cq *)attr->recv_cq)->slot;
	shared->rq_limit = attr->cap.max_recv_wr;
	for (shared->rq_size = 1; shared->rq_size < shared->rq_limit;)
		shared->rq_size *= 2;
	shared->unsolicited = unsolicited;
	shared->qkey = shared->head = shared->tail = 0;
}

static bool make_ops(struct qp *qp, uint32_t n)
{
	qp->ops = calloc(n ? n : 1, sizeof(*qp->ops));
	STAILQ_INIT(&qp->free);
	STAILQ_INIT(&qp->building);
	for (uint32_t i = 0; qp->ops && i < n; i++)
		STAILQ_INSERT_TAIL(&qp->free, &qp->ops[i], link);
	qp->send_limit = n;
	return qp->ops;
}

static void fill_ibv(struct qp *qp, const struct ibv_qp_init_attr_ex *attr)
{
	struct ibv_qp *ibv = &qp->ibv.qp_base;

	ibv->context = &qp->context->verbs.context;
	ibv->qp_context = attr->qp_context;
	ibv->pd = attr->pd;
	ibv->send_cq = attr->send_cq;
	ibv->recv_cq = attr->recv_cq;
	ibv->qp_num = qp_number(qp->slot);
	ibv->qp_type = attr->qp_type;
	ibv->state = IBV_QPS_RESET;
	qp_fill_calls(qp);
}

static bool is_possible(const struct ibv_qp_init_attr_ex *attr, bool unsolicited)
{
	const struct ibv_qp_cap *cap = &attr->cap;

	return attr->send_cq && attr->recv_cq && attr->pd && cap->max_send_wr <= SEND_WRS_MAX &&
	       cap->max_recv_wr <= RQ_MAX && cap->max_send_sge <= SEND_SGES &&
	       cap->max_recv_sge <= RQ_SGES && cap->max_inline_data <= INLINE_MAX &&
	       (!unsolicited || process.shm->config.caps & CAP_UNSOLICITED);
}

struct ibv_qp *qp_create(struct ibv_context *ibv, struct ibv_qp_init_attr_ex *attr,
                         bool unsolicited)
{
	struct qp *qp;

	if (!is_possible(attr, unsolicited)) {
		errno = EINVAL;
		return NULL;
	}
	qp = calloc(1, sizeof(*qp));
	if (!qp || !make_ops(qp, attr->cap.max_send_wr) ||
	    (qp->slot = slot_claim(process.shm, SLOTS_OF(process.shm, qp))) == NO_SLOT) {
		free(qp ? qp->ops : NULL);
		free(qp);
		errno = ENOMEM;
		return NULL;
	}
	qp->context = context_of(ibv);
	qp->send_cq = (struct cq *)attr->send_cq;
	qp->rnr_retry = DEFAULT_RNR_RETRY;
	pthread_mutex_init(&qp->lock, NULL);
	open_receives(qp, attr, unsolicited);
	fill_ibv(qp, attr);
	own[qp->slot] = qp;
	atomic_store(&qp_shared(qp)->state, SLOT_LIVE);
	return &qp->ibv.qp_base;
}

EXPORT struct ibv_qp *efadv_create_qp_ex(struct ibv_context *ibv, struct ibv_qp_init_attr_ex *attr,
                                         struct efadv_qp_init_attr *efa, uint32_t len)
{
	uint16_t flags = 0;

	if (len >= FLAGS_OFFSET + sizeof(flags))
		memcpy(&flags, (const char *)efa + FLAGS_OFFSET, sizeof(flags));
	return qp_create(ibv, attr, flags & FLAG_UNSOLICITED);
}

EXPORT struct ibv_qp_ex *ibv_qp_to_qp_ex(struct ibv_qp *ibv)
{
	return (struct ibv_qp_ex *)ibv;
}

EXPORT int ibv_modify_qp(struct ibv_qp *ibv, struct ibv_qp_attr *attr, int mask)
{
	struct qp *qp = (struct qp *)ibv;

	if (mask & IBV_QP_QKEY)
		qp_shared(qp)->qkey = attr->qkey;
	if (mask & IBV_QP_RNR_RETRY)
		qp->rnr_retry = attr->rnr_retry;
	if (mask & IBV_QP_STATE)
		ibv->state = attr->qp_state;
	return 0;
}

EXPORT int ibv_query_qp_data_in_order(struct ibv_qp *ibv, enum ibv_wr_opcode opcode, uint32_t flags)
{
	(void)ibv;
	(void)opcode;
	(void)flags;
	return 0;
}

/* A fence: when it returns, nothing that was posted here lands any more, nor anything here that
 * peers have posted. */
EXPORT int ibv_destroy_qp(struct ibv_qp *ibv)
{
	struct qp *qp = (struct qp *)ibv;

	atomic_store(&qp_shared(qp)->state, SLOT_CLAIMED);
	engine_forget(qp);
	shm_wait_qp(process.shm, qp->slot);
	own[qp->slot] = NULL;
	cq_forget(qp->send_cq, ibv->qp_num);
	cq_forget((struct cq *)ibv->recv_cq, ibv->qp_num);
	atomic_store(&qp_shared(qp)->state, SLOT_FREE);
	pthread_mutex_destroy(&qp->lock);
	free(qp->ops);
	free(qp);
	return 0;
}
