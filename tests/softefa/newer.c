/* SPDX-License-Identifier: MIT
 * Calls that only newer libfabric or rdma-core make, or that other providers make of any device:
 * those that have an answer here, and those that are politely refused. */
#include "objects.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A hint that a device may take: this one does not. */
struct qp_calls {
	uint64_t comp_mask;
	void (*set_hints)(void *efadv_qp, uint32_t hints);
};

static void ignore_hints(void *efadv_qp, uint32_t hints)
{
	(void)efadv_qp;
	(void)hints;
}

EXPORT void *efadv_qp_from_ibv_qp_ex(struct ibv_qp_ex *ibv);
EXPORT int efadv_query_cq(struct ibv_cq *cq, void *out, uint32_t len);
EXPORT int efadv_query_qp_wqs(struct ibv_qp *qp, void *sq, void *rq, uint32_t len);
EXPORT int efadv_query_mr(struct ibv_mr *mr, void *out, uint32_t len);

EXPORT void *efadv_qp_from_ibv_qp_ex(struct ibv_qp_ex *ibv)
{
	static struct qp_calls calls = {.set_hints = ignore_hints};

	(void)ibv;
	return &calls;
}

/* There are no rings in the device's own format to write to: libfabric then goes through verbs. */
EXPORT int efadv_query_cq(struct ibv_cq *cq, void *out, uint32_t len)
{
	(void)cq;
	(void)out;
	(void)len;
	return EOPNOTSUPP;
}

EXPORT int efadv_query_qp_wqs(struct ibv_qp *qp, void *sq, void *rq, uint32_t len)
{
	(void)qp;
	(void)sq;
	(void)rq;
	(void)len;
	return EOPNOTSUPP;
}

EXPORT int efadv_query_mr(struct ibv_mr *mr, void *out, uint32_t len)
{
	(void)mr;
	memset(out, 0, len);
	return 0;
}

/* Waiting for a completion instead of polling is not emulated; what is opened can be closed. */
EXPORT struct ibv_comp_channel *ibv_create_comp_channel(struct ibv_context *ibv)
{
	(void)ibv;
	errno = EOPNOTSUPP;
	return NULL;
}

EXPORT int ibv_destroy_comp_channel(struct ibv_comp_channel *channel)
{
	(void)channel;
	return EINVAL;
}

EXPORT int ibv_get_cq_event(struct ibv_comp_channel *channel, struct ibv_cq **cq, void **context)
{
	(void)channel;
	(void)cq;
	(void)context;
	errno = EAGAIN;
	return -1;
}

EXPORT void ibv_ack_cq_events(struct ibv_cq *cq, unsigned int n)
{
	(void)cq;
	(void)n;
}

/* libibverbs' own would follow pointers into a driver that is not there. */
EXPORT struct ibv_cq *ibv_create_cq(struct ibv_context *ibv, int entries, void *context,
                                    struct ibv_comp_channel *channel, int vector)
{
	struct ibv_cq_init_attr_ex attr = {
		.cqe = (uint32_t)entries, .cq_context = context, .channel = channel};
	struct ibv_cq_ex *cq;

	(void)vector;
	cq = cq_create(ibv, &attr);
	return cq ? ibv_cq_ex_to_cq(cq) : NULL;
}

EXPORT struct ibv_qp *ibv_create_qp(struct ibv_pd *pd, struct ibv_qp_init_attr *attr)
{
	(void)pd;
	(void)attr;
	errno = EOPNOTSUPP;
	return NULL;
}

EXPORT struct ibv_srq *ibv_create_srq(struct ibv_pd *pd, struct ibv_srq_init_attr *attr)
{
	(void)pd;
	(void)attr;
	errno = EOPNOTSUPP;
	return NULL;
}
