# SPDX-License-Identifier: Apache-2.0
"""Actions and groups of events in a model: by hand, causal, packed, served."""

import dataclasses

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.core.build import build
from genrec_jax.core.seams import NO_LIMIT
from genrec_jax.data.dataset.requests import Requests, cut
from genrec_jax.data.layouts import EventGroups, NextItem
from genrec_jax.data.layouts.action_tables import ActionTables
from genrec_jax.models import ContentNextItem, NextItem as Model

_V, _D, _LENGTH = 60, 4, 8
_TABLES = ActionTables(
  mask_A=np.array([0, 1, 2, 3], np.int32),
  wanted_A=np.ones(4, bool),
  weight_A=np.ones(4, np.float32),
  names=("view", "cart", "view|cart"),
  refuses_missing=True,
)
_LAYOUT = NextItem(
  _LENGTH,
  actions=("view", "cart"),
  groups=EventGroups(3, 2),
  action_tables=_TABLES,
)


class _Through(nn.Module):
  """A backbone that hands on what it gets."""

  logical_axes = {}
  uses_time = False
  max_length = NO_LIMIT

  @nn.compact
  def __call__(self, x_BLD, info, *, deterministic):
    return x_BLD


def _hstu():
  return build(
    {
      "name": "backbones.HSTU",
      "num_layers": 2,
      "num_heads": 1,
      "key_width": _D,
      "value_width": _D,
      "num_positions": _LENGTH,
      "attention": {"name": "layers.SiluAttention", "normalizer": 8.0},
    }
  )


def _record(count, seed=0):
  rng = np.random.default_rng(seed)
  return {
    "user": np.array(0, np.int32),
    "item": rng.permutation(_V)[:count].astype(np.int32) + 1,
    "time": np.cumsum(rng.integers(1, 9999, count)).astype(np.int32),
    "action": rng.integers(1, 4, count).astype(np.int32),
  }


def _packed(records, length):
  """One row of several users, and where each is."""
  rows = [_LAYOUT.example(r, len(r["item"])) for r in records]
  packed = np.zeros((1, length, _LAYOUT.num_columns), np.int32)
  segments, positions = np.zeros((2, 1, length), np.int32)
  places, start = [], 0
  for number, part in enumerate(rows, 1):
    here = slice(start, start + len(part))
    packed[0, here], segments[0, here] = part, number
    positions[0, here] = np.arange(len(part))
    places.append(here)
    start += len(part)
  batch = _LAYOUT.batch(packed, segments, positions)
  return jax.tree.map(jnp.asarray, batch), places


def _model(backbone):
  return Model(
    _V, _D, _LENGTH, backbone, num_actions=2, groups=True, normalize=False
  )


def _params(model, batch):
  params = jax.jit(lambda: model.init(jax.random.key(0), batch,
                                      deterministic=True))()  # fmt: skip
  keys = iter(jax.random.split(jax.random.key(1), 99))
  return jax.tree.map(
    lambda x: x + 0.3 * jax.random.normal(next(keys), x.shape), params
  )


@pytest.fixture(scope="module")
def hstu():
  model = _model(_hstu())
  params = _params(model, _packed([_record(20)], _LENGTH)[0])
  apply = jax.jit(lambda p, b: model.apply(p, b, deterministic=True).query)
  query = jax.jit(lambda b: model.apply(params, b, method="query"))
  return model, params, apply, query


def test_an_input_is_the_mean_of_its_events_by_hand():
  model, record = _model(_Through()), _record(14)
  batch, _ = _packed([record], _LENGTH)
  params = _params(model, batch)
  found = model.apply(params, batch, deterministic=True).hidden[0]
  p = jax.tree.map(np.asarray, params["params"])
  action = p["action_embedding"]

  def vector(event):
    bits = _TABLES.mask_A[record["action"][event]]
    total = sum(action["bits"]["embedding"][t] for t in (0, 1) if bits >> t & 1)
    told = total @ action["up"]["kernel"] + action["up"]["bias"]
    return p["item_embedding"]["embedding"][record["item"][event]] * 2 + told

  # 13 inputs in 8 places: of three groups that they need two are kept.
  members = [[3, 4, 5], [6, 7, 8], [9], [10], [11], [12]]
  for place, events in enumerate(members):
    x = np.mean([vector(e) for e in events], axis=0)
    x = x + p["position_embedding"]["embedding"][place]
    np.testing.assert_allclose(found[place], x, atol=1e-5)
  assert not np.any(found[len(members) :])


def test_a_query_depends_on_the_events_up_to_it(hstu):
  model, params, apply, _ = hstu
  record = _record(14)
  batch, _ = _packed([record], _LENGTH)

  @jax.jit
  def gradient(place):
    def output(table):
      changed = jax.tree.map(lambda x: x, params)
      changed["params"]["item_embedding"]["embedding"] = table
      return jnp.sum(apply(changed, batch)[0, place])

    return jax.grad(output)(params["params"]["item_embedding"]["embedding"])

  for place, newest in ((0, 5), (1, 8), (2, 9), (5, 12)):
    reached = np.flatnonzero(np.any(np.asarray(gradient(place)) != 0, axis=1))
    assert sorted(reached) == sorted(record["item"][3 : newest + 1])
  label = np.asarray(batch["label_BL"])[0]
  assert label[:2].tolist() == [0, 0]
  assert label[2:6].tolist() == record["item"][10:14].tolist()


def test_packed_users_get_the_queries_of_users_alone(hstu):
  _, params, apply, _ = hstu
  records = [_record(30, 1), _record(5, 2), _record(12, 3)]
  batch, places = _packed(records, 3 * _LENGTH)
  together = apply(params, batch)[0]
  for record, here in zip(records, places, strict=True):
    alone = apply(params, _packed([record], _LENGTH)[0])[0]
    np.testing.assert_allclose(
      together[here], alone[: here.stop - here.start], atol=1e-5
    )


def test_a_request_asks_as_training_does(hstu):
  _, params, apply, query = hstu
  record = _record(26, 4)
  one = np.zeros(1, np.int32)
  for end in (2, 8, 9, 10, 14, 15, 26):
    batch, (here,) = _packed([cut(record, end)], _LENGTH)
    trained = apply(params, batch)[0, here.stop - 1]
    asked = Requests(
      one, one, [cut(record, end - 1)], record["time"][end - 1 : end], one
    )
    served = query(jax.tree.map(jnp.asarray, _LAYOUT.request_batch(asked)))
    np.testing.assert_allclose(served[0], trained, atol=1e-6)


def test_what_nobody_gives_is_an_error(hstu):
  model, params, *_ = hstu
  batch, _ = _packed([_record(20)], _LENGTH)
  for name, said in (
    ("action_BL", "num_actions reads action_BL.*layout.actions"),
    ("group_slot_BL", "groups reads group_slot_BL.*layout.groups"),
  ):
    less = {k: v for k, v in batch.items() if k != name}
    with pytest.raises(ValueError, match=said):
      model.apply(params, less, deterministic=True)


def test_layout_and_model_agree(hstu):
  model, *_ = hstu
  _LAYOUT.check_system(model)
  plain = NextItem(_LENGTH)
  for layout, system, said in (
    (plain, model, "num_actions=2, and .* makes it 0"),
    (_LAYOUT, dataclasses.replace(model, num_actions=3), "makes it 2"),
    (_LAYOUT, dataclasses.replace(model, groups=False), "makes it True"),
    (_LAYOUT, ContentNextItem, "has num_actions=0, and .* makes it 2"),
  ):
    with pytest.raises(ValueError, match=said):
      layout.check_system(system)
