# SPDX-License-Identifier: Apache-2.0
"""FLOPs by sizes are those of compiled programs, and the table of docs."""

import pathlib
import re

import jax
import jax.numpy as jnp
import pytest

from genrec_jax.backbones.causal import CausalTransformer
from genrec_jax.backbones.encoder_decoder import EncoderDecoder
from genrec_jax.backbones.lazy_decoder import LazyDecoder
from genrec_jax.core.types import SequenceInfo
from genrec_jax.hlo.mfu import compiled_cost
from genrec_jax.layers.transformer import FeedForward
from genrec_jax.ops.decoder_flops import (
  ContextSizes,
  LayerSizes,
  causal_decoder_flops,
  encoder_decoder_flops,
  lazy_decoder_flops,
)
from studies.decoder_costs import PUBLISHED, SIZES, gflops, table

_PAGE = pathlib.Path(__file__).parents[2] / "docs" / "generative_retrieval.md"
_D, _H, _E, _F = 12, 4, 3, 20
_ROWS, _CONTEXT, _TARGETS, _TOKENS = 2, 12, 5, 3
_LAYER = LayerSizes(_D, _H, _E, _F)
_SIZES = {"width": _D, "num_heads": _H, "head_width": _E}


def _shape(*dims, dtype=jnp.float32):
  return jax.ShapeDtypeStruct(dims, dtype)


_X = _shape(_ROWS, _CONTEXT, _D)
_Y = _shape(_ROWS, _TARGETS, _TOKENS, _D)
_SEGMENT_BS = _shape(_ROWS, _TARGETS, dtype=jnp.int32)
_INFO = SequenceInfo(*[jnp.ones((_ROWS, _CONTEXT), jnp.int32)] * 4)


def _compiled(model, method, *args):
  """FLOPs of a row."""

  def forward(params, *args):
    return model.apply(params, *args, method=method)

  params = jax.eval_shape(
    lambda *a: model.init(jax.random.key(0), *a, method=method), *args
  )
  compiled = jax.jit(forward).lower(params, *args).compile()
  cost = compiled_cost(compiled)
  assert not cost.unknown_loops and not cost.unpriced_kernels
  return cost.flops / _ROWS


def _whole(model, x, y, segment_BS):
  memory = model.encode(x, _INFO, True)
  return model.decode(y, segment_BS, memory, _INFO, True)


@pytest.mark.parametrize("rich", [True, False])
def test_a_lazy_decoder_costs_what_its_program_does(rich):
  fields = {"num_layers": 4}
  sizes, own = ContextSizes(_D * _TOKENS), None
  if rich:
    own = 2
    keys = {"num_key_heads": 2, "num_sets": 3, "shared_values": False}
    fields |= {**keys, "self_key_heads": own, "event_width": 7}
    sizes = ContextSizes(_D * _TOKENS, **keys, hidden_width=7)
  model = LazyDecoder(
    **_SIZES, **fields, ffn=FeedForward(_D, _F, 0.0), target_tokens=_TOKENS
  )
  found = _compiled(model, _whole, _X, _Y, _SEGMENT_BS)
  expected = lazy_decoder_flops(
    _LAYER,
    sizes,
    num_layers=4,
    context=_CONTEXT // _TOKENS,
    targets=_TARGETS,
    tokens=_TOKENS,
    self_key_heads=own,
  )
  assert found == pytest.approx(expected, rel=0.05)


def test_an_encoder_decoder_costs_what_its_program_does():
  model = EncoderDecoder(
    **_SIZES, num_encoder_layers=2, num_decoder_layers=3, ffn_width=_F
  )
  found = _compiled(model, _whole, _X, _Y, _SEGMENT_BS)
  expected = encoder_decoder_flops(
    _LAYER,
    num_encoder_layers=2,
    num_decoder_layers=3,
    context=_CONTEXT,
    targets=_TARGETS,
    tokens=_TOKENS,
  )
  assert found == pytest.approx(expected, rel=0.05)


def test_a_causal_decoder_costs_what_its_program_does():
  model = CausalTransformer(**_SIZES, num_layers=2, ffn_width=_F)
  found = _compiled(model, lambda m, x: m(x, _INFO, deterministic=True), _X)
  expected = causal_decoder_flops(_LAYER, num_layers=2, length=_CONTEXT)
  assert found == pytest.approx(expected, rel=0.05)


def test_a_gate_is_a_third_matrix():
  gated = LayerSizes(_D, _H, _E, _F, ffn_matrices=3)
  assert gated.ffn(7) * 2 == _LAYER.ffn(7) * 3 == 3 * 2 * 2 * 7 * _D * _F


def test_the_page_says_what_the_functions_give():
  text = _PAGE.read_text(encoding="utf-8")
  for name in PUBLISHED:
    row = gflops(name)
    (line,) = re.findall(rf"^\| {re.escape(name)} \|(.*)\|$", text, re.M)
    cells = [cell.strip() for cell in line.split("|")]
    wanted = [f"{x:.2f}" if x < 10 else f"{x:.1f}" for x in row]
    assert cells[: len(row)] == wanted, name
  layer, tokens = LayerSizes(128, 4, 32, 512), 4
  lazy = lazy_decoder_flops(
    layer, ContextSizes(128 * tokens, hidden_width=256), num_layers=4,
    context=50, targets=50, tokens=tokens,
  )  # fmt: skip
  causal = causal_decoder_flops(layer, num_layers=4, length=50 * tokens)
  said = [f"{16 * x / 1e9:.1f}" for x in (lazy, causal)]
  assert re.findall(r"(\d\.\d) GFLOPs? forward|and (\d\.\d) for", text) == [
    (said[0], ""), ("", said[1])
  ]  # fmt: skip


def test_training_of_the_published_sizes_is_near_the_published_figures():
  """Gated, three times a forward pass: what the source counts is not said."""
  for name, (published, *_) in PUBLISHED.items():
    found = 3 * gflops(name, ffn_matrices=3)[0]
    assert found == pytest.approx(published, rel=0.07)


def test_the_command_prints_every_size_and_the_causal_one_is_near_published():
  lines = table().splitlines()
  assert [line.split()[0] for line in lines[2:]] == [*SIZES]
  assert "68.90" in lines[2] and lines[2].endswith("1.98, 25.6, 63.8")
  # Of the smallest size the published causal figure is a forward pass.
  assert gflops("0.1B")[2] == pytest.approx(PUBLISHED["0.1B"][2], rel=0.2)


def test_a_longer_context_costs_its_projection_and_cross_attention_alone():
  layer = LayerSizes(640, 10, 64, 2560)

  def cost(context):
    return lazy_decoder_flops(
      layer, ContextSizes(640), num_layers=12, context=context, targets=1,
      tokens=3,
    )  # fmt: skip

  more = cost(3000) - cost(512)
  assert more == (3000 - 512) * (2 * 640 * 64 + 12 * 4 * 3 * 640)
