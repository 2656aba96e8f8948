#!/bin/sh
# SPDX-License-Identifier: MIT
# kvrail bench: rows as the contract for scripts says, every byte compared; what rails
# have to do with being refused. Other wrong arguments: mpi_refusals.sh.
#   mpi_bench.sh BUILD_DIR
set -eu
build=$1
run="sh $(dirname -- "$0")/../apps/mpirun.sh"
if ! command -v mpirun >/dev/null && [ ! -x /opt/amazon/openmpi/bin/mpirun ]; then
	echo "skipped: no mpirun here"
	exit 77
fi
if [ -n "${SOFTEFA_DIR:-}" ]; then
	KVR_RAILS='' KVR_PROVIDER=efa a_rail=rdmap85s0
else
	KVR_RAILS=lo KVR_PROVIDER=net a_rail=lo
fi
# Open MPI's modules have no frame pointers, by which its leaks would be known as its.
ASAN_OPTIONS=${ASAN_OPTIONS:-}:fast_unwind_on_malloc=0
export KVR_RAILS KVR_PROVIDER ASAN_OPTIONS

# rows COUNT ARGUMENTS...: so many good rows, with $bare rails for the bare loop, and nothing else on
# standard output.
bare=1
rows()
{
	wanted=$1
	shift
	out=$($run -n 2 "$build/kvrail" bench --json "$@" | tr -d '\r')
	echo "$out"
	number='[0-9.e+-]*[0-9]'
	good=$(echo "$out" | grep -c "^{\"event\":\"bench\",\"provider\":\"$KVR_PROVIDER\",\
\"op\":\"[a-z]*\",\"layout\":\"[a-z]*\",\"size\":[0-9]*,\"rails\":\([0-9]*\),\
\"raw_rails\":$bare,\
\"bytes_per_second\":$number,\"raw_bytes_per_second\":$number,\"ratio_to_raw\":$number,\
\"p50_us\":$number,\"p99_us\":$number,\"verified\":true}$") || true
	if [ "$good" -ne "$wanted" ] || [ "$(echo "$out" | wc -l)" -ne "$wanted" ]; then
		echo "bench $*: $good good rows, not $wanted, or more than rows"
		exit 1
	fi
}

# Two operations, two layouts, three sizes.
rows 12 --size 4K,64KiB,1M --duration 0.1
# Sizes that no page or word divides, and larger than a rail's window.
rows 4 --size 1,4097,1000003,5M --duration 0.1 --op read --layout paged
rows 2 --size 64K --duration 0.1 --op write --depth 1
rows 2 --size 64K --duration 0.1 --layout paged --raw-rails 1
bare='\1' # as many as kvrail
KVR_RAILS='' rows 4 --size 4097,5M --duration 0.1 --layout paged --raw-rails all
if [ $KVR_PROVIDER = efa ]; then
	bare=3
	rows 4 --size 16K,1M --duration 0.1 --layout paged --raw-rails 3
fi
bare=1
if [ $KVR_PROVIDER = net ]; then
	KVR_RAILS=''
	for KVR_PROVIDER in 'tcp;ofi_rxm' shm; do
		if "$build/kvrail" info >/dev/null 2>&1; then
			rows 4 --size 64K --duration 0.1
		fi
	done
	KVR_RAILS=lo KVR_PROVIDER=net
fi

# ends STATUS RANKS WHAT_IT_SAYS ARGUMENTS...
ends()
{
	wanted=$1 ranks=$2 says=$3
	shift 3
	status=0
	said=$($run -n "$ranks" "$build/kvrail" bench "$@" 2>&1) || status=$?
	if [ $status -ne "$wanted" ] || ! echo "$said" | grep -q -e "$says"; then
		echo "bench $*: status $status, not $wanted, or not a word of \"$says\": $said"
		exit 1
	fi
}

ends 0 2 '^write paged .* yes' --size 64K --duration 0.1 --op write --layout paged
ends 1 2 'wrong byte: write' --size 64K --duration 0.1 --op write --layout paged --spoil
ends 1 2 '"verified":false' --size 64K --duration 0.1 --op read --layout paged --spoil --json
ends 2 2 "--rails 'nowhere' is no rail" --rails "$a_rail,nowhere"
ends 2 2 'rank 0 has [0-9]* rails\{0,1\}: use at most that' --raw-rails 32 --size 64K
if [ $KVR_PROVIDER = efa ]; then
	# Two of the NICs only, as a container may see them.
	ends 2 1 'rank 1 has 2 rails' --raw-rails 3 --size 64K : -n 1 env SOFTEFA_NICS=0,3 \
		"$build/kvrail" bench --raw-rails 3 --size 64K
	ends 0 1 ', 2 for the bare loop' --raw-rails all --size 64K --duration 0.1 : -n 1 \
		env SOFTEFA_NICS=0,3 "$build/kvrail" bench --raw-rails all --size 64K --duration 0.1
fi
