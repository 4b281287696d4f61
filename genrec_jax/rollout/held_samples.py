# SPDX-License-Identifier: Apache-2.0
"""What rollouts share: parameters held in the state, log-probabilities, facts.

    held["behaviour"]   what draws, where it is not what is trained
    held["reference"]   what log-probabilities are compared with

A copy is made when training starts, and anew at steps that its period divides;
of a period of 0 the first one stays. Log-probabilities of samples are those of
the model over all codes of a level, as scores of searches are. With
`over_children` they are over the codes that lead to an item, which is what
samples through a trie are drawn from.
"""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from genrec_jax.core import seams
from genrec_jax.core.option_checks import check_counts
from genrec_jax.core.rollout_seams import Ask, Drawer, Reward
from genrec_jax.core.types import Drawn, Mean, Samples
from genrec_jax.data.dataset.requests import no_requests
from genrec_jax.decoding.decoder import Decoder
from genrec_jax.decoding.over_children import ChildrenDecoder
from genrec_jax.decoding.trie import Trie
from genrec_jax.experiment.experiment import Run
from genrec_jax.retrieval.strategy import BoundModel

BEHAVIOUR, REFERENCE = "behaviour", "reference"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class HeldSamples:
  """See the module docstring.

  Attributes:
    drawer: how samples are drawn, and what their log-probabilities are.
    reward: what they are worth.
    requests: G, of a step.
    reference_steps: period of the reference; 0 = it stays what training starts
      from, None = there is none.
    over_children: see the module docstring.
    moments: of events of one time, such as a basket's, ask before the first
      alone.
    layout: of the run; set by `bind`, as what follows.
    constants: the trie, and what the reward reads.
    versions: of what the reward was read from.
  """

  drawer: Drawer
  reward: Reward
  requests: int
  reference_steps: int | None = 0
  over_children: bool = False
  moments: bool = False
  layout: Any = None
  constants: Any = None
  versions: Mapping[str, str] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    check_counts(self, "config.rollout", "requests")
    steps = self.reference_steps
    if steps is not None and not (isinstance(steps, int) and steps >= 0):
      raise ValueError(
        f"config.rollout.reference_steps={steps!r} must be a whole number of 0"
        " or more, or None."
      )

  @property
  def periods(self) -> dict[str, int]:
    """Name of what is held -> steps until it is made anew; 0 = never."""
    if self.reference_steps is None:
      return {}
    return {REFERENCE: self.reference_steps}

  def hold(self, params: Any) -> dict[str, Any]:
    """Copies of what training starts from."""
    return {name: jax.tree.map(jnp.copy, params) for name in self.periods}

  def renew(
    self, held: Mapping[str, Any], params: Any, step: Any
  ) -> dict[str, Any]:
    """What is held at a step, before anything is drawn."""
    found = dict(held)
    for name, period in self.periods.items():
      if period:
        due = step % period == 0
        found[name] = jax.tree.map(
          lambda new, old, due=due: jnp.where(due, new, old),
          params,
          held[name],
        )
    return found

  def decoder(
    self, ask: Ask, requests: Mapping[str, Any], constants: Mapping[str, Any]
  ) -> Decoder:
    """The model, having read the requests, as log-probabilities want it."""
    model = BoundModel(ask, requests["request"])
    if not self.over_children:
      return model
    return ChildrenDecoder(model, constants["trie"])

  def log_probs(
    self,
    ask: Ask,
    requests: Mapping[str, Any],
    codes_GKT: Array,
    constants: Mapping[str, Any],
  ) -> Array:
    """Log-probabilities (G, K, T) of codes under a model."""
    decoder = self.decoder(ask, requests, constants)
    sizes = constants["trie"].level_sizes
    return self.drawer.log_probs(decoder, codes_GKT, sizes)

  def referred(
    self,
    ask_of: Callable[[Any], Ask],
    held: Mapping[str, Any],
    requests: Mapping[str, Any],
    codes_GKT: Array,
    constants: Mapping[str, Any],
  ) -> dict[str, Array]:
    """Log-probabilities under the reference, where there is one."""
    if REFERENCE not in self.periods:
      return {}
    ask = ask_of(held[REFERENCE])
    found = self.log_probs(ask, requests, codes_GKT, constants)
    return {"reference_GKT": found}

  def score(
    self,
    ask: Ask,
    requests: Mapping[str, Any],
    drawn: Mapping[str, Any],
    constants: Mapping[str, Any],
  ) -> Samples:
    """The samples, with log-probabilities that have a gradient.

    Where what drew is what is trained, old log-probabilities are the very same
    numbers: a ratio of both is 1, not nearly 1.
    """
    drawn = jax.lax.stop_gradient(drawn)
    policy_GKT = self.log_probs(ask, requests, drawn["codes_GKT"], constants)
    old_GKT = jax.lax.stop_gradient(policy_GKT)
    item_GKN, where_GK = drawn["item_GKN"], drawn["where_GK"]
    codes = policy_GKT.shape[2] // item_GKN.shape[2]
    there_GKT = jnp.repeat(item_GKN > 0, codes, axis=2)
    if "old_GKT" in drawn:
      old_GKT = jnp.where(drawn["fresh"], old_GKT, drawn["old_GKT"])
    return Samples(
      policy_GKT=policy_GKT,
      old_GKT=old_GKT,
      reference_GKT=drawn.get("reference_GKT"),
      reward_GK=drawn["reward_GK"],
      where_GK=where_GK,
      where_GKT=there_GKT & where_GK[..., None],
    )

  def facts(self, drawn: Mapping[str, Any]) -> dict[str, Mean]:
    """Means over samples: reward, best reward of a request, how many differ."""
    where_GK, reward_GK = drawn["where_GK"], drawn["reward_GK"]
    best_G = jnp.max(jnp.where(where_GK, reward_GK, -jnp.inf), axis=1)
    kind_GK = first_of_kind(drawn["codes_GKT"], where_GK)
    return {
      "samples/reward": Mean.of(reward_GK, where=where_GK),
      "samples/reward_best": Mean.of(best_G, where=jnp.any(where_GK, axis=1)),
      "samples/distinct": Mean.of(kind_GK.astype(jnp.float32), where=where_GK),
    }

  def faults(self, drawn: Mapping[str, Any]) -> dict[str, Array]:
    """See core/rollout_seams.py: Rollout."""
    where_GK, reward_GK = drawn["where_GK"], drawn["reward_GK"]
    low, high = self.reward.low, self.reward.high
    inside_GK = (reward_GK >= low) & (reward_GK <= high)
    # Without a trie it may be that none of them is: legal_share says how many.
    none_G = ~jnp.any(where_GK, axis=1) & self.drawer.within_trie
    return {
      f"rewards of samples are outside of [{low:g}, {high:g}]": jnp.sum(
        where_GK & ~inside_GK, dtype=jnp.int32
      ),
      "requests have no sample that is an item": jnp.sum(
        none_G, dtype=jnp.int32
      ),
    }

  def check(self, run: Run) -> None:
    """Raises a ValueError where nothing can be drawn of a run's model."""
    self.drawer.check_system(run.system)
    layout = run.pipeline.layout
    seams.require(layout, seams.RetrievalLayout, "config.pipeline.layout")

  def laid_out(self, requests: Any) -> dict[str, Any]:
    """Any requests with known targets, as the step takes them."""
    return {
      "request": self.layout.request_batch(requests),
      "target_G": requests.target,
      "reward": self.reward.request_batch(requests),
    }

  def bound_to(self, run: Run, **more: Any) -> Any:
    """The same with a run's layout and codes, and the reward's own run."""
    self.check(run)
    reward = self.reward.bind(run)
    return dataclasses.replace(
      self,
      reward=reward,
      layout=run.pipeline.layout,
      constants={"trie": trie_of(run), "reward": reward.constants},
      versions=reward.versions,
      **more,
    )

  def shapes(self, layout: Any) -> dict[str, Any]:
    """See core/rollout_seams.py: Rollout."""
    alone = dataclasses.replace(self, layout=layout)
    return alone.laid_out(no_requests(self.requests))

  def samples(
    self,
    ask: Ask,
    requests: Mapping[str, Any],
    constants: Mapping[str, Any],
    rng: Key[Array, ""],
  ) -> Drawn:
    """K samples of every request."""
    model = BoundModel(ask, requests["request"])
    return self.drawer(model, constants["trie"], rng)

  def worth(
    self,
    drawn: Drawn,
    requests: Mapping[str, Any],
    constants: Mapping[str, Any],
  ) -> Array:
    """Rewards (G, K), float32."""
    reward_GK = self.reward(
      constants["reward"],
      drawn.item_GKN,
      requests["target_G"],
      requests["reward"],
    )
    return reward_GK.astype(jnp.float32)

  def watch(
    self,
    ask: Ask,
    requests: Mapping[str, Any],
    constants: Mapping[str, Any],
    rng: Key[Array, ""],
  ) -> dict[str, Array]:
    """Of every request: samples and their rewards, -log p of the target, the
    share of likely codes that are items, -log p of the samples' codes, and
    rewards of the target and of what came next elsewhere.
    """
    target_G = requests["target_G"]
    drawn = self.samples(ask, requests, constants, rng)
    model = BoundModel(ask, requests["request"])
    trie = constants["trie"]
    pair_GK = jnp.stack([target_G, jnp.roll(target_G, 1)], axis=1)
    codes_GKT = self.drawer.codes_of(trie, pair_GK[..., None])
    sizes = trie.level_sizes
    log_p_GKT = self.drawer.log_probs(model, codes_GKT, sizes)
    pairs = Drawn(pair_GK[..., None], codes_GKT, pair_GK > 0)
    worth_GK = self.worth(pairs, requests, constants)
    return {
      **drawn._asdict(),
      "reward_GK": self.worth(drawn, requests, constants),
      "nats_GKT": -self.drawer.log_probs(model, drawn.codes_GKT, sizes),
      "nll_G": -jnp.sum(log_p_GKT[:, 0], axis=1),
      "known_G": (target_G > 0) & (trie.place_V1[target_G] >= 0),
      "legal_G": self.drawer.legal_share(model, trie),
      "target_G": worth_GK[:, 0],
      "other_G": worth_GK[:, 1],
      "differs_G": pair_GK[:, 0] != pair_GK[:, 1],
    }


def first_of_kind(codes_GKT: Array, where_GK: Array) -> Array:
  """Which samples no earlier one of their request is the same as (G, K)."""
  same_GKK = jnp.all(codes_GKT[:, :, None] == codes_GKT[:, None], axis=3)
  samples_K = jnp.arange(codes_GKT.shape[1])
  earlier_KK = samples_K[None, :] < samples_K[:, None]
  again_GKK = same_GKK & earlier_KK[None] & where_GK[:, None]
  return where_GK & ~jnp.any(again_GKK, axis=2)


def trie_of(run: Run) -> Trie:
  """Of the items that may be recommended."""
  artifacts = run.artifacts
  return Trie.build(artifacts.codes(), run.system.level_sizes, artifacts.live())
