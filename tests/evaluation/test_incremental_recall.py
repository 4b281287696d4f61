# SPDX-License-Identifier: Apache-2.0
"""What a model adds to an ensemble: figures of sets, the gap, the page."""

import dataclasses

import jax
import numpy as np
import pytest

from configs import commerce_movielens
from genrec_jax.core import sharding
from genrec_jax.data.dataset.requests import iter_requests
from genrec_jax.evaluation.document import write_json
from genrec_jax.evaluation.full_ranking import evaluate, history_mask
from genrec_jax.experiment import stages
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.restored import Loaded
from genrec_jax.report.retrieval import incremental_recall as part
from tests.evaluation import toy_ranker as toy

_KS, _KINDS = (3, 10), ("category", "freshness", "activity")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  config = commerce_movielens.get_config("weights-misses-segments-quicktest")
  config.data.num_users = 40
  options = {"ks": _KS, "kinds": _KINDS, "attribute": "category"}
  config.evals.incremental.update(options, replaced=0.3)
  config.train.monitor = "r_inc@10"
  return Run.start(config, tmp_path_factory.mktemp("ensemble"))


@pytest.fixture(scope="module")
def loaded(run):
  params = jax.device_put(run.init_params(), sharding.local().replicated)
  return Loaded(params, "best", 0, {"seconds": 1.0})


@pytest.fixture(scope="module")
def section(run, loaded):
  found, kept = run.evals["incremental"].measure(run, loaded)
  assert kept is None
  return found


def _ensemble(lists, seen, k):
  """Lists by turns, without what the user had."""
  kept = [[i for i in one if i and i not in seen] for one in lists.tolist()]
  found = []
  for place in range(lists.shape[1]):
    for one in kept:
      if place < len(one) and one[place] not in found:
        found.append(one[place])
  return found[:k]


@pytest.fixture(scope="module")
def asked(run, loaded):
  """Every validation request: target, history, both lists of 11."""
  search = run.search(loaded.params, run.index(loaded.params))
  lists, num_items = run.artifacts.retriever_lists(), run.catalog.num_items
  found = []
  for batch in iter_requests(run.histories, "validation", 64):
    mask = history_mask(batch, num_items)
    ids = np.asarray(search(batch, 11, mask)[0])
    for row, history in enumerate(batch.history):
      own = lists.of(int(batch.user[row]), batch.event[row : row + 1])[0]
      seen = {*history["item"].tolist()}
      found.append(
        (int(batch.target[row]), history, own, seen, ids[row].tolist())
      )
  return found


def test_recalls_are_those_of_sets(run, loaded, section, asked):
  assert section["num_requests"] == {"validation": 40, "test": 40}
  for k, slots in ((3, 1), (10, 3)):
    assert run.evals["incremental"].slots(k) == slots
    sums = dict.fromkeys(("ensemble", "model", "union", "fixed"), 0)
    for target, _, own, seen, ids in asked:
      e = _ensemble(own, seen, k)
      kept = e[: k - slots]
      rest = [i for i in ids if i not in kept][: k - len(kept)]
      sums["ensemble"] += target in e
      sums["model"] += target in ids[:k]
      sums["union"] += target in {*e, *ids[:k]}
      sums["fixed"] += target in {*kept, *rest}
    found = section["metrics"]["validation"]
    for name, total in sums.items():
      assert found[f"{name}@{k}"] == pytest.approx(total / 40)
    gain = (sums["union"] - sums["ensemble"]) / 40
    assert found[f"r_inc@{k}"] == pytest.approx(gain)
    fixed = (sums["fixed"] - sums["ensemble"]) / 40
    assert found[f"r_inc_fixed@{k}"] == pytest.approx(fixed)
    low, high = section["intervals"]["validation"][f"r_inc@{k}"]
    assert low <= gain <= high
  assert section["metrics"]["validation"]["union@10"] > 0
  for r, name in enumerate(("item_knn", "recently_popular")):
    hits = [
      target in _ensemble(own[r : r + 1], seen, 10)
      for target, _, own, seen, _ in asked
    ]
    found = section["retrievers"][name]["validation"]["recall@10"]
    assert found == pytest.approx(np.mean(hits)) and any(hits)


def test_the_gap_is_that_of_the_segments_requests(run, section, asked):
  gap = section["gap"]
  assert tuple(gap) == _KINDS
  for rows in gap.values():
    assert sum(row["requests"] for row in rows.values()) == 40
    assert sum(row["share"] for row in rows.values()) == pytest.approx(1)
    for n in ("ensemble@10", "union@3"):
      mean = sum(row["share"] * row[n] for row in rows.values())
      assert mean == pytest.approx(section["metrics"]["validation"][n])
  values = run.catalog.attributes["category"].to_list()
  for name, row in gap["category"].items():
    hits = [
      target in _ensemble(own, seen, 10)
      for target, _, own, seen, _ in asked
      if values[target - 1] == name
    ]
    assert row["requests"] == len(hits)
    assert row["ensemble@10"] == pytest.approx(np.mean(hits))
  busy = [h for _, h, *_ in asked if 20 < len(h["item"]) <= 50]
  assert gap["activity"]["21-50 events"]["requests"] == len(busy) > 0


