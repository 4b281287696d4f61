# SPDX-License-Identifier: Apache-2.0
"""One model that retrieves and ranks, by the commands that a user types."""

import pathlib

import polars as pl
import pytest

import genrec_jax
from genrec_jax.evaluation.document import read
from genrec_jax.serving import load_ranker

_CONFIG = pathlib.Path(__file__).resolve().parents[2] / (
  "configs/hstu_joint_movielens.py"
)


@pytest.mark.slow
def test_train_evaluate_report_and_recommend_in_two_stages(tmp_path, script):
  both, alone = tmp_path / "both", tmp_path / "alone"
  layers = "--config.system.backbone.num_layers=1"
  for workdir, *words in (
    (both, f"--config={_CONFIG}:quicktest"),
    (
      alone,
      f"--config={_CONFIG}:quicktest-ranking_only",
      "--stop_after=evaluation",
    ),
  ):
    done = script("run", f"--workdir={workdir}", *words, layers)
    assert done.returncode == 0, done.stderr
  done = script("evaluate", f"--workdir={both}", f"--against={alone}")
  assert done.returncode == 0, done.stderr
  sections = read(both)["sections"]
  found, ranking = sections["next_item"], sections["shown_items"]
  page = (both / "report.html").read_text()
  for section in ("What it recommends", "Against training rates", "One user"):
    assert f"<h2>{section}</h2>" in page
  assert page.count('class="verdict"') == 2
  assert {"most_popular", "item_knn"} <= set(found["baselines"])
  assert "hr@10" in found["metrics"]["test"]
  assert set(ranking["baselines"]) == {"base_rate", "item_rate", "user_rate"}
  assert 0 < ranking["metrics"]["test"]["cart"]["auc"] < 1
  # What the two have in common is the ranking.
  assert "against" not in found and not set(ranking) & {"config", "commit"}
  assert "auc" in ranking["against"]["differences"]["test"]["cart"]
  output = tmp_path / "all.parquet"
  done = script(
    "recommend",
    f"--workdir={both}",
    f"--ranker={alone}",
    "--candidates=8",
    "--all-users",
    "--k=3",
    f"--output={output}",
  )
  assert done.returncode == 0, done.stderr
  table = pl.read_parquet(output)
  user = table["user_id"][0]
  ids = genrec_jax.load(both).recommend(user, k=8)["item_id"].to_list()
  ranked = load_ranker(alone).rank(ids, user)
  mine = table.filter(table["user_id"] == user)
  assert mine["item_id"].to_list() == ranked["item_id"].to_list()[:3]
  other = genrec_jax.load(both, ranker=alone, num_candidates=8)
  listed = other.recommend(history=ids[:2], k=2)
  assert len(listed) == 2
  table = tmp_path / "members.json"
  table.write_text(
    '{"members": {"model": "this run", "knn": "item_knn"}, "num_results": 8}'
  )
  flags = (f"--ensemble={table}", f"--ranker={alone}", "--weights=cart=1")
  done = script(
    "evaluate",
    f"--workdir={both}",
    "--only=served",
    "--option=served.ks=[1, 2]",
    *flags,
  )
  assert done.returncode == 0, done.stderr
  served = read(both)["sections"]["served"]
  assert f"ordered by {alone} (cart=1)" in done.stdout
  assert served["candidates"] == served["depth"] == 8
  # The lists that are written as of the test part have the same hits.
  done = script(
    "recommend",
    f"--workdir={both}",
    "--all-users",
    "--as_of=test",
    "--k=2",
    f"--output={output}",
    *flags,
  )
  assert done.returncode == 0, done.stderr
  hit = pl.col("item_id") == pl.col("withheld_item_id")
  hits = pl.read_parquet(output).select(hit.sum()).item()
  found = served["recall"]["served"]["recall@2"] * served["requests"]
  assert hits == round(found)
  done = script("report", f"--workdir={both}")
  assert done.returncode == 0, done.stderr
  assert "Whose hits are whose" in (both / "report.html").read_text()
