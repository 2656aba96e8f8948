#!/bin/sh
# SPDX-License-Identifier: MIT
# kvrail's main job on the software EFA: every kind of device, every byte compared; hosts that are
# paused or killed while it runs; nothing left behind.
#   test_replay.sh SOFTEFA BUILD_DIR
# shellcheck source=tests/softefa/begin.sh
. "$(dirname -- "$0")/begin.sh"
need_mpirun
KVR_PEER_TIMEOUT=60000 # there are more ranks than cores
export KVR_PEER_TIMEOUT

fail()
{
	echo "FAILED: $*"
	cat "$scratch/out" "$scratch/err"
	exit 1
}

# strike BYTES COMMANDS: what happens once so many have been sent, in the midst of the transfer, whenever
# that is. Leaves a file named struck.
strike()
{
	cat >"$scratch/strike" <<END
sent()
{
	"$softefa" ctl stats --json | sed 's/.*"all":{"bytes_sent":\([0-9]*\).*/\1/'
}
until [ "\$(sent)" -ge $1 ]; do
	sleep 0.02
done
$2
: >"$scratch/struck"
END
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
		[ ! -e "$0"/strike ] || sh "$0"/strike &
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

# 170 MB at 100 MB/s, and 670 at 200.
echo '0 latency 0:* 100' >"$scratch/schedule"
strike 20000000 "'$softefa' ctl pause 1 && sleep 1 && '$softefa' ctl resume 1"
replay 8 --gbps 0.05 --schedule "$scratch/schedule"
verified "paused and resumed"
[ -e "$scratch/struck" ] || fail "it was over before the pause"
rm "$scratch/struck"
echo "paused and resumed: verified"

strike 60000000 "'$softefa' ctl kill 1"
replay 24 --gbps 0.1
[ -e "$scratch/struck" ] || fail "it was over before the kill"
[ "$status" -ne 0 ] || fail "killed: status 0"
echo "killed: status $status, nothing left behind"
