#!/bin/sh
# SPDX-License-Identifier: MIT
# What happens to a host happens to all its processes, and to no other's.
#   test_hosts.sh SOFTEFA MEMBER
set -eu
LC_ALL=C
export LC_ALL
softefa=$1 member=$2
if [ -z "${SOFTEFA_DIR:-}" ]; then
	exec "$softefa" --nics 2 --hosts 2 -- sh "$0" "$softefa" "$member"
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM

# is STATE PID...: each comes to be in it (as /proc says; -: gone or not yet buried) within 20 s.
is()
{
	wanted=$1
	shift
	for pid; do
		i=0
		while :; do
			state=$(sed 's/.*) \(.\).*/\1/' "/proc/$pid/stat" 2>/dev/null) || state=-
			case $state in
			R | D) state=S ;;
			Z | X | '') state=- ;;
			esac
			[ "$state" != "$wanted" ] || break
			[ $i -lt 200 ] || {
				echo "FAILED: $pid is $state, not $wanted: $what"
				exit 1
			}
			i=$((i + 1))
			sleep 0.1
		done
	done
}

# grows FILE SECONDS: the process that writes it goes on, within so many.
grows()
{
	before=$(wc -l <"$1")
	for _ in $(seq $(($2 * 10))); do
		sleep 0.1
		[ "$(wc -l <"$1")" -eq "$before" ] || return 0
	done
	return 1
}

event()
{
	what="after $*"
	"$softefa" ctl "$@"
}

start()
{
	SOFTEFA_HOST=$1 "$member" >"$scratch/$2" &
	pid=$!
	i=0
	while ! [ -s "$scratch/$2" ]; do
		i=$((i + 1))
		if [ $i -gt 300 ] || ! kill -0 $pid 2>/dev/null; then
			echo "FAILED: no member of host $1"
			exit 1
		fi
		sleep 0.1
	done
}

start 0 a && a=$pid
start 1 b && b=$pid
start 1 c && c=$pid

event pause 1
is T "$b" "$c"
is S "$a"
grows "$scratch/a" 20 || { echo "FAILED: host 0 stands still too" && exit 1; }
! grows "$scratch/b" 1 || { echo "FAILED: a paused process goes on" && exit 1; }
event resume 1
is S "$a" "$b" "$c"
grows "$scratch/b" 20 || { echo "FAILED: a resumed process does not go on" && exit 1; }

# A stopped process can be killed; who is dead stays so.
event pause '*'
is T "$a" "$b" "$c"
event kill 1
is - "$b" "$c"
is T "$a"
event resume '*'
is S "$a"
is - "$b" "$c"
event kill 0
is - "$a"

# A network namespace of its own is a host of its own: the second here, as softefa's namespace is the
# first. There is no third.
# address COMMAND...: of the first NIC.
address()
{
	"$@" fi_info -v -p efa -t FI_EP_RDM 2>&1 | sed -n 's/.*src_addr: fi_addr_efa:...\(fe80[^]]*\).*/\1/p' |
		sed 1q
}
if command -v fi_info >/dev/null && unshare -n true 2>/dev/null; then
	here=$(address env)
	there=$(address unshare -n)
	if [ "${here%:*}" != "${there%:*}" ] || [ "${here##*:}" != 0 ] || [ "${there##*:}" != 100 ]; then
		echo "FAILED: NIC 0 is $here, and in a network namespace $there"
		exit 1
	fi
	unshare -n fi_info -p efa >"$scratch/out" 2>&1 &&
		echo "FAILED: a third host of two" && exit 1
	grep -q 'is on no host: there are 2' "$scratch/out"
else
	echo "network namespaces: not tried, they cannot be made here"
fi
echo "all passed"
