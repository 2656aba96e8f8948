/* SPDX-License-Identifier: MIT
 * This rank: opening and closing it, and what can be asked of it. */
#include "context.h"
#include "bootstrap.h"
#include "clock.h"
#include "control.h"
#include "log.h"
#include "parallel.h"
#include "threads.h"
#include "topology.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define CLOSE_TIMEOUT_MS 30000
#define BYE_TIMEOUT_MS   1000

/* A rail less than was asked for: misspelled, or down. */
static void warn_of_stray(const char *rails, const struct fabric_list *list)
{
	char stray[CONFIG_LIST];

	if (config_rails_stray(rails, list->offers[0].name, sizeof(list->offers[0]), list->count,
	                       stray))
		log_warning("no rail of %s is called \"%s\", which KVR_RAILS or the option names "
		            "(kvrail info shows them)",
		            list->provider, stray);
}

/* Which of the offers become rails: those that were named; without names all but loopback and
 * bridges, or the loopback where there is nothing else. Moves them to the front. */
static int choose_offers(const struct config *config, struct fabric_list *list,
                         char why[FABRIC_WHY])
{
	bool named = *config->rails && !config_rails_exclude(config->rails), all_spare = true;
	unsigned int n = 0, at;

	warn_of_stray(config->rails, list);
	for (unsigned int i = 0; i < list->count; i++)
		all_spare &= list->offers[i].spare;
	for (unsigned int i = 0; i < list->count; i++) {
		if (config_rail_chosen(config->rails, list->offers[i].name) &&
		    (named || all_spare || !list->offers[i].spare))
			list->offers[n++] = list->offers[i];
	}
	if (n && n <= KVR_MAX_RAILS) {
		list->count = n;
		return 0;
	}
	at = snprintf(
		why, FABRIC_WHY,
		n ? "KVR_RAILS or the option, \"%s\", leaves %u rails, and %d are the most; of:"
		  : "KVR_RAILS or the option, \"%s\", leaves none of:",
		config->rails, n, KVR_MAX_RAILS);
	for (unsigned int i = 0; i < list->count && at < FABRIC_WHY; i++)
		at += snprintf(why + at, FABRIC_WHY - at, " %s", list->offers[i].name);
	return n ? -E2BIG : -ENODEV;
}

static void explain_choice(struct kvr *kvr, bool emulated)
{
	const char *rails = *kvr->config.rails ? ", those that KVR_RAILS or the options chose" : "";
	const char *devices = emulated ? "; a software EFA, so no figure here is one of EFA" : "";

	if (*kvr->config.provider)
		snprintf(kvr->why, sizeof(kvr->why), "asked for by name%s%s", rails, devices);
	else if (!strcmp(kvr->provider, "efa"))
		snprintf(kvr->why, sizeof(kvr->why), "EFA devices are here%s%s", rails, devices);
	else
		snprintf(kvr->why, sizeof(kvr->why),
		         "no EFA device is here, and %s is the first of net, tcp, tcp;ofi_rxm, shm "
		         "with a rail%s",
		         kvr->provider, rails);
}

struct opening {
	struct kvr *kvr;
	const struct fabric_list *list;
	int rc[KVR_MAX_RAILS];
	char why[KVR_MAX_RAILS][FABRIC_WHY];
};

static void open_rail(void *arg, unsigned int r)
{
	struct opening *o = arg;

	o->rc[r] = rail_open(&o->kvr->rails[r], o->kvr->fabric, &o->list->offers[r],
	                     &o->kvr->config, o->why[r]);
}

/* All at once: one after the other they take most of a second on EFA. */
static int open_rails(struct kvr *kvr, const struct fabric_list *list, char why[FABRIC_WHY])
{
	struct opening *o = calloc(1, sizeof(*o));
	int rc = 0;

	if (!o)
		return -ENOMEM;
	o->kvr = kvr;
	o->list = list;
	parallel_each(rails_first(list->count), kvr->fabric->simulated, open_rail, o);
	for (unsigned int r = 0; r < list->count && !rc; r++)
		if ((rc = o->rc[r]))
			memcpy(why, o->why[r], FABRIC_WHY);
	free(o);
	return rc;
}

