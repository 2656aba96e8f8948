#!/bin/sh
# SPDX-License-Identifier: MIT
# However late the endpoints' handshakes come, all is read by the device, and nothing by messages of the other
# side's: a door that is to be closed would have to wait for these.
#   test_handshake.sh SOFTEFA BUILD_DIR
# shellcheck source=tests/softefa/begin.sh
. "$(dirname -- "$0")/begin.sh"
need_efa "$softefa" "$build"

pieces=768 # that fault_matrix.c moves
KVR_PROVIDER=efa "$softefa" --nics 4 --hosts 2 --jitter-us 5000 --device p4d --stats -- \
	"$build/tests/fault_matrix" "$softefa" none scatter 2>"$scratch/err" || {
	cat "$scratch/err"
	exit 1
}
reads=$(awk '$1 == "all" { print $5 }' "$scratch/err")
echo "$pieces pieces were read by $reads reads of the devices"
[ "$reads" -ge "$pieces" ]
