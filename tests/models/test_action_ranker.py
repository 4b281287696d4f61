# SPDX-License-Identifier: Apache-2.0
"""Rankers of sequences: no label is seen, one pass equals one by one."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.backbones.hstu import HSTU
from genrec_jax.backbones.transformer import PreNormTransformer
from genrec_jax.core.roles import CONTEXT, EVENT
from genrec_jax.core.types import SequenceInfo
from genrec_jax.data.dataset.impressions import iter_impressions
from genrec_jax.data.layouts.actions import (
  ActionOriented,
  Fused,
  Interleaved,
)
from genrec_jax.data.layouts.request_columns import PLACE
from genrec_jax.layers.action_heads import LinearHead
from genrec_jax.layers.attention import SiluAttention, SoftmaxAttention
from genrec_jax.models.action_ranker import ActionRanker
from genrec_jax.ranking.candidates import CandidateScorer, asked_about
from tests.data.layouts.requests_by_hand import (
  FEATURES,
  FEEDBACK,
  NUM_ITEMS,
  OneUser,
  bound,
  user_record,
)
from tests.models.compiled import apply

# Of rows, whatever the layout: programs are compiled for shapes.
_LENGTH = 40
_HISTORY = {"history_loss": True, "last_requests": 1}
_LAYOUTS = {
  "interleaved": Interleaved(FEEDBACK, 8, 2, **_HISTORY),
  "action_oriented": ActionOriented(FEEDBACK, 8, 2, **_HISTORY),
  "fused": Fused(FEEDBACK, 8, 2, **_HISTORY),
  "full_mask": ActionOriented(FEEDBACK, 8, 2, causal=False),
  "context": ActionOriented(FEEDBACK, 8, 2, **_HISTORY, context=("a", "b")),
  "late": Interleaved(FEEDBACK, 8, 2, **_HISTORY, features=FEATURES),
  "late_again": ActionOriented(FEEDBACK, 8, 2, **_HISTORY, features=FEATURES),
}


def _backbone(kind="learned", **changes):
  if kind == "transformer":
    return PreNormTransformer(num_layers=2, num_heads=2, ffn_width=8)
  options = {
    "num_layers": 2,
    "num_heads": 2,
    "key_width": 4,
    "value_width": 4,
    "num_positions": 40,
    "attention": SiluAttention(normalizer=4.0),
    "position_bias": kind != "alibi",
    "time_bias": kind != "alibi",
    "alibi": kind != "learned",
  }
  return HSTU(**options | changes)


def _system(backbone=None, features=None):
  """A ranker, and parameters far from their small initial values."""
  told = {}
  if features is not None:
    told = {
      "feature_rows": features.rows,
      "history_columns": features.history_columns,
      "feature_width": 4,
    }
  system = ActionRanker(
    num_items=NUM_ITEMS,
    width=8,
    backbone=_backbone() if backbone is None else backbone,
    heads=LinearHead(num_tasks=2),
    num_actions=2,
    unknown_action=True,
    num_positions=40,
    num_requests=5,
    num_gaps=20,
    context_ids=2,
    **told,
  )
  layout = bound(_LAYOUTS["interleaved" if features is None else "late"])
  batch = _packed(layout, [layout_example(layout, 0)])
  shapes = jax.eval_shape(
    lambda b: system.init(jax.random.key(0), b, deterministic=True), batch
  )
  rng = np.random.default_rng(1)

  def draw(x):
    return jnp.asarray(0.3 * rng.normal(size=x.shape), jnp.float32)

  params = jax.tree.map(draw, shapes)
  return system, params["params"]


@pytest.fixture(scope="module")
def models():
  """By whether they read features."""
  return {False: _system(), True: _system(features=FEATURES)}


@pytest.fixture
def model(models, name):
  return models[_LAYOUTS[name].features is not None]


def layout_example(layout, index, record=None):
  """Rows of one example of the record."""
  source = layout.source(OneUser(record))
  record = source[index]
  return layout.example(record, source.split.train_end(record))


def _packed(layout, examples, length=_LENGTH):
  """Examples in one row, behind one another."""
  rows = np.concatenate(examples)
  segments = np.repeat(1 + np.arange(len(examples)), [len(e) for e in examples])
  pad = length - len(rows)
  rows = np.pad(rows, ((0, pad), (0, 0)))[None]
  segments = np.pad(segments, (0, pad))[None]
  return layout.batch(rows, segments, np.zeros_like(segments))


@functools.partial(jax.jit, static_argnums=0)
def _influence(system, params, batch, x_BLD):
  """Whether the logits of position i depend on the vector of position j."""

  def logits(x):
    def run(m):
      h = m.backbone(x, SequenceInfo.from_batch(batch), deterministic=True)
      return m._logits(h, batch, True)

    return jnp.sum(system.apply({"params": params}, method=run), axis=2)[0]

  return jnp.any(jax.jacrev(logits)(x_BLD)[:, 0] != 0, axis=-1)


@pytest.mark.slow
@pytest.mark.parametrize("name", _LAYOUTS)
def test_what_is_asked_depends_on_earlier_requests_and_itself(model, name):
  """By gradient, of every logit that has a loss to every token's vector."""
  system, params = model
  layout = bound(_LAYOUTS[name])
  last = len(layout.source(OneUser())) - 1
  rows = layout_example(layout, last)
  batch = _packed(layout, [rows])
  # Which request a token is of, where the layout does not tell it.
  twin = dataclasses.replace(ActionOriented(FEEDBACK, 8, 2), **_HISTORY)
  request = rows[:, PLACE["request"]]
  if name == "fused":
    request = layout_example(bound(twin), 0)[:, PLACE["request"]]
  x_BLD = jax.random.normal(jax.random.key(2), (1, _LENGTH, 8))
  found = np.asarray(_influence(system, params, batch, x_BLD))
  asked = np.flatnonzero(rows[:, PLACE["labelled"]])
  assert len(asked) == (1 if name == "full_mask" else 4)
  tokens = np.arange(len(rows))
  role = rows[:, PLACE["role"]]
  for i in asked:
    earlier = (role == EVENT) & (request < request[i]) | (role == CONTEXT)
    expected = tokens[earlier | (tokens == i)]
    np.testing.assert_array_equal(np.flatnonzero(found[i]), expected)


