/* SPDX-License-Identifier: MIT
 * Regions of GPU memory: what is refused, and how rails get to it. */
#include "gpu.h"
#include "context.h"
#include "log.h"
#include "memory.h"
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

/* What Python calls the setting that makes cuMemMap's memory. */
#define SEGMENTS "cuMemMap (PyTorch's expandable_segments)"

static enum fabric_memory_kind how_taken(const struct kvr *kvr)
{
	return kvr->fabric->gpu ? kvr->fabric->gpu(kvr->rails[0].nic) : FABRIC_HOST;
}

static int refuse_managed(const struct kvr_region *region)
{
	log_error("kvr_region_open: %p is managed memory, whose pages move between host and GPU "
	          "while a NIC would still use the old ones: allocate it with cudaMalloc or "
	          "cudaMallocHost",
	          (void *)region->addr);
	return -EOPNOTSUPP;
}

static int check_host(const struct kvr_region *region)
{
	struct cuda_memory memory = cuda_look(region->addr);

	switch (memory.kind) {
	case CUDA_NONE:
	case CUDA_PINNED:
		return 0;
	case CUDA_MANAGED:
		return refuse_managed(region);
	default:
		log_error("kvr_region_open: %p is memory of GPU %d: pass %d as cuda_device, not "
		          "KVR_HOST, or memory of the host",
		          (void *)region->addr, memory.device, memory.device);
		return -EINVAL;
	}
}

static int check_extent(const struct kvr_region *region)
{
	size_t extent = cuda_extent(&region->cuda, region->kind, region->addr, region->len);

	if (extent == region->len)
		return 0;
	log_error("kvr_region_open: of %llu bytes at %p only the first %zu are %s of GPU %d: open "
	          "a region for each allocation",
	          (unsigned long long)region->len, (void *)region->addr, extent,
	          region->kind == CUDA_PLAIN ? "one allocation" : "mapped memory",
	          region->cuda.device);
	return -EINVAL;
}

/* In its GPU's context. */
static int check_gpu(struct kvr_region *region)
{
	struct cuda_memory memory = cuda_look(region->addr);
	int device = region->cuda.device;

	region->kind = memory.kind;
	switch (memory.kind) {
	case CUDA_NONE:
	case CUDA_PINNED:
		log_error("kvr_region_open: %p is memory of the host, not of GPU %d: pass KVR_HOST",
		          (void *)region->addr, device);
		return -EINVAL;
	case CUDA_MANAGED:
		return refuse_managed(region);
	default:
		if (memory.device == device)
			return check_extent(region);
		log_error("kvr_region_open: %p is memory of GPU %d, not %d: pass %d as cuda_device",
		          (void *)region->addr, memory.device, device, memory.device);
		return -EINVAL;
	}
}

static void say_not_taken(const struct kvr *kvr, char why[static FABRIC_WHY])
{
	snprintf(why, FABRIC_WHY,
	         "provider %s does not take it here: use efa with a libfabric that has CUDA "
	         "(FI_HMEM), or copy to memory of the host",
	         kvr->provider);
}

static int check_provider(const struct kvr_region *region)
{
	enum fabric_memory_kind how = how_taken(region->kvr);
	char why[FABRIC_WHY];

	if (how == FABRIC_HOST) {
		say_not_taken(region->kvr, why);
		log_error("kvr_region_open: memory of GPU %d: %s", region->cuda.device, why);
		return -EOPNOTSUPP;
	}
	if (region->kind == CUDA_PLAIN || (how == FABRIC_DMABUF && region->cuda.exports))
		return 0;
	log_error("kvr_region_open: memory of " SEGMENTS " is registered as a dmabuf only, and %s: "
	          "allocate it with cudaMalloc (expandable_segments:False)",
	          how == FABRIC_DMABUF ? "this GPU's driver exports none"
	                               : "that wants provider efa of libfabric 1.20 or newer, also "
	                                 "when kvrail is built");
	return -EOPNOTSUPP;
}

