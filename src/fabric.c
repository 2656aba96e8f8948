/* SPDX-License-Identifier: MIT
 * The seam, filled with libfabric. Only offers.c and fabric_*.c know it besides. */
#include "fabric.h"
#include "efa.h"
#include "fabric_endpoint.h"
#include "fabric_events.h"
#include "fabric_memory.h"
#include "offers.h"
#include <endian.h>
#include <errno.h>
#include <rdma/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_eq.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>
#if FI_VERSION(FI_MAJOR_VERSION, FI_MINOR_VERSION) >= FI_VERSION(1, 18)
#include <rdma/fi_ext.h>
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A peer, as our endpoint's address vector knows it, and where its porch is. */
struct target {
	fi_addr_t messages, memory;
	uint64_t porch, porch_key;
};

/* Two endpoints: one starts all operations and gets messages; by the other one, the door, peers
 * write and read. So the door can be replaced at any time: nothing of ours is in flight on it, for
 * which a provider's fi_close would wait. With efa it has a queue of its own, as the other one has
 * to be read while the door is being closed. The porch is what peers read and write who greet us:
 * it is there for as long as the NIC is open, as no memory of the user's is. */
struct fabric_nic {
	struct fi_info *info;
	struct fid_fabric *fabric;
	struct fid_eq *eq;
	struct fid_domain *domain;
	struct endpoint main, door;
	struct endpoint old; /* a main one that was replaced, and still gets messages */
	struct target *targets;
	size_t target_count, target_room;
	size_t cq_size;
	struct fabric_mr *porch_mr;  /* NULL: peers need not greet */
	uint8_t porch[2];            /* a byte for them; one for ours */
	enum fabric_memory_kind gpu; /* how its memory is taken */
	uint32_t polls;              /* that found nothing */
};

_Static_assert(sizeof(struct fabric_op) >= sizeof(struct fi_context2), "room for FI_CONTEXT2");

const char *fabric_strerror(int err)
{
	const char *text = strerrordesc_np(abs(err));

	return text ? text : fi_strerror(abs(err));
}

static int fail(char why[FABRIC_WHY], const char *call, const char *name, int rc)
{
	const char *remedy = "";

	if (rc == -FI_EPERM || rc == -FI_EACCES)
		remedy = "; is /dev/infiniband readable for this user, and its container?";
	else if (rc == -FI_ENOMEM)
		remedy = "; check the memlock limit (ulimit -l) and free memory";
	snprintf(why, FABRIC_WHY, "%s on %s: %s%s", call, name, fabric_strerror(rc), remedy);
	return rc;
}

static void close_fid(struct fid *fid)
{
	if (fid)
		fi_close(fid);
}

/* Where something else waits for that, it has been done before. */
static void nic_shut(struct fabric_nic *nic)
{
	endpoint_close(&nic->door);
	endpoint_close(&nic->main);
}

static bool is_efa(const struct fabric_nic *nic)
{
	return !strcmp(nic->info->fabric_attr->prov_name, "efa");
}

/* Before 1.18 efa could not say so, and never wrote by the device. */
static bool nic_prefers_reads(const struct fabric_nic *nic)
{
#if FI_VERSION(FI_MAJOR_VERSION, FI_MINOR_VERSION) >= FI_VERSION(1, 18)
	bool writes = true, reads = true;
	size_t len = sizeof(bool);

	return is_efa(nic) &&
	       !fi_getopt(&nic->main.ep->fid, FI_OPT_ENDPOINT, FI_OPT_EFA_EMULATED_WRITE, &writes,
	                  &len) &&
	       !fi_getopt(&nic->main.ep->fid, FI_OPT_ENDPOINT, FI_OPT_EFA_EMULATED_READ, &reads,
	                  &len) &&
	       writes && !reads;
#else
	return is_efa(nic) && efa_devices().all_read;
#endif
}

/* efa's fi_close spins until the device has completed or failed all. */
static bool nic_shut_waits(const struct fabric_nic *nic)
{
	return is_efa(nic);
}

static void nic_close(struct fabric_nic *nic)
{
	nic_shut(nic);
	if (nic->porch_mr)
		fabric_memory_deregister(nic->porch_mr);
	close_fid(nic->domain ? &nic->domain->fid : NULL);
	close_fid(nic->eq ? &nic->eq->fid : NULL);
	close_fid(nic->fabric ? &nic->fabric->fid : NULL);
	fi_freeinfo(nic->info);
	free(nic->targets);
	free(nic);
}

