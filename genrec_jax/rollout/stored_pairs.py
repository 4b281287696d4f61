# SPDX-License-Identifier: Apache-2.0
"""Pairs of samples that were made beforehand: config.rollout.

    config.rollout = {
      "name": "rollout.StoredPairs", "directory": "", "before": "supervised",
      "steps": 100, "requests": 32, "reference_steps": 0,
      "over_children": False, "drawer": {...}, "reward": {...}}

The pairs are made when the run starts, where they are not there
(rollout/made_pairs.py), by the run of config.before that this one goes on from.
They are refused where data, item tokens or that run are not what they were made
of: a reference that did not generate them is another objective. Step t takes
the next G pairs of an order that is drawn anew for every pass.
"""

from collections.abc import Callable, Mapping
import dataclasses
import functools
import pathlib
from typing import Any

from jaxtyping import Array, Int, Key
import numpy as np

from genrec_jax.core import processes
from genrec_jax.core.option_checks import check_counts
from genrec_jax.core.rollout_seams import Ask
from genrec_jax.data.dataset.histories import HistorySource
from genrec_jax.data.dataset.preference_pairs import PreferencePairs
from genrec_jax.data.dataset.requests import make_requests
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.pretrained import identity_of
from genrec_jax.experiment.restored import CHECKPOINTS, load_params
from genrec_jax.rollout.held_samples import HeldSamples
from genrec_jax.rollout.made_pairs import make_pairs, reward_version

# Of the order of pairs among the streams of a seed.
_STREAM = 15


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class StoredPairs(HeldSamples):
  """See the module docstring; attributes that are not here are HeldSamples'.

  Attributes:
    before: the run of config.before that generates.
    directory: of the pairs; "" = WORKDIR/pairs.
    steps: batches of requests that pairs are made of.
    pairs: set by `bind`, as what follows.
    histories: the data set.
    seed: of the run.
    num_items: N, of a sample.
  """

  before: str
  directory: str = ""
  steps: int = 100
  pairs: PreferencePairs | None = None
  histories: HistorySource | None = None
  seed: int = 0
  num_items: int = 1

  def __post_init__(self):
    super().__post_init__()
    check_counts(self, "config.rollout", "steps")

  def bind(self, run: Run) -> "StoredPairs":
    """With the pairs, which are made where they are not there.

    Raises:
      ValueError: pairs of other data, tokens or generator, or none to be had.
    """
    generator = pathlib.Path(run.workdir) / self.before
    folder = generator / CHECKPOINTS["best"]
    bound = self.bound_to(run)
    versions = {
      "data": run.histories.manifest.fingerprint,
      "tokens": run.artifacts.versions["tokens"],
      "generator": identity_of(folder),
    }
    directory = run.artifacts.directories["pairs"]

    def make():
      if not directory.exists():
        params = load_params(Run.open(generator)).params
        make_pairs(
          bound,
          run,
          params,
          steps=self.steps,
          versions=versions,
          directory=directory,
        )

    processes.first_alone(make)
    pairs = run.artifacts.open("pairs")
    for what, wanted in (*versions.items(), ("reward", reward_version(bound))):
      pairs.check(what, wanted, directory)
    return dataclasses.replace(
      bound,
      pairs=pairs,
      histories=run.histories,
      seed=run.seed,
      num_items=pairs.arrays.items.shape[2],
    )

  def request_batch(self, step: int) -> dict[str, Any]:
    """Requests of the pairs of a step, their items and rewards."""
    count = len(self.pairs)
    first = step * self.requests
    rows = [
      int(self._order(number // count)[number % count])
      for number in range(first, first + self.requests)
    ]
    arrays = self.pairs.arrays
    records = [self.histories[user] for user in arrays.user[rows].tolist()]
    events = arrays.event[rows].tolist()
    requests = make_requests(list(zip(records, events, strict=True)))
    return {
      **self.laid_out(requests),
      "item_GKN": arrays.items[rows],
      "reward_GK": arrays.rewards[rows],
    }

  @functools.lru_cache(maxsize=2)  # noqa: B019 - one of a run
  def _order(self, epoch: int) -> Int[np.ndarray, "P"]:
    rng = np.random.default_rng((self.seed, _STREAM, epoch))
    return rng.permutation(len(self.pairs))

  def shapes(self, layout: Any) -> dict[str, Any]:
    """See core/rollout_seams.py: Rollout."""
    shape = (self.requests, 2)
    return {
      **super().shapes(layout),
      "item_GKN": np.zeros((*shape, self.num_items), np.int32),
      "reward_GK": np.zeros(shape, np.float32),
    }

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
    """The pairs, with constant log-probabilities; nothing is drawn."""
    del params, rng, step
    item_GKN = requests["item_GKN"]
    codes_GKT = self.drawer.codes_of(constants["trie"], item_GKN)
    return {
      "item_GKN": item_GKN,
      "codes_GKT": codes_GKT,
      "where_GK": item_GKN[:, :, 0] > 0,
      "reward_GK": requests["reward_GK"],
      **self.referred(ask_of, held, requests, codes_GKT, constants),
    }
