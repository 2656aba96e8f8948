/* SPDX-License-Identifier: MIT
 * What a plan has to move, worked out byte by byte from the layouts' definition. */
#ifndef TESTS_PLAN_REFERENCE_H
#define TESTS_PLAN_REFERENCE_H

#include <kvrail.h>
#include <stdbool.h>

#define REFERENCE_REGIONS 256 /* of a layout, at most */

struct reference {
	const struct kvr_layout *local, *remote;
	const struct kvr_pages *pages;
	enum kvr_direction direction;
	uint64_t local_size, remote_size; /* of each region */
	uint64_t local_places;            /* all regions' bytes, one region behind the other */
	uint64_t *to;                     /* of each local place: 1 + the remote one, or 0 */
	uint64_t bytes;
	uint64_t runs; /* of neighbours that go to neighbours, whatever the tables' order */
};

/* The layouts and pages must be right, with no block twice. */
void reference_open(struct reference *);
void reference_close(struct reference *);

/* NULL if the ops move exactly these bytes, or what is wrong. Forgets them. */
const char *reference_check(struct reference *, const struct kvr_op *ops, size_t n);

/* Regions that are only names: REFERENCE_REGIONS of each. */
struct kvr_region *const *reference_regions(void);
struct kvr_remote *const *reference_remotes(void);

/* A plan's ops checked in every way; NULL, or what is wrong. *ops gets their number. */
const char *reference_run(struct reference *, uint64_t *ops);

#endif
