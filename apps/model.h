/* SPDX-License-Identifier: MIT
 * Geometry of a model's KV cache: built-in ones, and those of a Hugging Face config.json. */
#ifndef MODEL_H
#define MODEL_H

#include <stddef.h>
#include <stdint.h>

struct model {
	char name[64];
	uint32_t layers;
	uint32_t parts;    /* 2: K and V; 1: one latent (MLA) */
	uint32_t heads;    /* KV heads; 1 for MLA */
	uint32_t head_dim; /* elements; for MLA the latent and its rotary part */
	uint32_t element_bytes;
	const char *source; /* where the figures come from; static */
};

/* A built-in name, or a path that names a file. -ENOENT: neither; -EINVAL: a bad file. *why gets
 * one line that names the thing and the remedy (for an unknown name: the known ones). */
int model_find(const char *name_or_path, struct model *out, char *why, size_t why_len);

/* Built-in models in order; NULL behind the last. */
const struct model *model_builtin(size_t index);

static inline uint64_t model_head_bytes(const struct model *m)
{
	return (uint64_t)m->head_dim * m->element_bytes;
}

/* Of one token in one layer and part. */
static inline uint64_t model_token_bytes(const struct model *m)
{
	return m->heads * model_head_bytes(m);
}

/* KV cache of one token: layers x parts x heads x head_dim x element size. */
static inline uint64_t model_bytes_per_token(const struct model *m)
{
	return (uint64_t)m->layers * m->parts * model_token_bytes(m);
}

#endif
