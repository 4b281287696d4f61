# SPDX-License-Identifier: Apache-2.0
"""Items encoded within the step on eight devices, their content by rows."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import cobra_amazon, liger_amazon
from genrec_jax.core.sharding import MeshOptions, put
from genrec_jax.core.types import ItemData
from genrec_jax.experiment.program import Program
from genrec_jax.experiment.sections import check_config
from genrec_jax.layers import item_content

_ITEMS, _ROWS, _LENGTH, _STEPS = 61, 8, 6, 3
_RNG = np.random.default_rng(0)
_CODES = _RNG.integers(0, 8, (_ITEMS + 1, 3)).astype(np.int32)
_COUNT = np.where(np.arange(_ITEMS + 1) % 9 == 8, 0, 2)
_MESHES = {
  "one": MeshOptions(),
  "dp": MeshOptions("dp"),
  "fsdp": MeshOptions("fsdp"),
  "rowwise_tables": MeshOptions("rowwise_tables", {"data": 4, "model": 2}),
}


def _batch(step):
  rng = np.random.default_rng(step)
  ids = rng.integers(1, _ITEMS + 1, (_ROWS, _LENGTH))
  segments = np.ones((_ROWS, _LENGTH), np.int64)
  segments[:, 4:] = 2
  segments[0, 5:] = ids[0, 5:] = 0
  positions = np.tile([0, 1, 2, 3, 0, 1], (_ROWS, 1)) * (segments > 0)
  arrays = {
    "item_BL": ids,
    "user_BL": segments,
    "codes_BLM": _CODES[ids],
    "segment_ids_BL": segments,
    "positions_BL": positions,
    "target_item_BS": np.where(positions > 0, ids, 0),
    "target_codes_BSM": _CODES[ids],
  }
  return {k: np.asarray(v, np.int32) for k, v in arrays.items()}


def _data(encoder):
  if encoder.content_dtype == "float32":
    content = _RNG.normal(size=(_ITEMS + 1, encoder.content_width))
    return ItemData(content.astype(np.float32), _COUNT)
  shape = (_ITEMS + 1, encoder.content_width)
  tokens = _RNG.integers(1, encoder.num_words, shape)
  tokens[:, 5:] = 0
  words = _RNG.normal(size=(encoder.num_words, encoder.word_width))
  return ItemData(tokens.astype(np.int32), _COUNT, words.astype(np.float32))


@functools.cache
def _given(module, form):
  """Parameters with data, as hosts hold them; made once for all meshes."""
  program = _program("one", module, form)
  params = jax.device_get(program.init_state().params)
  data = _data(program.system.item_encoder)
  return program.system.data_init(params, data, jax.random.key(0))


@functools.cache
def _program(mesh, module, form, rowwise=False):
  c = module.get_config(f"{form}-quicktest")
  c.system.update(width=16, row_multiple=16, num_positions=_LENGTH, dropout=0.0)
  c.system.level_sizes = (8, 8, 8)
  c.system.backbone.update(width=16, num_layers=1, num_heads=2, head_width=8)
  c.system.backbone.update(ffn_width=32, dropout=0.0)
  c.system.item_encoder.width = 16
  c.pipeline.row_length = c.pipeline.layout.max_length = _LENGTH
  c.pipeline.layout.num_levels = 3
  vector = c.objective.objectives.vector
  if "negatives" in form:
    vector.negatives.count = 24
  c.optimizer = {"name": "train.adamw", "learning_rate": 1e-3, "eps": 1e-4}
  if rowwise:
    c.optimizer = {
      "name": "train.DenseAndRowwise",
      "dense": c.optimizer.to_dict(),
      "tables": {
        "name": "train.RowwiseAdagrad",
        "learning_rate": 1e-2,
        "eps": 1e-4,
      },
    }
  devices = jax.devices()[:1] if mesh == "one" else None
  placement = _MESHES[mesh].place(devices)
  return Program.from_config(check_config(c), _ITEMS, placement)


def _trained(program, given):
  with program.in_force():
    state = program.init_state(given)
    losses, norms = [], []
    for step in range(_STEPS):
      batch = put(_batch(step), program.placement.by_rows)
      state, metrics = program.train_step(state, batch)
      losses.append(metrics["loss"])
      norms.append(metrics["grad_norm"])
    items = program.items(state.params)
  return jax.device_get((state, losses, norms, items[: _ITEMS + 1]))


@functools.cache
def _on_one_device(module, form, rowwise):
  program = _program("one", module, form, rowwise)
  return _trained(program, _given(module, form))


@pytest.mark.parametrize(
  ("mesh", "module", "form", "rowwise"),
  [
    ("rowwise_tables", cobra_amazon, "ids-negatives", True),
    *(
      pytest.param(*case, marks=pytest.mark.slow)
      for case in (
        ("rowwise_tables", cobra_amazon, "text", False),
        ("fsdp", cobra_amazon, "text-ids", False),
        ("dp", liger_amazon, "ids", False),
      )
    ),
  ],
)
def test_eight_devices_are_one_after_three_steps(
  mesh, module, form, rowwise, monkeypatch
):
  monkeypatch.setattr(item_content, "_BLOCK", 16)
  program = _program(mesh, module, form, rowwise)
  given = _given(module, form)
  state, losses, norms, items = _trained(program, given)
  wanted, *others, whole = _on_one_device(module, form, rowwise)
  close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
  jax.tree.map(close, [losses, norms], others)
  jax.tree.map(close, state.params, wanted.params)
  close(items, whole)
  # All in blocks is each by itself.
  params = {"params": jax.tree.map(jnp.asarray, wanted.params)}
  each = program.system.apply(
    params, jnp.arange(_ITEMS + 1, dtype=jnp.int32), method="items"
  )
  close(whole, each)
  np.testing.assert_array_equal(
    state.params["item_content"]["content"], given["item_content"]["content"]
  )
  if "embedding" in given["item_content"]:
    learned = np.abs(state.params["item_content"]["embedding"][: _ITEMS + 1])
    assert not learned[_COUNT == 0].any() and learned.max() > 0


def test_content_lies_by_rows_and_backbones_name_no_part_of_an_encoder():
  program = _program("rowwise_tables", cobra_amazon, "text-ids")
  parts = program.state_shardings.params
  for name in ("content", "embedding"):
    spec = parts["item_content"][name].spec
    assert spec[0] == ("data", "model"), name
  program = _program("fsdp", cobra_amazon, "ids")
  axes = program.system.logical_axes
  # Of two patterns the first counts; a T5's output is split, this one is not.
  first = next(k for k in axes if k.endswith("output/kernel"))
  whole = next(k for k in axes if k == "item_encoder/*kernel")
  assert list(axes).index(whole) < list(axes).index(first)
