# SPDX-License-Identifier: Apache-2.0
"""What steps of rankers cost by the compiler's program, per label and in all.

    forward  2 X Y Z,  training  6 X Y Z     FLOPs of the matrices' products: X
                                             their entries, Y tokens, Z users

and what attention adds. Programs are compiled, never run: FLOPs are those of
hlo/cost.py, temporaries the compiler's own count.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genrec_jax.backbones.hstu import HSTU
from genrec_jax.core.types import SequenceInfo
from genrec_jax.data.dataset.feedback import Feedback
from genrec_jax.data.layouts.actions import ActionOriented
from genrec_jax.hlo import text as hlo
from genrec_jax.hlo.cost import program_cost
from genrec_jax.layers.action_heads import LinearHead
from genrec_jax.layers.attention import SiluAttention
from genrec_jax.layers.history_pooling import TargetAttention
from genrec_jax.layers.interactions import Concat
from genrec_jax.models.action_ranker import ActionRanker
from genrec_jax.models.feature_ranker import FeatureRanker
from genrec_jax.objectives.pointwise import BinaryCrossEntropy
from genrec_jax.ops.relative_bias import BiasTables, alibi_slopes
from genrec_jax.ops.silu_attention import silu_attention
from genrec_jax.ops.time_buckets import NUM_BUCKETS
from genrec_jax.tpu import topology as tpu_topology
from genrec_jax.train.optimizers import adamw
from genrec_jax.train.state import init_params, init_state
from genrec_jax.train.step import make_train_step

_LAYERS, _HEADS = 2, 2


@dataclasses.dataclass(frozen=True)
class StepFlops:
  """Of one batch of Z rows of Y tokens.

  Attributes:
    forward, train: FLOPs of the compiled programs.
    xyz: X Y Z.
  """

  forward: float
  train: float
  xyz: float


def sequence_flops(tokens: int, width: int = 128, rows: int = 4) -> StepFlops:
  """Of a sequence ranker (HSTU) on rows of so many tokens.

  Args:
    tokens: Y, at most 512: attention computes all pairs of a block.
    width: D.
    rows: Z.
  """
  layout = ActionOriented(Feedback(("click",)), tokens - 1)
  zeros = np.zeros((rows, tokens), np.int32)
  batch = layout.batch(
    np.zeros((rows, tokens, layout.num_columns), np.int32), zeros, zeros
  )
  system = ActionRanker(
    num_items=100,
    width=width,
    backbone=HSTU(
      num_layers=_LAYERS,
      num_heads=_HEADS,
      key_width=width // _HEADS,
      value_width=width // _HEADS,
      num_positions=tokens,
      attention=SiluAttention(normalizer=float(tokens)),
      position_bias=False,
      time_bias=False,
    ),
    heads=LinearHead(1),
    num_actions=1,
  )
  forward, train, params = _flops(system, batch)
  # What every token is multiplied with: no table, where one row is looked up.
  active = sum(
    x.size
    for path, x in jax.tree_util.tree_leaves_with_path(params)
    if path[-1].key == "kernel"
  )
  return StepFlops(forward, train, float(active * tokens * rows))


def feature_flops_per_label(events: int, width: int = 16) -> float:
  """Training FLOPs of one impression of DIN with a history of so many."""
  count, features = 64, 4
  system = FeatureRanker(
    num_items=1,
    num_tasks=1,
    num_actions=1,
    feature_rows=(100,) * features,
    history_columns=(0,),
    width=width,
    pooling=TargetAttention((80, 40)),
    interactions=Concat(),
  )
  ones = np.ones((1, count), np.int32)
  batch = {
    "features_BLF": np.zeros((1, count, features), np.int32),
    "history_features_BLHG": np.zeros((1, count, events, 1), np.int32),
    "history_item_BLH": np.ones((1, count, events), np.int32),
    "history_action_BLH": np.ones((1, count, events), np.int32),
    **dict.fromkeys(("label_BL", "labelled_BL", "segment_ids_BL"), ones),
  }
  return _flops(system, batch)[1] / count


def _flops(system: Any, batch: Any) -> tuple[float, float, Any]:
  """FLOPs of the forward pass and of the train step, and parameters."""
  params = init_params(system, batch, jax.random.key(0))
  optimizer = adamw(1e-3)
  train = make_train_step(
    system, BinaryCrossEntropy(("click",)), optimizer, jax.random.key(0)
  )

  def forward(params, batch):
    return system.apply({"params": params}, batch, deterministic=True).logits

  def flops(fn, *args):
    compiled = jax.jit(fn).lower(*args).compile()
    return float(program_cost(hlo.parse(compiled.as_text())).flops)

  state = init_state(params, optimizer)
  return flops(forward, params, batch), flops(train, state, batch), params


def attention_memory(
  length: int, bias: str, implementation: str, topology: str | None = None
) -> int:
  """Bytes of temporaries of attention and its gradients, one row, 2 heads.

  Args:
    length: events of the row.
    bias: "learned" tables of place and time, or "slopes".
    implementation: of ops/silu_attention.
    topology: such as "v5e:2x2", to compile for; None = this machine.
  """
  heads, width = 2, 128
  vectors = (jax.ShapeDtypeStruct((1, length, heads, width), jnp.float32),) * 3
  integers = (jax.ShapeDtypeStruct((1, length), jnp.int32),) * 4
  tables = ()
  if bias == "learned":
    sizes = (2 * length - 1, NUM_BUCKETS)
    tables = tuple(jax.ShapeDtypeStruct((n,), jnp.float32) for n in sizes)

  def loss(q, k, v, tables, integers):
    given = (
      BiasTables(*tables) if tables else BiasTables(slopes=alibi_slopes(heads))
    )
    y = silu_attention(
      *(q, k, v, SequenceInfo(*integers)),
      normalizer=float(length),
      bias=given,
      implementation=implementation,
    )
    return jnp.sum(y)

  function = jax.jit(jax.grad(loss, (0, 1, 2, 3)))
  arguments = (*vectors, tables, integers)
  if topology is None:
    compiled = function.lower(*arguments).compile()
    return compiled.memory_analysis().temp_size_in_bytes
  device = tpu_topology.open_slice(topology).devices[0]
  mesh = jax.make_mesh(
    (1,), ("core",), (jax.sharding.AxisType.Auto,), devices=[device]
  )
  place = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
  there = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), arguments
  )
  with jax.set_mesh(mesh):
    traced = function.trace(*there).lower(lowering_platforms=("tpu",))
    return traced.compile().memory_analysis().temp_size_in_bytes
