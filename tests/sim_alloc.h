/* SPDX-License-Identifier: MIT
 * Counts the allocations that are made between two posts of pieces in a row. The linker puts it
 * before malloc and its kin. */
#ifndef TESTS_SIM_ALLOC_H
#define TESTS_SIM_ALLOC_H

#include <stdint.h>

void alloc_begin_post(void); /* a piece is posted: what the fabric allocates does not count */
void alloc_end_post(void);
void alloc_note_other(void); /* the engine does something else */

/* Between two pieces the fabric does something else: what it allocates from the mark on does not
 * count. */
uint64_t alloc_mark(void);
void alloc_forget(uint64_t mark);

/* So far, since it was last asked. */
uint64_t alloc_between_posts(void);

#endif
