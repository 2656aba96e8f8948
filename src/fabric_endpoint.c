/* SPDX-License-Identifier: MIT
 * Endpoints and what they are bound to. */
#include "fabric_endpoint.h"
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_eq.h>

int endpoint_open_cq(struct fid_domain *domain, size_t size, struct fid_cq **out, const char **call)
{
	struct fi_cq_attr attr = {
		.size = size, .format = FI_CQ_FORMAT_DATA, .wait_obj = FI_WAIT_NONE};

	*call = "fi_cq_open";
	return fi_cq_open(domain, &attr, out, NULL);
}

int endpoint_open(struct fid_domain *domain, struct fi_info *info, struct fid_eq *eq,
                  struct fid_cq *cq, struct fid_av **av, struct fid_ep **ep, const char **call)
{
	struct fi_av_attr attr = {.type = FI_AV_TABLE};
	int rc;

	*call = "fi_av_open";
	if ((rc = fi_av_open(domain, &attr, av, NULL)))
		return rc;
	*call = "fi_endpoint";
	if ((rc = fi_endpoint(domain, info, ep, NULL)))
		return rc;
	*call = "fi_ep_bind";
	if (eq && (rc = fi_ep_bind(*ep, &eq->fid, 0)))
		return rc;
	if ((rc = fi_ep_bind(*ep, &(*av)->fid, 0)) ||
	    (rc = fi_ep_bind(*ep, &cq->fid, FI_SEND | FI_RECV)))
		return rc;
	*call = "fi_enable";
	return fi_enable(*ep);
}
