#!/bin/sh
# SPDX-License-Identifier: MIT
# kvrail info: machines that are not this one, as a tree, as JSON that is read again, and as a
# picture; memories' rails; and what it says of wrong files and arguments.
#
#   sh tests/check_info.sh BUILD-FOLDER
set -eu
kvrail=$(cd "$1" && pwd)/kvrail
fake_cuda=$(cd "$1" && pwd)/tests/fake_cuda
# Standard error in English.
LC_ALL=C KVR_PROVIDER=net KVR_RAILS=
export LC_ALL KVR_PROVIDER KVR_RAILS
unset HWLOC_XMLFILE
cd "$(dirname -- "$0")/topology"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM
failed=0

fail()
{
	echo "$*"
	failed=1
}

# same FILE ARGUMENTS...: what info says is in FILE.
same()
{
	wanted=$1
	shift
	"$kvrail" info "$@" >"$scratch/out" 2>"$scratch/err" || fail "info $*: exit status $?"
	diff -u "$wanted" "$scratch/out" || fail "info $*: not what $wanted has"
}

# says TEXT STATUS ARGUMENTS...: on standard error.
says()
{
	text=$1 status=$2
	shift 2
	got=0
	"$kvrail" info "$@" >"$scratch/out" 2>"$scratch/err" || got=$?
	[ "$got" -eq "$status" ] || fail "info $*: exit status $got, not $status"
	[ -z "$text" ] || grep -qF -- "$text" "$scratch/err" || fail "info $*: no '$text': $(cat "$scratch/err")"
}

for tree in *.txt; do
	same "$tree" --topology "${tree%.txt}.xml"
done

cat >"$scratch/gpu:1" <<'END_OF_ORDER'
clusters.xml: 4 NUMA nodes, 3 GPUs, 8 rails

    rail             when  why
1   rdmap64s1        near  same host bridge
2   rdmap20s0        far   another NUMA node
3   rdmap21s0        far   another NUMA node
4   rdmap22s0        far   another NUMA node
5   rdmap33s0        far   another NUMA node
6   rdmap33s0f1      far   another NUMA node
7   rdmap48s1        far   another NUMA node
8   rdmap0s4         far   place not known
END_OF_ORDER
same "$scratch/gpu:1" -t clusters.xml --memory gpu:1

# One of three ranks: the two nearest rails begin with the other one.
cat >"$scratch/shared" <<'END_OF_ORDER'
two-nodes.xml: 2 NUMA nodes, 0 GPUs, 3 rails

    rail             when  why
1   rdmap162s0       near  same NUMA node
2   rdmap161s28      near  same NUMA node
3   rdmap17s0        far   another NUMA node
END_OF_ORDER
same "$scratch/shared" -t two-nodes.xml --memory cpu:2 --rank 1/3

# What --json wrote is a mapping; after a change another rail is near, and one is gone.
"$kvrail" info -t two-nodes.xml --json >"$scratch/info.json"
same "$scratch/shared" -t two-nodes.xml --memory cpu:2 --rank 1/3 --mapping "$scratch/info.json"
near='{"distance":"node","rails":["rdmap17s0"]}'
far='{"distance":"other","rails":["rdmap162s0"]}'
sed "s/\"cpu:2\":.*/\"cpu:2\":[$near,$far]}}/" "$scratch/info.json" >"$scratch/changed.json"
cat >"$scratch/changed" <<'END_OF_ORDER'
two-nodes.xml: 2 NUMA nodes, 0 GPUs, 3 rails

    rail             when  why
1   rdmap17s0        near  same NUMA node
2   rdmap162s0       far   another NUMA node
END_OF_ORDER
same "$scratch/changed" -t two-nodes.xml --memory cpu:2 --mapping "$scratch/changed.json"

# What a mapping leaves out is still there.
for tree in clusters two-nodes; do
	echo '{"gpu:1":[{"distance":"node","rails":["rdmap20s0","rdmap161s28"]}]}' >"$scratch/one.json"
	same $tree.txt -t $tree.xml --mapping "$scratch/one.json"
done

echo '{"event":"memory","memory":"cpu:0","rails":[{"name":"ens5","near":true,"distance":"node"}]}' \
	>"$scratch/order.json"
same "$scratch/order.json" -t one-node.xml --memory cpu:0 --json

same clusters.txt -t clusters.xml --svg "$scratch/picture.svg"
for name in gpu:0 gpu:1 gpu:2 rdmap20s0 rdmap33s0f1 rdmap0s4; do
	grep -qF ">$name<" "$scratch/picture.svg" || fail "$name is not in the picture"
done
if command -v xmllint >/dev/null; then
	xmllint --noout "$scratch/picture.svg" || fail "the picture is no XML"
fi

# Its name is in the picture, and in JSON, so far as it is text.
odd=$scratch/$(printf 'a\001\351<\303\251')
cp one-node.xml "$odd"
says "" 0 -t "$odd" --json --svg "$scratch/odd.svg"
grep -q '"topology":null,' "$scratch/out" || fail "JSON of an odd name: $(cat "$scratch/out")"
grep -qF '>a??&lt;??: 1 NUMA node' "$scratch/odd.svg" || fail "a picture's odd name"
if command -v xmllint >/dev/null; then
	xmllint --noout "$scratch/odd.svg" || fail "a picture with an odd name is no XML"
fi

