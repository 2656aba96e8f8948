/* SPDX-License-Identifier: MIT
 * What EFA devices can do. libefa is not linked: where libfabric was built with EFA it is there. */
#include "efa.h"

#if __has_include(<infiniband/efadv.h>)
#include <dlfcn.h>
#include <infiniband/efadv.h>
#undef ibv_get_device_list

struct calls {
	struct ibv_device **(*get_device_list)(int *);
	void (*free_device_list)(struct ibv_device **);
	struct ibv_context *(*open_device)(struct ibv_device *);
	int (*close_device)(struct ibv_context *);
	int (*query_device)(struct ibv_context *, struct efadv_device_attr *, uint32_t);
};

static bool find_calls(struct calls *out)
{
	/* The way that POSIX has for it: an object pointer cannot become a function's. */
	*(void **)&out->get_device_list = dlsym(RTLD_DEFAULT, "ibv_get_device_list");
	*(void **)&out->free_device_list = dlsym(RTLD_DEFAULT, "ibv_free_device_list");
	*(void **)&out->open_device = dlsym(RTLD_DEFAULT, "ibv_open_device");
	*(void **)&out->close_device = dlsym(RTLD_DEFAULT, "ibv_close_device");
	*(void **)&out->query_device = dlsym(RTLD_DEFAULT, "efadv_query_device");
	return out->get_device_list && out->free_device_list && out->open_device &&
	       out->close_device && out->query_device;
}

/* 1 or 0; -1: it is none of EFA's. */
static int device_reads(const struct calls *calls, struct ibv_device *device)
{
	struct ibv_context *context = calls->open_device(device);
	struct efadv_device_attr attr = {0};
	int rc;

	if (!context)
		return -1;
	rc = calls->query_device(context, &attr, sizeof(attr));
	calls->close_device(context);
	return rc ? -1 : !!(attr.device_caps & EFADV_DEVICE_ATTR_CAPS_RDMA_READ);
}

struct efa_devices efa_devices(void)
{
	struct efa_devices found = {0};
	struct ibv_device **list;
	struct calls calls;
	unsigned int reading = 0;
	int n = 0, reads;

	if (!find_calls(&calls) || !(list = calls.get_device_list(&n)))
		return found;
	for (int i = 0; i < n; i++) {
		reads = device_reads(&calls, list[i]);
		found.count += reads >= 0;
		reading += reads == 1;
	}
	calls.free_device_list(list);
	found.all_read = found.count && reading == found.count;
	return found;
}

#else

struct efa_devices efa_devices(void)
{
	return (struct efa_devices){0};
}

#endif
