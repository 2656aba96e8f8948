#!/bin/bash
# SPDX-License-Identifier: MIT
# The jobs in slurm/, both ways: by themselves on this machine, and as in a Slurm job, with an srun
# of our own that notes what it is given and hands over to mpirun.
#
#   bash tests/test_slurm.sh BUILD-FOLDER
set -euo pipefail
exec </dev/null
build=$(cd "$1" && pwd)
root=$(cd "$(dirname "$0")/.." && pwd)
trace=$root/apps/traces/sample.jsonl
scratch=$(mktemp -d)
log=$scratch/log
trap 'rm -rf "$scratch"' EXIT
unset "${!SLURM_@}" KVRAIL_HOME
export KVRAIL_BUILD=$build ROOT=$root SRUN_LOG=$scratch/srun
failures=0

mkdir "$scratch/bin"
cat >"$scratch/bin/srun" <<'END'
#!/bin/bash
echo "$*" >>"$SRUN_LOG"
while [[ ${1:-} == -* ]]; do
	case $1 in
	--mpi=list) echo "${FAKE_MPI:-none pmix pmix_v4}"; exit 0 ;;
	--ntasks=*) ranks=${1#*=} ;;
	esac
	shift
done
exec sh "$ROOT/apps/mpirun.sh" -n "$ranks" "$@"
END
chmod +x "$scratch/bin/srun"

# job STATUS NAME VARIABLE=VALUE...: runs slurm/NAME.sbatch into $log and compares its status.
job()
{
	local expected=$1 name=$2 status=0

	shift 2
	title="$name $*"
	env "$@" bash "$root/slurm/$name.sbatch" >"$log" 2>&1 || status=$?
	if [[ $status -ne $expected ]]; then
		echo "FAIL: $title: exit status $status, expected $expected"
		cat "$log"
		failures=$((failures + 1))
	fi
}

# has PATTERN [FILE]: the last job's log has such a line.
has()
{
	if ! grep -qE -- "$1" "${2:-$log}"; then
		echo "FAIL: $title: no line like '$1' in"
		cat "${2:-$log}"
		failures=$((failures + 1))
	fi
}

small_replay=(MODEL=qwen2.5-0.5b LIMIT=2 PREFILL=1 DECODE=1 TRACE="$trace")
small_bench=(OP=write LAYOUT=paged SIZES=65536 DURATION=1)
slurm=(PATH="$scratch/bin:$PATH" SLURM_JOB_ID=7 SLURM_JOB_NUM_NODES=2 SLURM_NTASKS=2
	SLURM_JOB_NODELIST=node[0-1] SLURM_CPUS_PER_TASK=12 SLURM_SUBMIT_DIR="$root")

# By themselves.
job 0 replay "${small_replay[@]}"
has 'made-up allocation of this machine'
has '^ranks +2: 1 prefill, 1 decode'
has '^model +qwen2.5-0.5b'
has "^command +'sh' .* 'replay' '--prefill' '1' .*'--limit' '2'"
job 0 bench "${small_bench[@]}"
has '^ranks +2$'
has "^command +.* 'bench' '--op' 'write' '--layout' 'paged' '--size' '65536' '--duration' '1'"

# As in a job.
job 0 replay "${slurm[@]}" "${small_replay[@]}"
has '^job +7 on 2 nodes: node\[0-1\]'
has "^command +'srun' '--mpi=pmix' '--ntasks=2'"
has '--ntasks=2 .*--cpu-bind=cores .*--cpus-per-task=12 .*kvrail replay' "$SRUN_LOG"
has '--ntasks=1 .*--nodes=1 .*kvrail info' "$SRUN_LOG"
job 0 bench "${slurm[@]}" "${small_bench[@]}"
has '--ntasks=2 .*kvrail bench' "$SRUN_LOG"

# With a reason where they cannot run.
job 1 replay "${small_replay[@]}" TRACE=/nowhere/trace.jsonl
has '^FAILED: no trace /nowhere/trace.jsonl'
job 1 replay "${slurm[@]}" "${small_replay[@]}" DECODE=8
has '^FAILED: PREFILL=1 DECODE=8 need 9 ranks, the job has 2'
job 1 bench "${small_bench[@]}" KVRAIL_BUILD=/nowhere
has '^FAILED: no program /nowhere/kvrail. Build it'
job 1 bench "${slurm[@]}" "${small_bench[@]}" FAKE_MPI=none
has "^FAILED: this Slurm's srun has no PMIx"

# Slurm runs a copy of the script, from its spool folder.
mkdir "$scratch/spool"
cp "$root/slurm/replay.sbatch" "$scratch/spool/script"
title="a copy, submitted from nowhere"
env "${slurm[@]}" SLURM_SUBMIT_DIR=/nowhere bash "$scratch/spool/script" >"$log" 2>&1 || true
has "^FAILED: submit from kvrail's folder"
title="a copy, submitted from kvrail's folder"
env "${slurm[@]}" TRACE=/nowhere bash "$scratch/spool/script" >"$log" 2>&1 || true
has '^FAILED: no trace /nowhere'

# An EFA device, and a limit on locked memory that counts (root may lack the right to pass it).
mkdir -p "$scratch/sys/class/infiniband/rdmap0s0/device"
echo 0x1d0f >"$scratch/sys/class/infiniband/rdmap0s0/device/vendor"
lock=(bash -c 'ulimit -l 64 && exec "$@"' -)
if setpriv --bounding-set=-ipc_lock true 2>/dev/null; then
	lock=(setpriv --bounding-set=-ipc_lock "${lock[@]}")
fi
title="memlock"
env "${small_replay[@]}" SYSFS_PATH="$scratch/sys" "${lock[@]}" bash "$root/slurm/replay.sbatch" \
	>"$log" 2>&1 || true
has '^FAILED: a rank may lock only 64 KiB'

[[ $failures -eq 0 ]] || exit 1
echo "all jobs did as they should"
