# SPDX-License-Identifier: Apache-2.0
"""Which retrievers answer together, as a small table: a config node, or JSON.

    {"members": {"model": "this run", "older": "runs/sasrec",
                 "item_knn": "item_knn", "popular": "recently_popular"},
     "rule": {"name": "retrieval.ReciprocalRank", "weights": {"model": 2}},
     "num_results": 100}

A member is the run that is asked, the workdir of another on the same data set,
a baseline of its training part, a source of lists such as

    {"name": "experiment.TableLists", "path": "lists.csv", "time": "made_at"}

or in Python any search(requests, k, allowed).
"""

from collections.abc import Callable, Mapping
import dataclasses
import json
import os
import pathlib
from typing import Any

import numpy as np

from genrec_jax.baselines.item_knn import ItemKNN
from genrec_jax.baselines.most_popular import MostPopular
from genrec_jax.baselines.recently_popular import RecentlyPopular
from genrec_jax.core import seams
from genrec_jax.core.build import build_options
from genrec_jax.core.names import public_name
from genrec_jax.core.seams import Search
from genrec_jax.core.suggest import choices_hint, short
from genrec_jax.data.dataset.requests import Requests, requests_at
from genrec_jax.data.item_mask import ItemMask
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.list_member import list_search
from genrec_jax.experiment.made_lists import ListSource
from genrec_jax.experiment.restored import load_params
from genrec_jax.retrieval.ensemble import (
  Ensemble,
  ListRule,
  ReciprocalRank,
  check_results,
)

THIS_RUN = "this run"


def _item_knn(run: Run, filter_history: bool) -> Search:
  return ItemKNN.tune(
    run.histories, filter_history=filter_history, seed=run.seed
  ).search


def _most_popular(run: Run, filter_history: bool) -> Search:
  del filter_history
  return MostPopular(run.catalog.count).search


def _recently_popular(run: Run, filter_history: bool) -> Search:
  del filter_history
  return RecentlyPopular.build(run.histories).search


# (run, whether the history is hidden) -> the search of a baseline.
BASELINES: Mapping[str, Callable[[Run, bool], Search]] = {
  "item_knn": _item_knn,
  "most_popular": _most_popular,
  "recently_popular": _recently_popular,
}


@dataclasses.dataclass(frozen=True)
class EnsembleOptions:
  """See the module docstring.

  Attributes:
    members: name -> "this run", a baseline of BASELINES, a workdir, a source of
      lists or a search.
    rule: retrieval.ReciprocalRank or retrieval.Quotas.
    num_results: items of the joined list, and of each member's.
  """

  members: Any
  rule: ListRule = ReciprocalRank()
  num_results: Any = 100

  def __post_init__(self):
    if not isinstance(self.members, Mapping) or not self.members:
      raise ValueError(
        f"members={short(self.members)} must map the name of each retriever to"
        f" {THIS_RUN!r}, a workdir or a baseline ({', '.join(BASELINES)})."
      )
    for name, member in self.members.items():
      named = isinstance(member, str) and member
      if not (named or callable(member) or _has_lists(member)):
        raise ValueError(
          f"members[{name!r}]={short(member)} must be {THIS_RUN!r}, a workdir,"
          f" a baseline ({', '.join(BASELINES)}), a source of lists such as"
          " experiment.TableLists, or a search."
        )
    check_results(self.num_results)
    seams.require(self.rule, ListRule, "rule")
    self.rule.check(tuple(self.members), self.num_results)

  @classmethod
  def of(cls, table: Any, where: str = "ensemble") -> "EnsembleOptions":
    """Of a mapping, or of the path of a JSON file that holds one.

    Raises:
      ValueError: no such file, what is no table, an unknown key, or values that
        do not go together.
    """
    if isinstance(table, cls):
      return table
    return build_options(cls, cls.table(table, where), where=where)

  @staticmethod
  def table(table: Any, where: str = "ensemble") -> Mapping[str, Any]:
    """The mapping itself, or that of a JSON file; raises as `of`."""
    if isinstance(table, str | os.PathLike):
      table = _read(pathlib.Path(table))
    if not isinstance(table, Mapping):
      raise ValueError(
        f"{where}={short(table)} must be a table with members, or the path of a"
        " JSON file that holds one."
      )
    return table

  @property
  def asks_this_run(self) -> bool:
    """Whether the run that is asked is a member."""
    return THIS_RUN in [m for m in self.members.values() if isinstance(m, str)]

  def described(self) -> dict[str, str]:
    """What each member is, for readers."""
    said = {}
    for name, member in self.members.items():
      if isinstance(member, str):
        said[name] = member
      elif _has_lists(member):
        said[name] = public_name(type(member))
      else:
        said[name] = "a search"
    return said

  def ensemble(
    self,
    run: Run,
    own: Search | None,
    *,
    checkpoint: str = "best",
    filter_history: bool = True,
  ) -> Ensemble:
    """The search of all members.

    Args:
      run: whose data set is searched.
      own: the run's own search; None where it is no member.
      checkpoint: of other runs, "best" or "latest".
      filter_history: whether the history will be hidden, for what a baseline
        chooses on validation.

    Raises:
      ValueError: a member that is neither a workdir nor a baseline, is of
        another data set, finds no items, or has lists that cannot be read.
    """
    searches = {}
    for name, member in self.members.items():
      if _has_lists(member):
        searches[name] = list_search(name, member, run.histories)
      elif callable(member):
        searches[name] = member
      elif member == THIS_RUN:
        searches[name] = own
      elif member in BASELINES:
        searches[name] = BASELINES[member](run, filter_history)
      else:
        searches[name] = _of_workdir(name, member, run, checkpoint)
    return Ensemble(
      searches,
      self.rule,
      self.num_results,
      run.histories.manifest.num_items,
      MostPopular(run.catalog.count).search,
    )


