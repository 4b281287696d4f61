# SPDX-License-Identifier: Apache-2.0
"""The quality report against definitions spelled out item by item."""

import itertools
import json
import math

from hypothesis import given, settings, strategies as st
import numpy as np
import pytest

from genrec_jax.report.semantic_ids import page as token_page
from genrec_jax.semantic_ids.migration import match_codes, migration
from genrec_jax.semantic_ids.quality import catalog_categories, quality

_SIZES = (3, 2, 4)


def _codes(max_items: int = 12):
  row = st.tuples(*(st.integers(0, size - 1) for size in _SIZES))
  return st.lists(row, min_size=1, max_size=max_items)


@given(_codes())
def test_levels_and_depths_by_counting(rows):
  report = quality(np.array(rows, np.int32), _SIZES)
  for m, level in enumerate(report["levels"]):
    column = [row[m] for row in rows]
    share = [column.count(c) / len(rows) for c in set(column)]
    entropy = -sum(p * math.log2(p) for p in share)
    assert level["used"] == len(share)
    assert level["dead_share"] == pytest.approx(1 - len(share) / _SIZES[m])
    assert level["entropy_bits"] == pytest.approx(entropy, abs=1e-9)
    assert level["perplexity"] == pytest.approx(2**entropy)
    assert level["largest_share"] == pytest.approx(max(share))
    assert sum(level["counts"]) == len(rows)
  for depth in report["depths"]:
    d = depth["depth"]
    prefixes = [row[:d] for row in rows]
    groups = {p: prefixes.count(p) for p in prefixes}
    assert depth["distinct"] == len(groups)
    assert depth["collision_rate"] == pytest.approx(1 - len(groups) / len(rows))
    assert depth["items_sharing"] == sum(n for n in groups.values() if n > 1)
    assert depth["largest_group"] == max(groups.values())
    children = [
      len({p for p in groups if p[:-1] == parent})
      for parent in {p[:-1] for p in groups}
    ]
    assert depth["branching_max"] == max(children)
    assert depth["branching_mean"] == pytest.approx(np.mean(children))
  assert report["unique"] == pytest.approx(len(set(rows)) / len(rows))
  total = sum(v["entropy_given_prefix_bits"] for v in report["levels"])
  whole = [rows.count(r) / len(rows) for r in set(rows)]
  assert total == pytest.approx(-sum(p * math.log2(p) for p in whole), abs=1e-9)
  json.dumps(report, allow_nan=False)


@settings(max_examples=40)
@given(_codes(9), st.integers(1, 4))
def test_prefix_recall_is_the_mean_over_all_ways_to_break_ties(rows, k):
  """Every order of the items is drawn once; near ones come first in each."""
  rows = rows[:5]
  if len(rows) < 2:
    return
  codes = np.array(rows, np.int32)
  vectors = np.random.default_rng(0).normal(size=(len(rows), 3)).astype("f4")
  found = quality(codes, _SIZES, vectors_ND=vectors, neighbours=k, pairs=10)
  k = min(k, len(rows) - 1)
  total = []
  for i, vector in enumerate(vectors):
    others = [j for j in range(len(rows)) if j != i]
    near = sorted(others, key=lambda j: ((vectors[j] - vector) ** 2).sum())[:k]

    def shared(j, i=i):
      same = (codes[i] == codes[j]).tolist()
      return len(list(itertools.takewhile(bool, same)))

    for order in itertools.permutations(others):
      first = sorted(order, key=lambda j: -shared(j))[:k]
      total.append(len({*first} & {*near}) / k)
  assert found["neighbours"]["recall_prefix"] == pytest.approx(np.mean(total))


def test_perfect_and_useless_codes():
  rng = np.random.default_rng(0)
  center = rng.normal(size=(8, 5))[np.repeat(np.arange(8), 11)] * 10
  vectors = (center + rng.normal(size=center.shape)).astype(np.float32)
  good = np.stack(
    [np.repeat(np.arange(8), 11), np.tile(np.arange(11), 8)], axis=1
  ).astype(np.int32)
  labels = {"kind": [f"k{c}" for c in good[:, 0]]}
  report = quality(
    good, (8, 11), vectors_ND=vectors, decoded_ND=vectors, categories=labels
  )
  assert report["neighbours"]["recall_prefix"] == pytest.approx(1)
  assert report["neighbours"]["recall_decoded"] == pytest.approx(1)
  assert report["reconstruction"] == {"mse": 0.0, "of_variance": 0.0}
  assert report["rank_correlation"]["decoded"] == pytest.approx(1)
  assert report["rank_correlation"]["prefix"] > 0.4
  purity = report["purity"]["kind"]
  assert [row["purity"] for row in purity] == [pytest.approx(1 / 8), 1, 1]
  assert purity[1]["shuffled"] < 0.5
  bad = rng.permutation(good)
  mean = np.broadcast_to(vectors.mean(axis=0), vectors.shape)
  report = quality(bad, (8, 11), vectors_ND=vectors, decoded_ND=mean)
  assert report["neighbours"]["recall_prefix"] < 0.3
  assert report["reconstruction"]["of_variance"] == pytest.approx(1, rel=1e-4)
  assert report["rank_correlation"]["decoded"] == 0


