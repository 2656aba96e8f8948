/* SPDX-License-Identifier: MIT
 * The emulated device as verbs see it: what lands, who is told, and what is an error. Run under
 * softefa with two NICs; between NIC 0 and NIC 1 of this process, on two hosts where it forks. */
#include "shm.h"
#include "side.h"
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define MTU  8928
#define PEER "peer" /* the argument that makes it one */

struct pair {
	struct side a, b;
	struct side_target to_b, to_a;
};

static void open_pair(struct pair *pair, const struct side_options *b)
{
	side_open(&pair->a, &(struct side_options){.nic = 0, .rnr_retry = 1});
	side_open(&pair->b, b);
	pair->to_b = side_meet(&pair->a, &pair->b);
	pair->to_a = side_meet(&pair->b, &pair->a);
	for (uint32_t i = 0; i < SIDE_BYTES; i++)
		pair->a.memory[i] = (uint8_t)(i * 131 + (i >> 8) * 31 + 1);
}

static void close_pair(struct pair *pair)
{
	ibv_destroy_ah(pair->to_b.ah);
	ibv_destroy_ah(pair->to_a.ah);
	side_close(&pair->a);
	side_close(&pair->b);
}

static int setup(void **state)
{
	struct pair *pair = malloc(sizeof(*pair));

	open_pair(pair, &(struct side_options){.nic = 1});
	*state = pair;
	return 0;
}

static int teardown(void **state)
{
	close_pair(*state);
	free(*state);
	return 0;
}

static void assert_landed(const struct pair *pair, uint64_t offset, uint32_t len)
{
	assert_memory_equal(pair->a.memory + offset, pair->b.memory + offset, len);
}

static void test_send(void **state)
{
	struct pair *pair = *state;
	struct side_wc wc;

	assert_int_equal(side_receive(&pair->b, 4096, MTU), 0);
	assert_int_equal(side_post(&pair->a, SIDE_SEND_IMM, &pair->to_b, 4096, 1000), 0);
	assert_int_equal(side_status(&pair->a), EFA_OK);
	assert_true(side_poll(&pair->b, 5000, &wc));
	assert_int_equal(wc.status, IBV_WC_SUCCESS);
	assert_int_equal(wc.opcode, IBV_WC_RECV);
	assert_int_equal(wc.wr_id, 4096);
	assert_int_equal(wc.len, 1000);
	assert_int_equal(wc.imm, 4097);
	assert_int_equal(wc.flags, IBV_WC_WITH_IMM);
	assert_int_equal(wc.src_qpn, pair->a.qp->qp_base.qp_num);
	assert_int_not_equal(wc.slid, 0xffff);
	assert_landed(pair, 4096, 1000);
	assert_int_equal(pair->b.memory[4096 + 1000], 0);
}

/* Without a handle for the sender, the receiver is told its address. */
static void test_unknown_source(void **state)
{
	struct pair *pair = *state;
	union ibv_gid gid;
	struct ibv_poll_cq_attr attr = {0};
	struct efadv_cq *efa = efadv_cq_from_ibv_cq_ex(pair->b.cq);

	ibv_destroy_ah(pair->to_a.ah);
	assert_int_equal(side_receive(&pair->b, 0, MTU), 0);
	assert_int_equal(side_post(&pair->a, SIDE_SEND, &pair->to_b, 0, 8), 0);
	assert_int_equal(side_status(&pair->a), EFA_OK);
	assert_int_equal(ibv_start_poll(pair->b.cq, &attr), 0);
	assert_int_equal(ibv_wc_read_slid(pair->b.cq), 0xffff);
	assert_int_equal(efadv_wc_read_sgid(efa, &gid), 0);
	assert_memory_equal(gid.raw, pair->a.gid.raw, 16);
	ibv_end_poll(pair->b.cq);
	/* And neither reads nor writes are taken. */
	assert_int_equal(side_post(&pair->a, SIDE_READ, &pair->to_b, 0, 8), 0);
	assert_int_equal(side_status(&pair->a), EFA_UNKNOWN_PEER);
	pair->to_a = side_meet(&pair->b, &pair->a);
}

