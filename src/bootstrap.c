/* SPDX-License-Identifier: MIT
 * The one exchange of addresses that a job starts with. */
#include "bootstrap.h"
#include "log.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void fill_address(const struct kvr *kvr, int status, const char *why,
                         struct wire_address *out)
{
	memset(out, 0, sizeof(*out));
	out->status = status;
	out->instance = kvr->instance;
	strcpy(out->provider, kvr->provider);
	gethostname(out->host, sizeof(out->host) - 1);
	if (status) {
		snprintf(out->failure, sizeof(out->failure), "%s", why);
		return;
	}
	out->machine = kvr->nearness.machine;
	if (kvr->nearness.bound)
		out->near = nearness_of_nodes(&kvr->nearness, kvr->nearness.bound).near;
	out->rails = kvr->rail_count;
	for (unsigned int r = 0; r < kvr->rail_count; r++)
		out->rail[r] = kvr->rails[r].endpoint;
}

/* Encodes this rank's address; one that does not fit becomes a failure, which does. */
static int make_address(struct kvr *kvr, int *status, const char *why)
{
	struct wire_address address;
	ssize_t n;

	fill_address(kvr, *status, why, &address);
	n = wire_address_encode(&address, kvr->address, sizeof(kvr->address));
	if (n < 0) {
		*status = -E2BIG;
		fill_address(kvr, *status, "the endpoints' names do not fit", &address);
		n = wire_address_encode(&address, kvr->address, sizeof(kvr->address));
	}
	kvr->address_len = n < 0 ? 0 : n;
	return n < 0 ? (int)n : 0;
}

void bootstrap_renew_address(struct kvr *kvr)
{
	int status = 0;

	make_address(kvr, &status, NULL);
}

/* What one rank said of itself: 0, or why no job can be made with it. */
static int check_rank(const struct kvr *kvr, int rank, const uint8_t *blob,
                      struct wire_address *out)
{
	uint32_t version;
	int rc = wire_address_decode(blob, KVR_ADDRESS_MAX, out, &version);

	if (rc == -EPROTO) {
		log_error("rank %d runs kvrail protocol %u, this rank (%d) %u: install the same "
		          "version on all hosts",
		          rank, version, kvr->rank, WIRE_VERSION);
		return rc;
	}
	if (rc) {
		log_error("the address of rank %d arrived damaged: does the bootstrap's allgather "
		          "keep the ranks' order and length?",
		          rank);
		return rc;
	}
	if (out->status) {
		log_error("rank %d (%s) could not open: %s", rank, out->host, out->failure);
		return out->status;
	}
	/* An empty provider is ours after a failure, which its own blob reports. */
	if (*kvr->provider && strcmp(out->provider, kvr->provider)) {
		log_error("rank %d (%s) uses provider %s, this rank (%d) %s: set KVR_PROVIDER to "
		          "one that all hosts have",
		          rank, out->host, out->provider, kvr->rank, kvr->provider);
		return -EPROTO;
	}
	return 0;
}

/* The first rank at fault decides for all; every rank sees the same. */
static int check_all(const struct kvr *kvr, const uint8_t *blobs, struct wire_address *scratch)
{
	int rc;

	for (int i = 0; i < kvr->nranks; i++)
		if ((rc = check_rank(kvr, i, blobs + (size_t)i * KVR_ADDRESS_MAX, scratch)))
			return rc;
	return 0;
}

static int add_all(struct kvr *kvr, const uint8_t *blobs, struct wire_address *scratch)
{
	const uint8_t *blob;
	uint32_t version;

	kvr->peers = calloc((unsigned int)kvr->nranks, sizeof(*kvr->peers));
	if (!kvr->peers)
		return -ENOMEM;
	kvr->peer_room = kvr->nranks;
	for (int i = 0; i < kvr->nranks; i++) {
		blob = blobs + (size_t)i * KVR_ADDRESS_MAX;
		wire_address_decode(blob, KVR_ADDRESS_MAX, scratch, &version);
		if (!peer_add(kvr, blob, wire_sealed_length(blob, KVR_ADDRESS_MAX),
		              scratch->instance))
			return -ENOMEM;
	}
	return nearness_join(kvr, blobs, scratch);
}

int bootstrap_exchange(struct kvr *kvr, const struct kvr_bootstrap *bootstrap, int status,
                       const char *why)
{
	struct wire_address *scratch = malloc(sizeof(*scratch));
	uint8_t *blobs = calloc((unsigned int)kvr->nranks, KVR_ADDRESS_MAX);
	int rc = make_address(kvr, &status, why);

	if (!scratch || !blobs) {
		log_error("no memory for the addresses of %d ranks", kvr->nranks);
		rc = -ENOMEM;
	}
	if (!rc && bootstrap && bootstrap->allgather)
		rc = bootstrap->allgather(bootstrap->arg, kvr->address, blobs, KVR_ADDRESS_MAX);
	else if (!rc)
		memcpy(blobs, kvr->address, KVR_ADDRESS_MAX);
	if (rc)
		log_error("exchanging addresses: %s", kvr_strerror(rc));
	else if (!(rc = check_all(kvr, blobs, scratch)))
		rc = add_all(kvr, blobs, scratch);
	free(blobs);
	free(scratch);
	return rc;
}
