/* SPDX-License-Identifier: MIT
 * Which NUMA nodes a region's pages are on: from a sample of them. */
#include "page_nodes.h"
#include <errno.h>
#include <numaif.h>
#include <stdbool.h>
#include <stdlib.h>

/* Samples in a row on one node that are no chance of interleaving: of two nodes, and 1,024 samples,
 * less than one in 60. */
#define LONG_RUN 16

static int ask_kernel(void *arg, size_t count, void *const *address, int *node)
{
	(void)arg;
	/* It only reads the list. */
	return move_pages(0, count, (void **)(uintptr_t)address, NULL, node, 0) ? errno : 0;
}

const struct pages_source pages_of_kernel = {.ask = ask_kernel, .page = 4096};

struct sampling {
	const struct pages_source *source;
	uintptr_t first; /* page, an address */
	size_t pages, count;
	void *address[PAGES_SAMPLES];
	int node[PAGES_SAMPLES];
};

/* A stretch of samples; its first page is known to be on the same node. */
struct stretch {
	size_t first, count; /* samples */
	int node;
	uint64_t nodes;
};

static size_t page_of(const struct sampling *s, size_t sample)
{
	return ((uintptr_t)s->address[sample] - s->first) / s->source->page;
}

/* One page out of each of `count` equal parts; which one, a generator says that begins alike. */
static void choose(struct sampling *s)
{
	uint64_t state = 1, low, high;

	s->count = s->pages < PAGES_SAMPLES ? s->pages : PAGES_SAMPLES;
	for (size_t i = 0; i < s->count; i++) {
		/* Knuth's MMIX constants. */
		state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		low = s->pages / s->count * i + s->pages % s->count * i / s->count;
		high = s->pages / s->count * (i + 1) + s->pages % s->count * (i + 1) / s->count;
		low += (state >> 33) % (high - low);
		s->address[i] = (void *)(s->first + low * s->source->page);
	}
}

static int ask(const struct sampling *s, void *const *address, size_t count, int *node)
{
	int rc = s->source->ask(s->source->arg, count, address, node);

	for (size_t i = 0; !rc && i < count; i++)
		if (node[i] < 0)
			node[i] = PAGES_ABSENT;
	return -rc;
}

static uint64_t node_bit(int node)
{
	return node >= 0 && node < 64 ? UINT64_C(1) << node : 0;
}

static size_t find_stretches(const struct sampling *s, struct stretch *out)
{
	size_t n = 0;

	for (size_t i = 0; i < s->count; i++) {
		if (!i || s->node[i] != out[n - 1].node)
			out[n++] = (struct stretch){i, 0, s->node[i], node_bit(s->node[i])};
		out[n - 1].count++;
	}
	return n;
}

/* Short stretches that follow each other become mixed ones; in place. */
static size_t join_short(struct stretch *list, size_t count)
{
	size_t n = 0;

	for (size_t i = 0; i < count; i++) {
		bool mixed = list[i].count < LONG_RUN;

		if (n && mixed && list[n - 1].node == PAGES_MIXED) {
			list[n - 1].count += list[i].count;
			list[n - 1].nodes |= list[i].nodes;
			continue;
		}
		list[n] = list[i];
		if (mixed)
			list[n].node = PAGES_MIXED;
		n++;
	}
	return n;
}

/* Still too many: what is over goes into the last. */
static size_t join_rest(struct stretch *list, size_t count)
{
	struct stretch *last = &list[PAGES_RUNS - 1];

	for (size_t i = PAGES_RUNS; i < count; i++) {
		last->count += list[i].count;
		last->nodes |= list[i].nodes;
		last->node = PAGES_MIXED;
	}
	return count < PAGES_RUNS ? count : PAGES_RUNS;
}

/* The first page of a stretch: between its first sample and the last of the one before. */
static int find_start(const struct sampling *s, const struct stretch *stretch, size_t *page)
{
	size_t low, high = page_of(s, stretch->first), middle;
	void *address;
	int node, rc;

	*page = high;
	if (!stretch->first)
		return *page = 0;
	low = page_of(s, stretch->first - 1);
	if (stretch[-1].node == PAGES_MIXED || stretch->node == PAGES_MIXED)
		return 0;
	while (high - low > 1) {
		middle = low + (high - low) / 2;
		address = (void *)(s->first + middle * s->source->page);
		rc = ask(s, &address, 1, &node);
		if (rc)
			return rc;
		if (node == stretch->node)
			high = middle;
		else
			low = middle;
	}
	*page = high;
	return 0;
}

static int fill(const struct sampling *s, const struct stretch *list, size_t count, uintptr_t begin,
                size_t len, struct pages_run *out)
{
	size_t page;
	int rc;

	for (size_t i = 0; i < count; i++) {
		rc = find_start(s, &list[i], &page);
		if (rc)
			return rc;
		/* The first page may begin before the region. */
		out[i].offset = page ? s->first + page * s->source->page - begin : 0;
		out[i].node = list[i].node;
		out[i].nodes = list[i].nodes;
		if (i)
			out[i - 1].len = out[i].offset - out[i - 1].offset;
	}
	out[count - 1].len = len - out[count - 1].offset;
	return (int)count;
}

int pages_locate(const struct pages_source *source, const void *region, size_t len,
                 struct pages_run out[static PAGES_RUNS])
{
	uintptr_t begin = (uintptr_t)region;
	struct stretch *list;
	struct sampling *s;
	size_t count;
	int rc;

	if (!len || begin + len < begin)
		return -EINVAL;
	s = malloc(sizeof(*s) + PAGES_SAMPLES * sizeof(*list));
	if (!s)
		return -ENOMEM;
	list = (struct stretch *)(s + 1);
	s->source = source;
	s->first = begin & ~(uintptr_t)(source->page - 1);
	s->pages = (begin + len - 1 - s->first) / source->page + 1;
	choose(s);
	rc = ask(s, s->address, s->count, s->node);
	if (!rc) {
		count = find_stretches(s, list);
		if (count > PAGES_RUNS)
			count = join_rest(list, join_short(list, count));
		rc = fill(s, list, count, begin, len, out);
	}
	free(s);
	return rc;
}
