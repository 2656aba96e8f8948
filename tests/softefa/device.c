/* SPDX-License-Identifier: MIT
 * The devices: found, opened, asked what they can do. */
#include "objects.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#undef ibv_get_device_list
#undef ibv_query_port

#define VENDOR_AMAZON 0x1d0f
#define MAX_MR_SIZE   (1ull << 38)

static struct ibv_device devices[MAX_NICS];

static void fill_device(struct ibv_device *device, uint32_t nic)
{
	const struct shm_config *config = &process.shm->config;

	memset(device, 0, sizeof(*device));
	device->node_type = IBV_NODE_UNSPECIFIED;
	device->transport_type = IBV_TRANSPORT_UNSPECIFIED;
	snprintf(device->name, sizeof(device->name), "%s", config->name[nic]);
	snprintf(device->dev_name, sizeof(device->dev_name), "uverbs%u", nic);
	snprintf(device->dev_path, sizeof(device->dev_path),
	         "%s/sys/class/infiniband_verbs/uverbs%u", process.dir, nic);
	snprintf(device->ibdev_path, sizeof(device->ibdev_path), "%s/sys/class/infiniband/%s",
	         process.dir, config->name[nic]);
}

/* SOFTEFA_NICS names those that this process sees, as a container may be given some: "0,3". */
static bool is_visible(uint32_t nic)
{
	const char *at = getenv("SOFTEFA_NICS");
	char *end;

	if (!at || !*at)
		return true;
	for (; *at; at = *end ? end + 1 : end) {
		if (strtoul(at, &end, 10) == nic && end != at)
			return true;
		if (*end && *end != ',')
			return false;
	}
	return false;
}

EXPORT struct ibv_device **ibv_get_device_list(int *count)
{
	uint32_t nics = process_join() ? process.shm->config.nics : 0, n = 0;
	struct ibv_device **list = calloc(nics + 1, sizeof(struct ibv_device *));

	for (uint32_t i = 0; list && i < nics; i++) {
		if (!is_visible(i))
			continue;
		fill_device(&devices[i], i);
		list[n++] = &devices[i];
	}
	if (count)
		*count = (int)n;
	return list;
}

EXPORT void ibv_free_device_list(struct ibv_device **list)
{
	free((void *)list);
}

EXPORT const char *ibv_get_device_name(struct ibv_device *device)
{
	return device->name;
}

static __be64 guid(uint32_t nic)
{
	uint8_t gid[16];
	__be64 out;

	gid_make(process.host, nic, gid);
	memcpy(&out, gid + 8, sizeof(out));
	return out;
}

EXPORT __be64 ibv_get_device_guid(struct ibv_device *device)
{
	return guid((uint32_t)(device - devices));
}

/* Callers may know a shorter struct than we do, or a longer one. */
static void copy_out(void *out, size_t room, const void *from, size_t len)
{
	memset(out, 0, room);
	memcpy(out, from, len < room ? len : room);
}

static int query_port(struct ibv_context *ibv, uint8_t port, struct ibv_port_attr *out, size_t room)
{
	const struct ibv_port_attr attr = {
		.state = IBV_PORT_ACTIVE,
		.max_mtu = IBV_MTU_4096,
		.active_mtu = IBV_MTU_4096,
		.gid_tbl_len = 1,
		.pkey_tbl_len = 1,
		.max_msg_sz = MTU,
		.active_width = 2,
		.active_speed = 64,
		.phys_state = 5,
		.link_layer = IBV_LINK_LAYER_UNSPECIFIED,
		.max_vl_num = 1,
	};

	(void)ibv;
	if (port != 1)
		return EINVAL;
	copy_out(out, room, &attr, sizeof(attr));
	return 0;
}

EXPORT int ibv_query_port(struct ibv_context *ibv, uint8_t port, struct _compat_ibv_port_attr *out)
{
	return query_port(ibv, port, (struct ibv_port_attr *)out,
	                  offsetof(struct ibv_port_attr, port_cap_flags2));
}

