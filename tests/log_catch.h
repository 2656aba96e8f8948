/* SPDX-License-Identifier: MIT
 * What the library logs, caught: for tests that look at what a refusal says. Include it after
 * cmocka.h. */
#ifndef TESTS_LOG_CATCH_H
#define TESTS_LOG_CATCH_H

#include "log.h"
#include <kvrail.h>
#include <stdio.h>
#include <string.h>

static char logged[2048]; /* the last line */
static int errors;        /* lines that are errors */

static void on_log(void *arg, int level, const char *line)
{
	(void)arg;
	errors += level == LOG_ERROR;
	snprintf(logged, sizeof(logged), "%s", line);
}

/* From the beginning. */
static void catch_log(void)
{
	errors = 0;
	*logged = 0;
	kvr_set_log(on_log, NULL);
}

#endif
