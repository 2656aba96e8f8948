#!/bin/sh
# SPDX-License-Identifier: MIT
# apps/deps.sh where there is no apt-get: it finds what is there, and names what is not. This was
# built, so all but MPI is there.
set -eu
cd "$(dirname -- "$0")/.."
if ! command -v mpicc >/dev/null || ! command -v mpirun >/dev/null; then
	echo "skipped: there is no mpicc, or no mpirun"
	exit 77
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM

# only COMMAND...: a PATH with these alone.
only()
{
	rm -rf "${scratch:?}/bin"
	mkdir "$scratch/bin"
	for command; do
		ln -s "$(command -v "$command")" "$scratch/bin"
	done
}

# says LINE: deps.sh ends with status 1 and such a line.
says()
{
	if PATH=$scratch/bin sh apps/deps.sh build >"$scratch/log" 2>&1 ||
		! grep -qxF "$1" "$scratch/log"; then
		echo "FAILED: not said, with status 1: $1"
		cat "$scratch/log"
		exit 1
	fi
}

tools="sh cat dirname grep id pkg-config sed"
# shellcheck disable=SC2086 # a list
only $tools cc cmake make mpicc mpirun
if ! PATH=$scratch/bin sh apps/deps.sh build; then
	echo "FAILED: all is there, and deps.sh misses something"
	exit 1
fi
# shellcheck disable=SC2086 # a list
only $tools cc make mpicc mpirun
says "Not found: cmake"
if [ ! -x /opt/amazon/openmpi/bin/mpirun ]; then
	only sh id
	PATH=$scratch/bin sh apps/mpirun.sh -n 2 true 2>"$scratch/log" && exit 1
	grep -q 'there is no mpirun: sh apps/deps.sh build' "$scratch/log"
fi
