# SPDX-License-Identifier: Apache-2.0
"""LIGER on its authors' host, against that host and brute force."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.backbones.encoder_decoder import EncoderDecoder
from genrec_jax.core.types import ItemData, Items
from genrec_jax.data.dataset.requests import make_requests
from genrec_jax.data.layouts.semantic_id_prefixes import TokenPrefixes
from genrec_jax.decoding.trie import Trie
from genrec_jax.layers.item_content import ContentMlp
from genrec_jax.models.liger_seq2seq import LigerSeq2Seq
from genrec_jax.models.token_seq2seq import TokenSeq2Seq
from genrec_jax.objectives import CodeCrossEntropy, FullSoftmax, WeightedSum
from genrec_jax.retrieval.beam_union import BeamUnion
from genrec_jax.retrieval.strategy import BoundModel, SearchItems
from tests.models.compiled import apply

_SIZES = (4, 5)
_V, _ITEMS, _W, _E = 14, 3, 6, 5
_RNG = np.random.default_rng(0)
_CONTENT = _RNG.normal(size=(_V + 1, _W)).astype(np.float32)
# Every item has codes of its own.
_CODES = np.zeros((_V + 1, 2), np.int32)
_CODES[1:] = np.array(np.unravel_index(_RNG.permutation(20)[:_V], _SIZES)).T
_COUNT = np.where(np.isin(np.arange(_V + 1), [0, 9, 12]), 0, 3)
_KEY = jax.random.key(0)


def _layout(users=0):
  return TokenPrefixes(_ITEMS, _SIZES, users, 3, with_items=True, codes=_CODES)


def _system(kind=LigerSeq2Seq, users=0, **options):
  backbone = EncoderDecoder(
    width=8, num_encoder_layers=1, num_decoder_layers=1, num_heads=2,
    head_width=4, ffn_width=16, num_buckets=8, max_distance=12,
  )  # fmt: skip
  return kind(
    num_items=_V,
    level_sizes=_SIZES,
    width=8,
    max_length=_layout(users).max_length,
    num_user_tokens=users,
    backbone=backbone,
    **options,
  )


def _liger(**options):
  return _system(item_encoder=ContentMlp(_W, _E, (10,)), **options)


def _record(items, user=3):
  return {"user": np.array(user, np.int32), "item": np.array(items, np.int32)}


def _batch(*histories, length=14, users=0):
  """Histories with their targets, packed into one row."""
  layout = _layout(users)
  rows = np.zeros((1, length, layout.num_columns), np.int32)
  segments = np.zeros((1, length), np.int32)
  positions = np.zeros((1, length), np.int32)
  start = 0
  for number, items in enumerate(histories):
    example = layout.example(_record(items), len(items))
    end = start + len(example)
    rows[0, start:end], segments[0, start:end] = example, number + 1
    positions[0, start:end] = np.arange(len(example))
    start = end
  return jax.tree.map(jnp.asarray, layout.batch(rows, segments, positions))


def _requests(*histories, users=0):
  records = [_record([*items, 1]) for items in histories]
  requests = make_requests([(r, len(r["item"]) - 1) for r in records])
  return jax.tree.map(jnp.asarray, _layout(users).request_batch(requests))


def _params(system, users=0):
  batch = _batch([1, 2], users=users)
  params = system.init(_KEY, batch, deterministic=True)["params"]
  data = ItemData(_CONTENT, _COUNT)
  return jax.tree.map(jnp.asarray, system.data_init(params, data, _KEY))


_BATCH = _batch([3, 4, 5], [6, 7, 3, 8], [2, 10])


def _loss(system, params, objective, batch=_BATCH):
  variables = {"params": params}
  items = Items(
    _V,
    lambda ids: system.apply(variables, ids, method="items"),
    seen=lambda: system.apply(variables, method="seen"),
  )
  outputs = system.apply(variables, batch, deterministic=True)
  return objective(outputs, batch, rng=_KEY, items=items)[0]


def _gradient(system, params, objective):
  def loss(params):
    return _loss(system, params, objective)

  return jax.jit(jax.value_and_grad(loss))(params)


_CODE = CodeCrossEntropy()
_VECTOR = FullSoftmax(0.07, "target_item_BS", seen_only=True)


def _both(codes, vector):
  return WeightedSum(
    {"codes": _CODE, "vector": _VECTOR}, {"codes": codes, "vector": vector}
  )


def test_tokens_know_their_items():
  batch = _batch([3, 4, 6, 5, 9], [2, 10], users=7)
  item = np.asarray(batch["item_BL"][0])
  # A user, three items of two tokens; a user, one item; padding.
  np.testing.assert_array_equal(item[:7], [0, 4, 4, 6, 6, 5, 5])
  np.testing.assert_array_equal(item[7:], [0, 2, 2, 0, 0, 0, 0])
  requests = _requests([3, 4], users=7)
  np.testing.assert_array_equal(requests["item_BL"][0], [0, 3, 3, 4, 4, 0, 0])


def test_items_fit_however_many_there_are():
  params = _params(_liger())
  full = _batch([1, 2, 3, 5], [4, 5, 6, 7], [7, 8, 1], length=16)
  query = apply(_liger(), {"params": params}, full, deterministic=True).query
  assert np.isfinite(query).all()


@pytest.mark.parametrize(
  ("weights", "alone", "silent"),
  [
    ((1.0, 0.0), _CODE, "vector_out"),
    ((0.0, 1.0), _VECTOR, "codes/output"),
  ],
)
def test_one_weight_of_0_is_the_other_loss_gradients_too(
  weights, alone, silent
):
  system = _liger(tied=False)
  params = _params(system)
  found, wanted = (
    _gradient(system, params, objective)
    for objective in (_both(*weights), alone)
  )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
    found,
    wanted,
  )
  node = functools.reduce(lambda n, k: n[k], silent.split("/"), found[1])
  assert not any(np.any(leaf) for leaf in jax.tree.leaves(node))


def test_without_content_it_is_its_host_gradients_too():
  system, host = _liger(), _system(TokenSeq2Seq)
  params = _params(system)
  params["vector_in"] = jax.tree.map(jnp.zeros_like, params["vector_in"])
  found, gradient = _gradient(system, params, _both(1.0, 0.0))
  own = host.init(_KEY, _BATCH, deterministic=True)["params"]
  shared = {name: params[name] for name in own}

  def loss(params):
    outputs = host.apply({"params": params}, _BATCH, deterministic=True)
    return _CODE(outputs, _BATCH, rng=_KEY, items=Items(_V, lambda i: i))[0]

  wanted, wanted_gradient = jax.jit(jax.value_and_grad(loss))(shared)
  np.testing.assert_allclose(found, wanted, rtol=1e-6)
  for name in own:
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
      gradient[name],
      wanted_gradient[name],
    )


def test_a_vector_knows_its_own_history_alone_and_no_padding():
  system = _liger()
  variables = {"params": _params(system)}

  def query(*histories, length):
    batch = _batch(*histories, length=length)
    return apply(system, variables, batch, deterministic=True).query[0]

  alone = query([6, 7, 3, 8], length=6)[0]
  np.testing.assert_allclose(
    query([6, 7, 3, 8], length=14)[0], alone, atol=1e-5
  )
  packed = query([3, 4, 5], [6, 7, 3, 8], [2, 10], length=14)[1]
  np.testing.assert_allclose(packed, alone, atol=1e-5)
  # It is read at the last token: the target is not, the item before it is.
  target = query([6, 7, 3, 1], length=6)[0]
  np.testing.assert_array_equal(target, alone)
  assert np.abs(query([6, 7, 4, 8], length=6)[0] - alone).max() > 1e-3
  np.testing.assert_allclose(np.linalg.norm(alone), 1, atol=1e-5)


def test_content_joins_every_token_of_its_item_and_no_user():
  system = _liger(users=7)
  params = _params(system, users=7)
  kernel = params["vector_in"]["kernel"]
  params["vector_in"] = {"kernel": kernel, "bias": jnp.ones(8)}
  data = params["item_content"]
  content = data["content"].at[4].add(1.0)
  other = {**params, "item_content": {**data, "content": content}}
  batch = _batch([3, 4, 5], users=7)
  a, b = (
    np.asarray(system.apply({"params": p}, batch, method=_embedded)[0, :5])
    for p in (params, other)
  )
  moved = np.abs(a - b).max(axis=1)
  assert moved[:3].max() == 0 and moved[3:].min() > 1e-4
  user = int(batch["token_BL"][0, 0]) - sum(_SIZES)
  np.testing.assert_array_equal(a[0], params["users"][user])


def test_a_batch_counts_events_and_not_the_places_of_their_codes():
  system = _liger(users=7)
  batch = _batch([3, 4, 5], [6, 7, 3, 8], length=14, users=7)
  variables = {"params": _params(system, users=7)}
  outputs = system.apply(variables, batch, deterministic=True)
  items = outputs.aux["items"]
  # 3 4 and 6 7 3 are read.
  assert int(jnp.sum(items.places > 0)) / items.per_event == 5


def _embedded(model, batch):
  vectors = model._encoded(batch, True)[0]
  return model._tokens(batch, model._added(batch, vectors))[0]


def test_an_unseen_item_has_no_gradient_at_all():
  system = _liger(with_ids=True)
  params = _params(system)

  @jax.jit
  def loss(content):
    data = {**params["item_content"], "content": content}
    return _loss(system, {**params, "item_content": data}, _both(1.0, 1.0))

  # Content has no gradient; a change of it shows what the loss reads.
  content = params["item_content"]["content"]
  assert float(loss(content.at[jnp.array([9, 12])].add(5.0))) == loss(content)
  assert float(loss(content.at[jnp.array([11])].add(5.0))) != loss(content)
  _, gradient = _gradient(system, params, _both(1.0, 1.0))
  learned = np.abs(gradient["item_content"]["embedding"]).max(axis=1)
  np.testing.assert_array_equal(learned > 0, _COUNT > 0)


def _search(system, params, batch, num_beams, with_cold):
  strategy = BeamUnion(_V, num_beams, with_cold)
  trie = Trie.build(_CODES, _SIZES)

  @jax.jit
  def found(params):
    variables = {"params": params}
    vectors = system.apply(variables, method="items")
    items = SearchItems(trie, jnp.asarray(_COUNT == 0), vectors)
    model = BoundModel(functools.partial(system.apply, variables), batch)
    return strategy(model, items, None)

  return found(params)


@pytest.mark.parametrize("with_cold", [True, False])
def test_with_all_beams_lists_are_brute_force(with_cold):
  system = _liger(users=7)
  params = _params(system, users=7)
  histories = ([3, 4, 5], [6, 7], [2])
  requests = _requests(*histories, users=7)
  ids, scores, _ = _search(system, params, requests, 2 * _V, with_cold)
  vectors = np.asarray(
    apply(system, {"params": params}, method="items"), np.float64
  )
  for row, history in enumerate(histories):
    whole = apply(
      system,
      {"params": params},
      _batch([*history, 1], length=9, users=7),
      deterministic=True,
    )
    cosines = vectors[1:] @ np.asarray(whole.query[0, 0], np.float64)
    order = np.argsort(-cosines)
    np.testing.assert_array_equal(ids[row], 1 + order)
    np.testing.assert_allclose(scores[row], cosines[order], atol=1e-5)


def test_a_request_without_codes_asks_as_training_does():
  system = _liger(users=7)
  variables = {"params": _params(system, users=7)}
  batch = _batch([3, 4, 5, 1], [6, 7, 2], [8, 1], length=20, users=7)
  trained = apply(system, variables, batch, deterministic=True).query
  requests = _requests([3, 4, 5], [6, 7], [8], users=7)
  asked = apply(system, variables, requests, method="query")
  np.testing.assert_allclose(asked, trained[0, :3], atol=1e-5)


def test_started_from_vectors_it_goes_on_as_from_content():
  system = _liger()
  variables = {"params": _params(system)}
  requests = _requests([3, 4, 5], [6, 7])
  vectors = apply(system, variables, method="items")
  a, first = apply(system, variables, requests, method="start")
  b, other = apply(system, variables, requests, vectors, method="start_from")
  np.testing.assert_allclose(first, other, atol=1e-5)
  codes = jnp.array([[1, 2], [3, 0]], jnp.int32)
  none = jnp.zeros_like(codes)
  logits = [
    apply(
      system,
      variables,
      cache,
      level=1,
      codes_BK=codes,
      parents_BK=none,
      method="step",
    )[1]
    for cache in (a, b)
  ]
  np.testing.assert_allclose(*logits, atol=1e-5)
  # And as the decoder goes on whose codes are given.
  batch = _batch([6, 7, 3], length=4)
  cache, _ = apply(system, variables, _requests([6, 7]), method="start")
  code = jnp.asarray(_CODES[3][:1])[None]
  _, step = apply(
    system,
    variables,
    cache,
    level=1,
    codes_BK=code,
    parents_BK=jnp.zeros_like(code),
    method="step",
  )
  whole = apply(system, variables, batch, deterministic=True).logits
  np.testing.assert_allclose(step[0, 0], whole[0, 0, 1], atol=1e-5)
