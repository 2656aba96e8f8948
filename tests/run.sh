#!/bin/sh
# SPDX-License-Identifier: MIT
# Installs what is missing, builds, and runs the tests. Ends with CTest's summary.
#
#   sh tests/run.sh           all tests: with ASan and UBSan, with TSan, and as released
#   sh tests/run.sh quick     the release build and its unit tests
set -eu
LC_ALL=C
export LC_ALL
exec </dev/null

cd "$(dirname -- "$0")/.."
what=${1:-all}
case $what in
all | quick) ;;
*)
	echo "usage: sh tests/run.sh [quick]" >&2
	exit 2
	;;
esac

# What is tested is not what the user has set for jobs.
for name in $(env | sed -n 's/^\(KVR_[A-Z_]*\)=.*/\1/p' | grep -v '^KVR_TEST_'); do
	unset "$name"
done

# step NAME COMMAND...
step()
{
	name=$1
	shift
	printf '\n== %s\n' "$name"
	"$@" || {
		printf '\n== %s: failed\n' "$name"
		exit 1
	}
}

# build PRESET: a compiler's warning is an error.
build()
{
	cmake --preset "$1" -DKVRAIL_WERROR=ON -DKVRAIL_TESTS=ON >/dev/null &&
		cmake --build --preset "$1" --parallel "$(nproc)"
}

# TSan needs the addresses that it knows; kernels may spread them further than it can take.
unshuffled()
{
	if setarch -R true 2>/dev/null; then
		setarch -R "$@"
	else
		"$@"
	fi
}

# run_tests PRESET ARGUMENT...: what failed is said again before the summary is: else it is far above.
run_tests()
{
	run=''
	[ "$1" != tsan ] || run=unshuffled
	log=$(mktemp)
	$run ctest --output-log "$log" --preset "$@" && rm "$log" && return
	awk '/^ *[0-9]+\/[0-9]+ Test +#/ { on = /\*\*\*/ && !/Skipped/ }
		/^ +Start +[0-9]+: / || /^[0-9]+% tests passed/ { on = 0 }
		on' "$log" | tail -n 100
	sed -n '/^[0-9]*% tests passed/,$p' "$log"
	rm "$log"
	return 1
}

step "packages" sh apps/deps.sh tests
if [ "$what" = quick ]; then
	step "build: release" build release
	step "tests: unit" run_tests release -L '^unit$'
	exit 0
fi
step "build: asan" build asan
step "tests: asan" run_tests asan
step "build: tsan" build tsan
step "tests: tsan" run_tests tsan
step "build: release" build release
step "tests: release" run_tests release
