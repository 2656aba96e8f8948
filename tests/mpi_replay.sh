#!/bin/sh
# SPDX-License-Identifier: MIT
# kvrail replay under mpirun: shapes of jobs, models and caches, each with the exact bytes that it
# must move; and ranks that were not given the same. What is wrong from the start: mpi_refusals.sh.
#
#   sh tests/mpi_replay.sh BUILD-FOLDER
set -eu
LC_ALL=C
export LC_ALL
exec </dev/null
# shellcheck source=tests/mpi.sh
. "$(dirname -- "$0")/mpi.sh"

cd "$scratch"

# replay RANKS ARGUMENT...
replay()
{
	ranks=$1
	shift
	title="-n $ranks $*"
	mpi -n "$ranks" "$build/kvrail" replay "$@"
}

# rails_moved MOVED BYTES: that many; or more, where pieces had to be sent again, as it may be on a
# busy machine.
rails_moved()
{
	[ "$1" -eq "$2" ] || { [ "$1" -gt "$2" ] && grep -q '"retries":[1-9]' out; }
}

# The bytes that the rails of ranks 0 to $1 - 1 wrote.
rails_bytes()
{
	sed 's/.*"rails":\[//; s/},{/\n/g' out |
		sed -n 's/.*"rank":\([0-9]*\),"name":"[^"]*","bytes":\([0-9]*\).*/\1 \2/p' |
		awk -v ranks="$1" -v pulled="$(grep -c 'targets read what is written' err)" \
			'($1 < ranks) != (pulled > 0) { sum += $2 } END { printf "%.0f", sum }'
}

# moves REQUESTS TOKENS BYTES-PER-TOKEN P D ARGUMENT...: one line of JSON, with what the trace asks
# for, all of it verified, and not a byte more on the rails. VERIFIED: other bytes to expect. REUSED:
# bytes that are to be verified, but not moved.
moves()
{
	requests=$1
	bytes=$(($2 * $3))
	prefill=$4
	decode=$5
	shift 5
	replay $((prefill + decode)) --json --prefill "$prefill" --decode "$decode" "$@"
	number='[0-9.e+-]+'
	percentiles="\{\"p50\":$number,\"p90\":$number,\"p99\":$number,\"max\":$number\}"
	if [ "$status" -ne 0 ]; then
		failed "status $status"
	elif [ "$(wc -l <out)" -ne 1 ]; then
		failed "more than one line on standard output"
	elif ! grep -Eqx "\{\"event\":\"summary\",\"provider\":\"[^\"]+\",\"requests\":$requests,\
\"bytes\":$bytes,\"verified_bytes\":${VERIFIED:-$((bytes + ${REUSED:-0}))},\"mismatches\":0,\
\"reused_bytes\":${REUSED:-0},\"cancelled\":0,\"late_bytes\":0,\"leaked_blocks\":0,\
\"bytes_per_second\":$number,\"latency_ms\":$percentiles,\"ideal_ms\":(null|$percentiles),\
\"ratio_to_ideal\":(null|$percentiles),\"unhidden_layers\":(null|$percentiles),\
\"resident_bytes\":\{\"half\":$number,\"end\":$number\},\
\"rails\":\[\{\"rank\":0,.*\}\]\}" out; then
		failed "not $requests requests, $bytes bytes, ${VERIFIED:-$bytes} verified"
	elif ! rails_moved "$(rails_bytes "$prefill")" "$bytes"; then
		failed "the rails wrote $(rails_bytes "$prefill") bytes, not $bytes"
	elif ! grep -q '^kvrail .*: provider .* rail' err; then
		failed "no first line that says which provider"
	fi
}

trace one 700
trace mixed 700 16 1 515 64 900 17 333 48 600 5 129 # 3328 tokens
trace many 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63 # 1236
cat >tiny.json <<'END'
{"num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 1, "hidden_size": 20,
 "torch_dtype": "float32"}
END

for heads in 2 4; do
	echo '{"num_hidden_layers": 3, "head_dim": 8, "torch_dtype": "float16",' \
		'"num_attention_heads": 4, "num_key_value_heads": '"$heads}" >heads$heads.json
done
echo '{"num_hidden_layers": 3, "kv_lora_rank": 24, "qk_rope_head_dim": 8, "dtype": "float16"}' \
	>latent.json

qwen=12288      # 24 layers x 2 parts x 2 heads x 64 elements x 2 bytes
deepseek=70272  # 61 x 1 x 1 x 576 x 2
tiny=120        # 3 x 2 x 1 x 5 x 4

moves 1 700 $qwen 1 1 one
moves 12 3328 $qwen 1 1 --block-tokens 16 mixed
moves 12 3328 $qwen 2 1 --block-tokens 1 mixed # a request of 900 blocks
moves 12 3328 $qwen 1 3 --block-tokens 64 mixed
moves 12 3328 $qwen 2 2 mixed
moves 24 1236 $deepseek 2 2 --model deepseek-v3 many
moves 24 1236 $tiny 3 2 --model tiny.json --block-tokens 3 many
moves 4 1232 $qwen 2 1 --limit 4 mixed
# 900 tokens are 57 blocks of 192 KiB, 0.01044 GiB: room for the largest request and no other.
moves 12 3328 $qwen 2 2 --cache-gib 0.0105 mixed
# Several writes for one request: 4000 blocks x 24 layers x 2 parts are more than fit in one.
trace long 4000 1500
moves 2 5500 $qwen 1 1 --block-tokens 1 long
VERIFIED=0 moves 12 3328 $qwen 1 2 --verify off mixed
# Every fourth token of the only block, and the last: 0 4 8 12 15.
trace block 16
VERIFIED=$((5 * qwen)) moves 1 16 $qwen 1 1 --verify sample block

