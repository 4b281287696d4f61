# SPDX-License-Identifier: Apache-2.0
"""The next item among all items: what retrieval and generation are measured by.

    config.evals.next_item = {"name": "evaluation.NextItem",
                              "filter_history": True, "ks": (1, 5, 10, ...)}

    hr@K, ndcg@K, mrr@K    of validation targets, which training may watch

Every item of the catalogue is ranked for every request (full_ranking.py); what
is measured of a finished run says next_item_measurement.py, and what stands of
it in the results next_item_results.py. The ranks are kept for paired
comparisons.
"""

from collections.abc import Mapping
import dataclasses
import pathlib
from typing import Any, ClassVar

from genrec_jax.core import seams
from genrec_jax.data.dataset.requests import iter_requests
from genrec_jax.evaluation import next_item_results as results
from genrec_jax.evaluation.base import Unwatched
from genrec_jax.evaluation.full_ranking import evaluate
from genrec_jax.evaluation.next_item_measurement import (
  MODEL,
  check_request_time,
  measure,
)
from genrec_jax.evaluation.ranks import Ranks, compare
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.restored import Loaded
from genrec_jax.metrics.ranking import NAMES


@dataclasses.dataclass(frozen=True)
class NextItem(Unwatched):
  """Ranks the whole catalogue for every request.

  Attributes:
    filter_history: hide a user's earlier items from the candidates.
    ks: cut-offs of the metrics.
    request_time: when a model that uses times is asked: at the "target"'s time,
      or a median gap after the "last" event. The other one is measured beside.
    retriever: of a model of vectors, "brute_force" or "scann"; None = exact,
      or config.retrieval where the model generates (experiment.Run.index).
  """

  filter_history: bool = True
  ks: tuple[int, ...] = (1, 5, 10, 50, 200)
  request_time: str = "target"
  retriever: str | None = None

  file: ClassVar[str] = "ranks.npz"

  def __post_init__(self):
    check_request_time(self.request_time)

  @classmethod
  def of(cls, run: Run) -> "NextItem":
    """How a run's evaluation of next items asks; as usual where it has none."""
    found = [e for e in run.evals.values() if isinstance(e, cls)]
    return found[0] if found else cls()

  @property
  def names(self) -> tuple[str, ...]:
    """Such as ndcg@10, for every cut-off."""
    return tuple(f"{name}@{k}" for k in self.ks for name in NAMES)

  def check(self, run: Run, watched: tuple[str, ...] = ()) -> None:
    """Raises a ValueError where a run cannot be asked for a list of items."""
    if run.retrieval is None:
      seams.require(run.system, seams.QueryModel, "config.system")
    else:
      _check_results(run.retrieval.num_results, self.ks)
    if self.retriever is not None:
      run.retriever_of(self.retriever)
    layout = run.pipeline.layout
    seams.require(layout, seams.RetrievalLayout, "config.pipeline.layout")
    first = iter_requests(run.histories, "validation", 1)
    if watched and next(first, None) is None:
      raise ValueError(
        "no user has a validation target (leave-one-out needs 3 events):"
        " change the split or the filter, or train without validation"
        " (--config.train.eval_every_steps=0)."
      )

  def validate(self, run: Run, params: Any, program: Any) -> dict[str, float]:
    """Metrics by name, of config.train.eval_users."""
    found = evaluate(
      run.search(params, program=program, fill=False),
      iter_requests(
        run.histories,
        "validation",
        run.requests.batch_size,
        max_users=run.train.eval_users,
        seed=run.seed,
      ),
      num_items=run.histories.manifest.num_items,
      ks=self.ks,
      filter_history=self.filter_history,
    )
    return found.metrics

  def measure(
    self, run: Run, loaded: Loaded, *, baselines: bool = True
  ) -> tuple[dict[str, Any], Ranks]:
    """The section of next_item_results.py, and the ranks."""
    index = run.index(loaded.params, self.retriever)
    measured = measure(
      run,
      run.search(loaded.params, index, fill=False),
      self,
      with_baselines=baselines,
    )
    fingerprint = run.histories.manifest.fingerprint
    ranks = Ranks.of(fingerprint, measured.evaluations)
    return results.section(run, measured, self.retriever), ranks

  def text(self, document: Mapping[str, Any]) -> str:
    """The section as lines for a terminal."""
    return results.table(document)

  def differences(
    self, ours: pathlib.Path, theirs: pathlib.Path
  ) -> dict[str, Any]:
    """{PART: {METRIC: [ours - theirs, low, high]}}, users resampled."""
    a, b = Ranks.load(ours / self.file), Ranks.load(theirs / self.file)
    return {
      part: results.triples(compare(a, b, part, MODEL, MODEL))
      for part in a.parts
    }

  def comparison_text(self, against: Mapping[str, Any]) -> str:
    """Such differences as lines for a terminal."""
    return results.comparison_table(against)


def _check_results(num_results: int, ks: tuple[int, ...]) -> None:
  """Raises where a search returns too few items to be measured."""
  if num_results <= max(ks):
    raise ValueError(
      f"config.retrieval returns {num_results} items, and the ks={tuple(ks)} of"
      f" evaluation.NextItem need {max(ks) + 1} (one more shows where a run of"
      " ties ends): raise the one or lower the other."
    )
