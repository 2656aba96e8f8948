/* SPDX-License-Identifier: MIT
 * Which rails carry which memory's bytes, and in which order: doc/affinity.md has the rule. */
#include "affinity.h"
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

const char *distance_name(enum distance distance)
{
	static const char *const names[] = {"switch", "root",    "node", "package",
	                                    "other",  "unknown", "never"};

	return names[distance];
}

const char *distance_reason(enum distance distance)
{
	static const char *const reasons[] = {
		"same PCIe switch",  "same host bridge", "same NUMA node", "same package",
		"another NUMA node", "place not known",  "left out",
	};

	return reasons[distance];
}

int affinity_place_parse(const char *text, struct affinity_place *out)
{
	bool gpu = !strncmp(text, "gpu:", 4);
	char *end;
	long index;

	if (!gpu && strncmp(text, "cpu:", 4))
		return -EINVAL;
	/* strtol takes signs and blanks, too; and no memory is to have two names. */
	if (text[4] < '0' || text[4] > '9' || (text[4] == '0' && text[5]))
		return -EINVAL;
	errno = 0;
	index = strtol(text + 4, &end, 10);
	if (errno || *end || index > INT_MAX)
		return -EINVAL;
	out->gpu = gpu ? (int)index : -1;
	out->node = gpu ? -1 : (int)index;
	return 0;
}

/* The memories of one kind: a row of distances each. */
struct rows {
	const unsigned char (*row)[KVR_MAX_RAILS];
	unsigned int count, mine; /* mine: count if there is none */
};

static struct rows find_rows(const struct affinity_map *map, struct affinity_place place)
{
	struct rows rows = {map->to_gpu, map->gpus, 0};

	if (place.gpu >= 0) {
		rows.mine =
			(unsigned int)place.gpu < map->gpus ? (unsigned int)place.gpu : map->gpus;
		return rows;
	}
	rows.row = map->to_node;
	rows.count = map->nodes;
	while (rows.mine < rows.count && map->node_number[rows.mine] != place.node)
		rows.mine++;
	return rows;
}

static enum distance nearest(const unsigned char *row, unsigned int rails)
{
	enum distance best = DISTANCE_NEVER;

	for (unsigned int r = 0; r < rails; r++)
		if (row[r] < best)
			best = row[r];
	return best;
}

static bool same_near(const unsigned char *a, const unsigned char *b, unsigned int rails)
{
	enum distance near_a = nearest(a, rails), near_b = nearest(b, rails);

	for (unsigned int r = 0; r < rails; r++)
		if ((a[r] == near_a) != (b[r] == near_b))
			return false;
	return true;
}

/* Cycles through 0 to base - 1 both over ranks that follow each other and over every base-th, so
 * that ranks which share a memory differ whether they were bound in blocks or in turn. */
static unsigned int digit_sum(unsigned int number, unsigned int base)
{
	unsigned int sum = 0;

	if (base < 2)
		return 0;
	for (; number; number /= base)
		sum += number % base;
	return sum % base;
}

/* Ranks that share near rails begin at different ones: of `*slots` starts, this rank's. */
static unsigned int find_slot(const struct rows *rows, unsigned int rails,
                              struct affinity_share share, unsigned int *slots)
{
	unsigned int sharing = 0, position = 0, ranks;

	*slots = 1;
	if (share.count < 2)
		return 0;
	if (rows->mine == rows->count) {
		*slots = share.count;
		return share.ordinal % share.count;
	}
	for (unsigned int i = 0; i < rows->count; i++) {
		if (!same_near(rows->row[i], rows->row[rows->mine], rails))
			continue;
		position += i < rows->mine;
		sharing++;
	}
	ranks = (share.count + rows->count - 1) / rows->count; /* at one memory */
	*slots = sharing * ranks;
	return position + sharing * digit_sum(share.ordinal, ranks);
}

/* Appends the rails at one distance, by index but beginning at `slot` of `slots` equal parts. */
static void append(const unsigned char *row, unsigned int rails, enum distance distance,
                   const unsigned int slot[2], struct affinity *out)
{
	unsigned char found[KVR_MAX_RAILS];
	unsigned int n = 0, first;

	for (unsigned int r = 0; r < rails; r++)
		if (row[r] == distance)
			found[n++] = (unsigned char)r;
	if (!n)
		return;
	first = slot[0] * n / slot[1];
	for (unsigned int i = 0; i < n; i++) {
		out->rail[out->rails] = found[(first + i) % n];
		out->distance[out->rails++] = (unsigned char)distance;
	}
	if (!out->near)
		out->near = n;
}

int affinity_order(const struct affinity_map *map, struct affinity_place place,
                   struct affinity_share share, struct affinity *out)
{
	struct rows rows = find_rows(map, place);
	bool known = rows.mine < rows.count;
	unsigned char nowhere[KVR_MAX_RAILS];
	unsigned int near[2], far[2] = {0, 1};

	memset(out, 0, sizeof(*out));
	memset(nowhere, DISTANCE_UNKNOWN, sizeof(nowhere));
	near[0] = find_slot(&rows, map->rails, share, &near[1]);
	if (share.count > 1) {
		far[0] = share.ordinal % share.count;
		far[1] = share.count;
	}
	for (enum distance d = DISTANCE_SWITCH; d < DISTANCE_NEVER; d++)
		append(known ? rows.row[rows.mine] : nowhere, map->rails, d,
		       out->rails ? far : near, out);
	return known;
}

unsigned int affinity_target(uint32_t near, unsigned int rail)
{
	unsigned int skip;

	if (rail < 32 && near >> rail & 1)
		return rail;
	skip = rail % (unsigned int)__builtin_popcount(near);
	while (skip--)
		near &= near - 1;
	return (unsigned int)__builtin_ctz(near);
}
