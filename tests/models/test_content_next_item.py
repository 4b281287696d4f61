# SPDX-License-Identifier: Apache-2.0
"""Items by what they are, without codes: causality, losses, learned vectors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.backbones.causal import CausalTransformer
from genrec_jax.core.types import ItemData, Items
from genrec_jax.layers.item_content import ContentMlp
from genrec_jax.models.content_next_item import ContentNextItem
from genrec_jax.objectives import (
  BatchItemSoftmax,
  FullSoftmax,
)
from genrec_jax.objectives.negatives import Drawn
from genrec_jax.train.frozen import holding_still
from genrec_jax.train.optimizers import adamw
from genrec_jax.train.rowwise import DenseAndRowwise, RowwiseAdagrad
from genrec_jax.train.state import init_state
from genrec_jax.train.step import make_train_step
from genrec_jax.train.tables import Tables
from tests.models.compiled import apply

_V, _L, _W, _D = 20, 5, 6, 8
_RNG = np.random.default_rng(0)
_CONTENT = _RNG.normal(size=(_V + 1, _W)).astype(np.float32)
# The last five have no event in training; one of them is in a history.
_COUNT = np.where(np.arange(_V + 1) > 15, 0, 3)
_UNSEEN = 18
_KEY = jax.random.key(0)


def _system(**options):
  backbone = CausalTransformer(
    width=_D, num_layers=1, num_heads=2, head_width=4, ffn_width=16,
    num_buckets=8, max_distance=12,
  )  # fmt: skip
  encoder = ContentMlp(_W, _D, hidden_widths=(10,))
  return ContentNextItem(
    num_items=_V,
    width=_D,
    num_positions=_L,
    backbone=backbone,
    item_encoder=encoder,
    **options,
  )


def _batch(item=None):
  """Two segments in a row, one in the other; the last labels are not read."""
  arrays = {
    "item_BL": [[3, 7, 3, 5, _UNSEEN], [9, 2, 0, 0, 0]],
    "label_BL": [[7, 3, 11, _UNSEEN, 4], [2, 7, 0, 0, 0]],
    "segment_ids_BL": [[1, 1, 1, 2, 2], [1, 1, 0, 0, 0]],
    "positions_BL": [[0, 1, 2, 0, 1], [0, 1, 0, 0, 0]],
    "time_BL": np.zeros((2, _L)),
    "query_time_BL": np.zeros((2, _L)),
  }
  if item is not None:
    arrays["item_BL"] = item
  return {k: jnp.asarray(v, jnp.int32) for k, v in arrays.items()}


def _params(system, learned=0.0):
  params = system.init(_KEY, _batch(), deterministic=True)["params"]
  data = ItemData(_CONTENT, _COUNT)
  params = jax.tree.map(jnp.asarray, system.data_init(params, data, _KEY))
  if learned:
    table = params["item_content"]["embedding"]
    table = learned * jax.random.normal(_KEY, table.shape)
    params["item_content"] = {**params["item_content"], "embedding": table}
  return params


def _items(system, params):
  variables = {"params": params}
  return Items(
    _V,
    lambda ids: system.apply(variables, ids, method="items"),
    seen=lambda: system.apply(variables, method="seen"),
  )


def _loss(system, params, objective, batch=None):
  batch = _batch() if batch is None else batch
  outputs = system.apply({"params": params}, batch, deterministic=True)
  items = _items(system, params)
  return objective(outputs, batch, rng=_KEY, items=items)[0]


def _gradient(system, params, objective):
  return jax.jit(jax.grad(lambda p: _loss(system, p, objective)))(params)


class _Every:
  """Draws all items."""

  def draw(self, rng, positions):
    ids = jnp.arange(1, _V + 1, dtype=jnp.int32)
    return (Drawn(ids, lambda i: jnp.full(i.shape, -np.log(_V), np.float32)),)


_OBJECTIVES = {
  "batch": BatchItemSoftmax(label="label_BL"),
  "drawn": BatchItemSoftmax(
    label="label_BL",
    negatives=_Every(),
    correct_log_q=True,
  ),
  "full": FullSoftmax(0.1, seen_only=True),
}


def test_a_query_follows_from_its_segment_up_to_its_event():
  system = _system()
  params = {"params": _params(system)}
  query = apply(system, params, _batch(), deterministic=True).query
  changed = [[3, 7, 6, 5, _UNSEEN], [9, 2, 0, 0, 0]]
  other = apply(system, params, _batch(changed), deterministic=True).query
  differs = np.abs(query - other).max(axis=2) > 1e-6
  wanted = np.zeros((2, _L), bool)
  wanted[0, 2] = True
  np.testing.assert_array_equal(differs, wanted)
  assert not np.asarray(query[1, 2:]).any()


def test_the_loss_compares_with_items_of_the_batch_outside_the_history():
  system = _system(with_ids=True)
  params = _params(system, learned=0.5)
  batch = jax.tree.map(np.asarray, _batch())
  loss = jax.jit(lambda p: _loss(system, p, _OBJECTIVES["batch"]))(params)
  variables = {"params": params}
  query = apply(system, variables, _batch(), deterministic=True).query
  table = np.asarray(apply(system, variables, method="items"))
  item, label = batch["item_BL"], batch["label_BL"]
  segments = batch["segment_ids_BL"]
  everything, wanted = {*item[item > 0], *label[label > 0]}, []
  for b, i in zip(*np.nonzero(label), strict=True):
    same = segments[b] == segments[b, i]
    own = {*item[b][same], *label[b][same]}
    at = [label[b, i], *(everything - own)]
    scores = table[at] @ np.asarray(query[b, i]) / 0.1
    wanted.append(np.log(np.exp(scores).sum()) - scores[0])
  assert len(wanted) == 7
  np.testing.assert_allclose(loss, np.mean(wanted), rtol=1e-5)


def test_log_q_counts_every_event_once():
  system = _system()
  params = _params(system)
  outputs = system.apply({"params": params}, _batch(), deterministic=True)
  # 3 and its label, 2 and its label, 2 and its label.
  assert int(jnp.sum(outputs.aux["items"].places > 0)) == 10


@pytest.mark.parametrize("name", _OBJECTIVES)
def test_an_unseen_item_has_no_learned_vector_and_no_gradient_of_one(name):
  system = _system(with_ids=True)
  params = _params(system, learned=0.5)
  learned = np.asarray(
    _gradient(system, params, _OBJECTIVES[name])["item_content"]["embedding"]
  )
  unseen = np.flatnonzero(_COUNT == 0)
  assert not learned[unseen].any()
  assert not learned[0].any()
  assert np.abs(learned[[3, 7, 9]]).min(axis=1).max() > 0
  content = _params(_system())
  content = {**content, "item_encoder": params["item_encoder"]}
  plain = apply(_system(), {"params": content}, method="items")
  both = apply(system, {"params": params}, method="items")
  np.testing.assert_allclose(plain[unseen], both[unseen], atol=1e-6)
  # Those that are seen have both: of unit length, and elsewhere.
  seen = np.flatnonzero(_COUNT[1:] > 0) + 1
  assert np.abs(plain[seen] - both[seen]).max(axis=1).min() > 1e-3
  mlp = system.item_encoder.bind({"params": params["item_encoder"]})
  wanted = mlp(jnp.asarray(_CONTENT), deterministic=True)
  wanted = np.asarray(wanted + params["item_content"]["embedding"])[seen]
  wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
  np.testing.assert_allclose(both[seen], wanted, atol=1e-5)


@pytest.mark.parametrize("rowwise", [False, True])
def test_learned_vectors_start_at_nothing_and_stay_so_where_unseen(rowwise):
  system = _system(with_ids=True)
  optimizer = adamw(learning_rate=1e-2, weight_decay=0.1)
  if rowwise:
    optimizer = DenseAndRowwise(optimizer, RowwiseAdagrad(learning_rate=1e-2))
  optimizer = holding_still(optimizer, system.constants)
  params = _params(system)
  assert not np.asarray(params["item_content"]["embedding"]).any()
  state = init_state(params, optimizer, Tables(system.logical_axes))
  step = jax.jit(make_train_step(system, _OBJECTIVES["drawn"], optimizer, _KEY))
  for _ in range(3):
    state, _ = step(state, _batch())
  learned = np.asarray(state.params["item_content"]["embedding"])
  unseen = np.flatnonzero(_COUNT == 0)
  assert not learned[unseen].any()
  assert np.abs(learned[1:16]).max(axis=1).min() > 0
  np.testing.assert_array_equal(
    state.params["item_content"]["content"], _CONTENT
  )


def test_fixed_targets_leave_gradients_by_what_is_read_alone():
  free, fixed = _system(), _system(stop_gradient_target=True)
  params = _params(free)
  both = _gradient(free, params, _OBJECTIVES["batch"])
  read = _gradient(fixed, params, _OBJECTIVES["batch"])

  def compared(encoder):
    """The loss with items as they are but where they are compared with."""
    outputs = free.apply({"params": params}, _batch(), deterministic=True)
    items = free.apply(
      {"params": {**params, "item_encoder": encoder}},
      _batch(),
      deterministic=True,
    ).aux
    outputs = type(outputs)(query=outputs.query, aux=items)
    objective = _OBJECTIVES["batch"]
    return objective(outputs, _batch(), rng=_KEY, items=_items(free, params))[0]

  rest = jax.jit(jax.grad(compared))(params["item_encoder"])
  jax.tree.map(
    lambda a, b, c: np.testing.assert_allclose(a, b + c, atol=1e-5),
    both["item_encoder"],
    read["item_encoder"],
    rest,
  )
  assert np.abs(rest["output"]["kernel"]).max() > 1e-3
