/* SPDX-License-Identifier: MIT
 * libfabric's endpoints, each with what it is bound to. */
#include "fabric_endpoint.h"
#include "fabric_retire.h"
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_eq.h>

static int open_cq(struct fid_domain *domain, size_t size, struct fid_cq **out)
{
	struct fi_cq_attr attr = {
		.size = size, .format = FI_CQ_FORMAT_DATA, .wait_obj = FI_WAIT_NONE};

	return fi_cq_open(domain, &attr, out, NULL);
}

int endpoint_open(struct fid_domain *domain, struct fi_info *info, struct fid_eq *eq,
                  struct fid_cq *cq, size_t cq_size, struct endpoint *out, const char **call)
{
	struct fi_av_attr attr = {.type = FI_AV_TABLE};
	int rc;

	*call = "fi_cq_open";
	if (!cq && (rc = open_cq(domain, cq_size, &out->cq)))
		return rc;
	*call = "fi_av_open";
	if ((rc = fi_av_open(domain, &attr, &out->av, NULL)))
		return rc;
	*call = "fi_endpoint";
	if ((rc = fi_endpoint(domain, info, &out->ep, NULL)))
		return rc;
	*call = "fi_ep_bind";
	if (eq && (rc = fi_ep_bind(out->ep, &eq->fid, 0)))
		return rc;
	if ((rc = fi_ep_bind(out->ep, &out->av->fid, 0)) ||
	    (rc = fi_ep_bind(out->ep, &(cq ? cq : out->cq)->fid, FI_SEND | FI_RECV)))
		return rc;
	*call = "fi_enable";
	return fi_enable(out->ep);
}

/* In the order in which they are to be closed; NULL is none. */
static void take(struct endpoint *endpoint, struct fid *out[RETIRE_FIDS])
{
	out[0] = endpoint->ep ? &endpoint->ep->fid : NULL;
	out[1] = endpoint->cq ? &endpoint->cq->fid : NULL;
	out[2] = endpoint->av ? &endpoint->av->fid : NULL;
	*endpoint = (struct endpoint){0};
}

void endpoint_close(struct endpoint *endpoint)
{
	struct fid *fids[RETIRE_FIDS];

	take(endpoint, fids);
	retire_at_once(fids);
}

bool endpoint_retire(struct endpoint *endpoint)
{
	struct fid *fids[RETIRE_FIDS];

	if (endpoint->retiring)
		return retire_has_ended(&endpoint->retiring);
	if (!endpoint->ep && !endpoint->cq && !endpoint->av)
		return true;
	take(endpoint, fids);
	endpoint->retiring = retire_start(fids);
	return !endpoint->retiring;
}

void endpoint_abandon(struct endpoint *endpoint)
{
	if (endpoint->retiring)
		retire_abandon(endpoint->retiring);
	endpoint->retiring = NULL;
}
