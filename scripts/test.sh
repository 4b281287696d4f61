#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs the tests in an environment of their own: ruff, then pytest.
#
#   bash scripts/test.sh            the default suite
#   bash scripts/test.sh --full     the slow tests as well
#
# Anything else on the line goes to pytest, for example -k ranking.
set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
make_venv test

cd "$ROOT"
"$PYTHON" -m ruff check --quiet .
"$PYTHON" -m ruff format --check --quiet . || die \
  "the files above are not formatted: .venv/bin/ruff format FILE"
exec "$PYTHON" -m pytest -n "${GENREC_TEST_PROCESSES:-2}" "$@"
