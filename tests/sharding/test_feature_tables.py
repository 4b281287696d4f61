# SPDX-License-Identifier: Apache-2.0
"""A stacked table of features, split by rows, trains as one that is whole."""

import jax
import numpy as np
import pytest

from configs import din_kuairand
from genrec_jax.core.sharding import MeshOptions, put
from genrec_jax.experiment.program import Program
from genrec_jax.experiment.sections import check_config


def _train(mesh):
  c = din_kuairand.get_config("quicktest")
  c.system.row_multiple = 8
  # Nothing random: devices draw their own parts of a mask.
  c.system.dropout = 0.0
  program = Program.from_config(check_config(c), 100, mesh.place())
  rng = np.random.default_rng(0)
  batch = program.example_batch(8)
  for name, size in (
    ("features_BLF", 5),
    ("history_features_BLHG", 5),
    ("history_action_BLH", 8),
    ("history_item_BLH", 2),
    ("label_BL", 4),
  ):
    batch[name] = rng.integers(0, size, batch[name].shape).astype(np.int32)
  batch["labelled_BL"][:] = batch["segment_ids_BL"][:] = 1
  with program.in_force():
    state = program.init_state()
    for _ in range(2):
      state, metrics = program.train_step(
        state, put(batch, program.placement.by_rows)
      )
    scores = program.score(state.params, batch)
  table = state.params["feature_embedding"]["embedding"]
  return jax.device_get((metrics["loss"], scores, table)), table.sharding


@pytest.mark.slow
def test_tables_split_by_rows_are_tables():
  whole, _ = _train(MeshOptions("dp"))
  split, sharding = _train(
    MeshOptions("rowwise_tables", {"data": 4, "model": 2})
  )
  assert sharding.spec[0] == ("data", "model")
  for one, other in zip(whole, split, strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