# Sharded and laid out otherwise on either side; 96 bytes a head and token, 192 the latent.
moves 12 3328 384 4 2 --tp-prefill 4 --tp-decode 2 --model heads4.json mixed
moves 12 3328 384 2 4 --tp-prefill 2 --tp-decode 4 --model heads4.json --block-tokens 16:64 mixed
# Each of the two heads is kept twice, and comes from the one rank of its stage.
moves 12 3328 384 2 4 --pp-prefill 2 --tp-decode 4 --model heads2.json \
	--layout nhd:hnd --block-tokens 64:16 mixed
moves 12 3328 384 4 2 --tp-prefill 2 --tp-decode 2 --model latent.json --layout lbpth:blpht mixed
moves 12 3328 384 1 4 --tp-decode 2 --model heads4.json --layerwise mixed
moves 4 1232 384 3 1 --pp-prefill 3 --model heads4.json --layerwise --compute-ms-per-layer 5 \
	--limit 4 mixed
# One after the other: of 515, 900 and 600 tokens the first 512 are there.
REUSED=$((1536 * qwen)) moves 12 $((3328 - 1536)) $qwen 1 1 --prefix --closed 1 mixed
REUSED=$((1536 * 384)) moves 12 $((3328 - 1536)) 384 2 1 --prefix --closed 1 --layerwise \
	--tp-prefill 2 --model heads4.json --block-tokens 16:64 mixed
# With room for the largest request alone, what is kept has to go each time.
REUSED=$((1536 * qwen)) moves 12 $((3328 - 1536)) $qwen 1 1 --prefix --closed 1 \
	--cache-gib 0.0105 mixed

# cancels ARGUMENT...: some requests of 24, but not all, and nothing comes later.
cancels()
{
	replay 4 --json --cancel 30 --model heads4.json "$@" many
	[ "$status" -eq 0 ] || failed "status $status"
	grep -q '"cancelled":[1-9][0-9]*,"late_bytes":0,"leaked_blocks":0,' out ||
		failed "nothing was cancelled, or not cleanly"
	grep -Eq '"requests":[1-9][0-9]*,"bytes":([1-9][0-9]*),"verified_bytes":\1,' out ||
		failed "not all that was moved was verified"
}

cancels --prefill 2 --decode 2
cancels --prefill 2 --decode 2 --tp-prefill 2 --layerwise --compute-ms-per-layer 2
cancels --prefill 1 --decode 3

replay 2 --json --cancel 100 --spoil 2 many
[ "$status" -eq 1 ] || failed "status $status, not 1"
grep -q '"cancelled":24,"late_bytes":1,"leaked_blocks":0,' out || failed "the late byte was not found"
grep -q 'request 2 was cancelled, but 1 bytes came later' err || failed "does not name the request"

trace few 600 300 200
sed -i '2s/"timestamp": 0/"timestamp": 5000/; 3s/"timestamp": 0/"timestamp": 20000/' few
before=$(date +%s)
moves 3 1100 $qwen 1 1 --speedup 10 few
[ $(($(date +%s) - before)) -ge 2 ] || failed "did not wait for the times of the trace"

replay 2 --plot plot.svg --csv table.csv --rail-gbps 1 mixed
[ "$status" -eq 0 ] || failed "status $status"
[ "$(grep -c 'circle class="request"' plot.svg)" -eq 12 ] || failed "not a dot for each request"
[ "$(tail -n 1 plot.svg)" = "</svg>" ] || failed "the plot has no end"
awk -F, '
	NR == 1 { bad = $0 != "request,bytes,ready_ms,latency_ms,ideal_ms" }
	NR > 1 && ($1 != NR - 1 || $2 <= 0 || $3 < 0 || $4 <= 0 || $5 <= 0) { bad = 1 }
	END { exit bad || NR != 13 }' table.csv || failed "the table is not one of twelve requests"

replay 2 one
[ "$status" -eq 0 ] || failed "status $status"
grep -q '^kvrail .*: provider .* rail' out || failed "its first line does not say which provider"
grep -Eq '^mismatches +0 bytes' out || failed "no table"

replay 2 --json --spoil 2 mixed
[ "$status" -eq 1 ] || failed "status $status, not 1"
grep -q '"mismatches":1,' out || failed "the wrong byte was not found"
grep -q 'request 2 from rank 0: 1 of' err || failed "does not name the request"

title="a rail that is none"
KVR_RAILS="${KVR_RAILS:-*},eth77" mpi -n 2 "$build/kvrail" replay one
[ "$status" -eq 0 ] || failed "status $status"
[ "$(grep -c 'no rail of .* is called "eth77"' err)" -eq 2 ] || failed "not both ranks warn of it"
[ "$(grep -c 'no rail of' err)" -eq 2 ] || failed "they warn of others, too"

for where in '>/dev/full' '>&-'; do
	title="standard output is $where"
	mpi -n 2 sh -c "exec \"\$0\" replay one $where" "$build/kvrail"
	[ "$status" -eq 1 ] || failed "status $status, not 1"
	grep -q '^kvrail: standard output, which is not complete: ' err || failed "does not say so"
done

title="rank 1 has another trace"
mpi -n 1 "$build/kvrail" replay one : -n 1 "$build/kvrail" replay mixed
[ "$status" -eq 1 ] || failed "status $status, not 1"
grep -q 'has another trace, model or block size' err || failed "does not say so"

if [ "$failures" -ne 0 ]; then
	echo "$failures failed"
	exit 1
fi
echo "all passed"
