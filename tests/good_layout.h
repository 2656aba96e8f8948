/* SPDX-License-Identifier: MIT
 * A layout with which nothing is wrong. */
#ifndef TESTS_GOOD_LAYOUT_H
#define TESTS_GOOD_LAYOUT_H

#include <kvrail.h>

/* [layer][part][block][token][head]: head 8, token 32, block 512, part 5120, layer 10240 bytes. */
static const struct kvr_layout good = {
	.size = sizeof(good),
	.layers = 3,
	.parts = 2,
	.heads = 4,
	.head_bytes = 8,
	.blocks = 10,
	.block_tokens = 16,
	.head_stride = 8,
	.token_stride = 32,
	.block_stride = 512,
	.part_stride = 5120,
	.layer_stride = 10240,
};

#endif
