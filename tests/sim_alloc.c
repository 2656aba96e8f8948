/* SPDX-License-Identifier: MIT
 * Counts the allocations that are made between two posts of pieces in a row. */
#include "sim_alloc.h"
#include <stdbool.h>
#include <stddef.h>

static uint64_t since_post, between;
static bool posting;

void *__real_malloc(size_t);
void *__real_calloc(size_t, size_t);
void *__real_realloc(void *, size_t);
void *__wrap_malloc(size_t);
void *__wrap_calloc(size_t, size_t);
void *__wrap_realloc(void *, size_t);

void alloc_begin_post(void)
{
	if (posting)
		between += since_post;
	posting = false;
}

void alloc_end_post(void)
{
	posting = true;
	since_post = 0;
}

void alloc_note_other(void)
{
	posting = false;
}

uint64_t alloc_mark(void)
{
	return since_post;
}

void alloc_forget(uint64_t mark)
{
	since_post = mark;
}

uint64_t alloc_between_posts(void)
{
	uint64_t n = between;

	between = 0;
	posting = false;
	return n;
}

void *__wrap_malloc(size_t len)
{
	since_post++;
	return __real_malloc(len);
}

void *__wrap_calloc(size_t n, size_t len)
{
	since_post++;
	return __real_calloc(n, len);
}

void *__wrap_realloc(void *p, size_t len)
{
	since_post++;
	return __real_realloc(p, len);
}
