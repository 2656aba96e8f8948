#!/bin/sh
# SPDX-License-Identifier: MIT
# ShellCheck has nothing to say about any script: sh tests/check_shell.sh
set -eu
cd "$(dirname -- "$0")/.."
if ! command -v shellcheck >/dev/null; then
	echo "skipped: there is no shellcheck"
	exit 77
fi
find apps tests slurm \( -name '*.sh' -o -name '*.sbatch' \) -exec shellcheck -x .ci/run {} +
