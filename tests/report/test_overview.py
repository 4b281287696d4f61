# SPDX-License-Identifier: Apache-2.0
"""Which rows stand in the README's picture, and with which interval."""

import xml.etree.ElementTree as ET

import pytest

from genrec_jax.report import overview
from genrec_jax.report.published import PUBLISHED


def _models(runs):
  rows = overview.rows_of(runs, "hr@10")
  return [row for row in rows if row.role == "model"]


def test_one_row_per_method_in_the_order_of_the_table(make_run):
  rows = overview.rows_of([make_run(), make_run(seed=1)], "ndcg@10")
  assert [(row.label, row.role) for row in rows] == [
    ("most popular", "baseline"),
    ("item-kNN", "baseline"),
    ("HSTU", "model"),
    ("oracle (true model)", "oracle"),
  ]


def test_the_bar_is_the_interval_over_seeds_or_over_users_of_one(make_run):
  (one,) = [
    r for r in overview.rows_of([make_run()], "hr@10") if r.role == "model"
  ]
  assert one.intervals["hr@10"] == pytest.approx([0.19, 0.21])
  runs = [make_run(0.29), make_run(0.3, seed=1), make_run(0.31, seed=2)]
  (many,) = _models(runs)
  assert many.values["hr@10"] == pytest.approx(0.3)
  half = 4.302653 * 0.01 / 3**0.5
  assert many.intervals["hr@10"] == pytest.approx((0.3 - half, 0.3 + half))


def test_two_configs_of_one_system_are_told_apart(make_run):
  runs = [make_run(), make_run(config="hstu_synthetic-no_time")]
  labels = [
    r.label for r in overview.rows_of(runs, "hr@10") if r.role == "model"
  ]
  assert labels == ["hstu_synthetic", "hstu_synthetic-no_time"]


def test_every_data_set_has_its_panel(make_run):
  runs = [make_run(), make_run(dataset=PUBLISHED[0].dataset)]
  svg = overview.overview_svg(runs)
  text = " ".join(ET.fromstring(svg).itertext())
  assert "Simulated shoppers" in text and "MovieLens-1M" in text
