# SPDX-License-Identifier: Apache-2.0
"""What the model adds to the retrievers whose lists it was trained with.

    config.evals.incremental = {"name": "evaluation.IncrementalRecall",
                                "ks": (10, 50), "replaced": 0.2}

    r_inc@K, r_inc_fixed@K     of validation targets, which training may watch

The ensemble's list takes turns among the lists of config.lists, and the model
ranks the whole catalogue (metrics/incremental_recall.py has the definitions).
The section of the results:

    gap          {KIND: {SEGMENT: {"requests", "share", "ensemble@K", ...}}}
    metrics      {PART: {"ensemble@K", "model@K", "union@K", "fixed@K", ...}}
    intervals    {PART: {METRIC: [low, high]}}       95 %, users resampled
    retrievers   {NAME: {PART: {"recall@K"}}}

`gap` is of validation: where the ensemble misses most, and what of it the model
finds (data/dataset/segments.py). The page shows it before anything else.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import math
from typing import Any

import jax
from jaxtyping import Float, Int
import numpy as np
from tqdm import tqdm

from genrec_jax.core import seams
from genrec_jax.data.dataset.requests import count_requests, iter_requests
from genrec_jax.data.dataset.retriever_lists import by_turns
from genrec_jax.data.dataset.segments import Segments, check_kinds
from genrec_jax.data.item_mask import ItemMask
from genrec_jax.data.splits import PARTS
from genrec_jax.evaluation.base import Unwatched
from genrec_jax.evaluation.full_ranking import history_mask
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.restored import Loaded
from genrec_jax.metrics import bootstrap, incremental_recall

_WHERE = "evaluation.IncrementalRecall"
_WATCHED = ("r_inc", "r_inc_fixed")
_GAP = ("ensemble", "model", "union")


@dataclasses.dataclass(frozen=True)
class _Measured:
  """Values of all requests of a part, one entry each."""

  values: dict[str, Float[np.ndarray, "R"]]
  by_retriever: dict[str, dict[str, Float[np.ndarray, "R"]]]
  users_R: Int[np.ndarray, "R"]
  targets_R: Int[np.ndarray, "R"]
  times_R: Int[np.ndarray, "R"]
  lengths_R: Int[np.ndarray, "R"]


@dataclasses.dataclass(frozen=True)
class IncrementalRecall(Unwatched):
  """See the module docstring.

  Attributes:
    ks: cut-offs.
    replaced: share of the K places that the fixed budget gives to the model,
      rounded up.
    retrievers: names of those that are the ensemble; () = all of config.lists.
    filter_history: hide a user's earlier items from all lists.
    kinds: of segments, for the gap.
    attribute: of the items, that categories are values of.
  """

  ks: tuple[int, ...] = (10, 50)
  replaced: float = 0.2
  retrievers: tuple[str, ...] = ()
  filter_history: bool = True
  kinds: tuple[str, ...] = ("freshness", "activity")
  attribute: str = ""

  def __post_init__(self):
    if not 0 < self.replaced <= 1:
      raise ValueError(
        f"{_WHERE}.replaced={self.replaced} must be above 0 and at most 1."
      )
    check_kinds(self.kinds, self.attribute)

  @property
  def names(self) -> tuple[str, ...]:
    """Such as r_inc@10, for every cut-off."""
    return tuple(f"{name}@{k}" for k in self.ks for name in _WATCHED)

  def check(self, run: Run, watched: tuple[str, ...] = ()) -> None:
    """Raises a ValueError where a run makes no lists, or has no others'."""
    layout = run.pipeline.layout
    seams.require(layout, seams.RetrievalLayout, "config.pipeline.layout")
    if run.retrieval is None:
      seams.require(run.system, seams.QueryModel, "config.system")
    elif run.retrieval.num_results <= max(self.ks):
      raise ValueError(
        f"config.retrieval returns {run.retrieval.num_results} items, and the"
        f" ks={tuple(self.ks)} of {_WHERE} need {max(self.ks) + 1}."
      )
    check_kinds(self.kinds, self.attribute, run.catalog)
    lists = run.artifacts.retriever_lists()
    lists.columns(self.retrievers, f"{_WHERE}.retrievers")
    num_items = run.histories.manifest.num_items
    if lists.length < min(max(self.ks), num_items):
      raise ValueError(
        f"the lists of config.lists have {lists.length} items each, and the"
        f" ks={tuple(self.ks)} of {_WHERE} need {max(self.ks)}: raise"
        " config.lists.count, or lower them."
      )
    for part in PARTS:
      if part not in lists.manifest["asked"]["parts"]:
        raise ValueError(
          f"the lists of config.lists are not of the {part} part, which"
          f" {_WHERE} measures: name it in config.lists.parts."
        )
    if watched and not count_requests(run.histories, "validation"):
      raise ValueError(
        f"no user has a validation target, and training watches {watched[0]}:"
        " change the split, or train without validation"
        " (--config.train.eval_every_steps=0)."
      )

  def validate(self, run: Run, params: Any, program: Any) -> dict[str, float]:
    """Metrics by name, of config.train.eval_users."""
    search = run.search(params, program=program, fill=False)
    found = self._measured(run, search, PARTS[0], run.train.eval_users)
    return {name: float(found.values[name].mean()) for name in self.names}

  def measure(
    self, run: Run, loaded: Loaded, *, baselines: bool = True
  ) -> tuple[dict[str, Any], None]:
    """The section: see the module docstring."""
    del baselines
    index = run.index(loaded.params)
    search = run.search(loaded.params, index, fill=False)
    found = {part: self._measured(run, search, part) for part in PARTS}
    lists = run.artifacts.retriever_lists()
    names = self.retrievers or lists.names
    section = {
      "ks": list(self.ks),
      "num_requests": {part: len(m.users_R) for part, m in found.items()},
      "gap": self._gap(run, found[PARTS[0]]),
      "metrics": {
        part: {n: float(x.mean()) for n, x in m.values.items()}
        for part, m in found.items()
      },
      "intervals": {
        part: {
          n: [i.low, i.high]
          for n, i in bootstrap.intervals(m.values, m.users_R).items()
        }
        for part, m in found.items()
      },
      "retrievers": {
        name: {
          part: {n: float(x.mean()) for n, x in m.by_retriever[name].items()}
          for part, m in found.items()
        }
        for name in names
      },
      "notes": [
        f"the ensemble: {', '.join(names)} by turns, lists of"
        f" {lists.length}, version {lists.version}",
        f"fixed: the model takes {self.replaced:.0%} of the places"
        + (", the history hidden" if self.filter_history else ""),
      ],
    }
    return section, None

  def _measured(
    self, run: Run, search: seams.Search, part: str, users: int | None = None
  ) -> _Measured:
    """Values of all requests of a part, or of some users."""
    lists = run.artifacts.retriever_lists()
    columns = lists.columns(self.retrievers, f"{_WHERE}.retrievers")
    num_items = run.histories.manifest.num_items
    fetch = min(max(self.ks) + 1, num_items)
    blocks = []
    with tqdm(
      total=count_requests(run.histories, part),
      desc=f"{part} against the ensemble",
      unit=" requests",
      delay=2,
      leave=False,
    ) as bar:
      for batch in iter_requests(
        run.histories,
        part,
        run.requests.batch_size,
        max_users=users,
        seed=run.seed,
      ):
        allowed = None
        if self.filter_history:
          allowed = history_mask(batch, num_items)
        ids, scores, _ = jax.device_get(search(batch, fetch, allowed))
        others = lists.at(batch.user, batch.event)[:, columns]
        found = self._values(ids, scores, others, batch.target, allowed)
        lengths = np.array([len(r["item"]) for r in batch.history], np.int64)
        about = (batch.user, batch.target, batch.query_time, lengths)
        blocks.append((*found, *about))
        bar.update(len(batch))
    if not blocks:
      raise ValueError(f"no user has a target in the {part} part of the split.")
    values, others, *about = zip(*blocks, strict=True)
    names = self.retrievers or lists.names
    by_retriever = {
      name: _joined([block[r] for block in others])
      for r, name in enumerate(names)
    }
    return _Measured(
      _joined(values), by_retriever, *(np.concatenate(x) for x in about)
    )

  def _values(self, ids, scores, lists_BRn, target_B, allowed):
    """Values of requests, and those of each retriever alone."""
    if allowed is not None:
      lists_BRn = _allowed(lists_BRn, allowed)
    # A list of the whole catalogue gets the place that shows where it ends.
    missing = max(max(self.ks) + 1 - ids.shape[1], 0)
    ids = np.pad(ids, ((0, 0), (0, missing)))
    scores = np.pad(scores, ((0, 0), (0, missing)), constant_values=-np.inf)
    ensemble_BE = by_turns(lists_BRn, max(self.ks))
    found, alone = {}, [{} for _ in range(lists_BRn.shape[1])]
    for k in self.ks:
      found |= incremental_recall.per_request(
        ids, scores, ensemble_BE, target_B[:, None], k, self.slots(k)
      )
      for r, own in enumerate(alone):
        list_BK = by_turns(lists_BRn[:, r : r + 1], k)
        hit_B = (list_BK == target_B[:, None]).any(axis=1)
        own[f"recall@{k}"] = hit_B.astype(np.float64)
    return found, alone

  def slots(self, k: int) -> int:
    """Places that the fixed budget gives to the model, of K."""
    return math.ceil(self.replaced * k - 1e-9)

  def _gap(self, run: Run, found: _Measured) -> dict[str, Any]:
    """Recalls by segment; a segment without requests is left out."""
    segments = Segments.build(
      run.histories, run.catalog, self.kinds, self.attribute
    )
    numbers = segments.of(found.targets_R, found.times_R, found.lengths_R)
    shown = [f"{n}@{k}" for k in self.ks for n in _GAP]
    gap = {}
    for kind, number_R in numbers.items():
      gap[kind] = {}
      for place, name in enumerate(segments.names[kind]):
        here_R = number_R == place
        if here_R.any():
          gap[kind][name] = {
            "requests": int(here_R.sum()),
            "share": float(here_R.mean()),
            **{n: float(found.values[n][here_R].mean()) for n in shown},
          }
    return gap

  def text(self, document: Mapping[str, Any]) -> str:
    """The section as lines for a terminal."""
    lines = []
    for part, values in document["metrics"].items():
      for k in document["ks"]:
        cells = [
          f"{name}@{k} {values[f'{name}@{k}']:.4f}"
          for name in incremental_recall.NAMES
        ]
        low, high = document["intervals"][part][f"r_inc@{k}"]
        lines.append(f"{part}: {', '.join(cells)}")
        lines.append(f"  r_inc@{k}, 95 % over users: {low:.4f} to {high:.4f}")
    k = document["ks"][0]
    for kind, rows in document["gap"].items():
      for name, row in rows.items():
        recalls = [f"{n}@{k} {row[f'{n}@{k}']:.4f}" for n in _GAP]
        lines.append(
          f"gap by {kind}: {name:20} {row['requests']:>8,} requests,"
          f" {', '.join(recalls)}"
        )
    lines += [f"note: {note}" for note in document["notes"]]
    return "\n".join(lines)


def _joined(
  blocks: Sequence[Mapping[str, np.ndarray]],
) -> dict[str, Float[np.ndarray, "R"]]:
  return {n: np.concatenate([b[n] for b in blocks]) for n in blocks[0]}


def _allowed(
  lists_BRn: Int[np.ndarray, "B R n"], allowed: ItemMask
) -> Int[np.ndarray, "B R n"]:
  """The lists without items that a request may not get."""
  flat = lists_BRn.reshape(len(lists_BRn), -1)
  return np.where(allowed.at(flat), flat, 0).reshape(lists_BRn.shape)