/* Names and places, before the endpoints: their buffers go where the rail is. */
static int place_rails(struct kvr *kvr, const struct fabric_list *list, char why[FABRIC_WHY])
{
	struct topology *topology = kvr->fabric->simulated ? NULL : topology_open();
	struct rail *rail;
	int rc = -ENOMEM;

	kvr->rails = calloc(list->count, sizeof(*kvr->rails));
	for (unsigned int r = 0; kvr->rails && r < list->count; r++) {
		rail = &kvr->rails[r];
		rail->index = r;
		memcpy(rail->name, list->offers[r].name, sizeof(rail->name));
		memcpy(rail->pci, list->offers[r].pci, sizeof(rail->pci));
		rail->bits_per_second = list->offers[r].bits_per_second;
		rail->numa_node =
			topology_locate(topology, rail->name, rail->pci, sizeof(rail->pci));
	}
	kvr->rail_count = kvr->rails ? list->count : 0;
	if (kvr->rails)
		rc = nearness_survey(kvr, topology, why);
	topology_close(topology);
	return rc;
}

static void choose_write_mode(struct kvr *kvr)
{
	bool imitated = kvr->fabric->prefers_reads && kvr->fabric->prefers_reads(kvr->rails[0].nic);
	size_t len = strlen(kvr->why);

	kvr->pulls = kvr->config.write_mode == KVR_PULL ||
	             (kvr->config.write_mode == KVR_AUTO && imitated);
	kvr->imitates = imitated && !kvr->pulls;
	if (kvr->pulls)
		snprintf(kvr->why + len, sizeof(kvr->why) - len, "; targets read what is written");
}

/* Everything that can fail on this rank alone. */
static int open_local(struct kvr *kvr, const struct kvr_options *options, char why[FABRIC_WHY])
{
	struct fabric_list list;
	int rc;

	snprintf(why, FABRIC_WHY, "no memory");
	if ((rc = config_load(options, &kvr->config))) {
		snprintf(why, FABRIC_WHY, "its options or KVR_ variables are wrong: see its log");
		return rc;
	}
	kvr->counters = calloc(kvr->config.counters, sizeof(*kvr->counters));
	if (!kvr->counters)
		return -ENOMEM;
	if ((rc = kvr->fabric->list(kvr->config.provider, &list, why)))
		return rc;
	memcpy(kvr->provider, list.provider, sizeof(kvr->provider));
	explain_choice(kvr, list.offers[0].emulated);
	nearness_identify(kvr, &list);
	rc = choose_offers(&kvr->config, &list, why);
	if (!rc)
		rc = place_rails(kvr, &list, why);
	if (!rc)
		rc = open_rails(kvr, &list, why);
	if (!rc)
		choose_write_mode(kvr);
	kvr->fabric->list_close(&list);
	return rc;
}

static struct kvr *make_context(const struct kvr_bootstrap *bootstrap,
                                const struct fabric_ops *fabric, uint64_t instance)
{
	struct kvr *kvr = calloc(1, sizeof(*kvr));

	if (!kvr)
		return NULL;
	kvr->fabric = fabric;
	kvr->rank = bootstrap ? bootstrap->rank : 0;
	kvr->nranks = bootstrap ? bootstrap->nranks : 1;
	kvr->instance = instance;
	/* Where random bytes are not to be had, calloc's zero is refused by nobody but unlikely
	 * to be alone: the address of the context helps. */
	if (!instance && getrandom(&kvr->instance, sizeof(kvr->instance), 0) < 0)
		kvr->instance = (uintptr_t)kvr;
	kvr->next_key = kvr->instance | 2; /* 1 is the messages' */
	engine_init(kvr);
	ck_stack_init(&kvr->submitted);
	TAILQ_INIT(&kvr->active);
	TAILQ_INIT(&kvr->spare_notes);
	TAILQ_INIT(&kvr->regions);
	return kvr;
}

