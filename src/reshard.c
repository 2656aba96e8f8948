/* SPDX-License-Identifier: MIT
 * kvr_reshard: ranks tell each other their layouts and tables, agree that all is right, and the
 * sources write. Whoever has nothing to write waits in short allgathers, which also say how far the
 * others are: none of them takes longer than the sources look up for. */
#include "clock.h"
#include "context.h"
#include "layout.h"
#include "log.h"
#include "mover.h"
#include "pages.h"
#include "sized.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define LOOK_UP_MS 1000
#define SETTLE_MS  120000 /* others may fail as much later as an allgather waits; and end then */

/* What every rank tells all others at first. */
struct card {
	int32_t status;
	uint32_t role;
	uint64_t digest;                    /* of what must be the same at all */
	uint64_t requests, regions, blocks; /* blocks: in all tables together */
	struct kvr_layout layout;
};

/* A destination's region, as its letter has it: first all of these, then the number of entries in
 * each table, then the entries. */
struct letter_region {
	uint64_t len;
	uint8_t descriptor[KVR_DESCRIPTOR_MAX];
};

/* How far a rank is. */
struct beat {
	int32_t running, result;
	struct kvr_resharded so_far;
};

struct reshard {
	struct kvr *kvr;
	struct kvr_cache mine;
	struct kvr_layout layout;
	struct kvr_pages *requests;
	size_t n;
	struct card *cards;
	size_t letter_len; /* of the longest one */
	uint8_t *letters;
	struct mover mover;
	struct beat *beats;
	bool unsure; /* a beat has failed: others may not know it, and go on */
};

static uint64_t region_count(const struct kvr_layout *l)
{
	return 1 + (l->layers - 1ull) * l->layer_regions + (l->parts - 1ull) * l->part_regions;
}

static int read_request(struct reshard *r, const struct kvr_pages *user, size_t i)
{
	struct kvr_pages *pages = &r->requests[i];
	int rc = pages_read(user, pages);

	if (rc)
		return rc;
	if (!pages->layers) {
		pages->first_layer = r->layout.first_layer;
		pages->layers = r->layout.layers;
	}
	pages->remote_blocks = pages->local_blocks;
	pages->remote_count = pages->local_count;
	return pages_check(pages, &r->layout, &r->layout);
}

static int read_requests(struct reshard *r, const struct kvr_pages *user, size_t n)
{
	size_t step = n && user ? user->size : 0;
	int rc = 0;

	if (n && !user) {
		log_error("kvr_reshard: requests is NULL, n %zu", n);
		return -EINVAL;
	}
	r->requests = calloc(n ? n : 1, sizeof(*r->requests));
	if (!r->requests)
		return -ENOMEM;
	for (; !rc && r->n < n; r->n++) {
		rc = read_request(r, user, r->n);
		user = (const struct kvr_pages *)((const char *)user + step);
	}
	return rc;
}

static int check_regions(const struct kvr_cache *mine, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++) {
		if (mine->regions && mine->regions[i])
			continue;
		log_error("kvr_reshard: mine.regions[%llu] is NULL", (unsigned long long)i);
		return -EINVAL;
	}
	return 0;
}

static int read_arguments(struct reshard *r, const struct kvr_cache *mine,
                          const struct kvr_pages *requests, size_t n)
{
	int rc = sized_read("mine", mine, &r->mine, sizeof(r->mine), sizeof(r->mine));

	if (rc || r->mine.role == KVR_BYSTANDER)
		return rc;
	if (r->mine.role != KVR_SOURCE && r->mine.role != KVR_DESTINATION) {
		log_error("kvr_reshard: mine.role is %d", (int)r->mine.role);
		return -EINVAL;
	}
	rc = layout_read("mine.layout", r->mine.layout, &r->layout);
	if (!rc)
		rc = check_regions(&r->mine, region_count(&r->layout));
	return rc ? rc : read_requests(r, requests, n);
}

static uint64_t digest_of(const struct reshard *r, const struct kvr_pages *user)
{
	uint64_t digest = r->n;

	for (size_t i = 0; i < r->n; i++) {
		/* As the caller passed them: open layers are filled in with a rank's own. */
		const struct kvr_pages *p =
			(const struct kvr_pages *)((const char *)user + i * user->size);
		const uint64_t same[] = {p->first_token, p->tokens, p->first_layer, p->layers,
		                         p->turn};

		digest = XXH64(same, sizeof(same), digest);
	}
	return digest;
}