static size_t at_most(size_t have, size_t want)
{
	return have && have < want ? have : want;
}

static int open_domain(struct fabric_nic *nic, const char *name, char why[FABRIC_WHY])
{
	struct fi_eq_attr eq = {.wait_obj = FI_WAIT_NONE};
	int rc;

	if ((rc = fi_fabric(nic->info->fabric_attr, &nic->fabric, NULL)))
		return fail(why, "fi_fabric", name, rc);
	if ((rc = fi_eq_open(nic->fabric, &eq, &nic->eq, NULL)))
		return fail(why, "fi_eq_open", name, rc);
	if ((rc = fi_domain(nic->fabric, nic->info, &nic->domain, NULL)))
		return fail(why, "fi_domain", name, rc);
	nic->gpu = fabric_memory_gpu(nic->info, nic->domain, nic->fabric->api_version);
	return 0;
}

static int open_porch(struct fabric_nic *nic, const char *name, char why[FABRIC_WHY])
{
	const struct fabric_memory porch = {.addr = nic->porch, .len = sizeof(nic->porch)};
	int rc = is_efa(nic) ? fabric_memory_register(nic->domain, &porch, 0, &nic->porch_mr) : 0;

	return rc ? fail(why, "fi_mr_regattr", name, rc) : 0;
}

/* cq: another's that it shares, or NULL. Without an event queue efa ends the process on some
 * errors; others need none. */
static int open_one(struct fabric_nic *nic, struct fid_cq *cq, struct endpoint *out,
                    const char **call)
{
	return endpoint_open(nic->domain, nic->info, is_efa(nic) ? nic->eq : NULL, cq, nic->cq_size,
	                     out, call);
}

static int open_door(struct fabric_nic *nic, const char **call)
{
	return open_one(nic, is_efa(nic) ? NULL : nic->main.cq, &nic->door, call);
}

static int open_endpoint(struct fabric_nic *nic, const char *name, char why[FABRIC_WHY])
{
	const char *call;
	int rc;

	if ((rc = open_one(nic, NULL, &nic->main, &call)) || (rc = open_door(nic, &call)))
		return fail(why, call, name, rc);
	return 0;
}

static int nic_open(const struct fabric_offer *offer, const struct fabric_limits *limits,
                    struct fabric_nic **out, char why[FABRIC_WHY])
{
	struct fabric_nic *nic = calloc(1, sizeof(*nic));
	int rc;

	if (!nic)
		return fail(why, "calloc", offer->name, -ENOMEM);
	nic->info = fi_dupinfo(offer->handle);
	if (!nic->info) {
		free(nic);
		return fail(why, "fi_dupinfo", offer->name, -ENOMEM);
	}
	/* An efa endpoint at its default sizes costs tens of megabytes. */
	nic->info->tx_attr->size = at_most(nic->info->tx_attr->size, limits->sends);
	nic->info->rx_attr->size = at_most(nic->info->rx_attr->size, limits->receives);
	/* Arrivals share the queue with our own completions. */
	nic->cq_size = 4 * (limits->sends + limits->receives);
	if ((rc = open_domain(nic, offer->name, why)) || (rc = open_porch(nic, offer->name, why)) ||
	    (rc = open_endpoint(nic, offer->name, why))) {
		nic_close(nic);
		return rc;
	}
	*out = nic;
	return 0;
}

/* Registrations belong to the domain and stay as they are. */
static int nic_reopen(struct fabric_nic *nic)
{
	char why[FABRIC_WHY];

	nic->target_count = 0;
	return open_endpoint(nic, nic->info->domain_attr->name, why);
}

static int nic_replace(struct fabric_nic *nic)
{
	nic->old = nic->main;
	nic->main = (struct endpoint){0};
	return nic_reopen(nic);
}

static int nic_retire(struct fabric_nic *nic, enum fabric_part part)
{
	bool closed = true;

	if (!is_efa(nic))
		return 0;
	if (part != FABRIC_OLD)
		closed &= endpoint_retire(&nic->door);
	if (part != FABRIC_DOOR)
		closed &= endpoint_retire(&nic->old);
	if (part == FABRIC_ALL)
		closed &= endpoint_retire(&nic->main);
	return closed ? 0 : -EAGAIN;
}