def test_the_report_does_not_depend_on_where_0_is():
  rng = np.random.default_rng(0)
  codes = np.stack([rng.integers(0, c, 60) for c in _SIZES], 1)
  x = rng.integers(-9, 9, (60, 4)) / 8
  y = rng.integers(-9, 9, (60, 4)) / 8
  reports = [
    quality(
      codes.astype(np.int32),
      _SIZES,
      vectors_ND=(x + offset).astype(np.float32),
      decoded_ND=(y + offset).astype(np.float32),
      neighbours=5,
    )
    for offset in (0, 2**14)
  ]
  for key in ("neighbours", "reconstruction", "rank_correlation"):
    assert reports[0][key] == pytest.approx(reports[1][key], rel=1e-6)


def test_codes_that_cannot_be():
  with pytest.raises(ValueError, match="no item"):
    quality(np.zeros((0, 2), np.int32), (2, 2))
  for codes, sizes in (
    ([[2, 0]], (2, 2)),
    ([[-1, 0]], (2, 2)),
    ([[0]], (2, 2)),
  ):
    with pytest.raises(ValueError, match="do not fit levels of"):
      quality(np.array(codes, np.int32), sizes)


def test_one_item():
  report = quality(
    np.zeros((1, 2), np.int32), (4, 4), vectors_ND=np.ones((1, 3), np.float32)
  )
  assert report["unique"] == 1 and report["neighbours"]["k"] == 0


def test_categories_of_a_catalogue(make_catalog):
  ids = [f"i{n}" for n in range(8)]
  catalog = make_catalog(
    item=ids,
    title=ids,
    path=[["Root > A > x"], ["Root > A > y"], ["Root > B > x"], []] * 2,
    brand=["m", "m", "n", None] * 2,
    code=ids,
    price=[1.0] * 8,
  )
  found = catalog_categories(catalog, ids[:4])
  assert found["brand"] == ["m", "m", "n", ""]
  assert found["path, step 2"] == ["Root > A", "Root > A", "Root > B", ""]
  assert set(found) == {"brand", "path, step 2"}


@given(st.permutations(range(6)), st.lists(st.integers(0, 5), max_size=30))
def test_renamed_codes_are_found_again(names, old):
  old = np.array(old, np.int64)
  new = np.array(names, np.int64)[old]
  found = match_codes(old, new, 6, 6)
  np.testing.assert_array_equal(found[old], new)
  assert set(found.tolist()) - set(names) <= {-1}


@pytest.mark.slow
def test_migration_tells_renaming_from_regrouping(make_vectors, tmp_path):
  from genrec_jax.semantic_ids.item_tokens import ItemTokens
  from genrec_jax.semantic_ids.quantizers.rq_kmeans import ResidualKMeans
  from genrec_jax.semantic_ids.uniqueness import DedupLevel

  titles = {f"i{n}": "abcdefghij"[n % 10] * (1 + n // 10) for n in range(30)}
  vectors = make_vectors(titles)
  tables = [
    ItemTokens.make(
      tmp_path / f"t{seed}",
      vectors,
      ResidualKMeans((size,), iterations=9),
      DedupLevel(30),
      seed=seed,
    )
    for size, seed in ((10, 0), (10, 1), (3, 2))
  ]
  same = migration(tables[0], tables[0].retire(["i0"]))
  assert same["items_in_both"] == 29 and same["items_only_old"] == 1
  assert all(row["changed"] == 0 for row in same["depths"])
  report = migration(tables[0], tables[2])
  assert report["depths"][0]["changed_after_renaming"] > 0.3
  for row in report["depths"]:
    assert row["changed_after_renaming"] <= row["changed"] + 1e-9
  assert len(report["renamed"][0]) == 10
  json.dumps(report)


def test_the_page_stands_alone_and_escapes(tmp_path):
  rng = np.random.default_rng(0)
  codes = rng.integers(0, 4, (40, 3)).astype(np.int32)
  labels = {"a <b>": ["x" if c else "y" for c in codes[:, 0]]}
  report = {"name": "x & y"} | quality(codes, (4, 4, 4), categories=labels)
  group = token_page.Group([1, 2], 3, ["<script>alert(1)</script>"])
  html = token_page.render(report, [group], {"encoder": "<none>"})
  assert html.count("<svg") == 4 and "x &amp; y" in html
  assert "<script" not in html and "&lt;none&gt;" in html
  assert "http" not in html.replace("http://www.w3.org", "")
  before, point, after, good = token_page.verdict(report)
  sharing = report["depths"][-1]["items_sharing"]
  assert not good and f"{sharing} items share" in point and "40" in before
  assert "counts" not in html
