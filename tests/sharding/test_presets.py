# SPDX-License-Identifier: Apache-2.0
"""Eight devices are one device, whatever the preset, and meshes can change."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from configs import hstu_movielens
from genrec_jax.core.sharding import MeshOptions, put
from genrec_jax.experiment.program import Program
from genrec_jax.experiment.sections import check_config
from genrec_jax.objectives.softmax import FullSoftmax
from genrec_jax.train.checkpoints import Checkpoints

_ITEMS, _ROWS, _LENGTH, _STEPS = 60, 8, 8, 5
_MESHES = {
  "one": MeshOptions(),
  "dp": MeshOptions("dp"),
  "fsdp": MeshOptions("fsdp"),
  "tp": MeshOptions("tp", {"data": 2, "model": 4}),
  "rowwise_tables": MeshOptions("rowwise_tables", {"data": 4, "model": 2}),
}


def _batch(step):
  rng = np.random.default_rng(step)
  ids = rng.integers(1, _ITEMS + 1, (_ROWS, _LENGTH + 1))
  segments = np.ones((_ROWS, _LENGTH), np.int64)
  segments[:, 5:] = 2
  segments[0, 6:] = ids[0, 6:] = 0
  arrays = {
    "item_BL": ids[:, :-1],
    "label_BL": ids[:, 1:] * (segments > 0),
    "time_BL": np.zeros((_ROWS, _LENGTH)),
    "query_time_BL": np.zeros((_ROWS, _LENGTH)),
    "segment_ids_BL": segments,
    "positions_BL": np.arange(_LENGTH)[None, :] % 5 * np.ones((_ROWS, 1)),
    "user_BL": segments,
  }
  return {k: np.asarray(v, np.int32) for k, v in arrays.items()}


@functools.cache
def _program(mesh, rowwise, negatives="UniformShared"):
  """On one device (mesh "one") or on all; compiled once for all tests."""
  c = hstu_movielens.get_config("quicktest-no_bias")
  c.system.update(width=16, row_multiple=8, num_positions=_LENGTH, dropout=0.1)
  c.system.backbone.update(num_layers=1, key_width=16, value_width=16)
  c.system.backbone.num_positions = _LENGTH
  c.pipeline.row_length = c.pipeline.layout.max_length = _LENGTH
  c.requests.update(batch_size=8, num_results=70)
  c.objective.negatives = {
    "name": f"objectives.{negatives}",
    "count": 24,
  }
  c.objective.correct_log_q = True
  if negatives == "HardBlock":
    block = {"name": "objectives.UniformShared", "count": 48}
    c.objective.negatives.candidates = block
    c.objective.correct_log_q = False
  c.optimizer = {
    "name": "train.adamw",
    "learning_rate": 1e-3,
    "eps": 1e-4,  # a gradient of rounding errors is no step of full length
    "clip_norm": 1.0,
  }
  if rowwise:
    c.optimizer = {
      "name": "train.DenseAndRowwise",
      "dense": c.optimizer.to_dict(),
      "tables": {
        "name": "train.RowwiseAdamW",
        "learning_rate": 1e-2,
        "eps": 1e-4,
        "warmup_steps": 2,
      },
    }
  devices = jax.devices()[:1] if mesh == "one" else None
  placement = _MESHES[mesh].place(devices)
  return Program.from_config(check_config(c), _ITEMS, placement)


def _train(program, state, steps):
  with program.in_force():
    for step in steps:
      batch = put(_batch(step), program.placement.by_rows)
      state, metrics = program.train_step(state, batch)
  return state, jax.device_get(metrics)


def _retrieved(program, params):
  with program.in_force():
    requests = put(_batch(9), program.request_sharding)
    query = program.query(params, requests)
    ids, scores = program.retrieve(query, program.items(params))
  return np.asarray(ids), np.asarray(scores)


@functools.cache
def _on_one_device(rowwise, negatives):
  program = _program("one", rowwise, negatives)
  with program.in_force():
    state = program.init_state()
  state, metrics = _train(program, state, range(_STEPS))
  return jax.device_get(state), metrics, _retrieved(program, state.params)


@pytest.mark.parametrize(
  ("preset", "rowwise", "negatives"),
  [
    ("rowwise_tables", True, "UniformShared"),
    *(
      pytest.param(*case, marks=pytest.mark.slow)
      for case in (
        *((preset, False, "UniformShared") for preset in list(_MESHES)[1:]),
        ("dp", True, "UniformShared"),
        ("rowwise_tables", True, "InBatchNegatives"),
        ("rowwise_tables", True, "UniformPerPosition"),
        ("rowwise_tables", True, "HardBlock"),
      )
    ),
  ],
)
def test_eight_devices_are_one_after_five_steps(preset, rowwise, negatives):
  program = _program(preset, rowwise, negatives)
  with program.in_force():
    state = program.init_state()
  state, metrics = _train(program, state, range(_STEPS))
  jax.tree.map(
    lambda x, s: x.sharding.is_equivalent_to(s, x.ndim) or pytest.fail(),
    state,
    program.state_shardings,
  )
  expected, expected_metrics, (ids, scores) = _on_one_device(rowwise, negatives)
  close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
  jax.tree.map(close, jax.device_get(state), expected)
  jax.tree.map(close, metrics, expected_metrics)
  # K is more than there are items: the rest must be empty, not padding rows.
  found, found_scores = _retrieved(program, state.params)
  close(found_scores, scores)
  assert set(found[0]) == set(ids[0]) == set(range(_ITEMS + 1))


@pytest.mark.parametrize(
  ("before", "after"),
  [
    ("dp", "rowwise_tables"),
    pytest.param("rowwise_tables", "tp", marks=pytest.mark.slow),
    pytest.param("tp", "fsdp", marks=pytest.mark.slow),
  ],
)
def test_a_state_moves_to_another_mesh_bitwise_and_goes_on(
  before, after, tmp_path
):
  old = _program(before, False)
  with old.in_force():
    state = old.init_state()
  state, _ = _train(old, state, range(2))
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(state, data={}, progress={}, config={})
  new = _program(after, False)
  with Checkpoints(tmp_path) as checkpoints, new.in_force():
    moved = checkpoints.restore(new.abstract_state(), new.state_shardings).state
  jax.tree.map(np.testing.assert_array_equal, moved, state)
  moved, _ = _train(new, moved, range(2, _STEPS))
  expected = _on_one_device(False, "UniformShared")[0]
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
    jax.device_get(moved),
    expected,
  )


@pytest.mark.slow
def test_no_array_of_the_step_is_as_large_as_the_table():
  """The step of the preset, with a row-wise optimizer, from the compiler."""
  program = _program("rowwise_tables", True)
  # A table that stands out among all sizes.
  large = program.system.clone(num_items=99_999)
  program = dataclasses.replace(program, system=large)
  with program.in_force():
    compiled = program.train_step.lower(
      program.abstract_state(), program.abstract_batch()
    ).compile()
  text = compiled.as_text()
  rows, share = 100_000, 12_500
  assert f"f32[{share},16]" in text
  assert f"[{rows}," not in text and f",{rows}]" not in text
  assert f"[{rows}]" not in text


def test_a_loss_over_the_whole_table_says_what_to_use():
  program = _program("rowwise_tables", False)
  program = dataclasses.replace(program, objective=FullSoftmax())
  with pytest.raises(ValueError, match="use objectives.SampledSoftmax"):
    program.train_step.lower(program.abstract_state(), program.abstract_batch())
