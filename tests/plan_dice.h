/* SPDX-License-Identifier: MIT
 * Random layouts and block tables that are right. */
#ifndef TESTS_PLAN_DICE_H
#define TESTS_PLAN_DICE_H

#include "seeds.h"
#include <kvrail.h>

#define CASE_TOKENS 24 /* at most */
#define CASE_BLOCKS 40

struct plan_case {
	struct kvr_layout local, remote;
	struct kvr_pages pages;
	enum kvr_direction direction;
	uint32_t local_blocks[CASE_BLOCKS], remote_blocks[CASE_BLOCKS];
};

void plan_dice(struct dice *, struct plan_case *out);

#endif
