#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs the default suite under another Python, in an environment of its own:
# .venv-3.12 or .venv-3.13, made where it is missing.
#
#   bash scripts/test_versions.sh 3.12
#   bash scripts/test_versions.sh 3.13 tests/train     what goes to pytest
#
# The interpreter is python3.12 (or python3.13), or $GENREC_PYTHON. Afterwards
# scripts/test.sh --full runs a few tests there as well.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
version="${1:-}"
case "$version" in
  3.12 | 3.13) shift ;;
  *)
    echo "usage: bash scripts/test_versions.sh 3.12|3.13 [for pytest ...]" >&2
    exit 2
    ;;
esac
export GENREC_PYTHON="${GENREC_PYTHON:-python$version}"
export GENREC_VENV="${here%/*}/.venv-$version"
source "$here/venv.sh"
is="import sys; sys.exit(sys.version_info[:2] != (${version/./, }))"
# Without this make_venv would take the next Python that it finds.
[ -e "$VENV" ] || "$GENREC_PYTHON" -c "$is" 2>/dev/null || die \
  "$GENREC_PYTHON is no Python $version. Install one, or set GENREC_PYTHON to" \
  "its path."
exec bash "$here/test.sh" "$@"
