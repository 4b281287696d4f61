# SPDX-License-Identifier: Apache-2.0
"""Rankers of users' tokens: tables, empty lists, neighbours by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.layers.history_pooling import SumPooling, TargetAttention
from genrec_jax.layers.interactions import Concat, DotInteraction
from genrec_jax.models.feature_ranker import FeatureRanker
from genrec_jax.train.state import num_parameters

_USERS, _ITEMS, _L, _H = 7, 5, 6, 4
_ROWS = {"item": _ITEMS, "user": _USERS}


def _ranker(arm, pooling, width=4, rows=None, **options):
  """icr, ucr or both: ids of items, of users, of both."""
  names = {"icr": ("item",), "ucr": ("user",)}.get(arm, ("item", "user"))
  columns = {n: (names.index(n),) if n in names else () for n in _ROWS}
  options = {"interactions": Concat(), "tower_widths": (8,)} | options
  return FeatureRanker(
    num_items=_ITEMS,
    num_tasks=1,
    num_actions=1,
    feature_rows=tuple((rows or _ROWS)[n] for n in names),
    history_columns=columns["item"],
    width=width,
    pooling=pooling,
    embedding_init_std=0.5,
    audience_columns=columns["user"],
    audience_pooling=pooling.clone() if columns["user"] else None,
    **options,
  )


def _batch(arm, seed=0):
  rng = np.random.default_rng(seed)
  ids = {n: rng.integers(0, r, (1, _L)) for n, r in _ROWS.items()}
  names = {"icr": ("item",), "ucr": ("user",)}.get(arm, ("item", "user"))
  # The first has empty lists.
  count = np.array([0, 1, 2, 4, 3, 1])
  there = np.arange(_H)[None, :] < count[:, None]
  ones = np.ones((1, _L), np.int32)
  found = {
    "features_BLF": np.stack([ids[n] for n in names], axis=-1),
    "segment_ids_BL": ones,
  }
  for of, who in (("history", "item"), ("audience", "user")):
    past = rng.integers(0, _ROWS[who], (1, _L, _H, 1))
    found |= {
      f"{of}_{who}_BLH": there[None],
      f"{of}_action_BLH": there[None],
      f"{of}_features_BLHG": past * there[None, :, :, None],
    }
  return {k: jnp.asarray(v, jnp.int32) for k, v in found.items()}


@functools.cache
def _compiled(arm, kind):
  pooling = SumPooling() if kind == "sum" else TargetAttention((4,))
  system = _ranker(arm, pooling)
  params = jax.jit(lambda k, b: system.init(k, b, deterministic=True))(
    jax.random.key(0), _batch(arm)
  )
  return jax.jit(lambda b: system.apply(params, b, method="score"))


@pytest.mark.parametrize("kind", ["sum", "attention"])
def test_empty_lists_are_finite_and_padding_is_not_read(kind):
  score, batch = _compiled("both", kind), _batch("both")
  logits = score(batch)
  assert np.isfinite(logits).all()
  filled = dict(batch)
  for of, who in (("history", "item"), ("audience", "user")):
    padding = batch[f"{of}_{who}_BLH"] == 0
    filled[f"{of}_features_BLHG"] = jnp.where(
      padding[..., None], 3, batch[f"{of}_features_BLHG"]
    )
    filled[f"{of}_action_BLH"] = jnp.where(padding, 1, 0)
    filled[f"{of}_action_BLH"] += batch[f"{of}_action_BLH"]
  np.testing.assert_allclose(score(filled), logits, rtol=1e-5, atol=1e-6)
  # Each list is read where there is one, and nothing of it where not.
  for of in ("history", "audience"):
    moved = (batch[f"{of}_features_BLHG"] + 1) % _ITEMS
    other = score(batch | {f"{of}_features_BLHG": moved})
    changed = np.asarray(other != logits)[0, :, 0]
    assert changed.tolist() == [False] + [True] * (_L - 1)


@pytest.mark.parametrize("kind", ["sum", "attention"])
def test_a_list_has_no_order(kind):
  score, batch = _compiled("both", kind), _batch("both")
  backward = {
    k: jnp.flip(v, axis=2) if k.startswith("audience") else v
    for k, v in batch.items()
  }
  np.testing.assert_allclose(
    score(backward), score(batch), rtol=1e-5, atol=1e-6
  )


def test_a_token_more_is_a_row_more():
  """ICR |I| D, UCR |U| D, and nothing else grows."""

  def count(arm, width, **more):
    system = _ranker(arm, SumPooling(), width, {**_ROWS, **more})
    shapes = jax.eval_shape(
      lambda: system.init(jax.random.key(0), _batch(arm), deterministic=True)
    )
    return num_parameters(shapes["params"])

  for width in (4, 8):
    for arm, mine, other in (("icr", "item", "user"), ("ucr", "user", "item")):
      own = count(arm, width)
      assert count(arm, width, **{mine: _ROWS[mine] + 10}) == own + 10 * width
      assert count(arm, width, **{other: _ROWS[other] + 10}) == own
    same = count("icr", width) - _ITEMS * width
    assert count("ucr", width) - _USERS * width == same


@pytest.mark.parametrize("arm", ["icr", "ucr"])
def test_sums_of_frozen_vectors_are_nearest_neighbours(arm):
  """Vectors of what each met with whom: UCR is user-kNN, ICR item-kNN."""
  who, count = {"icr": ("item", _ITEMS), "ucr": ("user", _USERS)}[arm]
  met = np.random.default_rng(1).integers(0, 2, (count, 8)) + 1e-3
  unit = met / np.linalg.norm(met, axis=1, keepdims=True)
  system = _ranker(
    arm, SumPooling(), 8, interactions=DotInteraction(), tower_widths=()
  )
  batch = _batch(arm)
  params = system.init(jax.random.key(0), batch, deterministic=True)["params"]
  table = params["feature_embedding"]["embedding"]
  params["feature_embedding"]["embedding"] = table.at[1 : count + 1].set(unit)
  name = "action" if arm == "icr" else "audience_action"
  params[name]["kernel"] *= 0
  # Of all that is made of the pair, the dot product alone, which comes last.
  kernel = params["head"]["kernel"]
  params["head"]["kernel"] = jnp.zeros_like(kernel).at[-1].set(1)
  logits = system.apply({"params": params}, batch, method="score")[0, :, 0]
  of = "history" if arm == "icr" else "audience"
  there = np.asarray(batch[f"{of}_{who}_BLH"][0])
  past = np.asarray(batch[f"{of}_features_BLHG"][0, :, :, 0])
  asked = np.asarray(batch["features_BLF"][0, :, 0])
  expected = [
    sum(
      unit[mine] @ unit[theirs]
      for theirs, real in zip(past[row], there[row], strict=True)
      if real
    )
    for row, mine in enumerate(asked)
  ]
  np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


def test_columns_and_pooling_of_an_audience_belong_together():
  options = {
    "num_items": 5,
    "num_tasks": 1,
    "num_actions": 1,
    "feature_rows": (4,),
    "history_columns": (),
    "width": 4,
    "pooling": SumPooling(),
    "interactions": Concat(),
  }
  for one in ({"audience_columns": (0,)}, {"audience_pooling": SumPooling()}):
    with pytest.raises(ValueError, match="belong together: name both"):
      FeatureRanker(**options, **one)
