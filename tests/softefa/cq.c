/* SPDX-License-Identifier: MIT
 * Completion queues: rings in the shared file, which peers' NICs and one's own fill. */
#include "engine.h"
#include "objects.h"
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FORGOTTEN     UINT32_MAX /* opcode of an entry that nobody wants any more */
#define LOOK_AGAIN    4096       /* turns of waiting before the lock's owner is asked after */
#define NO_HANDLE     0xffff
#define UNREPORTED_AT 1 /* lost entries that are worth a line: the first */

static struct cq *cq_of(struct ibv_cq_ex *ibv)
{
	return container_of(ibv, struct cq, ibv);
}

static void lock_ring(struct shm_cq *cq)
{
	uint32_t owner;

	for (unsigned int turn = 1;; turn++) {
		owner = 0;
		if (atomic_compare_exchange_weak(&cq->lock, &owner, process.slot + 1))
			return;
		sched_yield();
		if (owner && turn % LOOK_AGAIN == 0 &&
		    !proc_is_alive(&process.shm->proc[owner - 1]))
			atomic_compare_exchange_strong(&cq->lock, &owner, 0);
	}
}

static void count_overflow(const struct shm_cq *cq)
{
	struct shm_nic *nic = fabric_nic(cq->host, cq->nic);

	if (atomic_fetch_add(&nic->overflows, 1) + 1 == UNREPORTED_AT)
		fprintf(stderr,
		        "softefa: a completion queue of %s on host %u is full: completions "
		        "are lost\n",
		        process.shm->config.name[cq->nic], cq->host);
}

void cq_push(uint32_t slot, const struct shm_cqe *cqe)
{
	struct shm_cq *cq = &process.shm->cq[slot];
	uint32_t tail;

	lock_ring(cq);
	tail = atomic_load_explicit(&cq->tail, memory_order_relaxed);
	if (tail - atomic_load(&cq->head) >= cq->limit) {
		count_overflow(cq);
	} else {
		process.shm->completions[slot][tail % CQ_MAX] = *cqe;
		atomic_store_explicit(&cq->tail, tail + 1, memory_order_release);
	}
	atomic_store_explicit(&cq->lock, 0, memory_order_release);
}

/* The status that libibverbs has for it; the device's own is read_vendor_err. */
static enum ibv_wc_status wc_status(uint32_t status)
{
	switch (status) {
	case EFA_OK:
		return IBV_WC_SUCCESS;
	case EFA_FLUSHED:
		return IBV_WC_WR_FLUSH_ERR;
	case EFA_INVALID_LKEY:
	case EFA_BAD_LENGTH:
		return IBV_WC_LOC_LEN_ERR;
	case EFA_INVALID_AH:
		return IBV_WC_LOC_QP_OP_ERR;
	case EFA_REMOTE_RNR:
		return IBV_WC_RNR_RETRY_EXC_ERR;
	case EFA_REMOTE_BAD_ADDRESS:
		return IBV_WC_REM_ACCESS_ERR;
	case EFA_REMOTE_BAD_LENGTH:
		return IBV_WC_REM_INV_REQ_ERR;
	case EFA_UNRESPONSIVE:
	case EFA_UNREACHABLE:
		return IBV_WC_RESP_TIMEOUT_ERR;
	default:
		return IBV_WC_REM_OP_ERR;
	}
}

/* The next entry that somebody still wants; it frees a place among the posted sends. */
static int pop(struct cq *cq)
{
	struct shm_cq *shared = &process.shm->cq[cq->slot];
	uint32_t head = atomic_load_explicit(&shared->head, memory_order_relaxed);
	struct qp *qp;

	do {
		if (head == atomic_load_explicit(&shared->tail, memory_order_acquire))
			return ENOENT;
		cq->now = process.shm->completions[cq->slot][head++ % CQ_MAX];
		atomic_store_explicit(&shared->head, head, memory_order_release);
	} while (cq->now.opcode == FORGOTTEN);
	qp = cq->now.is_arrival ? NULL : qp_find(qp_slot(cq->now.qpn));
	if (qp)
		qp->send_used--;
	cq->ibv.wr_id = cq->now.wr_id;
	cq->ibv.status = wc_status(cq->now.status);
	return 0;
}

static int start_poll(struct ibv_cq_ex *ibv, struct ibv_poll_cq_attr *attr)
{
	struct cq *cq = cq_of(ibv);
	int rc;

	(void)attr;
	engine_poke();
	pthread_mutex_lock(&cq->lock);
	rc = pop(cq);
	if (rc)
		pthread_mutex_unlock(&cq->lock);
	return rc;
}

static int next_poll(struct ibv_cq_ex *ibv)
{
	return pop(cq_of(ibv));
}

static void end_poll(struct ibv_cq_ex *ibv)
{
	pthread_mutex_unlock(&cq_of(ibv)->lock);
}

static enum ibv_wc_opcode read_opcode(struct ibv_cq_ex *ibv)
{
	return cq_of(ibv)->now.opcode;
}

static uint32_t read_vendor_err(struct ibv_cq_ex *ibv)
{
	return cq_of(ibv)->now.status;
}

static uint32_t read_byte_len(struct ibv_cq_ex *ibv)
{
	return cq_of(ibv)->now.len;
}

static __be32 read_imm_data(struct ibv_cq_ex *ibv)
{
	return cq_of(ibv)->now.imm;
}

