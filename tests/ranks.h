/* SPDX-License-Identifier: MIT
 * Runs a function as n ranks, each a process of its own, with a bootstrap over shared memory: a
 * job without a launcher. */
#ifndef TESTS_RANKS_H
#define TESTS_RANKS_H

#include <kvrail.h>

/* Each rank's exit status is fn's result; returns 0 if all were 0, else the first other one. A rank
 * that takes longer than `seconds` is ended, as are the others. */
int ranks_run(int n, int seconds, int (*fn)(const struct kvr_bootstrap *, void *arg), void *arg);

/* In a rank: ends it, saying where, unless the condition holds. Unlike cmocka's asserts these work
 * in a child process. */
#define expect(condition)                                                                          \
	do {                                                                                       \
		if (!(condition))                                                                  \
			ranks_fail(__FILE__, __LINE__, #condition);                                \
	} while (0)
#define expect_rc(call, wanted) ranks_expect_rc(__FILE__, __LINE__, #call, (call), (wanted))

void ranks_fail(const char *file, int line, const char *what) __attribute__((noreturn));
void ranks_expect_rc(const char *file, int line, const char *what, long rc, long wanted);

#endif
