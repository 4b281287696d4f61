# SPDX-License-Identifier: Apache-2.0
"""Samples that the model draws while it is trained: config.rollout.

    config.rollout = {
      "name": "rollout.Online",
      "drawer": {"name": "rollout.SampledItems", "num_samples": 16},
      "reward": {"name": "rewards.TrueNext"},
      "requests": 32, "renew_steps": 1, "reference_steps": 0,
      "with_target": False, "over_children": False}

Every step asks for events of the training part, draws K samples of each with
the parameters of the state (or with their copy of at most `renew_steps` steps
ago), and has the reward say what they are worth; all of it on the device,
inside of the train step. What is drawn is a function of the state, the step and
the run's key, so a run that is killed between drawing and learning draws the
same when it goes on. What is held in the state: rollout/held_samples.py.
"""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Key

from genrec_jax.core.option_checks import check_counts
from genrec_jax.core.rollout_seams import Ask
from genrec_jax.core.types import Drawn
from genrec_jax.experiment.experiment import Run
from genrec_jax.rollout.held_samples import BEHAVIOUR, HeldSamples
from genrec_jax.rollout.training_requests import TrainingRequests


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Online(HeldSamples):
  """See the module docstring; attributes that are not here are HeldSamples'.

  Attributes:
    renew_steps: period of the copy that draws; 1 = what is trained draws.
    with_target: the first sample of each request is what came next.
    asked: the requests of steps; set by `bind`.
  """

  renew_steps: int = 1
  with_target: bool = False
  asked: Any = None

  def __post_init__(self):
    super().__post_init__()
    check_counts(self, "config.rollout", "renew_steps")

  @property
  def periods(self) -> dict[str, int]:
    """See HeldSamples."""
    own = {BEHAVIOUR: self.renew_steps} if self.renew_steps > 1 else {}
    return own | super().periods

  def bind(self, run: Run) -> "Online":
    """With the run's layout and codes, and the reward's own run."""
    asked = TrainingRequests(
      run.histories, self.requests, run.seed, self.moments
    )
    return self.bound_to(run, asked=asked)

  def request_batch(self, step: int) -> dict[str, Any]:
    """{"request", "reward": laid out for each; "target_G": what came next}."""
    return self.laid_out(self.asked.at(step))

  def draw(
    self,
    ask_of: Callable[[Any], Ask],
    params: Any,
    held: Mapping[str, Any],
    requests: Mapping[str, Any],
    constants: Mapping[str, Any],
    rng: Key[Array, ""],
    step: Any,
  ) -> dict[str, Any]:
    """Samples, their rewards, and log-probabilities that are constants."""
    ask = ask_of(held[BEHAVIOUR] if self.renew_steps > 1 else params)
    drawn = self.samples(ask, requests, constants, rng)
    if self.with_target:
      drawn = self._with_target(drawn, requests["target_G"], constants)
    codes_GKT = drawn.codes_GKT
    found = {
      **drawn._asdict(),
      "reward_GK": self.worth(drawn, requests, constants),
      **self.referred(ask_of, held, requests, codes_GKT, constants),
    }
    if self.renew_steps > 1:
      found["old_GKT"] = self.log_probs(ask, requests, codes_GKT, constants)
      found["fresh"] = step % self.renew_steps == 0
    return found

  def _with_target(
    self, drawn: Drawn, target_G: Array, constants: Mapping[str, Any]
  ) -> Drawn:
    """The first sample of every request is its target, where that is known."""
    trie = constants["trie"]
    first = jnp.arange(drawn.where_GK.shape[1])[None] == 0
    target_G1N = jnp.zeros_like(drawn.item_GKN[:, :1])
    target_G1N = target_G1N.at[:, 0, 0].set(target_G)
    codes_G1T = self.drawer.codes_of(trie, target_G1N)
    known_G1 = ((target_G > 0) & (trie.place_V1[target_G] >= 0))[:, None]
    return Drawn(
      jnp.where(first[..., None], target_G1N, drawn.item_GKN),
      jnp.where(first[..., None], codes_G1T, drawn.codes_GKT),
      jnp.where(first, known_G1, drawn.where_GK),
    )
