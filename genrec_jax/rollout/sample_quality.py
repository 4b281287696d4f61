# SPDX-License-Identifier: Apache-2.0
"""What the samples of a model are like, and whether their reward is one.

    config.evals.samples = {"name": "rollout.SampleQuality", "users": 500,
                            "head": 0.01}

    reward, reward_best   of the samples of held-out requests; mean and best
    reward_auc            P(the reward of what came next > of what came next
                          for another user): .5 tells nothing
    held_out_nll          -log p of what came next, in nats
    legal_share           of the likeliest codes, without a trie, that are items
    head_share            of samples that are of the `head` most popular items

`reward` is what is trained on, so it says how well that goes, and not how good
the lists are. Guards watch the others (train/guards.py). A model that draws any
codes may draw no item at all: its rewards are then the lowest that there are,
and none of its samples is of the head. Samples are drawn with the same key at
every validation.

A finished run's section also has the metrics before its first step, where there
are guards, the nats of each level, -log p of a code that was drawn, which are
the entropy of the level as long as nothing else is drawn from than the model's
own probabilities, and a few samples (sample_examples.py).
"""

from collections.abc import Iterator, Mapping
import dataclasses
from typing import Any

import jax
import numpy as np

from genrec_jax.core import rng, sharding
from genrec_jax.core.option_checks import check_counts, check_positive
from genrec_jax.data.dataset.requests import Requests, iter_requests
from genrec_jax.data.splits import PARTS
from genrec_jax.evaluation.base import Unwatched
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.program import Program
from genrec_jax.experiment.restored import Loaded, read_progress
from genrec_jax.metrics.auc import area
from genrec_jax.retrieval.model_search import padded
from genrec_jax.rollout.sample_examples import examples_of, nats_by_level

Found = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class SampleQuality(Unwatched):
  """See the module docstring.

  Attributes:
    users: held-out users asked, drawn once; None = all.
    head: share of the catalogue that is its head; at least one item.
  """

  users: int | None = None
  head: float = 0.01

  def __post_init__(self):
    check_positive(self, "config.evals", "head")
    if self.users is not None:
      check_counts(self, "config.evals", "users")

  @property
  def names(self) -> tuple[str, ...]:
    """Those that are better higher."""
    return ("reward", "reward_best", "reward_auc", "legal_share")

  def check(self, run: Run, watched: tuple[str, ...] = ()) -> None:
    """Raises a ValueError where a run draws no samples."""
    if run.rollout is None:
      raise ValueError(
        "rollout.SampleQuality is of samples, and this config has no section"
        " 'rollout', which says how they are drawn."
      )
    run.rollout.check(run)

  def validate(
    self, run: Run, params: Any, program: Program | None
  ) -> dict[str, float]:
    """Metrics of the validation part."""
    batches = self._rows(run, params, program, "validation")
    return self._metrics(run, [found for _, found in batches])

  def measure(
    self, run: Run, loaded: Loaded, *, baselines: bool = True
  ) -> tuple[dict[str, Any], None]:
    """{"metrics": {PART: {...}}, "nats": {PART: {...}}, "before": {...},
    "examples": [...]}."""
    del baselines
    metrics, nats, examples = {}, {}, []
    for part in PARTS:
      batches = [*self._rows(run, loaded.params, None, part)]
      metrics[part] = self._metrics(run, [found for _, found in batches])
      if not batches:
        continue
      names = ("nats_GKT", "item_GKN", "where_GK")
      arrays = [np.concatenate([f[n] for _, f in batches]) for n in names]
      if arrays[-1].any():
        by_level = nats_by_level(*arrays)
        nats[part] = {f"level_{m}": x for m, x in enumerate(by_level, start=1)}
      titles = run.catalog.titles
      examples = examples_of(*batches[0], titles)
    known = {name for values in metrics.values() for name in values}
    before = read_progress(run).get("before", {})
    return {
      "metrics": metrics,
      "nats": nats,
      "before": {k: v for k, v in before.items() if k in known},
      "examples": examples,
    }, None

  def text(self, document: Mapping[str, Any]) -> str:
    """The section as lines for a terminal."""
    lines = []
    for part, metrics in document["metrics"].items():
      lines.append(f"samples, {part}:")
      lines += [f"  {name:14}{value:.4f}" for name, value in metrics.items()]
      by_level = document["nats"].get(part, {}).values()
      lines.append("  nats by level " + " ".join(f"{x:.3f}" for x in by_level))
    return "\n".join(lines)

  def _metrics(self, run: Run, rows: list[Found]) -> dict[str, float]:
    if not rows:
      return {}
    found = {key: np.concatenate([r[key] for r in rows]) for key in rows[0]}
    rollout = run.bound_rollout
    lowest = None if rollout.drawer.within_trie else rollout.reward.low
    return _metrics_of(found, self._is_head(run), lowest)

  def _rows(
    self, run: Run, params: Any, program: Program | None, part: str
  ) -> Iterator[tuple[Requests, Found]]:
    """Requests, and what is found of each, batch by batch."""
    program = run.program() if program is None else program
    rollout = run.bound_rollout
    if program.rollout is not rollout:
      program = dataclasses.replace(program, rollout=rollout)
    constants = jax.device_put(rollout.constants, program.placement.replicated)
    size = run.requests.batch_size
    asked = iter_requests(
      run.histories, part, size, max_users=self.users, seed=run.seed
    )
    for number, requests in enumerate(asked):
      filled, _ = padded(requests, None, size)
      batch = jax.tree.map(
        lambda x: sharding.put({"": x}, program.request_sharding)[""],
        rollout.laid_out(filled),
      )
      key = rng.stream(run.key, "sample_quality", number)
      with program.in_force():
        found = program.watch(params, batch, constants, key)
      found = jax.device_get(found)
      yield requests, {name: x[: len(requests)] for name, x in found.items()}

  def _is_head(self, run: Run) -> np.ndarray:
    """Which items, by index, are the most popular."""
    count = np.asarray(run.catalog.count)
    number = max(1, int(self.head * (len(count) - 1)))
    order = np.argsort(-count[1:], kind="stable") + 1
    head = np.zeros(len(count), bool)
    head[order[:number]] = True
    return head


