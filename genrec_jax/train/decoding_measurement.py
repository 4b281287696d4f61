# SPDX-License-Identifier: Apache-2.0
"""What a search through codes loses, measured on test requests.

    beam against exact   metrics of both on the same requests, and how many of
                         the exact ten best the beam's ten have
    invalid share        without a trie: lists of codes that no item has, by
                         how many codes it takes to leave the catalogue

The requests are those of users drawn once by a seed. Nothing is chosen by it.
"""

import dataclasses
from typing import Any

import jax
import numpy as np

from genrec_jax.data.requests import iter_requests
from genrec_jax.decoding.decoder import Decoder
from genrec_jax.decoding.unconstrained import unconstrained_search
from genrec_jax.retrieval.generative import Beam, Exact
from genrec_jax.tokens.trie import Trie
from genrec_jax.train.evaluate import evaluate
from genrec_jax.train.run import Run

_TOP = 10


@dataclasses.dataclass(frozen=True)
class _Lists:
  """Lists of codes without a trie: per depth how many are invalid, and all."""

  num_beams: int

  def __call__(self, decoder: Decoder, trie: Trie, allowed_BV1, cold_V1):
    del allowed_BV1, cold_V1
    found = unconstrained_search(decoder, trie, self.num_beams)
    return found.depth_BK, found.scores_BK, found.codes_BKM


class _Recorded:
  """A search that keeps its first ten ids."""

  def __init__(self, search: Any):
    self._search = search
    self.ids: list[np.ndarray] = []

  def __call__(self, requests, k, allowed):
    found = self._search(requests, k, allowed)
    self.ids.append(found[0][:, :_TOP])
    return found


def measure_decoding(
  run: Run, params: Any, *, num_users: int = 500, num_beams: int | None = None
) -> dict[str, Any]:
  """Compares beam search with exact scoring, and counts invalid lists.

  Args:
    run: of a system that generates.
    params: on this process's devices.
    num_users: test users drawn.
    num_beams: of the searches; None = what config.retrieval returns.

  Returns:
    a JSON-able dict.

  Raises:
    ValueError: the run's system has vectors and generates nothing.
  """
  if run.retrieval is None:
    raise ValueError(
      "this run's system searches vectors (config.retrieval is empty): there"
      " is no decoding to measure."
    )
  num_beams = run.retrieval.num_results if num_beams is None else num_beams
  strategies = {"beam": Beam(num_beams), "exact": Exact(num_beams)}
  metrics, ids = {}, {}
  for name, strategy in strategies.items():
    search = _Recorded(_search(run, params, strategy))
    found = evaluate(
      search,
      _requests(run, num_users),
      num_items=run.histories.manifest.num_items,
      ks=tuple(k for k in run.eval.ks if k < num_beams),
      filter_history=run.eval.filter_history,
      progress=name,
      num_requests=num_users,
    )
    metrics[name], ids[name] = found.metrics, np.concatenate(search.ids)
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
    "metrics": metrics,
    "overlap_of_10": float(np.mean(same)),
    "invalid_share_by_depth": _invalid(run, params, num_users, num_beams),
  }


def _search(run: Run, params: Any, strategy: Any):
  program = dataclasses.replace(run.program(), retrieval=strategy)
  return run.search(params, program=program)


def _requests(run: Run, num_users: int):
  return iter_requests(
    run.histories,
    "test",
    run.eval.batch_size,
    max_users=num_users,
    seed=run.seed,
  )


def _invalid(
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
