# SPDX-License-Identifier: Apache-2.0
"""What a train step costs with hard negatives instead of uniform ones.

    shared      the config's step with K uniform negatives for the batch
    hard        the K best of a block of 8 K, ranked by probes
    position    K uniform negatives of each position, on demand
    right_alone the same, of which only the right item is left out and not what
                the user takes later; likewise

Steps take turns on the same full rows of random events; a ratio is the median
within turns. Beside it stand the temporaries of the compiled programs.
"""

from collections.abc import Mapping
import dataclasses
import statistics
from typing import Any

import jax

from genrec_jax.bench.batches import full_batch
from genrec_jax.bench.decoding import take_turns
from genrec_jax.core import sharding
from genrec_jax.core.build import build_options
from genrec_jax.core.sharding import MeshOptions
from genrec_jax.experiment.program import Program
from genrec_jax.objectives import (
  HardBlock,
  SampledSoftmax,
  UniformPerPosition,
  UniformShared,
)

# Candidates of a block for each negative that is kept.
_BLOCK = 8


def time_negatives(
  config: Mapping[str, Any],
  *,
  num_items: int,
  events: int,
  turns: int,
  count: int,
  per_position: bool = False,
) -> dict[str, Any]:
  """Median seconds of the steps and their ratios to uniform shared negatives.

  Args:
    config: plain and checked, with objectives.SampledSoftmax.
    num_items: V, at least 8 `count`.
    events: of every user.
    turns: timed steps of each.
    count: K.
    per_position: whether to time those of each position as well.

  Raises:
    ValueError: another objective, or fewer items than a block has.
  """
  mesh = build_options(MeshOptions, config["mesh"], where="config.mesh")
  program = Program.from_config(config, num_items, mesh.place())
  objective = program.objective
  if not isinstance(objective, SampledSoftmax):
    raise ValueError(
      f"{config['name']} draws no negatives: take a config with"
      " objectives.SampledSoftmax, such as configs/sasrec_amazon.py:sampled."
    )
  kinds: dict[str, Any] = {
    "shared": UniformShared(count),
    "hard": HardBlock(count, UniformShared(_BLOCK * count, cap=False)),
  }
  if per_position:
    kinds["position"] = kinds["right_alone"] = UniformPerPosition(count)
  host = full_batch(program.pipeline, events, num_items)
  batch = sharding.put(host, program.placement.by_rows)
  steps = {
    name: _Step(
      dataclasses.replace(
        program,
        objective=dataclasses.replace(
          objective,
          negatives=kind,
          correct_log_q=False,
          own_future=name == "right_alone",
        ),
      ),
      batch,
    )
    for name, kind in kinds.items()
  }
  seconds = take_turns(steps, turns)
  ratios = {
    f"{name}_per_shared": round(
      statistics.median(
        a / b for a, b in zip(seconds[name], seconds["shared"], strict=True)
      ),
      3,
    )
    for name in kinds
    if name != "shared"
  }
  return {
    **{
      f"{name}_seconds": float(f"{statistics.median(values):.4g}")
      for name, values in seconds.items()
    },
    **ratios,
    "temporary_bytes": {name: step.bytes for name, step in steps.items()},
    "count": count,
    "block": _BLOCK * count,
    "positions": int(host["item_BL"].size),
    "turns": turns,
    "num_items": num_items,
  }


class _Step:
  """A train step that goes on from its own state."""

  def __init__(self, program: Program, batch: Mapping[str, jax.Array]):
    self._program, self._batch = program, batch
    with program.in_force():
      self._state = program.init_state()
      self._compiled = program.train_step.lower(self._state, batch).compile()

  @property
  def bytes(self) -> int:
    """Temporaries of the compiled program."""
    return int(self._compiled.memory_analysis().temp_size_in_bytes)

  def __call__(self) -> None:
    with self._program.in_force():
      self._state, metrics = self._compiled(self._state, self._batch)
    jax.block_until_ready(metrics)
