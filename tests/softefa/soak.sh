#!/bin/sh
# SPDX-License-Identifier: MIT
# Many requests, some of them cancelled, while rails fail and return: every byte that was not cancelled is
# right, nothing comes later, no block is lost, and memory stays what it is.
#
#   soak.sh SOFTEFA BUILD_DIR quick        the small trace that is in the tree
#   soak.sh SOFTEFA BUILD_DIR flaps        the same, while each NIC of a host fails in its turn, again and again
#   soak.sh SOFTEFA BUILD_DIR [REQUESTS]   of the published one (500), from KVR_TEST_SHARED or ../shared
# shellcheck source=tests/softefa/begin.sh
. "$(dirname -- "$0")/begin.sh"
need_mpirun
KVR_PROVIDER=efa
KVR_PEER_TIMEOUT=30000 # there are more ranks than cores
export KVR_PROVIDER KVR_PEER_TIMEOUT
need_efa "$softefa" "$build"

if [ "${3:-}" = quick ] || [ "${3:-}" = flaps ]; then
	requests=24 cancel=25 nics=4 gbps=0.02 layers=8 growth=320 trace=$apps/traces/sample.jsonl
else
	requests=${3:-500} cancel=5 nics=16 gbps=0.1 layers=2 growth=64
	trace=${KVR_TEST_SHARED:-$apps/../../shared}/data/conversation_trace.jsonl
	if [ ! -r "$trace" ]; then
		echo "skipped: no $trace (set KVR_TEST_SHARED)"
		exit 77
	fi
fi

echo '{"num_hidden_layers": '$layers', "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 16,' \
	'"torch_dtype": "float16"}' >"$scratch/model"

# Every four seconds a rail of the host that all comes from fails, and one of the other falls silent;
# both return. However fast the machine, and whenever its ranks have opened their rails, the rates hold
# up the bytes of the small trace for eight seconds, with every rail in use, so that it meets each twice.
some_fail()
{
	for i in $(seq 0 150); do
		t=$((i * 4))
		echo "$t.5 down 0:3"
		echo "$((t + 1)).5 up 0:3"
		echo "$((t + 2)) blackhole 1:2"
		echo "$((t + 3)) up 1:2"
	done
}

# A provider that delivers in order delivers nothing more between two endpoints once a message has failed.
all_fail()
{
	for t in $(seq 0 500); do
		echo "$t.2 down 0:$((t % nics))"
		echo "$t.7 up 0:$((t % nics))"
	done
}

if [ "${3:-}" = flaps ]; then
	all_fail
else
	some_fail
fi >"$scratch/schedule"

fail()
{
	echo "FAILED: $1"
	sed 's/"rails".*//' "$scratch/out"
	tail -n 20 "$scratch/err"
	exit 1
}

# number NAME: of the line of JSON, or the sum where there is one for each rail.
number()
{
	grep -o "\"$1\":[0-9]*" "$scratch/out" | awk -F: '{ sum += $2 } END { printf "%.0f", sum }'
}

status=0
timeout 550 "$softefa" --nics $nics --hosts 2 --jitter-us 50 --gbps $gbps --schedule "$scratch/schedule" -- \
	sh "$apps/mpirun.sh" -n 6 "$build/kvrail" replay --json --prefill 2 --tp-prefill 2 --decode 4 \
	--tp-decode 4 --model "$scratch/model" --layout hnd --block-tokens 64 --cancel $cancel \
	--limit "$requests" "$trace" >"$scratch/out" 2>"$scratch/err" || status=$?
[ $status -eq 0 ] || fail "status $status"
grep -q '"mismatches":0,.*"late_bytes":0,"leaked_blocks":0,' "$scratch/out" ||
	fail "bytes are wrong, came late, or blocks are lost"
[ "$(number cancelled)" -gt 0 ] || fail "nothing was cancelled"
[ $(($(number requests) + $(number cancelled))) -eq "$requests" ] || fail "not $requests requests"
grep -Eq '"bytes":([1-9][0-9]*),"verified_bytes":\1,' "$scratch/out" || fail "not all was verified"
[ "$(number errors)" -gt 0 ] || fail "no rail's failure was met"
[ "$(number retries)" -gt 0 ] || fail "nothing was sent again"
# A rail's first peer, and its first one after a reset, costs 40 MB on either of its endpoints: halfway
# through a short trace some have met none yet.
[ $((($(number end) - $(number half)) >> 20)) -lt $growth ] || fail "memory grows"
echo "$(number requests) requests right, $(number cancelled) cancelled, $(number errors) errors," \
	"$(number retries) retries; memory $(($(number half) >> 20)) MiB halfway, $(($(number end) >> 20)) at the end"
