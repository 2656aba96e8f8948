#!/bin/sh
# SPDX-License-Identifier: MIT
# What a piece costs, in instructions, part by part; exit 1 where posting one takes more than 400,
# or allocates.
#
#   sh tests/post_cost.sh PROGRAM [BLOCKS [FOLDER]]
#
# FOLDER: keeps callgrind's files there. What a part consists of:
#   callgrind_annotate FOLDER/post src/*.c
set -eu
program=$1
blocks=${2:-120000}
limit=400
if ! command -v valgrind >/dev/null; then
	echo "skipped: there is no valgrind"
	exit 77
fi
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
trap 'exit 1' HUP INT TERM
folder=${3:-$temporary}
mkdir -p "$folder"

# cost PART OPTIONS...: sets $each, its instructions per piece.
cost()
{
	rc=0
	part=$1
	shift
	valgrind --tool=callgrind --collect-atstart=no --callgrind-out-file="$folder/$part" "$@" \
		"$program" "$part" "$blocks" >"$temporary/log" 2>&1 || rc=$?
	all=$(sed -n 's/.*Collected *: *\([0-9][0-9]*\).*/\1/p' "$temporary/log")
	if [ $rc -ne 0 ] || [ "${all:-0}" -eq 0 ]; then
		cat "$temporary/log"
		exit $((rc ? rc : 1))
	fi
	each=$((all / blocks))
}

printf 'instructions per piece, one kvr_write of %s blocks over 16 rails:\n' "$blocks"
cost check
printf '%6d  kvr_write: checked, counted, copied\n' $each
cost post --toggle-collect=null_write
posting=$each
printf '%6d  posting; at most %d\n' $posting $limit
cost complete
printf '%6d  its completion, and what else a pass does\n' $each
cost arrive
printf '%6d  its arrival at the target\n' $each
[ $posting -le $limit ]
