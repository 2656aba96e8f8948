#!/bin/sh
# SPDX-License-Identifier: MIT
# Wrong command lines and input of kvrail replay and bench: each ends with status 2, with nothing on
# standard output, and with the words that name it. No rail is opened, and no thread started.
#
#   sh tests/mpi_refusals.sh BUILD-FOLDER
#
# What mpirun spends on a job that fails is time asleep, so several run side by side; and what the
# words of the command line alone decide needs no mpirun: one rank is a job by itself.
set -eu
LC_ALL=C
export LC_ALL
exec </dev/null
# shellcheck source=tests/mpi.sh
. "$(dirname -- "$0")/mpi.sh"

cases=0 at_once=4

# run RANKS ARGUMENT...: of kvrail's; one rank without mpirun.
run()
{
	ranks=$1
	shift
	title="-n $ranks kvrail $*"
	if [ "$ranks" -gt 1 ]; then
		mpi -n "$ranks" "$build/kvrail" "$@"
		return
	fi
	status=0
	timeout 200 "$build/kvrail" "$@" >out 2>err || status=$?
}

# is_refused WORDS: the words said once, by whichever rank.
is_refused()
{
	if [ "$status" -ne 2 ]; then
		failed "status $status, not 2"
	elif [ -s out ]; then
		failed "something on standard output"
	elif [ "$(grep -cF -e "$1" err)" -ne 1 ]; then
		failed "does not say once: $1"
	else
		echo "refused: $title"
	fi
}

# start FUNCTION ARGUMENT...: a case, in a folder of its own that has all inputs.
start()
{
	cases=$((cases + 1))
	mkdir "$scratch/$cases"
	(
		cd "$scratch/$cases"
		ln -s ../inputs/* .
		"$@"
	) >"$scratch/$cases.log" 2>&1 &
	[ $((cases % at_once)) -ne 0 ] || wait
}

# refused WORDS RANKS ARGUMENT...
refused()
{
	start refused_here "$@"
}

refused_here()
{
	words=$1
	shift
	run "$@"
	is_refused "$words"
}

mkdir "$scratch/inputs"
cd "$scratch/inputs"
trace one 700
trace mixed 700 16 1 515 64 900 17 333 48 600 5 129
: >empty
echo >blank
{
	cat mixed
	echo '{"timestamp": 0, "input_length": '
} >malformed
sed 's/333/-3/' mixed >negative
sed 's/333/99999999999/' mixed >huge
sed 's/"input_length": 333, //' mixed >missing
echo '{}' >empty.json
echo '{"num_hidden_layers": 3, "head_dim": 8, "torch_dtype": "float16",' \
	'"num_attention_heads": 4, "num_key_value_heads": 4}' >heads4.json

refused "unknown command 'repaly': known are info, bench, replay" 1 repaly

refused "nowhere: No such file" 2 replay nowhere
refused "empty: no request in it" 2 replay empty
refused "blank: no request in it" 2 replay --json blank
refused "malformed:13: malformed JSON" 2 replay malformed
refused "negative:8: input_length is -3" 2 replay negative
refused "huge:8: input_length is 99999999999" 2 replay huge
refused "missing:8: input_length is missing" 2 replay missing
refused 'model "gpt-5" is neither a known name nor a file: use qwen2.5-0.5b' \
	2 replay --model gpt-5 one
refused "deepseek-v3" 2 replay --model gpt-5 one
refused "empty.json: num_hidden_layers is missing" 2 replay --model empty.json one
refused "a cache of 1.02 MiB per rank is too small for request 1, which needs 8.25 MiB" \
	2 replay --cache-gib 0.001 one
refused "use --cache-gib 0.01 or more" 2 replay --cache-gib 0.001 one
refused "do not fit in its" 2 replay --cache-gib 1000000 one
refused "--prefill 2 and --decode 2 need 4 ranks, but this job has 3" \
	3 replay --prefill 2 --decode 2 one
refused "mpirun -n 4 kvrail replay --prefill 2 --decode 2" 2 replay --prefill 2 --decode 2 one
refused "--decode '0' is not a whole number" 2 replay --decode 0 one
refused "--block-tokens '1x' is not a whole number" 1 replay --block-tokens 1x one
refused "--block-tokens '16:' is not a whole number" 1 replay --block-tokens 16: one
refused "--layout 'nhd:dnh' is none of nhd, hnd" 1 replay --layout nhd:dnh one
refused "--layout 'lbptt' is none of nhd, hnd" 1 replay --layout lbptt one
refused "--layout tlbph: layout.token_stride is" 2 replay --layout lbpth:tlbph one
refused "--tp-prefill 3 does not fit the 2 KV heads of qwen2.5-0.5b" \
	4 replay --prefill 3 --tp-prefill 3 one
refused "--tp-decode 3 does not fit" 4 replay --decode 3 --tp-decode 3 one
refused "--prefill 3 is no multiple of --tp-prefill 2 times --pp-prefill 1" \
	4 replay --prefill 3 --tp-prefill 2 one
refused "--decode 1 is no multiple of --tp-decode 2" 2 replay --tp-decode 2 one
refused "--pp-prefill 4 is more than the 3 layers" \
	5 replay --prefill 4 --pp-prefill 4 --model heads4.json one
refused "--prefix needs blocks of which 512 tokens are a multiple" \
	2 replay --prefix --block-tokens 16:48 one
refused "--speedup '0' is not a number above 0" 1 replay --speedup 0 one
refused "--closed '-1' is not a whole number" 1 replay --closed -1 one
refused "--cancel '101' is not a whole number from 1 to 100" 1 replay --cancel 101 one
refused "--plot /nowhere/plot.svg: No such file" 2 replay --plot /nowhere/plot.svg one
refused "--csv /nowhere/table.csv: No such file" 2 replay --csv /nowhere/table.csv one
refused "--plot and --csv both name result" 2 replay --plot result --csv result one
refused "--verify 'some' is none of full, sample, off" 1 replay --verify some one
refused "unrecognized option '--colour'" 1 replay --colour one
refused "one trace only" 1 replay one mixed

refused "mpirun -n 2 kvrail bench" 1 bench
refused "mpirun -n 2 kvrail bench" 3 bench
refused "--size '0'" 2 bench --size 0
refused "--size '12parsecs'" 1 bench --size 4K,12parsecs
refused "on this host, which has" 2 bench --size 100000G
refused "--duration '-1'" 1 bench --duration -1
refused "--op 'fetch'" 1 bench --op fetch
refused "--layout 'diagonal'" 1 bench --layout diagonal
refused "--depth '0'" 1 bench --depth 0
refused "--raw-rails '0'" 1 bench --raw-rails 0
refused "--raw-rails '2x' is neither" 1 bench --raw-rails 2x
refused "unexpected argument 'write'" 1 bench write

only_rank_1_has_no_trace()
{
	title="rank 1 has no trace"
	mpi -n 1 "$build/kvrail" replay one : -n 1 "$build/kvrail" replay nowhere
	is_refused 'rank 1, unlike rank 0: nowhere: No such file'
}
start only_rank_1_has_no_trace

wait
cat "$scratch"/*.log
well=$(cat "$scratch"/*.log | grep -c '^refused: ') || true
if [ "$well" -ne "$cases" ]; then
	echo "$((cases - well)) of $cases failed"
	exit 1
fi
echo "all $cases were refused"
