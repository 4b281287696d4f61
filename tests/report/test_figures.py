# SPDX-License-Identifier: Apache-2.0
"""Plots as text: well-formed, deterministic, complete, safe on one page."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from genrec_jax.report import figures, overview
from genrec_jax.report.figures import Row

KS = (1, 5, 10)


def _row(label, role, value, **kwargs):
  values = {f"{n}@{k}": value for n in ("hr", "ndcg") for k in KS}
  return Row(label, role, values, **kwargs)


ROWS = [
  _row("most popular", "baseline", 0.02),
  _row("item-kNN", "baseline", 0.1),
  _row("HSTU", "model", 0.2, intervals={"ndcg@10": (0.19, 0.21)}),
  _row("oracle", "oracle", 0.3),
]


def _all() -> dict[str, str]:
  steps = np.arange(1, 9)
  evals = np.array([4, 8])
  bars = [Row(r.label, r.role, {"short": 0.1, "long": 0.2}) for r in ROWS]
  ranks = {row.label: np.array([1, 3, 40, 10**9]) for row in ROWS}
  roles = {row.label: row.role for row in ROWS}
  return {
    "learning": figures.learning_curve(
      steps, 1.0 / steps, evals, np.array([0.1, 0.2]), "ndcg@10", 8
    ),
    "metric": figures.metric_at_k(ROWS, "ndcg", KS),
    "slices": figures.slices(bars, ["short", "long"], [7, 9], "hr@10", "By x"),
    "rank": figures.rank_curve(ranks, roles, 100),
    "overview": overview.draw({"one": ROWS, "two": ROWS[:3]}, "ndcg@10"),
  }


@pytest.fixture(scope="module")
def svgs():
  return _all()


def _text(svg: str) -> str:
  return " ".join(ET.fromstring(svg).itertext())


def test_each_is_one_svg_element_that_needs_no_network(svgs):
  for name, svg in svgs.items():
    assert ET.fromstring(svg).tag.endswith("svg"), name
    for link in re.findall(r'(?:href|src)="([^"]*)"', svg):
      assert link.startswith("#"), (name, link)


def test_each_is_the_same_on_every_call(svgs):
  assert _all() == svgs


def test_ids_and_references_agree_and_no_two_figures_share_them(svgs):
  seen: set[str] = set()
  for name, svg in svgs.items():
    ids = set(re.findall(r'\bid="([^"]+)"', svg))
    used = set(re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', svg))
    assert {a or b for a, b in used} <= ids, name
    assert not ids & seen, name
    seen |= ids


def test_every_method_is_named_in_every_comparison(svgs):
  for name in ("metric", "slices", "rank", "overview"):
    for row in ROWS:
      assert row.label in _text(svgs[name]), (name, row.label)


@pytest.mark.parametrize(
  ("kept", "said"), [(20, "best 0.3100"), (30, "kept 0.2000"), (25, None)]
)
def test_the_value_of_the_kept_step_is_the_one_marked(kept, said):
  steps = np.array([10, 20, 30])
  values = np.array([0.1, 0.31, 0.2])
  text = _text(
    figures.learning_curve(steps, 1 / steps, steps, values, "x", kept)
  )
  assert re.findall(r"(?:best|kept) [0-9.]+", text) == ([said] if said else [])


def test_a_curve_without_validation_is_drawn():
  none = np.array([])
  svg = figures.learning_curve(
    np.array([1, 2]), np.array([1.0, 0.5]), none.astype(int), none, "x", 2
  )
  assert "training loss" in _text(svg)


def test_misses_are_not_counted_as_found():
  ranks = {"HSTU": np.full(10, np.iinfo(np.int32).max)}
  svg = figures.rank_curve(ranks, {"HSTU": "model"}, 100)
  assert "HSTU" in _text(svg)


def test_titles_are_escaped():
  svg = figures.slices(
    [Row("a", "model", {"g": 0.1})], ["g"], [1], "hr@10", 'x & "y" <z>'
  )
  assert 'x & "y" <z>' in _text(svg)


def test_colors_follow_the_role_and_the_baseline():
  colors = figures.colors(ROWS)
  assert len(set(colors)) == len(colors)
  assert figures.colors(ROWS[1:]) == colors[1:]
