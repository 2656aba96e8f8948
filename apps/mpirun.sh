#!/bin/sh
# SPDX-License-Identifier: MIT
# mpirun on one machine, also as root and with more ranks than cores: sh apps/mpirun.sh -n 4 CMD...
# The settings are Open MPI's; README says what a cluster needs.
#
# MPI only exchanges addresses here, so it is kept away from the NICs that kvrail uses (pml ob1,
# no openib, no ofi) and from the process-to-process copies that containers forbid. Ranks that
# wait yield their core, and none is bound: on a laptop they share a few.
set -eu
[ "$(id -u)" -ne 0 ] || set -- --allow-run-as-root "$@"

mpirun=/opt/amazon/openmpi/bin/mpirun # CMake prefers that one too
[ -x $mpirun ] || mpirun=mpirun
if ! command -v $mpirun >/dev/null; then
	echo "apps/mpirun.sh: there is no mpirun: sh apps/deps.sh build" >&2
	exit 127
fi

# A thread of Open MPI's own may still have to look up its functions while MPI_Finalize takes modules
# away, and fall over that: so all are looked up at the start.
LD_BIND_NOW=1
export LD_BIND_NOW
exec $mpirun --map-by slot:OVERSUBSCRIBE --bind-to none --mca pml ob1 --mca btl ^openib,ofi \
	--mca btl_vader_single_copy_mechanism none --mca btl_tcp_if_exclude 127.0.0.1/8,docker0,sppp \
	--mca mpi_yield_when_idle 1 "$@"