/* All sizes around those of pieces and parts. */
static void test_rdma(void **state)
{
	static const uint32_t sizes[] = {0,       1,        MTU - 1,  MTU,          MTU + 1,
	                                 2 * MTU, 16 * MTU, 64 << 10, 16 * MTU + 5, 3 << 20};
	struct pair *pair = *state;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		memset(pair->b.memory, 0, SIDE_BYTES);
		assert_int_equal(side_post(&pair->a, SIDE_WRITE, &pair->to_b, 7, sizes[i]), 0);
		assert_int_equal(side_status(&pair->a), EFA_OK);
		assert_landed(pair, 7, sizes[i]);
		assert_int_equal(pair->b.memory[6], 0);
		assert_int_equal(pair->b.memory[7 + sizes[i]], 0);
		memset(pair->b.memory, 0, SIDE_BYTES);
		assert_int_equal(side_post(&pair->b, SIDE_READ, &pair->to_a, 7, sizes[i]), 0);
		assert_int_equal(side_status(&pair->b), EFA_OK);
		assert_landed(pair, 7, sizes[i]);
		assert_int_equal(pair->b.memory[6], 0);
		assert_int_equal(pair->b.memory[7 + sizes[i]], 0);
	}
}

/* A receive is consumed by an immediate, unless the queue pair takes unsolicited ones. */
static void test_immediate(void **state)
{
	struct pair *pair = *state;
	struct side_wc wc;

	assert_int_equal(side_post(&pair->a, SIDE_WRITE_IMM, &pair->to_b, 0, 100000), 0);
	assert_int_equal(side_status(&pair->a), EFA_REMOTE_RNR);
	assert_int_equal(side_receive(&pair->b, 77, 16), 0);
	assert_int_equal(side_post(&pair->a, SIDE_WRITE_IMM, &pair->to_b, 0, 100000), 0);
	assert_true(side_poll(&pair->b, 5000, &wc));
	assert_int_equal(wc.opcode, IBV_WC_RECV_RDMA_WITH_IMM);
	assert_int_equal(wc.wr_id, 77);
	assert_int_equal(wc.imm, 1);
	assert_int_equal(wc.len, 100000);
	assert_landed(pair, 0, 100000);
}

static void test_unsolicited(void **state)
{
	struct pair pair;
	struct side_wc wc;

	(void)state;
	open_pair(&pair, &(struct side_options){.nic = 1, .unsolicited = true});
	assert_int_equal(side_post(&pair.a, SIDE_WRITE_IMM, &pair.to_b, 64, 4096), 0);
	assert_true(side_poll(&pair.b, 5000, &wc));
	assert_int_equal(wc.opcode, IBV_WC_RECV_RDMA_WITH_IMM);
	assert_int_equal(wc.imm, 65);
	assert_landed(&pair, 64, 4096);
	close_pair(&pair);
}

static void test_bad_targets(void **state)
{
	struct pair *pair = *state;
	struct side_target bad = pair->to_b;

	for (enum side_op op = SIDE_READ; op <= SIDE_WRITE; op++) {
		bad = pair->to_b;
		bad.rkey ^= 1u << 20;
		assert_int_equal(side_status_of(&pair->a, op, &bad, 0, 64), EFA_REMOTE_BAD_ADDRESS);
		bad = pair->to_b;
		bad.addr += SIDE_BYTES - 63;
		assert_int_equal(side_status_of(&pair->a, op, &bad, 0, 64), EFA_REMOTE_BAD_ADDRESS);
		bad.addr = pair->to_b.addr - 1;
		assert_int_equal(side_status_of(&pair->a, op, &bad, 0, 64), EFA_REMOTE_BAD_ADDRESS);
		bad.addr = UINT64_MAX - 10;
		assert_int_equal(side_status_of(&pair->a, op, &bad, 0, 64), EFA_REMOTE_BAD_ADDRESS);
		bad = pair->to_b;
		bad.qkey++;
		assert_int_equal(side_status_of(&pair->a, op, &bad, 0, 64), EFA_REMOTE_BAD_QPN);
		bad = pair->to_b;
		bad.qpn++;
		assert_int_equal(side_status_of(&pair->a, op, &bad, 0, 64), EFA_REMOTE_BAD_QPN);
	}
	for (uint32_t i = 0; i < SIDE_BYTES; i++)
		assert_int_equal(pair->b.memory[i], 0);
}

