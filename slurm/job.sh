# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# What the jobs in this folder share. Sourced, with $home set to kvrail's folder.
#
# In a job, ranks are started by srun; without Slurm, by mpirun on this machine.

build=${KVRAIL_BUILD:-$home/build}
kvrail=$build/kvrail

fail()
{
	printf 'FAILED: %s\n' "$1" >&2
	exit 1
}

say()
{
	printf '%-10s %s\n' "$1" "$2"
}

in_slurm()
{
	[[ -n ${SLURM_JOB_ID:-} ]]
}

# by_place SLURM ELSE: a default for a job, and one for this machine alone.
by_place()
{
	if in_slurm; then
		echo "$1"
	else
		echo "$2"
	fi
}

# job_ranks ELSE: the tasks of the allocation.
job_ranks()
{
	by_place "${SLURM_NTASKS:-$((${SLURM_JOB_NUM_NODES:-1} * ${SLURM_NTASKS_PER_NODE:-1}))}" "$1"
}

# The command line that starts $1 ranks, as the array `launch`. In a job, ranks fill one node after
# the other and, on it, one socket after the other: rank i of a node sits where GPU i does.
set_launch()
{
	local ranks=$1

	if ! in_slurm; then
		launch=(sh "$home/apps/mpirun.sh" -n "$ranks")
		return
	fi
	launch=(srun --mpi=pmix --ntasks="$ranks" --distribution=block:block --cpu-bind=cores
		--kill-on-bad-exit=1)
	if [[ $ranks -eq 1 ]]; then
		launch+=(--nodes=1)
	fi
	# srun takes this over from sbatch only in some versions.
	if [[ -n ${SLURM_CPUS_PER_TASK:-} ]]; then
		launch+=(--cpus-per-task="$SLURM_CPUS_PER_TASK")
	fi
}

# MPI exchanges addresses, no more: it is kept off the NICs, as apps/mpirun.sh does too.
quiet_mpi()
{
	export OMPI_MCA_pml=${OMPI_MCA_pml:-ob1}
	export OMPI_MCA_btl=${OMPI_MCA_btl:-^openib,ofi}
	export OMPI_MCA_btl_tcp_if_exclude=${OMPI_MCA_btl_tcp_if_exclude:-127.0.0.1/8,docker0,sppp}
}

check_program()
{
	[[ -x $kvrail ]] && return
	fail "no program $kvrail. Build it, on a machine like the nodes:
  cd $home && sh apps/deps.sh build &&
  cmake --preset release -DKVRAIL_TESTS=OFF && cmake --build build
or name the folder where it is: KVRAIL_BUILD=/shared/kvrail/build"
}

check_srun()
{
	in_slurm || return 0
	command -v srun >/dev/null || fail "in job $SLURM_JOB_ID, but there is no srun in PATH"
	srun --mpi=list 2>&1 | grep -q pmix || fail "this Slurm's srun has no PMIx (srun --mpi=list).
Install its PMIx plugin, or start the same command with Open MPI's mpirun inside the job."
}

has_efa()
{
	local vendor

	for vendor in "${SYSFS_PATH:-/sys}"/class/infiniband/*/device/vendor; do
		if [[ -r $vendor && $(<"$vendor") == 0x1d0f ]]; then
			return
		fi
	done
	return 1
}

# May this process lock more memory than its limit says (CAP_IPC_LOCK)?
may_lock_all()
{
	local capabilities

	capabilities=$(awk '/^CapEff:/ { print $2 }' /proc/self/status)
	(((0x$capabilities >> 14) & 1))
}

# EFA pins what it registers: the cache, and some GiB of queues and tables.
check_memlock()
{
	local limit

	limit=$(ulimit -l)
	say memlock "$limit KiB"
	if [[ $limit == unlimited ]] || ! has_efa || may_lock_all; then
		return
	fi
	fail "a rank may lock only $limit KiB of memory, and EFA locks all that it registers.
On every node: 'LimitMEMLOCK=infinity' in slurmd's systemd unit, restart slurmd, and
'PropagateResourceLimitsExcept=MEMLOCK' in slurm.conf; without Slurm, '* - memlock unlimited'
in /etc/security/limits.conf and a new login."
}

# Says where the job runs, and what kvrail finds on its first node.
describe_job()
{
	say kvrail "$kvrail"
	if in_slurm; then
		say job "$SLURM_JOB_ID on ${SLURM_JOB_NUM_NODES:-1} nodes: ${SLURM_JOB_NODELIST:-unknown}"
	else
		say job "none (no SLURM_JOB_ID): a made-up allocation of this machine, $(hostname)"
	fi
	check_memlock
	set_launch 1
	"${launch[@]}" "$kvrail" info || fail "kvrail info failed on the first node, as shown above"
}

# run_job RANKS ARGUMENTS...: says the command line, then becomes it.
run_job()
{
	local command

	set_launch "$1"
	shift
	command=("${launch[@]}" "$kvrail" "$@")
	say command "${command[*]@Q}"
	exec "${command[@]}"
}
