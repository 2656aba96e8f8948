#!/bin/sh
# SPDX-License-Identifier: MIT
# Two p5en.48xlarge, emulated: every rank's bytes leave by rails near it, and all sixteen of each
# host carry alike. Sixteen ranks take 18 GiB of memory, and other tests run beside them: where less than
# 24 are free, fewer ranks run, unless it is said how many.
#   test_affinity.sh SOFTEFA BUILD_DIR [RANKS]
# shellcheck source=tests/softefa/begin.sh
. "$(dirname -- "$0")/begin.sh"
topology=${KVR_TEST_SHARED:-$apps/../../shared}/topology/p5en.48xl.xml
if [ ! -r "$topology" ]; then
	echo "skipped: no $topology (set KVR_TEST_SHARED)"
	exit 77
fi
need_mpirun
free=$(awk '/^MemAvailable:/ { print int($2 / 1048576) }' /proc/meminfo)
ranks=${3:-16}
while [ $# -lt 3 ] && [ "$ranks" -gt 2 ] && [ $((ranks * 3 / 2)) -gt "$free" ]; do
	ranks=$((ranks / 2))
done
if [ "$ranks" -lt 4 ]; then
	echo "skipped: $free GiB of memory are free, and four ranks want 6"
	exit 77
fi

fail()
{
	echo "FAILED: $*"
	cut -c 1-400 "$scratch/out"
	cat "$scratch/err"
	exit 1
}

# Requests of one size, as many from each prefill rank to each decode rank.
i=0
while [ $i -lt 512 ]; do
	echo "{\"timestamp\": 0, \"input_length\": 48, \"output_length\": 1, \"hash_ids\": [$i]}"
	i=$((i + 1))
done >"$scratch/trace.jsonl"

# More ranks than cores are slow to answer, and not dead. At so low a rate a full window would be
# seconds; and eight ranks' windows share a NIC.
export KVR_PEER_TIMEOUT=60000 KVR_WINDOW_BYTES=65536
half=$((ranks / 2))
status=0
timeout 500 "$softefa" --topology "$topology" --hosts 2 --gbps 0.02 --stats="$scratch/stats" -- \
	sh "$apps/mpirun.sh" -n "$ranks" "$build/kvrail" replay --json --prefill $half --decode $half \
	--verify full "$scratch/trace.jsonl" >"$scratch/out" 2>"$scratch/err" || status=$?
[ $status -eq 0 ] || fail "status $status"
grep -q '"provider":"efa"' "$scratch/out" || fail "not the efa provider"
grep -Eq '"bytes":([1-9][0-9]*),"verified_bytes":\1,"mismatches":0,' "$scratch/out" ||
	fail "not every byte was compared and right"

# Of a host's ranks the first half is at node 0, whose rails are its first eight. A rail that no
# peer answers on for a second leaves its bytes to others: on a busy machine that may be a few.
tr '{' '\n' <"$scratch/out" | sed -n 's/^"rank":\([0-9]*\),.*"bytes":\([0-9]*\)[,}].*/\1 \2/p' |
	awk -v half=$half '
	{
		rail = count[$1]++
		at = $1 % half < half / 2 ? 0 : 1
		all[$1] += $2
		far[$1] += int(rail / 8) == at ? 0 : $2
	}
	END {
		for (r in all) {
			moved += all[r] > 0
			if (far[r] > all[r] / 100) {
				printf "rank %d: %d of %d bytes by far rails\n", r, far[r], all[r]
				bad = 1
			}
		}
		if (moved < half)
			print "only " moved + 0 " ranks moved anything"
		exit bad || moved < half
	}' || fail "bytes left by rails that are not near"

# What each NIC has sent or received, whichever is the host's task.
tr '{' '\n' <"$scratch/stats" |
	sed -n 's/^"host":\([01]\),.*"bytes_sent":\([0-9]*\),"bytes_received":\([0-9]*\),.*/\1 \2 \3/p' |
	awk '
	{
		bytes = $2 > $3 ? $2 : $3
		n[$1]++
		sum[$1] += bytes
		if (!($1 in least) || bytes < least[$1])
			least[$1] = bytes
		if (bytes > most[$1])
			most[$1] = bytes
	}
	END {
		for (h = 0; h < 2; h++) {
			mean = sum[h] / (n[h] ? n[h] : 1)
			printf "host %d: %d rails carry %.1f to %.1f %% of their mean\n", h, n[h],
				100 * least[h] / mean, 100 * most[h] / mean
			bad = bad || n[h] != 16 || least[h] < 0.9 * mean || most[h] > 1.1 * mean
		}
		exit bad
	}' || fail "the rails of a host do not carry alike"
echo "$ranks ranks: verified"
