# SPDX-License-Identifier: Apache-2.0
"""What codes are worth, before anything is trained on them.

    report = quality(codes_NM, level_sizes, vectors_ND=x, decoded_ND=y)

Per level: used codes, entropy H = -sum_c p_c log2 p_c, perplexity 2^H, and the
entropy given the prefix, H(c_l | c_<l), which bounds from below what a model
can get its loss on that level down to without a history. Per prefix depth:
distinct prefixes, collisions, groups, branching (what a trie costs), purity
against categories. Against the vectors: reconstruction, neighbour recall and
rank correlation of distances; two items are the nearer in the space of codes,
the more leading codes they share, and ties are shared out. Shapes: N items, M
levels, D width, K neighbours. Every number is a plain float or int (JSON).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Float, Int
import numpy as np
import polars as pl

from genrec_jax.data.dataset.catalog import Catalog

_BLOCK = 256


def quality(
  codes_NM: Int[np.ndarray, "N M"],
  level_sizes: Sequence[int],
  *,
  vectors_ND: Float[np.ndarray, "N D"] | None = None,
  decoded_ND: Float[np.ndarray, "N D"] | None = None,
  categories: Mapping[str, Sequence[str]] | None = None,
  neighbours: int = 10,
  queries: int = 2000,
  pairs: int = 100_000,
  seed: int = 0,
) -> dict[str, Any]:
  """The report of codes, without padding and retired items.

  Args:
    codes_NM: 0-based within their level.
    level_sizes: codes of each level.
    vectors_ND: what was coded.
    decoded_ND: what the codes stand for.
    categories: name -> label of each item; '' is no label.
    neighbours: K of the neighbour recall.
    queries: items whose neighbours are looked up, at most, drawn by the seed.
    pairs: of items whose distances are compared, drawn by the seed.
    seed: of both draws, and of the shuffled labels purity is compared with.

  Raises:
    ValueError: no items, or codes outside their levels.
  """
  if not len(codes_NM):
    raise ValueError("there is no item to report on.")
  sizes_M = np.array(level_sizes)
  if (
    codes_NM.shape[1] != len(sizes_M)
    or ((codes_NM < 0) | (codes_NM >= sizes_M[None])).any()
  ):
    raise ValueError(
      f"codes of shape {codes_NM.shape}, from {codes_NM.min()} to"
      f" {codes_NM.max()}, do not fit levels of {tuple(level_sizes)} codes."
    )
  prefix_NM = prefix_ids(codes_NM)
  depths = _depths(prefix_NM)
  report: dict[str, Any] = {
    "items": len(codes_NM),
    "level_sizes": [int(size) for size in level_sizes],
    "unique": depths[-1]["distinct"] / len(codes_NM),
    "levels": _levels(codes_NM, prefix_NM, sizes_M),
    "depths": depths,
  }
  rng = np.random.default_rng(seed)
  if vectors_ND is not None:
    report |= _against_vectors(
      prefix_NM, vectors_ND, decoded_ND, neighbours, queries, pairs, rng
    )
  if categories:
    report["purity"] = {
      name: _purity(prefix_NM, labels, rng)
      for name, labels in categories.items()
    }
  return report


def prefix_ids(codes_NM: Int[np.ndarray, "N M"]) -> Int[np.ndarray, "N M"]:
  """Number of each item's prefix of depth 1 .. M among those of that depth."""
  found = []
  parent_N = np.zeros(len(codes_NM), np.int64)
  for code_N in codes_NM.T.astype(np.int64):
    _, parent_N = np.unique(
      parent_N * (code_N.max(initial=0) + 1) + code_N, return_inverse=True
    )
    found.append(parent_N)
  return np.stack(found, axis=1)