/* Rights, stale keys, and one's own memory. */
static void test_bad_memory(void **state)
{
	struct pair *pair = *state;
	struct ibv_mr *mr = ibv_reg_mr(pair->b.pd, pair->b.memory, 4096, IBV_ACCESS_REMOTE_READ);
	struct side_target target = pair->to_b;
	uint32_t lkey = pair->a.mr->lkey;

	target.rkey = mr->rkey;
	assert_int_equal(side_status_of(&pair->a, SIDE_READ, &target, 0, 64), EFA_OK);
	assert_int_equal(side_status_of(&pair->a, SIDE_WRITE, &target, 0, 64),
	                 EFA_REMOTE_BAD_ADDRESS);
	ibv_dereg_mr(mr);
	assert_int_equal(side_status_of(&pair->a, SIDE_READ, &target, 0, 64),
	                 EFA_REMOTE_BAD_ADDRESS);
	/* A slot that is used again has another key. */
	mr = ibv_reg_mr(pair->b.pd, pair->b.memory, 4096, IBV_ACCESS_REMOTE_READ);
	assert_int_not_equal(mr->rkey, target.rkey);
	ibv_dereg_mr(mr);
	pair->a.mr->lkey = pair->b.mr->lkey; /* of another NIC */
	assert_int_equal(side_status_of(&pair->a, SIDE_WRITE, &pair->to_b, 0, 64),
	                 EFA_INVALID_LKEY);
	pair->a.mr->lkey = lkey;
}

/* Its memory begins within a page of the file, and is called by an address of its own. */
static void test_dmabuf(void **state)
{
	struct pair *pair = *state;
	int fd = memfd_create("dmabuf", 0),
	    access = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE;
	struct side_target target = pair->to_b;
	struct ibv_mr *mr;

	assert_int_equal(ftruncate(fd, 3 * 4096), 0);
	mr = ibv_reg_dmabuf_mr(pair->b.pd, 4096 + 100, 5000, 1ull << 40, fd, access);
	target.rkey = mr->rkey;
	target.addr = 1ull << 40;
	assert_int_equal(side_status_of(&pair->a, SIDE_WRITE, &target, 0, 5000), EFA_OK);
	ibv_dereg_mr(mr);
	assert_int_equal(pread(fd, pair->b.memory, 5000, 4096 + 100), 5000);
	assert_landed(pair, 0, 5000);
	close(fd);
}

static void test_full_queues(void **state)
{
	struct pair *pair = *state;
	struct side_wc wc;

	for (int i = 0; i < SIDE_WRS; i++)
		assert_int_equal(side_post(&pair->a, SIDE_WRITE, &pair->to_b, 0, 8), 0);
	assert_int_equal(side_post(&pair->a, SIDE_WRITE, &pair->to_b, 0, 8), ENOMEM);
	usleep(20000); /* they are all done, but nobody has looked */
	assert_int_equal(side_post(&pair->a, SIDE_WRITE, &pair->to_b, 0, 8), ENOMEM);
	assert_int_equal(side_status(&pair->a), EFA_OK);
	assert_int_equal(side_post(&pair->a, SIDE_WRITE, &pair->to_b, 0, 8), 0);
	for (int i = 0; i < SIDE_WRS; i++)
		assert_int_equal(side_status(&pair->a), EFA_OK);
	assert_false(side_poll(&pair->a, 20, &wc));
	for (int i = 0; i < SIDE_WRS; i++)
		assert_int_equal(side_receive(&pair->b, 0, 8), 0);
	assert_int_equal(side_receive(&pair->b, 0, 8), ENOMEM);
}

/* A completion queue that nobody empties loses what comes. */
static void test_overflow(void **state)
{
	struct pair pair;
	struct side_wc wc;
	int n = 0;

	(void)state;
	open_pair(&pair, &(struct side_options){.nic = 1, .unsolicited = true, .cq_entries = 16});
	for (int i = 0; i < 40; i++)
		assert_int_equal(side_post(&pair.a, SIDE_WRITE_IMM, &pair.to_b, 0, 8), 0);
	for (int i = 0; i < 40; i++)
		assert_int_equal(side_status(&pair.a), EFA_OK);
	while (side_poll(&pair.b, 20, &wc))
		n++;
	assert_int_equal(n, 16);
	close_pair(&pair);
}

/* Who waits for ever for a receive gets through once there is one; too short a receive is an
 * error on both sides. */
