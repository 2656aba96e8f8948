#!/bin/sh
# SPDX-License-Identifier: MIT
# kvrail-sim's command line: what it refuses, and that a seed is the same job whatever else is set.
#
#   sh tests/check_sim.sh KVRAIL-SIM
set -eu
sim=$1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM
failures=0

# ends STATUS WORDS ARGUMENT...: and says these words.
ends()
{
	wanted=$1 words=$2 status=0
	shift 2
	timeout 60 "$sim" "$@" >"$scratch/out" 2>"$scratch/err" || status=$?
	[ "$status" -eq "$wanted" ] && cat "$scratch/out" "$scratch/err" | grep -qF -e "$words" && return
	failures=$((failures + 1))
	echo "FAILED: $*: status $status, not $wanted, or does not say: $words"
	cat "$scratch/err"
}

ends 2 "--seeds '0' is not a whole number" --seeds 0
ends 2 "--seeds '-1' is not a whole number" --seeds -1
ends 2 "--first-seed '18446744073709551616' is not" --first-seed 18446744073709551616 --seeds 1
ends 2 "--seed '1x' is not" --seed 1x
ends 2 "--faults 'rain' has a kind" --faults rain
ends 2 "unrecognized option '--colour'" --colour
ends 2 'Too many arguments' 5
ends 0 'at random' --list

ends 0 'kvrail-sim: 20 seeds' --seeds 20
cp "$scratch/out" "$scratch/plain"
for setting in KVR_RAILS=none KVR_LOG=loud KVR_WINDOW_BYTES=65536; do
	export "${setting?}"
	ends 0 "$(cat "$scratch/plain")" --seeds 20
	unset "${setting%%=*}"
done

status=0
"$sim" --seeds 1 >/dev/full 2>"$scratch/err" || status=$?
if [ "$status" -ne 1 ] || ! grep -q 'standard output' "$scratch/err"; then
	failures=$((failures + 1))
	echo "FAILED: standard output is full: status $status, not 1, or nothing said"
fi
[ "$failures" -eq 0 ]
