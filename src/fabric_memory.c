/* SPDX-License-Identifier: MIT
 * Memory, as libfabric registers it: the host's, and a GPU's by address or as a dmabuf. */
#include "fabric_memory.h"
#include <errno.h>
#include <rdma/fabric.h>
#include <rdma/fi_domain.h>
#include <string.h>
#include <sys/uio.h>

enum fabric_memory_kind fabric_memory_gpu(const struct fi_info *info, uint32_t version)
{
	if (!(info->caps & FI_HMEM))
		return FABRIC_HOST;
#ifdef FI_MR_DMABUF
	/* Others than efa may not look at the flag, and take the structure for another. */
	if (FI_VERSION_GE(version, FI_VERSION(1, 20)) &&
	    !strcmp(info->fabric_attr->prov_name, "efa"))
		return FABRIC_DMABUF;
#else
	(void)version;
#endif
	return FABRIC_GPU;
}

#ifdef FI_MR_DMABUF
static int register_dmabuf(struct fid_domain *domain, const struct fabric_memory *memory,
                           struct fi_mr_attr *attr, struct fid_mr **out)
{
	/* A peer names its bytes by base_addr + offset, which is what their address is here. */
	const struct fi_mr_dmabuf dmabuf = {
		.fd = memory->fd,
		.offset = memory->offset,
		.len = memory->len,
		.base_addr = (uint8_t *)memory->addr - memory->offset,
	};

	attr->dmabuf = &dmabuf;
	return fi_mr_regattr(domain, attr, FI_MR_DMABUF, out);
}
#else
static int register_dmabuf(struct fid_domain *domain, const struct fabric_memory *memory,
                           struct fi_mr_attr *attr, struct fid_mr **out)
{
	(void)domain;
	(void)memory;
	(void)attr;
	(void)out;
	return -EOPNOTSUPP;
}
#endif

int fabric_memory_register(struct fid_domain *domain, const struct fabric_memory *memory,
                           uint64_t key, struct fid_mr **out)
{
	const uint64_t access =
		FI_SEND | FI_RECV | FI_READ | FI_WRITE | FI_REMOTE_READ | FI_REMOTE_WRITE;
	const struct iovec iov = {.iov_base = memory->addr, .iov_len = memory->len};
	struct fi_mr_attr attr = {
		.mr_iov = &iov,
		.iov_count = 1,
		.access = access,
		.requested_key = key,
		.iface = FI_HMEM_CUDA,
		.device.cuda = memory->device,
	};

	switch (memory->kind) {
	case FABRIC_DMABUF:
		return register_dmabuf(domain, memory, &attr, out);
	case FABRIC_GPU:
		return fi_mr_regattr(domain, &attr, 0, out);
	default:
		return fi_mr_reg(domain, memory->addr, memory->len, access, 0, key, 0, out, NULL);
	}
}
