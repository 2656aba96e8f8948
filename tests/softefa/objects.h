/* SPDX-License-Identifier: MIT
 * What the provider holds pointers to: verbs objects, each with ours around it. */
#ifndef SOFTEFA_OBJECTS_H
#define SOFTEFA_OBJECTS_H

#include "process.h"
#include <infiniband/efadv.h>
#include <infiniband/verbs.h>
#include <pthread.h>
#include <sys/queue.h>

#define EXPORT __attribute__((visibility("default")))

#define MTU          8928u /* longest message, and most bytes that land together */
#define INLINE_MAX   32u
#define SEND_SGES    2u
#define SEND_WRS_MAX 4096u
#define RDMA_MAX     (1u << 30)

#define container_of(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

struct context {
	struct verbs_context verbs;
	uint32_t nic;
	pthread_mutex_t lock;
	uint16_t handles[MAX_ADDRESSES]; /* made here, by target */
};

struct handle {
	struct ibv_ah ibv;
	uint32_t address; /* NO_ADDRESS: nobody's on this fabric */
};

/* efadv_cq as newer headers have it. */
struct efa_cq_calls {
	uint64_t comp_mask;
	int (*read_sgid)(struct efadv_cq *, union ibv_gid *);
	bool (*is_unsolicited)(struct efadv_cq *);
};

struct cq {
	struct ibv_cq_ex ibv;
	struct efa_cq_calls efa;
	uint32_t slot;
	pthread_mutex_t lock; /* of who polls, from start_poll to end_poll */
	struct shm_cqe now;
};

enum op_kind { OP_SEND, OP_WRITE, OP_READ };

/* A posted operation. Bytes are cut into pieces of an MTU; a part is several pieces, taken from
 * all over the operation: piece i is number (i * step + shift) % pieces. */
struct op {
	STAILQ_ENTRY(op) link;
	struct qp *qp;
	enum op_kind kind;
	bool has_imm, is_inline;
	uint8_t inline_data[INLINE_MAX];
	struct shm_sge sge[SEND_SGES];
	uint32_t sges, len;
	uint64_t wr_id, remote_addr;
	uint32_t rkey, imm;
	uint32_t address; /* where to */
	uint32_t qpn, qkey;

	uint64_t posted; /* ns */
	uint32_t order;  /* among those to the same queue pair */
	uint32_t pieces, step, shift;
	uint32_t parts, scheduled, landed;
	uint32_t fail_at; /* landed parts after which it fails, by a fault; NO_SLOT: it does not */
	uint32_t tries;   /* for a receive */
	enum efa_status status;
};

STAILQ_HEAD(op_list, op);

struct qp {
	struct ibv_qp_ex ibv;
	struct context *context;
	uint32_t slot;
	struct cq *send_cq;
	uint32_t rnr_retry;
	uint32_t send_limit;
	_Atomic uint32_t send_used; /* until its completion is polled */
	pthread_mutex_t lock;       /* of who posts, from wr_start to wr_complete */
	struct op *ops;
	struct op_list free;     /* guarded by the engine */
	struct op_list building; /* between wr_start and wr_complete; its newest: */
	struct op *current;
	int build_error;
	uint32_t order[MAX_QPS];     /* operations posted, by target's slot */
	uint32_t delivered[MAX_QPS]; /* newest that arrived, plus 1 */
};

static inline struct context *context_of(struct ibv_context *ibv)
{
	return container_of(ibv, struct context, verbs.context);
}

static inline struct shm_qp *qp_shared(const struct qp *qp)
{
	return &process.shm->qp[qp->slot];
}

/* The NIC that an operation was posted to, and the one that it goes to. */
static inline struct shm_nic *op_nic(const struct op *op)
{
	return fabric_nic(process.host, op->qp->context->nic);
}

static inline struct shm_nic *op_peer_nic(const struct op *op)
{
	return fabric_nic(op->address / MAX_NICS, op->address % MAX_NICS);
}

/* A queue pair's number as peers use it: 16 bits, of which the upper tell its generation. */
static inline uint32_t qp_number(uint32_t slot)
{
	return (process.shm->qp[slot].generation & 31) << 11 | slot;
}

static inline uint32_t qp_slot(uint32_t number)
{
	return number & (MAX_QPS - 1);
}

_Static_assert(MAX_QPS == 1 << 11, "the number's layout");

/* The queue pair of this process in a slot, or NULL. */
struct qp *qp_find(uint32_t slot);

/* Fills in the calls that post work requests one by one. post.c */
void qp_fill_calls(struct qp *);
int qp_post_send(struct ibv_qp *, struct ibv_send_wr *, struct ibv_send_wr **bad);
int qp_post_recv(struct ibv_qp *, struct ibv_recv_wr *, struct ibv_recv_wr **bad);
struct ibv_qp *qp_create(struct ibv_context *, struct ibv_qp_init_attr_ex *, bool unsolicited);

struct ibv_cq_ex *cq_create(struct ibv_context *, struct ibv_cq_init_attr_ex *);

/* Puts a completion into a queue; one that is full loses it, as the device does. From any process
 * whose engine is at work. */
void cq_push(uint32_t slot, const struct shm_cqe *);

/* Drops what a queue still holds of a queue pair. */
void cq_forget(struct cq *, uint32_t qpn);

#endif