static int failed_at(const struct reshard *r, int rank, int status)
{
	if (rank != r->kvr->rank)
		log_error("kvr_reshard: rank %d: %s; its log tells more", rank,
		          kvr_strerror(status));
	return status;
}

/* Sources together hold what each destination wants. */
static int check_cover(const struct reshard *r)
{
	struct kvr_layout *sources = calloc((uint32_t)r->kvr->nranks, sizeof(*sources));
	size_t n = 0;
	int rc = 0;

	if (!sources)
		return -ENOMEM;
	for (int i = 0; i < r->kvr->nranks; i++)
		if (r->cards[i].role == KVR_SOURCE)
			sources[n++] = r->cards[i].layout;
	for (int i = 0; !rc && i < r->kvr->nranks; i++) {
		if (r->cards[i].role != KVR_DESTINATION)
			continue;
		rc = kvr_layout_cover(&r->cards[i].layout, sources, n);
		if (rc)
			log_error("kvr_reshard: so rank %d would not get all", i);
	}
	free(sources);
	return rc;
}

/* Every rank comes to the same result. */
static int compare_cards(const struct reshard *r)
{
	int first = -1;

	for (int i = 0; i < r->kvr->nranks; i++)
		if (r->cards[i].status)
			return failed_at(r, i, r->cards[i].status);
	for (int i = 0; i < r->kvr->nranks; i++) {
		if (r->cards[i].role == KVR_BYSTANDER)
			continue;
		if (first < 0)
			first = i;
		if (r->cards[i].digest == r->cards[first].digest)
			continue;
		log_error(
			"kvr_reshard: ranks %d and %d differ in n, or in the first_token, tokens, "
			"first_layer, layers or turn of a request",
			first, i);
		return -EINVAL;
	}
	return check_cover(r);
}

static int exchange_cards(struct reshard *r, const struct kvr_pages *user, int status)
{
	struct card mine = {.status = status, .role = status ? KVR_BYSTANDER : r->mine.role};
	int rc;

	if (mine.role != KVR_BYSTANDER) {
		mine.layout = r->layout;
		mine.digest = digest_of(r, user);
		mine.requests = r->n;
		mine.regions = region_count(&r->layout);
		for (size_t i = 0; i < r->n; i++)
			mine.blocks += r->requests[i].local_count;
	}
	r->cards = calloc((uint32_t)r->kvr->nranks, sizeof(*r->cards));
	if (!r->cards)
		return -ENOMEM;
	rc = kvr_allgather(r->kvr, &mine, r->cards, sizeof(mine));
	return rc ? rc : compare_cards(r);
}

static size_t letter_len(const struct card *card)
{
	if (card->role != KVR_DESTINATION)
		return 0;
	return card->regions * sizeof(struct letter_region) + card->requests * sizeof(uint64_t) +
	       card->blocks * sizeof(uint32_t);
}

static int write_letter(const struct reshard *r, uint8_t *letter)
{
	struct letter_region *regions = (struct letter_region *)letter;
	uint64_t count = region_count(&r->layout);
	uint64_t *counts = (uint64_t *)(regions + count);
	uint32_t *blocks = (uint32_t *)(counts + r->n);
	ssize_t len;

	for (uint64_t i = 0; i < count; i++) {
		len = kvr_region_export(r->mine.regions[i], regions[i].descriptor,
		                        sizeof(regions[i].descriptor));
		if (len < 0)
			return (int)len;
		regions[i].len = (uint64_t)len;
	}
	for (size_t i = 0; i < r->n; i++) {
		counts[i] = r->requests[i].local_count;
		memcpy(blocks, r->requests[i].local_blocks, counts[i] * sizeof(*blocks));
		blocks += counts[i];
	}
	return 0;
}