static void test_receiver_not_ready(void **state)
{
	struct pair *pair = *state;
	struct ibv_qp_attr attr = {.rnr_retry = 7};
	struct side_wc wc;

	ibv_modify_qp(&pair->a.qp->qp_base, &attr, IBV_QP_RNR_RETRY);
	assert_int_equal(side_post(&pair->a, SIDE_SEND, &pair->to_b, 0, 100), 0);
	assert_false(side_poll(&pair->a, 50, &wc));
	assert_int_equal(side_receive(&pair->b, 0, 100), 0);
	assert_int_equal(side_status(&pair->a), EFA_OK);
	assert_int_equal(side_status(&pair->b), EFA_OK);
	assert_int_equal(side_receive(&pair->b, 0, 99), 0);
	assert_int_equal(side_post(&pair->a, SIDE_SEND, &pair->to_b, 0, 100), 0);
	assert_int_equal(side_status(&pair->a), EFA_REMOTE_BAD_LENGTH);
	assert_int_equal(side_status(&pair->b), EFA_BAD_LENGTH);
}

/* Sees a large write half landed: needs a rate at which it takes a while. */
static void test_landing_order(void **state)
{
	struct pair *pair = *state;
	uint32_t gaps = 0, pieces = SIDE_BYTES / MTU;
	bool landed, before = true;

	assert_int_equal(side_post(&pair->a, SIDE_WRITE, &pair->to_b, 0, SIDE_BYTES), 0);
	while (!gaps) {
		usleep(1000);
		for (uint32_t i = 0; i < pieces; i++) {
			landed = pair->b.memory[i * MTU] == pair->a.memory[i * MTU];
			gaps += landed && !before;
			before = landed;
		}
		if (before && !memcmp(pair->a.memory, pair->b.memory, SIDE_BYTES))
			break;
	}
	assert_int_equal(side_status(&pair->a), EFA_OK);
	assert_landed(pair, 0, SIDE_BYTES);
	assert_true(gaps > 0);
}

/* Destroying either end's queue pair is a fence: what has not landed by then never does. */
static void fence(struct pair *pair, struct side *who)
{
	uint8_t *before = malloc(SIDE_BYTES);

	assert_int_equal(side_post(&pair->a, SIDE_WRITE, &pair->to_b, 0, SIDE_BYTES), 0);
	usleep(5000);
	side_close_qp(who);
	memcpy(before, pair->b.memory, SIDE_BYTES);
	usleep(500000); /* more than all of it takes */
	assert_memory_equal(before, pair->b.memory, SIDE_BYTES);
	assert_memory_not_equal(before, pair->a.memory, SIDE_BYTES);
	free(before);
}

static void test_fence_here(void **state)
{
	struct pair *pair = *state;

	fence(pair, &pair->a);
}

static void test_fence_there(void **state)
{
	struct pair *pair = *state;

	fence(pair, &pair->b);
	assert_int_equal(side_status(&pair->a), EFA_REMOTE_BAD_QPN);
}

/* With jitter, operations overtake each other; all are told, and all bytes come. */
static void test_reordering(void **state)
{
	struct pair *pair = *state;
	struct side_wc wc;
	uint64_t newest = 0;
	int behind = 0;

	for (int i = 0; i < SIDE_WRS; i++)
		assert_int_equal(
			side_post(&pair->a, SIDE_WRITE, &pair->to_b, (uint64_t)i * 4096, 4096), 0);
	for (int i = 0; i < SIDE_WRS; i++) {
		assert_true(side_poll(&pair->a, 5000, &wc));
		assert_int_equal(wc.vendor_err, EFA_OK);
		behind += wc.wr_id < newest;
		if (wc.wr_id > newest)
			newest = wc.wr_id;
	}
	assert_true(behind > 0);
	assert_landed(pair, 0, SIDE_WRS * 4096);
}

/* What a process tells another one of itself. */
struct card {
	union ibv_gid gid;
	uint32_t qpn, rkey;
	uint64_t addr;
};

/* The program again, as a process on the other host. It is told whose reads and writes it must
 * take, and tells where they may go; both by its standard input. */
static int run_peer(void)
{
	struct side peer;
	union ibv_gid gid;
	struct card card;

	if (read(0, &gid, sizeof(gid)) != sizeof(gid))
		return 1;
	side_open(&peer, &(struct side_options){.nic = 1});
	side_handle(&peer, &gid);
	card = (struct card){peer.gid, peer.qp->qp_base.qp_num, peer.mr->rkey,
	                     (uintptr_t)peer.memory};
	return write(0, &card, sizeof(card)) != sizeof(card) || pause();
}

