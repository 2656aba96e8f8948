/* SPDX-License-Identifier: MIT
 * Which rails a list chooses. */
#include "config.h"
#include <fnmatch.h>
#include <stdbool.h>
#include <string.h>

int config_rail_chosen(const char *list, const char *name)
{
	bool exclude = *list == '^';
	char copy[512], *save, *token;

	if (!*list)
		return 1;
	strncpy(copy, list + exclude, sizeof(copy) - 1);
	copy[sizeof(copy) - 1] = 0;
	for (token = strtok_r(copy, ",", &save); token; token = strtok_r(NULL, ",", &save))
		if (!fnmatch(token, name, 0))
			return !exclude;
	return exclude;
}
