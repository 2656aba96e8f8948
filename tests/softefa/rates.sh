#!/bin/sh
# SPDX-License-Identifier: MIT
# How much of its rails kvrail uses, on the software EFA: a table of cases, with the rate at which
# whole calls arrived, its share of what the rails can carry together, and the share that is wanted;
# and what it costs to lose a rail.
# Every byte is compared. The rates are those that the NICs were given; none is one of EFA. Not a test,
# for it wants a quiet machine: two cores carry sixteen NICs of 1 Gb/s, and with small blocks of
# 0.25 Gb/s.
#
#   rates.sh SOFTEFA BUILD_DIR [SECONDS [WORDS]]    seconds a case (default 4); only those so named
#
# Exit status: 1 if a case failed, or a byte was wrong. What is not as wanted is marked.
# shellcheck source=tests/softefa/begin.sh
. "$(dirname -- "$0")/begin.sh"
seconds=${3:-4}
words=${4:-}
KVR_PROVIDER=efa
export KVR_PROVIDER
need_efa "$softefa" "$build"
failed=0
share=0

# case_ NAME NICS GBPS IDEAL WANTED OP BLOCKS COUNT CALLS: on the NICs, of which IDEAL carry all in
# the end; $scratch/events is what happens to them. Leaves the share.
case_()
{
	case $1 in
	*"$words"*) ;;
	*) return 0 ;;
	esac
	if "$softefa" --nics "$2" --hosts 2 --gbps "$3" --schedule "$scratch/events" -- \
		"$build/tests/rail_share" "$6" "$7" "$8" "$9" "$seconds" \
		>"$scratch/out" 2>"$scratch/err"; then
		share=$(awk -v ideal="$4" -v gbps="$3" '{ printf "%.3f", $1 / ideal / gbps }' \
			"$scratch/out")
		awk -v name="$1" -v share="$share" -v wanted="$5" '{ printf "%-48s %8.3f %7.3f %7.2f%s\n",
			name, $1, share, wanted, share < wanted ? "  below" : "" }' "$scratch/out"
	else
		failed=1
		printf '%-48s failed:\n' "$1"
		tail -n 5 "$scratch/err" | sed 's/^/    /'
	fi
}

# both NAME...: as case_, but without OP: writes and reads.
both()
{
	name=$1 nics=$2 gbps=$3 ideal=$4 wanted=$5
	shift 5
	for op in write read; do
		case_ "$name, $op" "$nics" "$gbps" "$ideal" "$wanted" "$op" "$@"
	done
}

# events LINE...: for the cases that follow.
events()
{
	printf '%s\n' "$@" >"$scratch/events"
}

kib=1024 mib=1048576
mixed=$mib,$((64 * kib))
echo "on the software EFA: shares of the rates that its NICs were given; no figure of EFA"
printf '%-48s %8s %7s %7s\n' case Gb/s share wanted

events
both "one request of 1 GiB" 16 1 16 0.97 $((1024 * mib)) 1 1
both "256 KiB" 16 1 16 0.97 $((256 * kib)) 1000 2
both "1 MiB" 16 1 16 0.97 $mib 256 2
for n in 16 12; do
	both "64 KiB, $n rails" "$n" 0.25 "$n" 0.99 $((64 * kib)) 1000 2
	both "16 KiB, $n rails" "$n" 0.25 "$n" 0.97 $((16 * kib)) 4000 2
	both "1 MiB and 64 KiB in turn, $n rails" "$n" 0.25 "$n" 0.97 "$mixed" 200 2
done

events '0 rate 0:5 0.1'
both "one rail at a tenth, at rank 0" 16 1 15.1 0.95 $((256 * kib)) 1000 2
events '0 rate 1:5 0.1'
both "one rail at a tenth, at rank 1" 16 1 15.1 0.95 $((256 * kib)) 1000 2
events '0 rate 0:0 0.5' '0 rate 0:2 0.5' '0 rate 0:4 0.5' '0 rate 0:6 0.5' \
	'0 rate 1:8 0.5' '0 rate 1:10 0.5' '0 rate 1:12 0.5' '0 rate 1:14 0.5'
both "eight rails at half, four at either rank" 16 1 12 0.95 $((256 * kib)) 1000 2

events
case_ "1,000 blocks of 64 KiB a call" 16 0.25 16 0.99 write $((64 * kib)) 1000 2
thousand=$share
case_ "100,000 blocks of 64 KiB a call" 16 0.25 16 "$thousand" write $((64 * kib)) 100000 1

# loss FAULT OP: how much longer a request takes than the rails that are left need.
loss()
{
	name="one rail in a $1, $2"
	case $name in
	*"$words"*) ;;
	*) return 0 ;;
	esac
	if "$softefa" --nics 16 --hosts 2 --gbps 0.25 -- "$build/tests/rail_loss" "$softefa" \
		"one-$1" "$2" 16 1 >"$scratch/out" 2>"$scratch/err"; then
		awk -v name="$name" '{ printf "%-48s %8.1f %7s %7d%s\n", name, $1, "", 50,
			($1 > 50) ? "  above" : "" }' "$scratch/out"
	else
		failed=1
		printf '%-48s failed:\n' "$name"
		tail -n 5 "$scratch/err" | sed 's/^/    /'
	fi
}

printf '\n%-48s %8s %7s %7s\n' "a rail that fails in the midst of a request" "ms more" "" "at most"
for fault in down blackhole; do
	for op in write read; do
		loss "$fault" "$op"
	done
done
exit $failed
