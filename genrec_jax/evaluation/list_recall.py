# SPDX-License-Identifier: Apache-2.0
"""What a list finds of what a user took together: a basket, or what came next.

    config.evals.lists = {"name": "evaluation.ListRecall", "ks": (5,),
                          "lists": {"name": "dataset.Baskets", "size": 5}}

    list_recall@K, list_ndcg@K, list_hr@K    of validation, higher is better

Right are all items of a list (data/dataset/target_lists.py), the metrics are
those of metrics/found_items.py. Whatever finds items can be measured: a model
that writes lists, one whose first K items are the list, baselines. A model that
does more than that may be asked by a `retrieval` of its own here, once training
is over: a second search at every validation would cost as much again. With a
`reward` also the best of the model's lists by a reward model
(experiment/list_rewards.py), on users that it was not trained on.
"""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any

import numpy as np

from genrec_jax.core import seams
from genrec_jax.core.option_checks import check_counts
from genrec_jax.data.dataset.requests import make_requests
from genrec_jax.data.dataset.target_lists import (
  ListRule,
  TargetList,
  lists_of_part,
)
from genrec_jax.data.dataset.user_part import UserPart
from genrec_jax.data.schema import Record
from genrec_jax.data.splits import PARTS
from genrec_jax.evaluation.base import Unwatched
from genrec_jax.evaluation.full_ranking import history_mask
from genrec_jax.evaluation.next_item_measurement import baseline_searches
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.list_rewards import (
  ListRewards,
  ListStrategy,
  Rewards,
  best_of_lists,
)
from genrec_jax.experiment.restored import Loaded
from genrec_jax.metrics.found_items import NAMES, found_items
from genrec_jax.retrieval.strategy import Strategy, check_model
from genrec_jax.semantic_ids.stages import of_run_before

_Pairs = list[tuple[Record, TargetList]]


