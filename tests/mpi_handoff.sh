#!/bin/sh
# SPDX-License-Identifier: MIT
# The example that is to be copied: all layers come, in order, and are right; and it is short.
#
#   sh tests/mpi_handoff.sh BUILD-FOLDER
set -eu
LC_ALL=C
export LC_ALL
exec </dev/null
# shellcheck source=tests/needs.sh
. "$(dirname -- "$0")/needs.sh"

build=$(cd "$1" && pwd)
apps=$(cd "$(dirname -- "$0")/../apps" && pwd)
need_mpirun
# Open MPI's modules have no frame pointers, by which its leaks would be known as its.
ASAN_OPTIONS=${ASAN_OPTIONS:-}:fast_unwind_on_malloc=0
export ASAN_OPTIONS

expected="layer 0 is here, 0 bytes are wrong
layer 1 is here, 0 bytes are wrong
layer 2 is here, 0 bytes are wrong
layer 3 is here, 0 bytes are wrong"
for ranks in 2 3 5; do
	said=$(timeout 100 sh "$apps/mpirun.sh" -n $ranks "$build/handoff" | tr -d '\r')
	[ "$said" = "$expected" ] || {
		echo "FAILED: $ranks ranks said: $said"
		exit 1
	}
done
lines=$(wc -l <"$apps/examples/handoff.c")
[ "$lines" -le 150 ] || {
	echo "FAILED: the example has $lines lines: nobody reads more than 150"
	exit 1
}
