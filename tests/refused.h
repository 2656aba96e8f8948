/* SPDX-License-Identifier: MIT
 * Refusals, each with one line of log that names what is wrong. Include it after cmocka.h. */
#ifndef TESTS_REFUSED_H
#define TESTS_REFUSED_H

#include "log_catch.h"

static int clean(void **state)
{
	(void)state;
	catch_log();
	return 0;
}

/* One line, which has the word. */
static void expect_refused(ssize_t rc, int wanted, const char *word)
{
	if (rc != wanted || errors != 1 || !strstr(logged, word))
		fail_msg("%s: result %zd, %d lines, the last: %s", word, rc, errors, logged);
	catch_log();
}

#endif
