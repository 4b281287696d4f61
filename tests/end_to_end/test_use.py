# SPDX-License-Identifier: Apache-2.0
"""A finished run in use: evaluate, recommend, load, by the real commands."""

import dataclasses
import json
import shutil

import numpy as np
import polars as pl
import pytest

import genrec_jax
from genrec_jax.data.dataset.requests import iter_requests
from genrec_jax.evaluation.document import of_section, read, write_json
from genrec_jax.evaluation.full_ranking import evaluate
from genrec_jax.evaluation.next_item_measurement import measure
from genrec_jax.evaluation.ranks import Ranks
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.restored import load_params
from genrec_jax.experiment.sections import read_config, write_config
from genrec_jax.report.runs import RetrievalRun, finished

PARTS = ("validation", "test")


@pytest.fixture(scope="module")
def document(trained):
  return of_section(read(trained), "next_item")


@pytest.fixture(scope="module")
def model(trained):
  return genrec_jax.load(trained)


def test_document_has_what_a_table_needs(trained, document):
  run = finished(RetrievalRun, document, "evaluation.json")
  assert (run.checkpoint, run.step) == ("best", 3)
  assert run.metrics == document["metrics"]
  manifest = Run.open(trained).histories.manifest
  assert run.num_users == manifest.num_users
  assert run.sort_rule == manifest.sort_rule
  assert run.split_rule == "LeaveOneOut"
  assert run.dataset == "synthetic"
  assert run.parameters > 0 and run.train_seconds > 0
  variants = {"validation", "test", "test_unfiltered", "test_last_time"}
  assert set(run.metrics) == set(run.intervals) == variants
  for part, metrics in run.metrics.items():
    low, high = run.intervals[part]["hr@10"]
    assert low <= metrics["hr@10"] <= high
  for part in PARTS:
    for baseline in ("most_popular", "item_knn", "oracle"):
      assert set(run.baselines[baseline][part]) == set(run.metrics[part])
    for kind in document["slices"][part].values():
      assert sum(s["share"] for s in kind.values()) == pytest.approx(1)
  assert not list(trained.glob("*.tmp*"))


def test_no_ranker_beats_the_true_model_by_much(document):
  # Three steps of training: the order of the baselines is what can be known.
  baselines = {
    name: parts["test"] for name, parts in document["baselines"].items()
  }
  assert baselines["oracle"]["ndcg@10"] > baselines["item_knn"]["ndcg@10"]
  assert baselines["item_knn"]["ndcg@10"] > baselines["most_popular"]["ndcg@10"]


def test_ranks_give_the_metrics_of_the_document(trained, document):
  ranks = Ranks.load(trained / "ranks.npz")
  metrics, knn = document["metrics"], document["baselines"]["item_knn"]
  for column, values in (
    ("validation/ranks/model", metrics["validation"]),
    ("test/ranks/model", metrics["test"]),
    ("test/ranks/model_unfiltered", metrics["test_unfiltered"]),
    ("test/ranks/item_knn", knn["test"]),
    ("test/ranks/item_knn_unfiltered", knn["test_unfiltered"]),
  ):
    hits = np.mean(ranks.columns[column] <= 10)
    assert hits == pytest.approx(values["hr@10"])
  assert ranks.fingerprint == document["fingerprint"]


@pytest.mark.slow
def test_eight_devices_measure_what_one_measured(trained, document, model):
  # The script ran on one device, this process has eight.
  run = Run.open(trained)
  measured = measure(
    run, model.search, run.evals["next_item"], with_baselines=False
  )
  for part in PARTS:
    got = measured.evaluations[part]["model"].metrics
    for name, value in document["metrics"][part].items():
      # A rounding may swap two neighbours of one user in 200.
      assert got[name] == pytest.approx(value, abs=0.005)
  assert measured.baselines == ()


def test_request_time_last_swaps_the_rows(trained, document, model):
  run = Run.open(trained)
  options = dataclasses.replace(run.evals["next_item"], request_time="last")
  measured = measure(run, model.search, options, with_baselines=False)
  measured = measured.of("model")
  assert "test_last_time" not in measured
  for ours, theirs in (("test", "_last_time"), ("test_target_time", "")):
    expected = document["metrics"][f"test{theirs}"]["ndcg@50"]
    assert measured[ours].metrics["ndcg@50"] == pytest.approx(
      expected, abs=0.005
    )
  with pytest.raises(ValueError, match="choices: target, last"):
    dataclasses.replace(options, request_time="now")


