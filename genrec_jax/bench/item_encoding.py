# SPDX-License-Identifier: Apache-2.0
"""What it costs to encode items inside of the train step.

    encoded   the config's step: the batch's distinct items go through its
              encoder, forwards and backwards
    cached    the same step where vectors lie ready in the table: distinct
              items are found and gathered alike, and nothing encodes them

Steps of both take turns, on packed rows of random users, contents and codes;
the ratio is the median within turns. Beside it stands the ratio of the FLOPs
that the compiled programs count.
"""

from collections.abc import Mapping
import dataclasses
import statistics
from typing import Any, ClassVar

from flax import linen as nn
import jax
from jaxtyping import Array, Float
import numpy as np

from genrec_jax.bench.batches import full_batch
from genrec_jax.bench.decoding import take_turns
from genrec_jax.bench.fused_search import filled_params
from genrec_jax.core import seams, sharding
from genrec_jax.core.build import build_options
from genrec_jax.core.sharding import MeshOptions
from genrec_jax.core.types import ItemData
from genrec_jax.experiment.program import Program
from genrec_jax.hlo.mfu import compiled_cost


class ReadyVectors(nn.Module):
  """An encoder whose content are the vectors.

  Attributes:
    width: of both.
  """

  width: int

  content_dtype = "float32"
  logical_axes: ClassVar[Mapping[str, Any]] = {}

  @property
  def content_width(self) -> int:
    """As wide as the vectors."""
    return self.width

  def with_data(
    self, params: Mapping[str, Any], data: ItemData
  ) -> dict[str, Any]:
    """See ContentEncoder."""
    del data
    return {**params}

  def __call__(
    self, content: Float[Array, "N W"], *, deterministic: bool
  ) -> Float[Array, "N D"]:
    """See ContentEncoder."""
    del deterministic
    return content


def time_item_encoding(
  config: Mapping[str, Any], *, num_items: int, events: int, turns: int
) -> dict[str, Any]:
  """Median seconds of both steps, their ratio, and that of their FLOPs.

  Args:
    config: plain and checked, of a system with an item encoder.
    num_items: V.
    events: of every user.
    turns: timed steps of each.

  Raises:
    ValueError: a system without contents of items.
  """
  mesh = build_options(MeshOptions, config["mesh"], where="config.mesh")
  program = Program.from_config(config, num_items, mesh.place())
  if "item_encoder" not in config["system"]:
    raise ValueError(
      f"{config['name']} encodes no items: take a config such as"
      " configs/cobra_amazon.py."
    )
  system = program.system
  cached = system.clone(item_encoder=ReadyVectors(system.item_encoder.width))
  host = full_batch(program.pipeline, events, num_items)
  batch = sharding.put(host, program.placement.by_rows)
  steps, flops = {}, {}
  for name, of in (("encoded", system), ("cached", cached)):
    seams.require(of, seams.DataInitModel, "config.system")
    form = dataclasses.replace(program, system=of)
    step = _Step(form, batch)
    steps[name], flops[name] = step, step.flops
  seconds = take_turns(steps, turns)
  pairs = zip(seconds["encoded"], seconds["cached"], strict=True)
  items = host["item_BL"]
  return {
    **{
      f"{name}_seconds": float(f"{statistics.median(values):.4g}")
      for name, values in seconds.items()
    },
    "encoded_per_cached": round(statistics.median(a / b for a, b in pairs), 3),
    "flops": flops,
    "flops_encoded_per_cached": round(flops["encoded"] / flops["cached"], 3),
    "encoder": config["system"]["item_encoder"]["name"],
    "distinct_items": len(np.unique(items[items > 0])),
    "places": int(np.count_nonzero(items)),
    "turns": turns,
    "num_items": num_items,
  }


class _Step:
  """A train step that goes on from its own state."""

  def __init__(self, program: Program, batch: Mapping[str, jax.Array]):
    params = filled_params(program)
    self._program, self._batch = program, batch
    with program.in_force():
      self._state = program.init_state(jax.device_get(params))
      self._compiled = program.train_step.lower(self._state, batch).compile()

  @property
  def flops(self) -> float:
    """Of one step."""
    return float(compiled_cost(self._compiled).flops)

  def __call__(self) -> None:
    with self._program.in_force():
      self._state, metrics = self._compiled(self._state, self._batch)
    jax.block_until_ready(metrics)