@dataclasses.dataclass(frozen=True)
class ListRecall(Unwatched):
  """See the module docstring.

  Attributes:
    lists: what makes lists of events; where the layout has one, the same.
    ks: cut-offs.
    filter_history: hide a user's earlier items from the candidates.
    users: whose lists are measured; None = all.
    reward: chooses among the model's lists; None = nothing does.
    retrieval: finds the model's list; None = config.retrieval does.
  """

  lists: ListRule
  ks: tuple[int, ...] = (5,)
  filter_history: bool = False
  users: UserPart | None = None
  reward: ListRewards | None = None
  retrieval: Strategy | None = None

  def __post_init__(self):
    for k in self.ks:
      check_counts(_Cut(k), "evaluation.ListRecall.ks", "k")

  @property
  def names(self) -> tuple[str, ...]:
    """Such as list_recall@5, for every cut-off; none with a `retrieval`."""
    if self.retrieval is not None:
      return ()
    return tuple(f"list_{name}@{k}" for k in self.ks for name in NAMES)

  def check(self, run: Run, watched: tuple[str, ...] = ()) -> None:
    """Raises a ValueError where a run cannot be asked for lists."""
    if self.retrieval is not None:
      check_model(self.retrieval, run.system)
    run = self._asked(run)
    if run.retrieval is None:
      seams.require(run.system, seams.QueryModel, "config.system")
    elif run.retrieval.num_results < max(self.ks):
      raise ValueError(
        f"config.retrieval returns {run.retrieval.num_results} items, and the"
        f" ks={tuple(self.ks)} of evaluation.ListRecall need {max(self.ks)}."
      )
    layout = run.pipeline.layout
    seams.require(layout, seams.RetrievalLayout, "config.pipeline.layout")
    if seams.offers(layout, seams.ListLayout) and layout.lists != self.lists:
      raise ValueError(
        f"the lists of evaluation.ListRecall are {self.lists}, and those of"
        f" config.pipeline.layout {layout.lists}: make them the same."
      )
    if self.reward is not None:
      seams.require(run.retrieval, ListStrategy, "config.retrieval")
    if watched and not self._pairs(run, "validation", 1):
      raise ValueError(
        "no user has a list in the validation part: change config.split, or"
        " train without validation (--config.train.eval_every_steps=0)."
      )

  def validate(self, run: Run, params: Any, program: Any) -> dict[str, float]:
    """Metrics by name, of config.train.eval_users; see `names`."""
    if self.retrieval is not None:
      return {}
    pairs = self._pairs(run, "validation", run.train.eval_users)
    found = self._measured(run, run.search(params, program=program), pairs)
    return {f"list_{name}": value for name, value in found.items()}

  def measure(
    self, run: Run, loaded: Loaded, *, baselines: bool = True
  ) -> tuple[dict[str, Any], None]:
    """Metrics of both parts, and of the baselines on the same lists."""
    run = self._asked(run)
    searches = {"model": run.search(loaded.params, run.index(loaded.params))}
    notes = []
    if self.reward is not None:
      name = f"best_of_{run.retrieval.num_beams}"
      rewards = self._opened(run)
      searches[name] = best_of_lists(run, loaded.params, rewards)
    if baselines:
      others, notes = baseline_searches(run, filter_history=self.filter_history)
      # What comes next is no list: the oracle's items are of one moment.
      if others.pop("oracle", None) is not None:
        notes = [note for note in notes if "oracle" not in note]
      searches |= others
    found: dict[str, dict[str, Any]] = {name: {} for name in searches}
    counts = {}
    for part in PARTS:
      pairs = self._pairs(run, part)
      counts[part] = {
        "lists": len(pairs),
        "users": len({int(record["user"]) for record, _ in pairs}),
        "items": float(np.mean([len(x.items) for _, x in pairs] or [0])),
      }
      for name, search in searches.items():
        if pairs:
          found[name][part] = self._measured(run, search, pairs)
    return {
      "metrics": found.pop("model"),
      "baselines": found,
      "counts": counts,
      "notes": notes,
    }, None

  def text(self, document: Mapping[str, Any]) -> str:
    """The section as lines for a terminal."""
    rows = {"model": document["metrics"], **document["baselines"]}
    lines = []
    for part, counts in document["counts"].items():
      lines.append(
        f"{part}: {counts['lists']:,} lists of {counts['users']:,} users,"
        f" {counts['items']:.1f} items each:"
      )
      lines += [
        f"  {name:14}"
        + "".join(f"  {n} {v:.4f}" for n, v in metrics[part].items())
        for name, metrics in rows.items()
        if part in metrics
      ]
    return "\n".join([*lines, *document["notes"]])

  def _asked(self, run: Run) -> Run:
    """The run as it is asked for lists."""
    if self.retrieval is None:
      return run
    return dataclasses.replace(run, retrieval=self.retrieval)

  def _opened(self, run: Run) -> Rewards:
    """The reward model, of the run before where no other is named."""
    node = of_run_before(
      {"workdir": self.reward.workdir},
      "evals.*.reward",
      run.config,
      run.workdir,
    )
    found = dataclasses.replace(self.reward, **node)
    trained = Run.open(found.workdir).pipeline.layout.users
    if self.users is None or trained is None or not trained.apart(self.users):
      raise ValueError(
        f"evaluation.ListRecall.users={self.users}, and the reward model in"
        f" {found.workdir} was trained on users={trained}: name another part of"
        " the same draw."
      )
    return found.open(run.histories)

  def _pairs(self, run: Run, part: str, at_most: int | None = None) -> _Pairs:
    """Records and lists of a part, of as many users, drawn once."""
    wanted = self.lists.wanted
    if wanted is not None:
      wanted = wanted.bind(run.histories.manifest.actions)
    pairs = [
      *lists_of_part(run.histories, part, self.lists, wanted, self.users)
    ]
    users = np.unique([int(record["user"]) for record, _ in pairs])
    if at_most is None or at_most >= len(users):
      return pairs
    draw = np.random.default_rng(run.seed)
    chosen = {*draw.choice(users, at_most, replace=False).tolist()}
    return [pair for pair in pairs if int(pair[0]["user"]) in chosen]

  def _measured(
    self, run: Run, search: Callable, pairs: _Pairs
  ) -> dict[str, float]:
    """Means over lists."""
    size, num_items = run.requests.batch_size, run.histories.manifest.num_items
    k, found = min(max(self.ks), num_items), []
    for start in range(0, len(pairs), size):
      rows = [(record, x.end) for record, x in pairs[start : start + size]]
      requests = make_requests(rows)
      allowed = None
      if self.filter_history:
        allowed = history_mask(requests, num_items)
      found.append(np.asarray(search(requests, k, allowed)[0]))
    right = [x.items for _, x in pairs]
    values = found_items(np.concatenate(found), right, self.ks, num_items)
    return {name: float(value.mean()) for name, value in values.items()}


@dataclasses.dataclass(frozen=True)
class _Cut:
  """A cut-off, to be checked."""

  k: int
