/* SPDX-License-Identifier: MIT
 * Rails on which nothing moves, and which only look at what memory is registered. */
#ifndef TESTS_LOOK_FABRIC_H
#define TESTS_LOOK_FABRIC_H

#include "fabric.h"

#define LOOK_RAILS 4

/* One registration. */
struct fabric_mr {
	struct fabric_memory memory;
	uint64_t key;
	void *context; /* CUDA's, of the thread then */
	off_t file;    /* a dmabuf's length; -1: it is none, or closed */
};

struct look {
	enum fabric_memory_kind how;      /* GPU memory is taken */
	int refused[3];                   /* registrations of each kind: their result */
	int together;                     /* none ends before so many have begun; 0: no matter */
	_Atomic int open;                 /* registrations */
	_Atomic int tries;                /* to register */
	_Atomic int warmed, doors_warmed; /* rails */
};

extern struct look look;
extern const struct fabric_ops look_ops;

#endif
