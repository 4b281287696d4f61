# SPDX-License-Identifier: Apache-2.0
"""The pre-norm decoder against the plain Transformer, and its scalars."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.backbones.pre_norm_decoder import PreNormDecoder
from genrec_jax.backbones.transformer import PreNormTransformer
from genrec_jax.core.types import SequenceInfo
from genrec_jax.layers.attention import SoftmaxAttention
from genrec_jax.layers.rotary_positions import RotaryPositions
from genrec_jax.ops.norm import layer_norm
from tests.models.compiled import apply

_D, _LAYERS = 8, 2


def _decoder(**changes):
  fields = {
    "num_layers": _LAYERS,
    "num_heads": 2,
    "key_width": 4,
    "value_width": 4,
    "ffn_width": 12,
    "attention": SoftmaxAttention(),
  }
  return PreNormDecoder(**fields | changes)


def _inputs():
  segments = jnp.array([[1] * 4 + [2] * 5 + [0], [1] * 10])
  positions = jnp.array([[*range(4), *range(5), 0], [*range(10)]])
  times = jnp.zeros((2, 10), jnp.int32)
  x = np.random.default_rng(0).normal(size=(2, 10, _D)).astype(np.float32)
  return jnp.asarray(x), SequenceInfo(segments, positions, times, times)


def _params(module, seed=1):
  shapes = jax.eval_shape(
    lambda: module.init(jax.random.key(0), *_inputs(), deterministic=True)
  )["params"]
  rng = np.random.default_rng(seed)
  return jax.tree.map(
    lambda s: jnp.asarray(0.4 * rng.normal(size=s.shape), s.dtype), shapes
  )


def _hidden(module, params, info=None):
  x, own = _inputs()
  info = own if info is None else info
  return np.asarray(apply(module, {"params": params}, x, info,
                          deterministic=True))  # fmt: skip


def _with_scalars(params, keep, add):
  scalars = {"keep": jnp.float32(keep), "add": jnp.float32(add)}
  both = {f"{part}_residual": scalars for part in ("attention", "ffn")}
  return {name: {**layer, **both} for name, layer in params.items()}


def _of_transformer(params):
  """The same parameters by the names of PreNormTransformer."""
  found = {"final_norm": {"scale": jnp.ones(_D), "bias": jnp.zeros(_D)}}
  for i in range(_LAYERS):
    layer = params[f"layer_{i}"]
    names = ("query", "key", "value", "output")
    found[f"attention_{i}"] = {name: layer[name] for name in names}
    found[f"ffn_{i}"] = layer["ffn"]
    for part in ("attention", "ffn"):
      found[f"{part}_norm_{i}"] = layer[f"{part}_norm"]
  return found


def test_scalars_of_one_give_the_plain_decoder():
  plain, scaled = _decoder(), _decoder(residual_scalars=(1.0, 1.0))
  params = _params(plain)
  hidden = _hidden(plain, params)
  together = _with_scalars(params, 1.0, 1.0)
  np.testing.assert_array_equal(_hidden(scaled, together), hidden)
  # By a backbone that shares no code of its layers.
  other = PreNormTransformer(_LAYERS, 2, 12)
  expected = _hidden(other, _of_transformer(params))
  valid = np.asarray(_inputs()[1].valid_BL)
  found = np.asarray(layer_norm(jnp.asarray(hidden), eps=1e-6))
  np.testing.assert_allclose(found[valid], expected[valid], atol=2e-5)
  # Of sublayers that add nothing, only what is kept is left: a^(2 layers).
  kept = _hidden(scaled, _with_scalars(params, 0.5, 0.0))
  np.testing.assert_allclose(kept, 0.5**4 * np.asarray(_inputs()[0]), rtol=1e-6)
  assert (
    np.abs(_hidden(scaled, _with_scalars(params, 1, 0.5)) - hidden).max() > 0.1
  )


def test_scalars_start_as_told_and_are_learned():
  scaled = _decoder(residual_scalars=(1.0, 0.25))
  params = jax.jit(lambda: scaled.init(jax.random.key(0), *_inputs(),
                                       deterministic=True))()  # fmt: skip
  start = params["params"]["layer_1"]["ffn_residual"]
  assert start["keep"].shape == () and start["keep"] == 1
  assert start["add"] == 0.25
  with pytest.raises(ValueError, match="residual_scalars=.* must be two numb"):
    _decoder(residual_scalars=(1.0, float("nan")))


def test_rotary_places_count_by_their_differences():
  rotary = _decoder(rotary=RotaryPositions(50.0))
  params = _params(rotary)
  info = _inputs()[1]
  hidden = _hidden(rotary, params)
  moved = dataclasses.replace(info, positions_BL=info.positions_BL + 11)
  np.testing.assert_allclose(
    _hidden(rotary, params, moved), hidden, rtol=1e-4, atol=1e-4
  )
  apart = dataclasses.replace(info, positions_BL=2 * info.positions_BL)
  assert np.abs(_hidden(rotary, params, apart) - hidden).max() > 1e-2
  plain = _decoder()
  assert not rotary.uses_time
  np.testing.assert_array_equal(
    _hidden(plain, params, apart), _hidden(plain, params)
  )