def _has_lists(member: Any) -> bool:
  """Whether a member is a source of lists; a path opens too, and is none."""
  path = isinstance(member, os.PathLike)
  return not path and seams.offers(member, ListSource)


def in_batches(search: Search, batch_size: int) -> Search:
  """A search of any number of requests, asked for so many at a time."""

  def asked(requests: Requests, k: int, allowed: ItemMask | None = None):
    ids, scores = [], []
    for start in range(0, len(requests), batch_size):
      rows = np.arange(start, min(start + batch_size, len(requests)))
      mask = None if allowed is None else allowed[rows]
      found = search(requests_at(requests, rows), k, mask)
      ids.append(np.asarray(found[0]))
      scores.append(np.asarray(found[1]))
    return np.concatenate(ids), np.concatenate(scores), {}

  return asked


def _of_workdir(name: str, workdir: str, run: Run, checkpoint: str) -> Search:
  """What another run finds."""
  if not pathlib.Path(workdir).is_dir():
    raise ValueError(
      f"members[{name!r}]={short(workdir)} is neither a folder nor a baseline."
      + choices_hint(workdir, [THIS_RUN, *BASELINES])
    )
  other = Run.open(workdir)
  ours = run.histories.manifest.fingerprint
  theirs = other.histories.manifest.fingerprint
  if ours != theirs:
    raise ValueError(
      f"members[{name!r}]: {workdir} was trained on the data in"
      f" {other.histories.directory}, and this run on those in"
      f" {run.histories.directory} (fingerprints {theirs} and {ours}): train"
      " both on one source, filter and split (--config.prepared)."
    )
  place = f"the system of {workdir}"
  seams.require(other.pipeline.layout, seams.RetrievalLayout, place)
  if other.retrieval is None:
    seams.require(other.system, seams.QueryModel, place)
  params = load_params(other, checkpoint).params
  search = other.search(params, other.index(params))
  return in_batches(search, other.requests.batch_size)


def _read(path: pathlib.Path) -> Any:
  if not path.is_file():
    raise ValueError(f"there is no {path}: name a JSON file with members.")
  try:
    return json.loads(path.read_text(encoding="utf-8"))
  except ValueError as error:
    raise ValueError(f"{path} is no JSON ({error}).") from error