def _metrics_of(
  found: Found, is_head: np.ndarray, lowest: float | None = None
) -> dict[str, float]:
  """Means over requests; what is not defined is left out.

  Args:
    found: of rollout/held_samples.py: watch.
    is_head: by item.
    lowest: what a reward is at least, where no sample need be an item; -inf
      takes the worst of held-out items in its place. None = some must be one.

  Raises:
    ValueError: no request whose target has codes, no sample where some must be
      an item, or rewards that are no numbers.
  """
  where_GK, reward_GK = found["where_GK"], found["reward_GK"]
  known_G = found["known_G"]
  some = where_GK.any()
  if not known_G.any() or not (some or lowest is not None):
    raise ValueError(
      "no held-out request has a target with codes and a sample: there is"
      " nothing to measure."
    )
  pairs_G = found["differs_G"] & known_G
  scores = np.concatenate([found[k][pairs_G] for k in ("target_G", "other_G")])
  if not np.isfinite(scores).all():
    raise ValueError("rewards of held-out items are not finite.")
  if some:
    best_G = np.where(where_GK, reward_GK, -np.inf).max(axis=1)
    reward = float(reward_GK[where_GK].mean())
    best = float(best_G[where_GK.any(axis=1)].mean())
    head_share = float(is_head[found["item_GKN"]][where_GK].mean())
  else:
    worst = found["target_G"][known_G].min()
    reward = float(lowest if np.isfinite(lowest) else worst)
    best, head_share = reward, 0.0
  metrics = {
    "reward": reward,
    "reward_best": best,
    "held_out_nll": float(found["nll_G"][known_G].mean()),
    "legal_share": float(found["legal_G"].mean()),
    "head_share": head_share,
  }
  auc = area(scores, np.arange(len(scores)) < pairs_G.sum())
  return metrics if auc is None else {**metrics, "reward_auc": auc}
