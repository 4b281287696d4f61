# SPDX-License-Identifier: Apache-2.0
"""One evaluation for every ranker: full ranking over the whole catalogue.

    rank_r = place of the target in search(request_r, k, allowed_r)
    metric = mean over requests of gain(rank_r)        (metrics/ranking.py)

A ranker is a function `search(requests, k, allowed) -> (ids, scores, aux)`,
where allowed is an ItemMask (data/item_mask.py), or None for all items: a
trained model over an index (retrieval/model_search.py), a baseline or the
simulator's oracle. All of them meet the same candidates (every item of the
catalogue; with filter_history every item but the user's earlier ones), the same
rule for ties (pessimistic) and the same requests. Ranks are kept per request,
with user and event, so two evaluations can be paired.
"""

from collections.abc import Collection, Iterable, Sequence
import dataclasses
import time

import jax
from jaxtyping import Bool, Int, Shaped
import numpy as np
from tqdm import tqdm

from genrec_jax.core.seams import Search
from genrec_jax.data.dataset.requests import Requests
from genrec_jax.data.item_mask import ItemMask
from genrec_jax.data.times import int32_seconds
from genrec_jax.metrics import slices
from genrec_jax.metrics.ranking import KS, MISS, RankingMetrics, rank_of_target

# Index of each request's action, and the actions that each index stands for.
Actions = tuple[Int[np.ndarray, "R"], Sequence[Collection[str]]]


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """Metrics of one ranker on one part, and the ranks that they come from.

  Attributes:
    metrics: "hr@10", "ndcg@10", "mrr@10", ... over all requests.
    ranks_R: pessimistic rank of each target; MISS beyond max(ks).
    users_R: user index of each request, the unit of the bootstrap.
    events_R: position of the target in the user's record.
    targets_R: item index of the target.
    lengths_R: number of earlier events.
    repeats_R: whether the target is among the earlier events.
    gaps_R: seconds from the last event to the target; -1 without either time.
    ks: the cut-offs.
    seconds: wall time, compilation included.
  """

  metrics: dict[str, float]
  ranks_R: Int[np.ndarray, "R"]
  users_R: Int[np.ndarray, "R"]
  events_R: Int[np.ndarray, "R"]
  targets_R: Int[np.ndarray, "R"]
  lengths_R: Int[np.ndarray, "R"]
  repeats_R: Bool[np.ndarray, "R"]
  gaps_R: Int[np.ndarray, "R"]
  ks: tuple[int, ...]
  seconds: float

  @property
  def num_requests(self) -> int:
    return len(self.ranks_R)

  @property
  def num_users(self) -> int:
    return len(np.unique(self.users_R))

  def slices(
    self,
    item_counts: Int[np.ndarray, "V1"],
    actions: Actions | None = None,
  ) -> dict[str, dict[str, dict[str, int | float]]]:
    """Returns {KIND: {slice: metrics}}.

    A kind is "history_length", "item_popularity", "since_last_event" or
    "action". Each slice also has "requests" and "share" (of all requests);
    those by popularity have "items", how many of the catalogue they are about.

    Args:
      item_counts: training events of every item index (catalog.count).
      actions: of the targets; None where the data have none.
    """
    items_V = np.arange(1, len(item_counts))
    of_items = slices.by_popularity(items_V, item_counts)
    kinds = {
      "action": slices.by_action(*actions) if actions else {},
      "history_length": slices.by_history_length(self.lengths_R),
      "item_popularity": slices.by_popularity(self.targets_R, item_counts),
      "since_last_event": slices.by_last_event(self.gaps_R),
    }
    found = {
      kind: {
        name: {
          "requests": int(mask.sum()),
          "share": float(mask.mean()),
          **RankingMetrics.from_batch(self.ranks_R[mask], self.ks).compute(),
        }
        for name, mask in masks.items()
      }
      for kind, masks in kinds.items()
      if masks
    }
    for name, values in found["item_popularity"].items():
      values["items"] = int(of_items[name].sum())
    return found


def history_mask(requests: Requests, num_items: int) -> ItemMask:
  """Returns the items that are not among the user's earlier events.

  The whole history counts, also what lies before the most recent events that a
  model may be limited to.
  """
  items = [record["item"] for record in requests.history]
  return ItemMask.all_but(items, num_items)


