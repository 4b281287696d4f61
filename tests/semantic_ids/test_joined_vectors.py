# SPDX-License-Identifier: Apache-2.0
"""Joined vectors: distances add up, unknown items are predicted, errors."""

import dataclasses

import numpy as np
import pytest

from genrec_jax.content.item_vectors import ItemVectors
from genrec_jax.semantic_ids.joined_vectors import JoinedVectors

_IDS = ["", *(f"i{n}" for n in range(40))]


@dataclasses.dataclass(frozen=True)
class _Other:
  rows: dict
  fingerprint: str = "f00d"

  def vectors(self, item_ids):
    width = len(next(iter(self.rows.values())))
    known = np.array([name in self.rows for name in item_ids])
    found = [self.rows.get(name, np.zeros(width)) for name in item_ids]
    return np.array(found, np.float32), known


def _content(rng) -> ItemVectors:
  vectors = rng.normal(size=(len(_IDS), 6)).astype(np.float32)
  vectors[0] = 0
  return ItemVectors(vectors, _IDS, "v", "s", {"texts": "t"})


def _squared(vectors):
  x = vectors[1:].astype(np.float64)
  return ((x[:, None] - x[None]) ** 2).sum(-1)


def test_squared_distances_add_up_by_weight():
  rng = np.random.default_rng(0)
  content = _content(rng)
  other = {name: rng.normal(size=3) * 9 for name in _IDS[1:]}
  joined = JoinedVectors(_Other(other), weight=2.5).join(content)
  norm = np.linalg.norm(content.vectors[1:], axis=1).mean()
  rows = np.stack([np.zeros(3), *other.values()])
  other_norm = np.linalg.norm(rows[1:], axis=1).mean()
  expected = _squared(content.vectors) / norm**2
  expected += 2.5 * _squared(rows) / other_norm**2
  np.testing.assert_allclose(_squared(joined.vectors), expected, rtol=1e-5)
  assert not joined.vectors[0].any()
  assert joined.space != content.space and joined.version != content.version
  again = JoinedVectors(_Other(other), weight=2.5).join(content)
  assert (again.space, again.version) == (joined.space, joined.version)


def test_unknown_items_have_what_regression_on_their_content_says():
  rng = np.random.default_rng(1)
  content = _content(rng)
  known = _IDS[1:31]
  rows = {name: rng.normal(size=2) for name in known}
  joined = JoinedVectors(_Other(rows), ridge=0.3).join(content)
  # Least squares with a row of sqrt(ridge) per dimension: the same problem.
  x = content.vectors[1:].astype(np.float64)
  x /= np.linalg.norm(x, axis=1).mean()
  y = np.stack(list(rows.values())).astype(np.float32)
  y = y / np.linalg.norm(y, axis=1).mean()
  x_mean, y_mean = x[:30].mean(0), y.mean(0)
  more = np.sqrt(0.3 * 30 / 6) * np.eye(6)
  weights = np.linalg.lstsq(
    np.concatenate([x[:30] - x_mean, more]),
    np.concatenate([y - y_mean, np.zeros((6, 2))]),
    rcond=None,
  )[0]
  expected = (x[30:] - x_mean) @ weights + y_mean
  np.testing.assert_allclose(joined.vectors[31:, 6:], expected, atol=1e-5)
  np.testing.assert_allclose(joined.vectors[1:31, 6:], y, atol=1e-6)


def test_bad_options_and_another_catalogue_are_refused():
  other = _Other({"elsewhere": np.ones(2)})
  with pytest.raises(ValueError, match="know none of 40 items"):
    JoinedVectors(other).join(_content(np.random.default_rng(0)))
  for weight in (0.0, float("inf")):
    with pytest.raises(ValueError, match=f"join.weight={weight!r} must"):
      JoinedVectors(other, weight=weight)