says "8 rails (first rdmap0s4): they are used last" 0 -t clusters.xml
says "written by hwloc 1" 0 -t hwloc1.xml
says "newer hwloc" 2 -t hwloc9.xml
mkfifo "$scratch/pipe"
cat one-node.xml >"$scratch/pipe" & # nothing is left of it to be read a second time
timeout 20 "$kvrail" info -t "$scratch/pipe" >"$scratch/out" || fail "info -t PIPE: exit status $?"
wait
says "truncated" 2 -t broken.xml
says "No such file or directory" 2 -t missing.xml
says "not written by hwloc" 2 -t clusters.txt
says "gpu:7 is not known here" 0 -t clusters.xml --memory gpu:7
says "it takes cpu:NODE or gpu:INDEX" 2 --memory gpu
says "it takes I/N" 2 --memory gpu:0 --rank 3/3
says "it takes I/N" 2 --memory gpu:0 --rank 1/2x
says "it takes I/N" 2 --memory gpu:0 --rank -1/2
says "it takes I/N" 2 -t two-nodes.xml --memory cpu:0 --rank 1/4294967295
says "without --memory" 2 -t two-nodes.xml --rank 1/4
says "No such file or directory" 1 -t one-node.xml --svg "$scratch/no/picture.svg"
echo '{"cpu:0": [{"distance": "close", "rails": ["ens5"]}]}' >"$scratch/wrong.json"
says "cpu:0[0].distance is none of" 2 -t one-node.xml --mapping "$scratch/wrong.json"

# Rails by name and by exclusion, and a mapping by the environment.
cat >"$scratch/excluded" <<'END_OF_ORDER'
two-nodes.xml: 2 NUMA nodes, 0 GPUs, 2 rails

    rail             when  why
1   rdmap17s0        near  same NUMA node
2   rdmap161s28      far   another NUMA node
END_OF_ORDER
for KVR_RAILS in '^rdmap162*' 'rdmap17s0,rdmap161*' ' rdmap17s0 , rdmap161* ' '^ rdmap7s0, ^rdmap162*'; do
	same "$scratch/excluded" -t two-nodes.xml --memory cpu:0
	[ ! -s "$scratch/err" ] || fail "KVR_RAILS=$KVR_RAILS: $(cat "$scratch/err")"
done
KVR_RAILS='rdmap17s0, rdmap161s2'
says 'no rail there is called rdmap161s2' 0 -t two-nodes.xml
# Of more rails than can be used, those are that were named.
awk '/OSDev/ { for (i = 101; i <= 140; i++) { line = $0; sub("ens5", "ens" i, line); print line } next } 1' \
	one-node.xml >"$scratch/many.xml"
KVR_RAILS=
says "has 40 rails, of which at most 32 can be used: choose with KVR_RAILS" 2 -t "$scratch/many.xml"
KVR_RAILS='ens13[5-9],ens140'
says "" 0 -t "$scratch/many.xml" --memory cpu:0
grep -q '^6 *ens140 ' "$scratch/out" || fail "not six rails"
KVR_RAILS=eth7
says 'KVR_RAILS "eth7" leaves none of the 3 rails' 2 -t two-nodes.xml
KVR_RAILS=
KVR_MAPPING=$scratch/changed.json
export KVR_MAPPING
same "$scratch/changed" -t two-nodes.xml --memory cpu:2
KVR_MAPPING=$scratch/wrong.json
says "KVR_MAPPING $scratch/wrong.json: cpu:0[0].distance is none of" 2 -t one-node.xml
same "$scratch/changed" -t two-nodes.xml --memory cpu:2 --mapping "$scratch/changed.json"
unset KVR_MAPPING
KVR_RAILS=lo

# This machine: what it always said, and then the tree. Its loopback is nowhere.
says "none of the 1 rails (lo)" 0
grep -q '^lo  *-  *-  *-$' "$scratch/out" || fail "no row for lo"
grep -q '^KVR_RAILS  *lo  ' "$scratch/out" || fail "no row for KVR_RAILS"
grep -q '^No known NUMA node$' "$scratch/out" || fail "no tree"
KVR_RAILS=' lo, eth 9'
says 'is called "eth 9"' 0
KVR_RAILS=lo

# gpu_memory PROVIDER GPUS TEXT: what it says of GPU memory, on a machine with so many GPUs.
gpu_memory()
{
	KVR_PROVIDER=$1 KVR_RAILS='' KVR_FAKE_GPUS=$2 LD_LIBRARY_PATH=$fake_cuda \
		"$kvrail" info >"$scratch/out" 2>"$scratch/err" || fail "info on $1: exit status $?"
	grep -qF -- "GPU memory: $3" "$scratch/out" || fail "no '$3': $(cat "$scratch/out")"
}

gpu_memory shm 2 "not taken: provider shm does not take it" # by a libfabric without CUDA
gpu_memory net 2 "not taken: provider net does not take it"
gpu_memory shm 0 "not taken: the CUDA driver shows no GPU"
fake_cuda=$scratch
ln -s "$(dirname "$kvrail")/libkvrail.so" "$scratch/libcuda.so.1"
gpu_memory net 1 "not taken: the CUDA driver is too old: it has no cuInit"
rm "$scratch/libcuda.so.1"
echo >"$scratch/libcuda.so.1"
gpu_memory net 1 "not taken: no CUDA driver: $scratch/libcuda.so.1: "
fake_cuda=$(dirname "$kvrail")/tests/fake_cuda
LD_LIBRARY_PATH=$fake_cuda KVR_PROVIDER=net "$kvrail" info --json 2>/dev/null |
	grep -q '"gpu_memory":{"taken":false,"why":"provider net ' || fail "no gpu_memory in JSON"

HWLOC_XMLFILE=broken.xml
export HWLOC_XMLFILE
says "HWLOC_XMLFILE is passed over" 0
exit $failed
