#!/bin/sh
# SPDX-License-Identifier: MIT
# Installs what kvrail needs and is not there yet. The one list of packages.
#
#   sh apps/deps.sh build     to build the library and the program, and to run them
#   sh apps/deps.sh tests     that, and all that the tests use
set -eu
LC_ALL=C
export LC_ALL
exec </dev/null

what=${1:-build}
amazon=/opt/amazon # where the EFA installer puts libfabric and Open MPI; CMake prefers those

debian="gcc libc6-dev cmake make pkg-config libhwloc-dev libnuma-dev libck-dev libxxhash-dev
	libjansson-dev libibverbs-dev"
fedora="gcc glibc-devel cmake make pkgconf-pkg-config hwloc-devel numactl-devel ck-devel
	xxhash-devel jansson-devel rdma-core-devel"
modules="libfabric>=1.17 hwloc>=2.1 numa ck libxxhash jansson" # as pkg-config knows them
commands="cc cmake make mpicc mpirun"

if [ ! -d $amazon/efa ]; then
	debian="$debian libfabric-dev libfabric-bin"
	fedora="$fedora libfabric-devel"
fi
if [ ! -d $amazon/openmpi ]; then
	debian="$debian openmpi-bin libopenmpi-dev"
	fedora="$fedora openmpi-devel"
fi
case $what in
build) ;;
tests)
	debian="$debian libcmocka-dev clang libclang-rt-dev clang-format shellcheck iproute2
		procps valgrind"
	fedora="$fedora libcmocka-devel libasan libubsan libtsan clang compiler-rt
		clang-tools-extra ShellCheck iproute procps-ng valgrind
		valgrind-devel"
	modules="$modules cmocka"
	commands="$commands clang-format shellcheck ip pgrep"
	;;
*)
	echo "usage: sh apps/deps.sh [build|tests]" >&2
	exit 2
	;;
esac

# Words on one line.
line()
{
	# shellcheck disable=SC2048,SC2086 # splitting is the point
	set -- $*
	echo "$*"
}

# The packages of $debian that dpkg does not know as installed.
missing_packages()
{
	for package in $debian; do
		# shellcheck disable=SC2016 # dpkg-query's own format
		dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null |
			grep -qx installed || echo "$package"
	done
}

# What is missing, whatever the system and wherever it came from. clang and valgrind are not
# asked for: without them only their tests are skipped.
missing_parts()
{
	PATH=$PATH:$amazon/openmpi/bin
	for dir in $amazon/efa/lib64 $amazon/efa/lib; do
		PKG_CONFIG_PATH=$dir/pkgconfig:${PKG_CONFIG_PATH:-}
	done
	export PKG_CONFIG_PATH
	for command in $commands; do
		command -v "$command" >/dev/null || echo "$command"
	done
	# pkgconf takes a version only with spaces before it.
	for module in $modules; do
		pkg-config --exists "$(echo "$module" | sed 's/>=/ >= /')" 2>/dev/null || echo "$module"
	done
}

# give_up REASON: unless all parts are there by other means.
give_up()
{
	parts=$(missing_parts)
	if [ -z "$parts" ]; then
		[ "$1" = "there is no apt-get here" ] ||
			echo "apps/deps.sh: $1, but all that is needed was found elsewhere: going on" >&2
		exit 0
	fi
	cat >&2 <<END
apps/deps.sh: $1.
Not found: $(line "$parts")
Please install, then start again:
  Debian 12, Ubuntu 24.04, or newer:
    apt-get install --no-install-recommends $(line "$debian")
  Fedora, or RHEL with EPEL and CRB (then: module load mpi/openmpi-x86_64):
    dnf install $(line "$fedora")
  Amazon Linux: libfabric and Open MPI come with the EFA installer; the rest by the names of
    Fedora. What has no package there (Concurrency Kit may be one) is built from its sources,
    with PKG_CONFIG_PATH naming the folder of its .pc file.
END
	exit 1
}

# as_root COMMAND...: sudo may ask for a password on the terminal.
as_root()
{
	if [ "$(id -u)" -eq 0 ]; then
		env DEBIAN_FRONTEND=noninteractive "$@"
	else
		sudo env DEBIAN_FRONTEND=noninteractive "$@"
	fi
}

# apt_get LOGFILE ARGUMENTS...: waits for another apt, as on a machine that has just started.
apt_get()
{
	log=$1
	shift
	as_root apt-get -q -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" >>"$log" 2>&1
}

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
	give_up "there is no apt-get here"
fi
missing=$(missing_packages)
[ -n "$missing" ] || exit 0
missing=$(line "$missing")
if [ "$(id -u)" -ne 0 ]; then
	command -v sudo >/dev/null || give_up "packages are missing ($missing), and there is no sudo"
	sudo true || give_up "packages are missing ($missing), and sudo refused"
fi

echo "Installing (this can take some minutes): $missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
trap 'exit 1' HUP INT TERM
apt_get "$log" update || echo "apps/deps.sh: apt-get update failed, trying with what it knows" >&2
# shellcheck disable=SC2086 # a list
if ! apt_get "$log" install --no-install-recommends $missing; then
	cat "$log" >&2
	give_up "apt-get install failed, as shown above"
fi
missing=$(missing_packages)
[ -z "$missing" ] || give_up "apt-get did not install $(line "$missing")"
