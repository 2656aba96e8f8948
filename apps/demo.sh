#!/bin/sh
# SPDX-License-Identifier: MIT
# Installs what is missing, builds, and runs the main job. Arguments go on to replay:
#
#   sh apps/demo.sh
#   sh apps/demo.sh --model llama-3.1-8b --limit 3
#   sh apps/demo.sh --json my-trace.jsonl
set -eu
LC_ALL=C
export LC_ALL
exec </dev/null

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)

build()
{
	cd "$root" && cmake --preset release -DKVRAIL_TESTS=OFF -DKVRAIL_WERROR=OFF &&
		cmake --build build --parallel "$(nproc)"
}

sh "$root/apps/deps.sh" build >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
trap 'exit 1' HUP INT TERM
[ -e "$root/build/kvrail" ] || echo "Building kvrail in $root/build ..." >&2
if ! (build) >"$log" 2>&1; then
	cat "$log" >&2
	echo "apps/demo.sh: the build failed, as shown above" >&2
	exit 1
fi
rm -f "$log"
trap - EXIT HUP INT TERM

trace=$root/apps/traces/sample.jsonl
for argument; do
	case $argument in
	*.jsonl) trace= ;;
	esac
done

# Where there is no EFA device, libfabric's efa provider runs on a software EFA of sixteen.
set -- sh "$root/apps/mpirun.sh" -n 4 "$root/build/kvrail" replay --prefill 2 --decode 2 \
	--model qwen2.5-0.5b --verify full "$@" ${trace:+"$trace"}
if [ -z "${KVR_PROVIDER:-}" ] && [ -x "$root/build/softefa" ] &&
	! ls /sys/class/infiniband/rdmap* >/dev/null 2>&1 &&
	! "$root/build/kvrail" info --json 2>/dev/null | grep -q '"provider":"efa"'; then
	cat >&2 <<'END'
No EFA device is here: two emulated hosts get sixteen NICs each, by a software EFA under libfabric's
own efa provider. No figure below says anything about EFA.

END
	set -- "$root/build/softefa" --nics 16 --hosts 2 -- "$@"
fi

cat >&2 <<'END'
Two prefill ranks now fill the KV cache of each request with a pattern of its own, block by
scattered block, and write it into the blocks of two decode ranks, over every network rail that
this machine has. A counter tells the decode rank that all has come; it compares every byte.

END
exec "$@"
