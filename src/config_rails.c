/* SPDX-License-Identifier: MIT
 * Which rails a list chooses. */
#include "config.h"
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

#define BLANKS " \t\r\n"

/* The next name or glob, without the blanks around it, or a ^ that repeats the list's. */
static bool next_name(const char **list, bool exclude, char out[static CONFIG_LIST])
{
	const char *at = *list + strspn(*list, BLANKS ",");
	size_t len;

	if (exclude && *at == '^')
		at += 1 + strspn(at + 1, BLANKS);
	len = strcspn(at, ",");
	*list = at + len;
	while (len && strchr(BLANKS, at[len - 1]))
		len--;
	snprintf(out, CONFIG_LIST, "%.*s", (int)len, at);
	return *at;
}

bool config_rails_exclude(const char *list)
{
	return list[strspn(list, BLANKS)] == '^';
}

bool config_rail_chosen(const char *list, const char *name)
{
	bool exclude = config_rails_exclude(list);
	char pattern[CONFIG_LIST];

	if (!*list)
		return true;
	while (next_name(&list, exclude, pattern))
		if (!fnmatch(pattern, name, 0))
			return !exclude;
	return exclude;
}

bool config_rails_stray(const char *list, const char *names, size_t stride, size_t count,
                        char out[static CONFIG_LIST])
{
	size_t i = 0;

	while (!config_rails_exclude(list) && next_name(&list, false, out)) {
		for (i = 0; i < count && fnmatch(out, names + i * stride, 0);)
			i++;
		if (i == count)
			return true;
	}
	return false;
}
