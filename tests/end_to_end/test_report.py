# SPDX-License-Identifier: Apache-2.0
"""The page of a trained run and the tables of results, by the real command."""

from html import escape
import itertools
import json
import re

import numpy as np
import pytest

import genrec_jax
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.evaluation.document import of_section, read, write_json
from genrec_jax.evaluation.ranks import Ranks
from genrec_jax.metrics.ranking import per_request
from genrec_jax.report.page import page_of
from genrec_jax.report.ranking import workdir as ranker_workdir
from genrec_jax.report.retrieval.workdir import example_of
from genrec_jax.report.tables import BEGIN, END
from tests.report.ranker_document import OF_THE_RUN, ranker_document
from tests.serving.formula_ranker import formula_ranker


@pytest.mark.slow
def test_page_shows_what_was_measured(workdir, script):
  done = script("report", f"--workdir={workdir}", "--require_win")
  # Three steps of training are not above item-kNN, and the status says so.
  assert done.returncode == 1, done.stderr
  assert "is not above item-kNN" in done.stdout
  page = (workdir / "report.html").read_text()
  document = of_section(read(workdir), "next_item")
  assert f"{document['metrics']['test']['ndcg@10']:.4f}" in page
  assert f"{document['baselines']['oracle']['test']['ndcg@10']:.4f}" in page
  assert document["fingerprint"][:16] in page
  assert page.count("<svg") == 7
  for note in document["notes"]:
    assert escape(note) in page
  assert not list(workdir.glob("*.tmp*"))


@pytest.mark.slow
def test_recommendations_on_the_page_are_those_of_the_model(trained):
  model = genrec_jax.load(trained)
  user = model.users.ids[5]
  example = example_of(model, user)
  answer = model.recommend(user=user, k=10)
  assert [s.title for s in example.suggestions] == answer["title"].to_list()
  assert [e.title for e in example.history] == (
    model.history(user=user)["title"].to_list()[-10:]
  )
  assert user in page_of(trained, user)[0]


@pytest.mark.slow
def test_a_run_that_also_ranks_has_the_sections_of_both(workdir, monkeypatch):
  path = workdir / "evaluation.json"
  found = json.loads(path.read_text())
  own = {k: v for k, v in ranker_document().items() if k not in OF_THE_RUN}
  shown = {"evaluator": "evaluation.ShownItems", **own}
  sections = {**found["sections"], "shown_items": shown}
  write_json(path, {**found, "sections": sections})
  ranker = formula_ranker(Histories(workdir / "data"))
  monkeypatch.setattr(
    ranker_workdir, "load_ranker", lambda *_, **options: ranker
  )
  page, said = page_of(workdir)
  assert len(said) == 2
  headings = re.findall("<h2>(.*?)</h2>", page)
  for one, next_one in itertools.pairwise(
    (
      "Against baselines and oracle",
      "What it recommends",
      "Ranking of shown items",
      "Against training rates",
      "The list, by how it is made",
      "What the past does",
      "How it was measured",
    )
  ):
    assert headings.index(one) < headings.index(next_one)
  assert page.count('class="verdict"') == 2 and "GAUC of 62.4%" in page
  assert "Calibration on the test part" in page
  ids = re.findall(r'\bid="([^"]+)"', page)
  assert len(ids) == len(set(ids))
  # Without the part there is nothing of it.
  write_json(path, found)
  assert "shown items" not in page_of(workdir)[0]


def test_slices_on_the_page_add_up_to_the_whole(trained):
  # The bars are drawn from the ranks: their weighted mean is the metric.
  document = of_section(read(trained), "next_item")
  ranks = Ranks.load(trained / "ranks.npz")
  value_R = per_request(ranks.columns["test/ranks/model"], (10,))["ndcg@10"]
  assert np.isclose(value_R.mean(), document["metrics"]["test"]["ndcg@10"])


@pytest.mark.slow
def test_an_unknown_user_is_named(workdir, script):
  done = script("report", f"--workdir={workdir}", "--user=nobody")
  assert done.returncode == 1
  assert "error: no user 'nobody'" in done.stderr
  assert "Traceback" not in done.stderr


def test_tables_are_written_then_found_up_to_date(results, tmp_path, script):
  readme, every = tmp_path / "README.md", tmp_path / "results.md"
  for page in (readme, every):
    page.write_text(f"# Title\n\n{BEGIN}\n{END}\n\nEnd.\n")
  flags = (
    f"--results={results}",
    f"--readme={readme}",
    f"--tables={every}",
  )
  done = script("report", *flags, "--check")
  assert done.returncode == 1 and str(every) in done.stdout
  assert readme.read_text().count("\n") == 6
  assert script("report", *flags).returncode == 0
  assert script("report", *flags, "--check").returncode == 0
  text = every.read_text()
  assert re.search(r"\*\*HSTU\*\* `hstu_movielens`", text)
  assert text.startswith("# Title\n") and text.endswith("\nEnd.\n")
  assert "| Simulated shoppers | NDCG@10 | HSTU **" in readme.read_text()
  picture = results / "overview.svg"
  assert "Simulated shoppers" in picture.read_text()
