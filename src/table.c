/* SPDX-License-Identifier: MIT
 * The block tables of both sides -> ops, in one walk along them. What it comes by is handed from
 * one stage to the next, and each holds back the last thing it was given until it knows that
 * nothing joins it:
 *
 *   piece    tokens that are in one block on both sides
 *   stretch  pieces whose tokens go on at the token strides, across blocks
 *   row      stretches alike that touch, as whole blocks do
 *   group    rows alike at one distance
 *
 * Rows and groups may go upwards or downwards, as allocators hand blocks out in both orders. */
#include "table.h"
#include <stdbool.h>

struct stretch {
	uint64_t local, remote, tokens; /* 0 tokens: nothing yet */
};

struct row {
	struct stretch first; /* in memory */
	uint64_t count;
};

struct group {
	struct row first;                 /* in memory */
	uint64_t last_local, last_remote; /* of what came last */
	uint64_t count, local, remote;    /* distances */
	bool down;
};

struct walk {
	const struct table *table;
	const struct kvr_op *origin;
	struct op_list *out;
	struct stretch stretch;
	struct row row;
	struct group group;
	uint64_t shape_tokens; /* what shape is for */
	struct box shape;
};

/* The box of one stretch. Nearly all stretches of a request are alike. */
static const struct box *shape_of(struct walk *walk, uint64_t tokens)
{
	const struct table *t = walk->table;

	if (walk->shape_tokens == tokens)
		return &walk->shape;
	walk->shape_tokens = tokens;
	walk->shape = (struct box){.len = t->len};
	for (unsigned int i = 0; i < t->n; i++)
		box_add(&walk->shape, t->dim[i]);
	box_add(&walk->shape,
	        (struct box_dim){tokens, t->local.token_stride, t->remote.token_stride});
	return &walk->shape;
}

static void put_group(struct walk *walk)
{
	const struct group *g = &walk->group;
	struct kvr_op op = *walk->origin;
	struct box box;

	if (!g->count)
		return;
	box = *shape_of(walk, g->first.first.tokens);
	box_add(&box, (struct box_dim){g->first.count, box.len, box.len});
	box_add(&box, (struct box_dim){g->count, g->local, g->remote});
	op.local_offset += g->first.first.local;
	op.remote_offset += g->first.first.remote;
	box_emit(&box, &op, walk->out);
}

static void start_group(struct group *g, const struct row *row)
{
	*g = (struct group){
		.first = *row,
		.last_local = row->first.local,
		.last_remote = row->first.remote,
		.count = 1,
	};
}

static bool join_group(struct group *g, const struct row *row)
{
	const struct stretch *s = &row->first;
	bool down = s->local < g->last_local;
	uint64_t local = down ? g->last_local - s->local : s->local - g->last_local;
	uint64_t remote = down ? g->last_remote - s->remote : s->remote - g->last_remote;

	if (!g->count || s->tokens != g->first.first.tokens || row->count != g->first.count)
		return false;
	/* Wherever a block is there twice, a run would lie upon itself. */
	if (s->local == g->last_local || s->remote == g->last_remote ||
	    down != (s->remote < g->last_remote))
		return false;
	if (g->count > 1 && (down != g->down || local != g->local || remote != g->remote))
		return false;
	g->down = down;
	g->local = local;
	g->remote = remote;
	g->last_local = s->local;
	g->last_remote = s->remote;
	g->count++;
	if (down)
		g->first = *row;
	return true;
}

static void put_row(struct walk *walk)
{
	if (!walk->row.count || join_group(&walk->group, &walk->row))
		return;
	put_group(walk);
	start_group(&walk->group, &walk->row);
}

static bool join_row(struct row *row, const struct stretch *s, uint64_t len)
{
	uint64_t row_len = row->count * len;

	if (!row->count || s->tokens != row->first.tokens)
		return false;
	if (s->local == row->first.local + row_len && s->remote == row->first.remote + row_len) {
		row->count++;
		return true;
	}
	if (s->local + len != row->first.local || s->remote + len != row->first.remote)
		return false;
	row->first = *s;
	row->count++;
	return true;
}

static void put_stretch(struct walk *walk)
{
	const struct stretch *s = &walk->stretch;

	if (!s->tokens || join_row(&walk->row, s, shape_of(walk, s->tokens)->len))
		return;
	put_row(walk);
	walk->row = (struct row){*s, 1};
}

static bool join_stretch(struct stretch *s, const struct stretch *piece, const struct table *t)
{
	uint64_t local = t->local.token_stride, remote = t->remote.token_stride;

	if (!s->tokens)
		return false;
	if (piece->local != s->local + s->tokens * local ||
	    piece->remote != s->remote + s->tokens * remote)
		return false;
	s->tokens += piece->tokens;
	return true;
}

static void put_piece(struct walk *walk, const struct stretch *piece)
{
	if (join_stretch(&walk->stretch, piece, walk->table))
		return;
	put_stretch(walk);
	walk->stretch = *piece;
}

/* Where a side's walk along its table is. */
struct place {
	const struct table_side *side;
	const uint32_t *block;
	uint64_t token; /* in the block */
};

static struct place place_of(const struct table_side *side, uint64_t token)
{
	return (struct place){side, side->blocks + token / side->block_tokens,
	                      token % side->block_tokens};
}

static uint64_t place_at(const struct place *p)
{
	return *p->block * p->side->block_stride + p->token * p->side->token_stride;
}

static uint64_t place_left(const struct place *p)
{
	return p->side->block_tokens - p->token;
}

static void place_pass(struct place *p, uint64_t tokens)
{
	p->token += tokens;
	if (p->token < p->side->block_tokens)
		return;
	p->token = 0;
	p->block++;
}

void table_ops(const struct table *t, const struct kvr_op *origin, struct op_list *out)
{
	struct walk walk = {.table = t, .origin = origin, .out = out};
	struct place local = place_of(&t->local, t->first);
	struct place remote = place_of(&t->remote, t->first);
	uint64_t left = t->count;

	while (left) {
		struct stretch piece = {place_at(&local), place_at(&remote), left};

		if (piece.tokens > place_left(&local))
			piece.tokens = place_left(&local);
		if (piece.tokens > place_left(&remote))
			piece.tokens = place_left(&remote);
		put_piece(&walk, &piece);
		place_pass(&local, piece.tokens);
		place_pass(&remote, piece.tokens);
		left -= piece.tokens;
	}
	put_stretch(&walk);
	put_row(&walk);
	put_group(&walk);
}
