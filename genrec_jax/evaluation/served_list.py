# SPDX-License-Identifier: Apache-2.0
"""The list that is served in the end, and which stage finds or loses a target.

    config.evals.served = {"name": "evaluation.ServedList", "ks": (1, 2, 10),
                           "ensemble": {"members": {"model": "this run", ...}},
                           "ranker": "runs/din", "weights": "click=1,like=10"}

Several retrievers propose (experiment/ensemble_options.py), a rule joins their
lists, a trained ranker orders what is joined, or makes a list of it place by
place (`assume`): what `genrec recommend` answers with the same flags. Of every
test request, among all items, the target is

    served   in the first k of the final list
    order    a candidate, and not in the first k
    join     in a member's list, and no candidate
    missed   in no member's list
    hidden   not allowed: an item of the history

beside the recall of each member alone, of all their lists together and of the
joined one, and whose hits are whose. Places count as they are served: a tie
stands where the list has it. Without a ranker the joined list is served, and
without an ensemble the run's own.
"""

from collections.abc import Mapping
import dataclasses
import pathlib
from typing import Any, ClassVar

import numpy as np
from tqdm import tqdm

from genrec_jax.core import seams
from genrec_jax.core.seams import Search
from genrec_jax.data.dataset.requests import (
  Requests,
  count_requests,
  iter_requests,
)
from genrec_jax.data.item_mask import ItemMask
from genrec_jax.evaluation import served_list_results
from genrec_jax.evaluation.base import Unwatched
from genrec_jax.evaluation.full_ranking import (
  asked_at_last_event,
  history_mask,
)
from genrec_jax.evaluation.listed_examples import listed_examples
from genrec_jax.evaluation.next_item_measurement import check_request_time
from genrec_jax.evaluation.next_item_results import triples
from genrec_jax.evaluation.ranks import Ranks, compare
from genrec_jax.evaluation.served_list_results import (
  PART,
  SERVED,
  Served,
  place_of,
)
from genrec_jax.experiment.ensemble_options import THIS_RUN, EnsembleOptions
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.restored import Loaded
from genrec_jax.experiment.trained_ranker import TrainedRanker
from genrec_jax.ranking.list_stage import ListStage


