#!/bin/sh
# SPDX-License-Identifier: MIT
# A NIC that was down and is up again carries its share again: its peer's rail does not stay with another NIC,
# which would then serve two.
#   test_return.sh SOFTEFA BUILD_DIR
if [ -z "${SOFTEFA_DIR:-}" ]; then
	exec "$1" --nics 4 --hosts 2 --gbps 0.1 -- sh "$0" "$@"
fi
# shellcheck source=tests/softefa/begin.sh
. "$(dirname -- "$0")/begin.sh"
need_efa "$softefa" "$build"
KVR_PROVIDER=efa
export KVR_PROVIDER

# sent NIC: bytes that it of host 1 has sent.
sent()
{
	"$softefa" ctl stats | awk -v nic="$1" '$1 == 1 && i++ == nic { print $3 }'
}

# shares: whether NIC 1 sends at least half as much in a moment as its neighbour does.
shares()
{
	own=$(sent 1) other=$(sent 2)
	sleep 0.5
	own=$(($(sent 1) - own)) other=$(($(sent 2) - other))
	echo "NIC 1 has sent $own bytes, NIC 2 $other"
	[ "$other" -gt 0 ] && [ $((2 * own)) -ge "$other" ]
}

# await SECONDS: whether it comes to that within so many, or a bit more.
await()
{
	for _ in $(seq $((2 * $1))); do
		! shares || return 0
	done
	return 1
}

"$build/tests/rail_share" read 262144 64 2 12 >"$scratch/out" 2>&1 &
load=$!
failed=0
await 5 || failed=1
"$softefa" ctl down 1:1
sleep 1
! shares || failed=1
"$softefa" ctl up 1:1
await 10 || failed=1
wait $load || failed=1
cat "$scratch/out"
exit $failed
