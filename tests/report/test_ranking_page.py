# SPDX-License-Identifier: Apache-2.0
"""The page of a ranker: whole, escaped, honest, and of what was measured."""

import html.parser
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from genrec_jax.report.curves import task_losses
from genrec_jax.report.document import Part, Plot
from genrec_jax.report.page import render
from genrec_jax.report.ranking import (
  figures as ranker_figures,
  page as ranker_page,
  workdir as ranker_workdir,
)
from genrec_jax.report.ranking.figures import PastEffects
from tests.report.ranker_document import TASKS, ranker_document
from tests.serving.formula_ranker import formula_ranker, prepared


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
  result = ranker_document(step=2)
  rows = [
    {"step": 1, "train/cart": 0.6, "train/purchase": 0.4, "train/grad_norm": 9},
    {"step": 2, "train/cart": 0.5, "train/purchase": 0.3, "train/grad_norm": 9},
    {"step": 2, "validation/auc": 0.71},
  ]
  plots = [
    ranker_workdir.learning_curve(result, rows),
    *ranker_workdir.result_plots(result),
  ]
  text = render(result, [ranker_page.part(result, plots, shown)])
  parser = _Balance()
  parser.open = []
  parser.feed(re.sub(r"<svg.*?</svg>", "", text, flags=re.DOTALL))
  assert parser.open == []
  assert text.count("<svg") == 7
  assert not re.search(r"@import|<script|<link", text)
  assert "&lt;note&gt;" in text and "hstu_&lt;x&gt;" in text
  assert "<x>" not in text and "best 0.7100" in text
  assert "<h1>HSTU &lt;y&gt; · Simul" in text and "<y>" not in text
  for fact in ("0.7500", "0.6000 to 0.8000", "12.00% of", "2 min 5 s", "1,234"):
    assert fact in text
  assert text.count("GAUC of 62.4% of them") == len(TASKS)
  assert "below the item&#x27;s rate within users for cart</strong>" in text


def test_as_a_further_part_of_a_page_it_has_a_verdict_of_its_own(shown):
  result = ranker_document()
  part = ranker_page.part(result, [Plot("<svg/>", "a plot")], shown)
  text = render(result, [Part("First", "<h2>One</h2>", {}, ()), part])
  assert text.index("<h2>Ranking of shown items") > text.index("<h2>One")
  assert part.body in text and "<h2>What the past does</h2>" in part.body
  assert text.count('class="verdict"') == 1
  assert part.notes == ["<note>"]
  assert part.facts["impressions"] == "1,000 of 300 requests (test)"


def test_the_ring_is_on_the_step_that_was_kept_not_on_the_best():
  # Watched by another metric: step 2 was kept, and step 4 has the better AUC.
  rows = [
    {"step": 1, "train/act/cart": 0.6, "train/act/purchase": 0.4},
    {"step": 1, "train/find/softmax": 7.0, "train/grad_norm": 1.0},
    {"step": 2, "validation/auc": 0.6, "validation/ndcg@10": 0.5},
    {"step": 4, "validation/auc": 0.7, "validation/ndcg@10": 0.4},
  ]
  both = ranker_document(
    step=2, config_values={"train": {"monitor": "ndcg@10+auc"}}
  )
  svg = ranker_workdir.learning_curve(both, rows).svg
  assert "kept 0.6000" in svg and "AUC" in svg and "best" not in svg
  losses = task_losses(rows, TASKS)
  assert losses == ["train/act/cart", "train/act/purchase"]
  other = ranker_workdir.learning_curve(ranker_document(step=3), rows).svg
  assert "kept" not in other and "best" not in other


def test_what_is_not_defined_is_said_and_not_drawn(shown):
  result = ranker_document(versus=None, purchase_auc=None)
  text = ranker_page.part(result, [], shown).body
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
    PastEffects(["a → b", "c <d>"], events, events, layers)
  )
  text = " ".join(ET.fromstring(svg).itertext())
  for word in ("layer 0", "layer 1", "a → b", "c <d>", "Attention"):
    assert word in text
  assert svg == ranker_figures.reading(
    PastEffects(["a → b", "c <d>"], events, events, layers)
  )
  assert Plot(svg, "").wide is False