static int nic_renew(struct fabric_nic *nic)
{
	const char *call;

	endpoint_close(&nic->door);
	return open_door(nic, &call);
}

static void nic_abandon(struct fabric_nic *nic)
{
	endpoint_abandon(&nic->door);
	endpoint_abandon(&nic->old);
	endpoint_abandon(&nic->main);
}

static uint64_t nic_base(const struct fabric_nic *nic, const void *addr)
{
	return nic->info->domain_attr->mr_mode & FI_MR_VIRT_ADDR ? (uintptr_t)addr : 0;
}

/* The length of a name, the endpoint's, the door's; and the porch, if there is one. */
static ssize_t nic_address(struct fabric_nic *nic, void *buf, size_t len)
{
	uint8_t *bytes = buf;
	size_t first = len ? len - 1 : 0, second;
	uint64_t porch[2];
	int rc;

	if (!nic->door.ep)
		return -EAGAIN;
	if ((rc = fi_getname(&nic->main.ep->fid, bytes + 1, &first)))
		return rc;
	second = len - 1 - first;
	if ((rc = fi_getname(&nic->door.ep->fid, bytes + 1 + first, &second)))
		return rc;
	bytes[0] = first;
	if (!nic->porch_mr)
		return 1 + first + second;
	if (first != second || 1 + 2 * first + sizeof(porch) > len)
		return -ENOSPC;
	porch[0] = htole64(nic_base(nic, nic->porch));
	porch[1] = htole64(fabric_memory_key(nic->porch_mr));
	memcpy(bytes + 1 + 2 * first, porch, sizeof(porch));
	return 1 + 2 * first + sizeof(porch);
}

static int insert_one(struct fid_av *av, const void *address, fi_addr_t *out)
{
	int rc = fi_av_insert(av, address, 1, out, 0, NULL);

	return rc == 1 ? 0 : rc < 0 ? rc : -EADDRNOTAVAIL;
}

/* Both names are of one length where a porch follows. */
static void find_porch(const uint8_t *address, struct target *target)
{
	uint64_t porch[2];

	memcpy(porch, address + 1 + 2 * address[0], sizeof(porch));
	target->porch = le64toh(porch[0]);
	target->porch_key = le64toh(porch[1]);
}

static int nic_insert(struct fabric_nic *nic, const void *address, uint64_t *peer)
{
	const uint8_t *bytes = address;
	size_t room = nic->target_room ? 2 * nic->target_room : 16;
	struct target target = {0}, *targets;
	int rc;

	if ((rc = insert_one(nic->main.av, bytes + 1, &target.messages)) ||
	    (rc = insert_one(nic->main.av, bytes + 1 + bytes[0], &target.memory)))
		return rc;
	if (nic->porch_mr)
		find_porch(bytes, &target);
	if (nic->target_count == nic->target_room) {
		targets = realloc(nic->targets, room * sizeof(*targets));
		if (!targets)
			return -ENOMEM;
		nic->targets = targets;
		nic->target_room = room;
	}
	nic->targets[nic->target_count] = target;
	*peer = nic->target_count++;
	return 0;
}

/* With the first address efa's vectors make room for 16,384, which takes 40 MB each, and some 15
 * ms: they are given our own. */
static int nic_warm(struct fabric_nic *nic, bool door)
{
	uint8_t address[FABRIC_ADDRESS_MAX];
	ssize_t len = is_efa(nic) ? nic_address(nic, address, sizeof(address)) : 0;
	fi_addr_t ours;

	if (len <= 0)
		return len;
	return door ? insert_one(nic->door.av, address + 1 + address[0], &ours)
	            : insert_one(nic->main.av, address + 1, &ours);
}

static void nic_remove(struct fabric_nic *nic, uint64_t peer)
{
	fi_av_remove(nic->main.av, &nic->targets[peer].messages, 1, 0);
	fi_av_remove(nic->main.av, &nic->targets[peer].memory, 1, 0);
}

static enum fabric_memory_kind nic_gpu(const struct fabric_nic *nic)
{
	return nic->gpu;
}

static int nic_reg(struct fabric_nic *nic, const struct fabric_memory *memory, uint64_t key,
                   struct fabric_mr **out)
{
	return fabric_memory_register(nic->domain, memory, key, out);
}

