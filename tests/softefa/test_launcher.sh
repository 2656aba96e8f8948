#!/bin/sh
# SPDX-License-Identifier: MIT
# The program softefa: statuses, signals, clean-up, events, wrong arguments.
#   test_launcher.sh SOFTEFA [STARTS]      STARTS in a row that must leave nothing; default 50
set -eu
LC_ALL=C
export LC_ALL
softefa=$1
starts=${2:-50}
here=$(cd -- "$(dirname -- "$0")" && pwd)
shared=$here/../../../shared/topology
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failures=0

failed()
{
	failures=$((failures + 1))
	echo "FAILED: $*"
}

# ends STATUS WORDS ARGUMENT...: softefa's status, and what it says on standard error.
ends()
{
	wanted=$1 words=$2
	shift 2
	status=0
	"$softefa" "$@" >"$scratch/out" 2>"$scratch/err" || status=$?
	[ "$status" -eq "$wanted" ] || failed "softefa $*: status $status, not $wanted"
	[ -z "$words" ] || grep -qF -e "$words" "$scratch/err" || failed "softefa $*: does not say: $words"
}

# The command's status is softefa's.
ends 0 '' -- true
ends 7 '' -- sh -c 'exit 7'
ends 137 '' -- sh -c 'kill -KILL $$'
ends 127 'nosuchprogram: No such file' -- nosuchprogram

# What the command gets.
# shellcheck disable=SC2016 # for the inner shell
ends 0 '' --hosts 3 -- sh -c 'test "$SOFTEFA_HOSTS" = 3 && test -e "$SOFTEFA_DIR/fabric" &&
	test -d "$SYSFS_PATH/class/infiniband/rdmap85s0" &&
	test -e "$SYSFS_PATH/class/infiniband/rdmap163s0/device/driver" &&
	test "$FI_EFA_ENABLE_SHM_TRANSFER" = 0 && test -z "${HWLOC_XMLFILE:-}"'
# shellcheck disable=SC2016
ends 0 '' --nics 4 -- sh -c 'test -d "$SYSFS_PATH/class/infiniband/rdmap16s27"'
# shellcheck disable=SC2016
ends 0 '' --nics 32 -- sh -c 'test -d "$SYSFS_PATH/class/infiniband/rdmap201s0"'

# In a folder of which LD_PRELOAD would make two names.
mkdir "$scratch/a b"
cp "$softefa" "$(dirname -- "$softefa")/libsoftefa.so" "$scratch/a b"
# shellcheck disable=SC2016
"$scratch/a b/softefa" --nics 1 -- sh -c 'grep -q libsoftefa.so /proc/$$/maps' \
	2>"$scratch/err" || failed "a folder with a space in its name"
[ ! -s "$scratch/err" ] || failed "a folder with a space in its name: $(cat "$scratch/err")"

# Wrong arguments.
ends 2 'no command to run'
ends 2 "--nics '33' is not a whole number from 1 to 32" --nics 33 -- true
ends 2 "--nics '0' is not a whole number" --nics 0 -- true
ends 2 "--hosts '65' is not a whole number from 1 to 64" --hosts 65 -- true
ends 2 "--gbps 'fast' is not a number" --gbps fast -- true
ends 2 "--gbps '-1' is not a number" --gbps -1 -- true
ends 2 "--gbps '1e-300' is neither 0 nor at least" --gbps 1e-300 -- true
ends 2 "--jitter-us '1x' is not a number" --jitter-us 1x -- true
ends 2 "--device 'p9' is none of p4d, p5, p5en" --device p9 -- true
ends 2 "unrecognized option '--colour'" --colour -- true
ends 2 "--schedule $scratch/none: No such file" --schedule "$scratch/none" -- true
ends 2 "--schedule $scratch: not a file" --schedule "$scratch" -- true
ends 2 '--schedule /dev/zero: not a file' --schedule /dev/zero -- true
ends 2 'is no topology that hwloc' --topology "$here/README.md" -- true

