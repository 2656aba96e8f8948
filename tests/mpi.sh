# shellcheck shell=sh
# SPDX-License-Identifier: MIT
# For the scripts here that start kvrail of the folder $1 by mpirun, which read it: what they ask is in
# $title, its status in $status, what it said in the files out and err. The folder $scratch is theirs,
# and goes when they end; without an mpirun they are skipped.
# shellcheck disable=SC2034 # for who reads this
build=$(cd "$1" && pwd)
apps=$(cd "$(dirname -- "$0")/../apps" && pwd)
title='' failures=0
# shellcheck source=tests/needs.sh
. "$(dirname -- "$0")/needs.sh"
need_mpirun
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM
# Open MPI's modules have no frame pointers, by which its leaks would be known as its.
ASAN_OPTIONS=${ASAN_OPTIONS:-}:fast_unwind_on_malloc=0
KVR_PEER_TIMEOUT=60000 # more ranks than cores are slow to answer, and not dead
LD_BIND_NOW=1          # see apps/mpirun.sh: also for one rank without it
export ASAN_OPTIONS KVR_PEER_TIMEOUT LD_BIND_NOW

# trace FILE TOKENS...: a request for each.
trace()
{
	file=$1
	shift
	for tokens; do
		ids=$(seq -s, 1 $(((tokens + 511) / 512)))
		echo "{\"timestamp\": 0, \"input_length\": $tokens, \"output_length\": 1," \
			"\"hash_ids\": [$ids]}"
	done >"$file"
}

failed()
{
	failures=$((failures + 1))
	printf 'FAILED: %s: %s\n' "$title" "$1"
	sed 's/^/    out: /' out
	sed 's/^/    err: /' err
}

# mpi ARGUMENT...: mpirun's, into out and err; leaves its status in $status.
# shellcheck disable=SC2034 # for who reads this
mpi()
{
	status=0
	timeout 200 sh "$apps/mpirun.sh" "$@" >out.raw 2>err || status=$?
	tr -d '\r' <out.raw >out # the ranks' output goes through a pseudo-terminal
}
