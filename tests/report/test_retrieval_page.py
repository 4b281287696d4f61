# SPDX-License-Identifier: Apache-2.0
"""The page of a run: self-contained, escaped, and honest about losing."""

import html.parser
import pathlib
import re

import pytest

from genrec_jax.report import document, plain
from genrec_jax.report.page import render
from genrec_jax.report.retrieval import page

VOID = {"meta", "br", "img", "link"}
EXAMPLE = page.Example(
  "<u&1>",
  [document.Event("Old", "", "day 1"), document.Event("New", "lamps", "day 2")],
  [document.Suggestion(f"Item {i}", "", 1 - i / 10) for i in range(10)],
)


class _Balance(html.parser.HTMLParser):
  """Raises where a tag closes that is not the last one opened."""

  def __init__(self):
    super().__init__()
    self.open, self.tags = [], []

  def handle_starttag(self, tag, attrs):
    self.tags.append((tag, dict(attrs)))
    if tag not in VOID:
      self.open.append(tag)

  def handle_endtag(self, tag):
    assert self.open and self.open.pop() == tag, tag


def _render(run, example=EXAMPLE):
  svg = '<svg role="img"><g></g></svg>'
  part = page.part(run, [document.Plot(svg, "a < b")], example)
  return render(_document(run), [part])


def _document(run):
  return {**vars(run), "num_events": 9, "fingerprint": "f0"}


def test_page_is_well_formed(make_run):
  parser = _Balance()
  parser.feed(_render(make_run()))
  assert parser.open == []


def test_what_a_part_puts_before_all_comes_first(make_run):
  run = make_run()
  first = page.part(run, [], EXAMPLE)
  second = document.Part("Other", "<p>body</p>", {}, (), lead="<p>lead</p>")
  text = render(_document(run), [first, second])
  places = [
    text.index(x)
    for x in ("</header>", "<p>lead</p>", 'class="tiles"', "<p>body</p>")
  ]
  assert places == sorted(places)


def test_page_needs_nothing_else(make_run):
  text = _render(make_run())
  assert not re.search(r"https?://|@import|<script|<link", text)


def test_what_comes_from_data_is_escaped(make_run):
  example = page.Example(
    "<u&1>", EXAMPLE.history, [document.Suggestion("<b>x</b>", "<i>", 1.0)]
  )
  run = make_run(dataset="<script>d", notes=["<n>"])
  text = _render(run, example)
  assert "&lt;u&amp;1&gt;" in text and "&lt;b&gt;x&lt;/b&gt;" in text
  assert "<script" not in text and "<b>x" not in text and "a &lt; b" in text


def test_verdict_names_the_baseline_the_factor_and_the_gap(make_run):
  said = page.verdict(make_run(0.2))
  assert said.won
  text = said.text
  assert "20.0%" in text and "2.00 times that of item-kNN" in text
  assert "67% of the way to the oracle" in text
  assert "95 % interval over users +0.0400 to +0.0600" in text
  assert text.endswith("One seed: no verdict over seeds.")


def test_an_interval_over_users_with_zero_wins_nothing(make_run):
  unsure = {"item_knn": {"test": {"ndcg@10": [0.05, -0.01, 0.11]}}}
  assert not page.verdict(make_run(0.2, versus=unsure)).won


@pytest.mark.parametrize("hr", [0.10, 0.05])
def test_verdict_does_not_praise_a_model_that_lost(make_run, hr):
  said = page.verdict(make_run(hr))
  assert not said.won
  assert "is not above item-kNN" in said.text and "times" not in said.text
  assert said.text.endswith("One seed: no verdict over seeds.")
  assert 'class="lost"' in _render(make_run(hr))


def test_newest_event_and_best_item_stand_on_top(make_run):
  text = _render(make_run())
  assert text.index("New") < text.index("Old")
  assert text.index("Item 0") < text.index("Item 9")


def test_equal_scores_do_not_break_the_bars(make_run):
  same = [document.Suggestion("Item", "", 0.5)] * 10
  assert "width:20%" in _render(
    make_run(), page.Example("u", EXAMPLE.history, same)
  )


def test_baselines_model_and_oracle_stand_in_order(make_run):
  text = _render(make_run())
  order = [text.index(f"<td>{n}") for n in ("most popular", "item-kNN", "HSTU")]
  assert order == sorted(order) and order[-1] < text.index("oracle (true")


def test_facts_say_how_it_was_measured(make_run):
  run = make_run()
  text = _render(run)
  for fact in (run.commit, run.sort_rule, run.split_rule, "2 min 5 s", "1,234"):
    assert fact in text


def test_what_a_run_does_besides_stands_above_how_it_was_measured(make_run):
  also = document.Part(
    "Besides", "<h2>More</h2>", {"shown": "7 items"}, ["<rates>"]
  )
  first = page.part(make_run(), [], EXAMPLE)
  text = render(_document(make_run()), [first, also])
  headings = re.findall("<h2>(.*?)</h2>", text)
  assert headings[-4:-1] == ["What it recommends", "Besides", "More"]
  assert headings[-1] == "How it was measured"
  measured = text[text.index("How it was measured") :]
  for said in ("7 items", "&lt;rates&gt;", "item-kNN tuned on validation"):
    assert said in measured


def test_an_evaluator_without_a_page_is_shown_by_its_numbers(make_run):
  section = {
    "evaluator": "evaluation.Other",
    "metrics": {"test": {"coverage": 0.25, "lists": {"items": 7}}},
    "config_values": {"seed": 3},
    "notes": ["<rates>"],
  }
  part = plain.part_of(pathlib.Path(), section)
  assert part.title == "Other" and part.notes == ["<rates>"]
  for said in ("<th>coverage</th>", "<td>0.2500</td>", "test, lists", "7</td>"):
    assert said in part.body
  assert "seed" not in part.body