# Schedules: the line that is wrong is named.
refused()
{
	printf '# a comment\n\n%s\n' "$1" >"$scratch/schedule"
	ends 2 "schedule:3: $2" --nics 4 --hosts 2 --schedule "$scratch/schedule" -- true
}
refused 'soon down 0:1' "'soon' is no time in seconds"
refused '-1 down 0:1' "'-1' is no time"
refused '1 explode 0:1' "'explode' is no event"
refused '1' "'' is no event"
refused '1 down' 'down takes HOST:NIC'
refused '1 down 0:1 5' 'down takes HOST:NIC'
refused '1 down 0' "'0' is no HOST:NIC: 0 to 1 and 0 to 3"
refused '1 down 2:0' "'2:0' is no HOST:NIC"
refused '1 down 0:4' "'0:4' is no HOST:NIC"
refused '1 kill 0:1' "'0:1' is no host"
refused '1 error 0:1 101' "'101' is no value for error: a number from 0 to 100"
refused '1 latency 0:1 -5' "'-5' is no value for latency"
refused '1 rate 0:1 0.5' 'rate is a share of --gbps, which was not given'

# Events at once, as they are seen in the NICs' states.
cat >"$scratch/events" <<'END'
set -eu
state() { "$1" ctl stats --json | tr '{' '\n' | grep '"host":'"$2"',"name":"'"$3"'"'; }
"$1" ctl down 0:1
"$1" ctl blackhole '1:*'
"$1" ctl rate 0:2 0.1
"$1" ctl latency 0:2 250
"$1" ctl error 0:3 12.5
state "$1" 0 rdmap16s27 | grep -q '"state":"up","ns_per_mib":8388608,"latency_us":0.0,"error_percent":0.0'
state "$1" 0 rdmap32s27 | grep -q '"state":"down"'
state "$1" 1 rdmap160s27 | grep -q '"state":"blackhole"'
state "$1" 0 rdmap144s27 | grep -q '"ns_per_mib":83886080,"latency_us":250.0'
state "$1" 0 rdmap160s27 | grep -q '"error_percent":12.5'
"$1" ctl up '*:*'
# A negated command does not end a shell under -e: so each says what it must be.
count=$("$1" ctl stats --json | grep -c 'down\|blackhole') || true
[ "$count" -eq 0 ]
refused()
{
	status=0
	"$softefa" ctl "$@" 2>/dev/null || status=$?
	[ "$status" -eq 2 ]
}
softefa=$1
refused
refused down 0:9
refused frobnicate 0
refused rate 0:0 1e-300
END
ends 0 '' --nics 4 --hosts 2 --gbps 1 -- sh "$scratch/events" "$softefa"
# shellcheck disable=SC2016
ends 1 'softefa ctl: standard output: No space left' -- sh -c '"$0" ctl stats >/dev/full' "$softefa"
status=0
(unset SOFTEFA_DIR && "$softefa" ctl down 0:1 2>"$scratch/err") || status=$?
[ "$status" -eq 1 ] || failed "ctl outside of a fabric: status $status"
grep -q 'no fabric in' "$scratch/err" || failed "ctl outside of a fabric says nothing"

# A schedule's events come when they are due, those at 0 before the command starts: it has three
# seconds to see that.
printf '3 up 0:0\n0 down 0:0 # first\n' >"$scratch/schedule"
# shellcheck disable=SC2016
ends 0 's: up 0:0' --nics 1 --schedule "$scratch/schedule" -- sh -c \
	'"$0" ctl stats --json | grep -q "\"state\":\"down\"" || exit 1
	for i in $(seq 100); do
		"$0" ctl stats --json | grep -q "\"state\":\"up\"" && exit
		sleep 0.2
	done
	exit 1' "$softefa"
ends 0 'no figure of EFA' --stats -- true
ends 2 '--stats=/nowhere/stats: No such file' --stats=/nowhere/stats -- false
ends 1 '--stats=/dev/full: No space left' --stats=/dev/full -- true
ends 7 '--stats=/dev/full: No space left' --stats=/dev/full -- sh -c 'exit 7'
ends 0 '' --stats="$scratch/stats.json" -- true
grep -q '^{"event":"softefa","all":{"bytes_sent":0,' "$scratch/stats.json" || failed "--stats=FILE"

# Names and places from an export: of the tree's own, and of real instances where they are there.
# shellcheck disable=SC2016
ends 0 '' --topology "$here/two-nics.xml" -- sh -c 'test "$HWLOC_XMLFILE" = "$0" &&
	test "$(ls "$SYSFS_PATH/class/infiniband")" = "rdmap27s0
rdmap28s0" && test -e "$SYSFS_PATH/devices/pci0000:1b/0000:1b:00.0/driver"' \
	"$here/two-nics.xml"
