#!/bin/sh
# SPDX-License-Identifier: MIT
# What may know what: libfabric only the sources of the seam and the test of one of them, MPI nothing
# in libkvrail.
#
#   sh tests/check_seams.sh BUILD-FOLDER
set -eu
library=$(cd "$1" && pwd)/libkvrail.so
cd "$(dirname -- "$0")/.."
failed=0

# fail TITLE LINES: if there are any.
fail()
{
	[ -n "$2" ] || return 0
	printf '%s:\n%s\n' "$1" "$2"
	failed=1
}

# including PATTERN FOLDER...: the C files that include such a header.
including()
{
	pattern="^[[:space:]]*#[[:space:]]*include[[:space:]]*[<\"]$1"
	shift
	grep -rlE --include='*.[ch]' "$pattern" "$@" || true
}

seam='src/(fabric(_[a-z]+)?|offers)\.c|tests/test_fabric_memory\.c'
fail "include rdma/fi_*.h or rdma/fabric.h, and are not of the seam" \
	"$(including 'rdma/(fi_|fabric\.h)' include src apps tests | grep -vxE "$seam")"
fail "include MPI, and are not src/bootstrap_mpi.c" \
	"$(including '(mpi|kvrail_mpi)\.h' src | grep -vx src/bootstrap_mpi.c)"
[ -r "$library" ] || fail "no such library" "$library"
fail "MPI symbols in libkvrail.so" \
	"$(nm -D "$library" | grep -iE '[[:space:]](_?p?mpi|ompi|opal|orte|pmix)_' || true)"
fail "libraries of MPI that libkvrail.so needs" \
	"$(readelf -d "$library" | grep -E 'NEEDED.*lib(mpi|open-|pmix)' || true)"
fail "exported by libkvrail.so, and not kvr_*" \
	"$(nm -D --defined-only "$library" | grep -vE ' (kvr_[a-z_]+(@.*)?|A KVRAIL_[0-9]+)$' || true)"
exit $failed