static int exchange_letters(struct reshard *r)
{
	size_t longest = 0, len;
	uint8_t *mine;
	int rc = 0;

	for (int i = 0; i < r->kvr->nranks; i++) {
		len = letter_len(&r->cards[i]);
		longest = len > longest ? len : longest;
	}
	r->letter_len = (longest + 7) / 8 * 8;
	mine = calloc(1, r->letter_len + 1);
	r->letters = calloc((uint32_t)r->kvr->nranks, r->letter_len + 1);
	if (!mine || !r->letters)
		rc = -ENOMEM;
	else if (r->mine.role == KVR_DESTINATION)
		rc = write_letter(r, mine);
	if (!rc)
		rc = kvr_allgather(r->kvr, mine, r->letters, r->letter_len);
	free(mine);
	return rc;
}

static int open_remotes(struct reshard *r, int rank, const struct letter_region *regions,
                        struct mover_target *target)
{
	uint64_t count = r->cards[rank].regions;
	int rc = 0;

	target->remotes = calloc(count + 1, sizeof(struct kvr_remote *));
	if (!target->remotes)
		return -ENOMEM;
	for (uint64_t i = 0; !rc && i < count; i++)
		rc = kvr_remote_open(r->kvr, rank, regions[i].descriptor, regions[i].len,
		                     &target->remotes[i]);
	return rc;
}

static int open_target(struct reshard *r, int rank)
{
	struct mover_target *target = &r->mover.targets[r->mover.target_count++];
	const uint8_t *letter = r->letters + (size_t)rank * r->letter_len;
	const struct letter_region *regions = (const struct letter_region *)letter;
	const uint64_t *counts = (const uint64_t *)(regions + r->cards[rank].regions);
	const uint32_t *blocks = (const uint32_t *)(counts + r->n);
	int rc;

	target->tables = calloc(r->n + 1, sizeof(*target->tables));
	target->counts = calloc(r->n + 1, sizeof(*target->counts));
	if (!target->tables || !target->counts)
		return -ENOMEM;
	for (size_t i = 0; i < r->n; i++) {
		target->tables[i] = blocks;
		target->counts[i] = counts[i];
		blocks += counts[i];
	}
	rc = kvr_plan_open(&r->layout, &r->cards[rank].layout, KVR_WRITE, &target->plan);
	return rc ? rc : open_remotes(r, rank, regions, target);
}

/* A source's plans. Every rank has checked its own tables before. */
static int open_mover(struct reshard *r)
{
	struct mover *m = &r->mover;
	int rc = 0;

	m->kvr = r->kvr;
	m->regions = r->mine.regions;
	m->requests = r->requests;
	m->request_count = r->n;
	if (r->mine.role != KVR_SOURCE)
		return 0;
	m->targets = calloc((uint32_t)r->kvr->nranks, sizeof(*m->targets));
	if (!m->targets)
		return -ENOMEM;
	for (int i = 0; !rc && i < r->kvr->nranks; i++)
		if (r->cards[i].role == KVR_DESTINATION)
			rc = open_target(r, i);
	return rc;
}

static void close_mover(struct mover *m)
{
	for (size_t i = 0; i < m->target_count; i++) {
		struct mover_target *target = &m->targets[i];

		for (size_t j = 0; target->remotes && target->remotes[j]; j++)
			kvr_remote_close(target->remotes[j]);
		kvr_plan_close(target->plan);
		free(target->remotes);
		free(target->tables);
		free(target->counts);
	}
	free(m->targets);
}

/* A destination gets all of its layers that a request names, as the sources cover it. */
static uint64_t bytes_received(const struct reshard *r)
{
	const struct kvr_layout *l = &r->layout;
	uint64_t bytes = 0, first, end;

	for (size_t i = 0; r->mine.role == KVR_DESTINATION && i < r->n; i++) {
		const struct kvr_pages *p = &r->requests[i];

		first = p->first_layer > l->first_layer ? p->first_layer : l->first_layer;
		end = p->first_layer + p->layers < l->first_layer + l->layers
		              ? p->first_layer + p->layers
		              : l->first_layer + l->layers;
		if (first < end)
			bytes += (end - first) * l->parts * l->heads * l->head_bytes * p->tokens;
	}
	return bytes;
}

/* Everybody's state to everybody. Returns how many still run, or a negative errno. */
static int beat(struct reshard *r, const struct beat *mine)
{
	int running = 0, rc = kvr_allgather(r->kvr, mine, r->beats, sizeof(*mine));

	r->unsure = rc;
	for (int i = 0; !rc && i < r->kvr->nranks; i++)
		running += r->beats[i].running != 0;
	return rc ? rc : running;
}

