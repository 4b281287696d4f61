# SPDX-License-Identifier: Apache-2.0
"""The next items that were taken, and how long they were watched.

    config.evals.taken = {"name": "evaluation.TakenItems", "ks": (10, 50),
                          "watched": {"name": "layouts.Watched", ...}}

    recall@K              share of taken targets in the first K places
    watched_recall@K      the same, each by its play time over the mean one
    percentile_recall@K   likewise by q, features.WatchPercentiles'
    head_share@K          places of the lists that hold one of the tenth of
                          items with the most training events

Every item of the catalogue is ranked for every validation and test event on
which one of the actions `taken` was done; its history ends where its request
began. A target whose play time is not known has weight 0. Intervals are 95 %,
users resampled, of these weights as they are. Ranks are kept, so that two runs
can be compared in pairs.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import pathlib
from typing import Any, ClassVar

from jaxtyping import Float, Int
import numpy as np

from genrec_jax.core import seams
from genrec_jax.data.layouts.watched import Watched
from genrec_jax.data.splits import PARTS
from genrec_jax.evaluation import column_file
from genrec_jax.evaluation.base import Unwatched
from genrec_jax.evaluation.full_ranking import evaluate
from genrec_jax.evaluation.next_item_measurement import MODEL, baseline_searches
from genrec_jax.evaluation.ranks import check_same_data
from genrec_jax.evaluation.taken_requests import taken_requests
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.restored import Loaded
from genrec_jax.metrics import bootstrap

_WHERE = "evaluation.TakenItems"
_NAMES = ("recall", "watched_recall", "percentile_recall")
_HEAD = 0.1


@dataclasses.dataclass(frozen=True)
class TakenRanks:
  """What is kept of every request: "PART/users", "PART/ranks/NAME", ...

  Attributes:
    fingerprint: of the prepared data set.
    columns: by name, one entry a request of that part.
  """

  fingerprint: str
  columns: Mapping[str, np.ndarray]

  def save(self, path: pathlib.Path) -> None:
    """Writes the file as a whole or not at all."""
    facts = {"fingerprint": np.array(self.fingerprint)}
    column_file.save(path, facts, self.columns)

  @classmethod
  def load(cls, path: pathlib.Path) -> "TakenRanks":
    """Reads the file; ValueError where there is none."""
    facts, columns = column_file.load(path)
    return cls(str(facts["fingerprint"]), columns)

  def values(
    self, part: str, ranker: str, ks: Sequence[int]
  ) -> dict[str, Float[np.ndarray, "R"]]:
    """What each request adds to the metrics of a ranker."""
    return request_values(
      self.columns[f"{part}/ranks/{ranker}"],
      self.columns[f"{part}/watched"],
      self.columns[f"{part}/percentile"],
      ks,
    )


@dataclasses.dataclass(frozen=True)
class TakenItems(Unwatched):
  """See the module docstring.

  Attributes:
    watched: which events are taken, and their play times.
    ks: cut-offs.
    filter_history: hide a user's earlier items from the lists.
  """

  watched: Watched
  ks: tuple[int, ...] = (10, 50)
  filter_history: bool = True
  _bounds: dict[str, Watched] = dataclasses.field(
    default_factory=dict, compare=False, repr=False
  )

  file: ClassVar[str] = "taken.npz"

  @property
  def names(self) -> tuple[str, ...]:
    """Such as watched_recall@50, for every cut-off."""
    return tuple(f"{name}@{k}" for k in self.ks for name in _NAMES)

  def check(self, run: Run, watched: tuple[str, ...] = ()) -> None:
    """Raises a ValueError where a run makes no such lists."""
    layout = run.pipeline.layout
    seams.require(layout, seams.RetrievalLayout, "config.pipeline.layout")
    if run.retrieval is None:
      seams.require(run.system, seams.QueryModel, "config.system")
    elif run.retrieval.num_results <= max(self.ks):
      raise ValueError(
        f"config.retrieval returns {run.retrieval.num_results} items, and the"
        f" ks={tuple(self.ks)} of {_WHERE} need {max(self.ks) + 1}."
      )
    found = taken_requests(run.histories, self._bound(run), "validation", 1)
    if watched and next(found, None) is None:
      raise ValueError(
        f"no validation event has one of the actions {self.watched.taken} of"
        f" {_WHERE}: change the split, or what is taken."
      )

  def validate(self, run: Run, params: Any, program: Any) -> dict[str, float]:
    """Metrics by name, of config.train.eval_users."""
    search = run.search(params, program=program, fill=False)
    columns = self._ranked(run, {MODEL: search}, "validation", run.train)[0]
    kept = TakenRanks("", columns)
    found = kept.values("validation", MODEL, self.ks)
    return {name: float(value.mean()) for name, value in found.items()}

  def measure(
    self, run: Run, loaded: Loaded, *, baselines: bool = True
  ) -> tuple[dict[str, Any], TakenRanks]:
    """{"metrics": {PART: {RANKER: ...}}, "intervals": ...}, and the ranks."""
    index = run.index(loaded.params)
    searches = {MODEL: run.search(loaded.params, index, fill=False)}
    notes = []
    if baselines:
      others, notes = baseline_searches(run, filter_history=self.filter_history)
      searches |= others
    columns, section = {}, {"metrics": {}, "intervals": {}, "requests": {}}
    kept = TakenRanks(run.histories.manifest.fingerprint, columns)
    for part in PARTS:
      found, heads = self._ranked(run, searches, part)
      columns |= found
      users = columns[f"{part}/users"]
      section["requests"][part] = len(users)
      section["metrics"][part], section["intervals"][part] = {}, {}
      for name in searches:
        intervals = bootstrap.intervals(kept.values(part, name, self.ks), users)
        metrics = {n: i.mean for n, i in intervals.items()}
        section["metrics"][part][name] = metrics | heads[name]
        section["intervals"][part][name] = {
          n: [i.low, i.high] for n, i in intervals.items()
        }
    section["notes"] = [*notes, f"taken: {', '.join(self.watched.taken)}"]
    return section, kept

  def text(self, document: Mapping[str, Any]) -> str:
    """The section as lines for a terminal."""
    lines = []
    for part, by_ranker in document["metrics"].items():
      names = [n for n in by_ranker[MODEL]]
      lines.append(f"{part:28}" + "".join(f"{n:>22}" for n in names))
      lines += [
        f"  {ranker:26}" + "".join(f"{values[n]:>22.4f}" for n in names)
        for ranker, values in by_ranker.items()
      ]
    return "\n".join([*lines, *(f"note: {n}" for n in document["notes"])])

  def differences(
    self, ours: pathlib.Path, theirs: pathlib.Path
  ) -> dict[str, Any]:
    """{PART: {METRIC: [ours - theirs, low, high]}}, users resampled."""
    a, b = (TakenRanks.load(path / self.file) for path in (ours, theirs))
    check_same_data(a.fingerprint, b.fingerprint)
    found = {}
    for part in column_file.parts(a.columns):
      for column in ("users", "events"):
        key = f"{part}/{column}"
        if not np.array_equal(a.columns[key], b.columns[key]):
          raise ValueError(f"the two runs differ in {key}: evaluate both again")
      mine, other = (x.values(part, MODEL, self.ks) for x in (a, b))
      users = a.columns[f"{part}/users"]
      intervals = {n: bootstrap.paired(mine[n], other[n], users) for n in mine}
      found[part] = {n: [i.mean, i.low, i.high] for n, i in intervals.items()}
    return found

  def comparison_text(self, against: Mapping[str, Any]) -> str:
    """Such differences as lines for a terminal."""
    lines = [
      f"minus {against['config']}, seed {against['seed']}, 95 %, paired:"
    ]
    for part, metrics in against["differences"].items():
      lines += [
        f"  {part:12}{name:>24}{mean:>+10.4f}  [{low:+.4f}, {high:+.4f}]"
        for name, (mean, low, high) in metrics.items()
      ]
    return "\n".join(lines)

  def _bound(self, run: Run) -> Watched:
    """The play times of the run's data, which are read once."""
    data = run.histories.manifest.fingerprint
    if data not in self._bounds:
      self._bounds[data] = self.watched.bind(run.artifacts)
    return self._bounds[data]

  def _ranked(self, run, searches, part, train=None):
    """Columns of a part, and the head's share of each ranker's lists."""
    bound = self._bound(run)
    head_V1 = head_items(run.catalog.count)
    columns, heads = {}, {}
    for name, search in searches.items():
      places = {k: [0, 0] for k in self.ks}

      def counted(batch, k, allowed, search=search, places=places):
        ids, scores, aux = search(batch, k, allowed)
        listed_BK = np.asarray(ids)
        for cutoff, state in places.items():
          some = listed_BK[:, :cutoff]
          state[0] += int(head_V1[some].sum())
          state[1] += int((some > 0).sum())
        return ids, scores, aux

      found = evaluate(
        counted,
        taken_requests(
          run.histories,
          bound,
          part,
          run.requests.batch_size,
          max_users=train.eval_users if train else None,
          seed=run.seed,
        ),
        num_items=run.histories.manifest.num_items,
        ks=self.ks,
        filter_history=self.filter_history,
        progress=None if train else f"{part} taken {name}",
      )
      columns[f"{part}/ranks/{name}"] = found.ranks_R
      heads[name] = {
        f"head_share@{k}": hits / max(all_, 1)
        for k, (hits, all_) in places.items()
      }
    columns[f"{part}/users"] = found.users_R
    columns[f"{part}/events"] = found.events_R
    told = np.array(
      [
        [x[event] for x in bound.fitted.of(int(user))]
        for user, event in zip(found.users_R, found.events_R, strict=True)
      ],
      np.float64,
    ).reshape(-1, 2)
    told = np.nan_to_num(told, nan=0.0)
    columns[f"{part}/percentile"], columns[f"{part}/watched"] = told.T
    return columns, heads


def request_values(
  ranks_R: Int[np.ndarray, "R"],
  watched_R: Float[np.ndarray, "R"],
  percentile_R: Float[np.ndarray, "R"],
  ks: Sequence[int],
) -> dict[str, Float[np.ndarray, "R"]]:
  """What each request adds: the mean over requests is the metric.

  Args:
    ranks_R: of the targets.
    watched_R: their play times; 0 = unknown.
    percentile_R: their q; 0 = unknown.
    ks: cut-offs.
  """
  weights = (np.ones(len(ranks_R)), watched_R, percentile_R)
  found = {}
  for k in ks:
    for name, weight_R in zip(_NAMES, weights, strict=True):
      mean = weight_R.mean() if len(weight_R) else 0.0
      found[f"{name}@{k}"] = (ranks_R <= k) * weight_R / (mean or 1.0)
  return found


def head_items(count_V1: Int[np.ndarray, "V1"]) -> np.ndarray:
  """Whether an item is of the tenth with the most training events."""
  size = max(1, int(_HEAD * (len(count_V1) - 1)))
  head_V1 = np.zeros(len(count_V1), bool)
  head_V1[1 + np.argsort(-count_V1[1:], kind="stable")[:size]] = True
  return head_V1
