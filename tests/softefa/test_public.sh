#!/bin/sh
# SPDX-License-Identifier: MIT
# Public programs on the software EFA: libfabric's own, and Open MPI over libfabric. What moves is
# compared; rates are printed, and no NIC may be faster than it was told to be.
#   test_public.sh SOFTEFA MPI_RATE
set -eu
LC_ALL=C
export LC_ALL
exec </dev/null
softefa=$1 mpi_rate=$2
OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_ALLOW_RUN_AS_ROOT OMPI_ALLOW_RUN_AS_ROOT_CONFIRM
for tool in fi_info fi_pingpong mpirun; do
	command -v $tool >/dev/null || {
		echo "skipped: there is no $tool"
		exit 77
	}
done
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM

n=$("$softefa" --nics 16 -- fi_info -p efa -t FI_EP_RDM | grep -c 'domain: rdmap[0-9]*s0-rdm')
[ "$n" -eq 16 ] || {
	echo "fi_info lists $n of 16 devices"
	exit 1
}

# Two hosts; the client waits until the server listens.
cat >"$scratch/pingpong" <<'END'
fi_pingpong -p efa -e rdm -S all -I 5 -c >"$1/server" 2>&1 &
i=0
while ! timeout 100 env SOFTEFA_HOST=1 fi_pingpong -p efa -e rdm -S all -I 5 -c 127.0.0.1 \
	>"$1/client" 2>&1; do
	i=$((i + 1))
	[ $i -lt 20 ] || exit 1
	sleep 0.5
done
wait
END
for device in p4d p5 p5en; do
	"$softefa" --device $device --nics 2 --hosts 2 --jitter-us 50 -- \
		sh "$scratch/pingpong" "$scratch" || {
		echo "fi_pingpong failed on $device:"
		cat "$scratch/server" "$scratch/client"
		exit 1
	}
	echo "fi_pingpong on $device: $(grep -c '=5' "$scratch/client") sizes"
done

# mpi NAME MOST OPTIONS -- RANKS MEGABYTES: Open MPI with one NIC a rank; at most MOST Gb/s.
cat >"$scratch/rank" <<'END'
SOFTEFA_NICS=$((OMPI_COMM_WORLD_RANK % NICS)) exec "$@"
END
mpi()
{
	name=$1 most=$2
	NICS=$3
	export NICS
	shift 3
	gbps=$(timeout 200 "$softefa" --nics 16 --hosts 2 --gbps 1 --jitter-us 20 -- \
		mpirun -n "$1" --oversubscribe --bind-to none --mca mpi_yield_when_idle 1 \
		--mca pml cm --mca mtl ofi --mca mtl_ofi_provider_include efa \
		sh "$scratch/rank" "$mpi_rate" "$2" | tr -d '\r')
	echo "Open MPI, $name: $gbps Gb/s of $most"
	awk -v rate="$gbps" -v most="$most" 'BEGIN { exit !(rate > 0 && rate < 1.03 * most) }' || {
		echo "wrong bytes, or a NIC is too fast"
		exit 1
	}
}
mpi "one NIC" 1 1 2 150
mpi "one NIC for two pairs" 1 1 4 100
mpi "sixteen NICs, 32 processes" 16 16 32 200