@dataclasses.dataclass(frozen=True)
class ServedList(Unwatched):
  """See the module docstring.

  Attributes:
    ks: cut-offs of the final list.
    ensemble: a table of EnsembleOptions; {} = the run alone.
    ranker: workdir of what orders the candidates, or "this run"; "" = nothing.
    num_candidates: items that are joined, n; None = the ensemble's num_results.
    weights: of the ranker's value, such as "click=1"; "" = its own.
    assume: what the ranker assumes of an item that it has placed, of
      ranking/assumed_actions.py; "" = it orders by value.
    filter_history: hide a user's earlier items from the candidates.
    request_time: all are asked at the "target"'s time, or a median gap after
      the "last" event.
  """

  ks: tuple[int, ...] = (1, 2, 10, 50)
  ensemble: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  ranker: str = ""
  num_candidates: int | None = None
  weights: str = ""
  assume: str = ""
  filter_history: bool = True
  request_time: str = "target"

  file: ClassVar[str] = "served.npz"

  def __post_init__(self):
    check_request_time(self.request_time)
    _ = self.options
    if self.assume and not self.ranker:
      raise ValueError(
        f"evaluation.ServedList has assume={self.assume!r}, which is of a"
        " ranker, and none is named: set ranker, or assume=''."
      )

  @property
  def options(self) -> EnsembleOptions:
    """The ensemble."""
    table = self.ensemble or {"members": {"model": THIS_RUN}}
    return EnsembleOptions.of(table, "evaluation.ServedList.ensemble")

  @property
  def candidates(self) -> int:
    """n, items that are joined."""
    if self.num_candidates is None:
      return self.options.num_results
    return self.num_candidates

  def check(self, run: Run, watched: tuple[str, ...] = ()) -> None:
    """Raises a ValueError for a run that is a member and finds no items.

    So do cut-offs beyond the candidates.
    """
    count = self.candidates
    if count < max(self.ks):
      raise ValueError(
        f"evaluation.ServedList joins {count} candidates, and its"
        f" ks={tuple(self.ks)} need {max(self.ks)}: raise num_candidates (or"
        " num_results of the ensemble), or lower ks."
      )
    if not self.options.asks_this_run:
      return
    layout = run.pipeline.layout
    seams.require(layout, seams.RetrievalLayout, "config.pipeline.layout")
    if run.retrieval is None:
      seams.require(run.system, seams.QueryModel, "config.system")

  def measure(
    self, run: Run, loaded: Loaded, *, baselines: bool = True
  ) -> tuple[dict[str, Any], Ranks]:
    """The section of served_list_results.py, and the places."""
    del baselines
    search = self._search(run, loaded)
    gap = run.histories.manifest.median_gap_seconds or 0
    columns, examples = [], []
    with tqdm(
      total=count_requests(run.histories, PART),
      desc="served lists",
      unit=" requests",
      delay=2,
      leave=False,
    ) as bar:
      for batch in iter_requests(run.histories, PART, run.requests.batch_size):
        if self.request_time == "last":
          batch = asked_at_last_event(batch, gap)
        allowed, found = self._found(search, batch, run)
        columns.append(_served(batch, allowed, found))
        if not examples and self.ranker:
          examples = listed_examples(
            batch, found, search.value.tasks, run.catalog.titles
          )
        bar.update(len(batch))
    if not columns:
      raise ValueError(f"no user has a target in the {PART} part of the split.")
    served = Served.joined(columns)
    options, num_items = self.options, run.histories.manifest.num_items
    depth = max(self.candidates, options.num_results)
    section = {
      **served_list_results.section(
        served,
        self.ks,
        min(self.candidates, num_items),
        min(depth, num_items),
      ),
      "members": options.described(),
      "rule": type(options.rule).__name__,
      "ranker": self.ranker,
      "weights": self.weights,
      "assume": self.assume,
      "examples": examples,
      "notes": [self._convention()],
    }
    fingerprint = run.histories.manifest.fingerprint
    return section, served.ranks(fingerprint, self.ks)

  def _search(self, run: Run, loaded: Loaded) -> Any:
    """requests -> the final list, with {"candidates", "retrieved"}."""
    options, own = self.options, None
    if options.asks_this_run:
      own = run.search(loaded.params, run.index(loaded.params))
    ensemble = options.ensemble(
      run,
      own,
      checkpoint=loaded.checkpoint,
      filter_history=self.filter_history,
    )
    count = self.candidates
    if self.ranker:
      ranker = self._ranker(run, loaded)
      return ListStage.ruled(
        self.assume, ensemble, run.histories, ranker, count, self.weights
      )

    def unranked(requests, k, allowed):
      ids, scores, said = ensemble(
        requests, min(max(k, count), ensemble.num_items), allowed
      )
      found = {"candidates": ids, "retrieved": said}
      return ids[:, :k], scores[:, :k], found

    return unranked

  def _ranker(self, run: Run, loaded: Loaded) -> TrainedRanker:
    if self.ranker == THIS_RUN:
      return TrainedRanker.of(run, loaded.params, self.candidates)
    return TrainedRanker.open(
      self.ranker, checkpoint=loaded.checkpoint, micro_batch=self.candidates
    )

  def _found(
    self, search: Search, batch: Requests, run: Run
  ) -> tuple[ItemMask | None, Any]:
    """What requests may get, and the search's answer to them."""
    num_items = run.histories.manifest.num_items
    allowed = None
    if self.filter_history:
      allowed = history_mask(batch, num_items)
    return allowed, search(batch, min(max(self.ks), num_items), allowed)

  def _convention(self) -> str:
    hidden = "hidden" if self.filter_history else "among the candidates"
    asked = (
      "at the target's time"
      if self.request_time == "target"
      else "a median gap after the last event"
    )
    return (
      f"served lists of all test requests, asked {asked}, among all items, the"
      f" history {hidden}; a tie stands where the list has it"
    )

  def text(self, document: Mapping[str, Any]) -> str:
    """The section as lines for a terminal."""
    return served_list_results.table(document)

  def differences(
    self, ours: pathlib.Path, theirs: pathlib.Path
  ) -> dict[str, Any]:
    """{PART: {METRIC: [ours - theirs, low, high]}}, users resampled.

    Of one relevant item a request, hr@K is recall@K.
    """
    a, b = Ranks.load(ours / self.file), Ranks.load(theirs / self.file)
    return {
      part: triples(compare(a, b, part, SERVED, SERVED)) for part in a.parts
    }

  def comparison_text(self, against: Mapping[str, Any]) -> str:
    """Such differences as lines for a terminal."""
    return served_list_results.comparison_table(against)


def _served(batch: Requests, allowed: ItemMask | None, found: Any) -> Served:
  """Places of the targets of some requests."""
  target_B = np.asarray(batch.target)
  ids_BK, _, said = found
  hidden_B = np.zeros(len(batch), bool)
  if allowed is not None:
    hidden_B = ~allowed.at(target_B[:, None])[:, 0]
  lists = said["retrieved"]["lists"]
  every_BP = np.sort(np.concatenate(list(lists.values()), axis=1), axis=1)
  return Served(
    users_R=batch.user,
    events_R=batch.event,
    targets_R=target_B,
    hidden_R=hidden_B,
    served_R=place_of(ids_BK, target_B),
    candidate_R=place_of(said["candidates"], target_B),
    members={n: place_of(ids, target_B) for n, ids in lists.items()},
    union_R=(np.diff(every_BP, axis=1, prepend=0) > 0).sum(axis=1),
  )
