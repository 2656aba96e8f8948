#!/bin/sh
# SPDX-License-Identifier: MIT
# All C is laid out as .clang-format says: sh tests/check_format.sh
# To put it right: clang-format -i FILE
set -eu
cd "$(dirname -- "$0")/.."
if ! command -v clang-format >/dev/null; then
	echo "skipped: there is no clang-format"
	exit 77
fi
find include src apps tests -name '*.[ch]' -exec clang-format --dry-run -Werror {} +