/* An emulated write is usually done when its bytes are in a buffer of the peer's provider. */
static int write_delivered(struct fabric_nic *nic, const struct fabric_rma *rma,
                           struct fabric_op *op)
{
	struct iovec iov = {.iov_base = rma->local, .iov_len = rma->len};
	struct fi_rma_iov to = {.addr = rma->remote, .len = rma->len, .key = rma->key};
	struct fi_msg_rma message = {
		.msg_iov = &iov,
		.desc = &rma->mr->desc,
		.iov_count = 1,
		.addr = nic->targets[rma->peer].memory,
		.rma_iov = &to,
		.rma_iov_count = 1,
		.context = op,
		.data = rma->immediate,
	};

	return fi_writemsg(nic->main.ep, &message,
	                   FI_DELIVERY_COMPLETE | FI_COMPLETION |
	                           (rma->notify ? FI_REMOTE_CQ_DATA : 0));
}

static int nic_write(struct fabric_nic *nic, const struct fabric_rma *rma, struct fabric_op *op)
{
	if (rma->delivered)
		return write_delivered(nic, rma, op);
	if (rma->notify)
		return fi_writedata(nic->main.ep, rma->local, rma->len, rma->mr->desc,
		                    rma->immediate, nic->targets[rma->peer].memory, rma->remote,
		                    rma->key, op);
	return fi_write(nic->main.ep, rma->local, rma->len, rma->mr->desc,
	                nic->targets[rma->peer].memory, rma->remote, rma->key, op);
}

static int nic_read(struct fabric_nic *nic, const struct fabric_rma *rma, struct fabric_op *op)
{
	return fi_read(nic->main.ep, rma->local, rma->len, rma->mr->desc,
	               nic->targets[rma->peer].memory, rma->remote, rma->key, op);
}

/* Before it has the peer's half of the handshake efa takes no delivered write. */
static int nic_greet(struct fabric_nic *nic, uint64_t peer, bool answered, struct fabric_op *op)
{
	const struct target *target = &nic->targets[peer];
	const struct fabric_rma byte = {
		.local = &nic->porch[1],
		.mr = nic->porch_mr,
		.len = 1,
		.peer = peer,
		.remote = target->porch,
		.key = target->porch_key,
	};

	return answered ? write_delivered(nic, &byte, op) : nic_read(nic, &byte, op);
}

static int nic_send(struct fabric_nic *nic, const void *buf, size_t len, struct fabric_mr *mr,
                    uint64_t peer, struct fabric_op *op)
{
	return fi_send(nic->main.ep, buf, len, mr->desc, nic->targets[peer].messages, op);
}

static int nic_recv(struct fabric_nic *nic, void *buf, size_t len, struct fabric_mr *mr,
                    struct fabric_op *op)
{
	return fi_recv(nic->main.ep, buf, len, mr->desc, FI_ADDR_UNSPEC, op);
}

static int nic_poll(struct fabric_nic *nic, struct fabric_event *events, int max)
{
	int n = events_read(nic->main.cq, events, max);

	if (nic->door.cq && n < max)
		n += events_read(nic->door.cq, events + n, max - n);
	if (nic->old.cq && n < max)
		n += events_read(nic->old.cq, events + n, max - n);
	return n || ++nic->polls % 4096 ? n : events_read_errors(nic->eq, events);
}

const struct fabric_ops fabric_libfabric = {
	.list = offers_list,
	.list_close = offers_close,
	.open = nic_open,
	.shut = nic_shut,
	.prefers_reads = nic_prefers_reads,
	.shut_waits = nic_shut_waits,
	.reopen = nic_reopen,
	.replace = nic_replace,
	.retire = nic_retire,
	.renew = nic_renew,
	.abandon = nic_abandon,
	.close = nic_close,
	.address = nic_address,
	.insert = nic_insert,
	.remove = nic_remove,
	.warm = nic_warm,
	.gpu = nic_gpu,
	.reg = nic_reg,
	.dereg = fabric_memory_deregister,
	.key = fabric_memory_key,
	.base = nic_base,
	.write = nic_write,
	.read = nic_read,
	.greet = nic_greet,
	.send = nic_send,
	.recv = nic_recv,
	.poll = nic_poll,
};