@pytest.mark.slow
def test_training_watches_what_is_measured(run, loaded, section):
  run.check_evals()
  found = run.validate(loaded.params)
  wanted = section["metrics"]["validation"]
  for name in run.evals["incremental"].names:
    assert found[name] == pytest.approx(wanted[name])
  assert "r_inc_fixed@3" in found and "ndcg@10" in found
  some = dataclasses.replace(run.train, eval_users=7)
  fewer = dataclasses.replace(run, train=some)
  values = fewer.evals["incremental"].validate(fewer, loaded.params, None)
  assert values["r_inc@10"] * 7 == pytest.approx(round(values["r_inc@10"] * 7))


def test_the_history_stays_where_it_is_asked_for(run, loaded):
  """A search that returns what the lists have: it adds nothing, either way."""
  lists = run.artifacts.retriever_lists()

  def same(requests, k, allowed):
    ids = np.zeros((len(requests), k), np.int32)
    for row, (user, event) in enumerate(
      zip(requests.user, requests.event, strict=True)
    ):
      seen = set()
      if allowed is not None:
        seen = {*requests.history[row]["item"].tolist()}
      own = _ensemble(lists.of(int(user), np.array([event]))[0], seen, k)
      ids[row, : len(own)] = own
    scores = np.where(ids > 0, -np.arange(k, dtype=np.float32), -np.inf)
    return ids, scores, {}

  for hidden in (True, False):
    evaluator = dataclasses.replace(
      run.evals["incremental"], filter_history=hidden
    )
    values = evaluator._measured(run, same, "validation").values
    for k in _KS:
      assert not values[f"r_inc@{k}"].any()
      assert not values[f"r_inc_fixed@{k}"].any()
    plain = evaluate(
      same,
      iter_requests(run.histories, "validation", 64),
      num_items=run.catalog.num_items,
      ks=_KS,
      filter_history=hidden,
    )
    mean = values["ensemble@10"].mean()
    assert mean == pytest.approx(plain.metrics["hr@10"]) and mean > 0


def test_the_page_and_the_terminal_show_it(run, section):
  document = {**section, "evaluator": "evaluation.IncrementalRecall"}
  found = part.part_of(run.workdir, document)
  assert found.lead.count("<svg") == 3 and "Where the ensemble" in found.lead
  value = section["metrics"]["test"]["r_inc_fixed@10"]
  assert f"{value:.4f}" in found.body and "recently_popular" in found.body
  worst = min(
    section["gap"]["activity"].items(), key=lambda row: row[1]["ensemble@3"]
  )
  assert worst[0].replace(">", "&gt;") in found.lead
  text = run.evals["incremental"].text(document)
  assert f"r_inc_fixed@10 {value:.4f}" in text
  assert "gap by category" in text and "by turns, lists of 50" in text


def test_what_cannot_be_measured_is_refused(run, tmp_path):
  mine = run.evals["incremental"]
  for options, said in (
    ({"retrievers": ("sasrec",)}, "names 'sasrec', and the lists are by item_"),
    ({"ks": (10, 60)}, "have 50 items each, and the ks=.10, 60."),
    ({"attribute": "categry"}, "Did you mean 'category'"),
  ):
    with pytest.raises(ValueError, match=said):
      dataclasses.replace(mine, **options).check(run)
  for replaced in (0.0, 1.1):
    with pytest.raises(ValueError, match="replaced=.* must be above 0"):
      dataclasses.replace(mine, replaced=replaced)
  blind = dataclasses.replace(run, system=toy.Blind())
  with pytest.raises(ValueError, match="lacks query, items"):
    mine.check(blind)
  config = commerce_movielens.get_config("quicktest")
  config.data.num_users = 40
  config.evals.incremental = {"name": "evaluation.IncrementalRecall"}
  alone = Run.start(config, tmp_path / "run")
  with pytest.raises(ValueError, match="holds no lists of retrievers"):
    alone.check_evals()


def test_an_evaluation_is_up_to_date_whoever_read_the_lists(run, monkeypatch):
  monkeypatch.setattr(stages, "read_progress", lambda run: {"best_step": 3})
  job = stages.StageJob(run.config, (), run.workdir)
  version = run.artifacts.retriever_lists().version
  there = {
    "step": 3,
    "fingerprint": run.histories.manifest.fingerprint,
    "config_values": run.config,
  }
  for found, wanted in ((version, True), ("another", False)):
    document = there | {"artifacts": {"lists": found}}
    write_json(run.workdir / "evaluation.json", document)
    assert stages._is_evaluated(job) is wanted
  (run.workdir / "lists").rename(run.workdir / "gone")
  write_json(
    run.workdir / "evaluation.json", there | {"artifacts": {"lists": version}}
  )
  assert not stages._is_evaluated(job)
  (run.workdir / "gone").rename(run.workdir / "lists")