static int first_failure(const struct reshard *r)
{
	for (int i = 0; i < r->kvr->nranks; i++)
		if (r->beats[i].result)
			return failed_at(r, i, r->beats[i].result);
	return 0;
}

static int move(struct reshard *r)
{
	struct beat mine = {.running = 1};
	int64_t begin = clock_now();
	int running;

	do {
		if (mine.running && mover_run(&r->mover, LOOK_UP_MS)) {
			mine.running = 0;
			mine.so_far.nanoseconds = (uint64_t)(clock_now() - begin);
			mine.result = r->mover.error;
			mine.so_far.bytes_received = bytes_received(r);
		}
		mine.so_far.bytes_written = r->mover.bytes;
		mine.so_far.ops = r->mover.ops;
		running = beat(r, &mine);
	} while (running > 0);
	return running < 0 ? running : first_failure(r);
}

/* Whether all ranks are ready; where not, nobody moves anything. */
static int agree(struct reshard *r, int status)
{
	const struct beat mine = {.result = status};
	int rc;

	r->beats = calloc((uint32_t)r->kvr->nranks, sizeof(*r->beats));
	if (!r->beats)
		return -ENOMEM;
	rc = beat(r, &mine);
	return rc < 0 ? rc : first_failure(r);
}

/* Ends its writes, and says so to those whose memory they were for: these may have failed before.
 */
static void settle_source(struct reshard *r, int error)
{
	mover_abort(&r->mover, error);
	engine_lock(r->kvr);
	for (int i = 0; r->cards && i < r->kvr->nranks; i++)
		if (r->cards[i].role == KVR_DESTINATION)
			collective_settle(r->kvr, r->kvr->peers[i]);
	engine_unlock(r->kvr);
	engine_kick(r->kvr);
}

static bool are_settled(void *arg)
{
	const struct reshard *r = arg;

	for (int i = 0; i < r->kvr->nranks; i++)
		if (r->cards[i].role == KVR_SOURCE && !collective_is_settled(r->kvr->peers[i]))
			return false;
	return true;
}

static void await_sources(struct reshard *r)
{
	struct wait wait = {.ready = are_settled, .arg = r, .timeout_ms = SETTLE_MS};

	engine_lock(r->kvr);
	for (int i = 0; i < r->kvr->nranks; i++)
		if (r->cards[i].role == KVR_SOURCE)
			collective_await_settled(r->kvr, r->kvr->peers[i]);
	engine_unlock(r->kvr);
	if (engine_wait(r->kvr, &wait))
		log_error("kvr_reshard: a source does not say that it has ended: it may still "
		          "write to this rank");
	engine_lock(r->kvr);
	for (int i = 0; i < r->kvr->nranks; i++)
		r->kvr->peers[i]->unsettled = false;
	engine_unlock(r->kvr);
}

/* No byte moves after the call. */
static void settle(struct reshard *r, int error)
{
	if (r->mine.role == KVR_SOURCE)
		settle_source(r, error);
	else if (r->mine.role == KVR_DESTINATION && r->unsure)
		await_sources(r);
}

static void release(struct reshard *r)
{
	close_mover(&r->mover);
	free(r->requests);
	free(r->cards);
	free(r->letters);
	free(r->beats);
}

int kvr_reshard(struct kvr *kvr, const struct kvr_cache *mine, const struct kvr_pages *requests,
                size_t n, struct kvr_resharded *all)
{
	struct reshard r = {.kvr = kvr};
	int rc = read_arguments(&r, mine, requests, n);

	engine_lock(kvr);
	kvr->collective.reshards++;
	engine_unlock(kvr);
	/* What is wrong here, all must learn. */
	rc = exchange_cards(&r, requests, rc);
	if (!rc)
		rc = exchange_letters(&r);
	if (!rc)
		rc = agree(&r, open_mover(&r));
	if (!rc)
		rc = move(&r);
	if (rc)
		settle(&r, rc);
	for (int i = 0; !rc && all && i < kvr->nranks; i++)
		all[i] = r.beats[i].so_far;
	release(&r);
	return rc;
}
