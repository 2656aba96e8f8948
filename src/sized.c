/* SPDX-License-Identifier: MIT
 * Structs of the user's that begin with their size, and may be another version's. */
#include "sized.h"
#include "log.h"
#include <errno.h>
#include <string.h>

int sized_read(const char *name, const void *user, void *out, size_t least, size_t known)
{
	size_t size;

	if (!user) {
		log_error("%s is NULL", name);
		return -EINVAL;
	}
	memcpy(&size, user, sizeof(size));
	if (size < least) {
		log_error("%s.size is %zu: set it to sizeof(), which was never less than %zu", name,
		          size, least);
		return -EINVAL;
	}
	for (size_t i = known; i < size; i++) {
		if (!((const char *)user)[i])
			continue;
		log_error("%s.size is %zu, of a newer version that sets what this one does not "
		          "know: it knows %zu bytes",
		          name, size, known);
		return -E2BIG;
	}
	memset(out, 0, known);
	memcpy(out, user, size < known ? size : known);
	return 0;
}
