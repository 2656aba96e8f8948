/* SPDX-License-Identifier: MIT
 * One line of log at a time, to the user's function or to standard error. */
#ifndef KVR_LOG_H
#define KVR_LOG_H

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DETAIL };

/* Lines above this level are dropped where the user has set no function; see KVR_LOG. */
void log_set_level(enum log_level);
void log_line(enum log_level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...)   log_line(LOG_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_WARNING, __VA_ARGS__)
#define log_info(...)    log_line(LOG_INFO, __VA_ARGS__)
#define log_detail(...)  log_line(LOG_DETAIL, __VA_ARGS__)

#endif
