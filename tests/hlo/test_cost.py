# SPDX-License-Identifier: Apache-2.0
"""The cost of a compiled program: loops are multiplied, products are exact.

Programs are compiled for the 8 virtual CPU devices; what only the TPU compiler
writes is read from lines of its output. tests/train/test_compile.py repeats the
scan against the unrolled loop with the TPU compiler itself.
"""

import functools

import jax
from jax import lax
import jax.numpy as jnp
from jax.sharding import AxisType, PartitionSpec as P
import pytest

from genrec_jax.hlo import text as hlo
from genrec_jax.hlo.collectives import collective_traffic
from genrec_jax.hlo.cost import Traffic, program_cost
from genrec_jax.hlo.flops import convolution_flops, dot_flops, passes


def cost_of(function, *shapes):
  arguments = [jax.ShapeDtypeStruct(s, jnp.float32) for s in shapes]
  compiled = jax.jit(function).lower(*arguments).compile()
  return program_cost(hlo.parse(compiled.as_text()))


def _mesh():
  return jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))


def _layers(x_BD, w_LDD, unroll: bool):
  """Layers with a gather of the weights in each, as FSDP has it."""

  def layer(x_BD, w_dD):
    w_DD = lax.all_gather(w_dD, "data", tiled=True)
    return jnp.tanh(x_BD @ w_DD), None

  if not unroll:
    return lax.scan(layer, x_BD, w_LDD)[0]
  for i in range(w_LDD.shape[0]):
    x_BD, _ = layer(x_BD, w_LDD[i])
  return x_BD


@pytest.mark.parametrize("gradient", [False, True])
def test_scanned_costs_what_unrolled_costs(gradient):
  def run(unroll, x_BD, w_LDD):
    mapped = jax.shard_map(
      functools.partial(_layers, unroll=unroll),
      mesh=_mesh(),
      in_specs=(P("data"), P(None, "data")),
      out_specs=P("data"),
    )
    if not gradient:
      return mapped(x_BD, w_LDD)
    return jax.grad(lambda x, w: jnp.sum(mapped(x, w) ** 2), (0, 1))(
      x_BD, w_LDD
    )

  shapes = (64, 32), (10, 32, 32)
  scanned = cost_of(functools.partial(run, False), *shapes)
  unrolled = cost_of(functools.partial(run, True), *shapes)
  products = 30 if gradient else 10
  assert scanned.flops == unrolled.flops == products * 2 * 8 * 32 * 32
  assert scanned.collectives.keys() == unrolled.collectives.keys()
  for kind, traffic in unrolled.collectives.items():
    assert scanned.collectives[kind].nbytes == traffic.nbytes, kind
    assert scanned.collectives[kind].sent_nbytes == traffic.sent_nbytes, kind
  assert scanned.unknown_loops == unrolled.unknown_loops == ()


def test_nested_loops_multiply():
  def inner(_, x):
    return x @ x

  def outer(i, x):
    return lax.fori_loop(0, 3, inner, x) + i

  cost = cost_of(lambda x: lax.fori_loop(5, 12, outer, x), (16, 16))
  assert cost.flops == 7 * 3 * 2 * 16**3


def test_a_loop_as_long_as_the_one_around_it_says():
  def outer(i, x):
    return lax.fori_loop(0, i + 1, lambda _, x: x @ x, x)

  def run(x):
    y = lax.fori_loop(0, 4, outer, x)
    return lax.fori_loop(0, 2, lambda _, y: lax.fori_loop(0, 4, outer, y), y)

  cost = cost_of(run, (16, 16))
  assert cost.unknown_loops == ()
  assert cost.flops == 3 * (1 + 2 + 3 + 4) * 2 * 16**3


@pytest.mark.parametrize(("start", "step", "trips"), [(0, 3, 7), (20, -4, 5)])
def test_any_stride_counts(start, step, trips):
  def go_on(state):
    return state[0] < 20 if step > 0 else state[0] > 0

  def body(state):
    return state[0] + step, state[1] @ state[1]

  cost = cost_of(
    lambda x: lax.while_loop(go_on, body, (jnp.int32(start), x))[1], (8, 8)
  )
  assert cost.flops == trips * 2 * 8**3


def test_a_loop_that_waits_for_data_is_named():
  cost = cost_of(
    lambda x: lax.while_loop(lambda x: x[0, 0] < 9, lambda x: x @ x, x), (8, 8)
  )
  (name,) = cost.unknown_loops
  assert name.endswith("/while")
  assert cost.flops == 2 * 8**3


