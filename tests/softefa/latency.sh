#!/bin/sh
# SPDX-License-Identifier: MIT
# How long requests of a published trace take on sixteen rails of the software EFA, against what the rails
# would need for their bytes: one after the other; at half load; layer by layer; from TP 8 to TP 4. Not a
# test, and no figure of EFA: the rails are slow, so that two cores are not the limit.
#
#   latency.sh SOFTEFA BUILD_DIR [REQUESTS [WORDS]]    of the trace (default 150); only cases so named
#
# The trace is that of KVR_TEST_SHARED or ../shared, else the small one in the tree. GBPS=X: another rate
# of a rail. Exit status: 1 if a case failed. What is not as wanted is marked.
# shellcheck source=tests/softefa/begin.sh
. "$(dirname -- "$0")/begin.sh"
requests=${3:-150} words=${4:-} gbps=${GBPS:-0.05}
need_mpirun
KVR_PROVIDER=efa
# A full window of so slow a rail would be seconds; but four cuts are to fit in, and a moment in which two
# cores do something else. There are more ranks than those.
KVR_WINDOW_BYTES=$(awk -v gbps="$gbps" 'BEGIN {
	window = gbps * 1e9 / 8 * 0.04
	printf "%d", window < 262144 ? 262144 : window }')
KVR_PEER_TIMEOUT=30000
export KVR_PROVIDER KVR_WINDOW_BYTES KVR_PEER_TIMEOUT
need_efa "$softefa" "$build"
trace=${KVR_TEST_SHARED:-$apps/../../shared}/data/conversation_trace.jsonl
[ -r "$trace" ] || trace=$apps/traces/sample.jsonl
failed=0

# model NAME LAYERS HEADS HEAD_DIM
model()
{
	echo '{"num_attention_heads": 8, "torch_dtype": "float16", "num_hidden_layers":' "$2," \
		'"num_key_value_heads":' "$3," '"head_dim":' "$4}" >"$scratch/$1"
}
model small 4 2 64 # 2 KiB a token
model deep 8 2 64
model layer 1 2 64
model sharded 2 8 128

# The trace's requests at half load: each after twice the time that the one before takes ($scratch/even);
# and how many times as fast theirs would have to come.
awk -v limit="$requests" -v rate="$gbps" -v out="$scratch/even" '
	NR <= limit {
		match($0, /"timestamp": *[0-9]+/)
		at = substr($0, RSTART, RLENGTH)
		gsub(/[^0-9]/, "", at)
		match($0, /"input_length": *[0-9]+/)
		tokens = substr($0, RSTART, RLENGTH)
		gsub(/[^0-9]/, "", tokens)
		first = NR == 1 ? at : first
		sub(/"timestamp": *[0-9]+/, sprintf("\"timestamp\": %d", 2 * ms))
		ms += tokens * 2048 * 8 / 16 / rate / 1e6
		print >out
	}
	END { print (ms ? 0.5 * (at - first) / ms : 1) }' "$trace" >"$scratch/speedup"
speedup=$(cat "$scratch/speedup")

# What a request waits for where those before it have the rails to themselves: a column more.
# shellcheck disable=SC2016 # those are awk's
queue='BEGIN { FS = OFS = "," }
	NR == 1 { print $0, "queue_ms"; next }
	{ free = (free > $3 ? free : $3) + $5; print $0, free - $3 }'

# percentiles NAME WANTED COLUMN MEGABYTES FACTOR: of the ratio of latencies to that column, for requests of
# so many bytes at least.
percentiles()
{
	awk -F, -v column="$3" -v least="$4" -v factor="$5" \
		'NR > 1 && $2 >= least * 1e6 { print $4 / $column * factor }' "$scratch/queued" | sort -n |
		awk -v name="$1" -v wanted="$2" '
		function p(percent) { return v[int((NR * percent + 99) / 100)] }
		{ v[NR] = $1 }
		END {
			if (NR)
				printf "%-52s %4d %6.3f %6.3f %6.3f %6.3f %6s%s\n", name, NR, p(50), p(90),
					p(99), v[NR], wanted, (wanted != "" && p(99) > wanted) ? "  above" : ""
		}'
}

