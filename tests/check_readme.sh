#!/bin/sh
# SPDX-License-Identifier: MIT
# README says what is so: its C example compiles, and it has every environment variable.
set -eu
cd "$(dirname -- "$0")/.."
if ! command -v mpicc >/dev/null; then
	echo "skipped: there is no mpicc"
	exit 77
fi
awk '/^```/ { inside = $0 == "```c"; next } inside' README.md |
	mpicc -std=c11 -Wall -Wextra -Werror -Iinclude -fsyntax-only -x c -
status=0
for name in $(grep -oE '"KVR_[A-Z_]+"' src/config.c | tr -d '"'); do
	grep -q "^| \`$name\` |" README.md || {
		echo "README.md has no row for $name"
		status=1
	}
done
exit $status
