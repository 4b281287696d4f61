# SPDX-License-Identifier: Apache-2.0
"""Batches with the requests of each step, and the step that takes both.

    batch of the pipeline   from its own place in the data, which is saved
    requests of step t      rollout.request_batch(t), a function of the step

So a run that goes on from a checkpoint asks for what it would have asked for;
what is drawn for it is a function of the state (train/step.py).
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from genrec_jax.core import sharding
from genrec_jax.data.pipeline.readers import Readers
from genrec_jax.experiment.program import Program

HostBatch = dict[str, np.ndarray]
# Of a batch on the host: what the rollout asks at the step.
_REQUESTS = "rollout"


class SampledSteps(Iterator[dict[str, Any]]):
  """See the module docstring; an iterator as train/loop.py wants it."""

  def __init__(self, program: Program, batches: Readers):
    """Puts what the rollout reads on the devices.

    Args:
      program: whose rollout is bound.
      batches: of the pipeline.

    Raises:
      ValueError: requests that the devices cannot share evenly.
    """
    placement = program.placement
    size = program.rollout.requests
    placement.check_batch_size(size, "config.rollout.requests")
    self._program, self._batches, self._step = program, batches, 0
    self._constants = jax.device_put(
      program.rollout.constants, placement.replicated
    )

  def start(self, step: int) -> None:
    """Goes to a step; the place in the data is `set_state`'s."""
    self._step = step

  def __next__(self) -> dict[str, Any]:
    requests = self._program.rollout.request_batch(self._step)
    self._step += 1
    return {**next(self._batches), _REQUESTS: requests}

  def get_state(self) -> dict[str, Any]:
    """Of the pipeline's batches."""
    return self._batches.get_state()

  def set_state(self, state: Mapping[str, Any]) -> None:
    """Of the pipeline's batches."""
    self._batches.set_state(state)

  def putting(
    self, put: Callable[[HostBatch], Any]
  ) -> Callable[[dict[str, Any]], tuple[Any, Any]]:
    """Puts a batch, by what puts that of the pipeline, and its requests."""

    def put_both(batch):
      batch = dict(batch)
      requests = batch.pop(_REQUESTS)
      return put(batch), put_requests(requests, self._program)

    return put_both

  def step_fn(self, state: Any, parts: tuple[Any, Any]) -> tuple[Any, Any]:
    """The program's step with all that it takes."""
    return self._program.train_step(state, *parts, self._constants)


def put_requests(requests: Mapping[str, Any], program: Program) -> Any:
  """Host arrays of a rollout's requests, where the step takes them.

  Every process has all rows, and gives those of its devices.
  """
  rows = program.placement.by_rows
  return jax.tree.map(lambda x: sharding.put({"": x}, rows)[""], requests)
