#!/bin/sh
# SPDX-License-Identifier: MIT
# kvrail replay between caches that differ, on the software EFA with sixteen rails: tensor-parallel and
# block sizes, orders, pipeline stages and MLA. Requests of a published trace, every byte compared.
#
#   shapes.sh SOFTEFA BUILD_DIR quick        few requests of the small trace that is in the tree
#   shapes.sh SOFTEFA BUILD_DIR [REQUESTS [WORDS]]
#                                            of the published one (20), from KVR_TEST_SHARED or ../shared;
#                                            only what is so named
#
# The provider takes up to 95 MiB of memory for each rail of a rank, so twelve ranks want 21 GiB; where
# there is less they get fewer rails, and the line says so. NICS=N: no more than N.
# shellcheck source=tests/softefa/begin.sh
. "$(dirname -- "$0")/begin.sh"
need_mpirun
KVR_PROVIDER=efa
KVR_PEER_TIMEOUT=30000 # there are more ranks than cores
export KVR_PROVIDER KVR_PEER_TIMEOUT
need_efa "$softefa" "$build"
if [ "${3:-}" = quick ]; then
	requests=2 trace=$apps/traces/sample.jsonl
else
	requests=${3:-20}
	trace=${KVR_TEST_SHARED:-$apps/../../shared}/data/conversation_trace.jsonl
	if [ ! -r "$trace" ]; then
		echo "skipped: no $trace (set KVR_TEST_SHARED)"
		exit 77
	fi
fi
failures=0 words=${4:-}

# Small, as pieces cost more than bytes here: 32 bytes a head and token.
for heads in 2 4 8; do
	echo '{"num_hidden_layers": 2, "num_attention_heads": 8, "head_dim": 16,' \
		'"torch_dtype": "float16", "num_key_value_heads": '"$heads}" >"$scratch/$heads"
done
echo '{"num_hidden_layers": 2, "kv_lora_rank": 56, "qk_rope_head_dim": 8,' \
	'"torch_dtype": "float16"}' >"$scratch/mla"

# As many NICs as there is memory for, for so many ranks.
nics_for()
{
	awk -v ranks="$1" -v nics="${NICS:-16}" '/^MemAvailable/ {
		fit = int(($2 / 1024 - 3072) / ranks / 95)
		print fit < 1 ? 1 : fit < nics ? fit : nics }' /proc/meminfo
}

# cell MODEL TP-PREFILL PP-PREFILL TP-DECODE ARGUMENT...
cell()
{
	model=$1 tp_prefill=$2 pp_prefill=$3 tp_decode=$4
	prefill=$((tp_prefill * pp_prefill))
	shift 4
	name="$model TP $tp_prefill PP $pp_prefill to TP $tp_decode${*:+ $*}"
	case $name in
	*"$words"*) ;;
	*) return 0 ;;
	esac
	status=0 began=$(date +%s) nics=$(nics_for $((prefill + tp_decode)))
	timeout 300 "$softefa" --nics "$nics" --hosts 2 --jitter-us 50 -- \
		sh "$apps/mpirun.sh" -n $((prefill + tp_decode)) "$build/kvrail" replay --json \
		--prefill $prefill --tp-prefill "$tp_prefill" --pp-prefill "$pp_prefill" \
		--decode "$tp_decode" --tp-decode "$tp_decode" --model "$scratch/$model" \
		--limit "$requests" --verify full "$@" "$trace" \
		>"$scratch/out" 2>"$scratch/err" || status=$?
	if [ "$status" -eq 0 ] && grep -Eq '"provider":"efa","requests":'"$requests"',"bytes":([1-9][0-9]*),'\
'"verified_bytes":\1,"mismatches":0,' "$scratch/out"; then
		result="$(sed 's/.*"verified_bytes":\([0-9]*\).*/\1/' "$scratch/out") bytes right"
	else
		failures=$((failures + 1))
		result="FAILED, status $status"
	fi
	printf '%-62s %2s rails: %s (%s s)\n' "$name" "$nics" "$result" $(($(date +%s) - began))
	case $result in
	FAILED*) tail -n 5 "$scratch/err" ;;
	esac
}

if [ "${3:-}" != quick ]; then
	cell 8 8 1 4
	cell 4 4 1 8
	cell 2 2 1 1
	cell 2 1 1 8
	cell 4 2 1 4 --block-tokens 16:64
	cell 4 2 1 4 --layout nhd:hnd
fi
cell 4 4 1 2 --block-tokens 64:16
cell 4 2 1 2 --layout nhd:hnd --block-tokens 16:64
cell mla 4 1 2
cell 4 2 2 1 --layerwise
exit $((failures != 0))
