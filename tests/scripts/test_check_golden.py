# SPDX-License-Identifier: Apache-2.0
"""scripts/check_golden.py says yes to what agrees and no to what does not."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from genrec_jax.golden import compare
from tests import commands

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_GOLDEN = _ROOT / "tests" / "golden"


def _check(*paths):
  return commands.run([_ROOT / "scripts" / "check_golden.py", *paths])


@pytest.mark.slow
def test_files_that_agree_and_one_that_does_not(tmp_path):
  with np.load(_GOLDEN / "hstu_other.npz") as file:
    arrays = dict(file)
  name = "grad:_hstu._attention_layers.1._rel_attn_bias._ts_w"
  arrays[name] = arrays[name] * (1 + 3e-4)
  np.savez(tmp_path / "off.npz", **arrays)
  # As XLA compiles for a user, and not as for tests (tests/quick_xla.py).
  models = [x for x in _GOLDEN.glob("*.npz") if "attention" not in x.stem]
  good = subprocess.run(
    [sys.executable, str(_ROOT / "scripts" / "check_golden.py"), *models],
    env={**os.environ, "JAX_PLATFORMS": "cpu"},
    capture_output=True,
    text=True,
    check=False,
  )
  assert good.returncode == 0, good.stdout + good.stderr
  assert good.stdout.count("all within tolerance") == 1
  bad = _check(str(_GOLDEN / "hstu_other.npz"), str(tmp_path / "off.npz"))
  assert bad.returncode == 1
  (line,) = [x for x in bad.stdout.splitlines() if "BEYOND" in x]
  assert name in line


def test_another_file_is_a_clear_error(tmp_path):
  np.savez(tmp_path / "x.npz", a=np.zeros(2))
  done = _check(str(tmp_path / "x.npz"))
  assert done.returncode != 0
  assert "has no array 'param:_embedding_module" in done.stderr


@pytest.mark.slow
def test_a_file_without_one_of_our_gradients_names_it(tmp_path):
  with np.load(_GOLDEN / "hstu_other.npz") as file:
    arrays = dict(file)
  name = "grad:_hstu._attention_layers.1._uvqk"
  arrays["grad:strange"] = arrays.pop(name)
  np.savez(tmp_path / "x.npz", **arrays)
  with pytest.raises(ValueError, match=f"lacks: {name}. .*not know: .*strange"):
    compare(str(tmp_path / "x.npz"))
  del arrays["loss"]
  np.savez(tmp_path / "x.npz", **arrays)
  with pytest.raises(ValueError, match="x.npz has no array loss"):
    compare(str(tmp_path / "x.npz"))


@pytest.mark.slow
@pytest.mark.parametrize(
  "ends",
  [
    ("_ts_w", "_pos_w"),
    pytest.param(("_ts_w",), marks=pytest.mark.slow),
    pytest.param(("_pos_w",), marks=pytest.mark.slow),
  ],
)
def test_a_bias_that_is_not_there_is_a_bias_of_zeros(tmp_path, ends):
  with np.load(_GOLDEN / "hstu_research.npz") as file:
    arrays = dict(file)
  lacking = {k: v for k, v in arrays.items() if not k.endswith(ends)}
  for name in arrays.keys() - lacking.keys():
    arrays[name] = np.zeros_like(arrays[name])
  np.savez(tmp_path / "zeros.npz", **arrays)
  np.savez(tmp_path / "lacking.npz", **lacking)
  zeros, without = (
    {row.name: row.error for row in compare(str(tmp_path / name))}
    for name in ("zeros.npz", "lacking.npz")
  )
  assert without.keys() == {k for k in zeros if not k.endswith(ends)}
  for name, error in without.items():
    np.testing.assert_allclose(error, zeros[name], rtol=1e-3, atol=1e-6)
