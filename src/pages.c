/* SPDX-License-Identifier: MIT
 * A request's block tables: checks. */
#include "pages.h"
#include "log.h"
#include "sized.h"
#include <errno.h>

int pages_read(const struct kvr_pages *user, struct kvr_pages *out)
{
	int rc = sized_read("pages", user, out, sizeof(*out), sizeof(*out));

	if (rc)
		return rc;
	if (!out->tokens) {
		log_error("pages.tokens is 0: nothing would be moved");
		return -EINVAL;
	}
	if (out->tokens > UINT64_MAX - out->first_token) {
		log_error("pages.first_token %llu with pages.tokens %llu: beyond 64 bits",
		          (unsigned long long)out->first_token, (unsigned long long)out->tokens);
		return -EOVERFLOW;
	}
	if (out->layers > UINT32_MAX - out->first_layer) {
		log_error("pages.first_layer %u with pages.layers %u: beyond 32 bits",
		          out->first_layer, out->layers);
		return -EOVERFLOW;
	}
	return 0;
}

static int check_table(const char *name, const uint32_t *blocks, size_t count,
                       const struct kvr_layout *layout, const struct kvr_pages *pages)
{
	uint64_t first = pages->first_token / layout->block_tokens;
	uint64_t last = (pages->first_token + pages->tokens - 1) / layout->block_tokens;

	if (!blocks) {
		log_error("pages.%s_blocks is NULL", name);
		return -EINVAL;
	}
	if (last >= count) {
		log_error(
			"pages.%s_count is %zu: token %llu is in entry %llu, with %s.block_tokens "
			"%u",
			name, count, (unsigned long long)(pages->first_token + pages->tokens - 1),
			(unsigned long long)last, name, layout->block_tokens);
		return -EINVAL;
	}
	for (uint64_t i = first; i <= last; i++) {
		if (blocks[i] < layout->blocks)
			continue;
		log_error("pages.%s_blocks[%llu] is %u: %s.blocks is %u", name,
		          (unsigned long long)i, blocks[i], name, layout->blocks);
		return -ERANGE;
	}
	return 0;
}

int pages_check(const struct kvr_pages *pages, const struct kvr_layout *local,
                const struct kvr_layout *remote)
{
	int rc = check_table("local", pages->local_blocks, pages->local_count, local, pages);

	return rc ? rc
	          : check_table("remote", pages->remote_blocks, pages->remote_count, remote, pages);
}
