/* SPDX-License-Identifier: MIT
 * For tests: one NIC of a process, opened and ready, spoken to by verbs alone. */
#ifndef SOFTEFA_SIDE_H
#define SOFTEFA_SIDE_H

#include <infiniband/efadv.h>
#include <infiniband/verbs.h>
#include <stdbool.h>
#include <stdint.h>

#define SIDE_BYTES (4u << 20)
#define SIDE_QKEY  0x1234
#define SIDE_WRS   64

struct side {
	struct ibv_context *context;
	struct ibv_pd *pd;
	struct ibv_cq_ex *cq;
	struct ibv_qp_ex *qp;
	struct ibv_mr *mr;
	uint8_t *memory; /* SIDE_BYTES */
	union ibv_gid gid;
};

struct side_options {
	unsigned int nic;
	bool unsolicited;
	uint32_t cq_entries; /* 0: plenty */
	uint8_t rnr_retry;
};

/* A completion. */
struct side_wc {
	uint64_t wr_id;
	uint32_t vendor_err, opcode, len, src_qpn, slid, flags, imm;
	enum ibv_wc_status status;
};

/* Where to write, and how it is called. */
struct side_target {
	struct ibv_ah *ah;
	uint32_t qpn, qkey, rkey;
	uint64_t addr;
};

/* Ends the process with status 77 if there is no such NIC. */
void side_open(struct side *, const struct side_options *);
void side_close(struct side *);
void side_close_qp(struct side *);

struct ibv_ah *side_handle(struct side *, const union ibv_gid *gid);

/* The other side as `from` sees it. */
struct side_target side_meet(struct side *from, struct side *to);

enum side_op { SIDE_SEND, SIDE_SEND_IMM, SIDE_READ, SIDE_WRITE, SIDE_WRITE_IMM };

/* Posts len bytes at `offset` of both sides' memory; wr_id is the offset, the immediate wr_id + 1.
 * What wr_complete says. */
int side_post(struct side *, enum side_op, const struct side_target *, uint64_t offset,
              uint32_t len);
int side_receive(struct side *, uint64_t offset, uint32_t len);

/* The next completion within `ms`; false: none came. */
bool side_poll(struct side *, unsigned int ms, struct side_wc *);

/* The next completion's status, by the device's own number; -1: none came in 5 s. */
int side_status(struct side *);

/* Posts, and waits for that; a negative errno if it is refused. */
int side_status_of(struct side *, enum side_op, const struct side_target *, uint64_t offset,
                   uint32_t len);

#endif