static void destroy_context(struct kvr *kvr)
{
	struct note *note;

	for (uint32_t i = 0; i < kvr->peer_count; i++)
		if (kvr->peers[i])
			peer_free(kvr, kvr->peers[i]);
	for (unsigned int r = 0; r < kvr->rail_count; r++)
		rail_begin_close(&kvr->rails[r]);
	for (unsigned int r = 0; r < kvr->rail_count; r++)
		rail_close(&kvr->rails[r]);
	while ((note = TAILQ_FIRST(&kvr->spare_notes))) {
		TAILQ_REMOVE(&kvr->spare_notes, note, link);
		free(note);
	}
	engine_destroy(kvr);
	free(kvr->peers);
	free(kvr->rails);
	free(kvr->counters);
	free(kvr);
}

int context_open(const struct kvr_bootstrap *bootstrap, const struct kvr_options *options,
                 const struct fabric_ops *fabric, uint64_t instance, struct kvr **out)
{
	char why[FABRIC_WHY];
	struct kvr *kvr;
	int rc;

	if (bootstrap &&
	    (bootstrap->nranks < 1 || bootstrap->rank < 0 || bootstrap->rank >= bootstrap->nranks ||
	     (bootstrap->nranks > 1 && !bootstrap->allgather))) {
		log_error("kvr_open: rank %d of %d, or no allgather, is no bootstrap",
		          bootstrap->rank, bootstrap->nranks);
		return -EINVAL;
	}
	kvr = make_context(bootstrap, fabric, instance);
	if (!kvr)
		return -ENOMEM;
	/* A rank that failed takes part in the exchange, so that the others hear of it. */
	rc = open_local(kvr, options, why);
	if (!rc)
		rc = threads_open(kvr, why);
	rc = bootstrap_exchange(kvr, bootstrap, rc, why);
	if (rc) {
		threads_close(kvr);
		destroy_context(kvr);
		return rc;
	}
	engine_release(kvr);
	*out = kvr;
	return 0;
}

int kvr_open(const struct kvr_bootstrap *bootstrap, const struct kvr_options *options,
             struct kvr **out)
{
	return context_open(bootstrap, options, &fabric_libfabric, 0, out);
}

static bool all_peers_over(void *arg)
{
	struct kvr *kvr = arg;
	struct peer *peer;

	for (uint32_t i = 0; i < kvr->peer_count; i++) {
		peer = kvr->peers[i];
		if (peer && peer->state != PEER_IDLE && peer->state != PEER_DEAD &&
		    !peer_is_over(kvr, peer))
			return false;
	}
	return true;
}

static void name_who_stays(struct kvr *kvr)
{
	char name[96];

	for (uint32_t i = 0; i < kvr->peer_count; i++)
		if (kvr->peers[i] && kvr->peers[i]->state == PEER_UP &&
		    !kvr->peers[i]->bye_received)
			log_error("kvr_close: %s did not close within %d s",
			          peer_name(kvr->peers[i], name), CLOSE_TIMEOUT_MS / 1000);
}

int kvr_close(struct kvr *kvr)
{
	struct wait wait = {.ready = all_peers_over, .arg = kvr, .timeout_ms = CLOSE_TIMEOUT_MS};
	int rc;

	if (!kvr)
		return 0;
	if (kvr->children) {
		log_error("kvr_close: %u regions, remotes or requests are still open",
		          kvr->children);
		return -EBUSY;
	}
	engine_lock(kvr);
	kvr->closing = true;
	for (uint32_t i = 0; i < kvr->peer_count; i++)
		if (kvr->peers[i])
			peer_say_bye(kvr, kvr->peers[i]);
	engine_unlock(kvr);
	rc = engine_wait(kvr, &wait);
	threads_close(kvr);
	if (rc)
		name_who_stays(kvr);
	destroy_context(kvr);
	return rc;
}

/* It changes when a rail is reset. */
ssize_t kvr_address(const struct kvr *kvr, void *buf, size_t len)
{
	ssize_t rc = -ENOSPC;

	engine_lock((struct kvr *)kvr);
	if (len >= kvr->address_len)
		rc = kvr->address_len;
	if (rc > 0)
		memcpy(buf, kvr->address, rc);
	engine_unlock((struct kvr *)kvr);
	return rc;
}

