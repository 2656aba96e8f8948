# shellcheck shell=sh
# SPDX-License-Identifier: MIT
# For the scripts here, which read it: what a test cannot run without. Ends it as skipped, saying so.

need_mpirun()
{
	command -v mpirun >/dev/null || [ -x /opt/amazon/openmpi/bin/mpirun ] || {
		echo "skipped: there is no mpirun"
		exit 77
	}
}

# need_efa SOFTEFA BUILD_DIR: libfabric's efa provider, on the software EFA.
need_efa()
{
	"$1" --nics 1 -- "$2/kvrail" info --json 2>/dev/null | grep -q '"provider":"efa"' || {
		echo "skipped: libfabric has no efa provider here"
		exit 77
	}
}