EXPORT int ibv_query_device(struct ibv_context *ibv, struct ibv_device_attr *out)
{
	const struct shm_config *config = &process.shm->config;

	*out = (struct ibv_device_attr){
		.fw_ver = "softefa",
		.node_guid = guid(context_of(ibv)->nic),
		.max_mr_size = MAX_MR_SIZE,
		.page_size_cap = 0xfffff000,
		.vendor_id = VENDOR_AMAZON,
		.vendor_part_id = config->vendor_part_id,
		.hw_ver = config->vendor_part_id,
		.max_qp = MAX_QPS / 8,
		.max_qp_wr = SEND_WRS_MAX,
		.max_sge = SEND_SGES,
		.max_sge_rd = 1,
		.max_cq = MAX_CQS / 8,
		.max_cqe = CQ_MAX,
		.max_mr = MAX_MRS / 8,
		.max_pd = 256,
		.max_ah = MAX_ADDRESSES,
		.max_pkeys = 1,
		.phys_port_cnt = 1,
	};
	return 0;
}

static int query_device_ex(struct ibv_context *ibv, const struct ibv_query_device_ex_input *input,
                           struct ibv_device_attr_ex *out, size_t room)
{
	struct ibv_device_attr_ex attr = {0};

	(void)input;
	ibv_query_device(ibv, &attr.orig_attr);
	copy_out(out, room, &attr, sizeof(attr));
	return 0;
}

EXPORT int efadv_query_device(struct ibv_context *ibv, struct efadv_device_attr *out, uint32_t room)
{
	const struct efadv_device_attr attr = {
		.max_sq_wr = SEND_WRS_MAX,
		.max_rq_wr = RQ_MAX,
		.max_sq_sge = SEND_SGES,
		.max_rq_sge = RQ_SGES,
		.inline_buf_size = INLINE_MAX,
		.device_caps = process.shm->config.caps,
		.max_rdma_size = RDMA_MAX,
	};

	(void)ibv;
	copy_out(out, room, &attr, sizeof(attr));
	return 0;
}

EXPORT int ibv_query_gid(struct ibv_context *ibv, uint8_t port, int index, union ibv_gid *gid)
{
	if (port != 1 || index)
		return -1;
	gid_make(process.host, context_of(ibv)->nic, gid->raw);
	return 0;
}

EXPORT int ibv_query_pkey(struct ibv_context *ibv, uint8_t port, int index, __be16 *pkey)
{
	(void)ibv;
	(void)port;
	(void)index;
	*pkey = 0xffff;
	return 0;
}

/* Nobody blocks here: the provider polls. */
static int request_notify(struct ibv_cq *cq, int solicited)
{
	(void)cq;
	(void)solicited;
	return 0;
}

static struct ibv_qp *create_plain_qp(struct ibv_context *ibv, struct ibv_qp_init_attr_ex *attr)
{
	return qp_create(ibv, attr, false);
}

EXPORT struct ibv_context *ibv_open_device(struct ibv_device *device)
{
	struct context *context = calloc(1, sizeof(*context));
	struct ibv_context *ibv;

	if (!context)
		return NULL;
	context->nic = (uint32_t)(device - devices);
	pthread_mutex_init(&context->lock, NULL);
	context->verbs.sz = sizeof(context->verbs);
	context->verbs.query_port = query_port;
	context->verbs.query_device_ex = query_device_ex;
	context->verbs.create_cq_ex = cq_create;
	context->verbs.create_qp_ex = create_plain_qp;
	ibv = &context->verbs.context;
	ibv->device = device;
	ibv->abi_compat = __VERBS_ABI_IS_EXTENDED;
	ibv->cmd_fd = ibv->async_fd = -1;
	ibv->num_comp_vectors = 1;
	ibv->ops.post_send = qp_post_send;
	ibv->ops.post_recv = qp_post_recv;
	ibv->ops.req_notify_cq = request_notify;
	return ibv;
}

EXPORT int ibv_close_device(struct ibv_context *ibv)
{
	struct context *context = context_of(ibv);

	pthread_mutex_destroy(&context->lock);
	free(context);
	return 0;
}

EXPORT int ibv_fork_init(void)
{
	return 0;
}

EXPORT enum ibv_fork_status ibv_is_fork_initialized(void)
{
	return IBV_FORK_UNNEEDED;
}

EXPORT struct ibv_pd *ibv_alloc_pd(struct ibv_context *ibv)
{
	struct ibv_pd *pd = calloc(1, sizeof(*pd));

	if (pd)
		pd->context = ibv;
	return pd;
}

EXPORT int ibv_dealloc_pd(struct ibv_pd *pd)
{
	free(pd);
	return 0;
}