def test_the_evaluators_filter_decides_what_stands_first(
  trained, document, model
):
  run = Run.open(trained)
  options = dataclasses.replace(run.evals["next_item"], filter_history=False)
  measured = measure(run, model.search, options, with_baselines=False)
  ours = measured.of("model")
  assert set(ours) == {"validation", "test", "test_filtered", "test_last_time"}
  for part, same in (("test", "test_unfiltered"), ("test_filtered", "test")):
    expected = document["metrics"][same]["hr@10"]
    assert ours[part].metrics["hr@10"] == pytest.approx(expected, abs=0.005)
  assert any("history is among the candidates" in n for n in measured.notes)


def test_served_lists_hide_what_the_evaluation_hides(workdir):
  config = read_config(workdir / "config.json")
  config["evals"]["next_item"]["filter_history"] = False
  write_config(workdir / "config.json", config)
  model = genrec_jax.load(workdir)
  user, everything = model.users.ids[0], model.catalog.num_items
  assert len(model.recommend(user, k=everything)) == everything
  with pytest.warns(UserWarning, match="items of the history are left out"):
    hidden = model.recommend(user, k=everything, filter_history=True)
  assert len(hidden) < everything


def test_requests_end_before_their_target(trained, model):
  run = Run.open(trained)
  queries = []

  def spy(requests, k, allowed):
    queries.append(requests)
    return model.search(requests, k, allowed)

  options = run.evals["next_item"]
  measured = measure(run, spy, options, with_baselines=False)
  validation = measured.evaluations["validation"]
  for requests in queries:
    for record, event in zip(requests.history, requests.event, strict=True):
      assert len(record["item"]) == event
  assert validation["model"].num_requests == sum(
    len(run.histories.split.targets(run.histories[u], "validation"))
    for u in range(len(run.histories))
  )


def test_scann_ranks_like_brute_force(trained, model):
  run = Run.open(trained)
  scann = genrec_jax.load(trained, retriever="scann")
  results = [
    evaluate(
      m.search,
      iter_requests(run.histories, "test", 64),
      num_items=run.catalog.num_items,
    ).metrics
    for m in (model, scann)
  ]
  for name, value in results[0].items():
    assert results[1][name] == pytest.approx(value, abs=0.005)


def test_load_in_three_lines(model):
  user = model.users.ids[0]
  answer = model.recommend(user=user, k=5)
  assert answer.columns == ["item_id", "title", "score", "source"]
  assert len(answer) == 5
  history = model.history(user=user)["item_id"].to_list()
  assert not set(answer["item_id"]) & set(history)
  again = model.recommend(history=history, k=5, filter_history=True)
  assert len(again) == 5
  assert len(model.similar_items(answer["item_id"][0], k=3)) == 3


def test_what_cannot_be_loaded_is_explained(workdir):
  with pytest.raises(ValueError, match="Choices: brute_force, scann"):
    genrec_jax.load(workdir, retriever="annoy")
  with pytest.raises(ValueError, match="choices: best, latest"):
    genrec_jax.load(workdir, checkpoint="worst")
  config = read_config(workdir / "config.json")
  other = config | {"system": config["system"] | {"width": 30}}
  write_config(workdir / "config.json", other)
  with pytest.raises(ValueError, match=r"(?s)another\s+architecture.*50"):
    genrec_jax.load(workdir)
  write_config(workdir / "config.json", config)
  shutil.rmtree(workdir / "best")
  shutil.rmtree(workdir / "checkpoints")
  with pytest.raises(ValueError, match="no checkpoint in .*checkpoints"):
    genrec_jax.load(workdir)
  with pytest.raises(ValueError, match=r"config\.json is missing"):
    genrec_jax.load(workdir / "data")


def test_without_a_best_checkpoint_the_latest_is_taken(workdir, capsys):
  run = Run.open(workdir)
  assert load_params(run).checkpoint == "best"
  assert capsys.readouterr().err == ""
  # What a run with eval_every_steps=0 leaves: the folder, and nothing in it.
  shutil.rmtree(workdir / "best")
  (workdir / "best").mkdir()
  loaded = load_params(run)
  assert (loaded.checkpoint, loaded.step) == ("latest", 3)
  assert "taking the latest, of step 3" in capsys.readouterr().err


