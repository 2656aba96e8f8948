/* SPDX-License-Identifier: MIT
 * Regions and remotes: my memory as peers may use it, and theirs as I may. */
#include "memory.h"
#include "context.h"
#include "gpu.h"
#include "log.h"
#include "parallel.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct registration {
	struct kvr_region *region;
	uint64_t key;
	int rc[KVR_MAX_RAILS];
};

static int register_host(struct kvr_region *region, unsigned int r, uint64_t key)
{
	const struct fabric_memory memory = {.addr = region->addr, .len = region->len};
	struct rail *rail = &region->kvr->rails[r];
	int rc = rail->fabric->reg(rail->nic, &memory, key, &region->mr[r]);

	if (rc)
		log_error("rail %s: registering %llu bytes: %s; check the memlock limit (ulimit "
		          "-l) and that the memory exists",
		          rail->name, (unsigned long long)region->len, kvr_strerror(rc));
	return rc;
}

static void register_on_rail(void *arg, unsigned int r)
{
	struct registration *reg = arg;

	reg->rc[r] = reg->region->cuda.device < 0 ? register_host(reg->region, r, reg->key)
	                                          : gpu_register(reg->region, r, reg->key);
}

/* On all rails at once: on real NICs it takes long. */
static int register_all(struct kvr_region *region)
{
	struct kvr *kvr = region->kvr;
	struct registration reg = {.region = region, .key = kvr->next_key++};
	int rc = 0;

	parallel_each(rails_first(kvr->rail_count), kvr->fabric->simulated, register_on_rail, &reg);
	for (unsigned int r = 0; r < kvr->rail_count; r++)
		if (reg.rc[r])
			rc = reg.rc[r];
	return rc;
}

static int deregister_all(struct kvr_region *region)
{
	int rc, first = 0;

	for (unsigned int r = 0; r < region->kvr->rail_count; r++) {
		rc = region->mr[r] ? region->kvr->fabric->dereg(region->mr[r]) : 0;
		if (rc)
			log_error("rail %s: deregistering: %s", region->kvr->rails[r].name,
			          kvr_strerror(rc));
		if (!first)
			first = rc;
	}
	return first;
}

static void warm_rail(void *arg, unsigned int r)
{
	struct kvr *kvr = arg;

	rail_warm(&kvr->rails[r]);
}

static void warm_door(void *arg, unsigned int r)
{
	struct kvr *kvr = arg;

	rail_warm_door(&kvr->rails[r]);
}

/* Rails by which bytes will go are made ready: else the first request would wait until all of them
 * are, one after the other. No more than there are pieces. */
static void warm_rails(struct kvr *kvr, uint32_t rails, uint64_t len, bool door)
{
	uint64_t bytes = 0;
	uint32_t cold = 0;

	engine_lock(kvr);
	for (unsigned int r = 0; r < kvr->rail_count && bytes < len; r++) {
		if (!(rails >> r & 1))
			continue;
		bytes += kvr->config.piece_bytes;
		if (!(door ? kvr->rails[r].door_is_warm : kvr->rails[r].warm))
			cold |= UINT32_C(1) << r;
	}
	parallel_each(cold, kvr->fabric->simulated, door ? warm_door : warm_rail, kvr);
	engine_unlock(kvr);
}

/* Who is written to is entered; ... */
static void warm_for_region(const struct kvr_region *region)
{
	struct kvr *kvr = region->kvr;

	warm_rails(kvr, region_near(region), region->len, false);
	if (!kvr->pulls)
		warm_rails(kvr, region_near(region), region->len, true);
}

/* ... and who writes, where the target reads it: by the rails near some region of ours. */
static void warm_for_remote(const struct kvr_remote *remote)
{
	struct kvr *kvr = remote->kvr;
	uint32_t rails = 0;

	if (!kvr->pulls)
		return;
	for (unsigned int r = 0; r < kvr->rail_count; r++)
		rails |= (uint32_t)kvr->rails[r].warm << r;
	warm_rails(kvr, rails, remote->wire.len, true);
}

static int free_region(struct kvr_region *region)
{
	int rc = deregister_all(region);

	gpu_close(region);
	region_forget_places(region);
	free(region);
	return rc;
}

