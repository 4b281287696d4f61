# SPDX-License-Identifier: Apache-2.0
"""A policy beside its reference: two models of one kind, of which one stays."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from genrec_jax.backbones.causal import CausalTransformer
from genrec_jax.backbones.lazy_decoder import LazyDecoder
from genrec_jax.core import seams
from genrec_jax.layers.transformer import FeedForward
from genrec_jax.models import TokenDecoder, TokenSeq2Seq, WithReference
from genrec_jax.objectives import GBPO, LoggedPolicy
from genrec_jax.train.frozen import Frozen
from genrec_jax.train.state import init_state
from genrec_jax.train.step import make_train_step
from genrec_jax.train.tables import Tables
from tests.models.compiled import apply

_SIZES = (4, 5, 3)


def _policy():
  backbone = LazyDecoder(
    width=8, num_layers=1, num_heads=2, head_width=4,
    ffn=FeedForward(8, 8, 0.0), target_tokens=3, dropout=0.5,
  )  # fmt: skip
  return TokenSeq2Seq(
    num_items=0, level_sizes=_SIZES, width=8, max_length=12, backbone=backbone
  )


_MODEL = WithReference(num_items=9, policy=_policy())


def _batch():
  rng = np.random.default_rng(0)
  codes = np.stack([rng.integers(0, s, (2, 2)) for s in _SIZES], axis=-1)
  batch = {
    "token_BL": rng.integers(0, sum(_SIZES), (2, 6)),
    "segment_ids_BL": np.ones((2, 6)),
    "positions_BL": np.tile(np.arange(6), (2, 1)),
    "target_segment_BS": np.ones((2, 2)),
    "target_item_BS": np.array([[1, 2], [3, 4]]),
    "target_codes_BSM": codes,
    "target_refused_BS": np.array([[0, 1], [0, 1]]),
  }
  batch = {name: jnp.asarray(x, jnp.int32) for name, x in batch.items()}
  return batch | {
    "target_percentile_BS": jnp.array([[0.9, 0.1], [0.4, 0.3]], jnp.float32)
  }


def _params(batch):
  shapes = jax.eval_shape(
    lambda: _MODEL.init(jax.random.key(0), batch, deterministic=True)
  )
  rng = np.random.default_rng(1)
  return jax.tree.map(
    lambda s: jnp.asarray(0.5 * rng.normal(size=s.shape), s.dtype), shapes
  )


def test_both_are_the_model_with_their_own_parameters():
  batch = _batch()
  params = _params(batch)["params"]
  assert params.keys() == {"policy", "reference"}
  assert jax.tree.map(jnp.shape, params["policy"]) == jax.tree.map(
    jnp.shape, params["reference"]
  )
  outputs = apply(_MODEL, {"params": params}, batch, deterministic=True)
  for name, found in (
    ("policy", outputs.logits),
    ("reference", outputs.aux["reference_logits"]),
  ):
    alone = apply(_policy(), {"params": params[name]}, batch,
                  deterministic=True)  # fmt: skip
    np.testing.assert_allclose(found, alone.logits, atol=1e-6)
  assert not np.allclose(outputs.logits, outputs.aux["reference_logits"])


def test_the_policy_is_what_is_searched():
  batch = _batch()
  params = _params(batch)
  cache, first = apply(_MODEL, params, batch, method="start")
  alone = {"params": params["params"]["policy"]}
  _, expected = apply(_policy(), alone, batch, method="start")
  np.testing.assert_allclose(first, expected, atol=1e-6)
  codes = jnp.array([[0, 1], [2, 3]])
  none = jnp.zeros_like(codes)
  args = cache, 1, codes, none
  _, logits = jax.jit(
    lambda p, c: _MODEL.apply(p, c, *args[1:], method="step")
  )(params, cache)
  _, expected = jax.jit(
    lambda p, c: _policy().apply(p, c, *args[1:], method="step")
  )(alone, cache)
  np.testing.assert_allclose(logits, expected, atol=1e-6)
  for seam in (seams.DecoderModel, seams.SharedHistoryModel, seams.Model):
    seams.require(_MODEL, seam, "the model")
  assert _MODEL.shares_history
  causal = CausalTransformer(
    width=8, num_heads=2, head_width=4, num_layers=1, ffn_width=8
  )
  other = TokenDecoder(
    num_items=0, level_sizes=_SIZES, width=8, num_positions=4, backbone=causal
  )
  assert not WithReference(num_items=9, policy=other).shares_history


def test_a_step_moves_the_policy_and_leaves_the_reference():
  batch = _batch()
  params = _params(batch)["params"]
  optimizer = Frozen(optax.adamw(1e-2, weight_decay=0.1), ("reference/.*",))
  tables = Tables(_MODEL.logical_axes, None)
  state = init_state(params, optimizer, tables)
  step = make_train_step(
    _MODEL,
    LoggedPolicy(GBPO(), top_share=0.5),
    optimizer,
    jax.random.key(2),
  )
  after, metrics = jax.jit(step)(state, batch)
  assert jnp.isfinite(metrics["loss"]) and metrics["grad_norm"] > 0
  moved = jax.tree.map(lambda a, b: bool((a != b).any()), params, after.params)
  assert not any(jax.tree.leaves(moved["reference"]))
  assert any(jax.tree.leaves(moved["policy"]))