def test_a_quick_run_is_no_result(trained, script, tmp_path):
  folder = tmp_path / "results"
  done = script("evaluate", f"--workdir={trained}", f"--results={folder}")
  assert done.returncode == 1
  assert "quick form" in done.stderr and "Traceback" not in done.stderr
  assert not folder.exists()


@pytest.mark.slow
def test_recommend_prints_titles_for_a_user(trained, script, model):
  listed = script("recommend", f"--workdir={trained}", "--list_users=1")
  user = listed.stdout.strip()
  assert user == model.users.ids[0]
  done = script("recommend", f"--workdir={trained}", f"--user={user}", "--k=4")
  assert done.returncode == 0, done.stderr
  for title in model.recommend(user=user, k=4)["title"]:
    assert title in done.stdout
  assert model.history(user=user)["title"].to_list()[-1] in done.stdout


def test_recommend_explains_unknown_ids(trained, script, model):
  item = model.catalog.ids[1]
  done = script(
    "recommend",
    f"--workdir={trained}",
    f"--history={item},{item}x",
    "--strict",
  )
  assert done.returncode == 1
  assert f"no item '{item}x'" in done.stderr and repr(item) in done.stderr
  assert "Traceback" not in done.stderr


def test_who_is_unknown_gets_popular_items(trained, script, model):
  done = script("recommend", f"--workdir={trained}", "--user=nobody", "--k=3")
  assert done.returncode == 0, done.stderr
  assert done.stderr.count("note: no user 'nobody'") == 1
  assert "3 items, the most popular ones" in done.stdout
  best = model.catalog.titles[int(np.argmax(model.catalog.count))]
  assert best in done.stdout


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_what_is_served_can_be_scored_offline(
  trained, script, document, tmp_path, kind
):
  output = tmp_path / f"recs.{kind}"
  done = script(
    "recommend",
    f"--workdir={trained}",
    "--all-users",
    "--as_of=test",
    f"--output={output}",
  )
  assert done.returncode == 0, done.stderr
  read_table = {"csv": pl.read_csv, "jsonl": pl.read_ndjson}[kind]
  table = read_table(output)
  hits = table.filter(pl.col("item_id") == pl.col("withheld_item_id"))
  requests = table.select("user_id", "event").unique()
  expected = document["metrics"]["test"]["hr@10"]
  assert len(hits) / len(requests) == pytest.approx(expected, abs=0.005)


def test_recommend_everyone(workdir, script, model, tmp_path):
  output = tmp_path / "recs.parquet"
  done = script(
    "recommend", f"--workdir={workdir}", "--all-users", f"--output={output}"
  )
  assert done.returncode == 0, done.stderr
  table = pl.read_parquet(output)
  assert table.columns == [
    *("user_id", "rank", "item_id", "score", "title", "source"),
  ]
  assert table["user_id"].n_unique() == len(model.histories)
  user = model.users.ids[3]
  mine = table.filter(pl.col("user_id") == user).sort("rank")
  one = model.recommend(user=user, k=10)
  np.testing.assert_allclose(mine["score"], one["score"], atol=1e-5)
  assert [p.name for p in tmp_path.glob("recs*")] == ["recs.parquet"]


@pytest.mark.slow
def test_against_another_run(workdir, trained, script):
  done = script(
    "evaluate", f"--workdir={workdir}", f"--against={trained}", "--nobaselines"
  )
  assert done.returncode == 0, done.stderr
  document = of_section(read(workdir), "next_item")
  # The same parameters on the same requests: no difference at all.
  assert document["against"]["differences"]["test"]["hr@10"] == [0, 0, 0]
  assert document["baselines"] == {}
  assert "paired" in done.stdout


def test_against_other_data_is_refused(workdir, trained, script, tmp_path):
  other = shutil.copytree(trained, tmp_path / "other")
  path = other / "evaluation.json"
  values = json.loads(path.read_text()) | {"fingerprint": "0" * 16}
  write_json(path, values)
  (workdir / "evaluation.json").unlink()
  done = script(
    "evaluate", f"--workdir={workdir}", f"--against={other}", "--nobaselines"
  )
  assert done.returncode == 1
  assert "different prepared data" in done.stderr
  # It is found out before anything is measured or written.
  assert not (workdir / "evaluation.json").exists()
