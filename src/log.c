/* SPDX-License-Identifier: MIT
 * One line of log at a time, to the user's function or to standard error. */
#include "log.h"
#include <kvrail.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void (*user_fn)(void *arg, int level, const char *line);
static void *user_arg;
static _Atomic int max_level = LOG_WARNING;

void kvr_set_log(void (*fn)(void *arg, int level, const char *line), void *arg)
{
	pthread_mutex_lock(&lock);
	user_fn = fn;
	user_arg = arg;
	pthread_mutex_unlock(&lock);
}

void log_set_level(enum log_level level)
{
	max_level = level;
}

void log_line(enum log_level level, const char *format, ...)
{
	static const char *const names[] = {"error", "warning", "info", "detail"};
	char line[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	pthread_mutex_lock(&lock);
	if (user_fn)
		user_fn(user_arg, level, line);
	else if ((int)level <= max_level)
		fprintf(stderr, "kvrail: %s: %s\n", names[level], line);
	pthread_mutex_unlock(&lock);
}
