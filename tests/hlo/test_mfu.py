# SPDX-License-Identifier: Apache-2.0
"""Peaks by hand, and FLOPs of what only a GPU or a running program shows."""

import jax
import jax.numpy as jnp
import pytest

from genrec_jax.core.types import SequenceInfo
from genrec_jax.hlo import text as hlo
from genrec_jax.hlo.chips import CHIPS
from genrec_jax.hlo.cost import program_cost
from genrec_jax.hlo.mfu import compiled_cost, mfu, peak_flops
from genrec_jax.ops.attention_flops import (
  attention_backward_flops,
  attention_flops,
  causal_pairs,
)
from genrec_jax.ops.silu_attention import silu_attention
from genrec_jax.ops.silu_attention.block_sizes import (
  DEFAULTS,
  default_block_sizes,
)


def test_half_of_the_peak_is_one_half():
  # A data sheet's figure: 989.4 TFLOP/s dense.
  assert mfu(989.4e12, 2.0, "NVIDIA H200", "bfloat16") == pytest.approx(0.5)
  # TF32 has half the rate of bfloat16 on GPUs; a TPU has one rate.
  assert mfu(989.4e12, 2.0, "NVIDIA H200", "float32") == pytest.approx(1.0)
  for dtype in ("bfloat16", "float32"):
    assert peak_flops("TPU v5 lite", dtype) == 197e12


def test_tpus_are_called_here_what_the_kernels_call_them():
  kinds = {"TPU v4", "TPU v5", "TPU v5 lite", "TPU v6 lite", "TPU v6e"}
  for kind in kinds:
    (name,) = (
      n
      for n, chip in CHIPS.items()
      if chip.flops_per_second == peak_flops(kind, "bfloat16")
    )
    assert default_block_sizes(kind) == DEFAULTS[name]


@pytest.mark.parametrize(
  "kind", ["cpu", "NVIDIA H200 MIG 1g.18gb", "TPU v9", "NVIDIA"]
)
def test_a_device_that_is_not_listed_has_no_peak(kind):
  assert peak_flops(kind, "bfloat16") is None
  assert mfu(1e12, 1.0, kind, "bfloat16") is None


def test_bad_input_names_itself():
  with pytest.raises(ValueError, match="dtype='int8'"):
    peak_flops("NVIDIA H200", "int8")
  with pytest.raises(ValueError, match="seconds=0.0"):
    mfu(1.0, 0.0, "NVIDIA H200", "bfloat16")


_CALL = """\
HloModule m

ENTRY %e (a: bf16[3,16,32], b: bf16[3,32,8]) -> bf16[3,16,8] {{
  %a = bf16[3,16,32]{{2,1,0}} parameter(0)
  %b = bf16[3,32,8]{{2,1,0}} parameter(1)
  %c = (bf16[3,16,8]{{2,1,0}}, s8[4096]{{0}}) custom-call(%a, %b), \
custom_call_target="{target}", backend_config={{"gemm_backend_config":{config}}}
  ROOT %r = bf16[3,16,8]{{2,1,0}} get-tuple-element(%c), index=0
}}
"""
_DIMENSIONS = (
  '{"alpha_real":1,"dot_dimension_numbers":{"lhs_contracting_dimensions":["2"]'
  ',"rhs_contracting_dimensions":["1"],"lhs_batch_dimensions":["0"],'
  '"rhs_batch_dimensions":["0"]}}'
)


@pytest.mark.parametrize("target", ["__cublas$gemm", "__cublas$lt$matmul"])
def test_a_product_of_a_library_counts_like_a_product(target):
  text = _CALL.format(target=target, config=_DIMENSIONS)
  cost = program_cost(hlo.parse(text))
  assert cost.flops == cost.pass_flops == 2 * 3 * 16 * 32 * 8
  assert cost.unpriced_kernels == ()


def test_a_library_that_says_no_shapes_is_named():
  text = _CALL.format(target="__cudnn$fmhaSoftmax", config="{}")
  cost = program_cost(hlo.parse(text))
  assert cost.flops == 0
  assert cost.unpriced_kernels == ("c",)


@pytest.mark.slow
@pytest.mark.parametrize("backward", [False, True])
def test_causal_attention_in_blocks_by_its_mean_of_key_blocks(backward):
  blocks, heads, key_width, value_width = 4, 2, 8, 16
  length = blocks * 512

  def attend(q, k, v):
    # Arguments, so that the compiler cannot know the bounds of the loops.
    y = silu_attention(
      *(q, k, v, info), normalizer=1.0, implementation="chunked"
    )
    return jnp.sum(y) if backward else y

  def run(q, k, v, *integers):
    nonlocal info
    info = SequenceInfo(*integers)
    return (jax.grad(attend, (0, 1, 2)) if backward else attend)(q, k, v)

  info = None
  key = jax.ShapeDtypeStruct((1, length, heads, key_width), jnp.float32)
  value = jax.ShapeDtypeStruct((1, length, heads, value_width), jnp.float32)
  integers = (jax.ShapeDtypeStruct((1, length), jnp.int32),) * 4
  compiled = jax.jit(run).lower(key, key, value, *integers).compile()
  cost = compiled_cost(compiled, unknown_trips=(blocks + 1) / 2)
  sizes = causal_pairs(length, 512), heads, key_width, value_width
  count = attention_backward_flops if backward else attention_flops
  assert cost.unknown_loops
  assert cost.flops == count(*sizes)
  # Without the mean, one key block of each block of queries.
  assert compiled_cost(compiled).flops == cost.flops / ((blocks + 1) / 2)
