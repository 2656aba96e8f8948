/* SPDX-License-Identifier: MIT
 * For tests: one NIC of a process, opened and ready, spoken to by verbs alone. */
#include "side.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FLAG_UNSOLICITED 1 /* in the 16 bits behind driver_qp_type, unnamed in older headers */
#define PATIENCE_MS      5000

static void must(bool is_so, const char *what)
{
	if (is_so)
		return;
	fprintf(stderr, "side: not so: %s\n", what);
	abort();
}

static void open_device(struct side *side, unsigned int nic)
{
	int n;
	struct ibv_device **list = ibv_get_device_list(&n);

	if (!list || n <= (int)nic || strncmp(ibv_get_device_name(list[nic]), "rdmap", 5)) {
		printf("skipped: %d devices, and NIC %u is needed: run it under softefa\n", n, nic);
		exit(77);
	}
	side->context = ibv_open_device(list[nic]);
	must(side->context, "ibv_open_device");
	ibv_free_device_list(list);
	must(!ibv_query_gid(side->context, 1, 0, &side->gid), "ibv_query_gid");
}

static void open_qp(struct side *side, const struct side_options *options)
{
	struct ibv_qp_init_attr_ex attr = {
		.send_cq = ibv_cq_ex_to_cq(side->cq),
		.recv_cq = ibv_cq_ex_to_cq(side->cq),
		.cap = {.max_send_wr = SIDE_WRS,
	                .max_recv_wr = SIDE_WRS,
	                .max_send_sge = 1,
	                .max_recv_sge = 1},
		.qp_type = IBV_QPT_DRIVER,
		.comp_mask = IBV_QP_INIT_ATTR_PD | IBV_QP_INIT_ATTR_SEND_OPS_FLAGS,
		.pd = side->pd,
		.send_ops_flags = IBV_QP_EX_WITH_SEND | IBV_QP_EX_WITH_RDMA_READ,
	};
	struct efadv_qp_init_attr efa = {.driver_qp_type = EFADV_QP_DRIVER_TYPE_SRD};
	struct ibv_qp_attr modify = {.qkey = SIDE_QKEY, .rnr_retry = options->rnr_retry};
	struct ibv_qp *qp;

	if (options->unsolicited)
		((uint8_t *)&efa)[12] = FLAG_UNSOLICITED;
	qp = efadv_create_qp_ex(side->context, &attr, &efa, sizeof(efa));
	must(qp, "efadv_create_qp_ex");
	side->qp = ibv_qp_to_qp_ex(qp);
	must(!ibv_modify_qp(qp, &modify, IBV_QP_QKEY | IBV_QP_RNR_RETRY), "ibv_modify_qp");
}

void side_open(struct side *side, const struct side_options *options)
{
	const int access =
		IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE;
	struct ibv_cq_init_attr_ex cq = {.cqe = options->cq_entries ? options->cq_entries : 1024};

	memset(side, 0, sizeof(*side));
	open_device(side, options->nic);
	side->pd = ibv_alloc_pd(side->context);
	must(side->pd, "ibv_alloc_pd");
	side->cq = efadv_create_cq(side->context, &cq, NULL, 0);
	must(side->cq, "efadv_create_cq");
	open_qp(side, options);
	side->memory = aligned_alloc(4096, SIDE_BYTES);
	must(side->memory, "memory");
	memset(side->memory, 0, SIDE_BYTES);
	side->mr = ibv_reg_mr(side->pd, side->memory, SIDE_BYTES, access);
	must(side->mr, "ibv_reg_mr");
}

void side_close_qp(struct side *side)
{
	if (side->qp)
		must(!ibv_destroy_qp(&side->qp->qp_base), "ibv_destroy_qp");
	side->qp = NULL;
}

void side_close(struct side *side)
{
	side_close_qp(side);
	if (side->mr)
		must(!ibv_dereg_mr(side->mr), "ibv_dereg_mr");
	must(!ibv_destroy_cq(ibv_cq_ex_to_cq(side->cq)), "ibv_destroy_cq");
	must(!ibv_dealloc_pd(side->pd), "ibv_dealloc_pd");
	must(!ibv_close_device(side->context), "ibv_close_device");
	free(side->memory);
}

