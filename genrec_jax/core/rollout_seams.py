# SPDX-License-Identifier: Apache-2.0
"""The seams of training on samples that the model has drawn itself.

    rollout   makes samples inside of the train step     config.rollout
    drawer    a model that has read requests -> samples  config.rollout.drawer
    reward    what samples are worth                     config.rollout.reward
    guard     ends a training by what was validated      config.guards

The train step asks a rollout for samples with the parameters of its state, so
what is drawn is a function of the state, the requests and the run's key: there
is nothing else to be kept for a killed run to go on as it was.

`ask` is a model bound to parameters: ask(*arguments, method=NAME).
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import jax
from jaxtyping import Array, Float, Int
import numpy as np

from genrec_jax.core.types import Drawn, Mean, Samples

Ask = Callable[..., Any]
# What a batch of requests and what is drawn for them lie in, by name.
Tree = Mapping[str, Any]


@runtime_checkable
class Drawer(Protocol):
  """Options of how samples are drawn.

  Attributes:
    num_samples: K, of a request.
    within_trie: whether all that it draws are items, as long as there are any.
  """

  num_samples: int
  within_trie: bool

  def check_system(self, system: Any) -> None:
    """Raises a ValueError where nothing can be drawn of a model."""

  def __call__(self, decoder: Any, trie: Any, rng: jax.Array) -> Drawn:
    """K samples of every request that the decoder has read."""

  def log_probs(
    self,
    decoder: Any,
    codes_GKT: Int[Array, "G K T"],
    level_sizes: tuple[int, ...],
  ) -> Float[Array, "G K T"]:
    """Log-probabilities (float32) of the codes of samples."""

  def legal_share(self, decoder: Any, trie: Any) -> Float[Array, "G"]:
    """Share of a request's likeliest K samples of any codes that are items."""

  def codes_of(
    self, trie: Any, item_GKN: Int[Array, "G K N"]
  ) -> Int[Array, "G K T"]:
    """The codes of samples of these items."""


@runtime_checkable
class Reward(Protocol):
  """Options of what a sample is worth; `bind` reads what it needs.

  Attributes:
    low, high: rewards lie between them.
    constants: arrays that it reads, a pytree; None before `bind`.
    versions: name -> version of what it was read from.
  """

  low: float
  high: float
  constants: Any
  versions: Mapping[str, str]

  def bind(self, run: Any) -> "Reward":
    """The same reward, ready for a run's data; ValueError where it cannot."""

  def request_batch(self, requests: Any) -> dict[str, np.ndarray]:
    """What it reads of requests, on the host; {} where nothing."""

  def __call__(
    self,
    constants: Any,
    item_GKN: Int[Array, "G K N"],
    target_G: Int[Array, "G"],
    batch: Tree,
  ) -> Float[Array, "G K"]:
    """Rewards of samples.

    Args:
      constants: its own, which a program is given.
      item_GKN: items of the samples, 0 where there is none.
      target_G: what came next, 0 where nobody knows.
      batch: of request_batch.
    """


@runtime_checkable
class Rollout(Protocol):
  """Makes samples to be trained on with the parameters of now.

  Attributes:
    requests: G, of a step.
    constants: arrays that programs read and nothing changes; `bind` sets them.
    versions: name -> version of what they were read from.
  """

  requests: int
  constants: Any
  versions: Mapping[str, str]

  def check(self, run: Any) -> None:
    """Raises a ValueError where a run cannot be trained so."""

  def bind(self, run: Any) -> "Rollout":
    """The same with what it reads of a run's data and of other runs."""

  def request_batch(self, step: int) -> dict[str, Any]:
    """Requests of a step, on the host: a function of the step."""

  def shapes(self, layout: Any) -> dict[str, Any]:
    """Arrays of request_batch's shapes, without data."""

  def hold(self, params: Any) -> dict[str, Any]:
    """What the state of a run that starts holds beside its parameters."""

  def renew(self, held: Tree, params: Any, step: Any) -> dict[str, Any]:
    """What it holds at a step, before anything is drawn."""

  def draw(
    self,
    ask_of: Callable[[Any], Ask],
    params: Any,
    held: Tree,
    requests: Tree,
    constants: Any,
    rng: jax.Array,
    step: Any,
  ) -> dict[str, Any]:
    """Samples with their rewards and constant log-probabilities."""

  def score(
    self, ask: Ask, requests: Tree, drawn: Tree, constants: Any
  ) -> Samples:
    """The same samples with those of what is trained."""

  def facts(self, drawn: Tree) -> dict[str, Mean]:
    """What is logged of samples."""

  def faults(self, drawn: Tree) -> dict[str, Any]:
    """What must not be of them -> how often it is."""

  def laid_out(self, requests: Any) -> dict[str, Any]:
    """Any requests, as request_batch has those of a step."""

  def watch(
    self, ask: Ask, requests: Tree, constants: Any, rng: jax.Array
  ) -> dict[str, Any]:
    """What is measured of requests whose target is known, row by row."""


@runtime_checkable
class Guard(Protocol):
  """Ends a training by its validation metrics; config.guards.NAME."""

  metric: str

  def tripped(
    self, before: Mapping[str, float], now: Mapping[str, float]
  ) -> str:
    """Why the training must end; "" = it may go on.

    Args:
      before: metrics at the start of the training.
      now: metrics at the last validation.
    """
