#!/bin/sh
# SPDX-License-Identifier: MIT
# Builds the libFuzzer targets into build-fuzz/ and runs all of them side by side. What they find lies
# in build-fuzz/found/, the inputs they have come up with in build-fuzz/corpus/.
#
#   sh tests/check_fuzz.sh               so many inputs that each takes some ten seconds of a core
#   sh tests/check_fuzz.sh SECONDS       for so long
set -eu
LC_ALL=C
export LC_ALL
seconds=${1:-}
cd "$(dirname -- "$0")/.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM
cat >"$scratch/probe.c" <<'END'
int LLVMFuzzerTestOneInput(const unsigned char *data, unsigned long size);
int LLVMFuzzerTestOneInput(const unsigned char *data, unsigned long size)
{
	return data == 0 && size == 1;
}
END
if ! clang -fsanitize=fuzzer,address "$scratch/probe.c" -o "$scratch/probe" >"$scratch/log" 2>&1; then
	echo "skipped: no clang that builds libFuzzer programs"
	sed 1q "$scratch/log"
	exit 77
fi

cmake --preset fuzz >/dev/null
cmake --build --preset fuzz --parallel "$(nproc)" --target fuzzers
# bound NAME: how a fuzzer is told when to end; of those that do much with an input, fewer.
bound()
{
	if [ -n "$seconds" ]; then
		echo "-max_total_time=$seconds"
		return
	fi
	case $1 in
	fuzz_counter | fuzz_plan) echo -runs=100000 ;;
	*) echo -runs=1000000 ;;
	esac
}

# fuzz PROGRAM: leaves a file named for it where all was well.
fuzz()
{
	program=$1 name=${1##*/}
	mkdir -p "build-fuzz/corpus/$name"
	set -- "build-fuzz/corpus/$name"
	[ ! -d "tests/corpus/$name" ] || set -- "$@" "tests/corpus/$name"
	printf '\n%s\n' "$name"
	"$program" "$(bound "$name")" -timeout=10 -print_final_stats=1 -verbosity=0 \
		-artifact_prefix="build-fuzz/found/$name-" "$@" && : >"$scratch/$name.well"
}

ran=0 well=0
mkdir -p build-fuzz/found
for program in build-fuzz/tests/fuzz_*; do
	[ -f "$program" ] || continue
	fuzz "$program" >"$scratch/${program##*/}.log" 2>&1 &
	ran=$((ran + 1))
done
if [ $ran -eq 0 ]; then
	echo "skipped: there is no target named fuzz_*"
	exit 77
fi
wait
cat "$scratch"/fuzz_*.log
for file in "$scratch"/*.well; do
	[ ! -e "$file" ] || well=$((well + 1))
done
[ $well -eq $ran ] || {
	echo "FAILED: $((ran - well)) of $ran fuzzers: what they found is in build-fuzz/found/"
	exit 1
}
