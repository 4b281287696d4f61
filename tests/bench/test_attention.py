# SPDX-License-Identifier: Apache-2.0
"""Bundles per block: what is divided by what, and splash's known figures."""

import importlib.util
import json
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from genrec_jax.bench import attention
from genrec_jax.tpu.bundles import UNITS, BundleLoop, Bundles
from genrec_jax.tpu.schedule import Schedule, ScheduledOp

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_BLOCK = 512 * 512
# The kernel is JAX's own, so its bundles are those of a release of JAX.
_SPLASH_BUNDLES = {
  "0.10": {"forward": [2047], "forward_backward": [1757, 2086, 2353]},
  "0.12": {"forward": [1844], "forward_backward": [1688, 1873, 2212]},
}


def _bundles(name, count, loops=(), opcode=""):
  use = np.ones((count, len(UNITS)), np.int64)
  ones = (1,) * len(UNITS)
  return Bundles(name, count, tuple(loops), (), ones, use, opcode=opcode)


def _schedule(grid_steps=32, inner_trips=3):
  """A kernel of 32 steps, an inner loop of 10 bundles in each; a fusion."""
  loops = [
    BundleLoop(1, 99, grid_steps, True),
    BundleLoop(5, 15, inner_trips, False),
  ]
  kernel = _bundles("attend", 100, loops, opcode="custom-call")
  fusion = _bundles("copy", 40)
  return Schedule(
    (ScheduledOp("attend", 1, kernel), ScheduledOp("copy", 6, fusion)),
    _bundles("TLP", 8),
  )


def _case():
  """2 heads of 2,048 in blocks of 512: 20 of 32 are computed."""
  return attention.Case(
    fn=abs,
    args=(),
    gradients=0,
    step_pairs=lambda name: _BLOCK,
    call_pairs=2 * attention.causal_pairs(2048, 512, 512),
    all_pairs=2 * 2048**2,
  )


def test_causal_pairs_count_whole_blocks():
  assert attention.causal_pairs(4096, 512, 512) == 36 * _BLOCK
  assert attention.causal_pairs(4096, 1024, 1024) == 10 * 1024**2
  assert attention.causal_pairs(4096, 512, 1024) == 20 * 2 * _BLOCK
  assert attention.causal_pairs(4096, 1024, 512) == 20 * 2 * _BLOCK


def test_kernels_count_by_the_step_and_fusions_by_the_call():
  figures = attention._figures(_case(), _schedule())
  kernel, fusion, top = figures["ops"]
  assert kernel["bundles_per_block"] == 100 + 2 * 10
  assert fusion["bundles_per_block"] == 6 * 40 / 20
  assert top["bundles_per_block"] == 8 / 20
  assert figures["bundles_per_block"] == 120 + 12 + 0.4
  assert figures["bundles_per_block_in_kernels"] == 120
  assert figures["undercounted"] == []


def test_a_loop_of_unknown_length_is_named():
  figures = attention._figures(_case(), _schedule(inner_trips=None))
  assert figures["undercounted"] == ["attend"]


def test_a_grid_that_is_not_the_pairs_is_refused():
  with pytest.raises(ValueError, match="attend has 31 grid steps"):
    attention._figures(_case(), _schedule(grid_steps=31))


def test_the_table_shows_every_part():
  figures = attention._figures(_case(), _schedule()) | {"temporary_bytes": 0}
  parts = {"forward": figures, "forward_backward": figures}
  facts = {"topology": "v5e:2x2", "length": 2048, "heads": 2, "width": 128}
  facts |= {"libtpu": "0", "pointwise": parts, "roles": parts, "splash": parts}
  text = attention.table(facts)
  assert text.count("attend") == 6
  assert "pointwise forward: 132.4, of these kernels 120" in text
  assert "1 smaller ones" in text


@pytest.mark.slow
@pytest.mark.optimized
@pytest.mark.skipif(
  importlib.util.find_spec("libtpu") is None, reason="needs the extra `aot`"
)
def test_splash_attention_takes_the_bundles_it_is_known_to_take():
  """With libtpu 0.0.52; another jax or libtpu: measure again, then add it."""
  code = (
    "import json; from genrec_jax.bench import attention as a; a.prepare();"
    "print(json.dumps(a.measure(a.splash(4096, 2, 128, 512), 'v5e:2x2')))"
  )
  done = subprocess.run(
    [sys.executable, "-c", code],
    cwd=_ROOT,
    capture_output=True,
    text=True,
    timeout=600,
  )
  assert done.returncode == 0, done.stderr
  result = json.loads(done.stdout.splitlines()[-1])
  kernels = {
    part: sorted(
      op["bundles_per_block"] for op in figures["ops"] if op["kernel"]
    )
    for part, figures in result.items()
  }
  release = ".".join(jax.__version__.split(".")[:2])
  assert kernels == _SPLASH_BUNDLES[release]
