/* SPDX-License-Identifier: MIT
 * Which NICs libfabric's providers offer, and what of them kvrail asks for. */
#include "offers.h"
#include "cuda.h"
#include "efa.h"
#include <errno.h>
#include <net/if.h>
#include <rdma/fabric.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The newest interface that both the header's layout and the library's behaviour are known for;
 * below 1.18 the efa provider keeps device RDMA off on newer NICs. */
static uint32_t api_version(void)
{
	uint32_t have = fi_version(), most = FI_VERSION(1, 22);

	return FI_VERSION_LT(have, most) ? have : most;
}

static struct fi_info *make_hints(const char *provider, bool gpu)
{
	struct fi_info *hints = fi_allocinfo();

	if (!hints)
		return NULL;
	hints->caps = FI_MSG | FI_RMA;
	/* Without FI_LOCAL_COMM efa leaves its shared-memory path away, which would take bytes off
	 * the NICs and 40 MB of memory per rail; peers on this node are reached all the same. */
	if (!strcmp(provider, "efa"))
		hints->caps |= FI_REMOTE_COMM;
	if (gpu)
		hints->caps |= FI_HMEM;
	hints->mode = FI_CONTEXT | FI_CONTEXT2;
	hints->ep_attr->type = FI_EP_RDM;
	/* Offering FI_MR_LOCAL switches efa's registration cache and its memory hooks off. */
	hints->domain_attr->mr_mode =
		FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY;
	if (gpu)
		hints->domain_attr->mr_mode |= FI_MR_HMEM;
	hints->domain_attr->threading = FI_THREAD_SAFE;
	hints->domain_attr->control_progress = FI_PROGRESS_MANUAL;
	hints->domain_attr->data_progress = FI_PROGRESS_MANUAL;
	hints->domain_attr->resource_mgmt = FI_RM_ENABLED;
	hints->fabric_attr->prov_name = strdup(provider);
	return hints;
}

/* What libfabric up to 1.17 has to be told of efa in the environment, before the first fi_getinfo.
 * What is set already stays as it is. */
static void prepare_environment(const char *provider)
{
	struct efa_devices efa;

	if (FI_VERSION_GE(fi_version(), FI_VERSION(1, 18)))
		return;
	efa = efa_devices();
	/* p4d's own reads are not used unless told; told so where the device cannot, efa ends the
	 * process. */
	if (efa.all_read)
		setenv("FI_EFA_USE_DEVICE_RDMA", "1", 0);
	if (!efa.count || (*provider && strcmp(provider, "efa") != 0))
		return;
	/* Receives are always posted here: 9 MB an endpoint for messages that have none. */
	setenv("FI_EFA_RX_COPY_UNEXP", "0", 0);
	/* Nor does a byte take the shared-memory path, whose endpoints take another 6 MB each. */
	setenv("FI_SHM_TX_SIZE", "16", 0);
	setenv("FI_SHM_RX_SIZE", "16", 0);
}

static bool is_spare(const char *interface)
{
	char path[64 + IF_NAMESIZE];

	if (!strcmp(interface, "lo"))
		return true;
	snprintf(path, sizeof(path), "/sys/class/net/%.15s/bridge", interface);
	return !access(path, F_OK);
}

static void fill_offer(const struct fi_info *info, struct fabric_offer *out)
{
	const struct fid_nic *nic = info->nic;
	const struct fi_pci_attr *pci;

	*out = (struct fabric_offer){.handle = (void *)info};
	snprintf(out->name, sizeof(out->name), "%s",
	         nic && nic->device_attr && nic->device_attr->name ? nic->device_attr->name
	                                                           : info->domain_attr->name);
	out->spare = is_spare(out->name);
	if (!nic)
		return;
	if (nic->device_attr && nic->device_attr->firmware)
		out->emulated = !strcmp(nic->device_attr->firmware, "softefa");
	if (nic->link_attr)
		out->bits_per_second = nic->link_attr->speed;
	if (nic->bus_attr && nic->bus_attr->bus_type == FI_BUS_PCI) {
		pci = &nic->bus_attr->attr.pci;
		snprintf(out->pci, sizeof(out->pci), "%04x:%02x:%02x.%x", pci->domain_id,
		         pci->bus_id, pci->device_id, pci->function_id & 7u);
	}
}

