#!/bin/sh
# SPDX-License-Identifier: MIT
# Every fault in the midst of every operation on every kind of device, on the software EFA: all bytes
# are right, or the right error comes in time. Prints the matrix. See ../fault_matrix.c.
#
#   matrix.sh SOFTEFA BUILD_DIR                     all cells
#   matrix.sh SOFTEFA BUILD_DIR FAULT OP DEVICE     one of them, with all that it said
set -eu
LC_ALL=C
export LC_ALL
exec </dev/null
# shellcheck source=tests/needs.sh
. "$(dirname -- "$0")/../needs.sh"

faults="down blackhole rate error flapping kill pause"
ops="write read scatter gather replay"
devices="p4d p5 p5en"
stats=''   # what softefa is to show at the end of a cell
at_once=3 # two, and one that waits for its fault to end

usage()
{
	echo "usage: matrix.sh SOFTEFA BUILD_DIR [FAULT OP DEVICE]" >&2
	exit 2
}

case $# in
2 | 5) ;;
*) usage ;;
esac
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
softefa=$(CDPATH='' cd -- "$(dirname -- "$1")" && pwd)/$(basename -- "$1")
build=$(CDPATH='' cd -- "$2" && pwd)
KVR_PROVIDER=efa
export KVR_PROVIDER

# is_one_of WORD WORDS
is_one_of()
{
	case " $2 " in
	*" $1 "*) return 0 ;;
	esac
	return 1
}

# The bytes of the sample's first three requests, by its line of JSON.
replay_bytes=59473920

# run: the cell, into $at.out and $at.err; leaves its status.
run()
{
	spoil='' strike=$fault recovery=''
	case $fault in
	spoiled) spoil=--spoil strike=none ;;
	kill) recovery=--enable-recovery ;; # mpirun would end the survivors
	esac
	if [ "$op" = replay ]; then
		set -- "$replay_bytes" sh "$here/../../apps/mpirun.sh" $recovery -n 2 \
			"$build/kvrail" replay --json --limit 3 --verify full ${spoil:+--spoil 2} \
			"$here/../../apps/traces/sample.jsonl"
		spoil=''
	fi
	status=0
	timeout 60 "$softefa" --nics 4 --hosts 2 --gbps 0.15 --jitter-us 50 --device "$device" \
		${stats:+"$stats"} -- "$build/tests/fault_matrix" ${spoil:+"$spoil"} \
		"$softefa" "$strike" "$op" "$@" >"$at.out" 2>"$at.err" || status=$?
}

# replay_is_right: what it said, where that is to be seen.
replay_is_right()
{
	if [ "$fault" = kill ]; then
		! grep -q '"event":"summary"' "$at.out" &&
			grep -q '^kvrail: rank 0: .*No route to host' "$at.err"
	else
		grep -q '"provider":"efa"' "$at.out" &&
			grep -q "\"bytes\":$replay_bytes,\"verified_bytes\":$replay_bytes,\"mismatches\":0," \
				"$at.out"
	fi
}

is_right()
{
	if [ "$fault" = spoiled ]; then
		[ "$status" -ne 0 ] && grep -Eqi 'wrong bytes?\b' "$at.err"
	elif [ "$op" = replay ]; then
		[ "$status" -eq 0 ] && replay_is_right
	else
		[ "$status" -eq 0 ]
	fi
}

# reason: the first line that tells what was wrong rather than what happened to a rail.
reason()
{
	grep -vE '^kvrail( [0-9.]+)?: (error|warning|provider)|^softefa:|PMIX ERROR|^$|^-+$' "$at.err" |
		head -n 1 | grep . || echo "status $status"
}

# cell FAULT OP DEVICE: leaves "ok", or "FAIL reason", in $at.result.
cell()
{
	fault=$1 op=$2 device=$3 at=$scratch/$1.$2.$3
	run
	if is_right; then
		echo ok >"$at.result"
	else
		echo "FAIL $(reason)" >"$at.result"
	fi
}

# One of many, for the script that made the folder.
if [ -n "${MATRIX_FOLDER:-}" ]; then
	scratch=$MATRIX_FOLDER
	cell "$3" "$4" "$5"
	exit 0
fi

need_mpirun
need_efa "$softefa" "$build"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM

if [ $# -eq 5 ]; then
	is_one_of "$3" "$faults none spoiled" || usage
	is_one_of "$4" "$ops" || usage
	is_one_of "$5" "$devices" || usage
	stats=--stats
	cell "$3" "$4" "$5"
	cat "$at.out" "$at.err" "$at.result"
	grep -qx ok "$at.result"
	exit
fi

for op in $ops; do
	for device in $devices; do
		for fault in $faults; do
			echo "$fault $op $device"
		done
	done
	echo "spoiled $op p5en"
done >"$scratch/cells"
MATRIX_FOLDER=$scratch
export MATRIX_FOLDER
xargs -P $at_once -n 3 sh "$0" "$softefa" "$build" <"$scratch/cells"

# result FAULT OP DEVICE: as it is to be seen in the table.
result()
{
	if [ -e "$scratch/$1.$2.$3.result" ]; then
		cut -d' ' -f1 "$scratch/$1.$2.$3.result"
	else
		echo -
	fi
}

# row FAULT OP CELL...
row()
{
	printf '%-10s %-9s' "$1" "$2"
	shift 2
	printf ' %-8s' "$@"
	echo
}

# shellcheck disable=SC2086 # a column each
row fault operation $devices
for fault in $faults spoiled; do
	for op in $ops; do
		set -- "$fault" "$op"
		for device in $devices; do
			set -- "$@" "$(result "$fault" "$op" "$device")"
		done
		row "$@"
	done
done
echo "(spoiled: no fault, but a byte was damaged, which had to be found)"
failed=0
while read -r fault op device; do
	at=$scratch/$fault.$op.$device
	! grep -qx ok "$at.result" || continue
	failed=1
	printf '\n%s %s %s: %s\n' "$fault" "$op" "$device" "$(cat "$at.result")"
	tail -n 12 "$at.err" | sed 's/^/    /'
done <"$scratch/cells"
exit $failed