# replay NAME RANKS ARGUMENT...: leaves its requests, in the order in which they were ready; 1: not wanted,
# or it failed, which is said.
replay()
{
	name=$1 ranks=$2
	shift 2
	case $name in
	*"$words"*) ;;
	*) return 1 ;;
	esac
	if "$softefa" --nics 16 --hosts 2 --gbps "$gbps" -- sh "$apps/mpirun.sh" -n "$ranks" \
		"$scratch/run" replay --json --rail-gbps "$gbps" --csv "$scratch/csv" "$@" \
		>"$scratch/out" 2>"$scratch/err"; then
		(sed -n 1p "$scratch/csv" && sed 1d "$scratch/csv" | sort -t, -k3,3n) |
			awk "$queue" >"$scratch/queued"
		return 0
	fi
	failed=1
	echo "$name: failed:"
	tail -n 5 "$scratch/err" | sed 's/^/    /'
	return 1
}

everywhere()
{
	printf '#!/bin/sh\nexec "%s/kvrail" "$@"\n' "$build" >"$scratch/run"
	chmod +x "$scratch/run"
}

# Each rank has the four rails of its switch, as with a GPU's memory: two prefill ranks, or one of decode.
by_switch()
{
	cat >"$scratch/run" <<-END
		#!/bin/sh
		rank=\$OMPI_COMM_WORLD_RANK
		case \$((rank < 8 ? rank / 2 : rank - 8)) in
		0) KVR_RAILS='rdmap8*' ;;
		1) KVR_RAILS='rdmap11*' ;;
		2) KVR_RAILS='rdmap13*' ;;
		3) KVR_RAILS='rdmap16*' ;;
		esac
		export KVR_RAILS
		exec "$build/kvrail" "\$@"
	END
	chmod +x "$scratch/run"
}

echo "on the software EFA, 16 rails of $gbps Gb/s: no figure of EFA; load $(cut -d ' ' -f 1 /proc/loadavg)"
printf '%-52s %4s %6s %6s %6s %6s %6s\n' "latency over ideal, requests of 10 MB and more" n p50 p90 p99 \
	max wanted
everywhere
common="--model $scratch/small --block-tokens 64 --verify off --limit $requests"
# shellcheck disable=SC2086
{
	replay "one after the other" 2 $common --closed 1 "$trace" &&
		percentiles "$name" 1.25 5 10 1
	replay "half load, evenly" 2 $common --closed 32 --speedup 1 "$scratch/even" &&
		percentiles "$name" 1.25 5 10 1
	# A cache and slots for all that come at once.
	if replay "half load, as they came" 2 $common --closed 64 --cache-gib 1 --speedup "$speedup" \
		"$trace"; then
		percentiles "$name" "" 5 10 1
		percentiles "  over a queue of the same ones" 1.25 6 10 1
	fi
}
# The largest need longer for a layer than that.
head -n 11 "$trace" >"$scratch/few"
layer_ms=$(awk -v gbps="$gbps" 'BEGIN { print 8 / gbps }')
if replay "layer by layer: layers unhidden" 2 --model "$scratch/deep" --block-tokens 64 --verify off \
	--closed 1 --layerwise --compute-ms-per-layer "$layer_ms" "$scratch/few"; then
	percentiles "$name" "" 5 10 8
fi
if replay "layer by layer: such a layer alone" 2 --model "$scratch/layer" --block-tokens 64 --verify off \
	--closed 1 "$scratch/few"; then
	percentiles "$name" "" 5 1.25 1
fi
by_switch
if replay "TP 8 to 4, in runs of 4 KiB" 12 --prefill 8 --tp-prefill 8 --decode 4 --tp-decode 4 \
	--model "$scratch/sharded" --layout hnd --block-tokens 16 --verify full --closed 1 "$scratch/few"; then
	percentiles "$name" 1.11 5 10 1
fi
exit $failed
