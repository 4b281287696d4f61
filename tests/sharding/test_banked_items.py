# SPDX-License-Identifier: Apache-2.0
"""A memory that eight devices write: each has what one would have."""

import functools

import jax
import numpy as np
import pytest

from configs import lemur_synthetic
from genrec_jax.core.sharding import MeshOptions, put
from genrec_jax.core.types import ItemData
from genrec_jax.experiment.program import Program
from genrec_jax.experiment.sections import check_config

_ITEMS, _STEPS = 80, 2


def _program(devices):
  c = lemur_synthetic.get_config("quicktest")
  c.pipeline.row_length = c.pipeline.layout.max_length = 6
  c.system.dropout = 0.0
  c.optimizer = {"name": "train.adamw", "learning_rate": 1e-3, "eps": 1e-4}
  return Program.from_config(
    check_config(c), _ITEMS, MeshOptions("dp").place(devices)
  )


def _given(program):
  rng = np.random.default_rng(1)
  tokens = rng.integers(1, 64, (_ITEMS + 1, 8)).astype(np.int32)
  tokens[0] = 0
  words = rng.normal(size=(64, 8)).astype(np.float32)
  data = ItemData(tokens, np.ones(_ITEMS + 1), words)
  with program.in_force():
    params = jax.device_get(program.init_state().params)
  return program.system.data_init(params, data, jax.random.key(0))


def _batch(program, step):
  rng = np.random.default_rng(step)
  batch = {k: np.zeros_like(v) for k, v in program.example_batch(8).items()}
  for name, most in (
    ("item_BL", 20),
    ("query_BL", 5),
    ("history_item_BLH", 41),
    ("label_BL", 2),
  ):
    batch[name] = rng.integers(most == 20, most, batch[name].shape)
  batch["labelled_BL"] = batch["segment_ids_BL"] = np.ones((8, 6))
  return {k: np.asarray(v, np.int32) for k, v in batch.items()}


def _trained(program, given):
  with program.in_force():
    state, losses = program.init_state(given), []
    for step in range(_STEPS):
      batch = put(_batch(program, step), program.placement.by_rows)
      state, metrics = program.train_step(state, batch)
      losses.append(metrics["loss"])
  return jax.device_get((state.params, losses))


@pytest.mark.slow
def test_eight_devices_remember_what_one_does():
  one, eight = _program(jax.devices()[:1]), _program(None)
  given = _given(one)
  found, wanted = _trained(eight, given), _trained(one, given)
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4),
    found,
    wanted,
  )
  bank = found[0]["documents"]["bank"]
  written = wanted[0]["documents"]["bank"]["written"]
  np.testing.assert_array_equal(bank["written"], written)
  assert bank["clock"] == _STEPS and np.count_nonzero(written) > 10
