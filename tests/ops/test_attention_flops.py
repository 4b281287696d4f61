# SPDX-License-Identifier: Apache-2.0
"""The analytic FLOPs of attention are those of the unrolled products."""

import jax
import jax.numpy as jnp
import pytest

from genrec_jax.hlo import text as hlo
from genrec_jax.hlo.cost import program_cost
from genrec_jax.ops.attention_flops import (
  attention_backward_flops,
  attention_flops,
  causal_pairs,
)

_ROWS, _LENGTH, _HEADS, _K, _A = 2, 12, 3, 5, 7


def _attention(q, k, v):
  """All pairs, every head unrolled."""
  heads = []
  for h in range(_HEADS):
    scores = q[:, :, h] @ k[:, :, h].swapaxes(1, 2)
    heads.append(jax.nn.silu(scores) @ v[:, :, h])
  return jnp.stack(heads, axis=2)


def _flops(function, *widths: int) -> float:
  shapes = [(_ROWS, _LENGTH, _HEADS, width) for width in widths]
  arguments = [jax.ShapeDtypeStruct(s, jnp.float32) for s in shapes]
  compiled = jax.jit(function).lower(*arguments).compile()
  return program_cost(hlo.parse(compiled.as_text())).flops


def test_forward_equals_the_unrolled_case():
  pairs = _ROWS * _LENGTH**2
  assert _flops(_attention, _K, _K, _A) == (
    attention_flops(pairs, _HEADS, _K, _A)
  )


def test_backward_equals_the_unrolled_case():
  def backward(q, k, v, dy):
    # From the inputs alone, as a kernel that keeps no scores has it.
    return jax.vjp(_attention, q, k, v)[1](dy)

  pairs = _ROWS * _LENGTH**2
  assert _flops(backward, _K, _K, _A, _A) == (
    attention_backward_flops(pairs, _HEADS, _K, _A)
  )


@pytest.mark.parametrize(
  ("length", "block", "pairs"),
  [(4, 1, 10), (4, 2, 12), (5, 2, 24), (512, 512, 512**2)],
)
def test_causal_blocks(length, block, pairs):
  assert causal_pairs(length, block) == pairs


def test_half_the_tokens_are_a_quarter_of_the_attention():
  """Of the pairs that are computed, and half of what goes by token."""
  events, block = 4096, 128
  pairs = [causal_pairs(n, block) for n in (events, 2 * events)]
  flops = [attention_flops(p, 4, 128, 128) for p in pairs]
  # Blocks on the diagonal are computed whole: a quarter but for 1 in 64.
  assert flops[0] / flops[1] == pytest.approx(0.25, rel=1 / 60)
  exact = [causal_pairs(n) for n in (events, 2 * events)]
  assert exact[0] / exact[1] == pytest.approx(0.25, rel=2 / events)
