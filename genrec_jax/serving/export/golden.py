# SPDX-License-Identifier: Apache-2.0
"""Golden requests: what a run was asked, and what it answered.

A bundle keeps a few of the test part: the histories, the arrays that the layout
made of them, and the answers of the run itself, by the code that evaluates it:

    lists     Requests, allowed_BW -> ids_BK, scores_BK       of retrievers
    logits    Impressions -> logits_BNT                       of rankers

Whoever opens the bundle asks the same of its programs. Requests name users by
their index and not by their id.
"""

from collections.abc import Mapping
import dataclasses
import itertools
from typing import Any

import numpy as np

from genrec_jax.data.dataset.impressions import Impressions, iter_impressions
from genrec_jax.data.dataset.requests import (
  Requests,
  iter_requests,
  requests_at,
)
from genrec_jax.data.item_mask import ItemMask
from genrec_jax.data.schema import Record
from genrec_jax.evaluation.scored import scorer
from genrec_jax.experiment.experiment import Run
from genrec_jax.serving.export import tensors

# Batches of the test part in which a request with a history is looked for.
_BATCHES = 64


@dataclasses.dataclass(frozen=True)
class Golden:
  """Some requests of one kind; arrays have one row for each.

  Attributes:
    asked: the requests.
    batch: what the layout made of them.
    answer: of the run.
    allowed_BW: words of the items that each may get; None for rankers.
  """

  asked: Requests | Impressions
  batch: dict[str, np.ndarray]
  answer: dict[str, np.ndarray]
  allowed_BW: np.ndarray | None = None

  @classmethod
  def of_lists(cls, run: Run, params: Any, count: int, k: int) -> "Golden":
    """Requests of the test part, what was seen left out.

    Args:
      run: with its layout bound.
      params: as run.program() places them.
      count: of requests, at most run.requests.batch_size.
      k: places of a list.

    Raises:
      ValueError: no request of the test part has a history.
    """
    count = min(count, run.requests.batch_size)
    num_items = run.histories.manifest.num_items
    for requests in _few(iter_requests(run.histories, "test", count)):
      known = [i for i, r in enumerate(requests.history) if len(r["item"])]
      if known:
        requests = requests_at(requests, np.array(known))
        break
    else:
      raise _nothing(run)
    hidden = [record["item"] for record in requests.history]
    allowed = ItemMask.all_but(hidden, num_items)
    ids, scores, _ = run.search(params, fill=False)(requests, k, allowed)
    return cls(
      requests,
      run.pipeline.layout.request_batch(requests),
      {"ids_BK": np.asarray(ids), "scores_BK": np.asarray(scores)},
      allowed.words_BW,
    )

  @classmethod
  def of_logits(
    cls, run: Run, params: Any, count: int, num_candidates: int
  ) -> "Golden":
    """Impressions of the test part; arguments and errors as in of_lists."""
    count = min(count, run.requests.batch_size)
    layout = run.pipeline.layout
    shown = iter_impressions(
      run.histories, "test", layout.feedback, count, num_candidates
    )
    for impressions in _few(shown):
      logits = scorer(run, params)(impressions)
      batch = layout.impression_batch(impressions)
      return cls(impressions, batch, {"logits_BNT": logits})
    raise _nothing(run)

  def __len__(self) -> int:
    return len(self.asked)

  def arrays(self) -> dict[str, np.ndarray]:
    """All of it by name."""
    names = [f.name for f in dataclasses.fields(self.asked)]
    found = {
      f"asked/{name}": value
      for name in names
      if name != "history" and (value := getattr(self.asked, name)) is not None
    }
    found |= tensors.under(_end_to_end(self.asked.history), "history")
    found |= tensors.under(self.batch, "batch")
    found |= tensors.under(self.answer, "answer")
    if self.allowed_BW is not None:
      found["allowed_BW"] = self.allowed_BW
    return found

  @classmethod
  def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Golden":
    """Of `arrays`."""
    kind = Impressions if "asked/candidates" in arrays else Requests
    asked = tensors.below(arrays, "asked")
    history = _cut_up(tensors.below(arrays, "history"))
    return cls(
      kind(history=history, **asked),
      tensors.below(arrays, "batch"),
      tensors.below(arrays, "answer"),
      arrays.get("allowed_BW"),
    )


def _few(batches):
  return itertools.islice(batches, _BATCHES)


def _nothing(run: Run) -> ValueError:
  return ValueError(
    f"{run.workdir}: the test part asks nothing (of the first users) that could"
    " be kept as golden requests: split the data so that it does."
  )


def _end_to_end(history: list[Record]) -> dict[str, np.ndarray]:
  """Records one after the other, and how long each one is."""
  names = [name for name in history[0] if name != "user"]
  return {
    "user": np.array([record["user"] for record in history], np.int32),
    "lengths": np.array([len(r["item"]) for r in history], np.int32),
    **{
      f"fields/{name}": np.concatenate([r[name] for r in history])
      for name in names
    },
  }


def _cut_up(arrays: Mapping[str, np.ndarray]) -> list[Record]:
  """Undoes _end_to_end."""
  ends = np.cumsum(arrays["lengths"])[:-1]
  fields = {
    name: np.split(values, ends)
    for name, values in tensors.below(arrays, "fields").items()
  }
  return [
    {
      "user": np.array(user, np.int32),
      **{name: parts[i] for name, parts in fields.items()},
    }
    for i, user in enumerate(arrays["user"])
  ]