def catalog_categories(
  catalog: Catalog, item_ids: Sequence[str]
) -> dict[str, list[str]]:
  """Labels of items by attribute; paths such as 'A > B > C' by their steps.

  Text attributes give one set of labels; lists give those of their first entry,
  and paths one for each of the first three steps (cut there) that tell items
  apart. Sets with a label of their own for every second item are left out.
  """
  found = {}
  table = catalog.attributes
  row = [catalog.index_of(name) - 1 for name in item_ids]
  for name, kind in table.schema.items():
    if kind == pl.List(pl.String):
      texts = [(v[0] if v else None) or "" for v in table[name].to_list()]
    elif kind == pl.String:
      texts = [v or "" for v in table[name].to_list()]
    else:
      continue
    steps = [texts[i].split(" > ") for i in row]
    depth = max(map(len, steps), default=1)
    for cut in range(1, min(3, depth) + 1):
      labels = [" > ".join(s[:cut]) if len(s) >= cut else "" for s in steps]
      if 2 <= len(set(labels) - {""}) <= max(2, len(labels) // 2):
        found[name if depth == 1 else f"{name}, step {cut}"] = labels
  return found


def _levels(codes_NM, prefix_NM, sizes_M) -> list[dict[str, Any]]:
  levels, before = [], 0.0
  for level, size in enumerate(sizes_M.tolist()):
    count_C = np.bincount(codes_NM[:, level], minlength=size)
    bits = _entropy(count_C)
    so_far = _entropy(np.bincount(prefix_NM[:, level]))
    used = int((count_C > 0).sum())
    levels.append(
      {
        "size": size,
        "used": used,
        "used_share": used / size,
        "dead_share": 1 - used / size,
        "entropy_bits": bits,
        "perplexity": float(2**bits),
        "entropy_given_prefix_bits": max(0.0, so_far - before),
        "largest_share": float(count_C.max() / len(codes_NM)),
        "counts": np.sort(count_C)[::-1].tolist(),
      }
    )
    before = so_far
  return levels


def _entropy(counts: np.ndarray) -> float:
  p = counts[counts > 0] / counts.sum()
  return float(np.abs(np.sum(p * np.log2(p))))


def _depths(prefix_NM) -> list[dict[str, Any]]:
  depths = []
  parents = np.zeros(len(prefix_NM), np.int64)
  for depth, prefix_N in enumerate(prefix_NM.T, 1):
    group_G, first_G = np.bincount(prefix_N), _first_rows(prefix_N)
    children = np.bincount(parents[first_G])
    depths.append(
      {
        "depth": depth,
        "distinct": len(group_G),
        "collision_rate": 1 - len(group_G) / len(prefix_N),
        "items_sharing": int(group_G[group_G > 1].sum()),
        "sharing_share": float(group_G[group_G > 1].sum() / len(prefix_N)),
        "largest_group": int(group_G.max()),
        "branching_mean": float(children.mean()),
        "branching_max": int(children.max()),
      }
    )
    parents = prefix_N
  return depths


def _first_rows(group_N) -> np.ndarray:
  return np.unique(group_N, return_index=True)[1]


def _purity(prefix_NM, labels, rng) -> list[dict[str, Any]]:
  """Share of items whose label is their group's most frequent, by depth.

  Small groups are pure by chance: shuffled labels say how pure.
  """
  kept = np.array([label != "" for label in labels])
  _, label_n = np.unique(
    np.array([label for label in labels if label]), return_inverse=True
  )
  if not len(label_n):
    return []
  shuffled_n = rng.permutation(label_n)
  rows = [{"depth": 0, "purity": _pure(0 * label_n, label_n)}]
  rows[0]["shuffled"] = rows[0]["purity"]
  for depth, prefix_n in enumerate(prefix_NM[kept].T, 1):
    rows.append(
      {
        "depth": depth,
        "purity": _pure(prefix_n, label_n),
        "shuffled": _pure(prefix_n, shuffled_n),
      }
    )
  return rows


def _pure(group_n, label_n) -> float:
  both, count = np.unique(
    group_n.astype(np.int64) * (label_n.max() + 1) + label_n, return_counts=True
  )
  group = both // (label_n.max() + 1)
  best = np.zeros(group.max() + 1, np.int64)
  np.maximum.at(best, group, count)
  return float(best.sum() / len(label_n))


def _against_vectors(
  prefix_NM, vectors_ND, decoded_ND, neighbours, queries, pairs, rng
) -> dict[str, Any]:
  count = len(vectors_ND)
  report: dict[str, Any] = {}
  k = min(neighbours, count - 1)
  asked = np.sort(rng.permutation(count)[:queries])
  report["neighbours"] = {"k": k, "queries": len(asked)}
  if k > 0:
    report["neighbours"] |= {
      "recall_prefix": _recall(vectors_ND, asked, k, prefix_NM=prefix_NM),
      "recall_chance": k / (count - 1),
    }
  a, b = rng.integers(count, size=(2, pairs))
  a, b = a[a != b], b[a != b]
  far = _distance(vectors_ND, a, b)
  unshared = -(prefix_NM[a] == prefix_NM[b]).sum(axis=1)
  report["rank_correlation"] = {
    "pairs": len(a),
    "prefix": _spearman(far, unshared),
  }
  if decoded_ND is not None:
    error = float(np.square(vectors_ND - decoded_ND).mean())
    spread = float(vectors_ND.var(axis=0, dtype=np.float64).mean())
    report["reconstruction"] = {
      "mse": error,
      "of_variance": error / spread if spread else 0.0,
    }
    decoded = _distance(decoded_ND, a, b)
    report["rank_correlation"]["decoded"] = _spearman(far, decoded)
    if k > 0:
      report["neighbours"]["recall_decoded"] = _recall(
        vectors_ND, asked, k, decoded_ND=decoded_ND
      )
  return report


def _recall(vectors_ND, asked, k, *, prefix_NM=None, decoded_ND=None) -> float:
  """Mean share of the k nearest by vector among the k nearest by codes."""
  total = 0.0
  vectors_ND = _centred(vectors_ND)
  decoded_ND = None if decoded_ND is None else _centred(decoded_ND)
  for start in range(0, len(asked), _BLOCK):
    rows = asked[start : start + _BLOCK]
    near_BK = _nearest(vectors_ND, rows, k)
    if decoded_ND is not None:
      found_BK = _nearest(decoded_ND, rows, k)
      hits = (near_BK[:, :, None] == found_BK[:, None, :]).any(axis=2)
      total += hits.sum() / k
    else:
      total += _prefix_hits(prefix_NM, rows, near_BK).sum() / k
  return float(total / len(asked))


def _centred(vectors_ND) -> np.ndarray:
  """Around 0, where |a|^2 - 2 <a, b> does not lose what tells b's apart."""
  mean_D = vectors_ND.mean(axis=0, dtype=np.float64)
  return (vectors_ND - mean_D[None, :]).astype(vectors_ND.dtype)


def _nearest(vectors_ND, rows, k) -> np.ndarray:
  """Euclidean; the item itself is no neighbour of its own."""
  square_N = np.square(vectors_ND).sum(axis=1)
  d_BN = square_N[None] - 2 * vectors_ND[rows] @ vectors_ND.T
  d_BN[np.arange(len(rows)), rows] = np.inf
  # Stable: of identical vectors the lower items are near, whatever the block.
  part = np.argpartition(d_BN, min(4 * k, d_BN.shape[1] - 1), axis=1)
  part = np.sort(part[:, : 4 * k + 1], axis=1)
  order = np.argsort(np.take_along_axis(d_BN, part, 1), axis=1, kind="stable")
  return np.take_along_axis(part, order, axis=1)[:, :k]


def _prefix_hits(prefix_NM, rows, near_BK) -> np.ndarray:
  """Expected hits where ties at the K-th place are broken at random."""
  num_levels, k = prefix_NM.shape[1], near_BK.shape[1]
  shared_BN = np.zeros((len(rows), len(prefix_NM)), np.int8)
  for prefix_N in prefix_NM.T:
    shared_BN += prefix_N[rows][:, None] == prefix_N[None]
  shared_BN[np.arange(len(rows)), rows] = -1
  near_shared_BK = np.take_along_axis(shared_BN, near_BK, axis=1)
  hits_B, left_B = np.zeros(len(rows)), np.full(len(rows), float(k))
  for depth in range(num_levels, -1, -1):
    there_B = (shared_BN == depth).sum(axis=1)
    taken_B = np.minimum(there_B, left_B)
    share_B = taken_B / np.maximum(there_B, 1)
    hits_B += share_B * (near_shared_BK == depth).sum(axis=1)
    left_B -= taken_B
  return hits_B


def _distance(vectors_ND, a, b) -> np.ndarray:
  found = np.empty(len(a), np.float32)
  for start in range(0, len(a), 1 << 14):
    part = slice(start, start + (1 << 14))
    found[part] = np.linalg.norm(
      vectors_ND[a[part]] - vectors_ND[b[part]], axis=1
    )
  return found


def _spearman(x, y) -> float:
  if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
    return 0.0
  # Here, for every command would wait a second for what few use.
  from scipy import stats

  return float(stats.spearmanr(x, y).statistic)