/* Providers offer a NIC once per address and variant: one of them is a rail. */
static bool is_rail(const struct fi_info *info, const char *provider)
{
	if (strcmp(info->fabric_attr->prov_name, provider))
		return false;
	if (!strcmp(provider, "efa"))
		return !strcmp(info->fabric_attr->name, "efa");
	return info->addr_format != FI_SOCKADDR_IN6;
}

static int compare_offers(const void *a, const void *b)
{
	const struct fabric_offer *x = a, *y = b;

	return strverscmp(x->name, y->name);
}

/* gpu: only NICs that take GPU memory as well. */
static int list_some(const char *provider, bool gpu, struct fabric_list *out)
{
	struct fi_info *hints = make_hints(provider, gpu), *infos = NULL, *info;
	unsigned int i, n = 0;
	int rc;

	if (!hints)
		return -ENOMEM;
	rc = fi_getinfo(api_version(), NULL, NULL, 0, hints, &infos);
	fi_freeinfo(hints);
	if (rc)
		return rc;
	for (info = infos; info; info = info->next)
		n++;
	out->offers = calloc(n, sizeof(*out->offers));
	out->handle = infos;
	out->count = 0;
	for (info = infos; info && out->offers; info = info->next) {
		if (!is_rail(info, provider))
			continue;
		fill_offer(info, &out->offers[out->count]);
		for (i = 0; strcmp(out->offers[i].name, out->offers[out->count].name);)
			i++;
		out->count += i == out->count;
	}
	if (out->count) {
		qsort(out->offers, out->count, sizeof(*out->offers), compare_offers);
		snprintf(out->provider, sizeof(out->provider), "%s", provider);
		return 0;
	}
	rc = out->offers ? -ENODEV : -ENOMEM;
	offers_close(out);
	return rc;
}

/* What asks for GPU memory may get less, and another path for the host's, so only where there may
 * be a GPU; and where it gets nothing, without. */
static int list_one(const char *provider, struct fabric_list *out)
{
	if (cuda_is_here() && !list_some(provider, true, out))
		return 0;
	return list_some(provider, false, out);
}

int offers_list(const char *provider, struct fabric_list *out, char why[FABRIC_WHY])
{
	static const char *const order[] = {"efa", "net", "tcp", "tcp;ofi_rxm", "shm"};
	char layered[64];
	int rc;

	prepare_environment(provider);
	if (!*provider) {
		for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++)
			if (!list_one(order[i], out))
				return 0;
		snprintf(why, FABRIC_WHY,
		         "libfabric %u.%u offers none of efa, net, tcp, "
		         "tcp;ofi_rxm, shm: see fi_info -l",
		         FI_MAJOR(fi_version()), FI_MINOR(fi_version()));
		return -ENODEV;
	}
	rc = list_one(provider, out);
	if (!rc)
		return 0;
	/* "tcp" alone has no reliable datagrams before libfabric 1.18. */
	snprintf(layered, sizeof(layered), "%s;ofi_rxm", provider);
	if (!list_one(layered, out))
		return 0;
	snprintf(why, FABRIC_WHY,
	         "provider \"%s\" offers no rail here (%s): see fi_info -l, or "
	         "leave the choice to kvrail",
	         provider, rc == -FI_ENODATA ? "no such provider or device" : fabric_strerror(rc));
	return -ENODEV;
}

void offers_close(struct fabric_list *list)
{
	free(list->offers);
	fi_freeinfo(list->handle);
	memset(list, 0, sizeof(*list));
}
