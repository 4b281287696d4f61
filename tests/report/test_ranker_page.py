# SPDX-License-Identifier: Apache-2.0
"""The page of a ranker: whole, escaped, honest, and of what was measured."""

import html.parser
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from genrec_jax.report import ranker_figures, ranker_page, ranker_workdir
from genrec_jax.report.document import Plot
from genrec_jax.report.ranker_figures import Reading
from tests.ranking.formula_ranker import formula_ranker, prepared

_TASKS = ("cart", "purchase")


def _metrics(auc):
  return {
    "auc": auc,
    "gauc": None if auc is None else auc - 0.1,
    "ne": 0.9,
    "log_loss": 0.3,
    "ece": 0.01,
    "base_rate": 0.12,
    "one_class_impressions": 0.376,
  }


def _result(versus=(0.02, 0.01, 0.03), purchase_auc=0.7, **changes):
  by_task = {"cart": _metrics(0.75), "purchase": _metrics(purchase_auc)}
  bands = {t: {"auc": [0.6, 0.8], "ne": [0.8, 1.0]} for t in _TASKS}
  floor = {"cart": _metrics(0.6), "purchase": _metrics(0.65)}
  group = {"impressions": 5, "share": 1.0, "tasks": by_task}
  curve = {"predicted": [0.1, 0.3], "observed": [0.1, 0.2], "count": [5, 5]}
  return {
    "config": "hstu_<x>",
    "system": "HSTU",
    "dataset": "synthetic",
    "seed": 0,
    "commit": "0123456789abcdef",
    "dirty": False,
    "date": "2026-01-02T03:04:05",
    "device": "cpu x 1",
    "train_seconds": 125.0,
    "checkpoint": "best",
    "step": 400,
    "parameters": 1234,
    "sort_rule": "stable",
    "split_rule": "GlobalTime",
    "num_users": 20,
    "num_items": 30,
    "config_values": {"train": {"monitor": "auc"}},
    "tasks": list(_TASKS),
    "num_impressions": {"test": 1000},
    "num_requests": {"test": 300},
    "flops_per_impression": {"test": 5e6},
    "metrics": {"test": by_task},
    "intervals": {"test": bands},
    "curves": {"test": {t: curve for t in _TASKS}},
    "floors": {
      "item_rate": {"test": floor},
      "base_rate": {"test": {t: _metrics(0.5) for t in _TASKS}},
    },
    "versus": {
      "item_rate": {
        "test": {
          "cart": {"auc": [0.15, 0.1, 0.2]},
          "purchase": {"auc": list(versus)} if versus else {},
        }
      }
    },
    "slices": {
      "test": {
        "history_length": {"1-5": group, ">200": group},
        "item_popularity": {"1-9 training events": group},
      }
    },
    "notes": ["<note>"],
  } | changes


@pytest.fixture(scope="module")
def ranker(tmp_path_factory):
  return formula_ranker(prepared(tmp_path_factory.mktemp("page") / "data"))


@pytest.fixture(scope="module")
def shown(ranker):
  return ranker_workdir.ranked_for(ranker, ranker.users.ids[2])


class _Balance(html.parser.HTMLParser):
  """Raises where a tag closes that is not the last one opened."""

  open: list[str]

  def handle_starttag(self, tag, attrs):
    if tag != "meta":
      self.open.append(tag)

  def handle_endtag(self, tag):
    assert self.open and self.open.pop() == tag, tag


def test_page_is_whole_and_needs_nothing_else(shown):
  result = _result()
  rows = [
    {"step": 1, "train/cart": 0.6, "train/purchase": 0.4, "train/grad_norm": 9},
    {"step": 2, "train/cart": 0.5, "train/purchase": 0.3, "train/grad_norm": 9},
    {"step": 2, "validation/auc": 0.71},
  ]
  plots = [
    ranker_workdir.learning_curve(result, rows),
    *ranker_workdir.result_plots(result),
  ]
  text = ranker_page.render(result, plots, shown, {"events": "9"})
  parser = _Balance()
  parser.open = []
  parser.feed(re.sub(r"<svg.*?</svg>", "", text, flags=re.DOTALL))
  assert parser.open == []
  assert text.count("<svg") == 7
  assert not re.search(r"@import|<script|<link", text)
  assert "&lt;note&gt;" in text and "hstu_&lt;x&gt;" in text
  assert "<x>" not in text and "best 0.7100" in text
  for fact in ("0.7500", "0.6000 to 0.8000", "12.00% of", "2 min 5 s", "1,234"):
    assert fact in text
  assert text.count("GAUC of 62.4% of them") == len(_TASKS)


def test_what_is_not_defined_is_said_and_not_drawn(shown):
  result = _result(versus=None, purchase_auc=None)
  text = ranker_page.render(result, [], shown, {})
  assert "not defined" in text
  svg = ranker_figures.by_group(
    {"cart": {"a": 0.6, "b": None}}, ["a", "b"], [5, 0], "auc", "By x"
  )
  assert "nan" not in svg.lower()


def test_the_example_is_what_the_ranker_says(ranker, shown):
  user = ranker.users.ids[2]
  history = ranker.history(user)
  assert [e.title for e in shown.history] == history["title"].to_list()[-10:]
  assert [e.detail for e in shown.history] == history["action"].to_list()[-10:]
  by_value, one_of, behind = shown.lists.values()
  assert list(shown.lists)[1] == "At most one of a category"
  assert [c.title for c in shown.candidates[:8]] == [s.title for s in by_value]
  found = [s.detail for s in one_of]
  assert len(set(found)) == len(found)
  assert behind[0] == by_value[0] and behind != by_value
  seen = set(history["title"])
  assert not seen & {c.title for c in shown.candidates}
  # It has no attention to show, and says so.
  (plot,) = shown.reading
  assert "shows no attention weights" in plot.caption and plot.wide
  none = ranker_workdir.ranked_for(formula_ranker(ranker.histories), user)
  assert none.lists == shown.lists


def test_effects_are_those_of_the_what_ifs(ranker, monkeypatch):
  user = ranker.users.ids[2]
  drawn = []
  monkeypatch.setattr(
    ranker_figures, "reading", lambda found: drawn.append(found) or "<svg/>"
  )
  shown = ranker_workdir.ranked_for(ranker, user)
  (found,) = drawn
  titles = ranker.catalog.titles
  item = ranker.catalog.ids[titles.index(shown.candidates[0].title)]
  events = ranker.history(user).tail(10)
  for place, row in enumerate(events.iter_rows(named=True)):
    change = f"{row['event']}=removed"
    table = ranker.what_if([item], user, change)
    effect = table["value"][0] - table["value_if"][0]
    assert found.removed_E[place] == pytest.approx(effect)
    other = "cart" if row["action"] == "view" else "view"
    assert found.labels[place].endswith(f"{row['action']} → {other}")


def test_bars_of_attention_by_layer():
  events = np.array([0.1, -0.2])
  layers = {"layer 0": events, "layer 1": -events}
  svg = ranker_figures.reading(
    Reading(["a → b", "c <d>"], events, events, layers)
  )
  text = " ".join(ET.fromstring(svg).itertext())
  for word in ("layer 0", "layer 1", "a → b", "c <d>", "Attention"):
    assert word in text
  assert svg == ranker_figures.reading(
    Reading(["a → b", "c <d>"], events, events, layers)
  )
  assert Plot(svg, "").wide is False
