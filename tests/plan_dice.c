/* SPDX-License-Identifier: MIT
 * Random layouts and block tables that are right. */
#include "plan_dice.h"
#include <string.h>

#define MODEL_LAYERS 4 /* at most */
#define MODEL_HEADS  8

struct model {
	uint32_t layers, parts, heads, head_bytes;
};

static void shuffle(struct dice *dice, char *letters, size_t n)
{
	for (size_t i = n; i > 1; i--) {
		size_t j = dice_roll(dice, i);
		char swap = letters[i - 1];

		letters[i - 1] = letters[j];
		letters[j] = swap;
	}
}

static void some_regions(struct dice *dice, struct kvr_layout *l)
{
	static const uint32_t common[][2] = {{1, 0}, {0, 1}, {2, 1}, {1, MODEL_LAYERS}, {3, 0}};
	size_t which;

	if (dice_chance(dice, 60))
		return;
	which = dice_roll(dice, sizeof(common) / sizeof(common[0]));
	l->layer_regions = common[which][0];
	l->part_regions = common[which][1];
}

static void tokens_within_blocks(char *order)
{
	char *block = strchr(order, 'b'), *token = strchr(order, 't');

	if (block < token)
		return;
	*block = 't';
	*token = 'b';
}

/* Usual orders half of the time; without the axes that have regions. */
static void some_order(struct dice *dice, const struct kvr_layout *l, char order[static 6])
{
	static const char *const usual[] = {"lpbth", "lbpth", "lpbht", "blpth", "lbpht", "pblth"};
	size_t n = 0;

	strcpy(order, usual[dice_roll(dice, 6)]);
	if (dice_chance(dice, 50))
		shuffle(dice, order, 5);
	tokens_within_blocks(order);
	for (size_t i = 0; i < 5; i++)
		if ((order[i] != 'l' || !l->layer_regions) && (order[i] != 'p' || !l->part_regions))
			order[n++] = order[i];
	order[n] = 0;
}

/* With gaps behind things, which kvr_layout_pack makes none of. */
static void some_strides(struct dice *dice, struct kvr_layout *l, const char *order)
{
	uint64_t extent = l->head_bytes;
	bool gaps = dice_chance(dice, 20);

	for (size_t i = strlen(order); i-- > 0;) {
		uint64_t stride = extent + (gaps && dice_chance(dice, 30) ? 1 : 0), count = 1;

		switch (order[i]) {
		case 'l':
			l->layer_stride = stride;
			count = l->layers;
			break;
		case 'p':
			l->part_stride = stride;
			count = l->parts;
			break;
		case 'b':
			l->block_stride = stride;
			count = l->blocks;
			break;
		case 't':
			l->token_stride = stride;
			count = l->block_tokens;
			break;
		default:
			l->head_stride = stride;
			count = l->heads;
		}
		extent = stride * count;
	}
}

/* Ranks of a tensor-parallel group, or any range. */
static void some_heads(struct dice *dice, const struct model *model, struct kvr_layout *l)
{
	uint32_t ranks = 1u << dice_roll(dice, 5);

	if (dice_chance(dice, 60) && !(model->heads & (model->heads - 1))) {
		kvr_layout_shard(l, model->heads, ranks, (uint32_t)dice_roll(dice, ranks));
		return;
	}
	l->first_head = (uint32_t)dice_roll(dice, model->heads);
	l->heads = 1 + (uint32_t)dice_roll(dice, model->heads - l->first_head);
	l->copies = (uint32_t)dice_roll(dice, 3);
	l->copy = l->copies ? (uint32_t)dice_roll(dice, l->copies) : 0;
}

static struct kvr_layout some_layout(struct dice *dice, const struct model *model)
{
	struct kvr_layout l = {
		.size = sizeof(l),
		.layers = model->layers,
		.parts = model->parts,
		.heads = model->heads,
		.head_bytes = model->head_bytes,
		.block_tokens = 1 + (uint32_t)dice_roll(dice, 8),
	};
	char order[6];