@pytest.mark.parametrize("name", _LAYOUTS)
def test_a_logit_is_the_same_whatever_came_of_its_request_and_later(
  model, name
):
  """By changing the data: nothing of a label may come by another way."""
  system, params = model
  layout = bound(_LAYOUTS[name])
  last = len(layout.source(OneUser())) - 1

  def logits(record):
    rows = layout_example(layout, last, record)
    asked = np.flatnonzero(rows[:, PLACE["labelled"]])
    batch = _packed(layout, [rows])
    found = apply(system, {"params": params}, batch, deterministic=True)
    first = {i: rows[i, PLACE["item"]] - 1 for i in asked}
    logits = np.asarray(found.logits)[0]
    return {int(e): logits[i] for i, e in first.items()}

  base = logits(user_record())
  begins = {2: 2, 3: 2, 4: 4, 5: 5}
  for event, value in base.items():
    other = user_record()
    # Another label, but a label: what has none is not asked.
    other["action"][begins[event] :] = (1, 2, 3, 1, 4, 3)[: 8 - begins[event]]
    np.testing.assert_array_equal(logits(other)[event], value)
    # The test has teeth: what came of the list is read.
    before = user_record()
    before["action"][0] = 6
    assert not np.allclose(logits(before)[event], value, atol=1e-4)


@pytest.mark.parametrize(
  "name", [name for name in _LAYOUTS if name != "full_mask"]
)
def test_packed_examples_and_candidates_equal_each_alone(model, name):
  """Training rows of several examples, rows of requests, one candidate."""
  system, params = model
  layout = bound(_LAYOUTS[name])

  def score(batch):
    return apply(system, {"params": params}, batch, method="score")

  (found,) = iter_impressions(OneUser(), "train", FEEDBACK, 9, 2)
  together = np.asarray(score(layout.impression_batch(found)))
  for row, place in zip(*np.nonzero(found.candidates), strict=True):
    one = np.zeros_like(found.candidates)
    one[row, 0] = found.candidates[row, place]
    alone = dataclasses.replace(found, candidates=one)
    single = score(layout.impression_batch(alone))[row, 0]
    np.testing.assert_allclose(together[row, place], single, atol=1e-5)
  # All that is asked in one example of the user, and two of it in one row.
  rows = layout_example(layout, 0)
  batch = _packed(layout, [rows[:3], rows])
  found_again = apply(system, {"params": params}, batch, deterministic=True)
  logits = np.asarray(found_again.logits)[0, 3 : 3 + len(rows)]
  by_item = {
    int(rows[i, PLACE["item"]]): logits[i]
    for i in np.flatnonzero(rows[:, PLACE["labelled"]])
  }
  assert by_item.keys() == set(found.candidates[found.known].tolist())
  for row, place in zip(*np.nonzero(found.candidates), strict=True):
    np.testing.assert_allclose(
      by_item[int(found.candidates[row, place])],
      together[row, place],
      atol=1e-5,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
  ("kind", "name"),
  [
    *(("learned", "late"), ("alibi", "action_oriented")),
    *(("both", "full_mask"), ("learned", "context")),
    *(("softmax", "interleaved"), ("transformer", "interleaved")),
    pytest.param("both", "fused", marks=pytest.mark.slow),
    pytest.param("alibi", "late_again", marks=pytest.mark.slow),
  ],
)
def test_a_kept_history_gives_the_scores_of_whole_rows(kind, name):
  backbone = (
    _backbone(attention=SoftmaxAttention())
    if kind == "softmax"
    else _backbone(kind)
  )
  system, params = _system(backbone, _LAYOUTS[name].features)
  assert system.caches_history == (kind != "transformer")
  layout = bound(_LAYOUTS[name])
  record = user_record()
  candidates = np.array([9, 3, 12, 9, 1], np.int32)
  request = asked_about(record, candidates, 55, NUM_ITEMS)
  batch = layout.impression_batch(request)
  whole = np.asarray(apply(system, {"params": params}, batch, method="score"))[
    0
  ]
  expected = 1 / (1 + np.exp(-whole))
  assert np.ptp(expected[:, 0]) > 0.01
  # Two micro-batches and a part of a third.
  scorer = CandidateScorer.of(system, params, layout, micro_batch=2)
  np.testing.assert_allclose(scorer.score(request), expected, atol=1e-5)