static pid_t start_peer(struct card *card, const struct side *side)
{
	int ends[2];
	pid_t pid;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	pid = fork();
	if (!pid) {
		setenv("SOFTEFA_HOST", "1", 1);
		dup2(ends[1], 0);
		execl("/proc/self/exe", "test_verbs", PEER, NULL);
		_exit(127);
	}
	close(ends[1]);
	assert_int_equal(write(ends[0], &side->gid, sizeof(side->gid)), sizeof(side->gid));
	assert_int_equal(read(ends[0], card, sizeof(*card)), sizeof(*card));
	close(ends[0]);
	return pid;
}

/* A peer that dies is noticed after the set delay, not before, and not never. */
static void test_death(void **state)
{
	struct pair *pair = *state;
	struct side_target target = pair->to_b;
	struct card card;
	pid_t pid = start_peer(&card, &pair->a);
	struct side_wc wc;

	target.ah = side_handle(&pair->a, &card.gid);
	target.qpn = card.qpn;
	target.rkey = card.rkey;
	target.addr = card.addr;
	assert_int_equal(side_status_of(&pair->a, SIDE_WRITE, &target, 0, 4096), EFA_OK);
	kill(pid, SIGSTOP); /* a NIC does not need its host's processor */
	assert_int_equal(side_status_of(&pair->a, SIDE_WRITE, &target, 0, 4096), EFA_OK);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	assert_int_equal(side_post(&pair->a, SIDE_WRITE, &target, 0, 4096), 0);
	assert_false(side_poll(&pair->a, 100, &wc)); /* --dead-ms 2000 */
	assert_int_equal(side_status(&pair->a), EFA_UNRESPONSIVE);
	ibv_destroy_ah(target.ah);
}

/* An address that is nobody's: known as such after a while, and in nobody's way. */
static void test_nobody(void **state)
{
	struct pair *pair = *state;
	struct side_target nobody = pair->to_b;
	union ibv_gid gid = pair->b.gid;
	struct side_wc wc;

	gid.raw[12] ^= 1;
	nobody.ah = side_handle(&pair->a, &gid);
	assert_int_equal(side_post(&pair->a, SIDE_WRITE, &pair->to_b, 0, 8), 0);
	assert_int_equal(side_post(&pair->a, SIDE_WRITE, &nobody, 64, 8), 0);
	assert_int_equal(side_post(&pair->a, SIDE_WRITE, &pair->to_b, 0, 8), 0);
	assert_int_equal(side_status(&pair->a), EFA_OK);
	assert_int_equal(side_status(&pair->a), EFA_OK);
	assert_false(side_poll(&pair->a, 100, &wc)); /* --dead-ms 2000 */
	assert_int_equal(side_status(&pair->a), EFA_UNREACHABLE);
	ibv_destroy_ah(nobody.ah);
}

static void test_limits(void **state)
{
	struct pair *pair = *state;

	assert_int_equal(side_post(&pair->a, SIDE_SEND, &pair->to_b, 0, MTU + 1), EINVAL);
	assert_int_equal(side_post(&pair->a, SIDE_WRITE, &pair->to_b, 0, (1u << 30) + 1), EINVAL);
	/* Refused requests take no place. */
	for (int i = 0; i < SIDE_WRS; i++)
		assert_int_equal(side_post(&pair->a, SIDE_WRITE, &pair->to_b, 0, 8), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(test_send),
		TEST(test_unknown_source),
		TEST(test_rdma),
		TEST(test_immediate),
		cmocka_unit_test(test_unsolicited),
		TEST(test_bad_targets),
		TEST(test_bad_memory),
		TEST(test_dmabuf),
		TEST(test_full_queues),
		cmocka_unit_test(test_overflow),
		TEST(test_receiver_not_ready),
		TEST(test_landing_order),
		TEST(test_fence_here),
		TEST(test_fence_there),
		TEST(test_reordering),
		TEST(test_death),
		TEST(test_nobody),
		TEST(test_limits),
	};

	if (argc > 1 && !strcmp(argv[1], PEER))
		return run_peer();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
