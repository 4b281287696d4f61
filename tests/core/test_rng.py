# SPDX-License-Identifier: Apache-2.0
"""Streams differ by name and step and are the same in every process."""

import subprocess
import sys

import jax
import numpy as np

from genrec_jax.core.rng import stream


def _draw(name, step):
  return float(jax.random.uniform(stream(jax.random.key(1), name, step)))


def test_streams_differ_by_name_and_step():
  draws = {_draw(n, s) for n in ("dropout", "objective") for s in range(3)}
  assert len(draws) == 6


def test_a_stream_is_the_same_in_another_process():
  code = (
    "import jax; from genrec_jax.core.rng import stream;"
    "print(jax.random.key_data(stream(jax.random.key(1), 'dropout', 2)))"
  )
  done = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=True
  )
  here = jax.random.key_data(stream(jax.random.key(1), "dropout", 2))
  assert done.stdout.strip() == str(np.asarray(here))