int kvr_peer_add(struct kvr *kvr, const void *bytes, size_t len)
{
	struct wire_address address;
	struct peer *peer;
	uint32_t version = 0;
	int rc = wire_address_decode(bytes, len, &address, &version);

	if (!rc && (address.status || strcmp(address.provider, kvr->provider)))
		rc = -EPROTO;
	if (rc) {
		log_error("kvr_peer_add: no address of this version (protocol %u, theirs %u) and "
		          "provider (%s): %s",
		          WIRE_VERSION, version, kvr->provider, kvr_strerror(rc));
		return rc;
	}
	engine_lock(kvr);
	peer = peer_find(kvr, address.instance);
	if (!peer)
		peer = peer_add(kvr, bytes, wire_sealed_length(bytes, len), address.instance);
	rc = peer ? (int)peer->index : -ENOMEM;
	engine_unlock(kvr);
	return rc;
}

static bool is_over(void *arg)
{
	const struct peer *peer = arg;

	return peer->state == PEER_IDLE || peer->state == PEER_DEAD ||
	       peer_is_over(peer->kvr, peer);
}

int kvr_peer_remove(struct kvr *kvr, int index)
{
	struct wait wait = {.ready = is_over, .timeout_ms = BYE_TIMEOUT_MS};
	struct peer *peer;

	engine_lock(kvr);
	peer = index >= kvr->nranks && (uint32_t)index < kvr->peer_count ? kvr->peers[index] : NULL;
	if (peer && !peer->remotes) {
		peer->remotes++; /* keeps it until the end of this call */
		peer_say_bye(kvr, peer);
	} else if (peer) {
		engine_unlock(kvr);
		return -EBUSY;
	}
	engine_unlock(kvr);
	if (!peer) {
		log_error("kvr_peer_remove: %d is not a peer that was added", index);
		return -EINVAL;
	}
	wait.arg = peer;
	engine_wait(kvr, &wait);
	engine_lock(kvr);
	peer_free(kvr, peer);
	engine_unlock(kvr);
	return 0;
}

int kvr_rail_count(const struct kvr *kvr)
{
	return kvr->rail_count;
}

/* Copies as much as the caller's version of a struct has; both begin with their size. */
static int copy_sized(void *out, const void *from, size_t known)
{
	size_t size = *(size_t *)out;

	if (size < sizeof(size_t))
		return -EINVAL;
	if (size > known)
		memset((char *)out + known, 0, size - known);
	memcpy(out, from, size < known ? size : known);
	*(size_t *)out = size;
	return 0;
}

int kvr_rail_get(const struct kvr *kvr, int r, struct kvr_rail *out)
{
	struct kvr_rail rail = {0};

	if (r < 0 || (unsigned int)r >= kvr->rail_count)
		return -EINVAL;
	memcpy(rail.name, kvr->rails[r].name, sizeof(rail.name));
	memcpy(rail.pci, kvr->rails[r].pci, sizeof(rail.pci));
	rail.numa_node = kvr->rails[r].numa_node;
	rail.state = kvr->rails[r].paths_out != 0;
	rail.bits_per_second = kvr->rails[r].bits_per_second;
	return copy_sized(out, &rail, sizeof(rail));
}

const char *kvr_provider(const struct kvr *kvr, const char **why)
{
	if (why)
		*why = kvr->why;
	return kvr->provider;
}

static void add_stats(struct kvr_stats *sum, const struct kvr_stats *more)
{
	sum->bytes_written += more->bytes_written;
	sum->bytes_read += more->bytes_read;
	sum->pieces += more->pieces;
	sum->arrivals += more->arrivals;
	sum->errors += more->errors;
	sum->retries += more->retries;
	sum->resets += more->resets;
	sum->bytes_per_second += more->bytes_per_second;
}

int kvr_stats_get(const struct kvr *kvr, int r, struct kvr_stats *out)
{
	struct kvr_stats sum = {0};

	if (r < -1 || r >= (int)kvr->rail_count)
		return -EINVAL;
	engine_lock((struct kvr *)kvr);
	for (int i = 0; i < (int)kvr->rail_count; i++) {
		if (r != -1 && r != i)
			continue;
		rail_measure(&kvr->rails[i], clock_now());
		add_stats(&sum, &kvr->rails[i].stats);
	}
	engine_unlock((struct kvr *)kvr);
	return copy_sized(out, &sum, sizeof(sum));
}

const char *kvr_strerror(int err)
{
	return fabric_strerror(err);
}
