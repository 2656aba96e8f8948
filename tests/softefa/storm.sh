#!/bin/sh
# SPDX-License-Identifier: MIT
# Cancels and timeouts at moments of chance on the software EFA, while one rail at either side fails
# and returns again and again: no byte comes late. See ../cancel_storm.c.
#
#   storm.sh SOFTEFA BUILD_DIR [CANCELS [SEED]]     cancels, for each way to write (default 10000)
# shellcheck source=tests/softefa/begin.sh
. "$(dirname -- "$0")/begin.sh"
cancels=${3:-10000}
seed=${4:-1}
KVR_PROVIDER=efa
export KVR_PROVIDER
need_efa "$softefa" "$build"
awk 'BEGIN { for (t = 1; t < 500; t += 2) {
	printf "%.1f down 1:1\n%.1f up 1:1\n", t, t + 0.3
	printf "%.1f blackhole 0:2\n%.1f up 0:2\n", t + 0.6, t + 1
	printf "%.1f error 1:3 5\n%.1f error 1:3 0\n", t + 1.2, t + 1.5
	printf "%.1f blackhole 1:0\n%.1f up 1:0\n", t + 1.6, t + 1.8
} }' >"$scratch/events"
for mode in pull push; do
	printf '%s: ' "$mode"
	KVR_WRITE_MODE=$mode "$softefa" --nics 4 --hosts 2 --gbps 1 --jitter-us 50 --schedule "$scratch/events" \
		-- "$build/tests/cancel_storm" "$cancels" "$seed"
done