@pytest.mark.parametrize("dear_first", [False, True])
def test_a_conditional_costs_its_dearest_branch(dear_first):
  branches = [lambda x: x, lambda x: x @ x @ x]

  def run(x):
    return lax.cond(x[0, 0] > 0, *branches[:: -1 if dear_first else 1], x)

  assert cost_of(run, (8, 8)).flops == 2 * 2 * 8**3


def test_rematerialised_products_count_again():
  def loss(x, w):
    block = jax.checkpoint(lambda x, w: jnp.sin(jnp.sin(x @ w) @ w))
    return jnp.sum(block(x, w))

  plain = cost_of(
    lambda x, w: jnp.sum(jnp.sin(jnp.sin(x @ w) @ w)), *[(8, 8)] * 2
  )
  assert plain.flops == 2 * 2 * 8**3
  cost = cost_of(jax.grad(loss, argnums=(0, 1)), (8, 8), (8, 8))
  assert cost.flops >= 6 * 2 * 8**3


@pytest.mark.parametrize(
  ("equation", "shapes"),
  [("bik,bjk->bij", [(3, 5, 7), (3, 6, 7)]), ("ik,kj->ij", [(5, 7), (7, 6)])],
)
def test_products_are_two_flops_per_multiply_add(equation, shapes):
  cost = cost_of(lambda a, b: jnp.einsum(equation, a, b), *shapes)
  batch = 3 if "b" in equation else 1
  assert cost.flops == 2 * batch * 5 * 6 * 7


def test_a_lookup_does_not_cost_its_table():
  table, ids = (4096, 64), jnp.arange(8) * 9
  cost = cost_of(lambda t: jnp.sin(t[ids]), table)
  assert cost.nbytes < 4096 * 64 * 4 / 10
  whole = cost_of(lambda t: jnp.sin(t), table)
  assert whole.nbytes == 2 * 4096 * 64 * 4


def _lines(*lines):
  body = "\n".join(f"  {line}" for line in lines)
  return hlo.parse(
    f"HloModule m, num_partitions=8\n\nENTRY %main (p: f32[2]) -> f32[2] {{\n"
    f"{body}\n}}\n"
  )


def _last(program):
  computation = program.computations[program.entry]
  root = computation[computation.root]
  return computation.operands(root), root


def test_padding_of_a_convolution_is_no_work():
  # A batched product as the TPU compiler writes it: 4 matrices (8, 16, 32).
  operands, product = _last(
    _lines(
      "%a = bf16[4,8,16]{2,1,0} parameter(0)",
      "%b = bf16[4,16,32]{2,1,0} parameter(1)",
      "ROOT %c = f32[4,8,32]{2,1,0} convolution(%a, %b),"
      " window={size=4 stride=3 pad=0_0 lhs_dilate=4},"
      " dim_labels=0bf_0io->0bf",
    )
  )
  assert convolution_flops(operands, product) == 2 * 4 * 8 * 16 * 32


def test_a_plain_convolution_counts_its_window():
  operands, product = _last(
    _lines(
      "%a = f32[2,10,3]{2,1,0} parameter(0)",
      "%b = f32[5,3,4]{2,1,0} parameter(1)",
      "ROOT %c = f32[2,10,4]{2,1,0} convolution(%a, %b),"
      " window={size=5 pad=2_2}, dim_labels=b0f_0io->b0f",
    )
  )
  # 5 places each, less the 2 + 1 that stick out at both ends.
  assert convolution_flops(operands, product) == 2 * 2 * 3 * 4 * (10 * 5 - 6)


def test_high_precision_takes_more_passes():
  operands, product = _last(
    _lines(
      "%a = f32[8,16]{1,0} parameter(0)",
      "%b = f32[16,8]{1,0} parameter(1)",
      "ROOT %c = f32[8,8]{1,0} dot(%a, %b), lhs_contracting_dims={1},"
      " rhs_contracting_dims={0}, operand_precision={highest,highest}",
    )
  )
  assert dot_flops(operands, product) == 2 * 8 * 8 * 16
  assert passes(operands, product) == 6


