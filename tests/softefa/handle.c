/* SPDX-License-Identifier: MIT
 * Address handles. A device takes others' reads and writes only from whom it has a handle for. */
#include "objects.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void set_known(uint32_t nic, uint32_t address, bool is_known)
{
	_Atomic uint64_t *word = &process_self()->knows[nic][address / 64];

	if (is_known)
		atomic_fetch_or(word, 1ull << address % 64);
	else
		atomic_fetch_and(word, ~(1ull << address % 64));
}

EXPORT struct ibv_ah *ibv_create_ah(struct ibv_pd *pd, struct ibv_ah_attr *attr)
{
	struct context *context = context_of(pd->context);
	struct handle *handle;

	if (!attr->is_global) {
		errno = EINVAL;
		return NULL;
	}
	handle = calloc(1, sizeof(*handle));
	if (!handle)
		return NULL;
	handle->ibv.context = pd->context;
	handle->ibv.pd = pd;
	handle->address = gid_address(attr->grh.dgid.raw);
	if (handle->address == NO_ADDRESS)
		return &handle->ibv;
	pthread_mutex_lock(&context->lock);
	if (!context->handles[handle->address]++)
		set_known(context->nic, handle->address, true);
	pthread_mutex_unlock(&context->lock);
	return &handle->ibv;
}

EXPORT int ibv_destroy_ah(struct ibv_ah *ibv)
{
	struct handle *handle = container_of(ibv, struct handle, ibv);
	struct context *context = context_of(ibv->context);

	pthread_mutex_lock(&context->lock);
	if (handle->address != NO_ADDRESS && !--context->handles[handle->address])
		set_known(context->nic, handle->address, false);
	pthread_mutex_unlock(&context->lock);
	free(handle);
	return 0;
}

EXPORT int efadv_query_ah(struct ibv_ah *ibv, struct efadv_ah_attr *out, uint32_t room)
{
	const struct efadv_ah_attr attr = {
		.ahn = (uint16_t)container_of(ibv, struct handle, ibv)->address};

	memset(out, 0, room);
	memcpy(out, &attr, room < sizeof(attr) ? room : sizeof(attr));
	return 0;
}
