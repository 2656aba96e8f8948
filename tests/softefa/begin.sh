# shellcheck shell=sh
# SPDX-License-Identifier: MIT
# For the scripts here that are called with SOFTEFA BUILD_DIR ..., which read it first. Leaves those two, the
# folder of the applications, and a scratch folder that goes with the script.
set -eu
LC_ALL=C
export LC_ALL
exec </dev/null
if [ $# -lt 2 ]; then
	echo "usage:" >&2
	sed -n 's/^#   \([^ ]*\.sh \)/  \1/p' "$0" >&2
	exit 2
fi
# shellcheck source=tests/needs.sh
. "$(dirname -- "$0")/../needs.sh"
# shellcheck disable=SC2034 # for who reads this
{
	softefa=$1
	build=$(CDPATH='' cd -- "$2" && pwd)
	apps=$(CDPATH='' cd -- "$(dirname -- "$0")/../../apps" && pwd)
}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM
