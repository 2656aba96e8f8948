#!/bin/sh
# SPDX-License-Identifier: MIT
# kvrail's main job on the software EFA: every kind of device, every byte compared; hosts that are
# paused or killed while it runs; nothing left behind.
#   test_replay.sh SOFTEFA BUILD_DIR
set -eu
LC_ALL=C
export LC_ALL
exec </dev/null
# shellcheck source=tests/needs.sh
. "$(dirname -- "$0")/../needs.sh"
softefa=$1
build=$(cd -- "$2" && pwd)
apps=$(cd -- "$(dirname -- "$0")/../../apps" && pwd)
need_mpirun
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM

fail()
{
	echo "FAILED: $*"
	cat "$scratch/out" "$scratch/err"
	exit 1
}

# replay LIMIT OPTIONS...: so many requests on two hosts of sixteen NICs; leaves a status.
# shellcheck disable=SC2016 # for the inner shell
replay()
{
	limit=$1
	shift
	status=0
	timeout 250 "$softefa" --nics 16 --hosts 2 --jitter-us 50 "$@" --stats="$scratch/stats" -- sh -c '
		echo "$SOFTEFA_DIR" >"$0"/dir
		exec sh "$1"/mpirun.sh -n 4 "$2"/kvrail replay --json --prefill 2 --decode 2 \
			--limit "$3" --verify full "$1"/traces/sample.jsonl' \
		"$scratch" "$apps" "$build" "$limit" >"$scratch/out" 2>"$scratch/err" || status=$?
	dir=$(cat "$scratch/dir")
	[ ! -e "$dir" ] || fail "$dir is left"
	id=${dir#*softefa-}
	low=$(printf %x "0x${id#????}") high=$(printf %x "0x${id%????}")
	left=$(find /dev/shm -name "*fe80::2ff:$high:$low:*")
	[ -z "$left" ] || fail "left in /dev/shm: $left"
}

# verified: what replay says that it has moved was compared, and was right.
verified()
{
	[ "$status" -eq 0 ] || fail "$* : status $status"
	grep -q '"provider":"efa"' "$scratch/out" || fail "$*: not the efa provider"
	grep -q '"mismatches":0,' "$scratch/out" || fail "$*: wrong bytes"
	grep -Eq '"bytes":([1-9][0-9]*),"verified_bytes":\1,' "$scratch/out" ||
		fail "$*: not all was compared"
	grep -q 'a software EFA' "$scratch/err" || fail "$*: the first line does not say so"
}

# How many of a hundred arrivals came behind a later one.
reordered()
{
	sed 's/.*"all":{[^}]*"arrivals":\([0-9]*\),"reordered":\([0-9]*\).*/\1 \2/; q' "$scratch/stats" |
		awk '{ printf "%d", 100 * $2 / $1 }'
}

for device in p4d p5 p5en; do
	replay 8 --device $device
	verified "$device"
	echo "$device: verified"
done

# Arrivals are those of messages, which carry the bytes where writes are imitated.
KVR_WRITE_MODE=push
export KVR_WRITE_MODE
replay 8 --device p5en
verified "pushed"
[ "$(reordered)" -gt 20 ] || fail "pushed: only $(reordered) % came out of order"
echo "pushed: verified, $(reordered) % of the arrivals behind a later one"
unset KVR_WRITE_MODE

printf '0.8 pause 1\n1.8 resume 1\n0 latency 0:* 100\n' >"$scratch/schedule"
replay 8 --gbps 0.2 --schedule "$scratch/schedule"
verified "paused and resumed"
grep -q 's: pause 1' "$scratch/err" || fail "it was over before the pause"
echo "paused and resumed: verified"

printf '1.2 kill 1\n2.5 kill 1\n' >"$scratch/schedule"
replay 24 --gbps 0.1 --schedule "$scratch/schedule"
[ "$status" -ne 0 ] || fail "killed: status 0"
echo "killed: status $status, nothing left behind"