static uint32_t read_qp_num(struct ibv_cq_ex *ibv)
{
	return cq_of(ibv)->now.qpn;
}

static uint32_t read_src_qp(struct ibv_cq_ex *ibv)
{
	return cq_of(ibv)->now.src_qpn;
}

static unsigned int read_wc_flags(struct ibv_cq_ex *ibv)
{
	return cq_of(ibv)->now.flags;
}

static bool knows_source(const struct cq *cq)
{
	return proc_knows(process_self(), process.shm->cq[cq->slot].nic,
	                  ADDRESS(cq->now.src_host, cq->now.src_nic));
}

static uint32_t read_slid(struct ibv_cq_ex *ibv)
{
	const struct cq *cq = cq_of(ibv);

	return knows_source(cq) ? ADDRESS(cq->now.src_host, cq->now.src_nic) : NO_HANDLE;
}

static uint8_t read_nothing(struct ibv_cq_ex *ibv)
{
	(void)ibv;
	return 0;
}

static const struct cq *cq_of_efa(const struct efadv_cq *efa)
{
	return container_of((const struct efa_cq_calls *)efa, struct cq, efa);
}

/* Only for a source that there is no handle for. */
static int read_sgid(struct efadv_cq *efa, union ibv_gid *gid)
{
	const struct cq *cq = cq_of_efa(efa);

	if (knows_source(cq))
		return -ENOENT;
	gid_make(cq->now.src_host, cq->now.src_nic, gid->raw);
	return 0;
}

static bool is_unsolicited(struct efadv_cq *efa)
{
	return cq_of_efa(efa)->now.is_unsolicited;
}

static void fill_calls(struct cq *cq)
{
	cq->ibv.start_poll = start_poll;
	cq->ibv.next_poll = next_poll;
	cq->ibv.end_poll = end_poll;
	cq->ibv.read_opcode = read_opcode;
	cq->ibv.read_vendor_err = read_vendor_err;
	cq->ibv.read_byte_len = read_byte_len;
	cq->ibv.read_imm_data = read_imm_data;
	cq->ibv.read_qp_num = read_qp_num;
	cq->ibv.read_src_qp = read_src_qp;
	cq->ibv.read_wc_flags = read_wc_flags;
	cq->ibv.read_slid = read_slid;
	cq->ibv.read_sl = read_nothing;
	cq->ibv.read_dlid_path_bits = read_nothing;
	cq->efa.read_sgid = read_sgid;
	cq->efa.is_unsolicited = is_unsolicited;
}

static void open_ring(uint32_t slot, uint32_t nic, uint32_t entries)
{
	struct shm_cq *shared = &process.shm->cq[slot];

	shared->proc = process.slot;
	shared->host = process.host;
	shared->nic = nic;
	for (shared->limit = 1; shared->limit < entries;)
		shared->limit *= 2;
	shared->lock = shared->head = shared->tail = 0;
	atomic_store(&shared->state, SLOT_LIVE);
}

struct ibv_cq_ex *cq_create(struct ibv_context *ibv, struct ibv_cq_init_attr_ex *attr)
{
	struct cq *cq;

	if (!attr->cqe || attr->cqe > CQ_MAX) {
		errno = EINVAL;
		return NULL;
	}
	cq = calloc(1, sizeof(*cq));
	if (!cq)
		return NULL;
	cq->slot = slot_claim(process.shm, SLOTS_OF(process.shm, cq));
	if (cq->slot == NO_SLOT) {
		free(cq);
		errno = ENOMEM;
		return NULL;
	}
	open_ring(cq->slot, context_of(ibv)->nic, attr->cqe);
	pthread_mutex_init(&cq->lock, NULL);
	cq->ibv.context = ibv;
	cq->ibv.channel = attr->channel;
	cq->ibv.cq_context = attr->cq_context;
	cq->ibv.cqe = (int)process.shm->cq[cq->slot].limit;
	fill_calls(cq);
	return &cq->ibv;
}

void cq_forget(struct cq *cq, uint32_t qpn)
{
	struct shm_cq *shared = &process.shm->cq[cq->slot];
	struct shm_cqe *cqe;

	pthread_mutex_lock(&cq->lock);
	for (uint32_t i = shared->head; i != atomic_load(&shared->tail); i++) {
		cqe = &process.shm->completions[cq->slot][i % CQ_MAX];
		if (cqe->qpn == qpn)
			cqe->opcode = FORGOTTEN;
	}
	pthread_mutex_unlock(&cq->lock);
}

EXPORT struct ibv_cq_ex *efadv_create_cq(struct ibv_context *ibv, struct ibv_cq_init_attr_ex *attr,
                                         struct efadv_cq_init_attr *efa, uint32_t len)
{
	(void)efa;
	(void)len;
	return cq_create(ibv, attr);
}

EXPORT struct efadv_cq *efadv_cq_from_ibv_cq_ex(struct ibv_cq_ex *ibv)
{
	return (struct efadv_cq *)&cq_of(ibv)->efa;
}

EXPORT int ibv_destroy_cq(struct ibv_cq *ibv)
{
	struct cq *cq = cq_of((struct ibv_cq_ex *)ibv);

	atomic_store(&process.shm->cq[cq->slot].state, SLOT_FREE);
	pthread_mutex_destroy(&cq->lock);
	free(cq);
	return 0;
}
