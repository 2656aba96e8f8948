#!/bin/sh
# SPDX-License-Identifier: MIT
# What `cmake --install build --prefix DIR' puts in place is enough: the program runs from there, and
# README's first example is built against it by pkg-config and by find_package, from C and from C++.
#
#   sh tests/mpi_install.sh BUILD-FOLDER
set -eu
LC_ALL=C
export LC_ALL
exec </dev/null
# shellcheck source=tests/mpi.sh
. "$(dirname -- "$0")/mpi.sh"
root=$(cd "$apps/.." && pwd)
prefix=$scratch/prefix

# works TITLE COMMAND...: or the end of it all.
works()
{
	title=$1
	shift
	"$@" >"$scratch/log" 2>&1 || {
		echo "FAILED: $title"
		cat "$scratch/log"
		exit 1
	}
}

# moves PROGRAM: README's, run by two ranks.
moves()
{
	title=$1
	mpi -n 2 "$1"
	{ [ "$status" -eq 0 ] && grep -qx 'all bytes are here' out; } || failed "status $status"
}

# project LANGUAGE SOURCE: a folder with a CMake project of one program, built.
project()
{
	mkdir "$1"
	cat >"$1/CMakeLists.txt" <<END
cmake_minimum_required(VERSION 3.21)
project(embeds LANGUAGES $1)
find_package(kvrail 0.1 REQUIRED)
add_executable(embeds $2)
target_link_libraries(embeds PRIVATE kvrail::kvrail_mpi)
END
	works "find_package in $1" cmake -S "$1" -B "$1/build" -DCMAKE_PREFIX_PATH="$prefix"
	works "a program in $1" cmake --build "$1/build"
}

cd "$scratch"
works "cmake --install" cmake --install "$build" --prefix "$prefix"
PKG_CONFIG_PATH=$(find "$prefix" -name kvrail.pc -exec dirname {} \;)
export PKG_CONFIG_PATH
works "the installed program" env -u LD_LIBRARY_PATH "$prefix/bin/kvrail" --version
awk '/^```/ { inside = $0 == "```c" && !found++; next } inside' "$root/README.md" >example.c

# shellcheck disable=SC2046 # words
works "pkg-config" mpicc example.c -o by_pkg_config \
	$(pkg-config --cflags --libs kvrail_mpi) -Wl,-rpath,"${PKG_CONFIG_PATH%/pkgconfig}"
moves ./by_pkg_config
project C ../example.c
moves C/build/embeds

cat >embeds.cc <<'END'
#include <kvrail.h>
int main()
{
	kvr_layout layout{};
	layout.size = sizeof(layout);
	return kvr_layout_bytes(&layout) < 0 ? 0 : 1;
}
END
echo 'int main() { return 0; }' >plain.cc
if c++ plain.cc -o plain 2>/dev/null; then
	# shellcheck disable=SC2046 # words
	works "the header in C++" c++ -std=c++17 -Wall -Wextra -pedantic -Werror -fsyntax-only \
		embeds.cc $(pkg-config --cflags kvrail)
	project CXX ../embeds.cc
	works "the program in C++" env KVR_LOG=0 CXX/build/embeds
else
	echo "left out: C++, of which there is no compiler"
fi

[ "$failures" -eq 0 ] || exit 1
echo "all passed"
