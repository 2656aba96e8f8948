/* SPDX-License-Identifier: MIT
 * What a plan has to move, worked out byte by byte from the layouts' definition. */
#ifndef TESTS_PLAN_REFERENCE_H
#define TESTS_PLAN_REFERENCE_H

#include <kvrail.h>
#include <stdbool.h>

#define REFERENCE_REGIONS 256 /* of a layout, at most */

struct reference_byte {
	uint64_t to;            /* 1 + the remote place; or 0, and it is not moved */
	uint64_t local, remote; /* entries in the tables */
};

struct reference {
	const struct kvr_layout *local, *remote;
	const struct kvr_pages *pages;
	enum kvr_direction direction;
	uint64_t local_size, remote_size; /* of each region */
	uint64_t local_places;            /* all regions' bytes, one region behind the other */
	struct reference_byte *from;      /* each local place */
	uint64_t bytes;                   /* that are moved, in all */
	uint64_t left;                    /* of them, not seen yet by reference_check */
	uint64_t runs; /* of neighbours that go to neighbours, in whatever order the bytes come */
};

/* The layouts and pages must be right, with no block twice. */
void reference_open(struct reference *);
void reference_close(struct reference *);

/* NULL if the ops move exactly these bytes, or what is wrong. Forgets them. */
const char *reference_check(struct reference *, const struct kvr_op *ops, size_t n);

/* Tokens of a request whose tables have count blocks each. */
struct kvr_pages reference_pages(const uint32_t *local, const uint32_t *remote, size_t count,
                                 uint64_t first, uint64_t tokens);

/* Regions that are only names: REFERENCE_REGIONS of each. */
struct kvr_region *const *reference_regions(void);
struct kvr_remote *const *reference_remotes(void);

/* A plan's ops checked in every way; NULL, or what is wrong, reference_too_many last. *ops gets
 * their number. */
extern const char reference_too_many[];
const char *reference_run(struct reference *, uint64_t *ops);

#endif
