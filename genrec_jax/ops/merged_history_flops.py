# SPDX-License-Identifier: Apache-2.0
"""FLOPs of reading a long history in groups, from its shapes.

A layer in which q rows of width w read m rows, with a feed-forward part of
width 4 w, 2 FLOPs per multiply-add of matrix products:

    F(q, m, w) = 20 q w^2 + 4 m w^2 + 4 q m w
    F(n, n, w) = 24 n w^2 + 4 n^2 w

L events of width d, each by itself, and K of them side by side:

    F(L, L, d)           24 L d^2   + 4 L^2 d
    F(L/K, L/K, K d)     24 L K d^2 + 4 L^2 d / K       cheaper where L > 6 d K

and a layer within every group of K costs 24 L d^2 + 4 L K d besides (LONGER,
arXiv 2505.04421, section 3.3; the inequality follows). A history that is read
by few queries costs one F(q, m, w), linear in L, and layers of F(q, q, w).
"""


def layer_flops(queries: int, keys: int, width: int) -> int:
  """F(q, m, w) of one history."""
  return 4 * width * (5 * queries * width + keys * width + queries * keys)


def merged_layer_flops(events: int, width: int, size: int) -> int:
  """A layer over all groups; the last group may not be full.

  Args:
    events: L.
    width: d, of an event.
    size: K; 1 = events by themselves.
  """
  groups = -(-events // size)
  return layer_flops(groups, groups, size * width)


def inner_flops(events: int, width: int, size: int) -> int:
  """A layer within every group; arguments as in `merged_layer_flops`."""
  return -(-events // size) * layer_flops(size, size, width)


def merging_saves(events: int, width: int, size: int) -> bool:
  """Whether a layer over groups is cheaper than one over events."""
  return size > 1 and events > 6 * width * size


def history_flops(rows: int, queries: int, width: int, self_layers: int) -> int:
  """One cross layer and the layers of its queries among themselves.

  Args:
    rows: m, groups and summaries.
    queries: q of them.
    width: w, of a group.
    self_layers: after the first.
  """
  first = layer_flops(queries, rows, width)
  return first + self_layers * layer_flops(queries, queries, width)


def candidate_flops(
  rows: int, queries: int, width: int, self_layers: int, own: int = 1
) -> int:
  """A candidate of `own` rows behind a history that is kept.

  It reads its own rows besides; other arguments as in `history_flops`.
  """

  def layer(kept):
    return layer_flops(own, own, width) + 4 * own * kept * width

  return layer(rows) + self_layers * layer(queries)