struct ibv_ah *side_handle(struct side *side, const union ibv_gid *gid)
{
	struct ibv_ah_attr attr = {.port_num = 1, .is_global = 1};
	struct ibv_ah *ah;

	memcpy(attr.grh.dgid.raw, gid->raw, sizeof(gid->raw));
	ah = ibv_create_ah(side->pd, &attr);
	must(ah, "ibv_create_ah");
	return ah;
}

struct side_target side_meet(struct side *from, struct side *to)
{
	return (struct side_target){
		.ah = side_handle(from, &to->gid),
		.qpn = to->qp->qp_base.qp_num,
		.qkey = SIDE_QKEY,
		.rkey = to->mr->rkey,
		.addr = (uintptr_t)to->memory,
	};
}

int side_post(struct side *side, enum side_op op, const struct side_target *target, uint64_t offset,
              uint32_t len)
{
	struct ibv_qp_ex *qp = side->qp;

	ibv_wr_start(qp);
	qp->wr_id = offset;
	switch (op) {
	case SIDE_SEND:
		ibv_wr_send(qp);
		break;
	case SIDE_SEND_IMM:
		ibv_wr_send_imm(qp, (uint32_t)offset + 1);
		break;
	case SIDE_READ:
		ibv_wr_rdma_read(qp, target->rkey, target->addr + offset);
		break;
	case SIDE_WRITE:
		ibv_wr_rdma_write(qp, target->rkey, target->addr + offset);
		break;
	case SIDE_WRITE_IMM:
		ibv_wr_rdma_write_imm(qp, target->rkey, target->addr + offset,
		                      (uint32_t)offset + 1);
		break;
	}
	ibv_wr_set_ud_addr(qp, target->ah, target->qpn, target->qkey);
	ibv_wr_set_sge(qp, side->mr->lkey, (uintptr_t)side->memory + offset, len);
	return ibv_wr_complete(qp);
}

int side_receive(struct side *side, uint64_t offset, uint32_t len)
{
	struct ibv_sge sge = {(uintptr_t)side->memory + offset, len, side->mr->lkey};
	struct ibv_recv_wr wr = {.wr_id = offset, .sg_list = &sge, .num_sge = 1}, *bad;

	return ibv_post_recv(&side->qp->qp_base, &wr, &bad);
}

static bool poll_once(struct side *side, struct side_wc *out)
{
	struct ibv_poll_cq_attr attr = {0};
	struct ibv_cq_ex *cq = side->cq;

	if (ibv_start_poll(cq, &attr))
		return false;
	*out = (struct side_wc){
		.wr_id = cq->wr_id,
		.vendor_err = ibv_wc_read_vendor_err(cq),
		.opcode = ibv_wc_read_opcode(cq),
		.len = ibv_wc_read_byte_len(cq),
		.src_qpn = ibv_wc_read_src_qp(cq),
		.slid = ibv_wc_read_slid(cq),
		.flags = ibv_wc_read_wc_flags(cq),
		.imm = ibv_wc_read_imm_data(cq),
		.status = cq->status,
	};
	ibv_end_poll(cq);
	return true;
}

bool side_poll(struct side *side, unsigned int ms, struct side_wc *out)
{
	const struct timespec nap = {.tv_nsec = 100000};

	for (unsigned int i = 0; i <= 10 * ms; i++) {
		if (poll_once(side, out))
			return true;
		nanosleep(&nap, NULL);
	}
	return false;
}

int side_status(struct side *side)
{
	struct side_wc wc;

	return side_poll(side, PATIENCE_MS, &wc) ? (int)wc.vendor_err : -1;
}

int side_status_of(struct side *side, enum side_op op, const struct side_target *target,
                   uint64_t offset, uint32_t len)
{
	int rc = side_post(side, op, target, offset, len);

	return rc ? -rc : side_status(side);
}
