# SPDX-License-Identifier: Apache-2.0
"""Finds hard negatives with other models, and keeps them as an artifact.

    teacher = Run.open("runs/sasrec")
    mine_negatives(teacher.histories, {"sasrec": teacher_of(teacher)},
                   count=50, directory="runs/new/negatives")

For every user and every event of the training part it asks what comes after it,
with what is known at that moment: the history up to it, and the time of the
event that followed. Several sources take turns in a list, as an ensemble of
retrievers does; an item stands in it once. What the user had taken before is
left out on demand; what is taken later is not known here, and left out by the
loss.
"""

from collections.abc import Callable, Iterator, Mapping
import os
import time
from typing import Any

from jaxtyping import Int
import numpy as np

from genrec_jax.data.dataset.histories import HistorySource
from genrec_jax.data.dataset.negative_lists import NegativeLists
from genrec_jax.data.dataset.requests import Requests, make_requests
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.restored import check_finished, load_params

Search = Callable[[Requests, int, Any], tuple[Any, Any, Any]]


def teacher_of(
  run: Run, checkpoint: str = "best"
) -> tuple[Search, dict[str, Any]]:
  """A run's search, and what names it: its config and its training step.

  Raises:
    ValueError: a run without a checkpoint, or one that is not finished where
      its best one is asked for.
  """
  if checkpoint == "best":
    check_finished(run)
  loaded = load_params(run, checkpoint)
  fact = {
    "name": run.name,
    "checkpoint": loaded.checkpoint,
    "step": int(loaded.step),
    "fingerprint": run.histories.manifest.fingerprint,
  }
  return run.search(loaded.params), fact


def mine_negatives(
  histories: HistorySource,
  sources: Mapping[str, tuple[Search, Mapping[str, Any]]],
  *,
  count: int,
  directory: str | os.PathLike,
  batch_size: int = 64,
  exclude_seen: bool = False,
) -> NegativeLists:
  """Writes the lists of all users and events of the training part.

  Costs one request per source and event, and 4 `count` bytes per event on disk
  and in the memory of the process that trains.

  Args:
    histories: the prepared data set.
    sources: name -> search and facts about it, which the manifest keeps; one
      with a "fingerprint" must be of this data set.
    count: n, items of a list.
    directory: of the artifact, not there yet.
    batch_size: requests at a time, at most what the searches take.
    exclude_seen: leave out what the user had taken up to the moment.

  Raises:
    ValueError: no source, one of another data set, or more items than there
      are.
  """
  manifest = histories.manifest
  _check(sources, manifest, count)
  found, first = [], [0]
  for requests in _moments(histories, batch_size, first):
    longest = max(len(r["item"]) for r in requests.history)
    # So many more as the history may take away, or other sources have too.
    asked = count + (longest if exclude_seen else 0)
    asked = min(asked, manifest.num_items)
    by_source = [
      np.asarray(search(requests, asked, None)[0])
      for search, _ in sources.values()
    ]
    for row, history in enumerate(requests.history):
      out = history["item"] if exclude_seen else ()
      turns = np.stack([ids[row] for ids in by_source], axis=1).reshape(-1)
      found.append(_first_of(turns, out, count))
  lists = np.array(found, np.int32).reshape(-1, count)
  facts = {
    "fingerprint": manifest.fingerprint,
    "made": int(time.time()),
    "sources": {name: dict(fact) for name, (_, fact) in sources.items()},
    "exclude_seen": exclude_seen,
  }
  return NegativeLists.make(lists, np.array(first), facts, directory)


def _check(sources, manifest, count: int) -> None:
  if not sources:
    raise ValueError("there is no source of negatives: name at least one.")
  if not 0 < count <= manifest.num_items:
    raise ValueError(
      f"count={count} must be at least 1 and at most the"
      f" {manifest.num_items:,} items of the catalogue."
    )
  for name, (_, fact) in sources.items():
    theirs = fact.get("fingerprint", manifest.fingerprint)
    if theirs != manifest.fingerprint:
      raise ValueError(
        f"the source {name!r} was trained on another data set (fingerprints"
        f" {theirs} and {manifest.fingerprint}): its numbers are other items,"
        " and it may have seen what is held out here."
      )


def _moments(
  histories: HistorySource, batch_size: int, first: list[int]
) -> Iterator[Requests]:
  """Requests after each event that has a training event behind it.

  Args:
    histories: of all users, in their order.
    batch_size: requests at a time.
    first: is given every user's end among all requests.
  """
  rows = []
  for user in range(len(histories)):
    record = histories[user]
    end = histories.split.train_end(record)
    for position in range(1, end):
      rows.append((record, position))
      if len(rows) == batch_size:
        yield make_requests(rows)
        rows = []
    first.append(first[-1] + max(end - 1, 0))
  if rows:
    yield make_requests(rows)


def _first_of(
  ids: Int[np.ndarray, "n"], out: Any, count: int
) -> Int[np.ndarray, "count"]:
  """The first `count` different ids that are not out; 0 behind them."""
  _, places = np.unique(ids, return_index=True)
  ids = ids[np.sort(places)]
  ids = ids[(ids > 0) & ~np.isin(ids, out)][:count]
  return np.pad(ids, (0, count - len(ids))).astype(np.int32)
