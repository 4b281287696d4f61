# SPDX-License-Identifier: Apache-2.0
"""Lists written by one decoder: token by token, by beams, with experts."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genrec_jax.backbones.encoder_decoder import EncoderDecoder
from genrec_jax.backbones.lazy_decoder import LazyDecoder
from genrec_jax.core.sharding import MeshOptions
from genrec_jax.data.dataset.target_lists import Baskets
from genrec_jax.data.layouts.list_targets import ListTargets
from genrec_jax.decoding.lists import beam_lists, sample_lists
from genrec_jax.decoding.trie import Trie
from genrec_jax.layers.expert_feed_forward import ExpertFeedForward
from genrec_jax.layers.routers import TopKRouter
from genrec_jax.layers.transformer import FeedForward
from genrec_jax.models.list_seq2seq import ListSeq2Seq
from genrec_jax.models.token_seq2seq import TokenSeq2Seq
from genrec_jax.objectives.combine import WeightedSum
from genrec_jax.objectives.routing import RoutingLoss
from genrec_jax.objectives.tokens import CodeCrossEntropy
from genrec_jax.retrieval.beam_lists import ListsOf
from genrec_jax.retrieval.strategy import BoundModel
from genrec_jax.train.state import init_state
from genrec_jax.train.step import make_train_step
from tests.models.compiled import apply

_SIZES, _V, _ITEMS, _J, _D = (3, 4), 9, 4, 3, 8
_rng = np.random.default_rng(0)
_CODES = np.array(
  [[0, 0], [0, 1], [1, 1], [2, 3], [1, 0], [1, 1], [0, 0], [2, 2], [0, 3],
   [1, 2]], np.int32,
)  # fmt: skip
_LAYOUT = ListTargets(
  _ITEMS, _SIZES, max_segments=2, codes=_CODES, lists=Baskets(size=_J)
)
_TOP = TopKRouter(2, balance_rate=0.01)


def _moe(experts=4, router=_TOP, **options):
  return ExpertFeedForward(
    router, experts, 8, gated=False, activation="relu",
    implementation="blocks", **options,
  )  # fmt: skip


def _backbone(ffn=None):
  return EncoderDecoder(
    width=_D, num_encoder_layers=1, num_decoder_layers=2, num_heads=2,
    head_width=4, ffn_width=8, num_buckets=8, max_distance=12,
    ffn_of_decoder=ffn,
  )  # fmt: skip


def _system(ffn=None, size=_J):
  return ListSeq2Seq(
    num_items=_V, level_sizes=_SIZES, width=_D, max_length=8,
    backbone=_backbone(ffn), list_size=size,
  )  # fmt: skip


def _batch(lists, length=8):
  """Rows of (history, list) pairs."""
  shape = (len(lists), length)
  rows = np.zeros((*shape, _LAYOUT.num_columns), np.int32)
  segments, positions = np.zeros((2, *shape), np.int32)
  for row, pairs in enumerate(lists):
    start = 0
    for number, (history, items) in enumerate(pairs, start=1):
      record = {
        "user": np.array(row, np.int32),
        "item": np.array(history, np.int32),
        "items": np.pad(np.array(items, np.int32), (0, _J - len(items))),
      }
      example = _LAYOUT.example(record, len(history))
      end = start + len(example)
      rows[row, start:end] = example
      segments[row, start:end] = number
      positions[row, start:end] = np.arange(len(example))
      start = end
  batch = _LAYOUT.batch(rows, segments, positions)
  return jax.tree.map(jnp.asarray, batch)


_TWO = _batch([[([1, 2], [3, 4, 5]), ([7, 8], [1, 9])], [([5], [2, 6, 1])]])


@functools.cache
def _params(name):
  params = _init(_SYSTEMS[name])
  if name == "experts":
    # Routers that differ from token to token.
    params = jax.tree.map(lambda x: x * 2, params)
  return params


def _init(system):
  init = functools.partial(system.init, deterministic=True)
  return jax.jit(init)(jax.random.key(0), _TWO)


_SYSTEMS = {"dense": _system(), "experts": _system(_moe())}


def test_lists_of_one_item_are_single_targets():
  system = _system(size=1)
  params = _params("dense")
  plain = TokenSeq2Seq(
    num_items=_V, level_sizes=_SIZES, width=_D, max_length=8,
    backbone=_backbone(),
  )  # fmt: skip
  found = apply(system, params, _TWO, deterministic=True).logits
  wanted = apply(plain, params, _TWO, deterministic=True).logits
  np.testing.assert_allclose(found, wanted, atol=1e-5)
  # Lists are something else, but for their first items.
  lists = apply(_system(), params, _TWO, deterministic=True).logits
  np.testing.assert_allclose(lists[:, ::_J], wanted[:, ::_J], atol=1e-5)
  assert np.abs(lists - wanted)[0, 1].max() > 1e-3


@pytest.mark.parametrize("name", _SYSTEMS)
def test_a_code_sees_what_its_list_has_before_it_and_no_other_list(name):
  system, params = _SYSTEMS[name], _params(name)

  def logits(batch):
    return np.asarray(apply(system, params, batch, deterministic=True).logits)

  whole = logits(_TWO)
  alone = logits(_batch([[([7, 8], [1, 9])], [([5], [2, 6, 1])]]))
  # The third place of a short list is nothing that is asked for.
  np.testing.assert_allclose(whole[0, _J : _J + 2], alone[0, :2], atol=2e-5)
  for item in range(_J):
    for level in range(2):
      codes = _TWO["target_codes_BSM"]
      other = codes.at[1, item, level].set((codes[1, item, level] + 1) % 3)
      changed = logits({**_TWO, "target_codes_BSM": other})
      difference = np.abs(changed - whole).max(axis=-1)
      place = 2 * item + level
      assert not difference[1, :_J].reshape(-1)[: place + 1].any()
      assert (difference[1, :_J].reshape(-1)[place + 1 :] > 1e-6).all()
      assert not difference[0].any()


def _log_p(system, params, history, lists):
  """Sums of one teacher-forced pass (N,), one row a list."""
  batch = _batch([[(history, items)] for items in lists])
  logits = apply(system, params, batch, deterministic=True).logits[:, :_J]
  log_p = jax.nn.log_softmax(logits)
  codes = batch["target_codes_BSM"][:, :_J]
  found = np.asarray(jnp.take_along_axis(log_p, codes[..., None], -1)[..., 0])
  there = np.array([[i < len(items) for i in range(_J)] for items in lists])
  return np.where(there[..., None], found, 0).sum(axis=(1, 2))


@pytest.mark.parametrize("name", _SYSTEMS)
def test_lists_that_a_beam_or_a_draw_writes_have_the_sum_of_one_pass(name):
  """Of caches: beams change their places at every code."""
  system, params = _SYSTEMS[name], _params(name)
  trie = Trie.build(_CODES, _SIZES)
  histories = [[1, 2], [7]]
  batch = _batch([[(h, [1])] for h in histories])

  @jax.jit
  def run(params, batch):
    model = BoundModel(functools.partial(system.apply, params), batch)
    keys = jax.random.split(jax.random.key(0), 2)
    return (
      beam_lists(ListsOf(model), trie, 7, _J),
      sample_lists(ListsOf(model), trie, keys, 7, _J),
    )

  for lists in jax.device_get(run(params, batch)):
    for row, history in enumerate(histories):
      ids = lists.ids_BKJ[row].tolist()
      assert all(len(set(items)) == _J and min(items) > 0 for items in ids)
      np.testing.assert_allclose(
        lists.scores_BK[row],
        _log_p(system, params, history, ids),
        rtol=1e-4,
        atol=1e-4,
      )


@pytest.mark.slow
def test_equal_experts_are_one_feed_forward_part():
  """All experts of one matrix, all taken: gates of a softmax sum to 1."""
  plain, params = _SYSTEMS["dense"], _params("dense")
  router = TopKRouter(3)
  system = _system(_moe(3, router))
  mixed = jax.tree.map(np.asarray, _init(system))["params"]
  own = params["params"]
  for part in own:
    if part != "backbone":
      mixed[part] = own[part]
  for name, value in own["backbone"].items():
    if not name.startswith("decoder_ffn"):
      mixed["backbone"][name] = value
      continue
    experts = mixed["backbone"][name]["experts"]
    for matrix in ("in", "out"):
      kernel = np.asarray(value[matrix]["kernel"])
      experts[matrix] = np.stack([kernel] * 3)
  found = apply(system, {"params": mixed}, _TWO, deterministic=True).logits
  wanted = apply(plain, params, _TWO, deterministic=True).logits
  there = np.asarray(_TWO["target_item_BS"] > 0)
  np.testing.assert_allclose(
    np.asarray(found)[there], np.asarray(wanted)[there], atol=2e-5
  )


_LOSS = WeightedSum(
  {"codes": CodeCrossEntropy(), "routing": RoutingLoss(balance_weight=0.01)},
  {"codes": 1.0, "routing": 1.0},
)


def _step(system, placement=None):
  step = make_train_step(
    system, _LOSS, optax.sgd(0.1), jax.random.key(0), placement
  )

  def run(params, batch):
    state = init_state(params, optax.sgd(0.1))
    state, metrics = step(state, batch)
    return state.params, metrics

  return run


def test_a_step_of_training_routes_real_tokens_and_moves_each_bias():
  system, params = _SYSTEMS["experts"], _params("experts")["params"]
  outputs = apply(system, {"params": params}, _TWO, deterministic=False)
  loads = [np.asarray(one.load) for one in outputs.aux["routed"]]
  # A list of n items has 3 n tokens, but the last code of a whole list.
  tokens = 8 + 6 + 8
  assert [load.sum() for load in loads] == [2 * tokens] * 2
  assert not np.array_equal(*loads)
  after, metrics = jax.jit(_step(system))(params, _TWO)
  for layer, load in enumerate(loads):
    name = f"decoder_ffn_{layer}"
    old, new = (
      p["backbone"][name]["routing"]["balance"] for p in (params, after)
    )
    moved = 0.01 * np.sign(load.mean() - load)
    np.testing.assert_allclose(new - old, moved, atol=1e-6)
    assert moved.any()
  peak = np.mean([load.max() / load.mean() for load in loads])
  part = metrics["parts"]["routing/load_peak"]
  assert float(part.compute()) == pytest.approx(peak, rel=1e-5)


@pytest.mark.slow
def test_experts_on_eight_devices_are_those_of_one():
  system, params = _SYSTEMS["experts"], _params("experts")["params"]
  batch = jax.tree.map(lambda x: jnp.concatenate([x] * 2), _TWO)
  expected = jax.jit(_step(system))(params, batch)
  placement = MeshOptions("tp", {"data": 2, "model": 4}).place(jax.devices())
  with jax.set_mesh(placement.mesh):
    shardings = placement.shardings(params, system.logical_axes)
    experts = shardings["backbone"]["decoder_ffn_0"]["experts"]
    assert tuple(experts["in"].spec)[0] == "model"
    where = jax.device_put(params, shardings)
    rows = jax.device_put(batch, placement.by_rows)
    found = jax.jit(_step(system, placement))(where, rows)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5),
    found,
    expected,
  )


def test_a_backbone_of_fixed_targets_is_refused():
  lazy = LazyDecoder(
    width=_D, num_layers=1, num_heads=2, head_width=4,
    ffn=FeedForward(_D, 6, 0.0), target_tokens=2,
  )  # fmt: skip
  system = dataclasses.replace(_system(), backbone=lazy)
  with pytest.raises(ValueError, match="target_tokens=2, and targets have 8"):
    _init(system)