@pytest.mark.parametrize(
  ("opcode", "result", "groups", "sent"),
  [
    ("all-reduce", "f32[64]", "replica_groups={{0,1},{2,3}}", 256),
    ("all-reduce", "f32[64]", "replica_groups=[2,4]<=[8]", 2 * 256 * 3 / 4),
    ("all-reduce", "f32[64]", "replica_groups={}", 2 * 256 * 7 / 8),
    (
      "all-reduce",
      "f32[64]",
      "replica_groups=mesh['data'=4,'model'=2] {'model'}",
      256,
    ),
    ("reduce-scatter", "f32[16]", "replica_groups=[2,4]<=[8]", 192),
    ("all-gather", "f32[256]", "replica_groups=[2,4]<=[8]", 768),
    (
      "all-gather-start",
      "(f32[64], f32[256])",
      "replica_groups=[2,4]<=[8]",
      768,
    ),
    ("all-to-all", "f32[64]", "replica_groups=[1,8]<=[8]", 224),
    ("collective-permute", "f32[64]", "source_target_pairs={{0,1}}", 256),
  ],
)
def test_what_a_collective_sends(opcode, result, groups, sent):
  program = _lines(
    "%a = f32[64]{0} parameter(0)",
    f"ROOT %c = {result} {opcode}(%a), channel_id=1, {groups}",
  )
  operands, one = _last(program)
  kind = opcode.removesuffix("-start")
  assert collective_traffic(kind, operands, one, 8).sent_nbytes == sent
  assert program_cost(program).collectives[kind].sent_nbytes == sent


def test_a_fused_reduce_scatter_is_none_of_the_all_reduces():
  text = """HloModule m, num_partitions=4

%all-reduce-scatter.1 (p: f32[64]) -> f32[16] {
  %p = f32[64]{0} parameter(0)
  %r = f32[64]{0} all-reduce(%p), replica_groups=[1,4]<=[4], to_apply=%add
  ROOT %s = f32[16]{0} dynamic-slice(%r, %p), dynamic_slice_sizes={16}
}

ENTRY %main (p: f32[64]) -> f32[16] {
  %p = f32[64]{0} parameter(0)
  ROOT %f = f32[16]{0} fusion(%p), kind=kCustom, calls=%all-reduce-scatter.1
}
"""
  cost = program_cost(hlo.parse(text))
  assert cost.collectives == {"reduce-scatter": Traffic(1, 256, 192)}


def test_a_collective_in_parts_counts_once():
  line = (
    "%{name} = f32[256]{{0}} all-gather(%a), channel_id=3,"
    " replica_groups=[2,4]<=[8], dimensions={{0}}, backend_config="
    '{{"async_collective_fusion_config":{{"flag_end":"15",'
    '"flag_start":"{flag}"}}}}'
  )
  program = _lines(
    "%a = f32[64]{0} parameter(0)",
    line.format(name="start", flag=-1),
    line.format(name="step", flag=2),
    "ROOT " + line.format(name="done", flag=2),
  )
  assert program_cost(program).collectives == {
    "all-gather": Traffic(1, 1024, 768)
  }


def test_a_kernel_costs_what_it_says():
  call = (
    'ROOT %c = f32[64]{0} custom-call(%a), custom_call_target="tpu_custom_call"'
  )
  parameter = "%a = f32[64]{0} parameter(0)"
  estimate = (
    ', backend_config={"custom_call_config":{"body":"x","cost_estimate":'
    '{"flops":"123","transcendentals":"1","bytes_accessed":"9"}}}'
  )
  cost = program_cost(_lines(parameter, call + estimate))
  assert (cost.flops, cost.kernel_flops) == (123, 123)
  assert cost.unpriced_kernels == ()
  assert program_cost(_lines(parameter, call)).unpriced_kernels == ("c",)


def test_work_for_the_sparse_core_costs_what_it_does():
  text = """HloModule m

%gather (t: f32[4096,64], i: s32[8]) -> f32[8,64] {
  %t = f32[4096,64]{1,0} parameter(0)
  %i = s32[8]{0} parameter(1)
  ROOT %g = f32[8,64]{1,0} gather(%t, %i), slice_sizes={1,64}
}, execution_thread="sparsecore"

ENTRY %main (t: f32[4096,64], i: s32[8]) -> f32[8,64] {
  %t = f32[4096,64]{1,0} parameter(0)
  %i = s32[8]{0} parameter(1)
  ROOT %c = f32[8,64]{1,0} custom-call(%t, %i), custom_call_target="x",
 called_computations={%gather}
}
""".replace(",\n called", ", called")
  assert program_cost(hlo.parse(text)).nbytes == 2 * 8 * 64 * 4


def test_layouts_pad_and_say_where():
  (plain, fast) = hlo.parse_shapes(
    "(f32[10,50]{1,0:T(8,128)}, bf16[3,16,128]{2,1,0:T(8,128)(2,1)S(1)})"
  )
  assert (plain.nbytes, plain.padded_nbytes) == (2000, 16 * 128 * 4)
  assert (plain.space, fast.space) == (0, 1)
  assert fast.padded_nbytes == fast.nbytes == 3 * 16 * 128 * 2


def test_text_without_an_entry_is_an_error():
  with pytest.raises(ValueError, match="no ENTRY"):
    hlo.parse("HloModule m\n")