	if (dice_chance(dice, 40)) {
		l.first_layer = (uint32_t)dice_roll(dice, model->layers);
		l.layers = 1 + (uint32_t)dice_roll(dice, model->layers - l.first_layer);
	}
	if (dice_chance(dice, 70))
		some_heads(dice, model, &l);
	l.blocks = (CASE_TOKENS + l.block_tokens - 1) / l.block_tokens;
	l.blocks += (uint32_t)dice_roll(dice, CASE_BLOCKS - CASE_TOKENS);
	l.offset = dice_chance(dice, 50) ? 0 : dice_roll(dice, 9);
	some_regions(dice, &l);
	some_order(dice, &l, order);
	some_strides(dice, &l, order);
	return l;
}

/* Free lists as they come: fresh ones upwards or downwards, used ones in pieces or mixed up. */
static void some_table(struct dice *dice, const struct kvr_layout *l, uint32_t *table)
{
	uint64_t kind = dice_roll(dice, 4), swaps = dice_chance(dice, 50) ? 2 : l->blocks;

	for (uint32_t i = 0; i < l->blocks; i++)
		table[i] = kind == 1 ? l->blocks - 1 - i : i;
	for (uint64_t i = 0; kind > 1 && i < swaps; i++) {
		uint64_t a = dice_roll(dice, l->blocks), b = dice_roll(dice, l->blocks);
		uint32_t swap = table[a];

		table[a] = table[b];
		table[b] = swap;
	}
	if (kind < 2 && dice_chance(dice, 50) && l->blocks > CASE_TOKENS / l->block_tokens + 3)
		memmove(table, table + 2, (l->blocks - 2) * sizeof(*table));
}

static struct model some_model(struct dice *dice)
{
	struct model m = {
		.layers = 1 + (uint32_t)dice_roll(dice, MODEL_LAYERS),
		.parts = 1 + (uint32_t)dice_roll(dice, 2),
		.heads = 1 + (uint32_t)dice_roll(dice, MODEL_HEADS),
		.head_bytes = 1 + (uint32_t)dice_roll(dice, 3),
	};

	if (dice_chance(dice, 20))
		m.heads = m.parts = 1; /* MLA */
	return m;
}

static void some_pages(struct dice *dice, const struct model *model, struct plan_case *c)
{
	uint64_t end = 1 + dice_roll(dice, CASE_TOKENS);

	c->pages = (struct kvr_pages){
		.size = sizeof(c->pages),
		.local_blocks = c->local_blocks,
		.remote_blocks = c->remote_blocks,
		.local_count = (end + c->local.block_tokens - 1) / c->local.block_tokens,
		.remote_count = (end + c->remote.block_tokens - 1) / c->remote.block_tokens,
		.first_token = dice_chance(dice, 50) ? 0 : dice_roll(dice, end),
		.turn = (uint32_t)dice_roll(dice, 3),
	};
	c->pages.tokens = end - c->pages.first_token;
	if (dice_chance(dice, 70))
		return;
	c->pages.first_layer = (uint32_t)dice_roll(dice, model->layers);
	c->pages.layers = (uint32_t)dice_roll(dice, model->layers);
}

void plan_dice(struct dice *dice, struct plan_case *out)
{
	struct model model = some_model(dice);

	out->direction = dice_chance(dice, 50) ? KVR_WRITE : KVR_READ;
	out->local = some_layout(dice, &model);
	out->remote = dice_chance(dice, 30) ? out->local : some_layout(dice, &model);
	some_table(dice, &out->local, out->local_blocks);
	if (out->local.blocks == out->remote.blocks && dice_chance(dice, 40))
		memcpy(out->remote_blocks, out->local_blocks, sizeof(out->local_blocks));
	else
		some_table(dice, &out->remote, out->remote_blocks);
	some_pages(dice, &model, out);
}
