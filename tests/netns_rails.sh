#!/bin/sh
# SPDX-License-Identifier: MIT
# Several rails on plain providers: four interfaces in a network namespace of the test's own.
#   netns_rails.sh BUILD_DIR
set -eu
build=$(cd -- "$1" && pwd)
here=$(cd -- "$(dirname -- "$0")" && pwd)

if [ "${2-}" != inside ]; then
	for tool in ip unshare mpirun; do
		command -v "$tool" >/dev/null || {
			echo "skipped: no $tool here"
			exit 77
		}
	done
	unshare -n true 2>/dev/null || {
		echo "skipped: no network namespace can be made here (root can)"
		exit 77
	}
	exec unshare -n sh "$0" "$build" inside
fi

ip link set lo up
for i in 0 1 2 3; do
	ip link add "rail$i" type veth peer name "far$i"
	ip addr add "10.9.$i.1/24" dev "rail$i"
	ip link set "rail$i" up
	ip link set "far$i" up
done

# The rule: every interface that is up and has an address, the loopback left out.
rails=$("$build/kvrail" info --json | grep -o '"name": *"rail[0-9]"' | sort -u | wc -l)
[ "$rails" -eq 4 ] || {
	echo "kvrail info shows $rails of 4 rails"
	exit 1
}

KVR_PROVIDER=net KVR_RAILS="rail*" "$build/tests/test_peers"
KVR_PROVIDER=net KVR_RAILS="rail*" "$build/tests/test_transfer"

out=$(sh "$here/../apps/mpirun.sh" -n 3 "$build/kvrail" replay --prefill 1 --decode 2 --limit 8 --json)
echo "$out"
case $out in
*'"mismatches": 0'* | *'"mismatches":0'*) ;;
*)
	echo "bytes are wrong"
	exit 1
	;;
esac
# The one prefill rank must have written over each of its four rails.
busy=$(echo "$out" | grep -o '{[^{}]*"rank": *0[^{}]*}' | grep -cv '"bytes": *0[^0-9]')
[ "$busy" -eq 4 ] || {
	echo "rank 0 used $busy of 4 rails"
	exit 1
}
