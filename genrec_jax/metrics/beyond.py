# SPDX-License-Identifier: Apache-2.0
"""Everything about recommendation lists but their accuracy, in one pass.

    state = BeyondAccuracyMetrics.empty(items, ks=(10,))
    for each batch of requests:
      state = state.merge(BeyondAccuracyMetrics.from_batch(
        ids_UK, targets_U, histories, items, ks=(10,)))
    state.compute()                       {"ild@10": ..., "gini@10": ..., ...}
    state.slices(items)                   by history length, by item popularity

Of each list: filled, unrepeated (lists.py); miuf, arp, lift, tail (novelty.py);
ild, redundancy (list_diversity.py); serendipity; miscalibration
(list_calibration.py); recall. Between lists: coverage, gini, entropy,
effective_items, top_1_percent, top_10_percent, personalization (exposure.py).

A mean is over the lists for which a metric is defined; `counted` says how many
those are. recall@k is whether the target is among the first k places as they
are shown; the accuracy of full ranking, with its rule for ties, is
metrics/ranking.py's. The state keeps a float64 a list and a metric, so that
values of requests can be sliced, resampled and paired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import dataclasses

from jaxtyping import Bool, Float, Int, Shaped
import numpy as np

from genrec_jax.metrics import (
  list_calibration,
  list_diversity,
  lists,
  novelty,
  slices,
)
from genrec_jax.metrics.exposure import Exposure
from genrec_jax.metrics.item_facts import ItemFacts
from genrec_jax.metrics.serendipity import serendipity

_REQUEST = ("target", "history_length")


def per_list(
  lists_UK: Int[np.ndarray, "U K"],
  targets_U: Int[np.ndarray, "U"],
  histories: Sequence[Int[np.ndarray, "_"]],
  items: ItemFacts,
  *,
  redundant_above: float = list_diversity.REDUNDANT_ABOVE,
) -> dict[str, Float[np.ndarray, "U"]]:
  """Returns every metric of each list, over all its K places; NaN = undefined.

  Arguments as BeyondAccuracyMetrics.from_batch; lists as metrics/lists.py.
  """
  counts = items.counts
  arp_U = novelty.average_popularity(lists_UK, counts.events_V1)
  history_U = novelty.history_popularity(histories, counts.events_V1)
  known_U = targets_U > 0
  hit_UK = (lists_UK == targets_U[:, None]) & known_U[:, None]
  gain_U = serendipity(lists_UK, hit_UK, items.ranks_V1)
  values = {
    "filled": lists.filled_share(lists_UK),
    "unrepeated": lists.unrepeated_share(lists_UK),
    "miuf": novelty.inverse_user_frequency(
      lists_UK, counts.users_V1, counts.num_users
    ),
    "arp": arp_U,
    "lift": novelty.popularity_lift(arp_U, history_U),
    "tail": novelty.tail_share(lists_UK, items.head_V1),
    "serendipity": np.where(known_U, gain_U, np.nan),
    "recall": np.where(known_U, hit_UK.any(axis=1), np.nan),
  }
  if items.vectors_V1D is not None:
    values["ild"] = list_diversity.intra_list_diversity(
      lists_UK, items.vectors_V1D
    )
    values["redundancy"] = list_diversity.redundancy(
      lists_UK, items.vectors_V1D, redundant_above
    )
  if items.categories_V1G is not None:
    values["miscalibration"] = list_calibration.miscalibration(
      list_calibration.history_shares(histories, items.categories_V1G),
      list_calibration.list_shares(lists_UK, items.categories_V1G),
    )
  return values


@dataclasses.dataclass(frozen=True, eq=False)
class BeyondAccuracyMetrics:
  """Values of lists in chunks, and the exposure that they gave.

  Attributes:
    exposure: by cut-off k.
    chunks: columns by name: "target", "history_length", "history_arp", and
      every metric of per_list as "name@k".
  """

  exposure: Mapping[int, Exposure]
  chunks: tuple[Mapping[str, Shaped[np.ndarray, "_"]], ...]

  @classmethod
  def empty(
    cls, items: ItemFacts, ks: Sequence[int] = (10,)
  ) -> BeyondAccuracyMetrics:
    nobody = np.zeros((0, max(ks)), np.int32)
    return cls.from_batch(nobody, nobody[:, 0], [], items, ks=ks)

  @classmethod
  def from_batch(
    cls,
    lists_UK: Int[np.ndarray, "U K"],
    targets_U: Int[np.ndarray, "U"],
    histories: Sequence[Int[np.ndarray, "_"]],
    items: ItemFacts,
    *,
    ks: Sequence[int] = (10,),
    redundant_above: float = list_diversity.REDUNDANT_ABOVE,
    where: Bool[np.ndarray, "U"] | None = None,
  ) -> BeyondAccuracyMetrics:
    """Measures a batch of lists.

    Args:
      lists_UK: item indices, best first; 0 or below is an empty place.
      targets_U: what each request's user took next; 0 where unknown, which
        leaves recall and serendipity undefined.
      histories: item indices of the events before each request, whole.
      items: counts of the training part, vectors and categories.
      ks: cut-offs; K must reach the largest, or the whole catalogue.
      redundant_above: cosine above which two items are alike.
      where: drops lists.

    Raises:
      ValueError: too few places, an id that is no item, or other numbers of
        lists, targets and histories.
    """
    if not len(lists_UK) == len(targets_U) == len(histories):
      raise ValueError(
        f"{len(lists_UK)} lists, {len(targets_U)} targets and"
        f" {len(histories)} histories; give one of each for a request"
      )
    if where is not None:
      lists_UK, targets_U = lists_UK[where], targets_U[where]
      kept = zip(histories, where, strict=True)
      histories = [history for history, keep in kept if keep]
    counts = items.counts
    columns = {
      "target": targets_U,
      "history_length": np.array([len(h) for h in histories], np.int64),
      "history_arp": novelty.history_popularity(histories, counts.events_V1),
    }
    exposure = {}
    for k in ks:
      first_UK = lists.first_places(lists_UK, k, items.num_items)
      exposure[k] = Exposure.from_batch(first_UK, items.num_items)
      values = per_list(
        first_UK, targets_U, histories, items, redundant_above=redundant_above
      )
      columns |= {f"{name}@{k}": value for name, value in values.items()}
    return cls(exposure, (columns,))

  def merge(self, other: BeyondAccuracyMetrics) -> BeyondAccuracyMetrics:
    """The state of both; ValueError when they measure other things."""
    mine, others = self.chunks[0].keys(), other.chunks[0].keys()
    if mine != others:
      raise ValueError(
        f"cannot merge states: {sorted(mine ^ others)} are in one alone. Build"
        " both with the same items and ks"
      )
    exposure = {
      k: value.merge(other.exposure[k]) for k, value in self.exposure.items()
    }
    return BeyondAccuracyMetrics(exposure, self.chunks + other.chunks)

  def values(self) -> dict[str, Shaped[np.ndarray, "R"]]:
    """Returns all columns, one entry per list in the order of merging."""
    return {
      name: np.concatenate([chunk[name] for chunk in self.chunks])
      for name in self.chunks[0]
    }

  def counted(self) -> dict[str, int]:
    """Returns how many lists each mean is over, and "lists", all of them."""
    columns = self.values()
    return {"lists": len(columns["target"])} | {
      name: int((~np.isnan(value)).sum())
      for name, value in columns.items()
      if name not in _REQUEST
    }

  def compute(self) -> dict[str, float | None]:
    """Returns "name@k" of all metrics, and "history_arp"; None = undefined.

    Beside lift@k, the mean over users of their own lift, stands group_lift@k:
    the lift of all lists' ARP over all histories', which no user of a history
    without popular items can carry away.
    """
    found = _means(self.values(), self.exposure)
    for k, exposure in self.exposure.items():
      found |= {f"{name}@{k}": v for name, v in exposure.compute().items()}
    return found

  def slices(
    self, items: ItemFacts
  ) -> dict[str, dict[str, dict[str, int | float | None]]]:
    """Returns {"history_length" | "item_popularity": {slice: figures}}.

    Slices are those of metrics/slices.py. By history length: the metrics of
    lists, with "requests" and "share" of them. By item popularity, of the items
    of a slice: "items", and their share of all items, of the training events,
    of the requests' targets and, "@k", of the places shown; "coverage@k", how
    many of the slice are shown at all, and "recall@k" of its targets.
    """
    columns = self.values()
    by_length = slices.by_history_length(columns["history_length"])
    return {
      "history_length": {
        name: {
          "requests": int(mask.sum()),
          "share": float(mask.mean()),
          **_means({n: v[mask] for n, v in columns.items()}, self.exposure),
        }
        for name, mask in by_length.items()
      },
      "item_popularity": self._by_popularity(items, columns),
    }

  def _by_popularity(
    self, items: ItemFacts, columns: Mapping[str, np.ndarray]
  ) -> dict[str, dict[str, int | float | None]]:
    events_V1 = items.counts.events_V1
    known = columns["target"] > 0
    targets = columns["target"][known]
    of_targets = slices.by_popularity(targets, events_V1)
    of_items = slices.by_popularity(
      np.arange(1, items.num_items + 1), events_V1
    )
    nothing = np.zeros(len(targets), bool)
    found = {}
    for name, mask in of_items.items():
      asked = of_targets.get(name, nothing)
      figures = {
        "items": int(mask.sum()),
        "requests": int(asked.sum()),
        "share_of_items": float(mask.mean()),
        "share_of_events": _share(events_V1[1:], mask),
        "share_of_requests": _share(np.ones(len(targets)), asked),
      }
      for k, exposure in self.exposure.items():
        places_V = exposure.places_V1[1:]
        hits = columns[f"recall@{k}"][known][asked]
        figures |= {
          f"share_of_places@{k}": _share(places_V, mask),
          f"coverage@{k}": float((places_V[mask] > 0).mean()),
          f"recall@{k}": _mean(hits),
        }
      found[name] = figures
    return found


def _mean(values: Float[np.ndarray, "R"]) -> float | None:
  defined = values[~np.isnan(values)]
  return float(defined.mean()) if defined.size else None


def _share(amounts: np.ndarray, mask: Bool[np.ndarray, "N"]) -> float | None:
  total = amounts.sum()
  return float(amounts[mask].sum() / total) if total else None


def _means(
  columns: Mapping[str, np.ndarray], ks: Sequence[int] | Mapping
) -> dict[str, float | None]:
  """Means of every metric of lists, and the lift of their sums."""
  found = {n: _mean(v) for n, v in columns.items() if n not in _REQUEST}
  for k in ks:
    both = ~np.isnan(columns[f"lift@{k}"])
    before = columns["history_arp"][both].sum()
    after = columns[f"arp@{k}"][both].sum()
    found[f"group_lift@{k}"] = float(after / before - 1) if before else None
  return found
