#!/bin/sh
# SPDX-License-Identifier: MIT
# kvrail bench: rows as the contract for scripts says, every byte compared; bad arguments.
#   mpi_bench.sh BUILD_DIR
set -eu
build=$1
run="sh $(dirname -- "$0")/../apps/mpirun.sh"
command -v mpirun >/dev/null || {
	echo "skipped: no mpirun here"
	exit 77
}
KVR_RAILS=lo KVR_PROVIDER=net
export KVR_RAILS KVR_PROVIDER

out=$($run -n 2 "$build/kvrail" bench --json --size 4K,64K,1M --duration 0.1)
echo "$out"
rows=$(echo "$out" | grep -c '"event": *"bench".*"verified": *true')
lines=$(echo "$out" | wc -l)
# Two operations, two layouts, three sizes, and nothing else on standard output.
if [ "$rows" -ne 12 ] || [ "$lines" -ne 12 ]; then
	echo "$rows good rows in $lines lines, not 12"
	exit 1
fi
for field in provider op layout size rails bytes_per_second raw_bytes_per_second ratio_to_raw \
	p50_us p99_us; do
	echo "$out" | grep -q "\"$field\":" || {
		echo "no field $field"
		exit 1
	}
done

# refused RANKS WHAT_IT_SAYS ARGUMENTS...
refused()
{
	ranks=$1 says=$2
	shift 2
	status=0
	said=$($run -n "$ranks" "$build/kvrail" bench "$@" 2>&1) || status=$?
	if [ $status -ne 2 ] || ! echo "$said" | grep -q -- "$says"; then
		echo "bench $*: status $status, not 2, or not a word of \"$says\": $said"
		exit 1
	fi
}
refused 1 'mpirun -n 2'
refused 2 size --size 0
refused 2 size --size 12parsecs
refused 2 duration --duration -1
refused 2 fetch --op fetch
refused 2 diagonal --layout diagonal