int gpu_open(struct kvr_region *region, int cuda_device)
{
	char why[CUDA_WHY];
	int rc;

	region->cuda.device = -1;
	if (cuda_device == KVR_HOST)
		return check_host(region);
	if (cuda_device < 0) {
		log_error("kvr_region_open: cuda_device %d is neither KVR_HOST nor a GPU's number",
		          cuda_device);
		return -EINVAL;
	}
	rc = cuda_gpu_open(cuda_device, &region->cuda, why);
	if (!rc && (rc = cuda_enter(&region->cuda, why)))
		gpu_close(region);
	if (rc) {
		log_error("kvr_region_open: GPU %d: %s", cuda_device, why);
		return rc;
	}
	rc = check_gpu(region);
	cuda_leave();
	if (!rc)
		rc = check_provider(region);
	if (rc)
		gpu_close(region);
	return rc;
}

void gpu_close(struct kvr_region *region)
{
	if (region->cuda.device >= 0)
		cuda_gpu_close(&region->cuda);
}

static int register_export(struct kvr_region *region, unsigned int r, uint64_t key,
                           char why[static CUDA_WHY])
{
	struct rail *rail = &region->kvr->rails[r];
	struct fabric_memory memory = {.addr = region->addr,
	                               .len = region->len,
	                               .kind = FABRIC_DMABUF,
	                               .device = region->cuda.device};
	struct cuda_export file;
	int rc = cuda_export(region->addr, region->len, &file, why);

	if (rc)
		return rc;
	memory.fd = file.fd;
	memory.offset = file.offset;
	rc = rail->fabric->reg(rail->nic, &memory, key, &region->mr[r]);
	close(file.fd);
	if (rc)
		snprintf(why, CUDA_WHY, "as a dmabuf: %s", kvr_strerror(rc));
	return rc;
}

static int register_address(struct kvr_region *region, unsigned int r, uint64_t key,
                            char why[static CUDA_WHY])
{
	struct rail *rail = &region->kvr->rails[r];
	const struct fabric_memory memory = {.addr = region->addr,
	                                     .len = region->len,
	                                     .kind = FABRIC_GPU,
	                                     .device = region->cuda.device};
	int rc = rail->fabric->reg(rail->nic, &memory, key, &region->mr[r]);

	if (rc)
		snprintf(why, CUDA_WHY, "by its address: %s", kvr_strerror(rc));
	return rc;
}

/* As a dmabuf where that goes; what is not of cuMemMap, by its address where it does not. */
static int register_somehow(struct kvr_region *region, unsigned int r, uint64_t key,
                            char why[static CUDA_WHY])
{
	bool exports = how_taken(region->kvr) == FABRIC_DMABUF && region->cuda.exports;
	int rc = exports ? register_export(region, r, key, why) : -EOPNOTSUPP;

	if (!rc || region->kind != CUDA_PLAIN)
		return rc;
	if (exports)
		log_detail("rail %s: memory of GPU %d: %s; trying it by its address",
		           region->kvr->rails[r].name, region->cuda.device, why);
	return register_address(region, r, key, why);
}

int gpu_register(struct kvr_region *region, unsigned int r, uint64_t key)
{
	static const char unreached[] =
		"; it wants GPUDirect RDMA (efa_nv_peermem, nvidia_peermem or a kernel with "
		"dmabuf) and a libfabric built with CUDA";
	static const char unreachable[] =
		"; it was allocated without gpuDirectRDMACapable, so no NIC gets to it";
	char why[CUDA_WHY] = "";
	const char *remedy = "";
	int rc = cuda_enter(&region->cuda, why);

	if (!rc) {
		rc = register_somehow(region, r, key, why);
		if (rc)
			remedy = cuda_is_reachable(region->addr) ? unreached : unreachable;
		cuda_leave();
	}
	if (rc)
		log_error("rail %s: registering %llu bytes of GPU %d: %s%s",
		          region->kvr->rails[r].name, (unsigned long long)region->len,
		          region->cuda.device, why, remedy);
	return rc;
}

int kvr_gpu_memory(const struct kvr *kvr, char *why, size_t len)
{
	enum fabric_memory_kind how = how_taken(kvr);
	char reason[FABRIC_WHY];
	int count = cuda_count(reason);

	if (count >= 0 && how == FABRIC_HOST)
		say_not_taken(kvr, reason);
	else if (count >= 0)
		snprintf(reason, sizeof(reason), "of %d GPU%s, %s", count, count == 1 ? "" : "s",
		         how == FABRIC_DMABUF ? "as a dmabuf, else by its address"
		                              : "by its address, so none of " SEGMENTS);
	if (len)
		snprintf(why, len, "%s", reason);
	return count >= 0 && how != FABRIC_HOST;
}