static void fill_descriptor(struct kvr_region *region)
{
	struct kvr *kvr = region->kvr;

	region->wire = (struct wire_region){
		.instance = kvr->instance,
		.id = kvr->next_region++,
		.len = region->len,
		.base = kvr->fabric->base(kvr->rails[0].nic, region->addr),
		.counters = kvr->config.counters,
		.rails = kvr->rail_count,
	};
	for (unsigned int r = 0; r < kvr->rail_count; r++)
		region->wire.key[r] = kvr->fabric->key(region->mr[r]);
}

int kvr_region_open(struct kvr *kvr, void *addr, size_t len, int cuda_device,
                    struct kvr_region **out)
{
	struct kvr_region *region;
	int rc;

	if (!addr || !len || (uintptr_t)addr + len < (uintptr_t)addr) {
		log_error("kvr_region_open: %zu bytes at %p are no memory", len, addr);
		return -EINVAL;
	}
	region = calloc(1, sizeof(*region));
	if (!region)
		return -ENOMEM;
	region->kvr = kvr;
	region->addr = addr;
	region->len = len;
	if ((rc = gpu_open(region, cuda_device))) {
		free(region);
		return rc;
	}
	region->gpu = nearness_gpu(&kvr->nearness, &region->cuda);
	rc = register_all(region);
	/* Some providers touch what they register: then it is known where that is. */
	if (!rc && region_place(region) < 0)
		rc = -ENOMEM;
	if (rc) {
		free_region(region);
		return rc;
	}
	fill_descriptor(region);
	warm_for_region(region);
	engine_lock(kvr);
	TAILQ_INSERT_HEAD(&kvr->regions, region, link);
	engine_unlock(kvr);
	kvr->children++;
	*out = region;
	return 0;
}

int kvr_region_close(struct kvr_region *region)
{
	struct kvr *kvr = region ? region->kvr : NULL;
	int rc;

	if (!region)
		return 0;
	engine_lock(kvr);
	rc = region->users ? -EBUSY : 0;
	if (!rc)
		TAILQ_REMOVE(&kvr->regions, region, link);
	engine_unlock(kvr);
	if (rc)
		return rc;
	kvr->children--;
	return free_region(region);
}

ssize_t kvr_region_export(const struct kvr_region *region, void *buf, size_t len)
{
	struct wire_region wire = region->wire;

	wire.near = region_near(region);
	return wire_region_encode(&wire, buf, len);
}

static int check_descriptor(struct kvr *kvr, int peer, const void *buf, size_t len,
                            struct wire_region *out)
{
	uint32_t version = 0;
	int rc = wire_region_decode(buf, len, out, &version);

	if (rc == -EPROTO)
		log_error("the descriptor from peer %d is of kvrail protocol %u, this is %u: "
		          "install the same version everywhere",
		          peer, version, WIRE_VERSION);
	else if (rc)
		log_error("the descriptor from peer %d is truncated, damaged or not one: hand "
		          "over exactly what kvr_region_export wrote",
		          peer);
	else if (out->instance != kvr->peers[peer]->instance) {
		log_error("the descriptor is not from peer %d, or from an earlier life of it",
		          peer);
		rc = -EXDEV;
	}
	return rc;
}

int kvr_remote_open(struct kvr *kvr, int peer, const void *buf, size_t len, struct kvr_remote **out)
{
	struct kvr_remote *remote;
	int rc = -EINVAL;

	remote = calloc(1, sizeof(*remote));
	if (!remote)
		return -ENOMEM;
	engine_lock(kvr);
	if (peer < 0 || (uint32_t)peer >= kvr->peer_count || !kvr->peers[peer])
		log_error("kvr_remote_open: there is no peer %d", peer);
	else
		rc = check_descriptor(kvr, peer, buf, len, &remote->wire);
	if (!rc) {
		remote->kvr = kvr;
		remote->peer = kvr->peers[peer];
		peer_aim(kvr, remote->peer,
		         remote->wire.near | (remote->peer->remotes ? remote->peer->near : 0));
		remote->peer->remotes++;
	}
	engine_unlock(kvr);
	if (rc) {
		free(remote);
		return rc;
	}
	warm_for_remote(remote);
	kvr->children++;
	*out = remote;
	return 0;
}

int kvr_remote_close(struct kvr_remote *remote)
{
	if (!remote)
		return 0;
	if (remote->users)
		return -EBUSY;
	remote->peer->remotes--;
	remote->kvr->children--;
	free(remote);
	return 0;
}

uint64_t kvr_remote_size(const struct kvr_remote *remote)
{
	return remote->wire.len;
}
