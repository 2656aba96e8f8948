#!/bin/sh
# SPDX-License-Identifier: MIT
# Builds the libFuzzer targets into build-fuzz/ and runs each for a while. What they find lies in
# build-fuzz/found/, the inputs they have come up with in build-fuzz/corpus/.
#
#   sh tests/check_fuzz.sh [SECONDS]     20 seconds each by default
set -eu
LC_ALL=C
export LC_ALL
seconds=${1:-20}
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
ran=0
for program in build-fuzz/tests/fuzz_*; do
	[ -f "$program" ] || continue
	name=${program##*/}
	mkdir -p "build-fuzz/corpus/$name" build-fuzz/found
	set -- "build-fuzz/corpus/$name"
	[ ! -d "tests/corpus/$name" ] || set -- "$@" "tests/corpus/$name"
	printf '\n%s, %s seconds\n' "$name" "$seconds"
	"$program" -max_total_time="$seconds" -timeout=10 -print_final_stats=1 -verbosity=0 \
		-artifact_prefix="build-fuzz/found/$name-" "$@"
	ran=$((ran + 1))
done
if [ $ran -eq 0 ]; then
	echo "skipped: there is no target named fuzz_*"
	exit 77
fi
