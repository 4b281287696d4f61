# SPDX-License-Identifier: Apache-2.0
"""Nearest items within some clusters of codes, and in the whole catalogue.

    table         the padded table of clusters, one program
    index         a product of each cluster on the host
    index, ScaNN  the same with an index of ScaNN in each large cluster
    catalogue     exact search of all items
    catalogue, ScaNN

Vectors are made of a trained run's (bench/resampled.py) and codes by residual
k-means of them, so that clusters have the sizes that such vectors give. Of each
request the `num_clusters` clusters whose mean is nearest are searched, for
NEIGHBORS items each: what a fused search asks of its beams once it has them.
"""

from collections.abc import Callable, Mapping
import functools
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int
import numpy as np

from genrec_jax.bench.approximate import QUERIES, exact_lists
from genrec_jax.bench.decoding import take_turns
from genrec_jax.bench.resampled import resampled
from genrec_jax.decoding.trie import Trie
from genrec_jax.retrieval.brute_force import BruteForce
from genrec_jax.retrieval.cluster_index import ClusterIndex
from genrec_jax.retrieval.cluster_table import nearest_in_table
from genrec_jax.retrieval.scann import Scann
from genrec_jax.retrieval.strategy import SearchItems
from genrec_jax.retrieval.tuning import tuned
from genrec_jax.semantic_ids.quantizers.rq_kmeans import ResidualKMeans

SHAPES = ((32, 32, 32), (32, 32), (32,))
NEIGHBORS = 20
# Clusters of more get a ScaNN index; wider tables are not tried.
_APPROXIMATE_ABOVE, _WIDEST = 10_000, 20_000
_FITTED, _BLOCK = 50_000, 1 << 16


def time_clusters(
  *,
  workdir: str,
  num_items: int,
  k: int,
  recall: float,
  batch_size: int,
  turns: int,
  num_clusters: int,
) -> dict[str, Any]:
  """Users per second of each, by level sizes of the codes.

  Args:
    workdir: of a trained run with item vectors.
    num_items: V.
    k: places where the whole catalogue is searched.
    recall: that ScaNN reaches there.
    batch_size: requests at a time.
    turns: timed batches of each.
    num_clusters: of a request.
  """
  made = resampled(workdir, num_items, 2 * QUERIES)
  items_VD, query_QD = made.items_VD, made.query_QD.astype(np.float32)
  exact = BruteForce.build(items_VD)
  index, _ = tuned(
    Scann.build(items_VD),
    query_QD[batch_size:],
    exact_lists(exact, query_QD[batch_size:], k, batch_size),
    recall,
  )
  query_BD = query_QD[:batch_size]
  whole = {
    "exact": lambda: jax.block_until_ready(exact.search(query_BD, k)[:2]),
    "scann": lambda: index.search(query_BD, k),
  }
  rows = []
  for sizes in SHAPES:
    started = time.perf_counter()
    trie = Trie.build(codes_of(items_VD, sizes), sizes)
    rows.append(
      {
        "level_sizes": list(sizes),
        "ids": trie.num_states(len(sizes)),
        "largest_cluster": trie.max_group,
        **_within(trie, items_VD, query_BD, num_clusters, turns),
        "seconds_in_all": round(time.perf_counter() - started, 1),
      }
    )
  return {
    **made.facts,
    "catalogue": _rates(whole, batch_size, turns),
    "catalogue_places": k,
    "catalogue_recall": recall,
    "clusters": rows,
    "clusters_per_request": num_clusters,
    "neighbors": NEIGHBORS,
    "batch_size": batch_size,
  }


def codes_of(
  items_VD: Float[np.ndarray, "V1 D"], sizes: tuple[int, ...]
) -> Int[np.ndarray, "V1 M"]:
  """Codes by residual k-means, fitted to the first 50,000 items at most."""
  fitted = ResidualKMeans(sizes, iterations=10, sample=_FITTED).fit(
    items_VD[1 : _FITTED + 1]
  )
  codes = np.zeros((len(items_VD), len(sizes)), np.int32)
  for start in range(1, len(items_VD), _BLOCK):
    part = items_VD[start : start + _BLOCK]
    codes[start : start + len(part)] = fitted.encode(part)
  return codes


def nearest_clusters(
  index: ClusterIndex, query_BD: Float[np.ndarray, "B D"], count: int
) -> Int[np.ndarray, "B K"]:
  """Leaves by the cosine of a query with the mean of their items."""
  mean_SD = np.add.reduceat(index.unit_ND, index.ends_S1[:-1], axis=0)
  mean_SD /= np.linalg.norm(mean_SD, axis=1, keepdims=True)
  return np.argsort(-query_BD @ mean_SD.T, axis=1)[:, :count].astype(np.int32)


def _within(trie, items_VD, query_BD, num_clusters, turns) -> dict[str, Any]:
  """Users per second of the table and of the indexes."""
  items = SearchItems(trie, jnp.zeros(len(items_VD), bool), items_VD)
  exact = ClusterIndex.build(items)
  leaves_BK = nearest_clusters(exact, query_BD, num_clusters)
  there_BK = np.ones(leaves_BK.shape, bool)
  query_BKD = np.repeat(query_BD[:, None], leaves_BK.shape[1], axis=1)
  options = {"num_neighbors": NEIGHBORS, "scale": 1.0}

  def on_host(index):
    index.nearest(
      leaves_BK, there_BK, query_BKD, None, with_total=False, **options
    )

  contestants = {"index": functools.partial(on_host, exact)}
  if trie.max_group > _APPROXIMATE_ABOVE:
    approximate = ClusterIndex.build(items, _APPROXIMATE_ABOVE)
    contestants["index_scann"] = functools.partial(on_host, approximate)
  if trie.max_group <= _WIDEST:
    table = jax.jit(functools.partial(nearest_in_table, **options))
    vectors_RD = jnp.asarray(items_VD)
    contestants["table"] = lambda: jax.block_until_ready(
      table(trie, leaves_BK, there_BK, query_BKD, vectors_RD, None)
    )
  return _rates(contestants, len(query_BD), turns)


def _rates(
  contestants: Mapping[str, Callable[[], Any]], users: int, turns: int
) -> dict[str, float]:
  seconds = take_turns(contestants, turns)
  return {
    f"{name}_users_per_second": round(users / statistics.median(values), 1)
    for name, values in seconds.items()
  }