def asked_at_last_event(requests: Requests, gap_seconds: int) -> Requests:
  """Replaces the target's time by that of the last event + gap_seconds.

  This is what a service knows that does not see the future. Without earlier
  events there is nothing to relate the time to, and it stays.
  """
  query_time = np.array(
    [
      int(record["time"][-1]) + gap_seconds if len(record["item"]) else time_now
      for record, time_now in zip(
        requests.history, requests.query_time, strict=True
      )
    ],
    np.int64,
  )
  return dataclasses.replace(
    requests, query_time=int32_seconds(query_time, "the last event and a gap")
  )


def evaluate(
  search: Search,
  requests: Iterable[Requests],
  *,
  num_items: int,
  ks: Sequence[int] = KS,
  filter_history: bool = True,
  progress: str | None = None,
  num_requests: int | None = None,
) -> Evaluation:
  """Ranks every request's target among all items.

  Args:
    search: the ranker; called once per batch with k = max(ks) + 1 (at most
      num_items) and the mask of allowed items (None without filter_history).
    requests: batches of requests whose targets are known.
    num_items: V.
    ks: cut-offs of the metrics.
    filter_history: hide ALL earlier events of the user from the candidates.
      Then a target which repeats an earlier item cannot be found and is a
      miss; where repeats are real (commerce), evaluate both ways and report
      both. `Evaluation.repeats_R` marks them.
    progress: label of a progress bar over requests; None shows none.
    num_requests: total of that bar, where known.

  Raises:
    ValueError: no requests, a target that is no item, or a ranker that
      returns another shape than (batch, k).
  """
  ks = tuple(ks)
  started = time.perf_counter()
  state = RankingMetrics.empty(ks)
  columns = []
  with tqdm(
    total=num_requests,
    desc=progress,
    unit="req",
    disable=progress is None,
    delay=2,
    leave=False,
  ) as bar:
    for batch in requests:
      found = _columns(search, batch, max(ks), num_items, filter_history)
      state = state.merge(RankingMetrics.from_batch(found[0], ks))
      columns.append(found)
      bar.update(len(batch.target))
  if not columns:
    raise ValueError(
      "there are no requests to evaluate: no user has a target in this part"
      " of the split (leave-one-out needs users with 3 or more events)"
    )
  return Evaluation(
    state.compute(),
    *(np.concatenate(column) for column in zip(*columns, strict=True)),
    ks=ks,
    seconds=time.perf_counter() - started,
  )


def _columns(
  search: Search,
  batch: Requests,
  max_rank: int,
  num_items: int,
  filter_history: bool,
) -> tuple[Shaped[np.ndarray, "B"], ...]:
  """Ranks, users, events, targets, lengths, repeats, gaps of one batch."""
  _check_targets(batch.target, num_items)
  unseen = history_mask(batch, num_items)
  repeats = ~unseen.at(batch.target[:, None])[:, 0]
  # The place after the last cut-off shows whether a run of ties goes on.
  ids, scores, _ = search(
    batch, min(max_rank + 1, num_items), unseen if filter_history else None
  )
  ranks = _ranks(ids, scores, batch.target, max_rank, num_items)
  lengths = np.array([len(r["item"]) for r in batch.history], np.int32)
  gaps = np.array(
    [
      int(asked) - int(record["time"][-1])
      if len(record["item"]) and "time" in record
      else -1
      for record, asked in zip(batch.history, batch.query_time, strict=True)
    ],
    np.int64,
  )
  return ranks, batch.user, batch.event, batch.target, lengths, repeats, gaps


def _check_targets(target: Int[np.ndarray, "B"], num_items: int) -> None:
  wrong = np.flatnonzero((target < 1) | (target > num_items))
  if wrong.size:
    raise ValueError(
      f"request {wrong[0]} of a batch has target {target[wrong[0]]}; the"
      f" targets of an evaluation are item indices 1..{num_items}"
    )


def _ranks(
  ids, scores, target: Int[np.ndarray, "B"], max_rank: int, num_items: int
) -> Int[np.ndarray, "B"]:
  """Ranks of the targets; a list of the whole catalogue gets its end mark."""
  ids, scores = jax.device_get((ids, scores))
  expected = (len(target), min(max_rank + 1, num_items))
  if ids.shape != expected or scores.shape != expected:
    raise ValueError(
      f"the ranker returned ids {ids.shape} and scores {scores.shape};"
      f" expected (requests, k) = {expected}"
    )
  if expected[1] == num_items:
    ids = np.pad(ids, ((0, 0), (0, 1)))
    scores = np.pad(scores, ((0, 0), (0, 1)), constant_values=-np.inf)
  ranks = rank_of_target(ids, scores, target)
  # The whole catalogue resolves one rank more than a longer one's list does.
  return np.where(ranks <= max_rank, ranks, MISS).astype(np.int32)
