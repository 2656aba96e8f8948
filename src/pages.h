/* SPDX-License-Identifier: MIT
 * A request's block tables: checks. Pure. */
#ifndef KVR_PAGES_H
#define KVR_PAGES_H

#include <kvrail.h>

/* Copies pages, and checks all but the tables. */
int pages_read(const struct kvr_pages *user, struct kvr_pages *out);

/* Whether the tables reach as far as the tokens, with blocks that the layouts have. */
int pages_check(const struct kvr_pages *, const struct kvr_layout *local,
                const struct kvr_layout *remote);

#endif
