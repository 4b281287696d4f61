#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# From nothing to recommendations: makes .venv, installs, simulates shoppers,
# trains HSTU on them, measures it against baselines and oracle, writes a report
# and prints ten recommendations. A second run goes on where the first stopped.
#
#   bash scripts/quickstart.sh [WORKDIR]     default: quickstart_workdir
set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
workdir="${1:-$ROOT/quickstart_workdir}"
mkdir -p "$workdir"
workdir="$(cd "$workdir" && pwd)"
config="configs/hstu_synthetic.py:${GENREC_QUICKSTART_FORM:-quickstart}"

step() {
  printf '\n[%s] %s\n' "$1" "$2"
}

make_venv ""
cd "$ROOT"
start=$SECONDS

step 1/5 "Simulated shoppers: users, items, events, and the true model"
"$PYTHON" scripts/prepare_data.py --config="$config" --workdir="$workdir"

step 2/5 "Training HSTU"
"$PYTHON" scripts/train.py --config="$config" --workdir="$workdir"

step 3/5 "Evaluation against the baselines and the oracle"
if [ "$workdir/evaluation.json" -nt "$workdir/best" ]; then
  echo "done before: $workdir/evaluation.json"
else
  "$PYTHON" scripts/evaluate.py --workdir="$workdir"
fi

step 4/5 "Ten recommendations for one user"
user="$("$PYTHON" scripts/recommend.py --workdir="$workdir" --list_users=1)"
"$PYTHON" scripts/recommend.py --workdir="$workdir" --user="$user"

step 5/5 "Report, and whether item-kNN was beaten"
"$PYTHON" scripts/report.py --workdir="$workdir" --user="$user" \
  --require_win || die "HSTU lost to a baseline: that should not happen here." \
  "Please report it with $workdir/evaluation.json."
echo "It took $((SECONDS - start)) seconds after the installation."
