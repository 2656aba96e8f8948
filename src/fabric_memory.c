/* SPDX-License-Identifier: MIT
 * Memory, as libfabric registers it: the host's, and a GPU's by address or as a dmabuf. */
#include "fabric_memory.h"
#include <errno.h>
#include <rdma/fabric.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

static int register_dmabuf(struct fid_domain *domain, const struct fabric_memory *memory,
                           struct fi_mr_attr *attr, struct fid_mr **out)
{
#ifdef FI_MR_DMABUF /* libfabric 1.20 */
	/* A peer names its bytes by base_addr + offset, which is what their address is here. */
	const struct fi_mr_dmabuf dmabuf = {
		.fd = memory->fd,
		.offset = memory->offset,
		.len = memory->len,
		.base_addr = (uint8_t *)memory->addr - memory->offset,
	};

	attr->dmabuf = &dmabuf;
	return fi_mr_regattr(domain, attr, FI_MR_DMABUF, out);
#else
	(void)domain;
	(void)memory;
	(void)attr;
	(void)out;
	return -EOPNOTSUPP;
#endif
}

static int register_kind(struct fid_domain *domain, const struct fabric_memory *memory,
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

int fabric_memory_register(struct fid_domain *domain, const struct fabric_memory *memory,
                           uint64_t key, struct fabric_mr **out)
{
	struct fabric_mr *mr = calloc(1, sizeof(*mr));
	int rc;

	if (!mr)
		return -ENOMEM;
	if ((rc = register_kind(domain, memory, key, &mr->fid))) {
		free(mr);
		return rc;
	}
	mr->desc = fi_mr_desc(mr->fid);
	*out = mr;
	return 0;
}

int fabric_memory_deregister(struct fabric_mr *mr)
{
	int rc = fi_close(&mr->fid->fid);

	free(mr);
	return rc;
}

uint64_t fabric_memory_key(const struct fabric_mr *mr)
{
	return fi_mr_key(mr->fid);
}

/* It claims to take GPU memory also where libfabric was built without CUDA, unless it is efa. What
 * is asked with is the host's: some other error is no answer. */
static bool knows_cuda(struct fid_domain *domain)
{
	static uint8_t byte;
	const struct fabric_memory memory = {
		.addr = &byte, .len = sizeof(byte), .kind = FABRIC_GPU};
	struct fid_mr *mr;
	int rc = register_kind(domain, &memory, 1, &mr);

	if (!rc)
		fi_close(&mr->fid);
	return rc != -FI_ENOSYS;
}

enum fabric_memory_kind fabric_memory_gpu(const struct fi_info *info, struct fid_domain *domain,
                                          uint32_t version)
{
	bool is_efa = !strcmp(info->fabric_attr->prov_name, "efa");

	if (!(info->caps & FI_HMEM) || (!is_efa && !knows_cuda(domain)))
		return FABRIC_HOST;
#ifdef FI_MR_DMABUF
	/* Others may not look at the flag, and take the structure for another. */
	if (is_efa && FI_VERSION_GE(version, FI_VERSION(1, 20)))
		return FABRIC_DMABUF;
#else
	(void)version;
#endif
	return FABRIC_GPU;
}