ends 2 'has 2 EFA devices, not 3' --nics 3 --topology "$here/two-nics.xml" -- true
if [ -d "$shared" ]; then
	# shellcheck disable=SC2016
	ends 0 '' --topology "$shared/p5.48xl.xml" -- sh -c \
		'test "$(ls "$SYSFS_PATH/class/infiniband" | wc -l)" -eq 32'
fi

# A signal ends the command, and all is cleaned up; also what outlives it.
# processes DURATION: how many sleep for so long.
processes()
{
	pgrep -cf "^sleep $1\$" || true
}
# started DURATION: both that a command starts are there, within 20 s.
started()
{
	i=0
	while [ "$(processes "$1")" -ne 2 ]; do
		i=$((i + 1))
		[ $i -lt 200 ] || {
			failed "the command has not started"
			break
		}
		sleep 0.1
	done
}
"$softefa" -- sh -c 'sleep 86411 & exec sleep 86411' &
launcher=$!
started 86411
kill -TERM $launcher
status=0
wait $launcher || status=$?
[ "$status" -eq 143 ] || failed "after SIGTERM: status $status"
[ "$(processes 86411)" -eq 0 ] || failed "after SIGTERM: processes are left"

# Killed, it can do nothing; the next one does it.
"$softefa" -- sh -c 'sleep 86412 & exec sleep 86412' &
launcher=$!
started 86412
dir=$(tr '\0' '\n' <"/proc/$(pgrep -of '^sleep 86412$')/environ" | sed -n 's/^SOFTEFA_DIR=//p')
touch "/dev/shm/fe80::2ff:$(echo "$dir" | sed 's/.*-0*\([0-9a-f]*\)\(....\)$/\1/'):$(echo "$dir" |
	sed 's/.*\(....\)$/\1/; s/^0*//'):0_left_behind"
kill -KILL $launcher
wait $launcher 2>/dev/null || true
[ -d "$dir" ] || failed "there was no folder"
"$softefa" -- true
[ ! -e "$dir" ] || failed "a killed launcher's folder stays"
[ "$(processes 86412)" -eq 0 ] || failed "a killed launcher's processes stay"
[ -z "$(find /dev/shm -name '*:0_left_behind')" ] || failed "what libfabric leaves behind stays"

# Only folders of its own are removed, whatever others are called.
others="/dev/shm/softefa-dataset-$$"
mkdir "$others"
"$softefa" -- true
rmdir "$others" || failed "somebody else's folder was removed"

# Nobody reads what it says; and what it was started to ignore stays ignored.
# shellcheck disable=SC2016
"$softefa" --stats -- sh -c 'echo "$SOFTEFA_DIR" >"$0" && sleep 0.3' "$scratch/dir" 2>&1 | true
dir=$(cat "$scratch/dir")
i=0
while [ -e "$dir" ] && [ $i -lt 50 ]; do
	sleep 0.1
	i=$((i + 1))
done
[ ! -e "$dir" ] || failed "left behind where nobody reads: $dir"
# shellcheck disable=SC2016
(
	trap '' HUP
	exec "$softefa" -- sh -c ': >"$0/started" && while [ ! -e "$0/hung-up" ]; do sleep 0.1; done' \
		"$scratch"
) &
launcher=$!
while [ ! -e "$scratch/started" ] && kill -0 $launcher; do
	sleep 0.1
done
kill -HUP $launcher
sleep 0.3 # for what it does about that
: >"$scratch/hung-up"
status=0
wait $launcher || status=$?
[ "$status" -eq 0 ] || failed "SIGHUP is not ignored below nohup: status $status"
status=0
timeout -s KILL 60 env --ignore-signal=CHLD "$softefa" -- true || status=$?
[ "$status" -eq 0 ] || failed "where SIGCHLD was ignored: status $status"

# Starts in a row leave nothing.
i=0
while [ $i -lt "$starts" ]; do
	# shellcheck disable=SC2016
	dir=$("$softefa" -- sh -c 'echo "$SOFTEFA_DIR"')
	if [ -z "$dir" ] || [ -e "$dir" ]; then
		failed "start $i left $dir"
	fi
	i=$((i + 1))
done

if [ $failures -ne 0 ]; then
	echo "$failures failed"
	exit 1
fi
echo "all passed"
