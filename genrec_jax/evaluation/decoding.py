# SPDX-License-Identifier: Apache-2.0
"""What a search through codes loses, measured on test requests.

    beam against exact   metrics of both on the same requests, and how many of
                         the exact ten best the beam's ten have
    prefix match         what the places that it gives to items never trained on
                         cost on those requests, and find where the target is
                         such an item
    few beams, back-off  the same with a few beams alone, and with what shares
                         their prefixes behind them: places filled, and metrics
    invalid share        without a trie: lists of codes that no item has, by
                         how many codes it takes to leave the catalogue

The requests are those of users drawn once by a seed; those with targets never
trained on are drawn in the same way. Nothing is chosen by it.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any, ClassVar

import jax
import numpy as np

from genrec_jax.core import seams
from genrec_jax.core.option_checks import check_counts
from genrec_jax.data.dataset.requests import (
  count_requests,
  iter_requests,
  requests_for,
)
from genrec_jax.decoding.decoder import Decoder
from genrec_jax.decoding.unconstrained import unconstrained_search
from genrec_jax.evaluation.base import Unwatched
from genrec_jax.evaluation.full_ranking import evaluate
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.restored import Loaded
from genrec_jax.retrieval.generative import (
  Beam,
  Exact,
  PrefixBackOff,
  PrefixMatch,
)
from genrec_jax.retrieval.strategy import SearchItems

_TOP = 10
_SHOWN = ("hr@10", "ndcg@10", "mrr@10", "hr@50")


@dataclasses.dataclass(frozen=True)
class _Lists:
  """Lists of codes without a trie: per depth how many are invalid, and all."""

  num_beams: int

  needs: ClassVar[tuple[type, ...]] = (seams.DecoderModel,)

  @property
  def num_results(self) -> int:
    """All that is kept."""
    return self.num_beams

  def __call__(self, decoder: Decoder, items: SearchItems, allowed_BW: Any):
    del allowed_BW
    found = unconstrained_search(decoder, items.trie, self.num_beams)
    return found.depth_BK, found.scores_BK, found.codes_BKM


class _Recorded:
  """A search that keeps its first ten ids, and counts those of all places."""

  def __init__(self, search: Any):
    self._search = search
    self.ids: list[np.ndarray] = []
    self.filled: list[float] = []

  def __call__(self, requests, k, allowed):
    found = self._search(requests, k, allowed)
    self.ids.append(found[0][:, :_TOP])
    self.filled += np.mean(found[0] > 0, axis=1).tolist()
    return found


@dataclasses.dataclass(frozen=True)
class Decoding(Unwatched):
  """Beam search against exact scoring, on test users drawn once.

  Attributes:
    users: test users drawn.
    num_beams: of the searches; None = what config.retrieval returns.
    few_beams: of the searches with few.
    ks: cut-offs of the metrics.
    filter_history: hide a user's earlier items from the candidates.
  """

  users: int = 500
  num_beams: int | None = None
  few_beams: int = 10
  ks: tuple[int, ...] = (1, 5, 10, 20, 50)
  filter_history: bool = True

  def __post_init__(self):
    named = () if self.num_beams is None else ("num_beams",)
    where = "evaluation.Decoding"
    check_counts(self, where, "users", "few_beams", *named)

  def check(self, run: Run, watched: tuple[str, ...] = ()) -> None:
    """Raises a ValueError where a model generates nothing."""
    seams.require(run.system, seams.DecoderModel, "config.system")
    if self.num_beams is None and run.retrieval is None:
      raise ValueError(
        "evaluation.Decoding.num_beams=None takes what config.retrieval"
        " returns, and there is none: name a number."
      )

  def measure(
    self, run: Run, loaded: Loaded, *, baselines: bool = True
  ) -> tuple[dict[str, Any], None]:
    """See measure_decoding."""
    del baselines
    return measure_decoding(run, loaded.params, self), None

  def text(self, document: Mapping[str, Any]) -> str:
    """The section as lines for a terminal."""
    return decoding_table(document)


def measure_decoding(
  run: Run, params: Any, options: Decoding
) -> dict[str, Any]:
  """Compares beam search with exact scoring, and counts invalid lists.

  Args:
    run: of a system that generates.
    params: on this process's devices.
    options: how many users, beams and places.

  Returns:
    a JSON-able dict.

  Raises:
    ValueError: no request has an item that may be recommended.
  """
  num_users, num_beams = options.users, options.num_beams
  if num_beams is None:
    num_beams = run.retrieval.num_results
  strategies = {
    "beam": Beam(num_beams),
    "exact": Exact(num_beams),
    "prefix_match": PrefixMatch(num_beams),
    "few_beams": Beam(options.few_beams),
    "back_off": PrefixBackOff(options.few_beams, num_beams),
  }
  searches = {
    name: _Recorded(_search(run, params, strategy))
    for name, strategy in strategies.items()
  }
  metrics, ids = {}, {}
  for name, search in searches.items():
    requests = _requests(run, num_users)
    metrics[name] = _metrics(
      run, search, requests, options, num_beams, name, num_users
    )
    ids[name] = np.concatenate(search.ids)
  same = [
    len(set(a[a > 0]) & set(b[b > 0])) / np.count_nonzero(b)
    for a, b in zip(ids["beam"], ids["exact"], strict=True)
    if b.any()
  ]
  if not same:
    raise ValueError("no request has an item that may be recommended.")
  return {
    "users": len(ids["exact"]),
    "num_beams": num_beams,
    "few_beams": options.few_beams,
    "metrics": metrics,
    "filled": {
      name: float(np.mean(search.filled)) for name, search in searches.items()
    },
    "overlap_of_10": float(np.mean(same)),
    "cold": _cold(run, params, options, num_beams),
    "invalid_share_by_depth": invalid_share(run, params, num_users, num_beams),
  }


def _search(run: Run, params: Any, strategy: Any):
  program = dataclasses.replace(run.program(), retrieval=strategy)
  # What the strategy itself finds is measured.
  return run.search(params, program=program, fill=False)


def _metrics(
  run: Run,
  search: Any,
  requests: Any,
  options: Decoding,
  num_beams: int,
  name: str,
  count: int,
) -> dict[str, float]:
  return evaluate(
    search,
    requests,
    num_items=run.histories.manifest.num_items,
    ks=tuple(k for k in options.ks if k < num_beams),
    filter_history=options.filter_history,
    progress=name,
    num_requests=count,
  ).metrics


def _cold(
  run: Run, params: Any, options: Decoding, num_beams: int
) -> dict[str, Any]:
  """Metrics of requests whose target has no training event."""
  histories, size = run.histories, run.requests.batch_size
  num_users = options.users
  rows = [
    (record, int(place))
    for record in (histories[user] for user in range(len(histories)))
    for place in histories.split.targets(record, "test")
    if run.catalog.count[record["item"][place]] == 0
  ]
  found = {"share": len(rows) / count_requests(histories, "test")}
  if len(rows) > num_users:
    draw = np.random.default_rng(run.seed)
    chosen = draw.choice(len(rows), num_users, replace=False)
    rows = [rows[i] for i in np.sort(chosen)]
  found |= {"requests": len(rows), "metrics": {}}
  if not rows:
    return found
  batches = [
    requests_for(histories.split, rows[i : i + size])
    for i in range(0, len(rows), size)
  ]
  for name, kind in (("beam", Beam), ("prefix_match", PrefixMatch)):
    search, label = _search(run, params, kind(num_beams)), f"{name}, unseen"
    found["metrics"][name] = _metrics(
      run, search, batches, options, num_beams, label, len(rows)
    )
  return found


def _requests(run: Run, num_users: int):
  return iter_requests(
    run.histories,
    "test",
    run.requests.batch_size,
    max_users=num_users,
    seed=run.seed,
  )


def invalid_share(
  run: Run, params: Any, num_users: int, num_beams: int
) -> dict[str, float]:
  """Depth (1 to M) -> share of lists whose first codes no item has."""
  search = _search(run, params, _Lists(num_beams))
  depths = [
    search(requests, num_beams, None)[0]
    for requests in _requests(run, num_users)
  ]
  depth_RK = np.concatenate(jax.device_get(depths))
  listed = depth_RK >= 0
  return {
    str(depth): float(np.mean(depth_RK[listed] < depth))
    for depth in range(1, len(run.system.level_sizes) + 1)
  }


def decoding_table(decoding: Mapping[str, Any]) -> str:
  """Lines of text for the document's "decoding"."""
  names = [m for m in _SHOWN if m in decoding["metrics"]["exact"]]
  lines = [f"decoding, {decoding['users']} test users:"]
  lines += [
    f"  {kind:38}" + "".join(f"  {n} {values[n]:.4f}" for n in names)
    for kind, values in decoding["metrics"].items()
  ]
  filled = ", ".join(f"{k} {v:.1%}" for k, v in decoding["filled"].items())
  lines.append(f"  places filled: {filled}")
  cold = decoding["cold"]
  lines.append(
    f"  {cold['requests']} test requests for items without a training event"
    f" ({cold['share']:.2%} of all requests are such):"
  )
  lines += [
    f"  {kind:38}" + "".join(f"  {n} {values[n]:.4f}" for n in names)
    for kind, values in cold["metrics"].items()
  ]
  shares = ", ".join(
    f"{share:.2%} after {depth}"
    for depth, share in decoding["invalid_share_by_depth"].items()
  )
  lines += [
    f"  beam's ten among the exact ten: {decoding['overlap_of_10']:.1%}",
    f"  without a trie, codes that no item has: {shares}",
  ]
  return "\n".join(lines)
